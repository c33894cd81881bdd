"""Both towers in training: the model with its tokenizer and pixels, and what of it is frozen and computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from engine.checkpoint import BICUBIC, CLIP_MEAN, CLIP_STD, Checkpoint, Preprocessing, find_checkpoint
from engine.encoder import native_bfloat16
from engine.token_heads import cells_of
from train import parallel
from train.efficientnet import MEAN, STD, hasten
from train.frozen import extend, freeze, pooled
from train.kept import kept_array
from train.lora import adapt
from train.model import build_model
from train.pairs import Pairs
from train.recipe import ModelRecipe, OptimizerRecipe
from train.token_states import TokenStates, texts_at_once
from train.tokenizer import train_tokenizer

OURS = "vision-text-dual-encoder"
IMAGE_CHUNK = 256
_SIDES = {"image": ("vision_model", "visual_projection"), "text": ("text_model", "text_projection")}


CONVOLUTIONAL = {"efficientnet", "convnext", "convnextv2", "resnet"}
"""Image towers that see photographs of any size; others know their cells by number."""


class Towers:
    """A model to be trained, on its device. ``preprocessing`` says how it wants its pixels.

    ``new_layers``: so many of its text tower learn, those below are a frozen sentence encoder's; 0: all learn.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing, new_layers: int, device: str) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)
        self.tokenizer, self.preprocessing, self.device = tokenizer, preprocessing, device
        self._new_layers = new_layers
        self._states: TokenStates | None = None
        self._images: Tensor | None = None
        self._texts: Tensor | None = None
        self._padding = "max_length" if "siglip" in str(model.config.model_type) else "longest"
        mean, std = torch.tensor(preprocessing.mean) * 255, torch.tensor(preprocessing.std) * 255
        self._mean, self._std = mean.to(device).reshape(3, 1, 1), std.to(device).reshape(3, 1, 1)

    def prepare(self, pixels: Any, texts: Sequence[str], choices: OptimizerRecipe, cache: Path) -> None:
        """Freeze what is to keep its weights, and compute once what it makes of every text or photograph."""
        frozen = choices.freeze
        if choices.lora_rank:
            adapt(self.model, choices.lora_rank)
            self._new_layers = 0  # all layers change
        if self._new_layers:
            freeze(self.model.text_model, self._new_layers)
        if frozen:
            self.lock(frozen)
        if frozen == "image":
            with torch.inference_mode():
                self._images = self.embed_images(self.model.eval(), pixels)
        elif frozen == "text":
            with torch.inference_mode():
                self._texts = self._kept_texts(texts, cache)
        if self._new_layers and frozen != "text":
            with autocast(self.device):
                self._states = TokenStates(self.model.text_model, self.tokenizer, texts, self._new_layers, cache)

    def lock(self, side: str) -> None:
        """Let the tower of a side, ``image`` or ``text``, keep its weights."""
        for name in filter(partial(hasattr, self.model), _SIDES[side]):  # SigLIP has no projections
            getattr(self.model, name).requires_grad_(False)

    def _kept_texts(self, texts: Sequence[str], cache: Path) -> Tensor:
        """Return unit rows for ``texts`` from the folder ``cache``, or compute them once."""
        digest = hashlib.sha256("\0".join(texts).encode())
        for name in filter(partial(hasattr, self.model), _SIDES["text"]):
            for weight in getattr(self.model, name).parameters():
                digest.update(weight.detach().cpu().numpy().tobytes())
        rows = kept_array(
            cache / f"{digest.hexdigest()[:16]}.npy",
            lambda: self.embed_texts(self.model.eval(), texts).cpu().numpy(),
            lambda rows: len(rows) == len(texts),
        )
        return torch.from_numpy(rows).to(self.device)

    def image_rows(self, rows: Any, photographs: Callable[[], Tensor]) -> Tensor:
        """Return unit rows (k, d) for items ``rows``, of which ``photographs`` makes what the tower is to see now.

        ``photographs``: returns float32 (k, 3, height, width) in [0, 255]; a frozen tower does not ask for them.
        """
        if self._images is not None:
            return self._images[torch.from_numpy(rows).to(self.device)].clone()
        return self.embed_photographs(self.model, photographs())

    def text_rows(self, rows: Any, texts: Sequence[str], left_out: float = 0.0) -> Tensor:
        """Return unit rows (k, d) for ``rows`` of the prepared ``texts``.

        ``left_out``: the probability of each token but the first to be hidden from the layers that learn above frozen
        ones. A tower that learns as a whole sees them all.
        """
        if self._texts is not None:
            return self._texts[torch.from_numpy(rows).to(self.device)].clone()
        if self._states is None:
            return self.embed_texts(self.model, [texts[row] for row in rows.tolist()])
        order = np.argsort(self._states.lengths(rows), kind="stable")  # padding costs as much as text
        parts = []
        each = texts_at_once(self.device)
        for chunk in np.array_split(rows[order], max(1, len(rows) // each)):
            states, there = self._states.batch(chunk)
            if left_out:
                shown = torch.rand(there.shape, device=there.device) >= left_out
                shown[:, 0] = True
                there = there & shown
            with autocast(self.device):
                parts.append(pooled(self.model.text_model, self._new_layers, states, there))
        with autocast(self.device):
            output = self.model.text_projection(torch.cat(parts))
        return F.normalize(output.float(), dim=-1)[torch.from_numpy(np.argsort(order)).to(self.device)]

    @property
    def takes_any_size(self) -> bool:
        """Whether the image tower also sees photographs of other sizes than ``preprocessing`` makes."""
        return str(self.model.config.vision_config.model_type) in CONVOLUTIONAL

    @property
    def word_layer(self) -> int:
        """Whose states stand for the words, counted from the end: the last frozen layer's, or the last one's."""
        return -1 - self._new_layers

    def cells(self, model: Any, photographs: Tensor) -> Tensor:
        """Return the cells (n, p, width) of the last feature maps for photographs (n, 3, h, w) in [0, 255]."""
        with autocast(self.device):
            return cells_of(model.vision_model(pixel_values=self._normalised(photographs))).float()

    def word_states(self, model: Any, rows: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token states (k, l, width) of some prepared ``texts``, and which tokens are there, bool (k, l)."""
        if self._states is not None:
            return self._states.batch(rows)
        return self.states_of(model, [texts[row] for row in rows.tolist()])

    def states_of(self, model: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the same for any texts."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        with autocast(self.device):
            output = model.text_model(**batch, output_hidden_states=True)
        return output.hidden_states[self.word_layer].float(), batch["attention_mask"].bool()

    def photographs(self, pixels: Any) -> Iterator[Tensor]:
        """Yield uint8 pixels (n, height, width, 3) in chunks, as float32 (k, 3, height, width) in [0, 255]."""
        for start in range(0, len(pixels), IMAGE_CHUNK):
            values = torch.tensor(np.asarray(pixels[start : start + IMAGE_CHUNK])).to(self.device)
            yield values.permute(0, 3, 1, 2).float()

    def embed_images(self, model: Any, pixels: Any) -> Tensor:
        """Return unit rows (n, d) for uint8 pixels (n, height, width, 3), as ``model`` sees them without variation."""
        return torch.cat([self.embed_photographs(model, values) for values in self.photographs(pixels)])

    def embed_texts(self, model: Any, texts: Sequence[str]) -> Tensor:
        """Return unit rows (n, d) for any texts."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows = []
        each = texts_at_once(self.device)
        for start in range(0, len(order), each):
            chunk = [texts[index] for index in order[start : start + each]]
            batch = self.tokenizer(chunk, padding=self._padding, truncation=True, return_tensors="pt").to(self.device)
            with autocast(self.device):
                rows.append(model.get_text_features(**batch).pooler_output)
        back = torch.tensor(order, device=self.device).argsort()
        return F.normalize(torch.cat(rows)[back].float(), dim=-1)

    def embed_photographs(self, model: Any, values: Tensor) -> Tensor:
        """Return unit rows (n, d) for photographs, float32 (n, 3, height, width) in [0, 255]."""
        with autocast(self.device):
            output = model.get_image_features(pixel_values=self._normalised(values)).pooler_output
        return F.normalize(output.float(), dim=-1)

    def _normalised(self, values: Tensor) -> Tensor:
        return ((values - self._mean) / self._std).contiguous(memory_format=torch.channels_last)


def open_towers(
    recipe: ModelRecipe,
    base: Checkpoint | None,
    pairs: Pairs,
    preprocessing: Preprocessing,
    device: str,
    out: Path,
    taught: Checkpoint | None = None,
) -> Towers:
    """Return the towers to train: those of ``base``, or new ones as the recipe describes them.

    ``taught``: a checkpoint of this program, whose text tower is taken as it is.
    """
    if base is not None:
        return towers_of(base, device)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading and writing weights: ours says more
    new_layers = 0
    if taught is not None:
        new_layers = taught.new_text_layers
        tokenizer, teacher = _loaded(taught)
        model = build_model(recipe, tokenizer, teacher.text_model)
        model.text_projection, model.logit_scale = teacher.text_projection, teacher.logit_scale
    elif recipe.text_base:
        encoder = find_checkpoint(recipe.text_base)
        new_layers = recipe.text_layers
        words = out / f"words-{parallel.rank()}"
        text_model, tokenizer = extend(encoder, new_layers, recipe.vocabulary, pairs.corpus(), words)
        model = build_model(recipe, tokenizer, text_model)
    else:
        tokenizer = train_tokenizer(pairs.corpus(), recipe.vocabulary, recipe.context)
        model = build_model(recipe, tokenizer)
    hasten(model)
    return Towers(model, tokenizer, preprocessing, new_layers, device)


def towers_of(base: Checkpoint, device: str, thawed: int = 0) -> Towers:
    """Return the towers of a checkpoint; ``thawed``: so many of its frozen text layers learn, too."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer, model = _loaded(base)
    hasten(model)
    new_layers = base.new_text_layers + thawed if base.new_text_layers else 0
    return Towers(model, tokenizer, base.preprocessing, new_layers, device)


def _loaded(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Return the tokenizer and the model, float32, of a checkpoint."""
    return (
        AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True),
        AutoModel.from_pretrained(checkpoint.folder, dtype=torch.float32, local_files_only=True),
    )


def taught_text_tower(recipe: ModelRecipe) -> Checkpoint | None:
    """Return the checkpoint that ``text_base`` names, if that is one of this program: both of its towers are trained.

    A sentence encoder is none.
    """
    found = find_checkpoint(recipe.text_base) if recipe.text_base else None
    return found if found is not None and found.config.get("model_type") == OURS else None


def preprocessing_of(recipe: ModelRecipe, base: Checkpoint | None) -> Preprocessing:
    """Return how the model wants pixels: as ``base`` does, or resized to the recipe's size, whatever their shape."""
    if base is not None:
        return base.preprocessing
    mean, std = (MEAN, STD) if recipe.vision == "efficientnet" else (CLIP_MEAN, CLIP_STD)
    return Preprocessing(recipe.image_height, recipe.image_width, None, BICUBIC, mean, std)


def autocast(device: str) -> AbstractContextManager[Any]:
    """Bfloat16 over float32 weights where the processor has it; float16 never: it overflows, and CPUs emulate it."""
    return torch.autocast(device, torch.bfloat16) if device != "cpu" or native_bfloat16(torch) else nullcontext()
