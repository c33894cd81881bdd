"""Texts that arrive together are embedded together, and texts that come again not at all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt

from engine.encoder import Encoder
from engine.errors import StoreUnavailable
from engine.records import Vector
from serve.stages import Stages

MAX_BATCH = 32
"""Texts embedded in one run: beyond that a batch gains nothing and everyone in it waits."""
CACHED_TEXTS = 4096


class BatchingEncoder:
    """An `Encoder` for many threads: one of its own embeds whatever texts have queued up while it embedded others.

    So nobody waits for company: an idle server answers at once, a busy one in batches.
    """

    def __init__(self, encoder: Encoder, stages: Stages) -> None:
        self._encoder, self._stages = encoder, stages
        self.checkpoint, self.parallel = encoder.checkpoint, True
        self._images = threading.Lock()
        self._queue: SimpleQueue[tuple[str, Future[Vector]] | None] = SimpleQueue()
        self._cache: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="text-batches", daemon=True)
        self._thread.start()

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """Return unit float32 rows of shape (n, d)."""
        waiting: list[Vector | Future[Vector]] = []
        for text in texts:
            if (known := self._recall(text)) is not None:
                waiting.append(known)
            else:
                waiting.append(self._queued(text))
        return np.stack([one.result() if isinstance(one, Future) else one for one in waiting])

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """See `Encoder`."""
        return self.encode_photographs(pixels)[0]

    def encode_photographs(self, pixels: npt.NDArray[np.uint8]) -> tuple[Vector, Vector | None]:
        """See `Encoder`; one at a time, so that photographs leave a core to the texts."""
        with self._images, self._stages.stage("embed image"):
            return self._encoder.encode_photographs(pixels)

    def encode_words(self, text: str) -> Vector:
        """See `Encoder`."""
        with self._stages.stage("embed words"):
            return self._encoder.encode_words(text)

    def count_tokens(self, text: str) -> int:
        """See `Encoder`."""
        return self._encoder.count_tokens(text)

    def close(self) -> None:
        """Embed what is still queued, and stop; who comes later is refused."""
        with self._lock:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _queued(self, text: str) -> Future[Vector]:
        future: Future[Vector] = Future()
        with self._lock:  # so that nothing is queued after the end
            if self._closed:
                raise StoreUnavailable("this server is being stopped: ask again when it is back")
            self._queue.put((text, future))
        return future

    def _recall(self, text: str) -> Vector | None:
        with self._lock:
            if text in self._cache:
                self._cache.move_to_end(text)
            return self._cache.get(text)

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty() and len(batch) < MAX_BATCH:
                batch.append(self._queue.get())
            wanted = [entry for entry in batch if entry is not None]
            if wanted:
                self._answer(wanted)
            if len(wanted) < len(batch):
                return

    def _answer(self, wanted: Sequence[tuple[str, Future[Vector]]]) -> None:
        texts = list(dict.fromkeys(text for text, _ in wanted))
        try:
            with self._stages.stage("embed text"):
                rows = dict(zip(texts, self._encoder.encode_texts(texts), strict=True))
        except Exception as error:  # noqa: BLE001 - whoever asked is told; the thread lives on
            for _, future in wanted:
                future.set_exception(error)
            return
        with self._lock:
            self._cache |= rows
            while len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        for text, future in wanted:
            future.set_result(rows[text])
