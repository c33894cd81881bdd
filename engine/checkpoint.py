"""A checkpoint folder: what is in it, its fingerprint, and how it wants its pixels.

A checkpoint is a Hugging Face folder (config, weights, tokenizer, image processor). Beside the weights may lie the
towers exported to ONNX (`text.onnx`, `image.onnx`), which answer without importing torch. They lie beside the weights
because they share them: ONNX lets a graph name a range of bytes in a file of its own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.errors import CheckpointError
from engine.records import shown

if TYPE_CHECKING:
    from PIL import Image

BUNDLED = Path(__file__).parent / "checkpoints"
DEFAULT_MODEL = "fashion-small"
BICUBIC = 3
"""As Pillow numbers its filters."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
WEIGHT_SUFFIXES = (".safetensors", ".bin")
HEAD_FACTS, HEAD_WEIGHTS, CROSS = "token_heads.json", "token_heads.safetensors", "cross.onnx"
"""Of a checkpoint that can look at hits more closely; the last is the cross-attention, if it has one."""
NOTES = "training.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model")
"""Of which a checkpoint has at least one."""


@dataclass(frozen=True)
class Preprocessing:
    """From upright RGB to the pixels of the image tower: resize, perhaps crop, later normalise.

    Sizes in pixels. ``shortest_edge`` is None where the photograph is resized regardless of its shape: to ``resized``,
    (height, width), or where that is None to the full ``height`` and ``width``. Otherwise its shorter side is brought
    to ``shortest_edge``. Of what is larger than ``height`` and ``width`` then, the centre is cut out.
    ``mean`` and ``std`` are per channel, of pixels scaled to [0, 1].
    """

    height: int
    width: int
    shortest_edge: int | None
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resized: tuple[int, int] | None = field(default=None, repr=False)  # shown, it would change every fingerprint

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the photograph as the tower sees it: uint8, shape (height, width, 3)."""
        from PIL import Image  # here: most commands need a checkpoint's name only

        height, width = self._resized(image)
        resized = image.resize((width, height), Image.Resampling(self.resample))
        left, top = (width - self.width) // 2, (height - self.height) // 2
        return np.asarray(resized.crop((left, top, left + self.width, top + self.height)), dtype=np.uint8)

    def _resized(self, image: Image.Image) -> tuple[int, int]:
        if self.shortest_edge is None:
            return self.resized or (self.height, self.width)
        scale = self.shortest_edge / min(image.size)
        return max(self.height, int(image.height * scale)), max(self.width, int(image.width * scale))

    @property
    def shorter_side(self) -> int:
        """The shorter side, in pixels, that a decoded photograph should have at least."""
        return self.shortest_edge or min(self.resized or (self.height, self.width))


@dataclass(frozen=True)
class TokenHeadFacts:
    """How a checkpoint re-ranks: the dimension of patches and words, and whose states the words are.

    ``weights``: of each re-ranker that it has, how much its score counts beside the cosine. ``best``: the one to take
    where nobody names one.
    """

    dimension: int
    text_layer: int
    weights: Mapping[str, float]
    best: str


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk. Nothing is loaded until it is asked for."""

    folder: Path

    @property
    def name(self) -> str:
        """What people call the model: the folder's name, or that of the run which ``checkpoint`` lies in."""
        folder = self.folder.absolute()
        return shown(folder.parent.name if folder.name == "checkpoint" else folder.name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration, as `config.json` has it."""
        return _read_json(self.folder / "config.json")

    @cached_property
    def dimension(self) -> int:
        """The length of an embedding.

        Raises:
            CheckpointError: the configuration is not that of a two-tower model.
        """
        siglip = "siglip" in str(self.config.get("model_type"))
        for config in self._configs() if "text_config" in self.config else ():
            text = config.get("text_config", {})  # SigLIP projects to its width, where it does not say otherwise
            found = text.get("projection_size") or text.get("hidden_size") if siglip else config.get("projection_dim")
            if isinstance(found, int):
                return found
        raise CheckpointError(
            f"{self.folder} holds a {self.config.get('model_type', 'model')}, not a CLIP: "
            "choose one with an image and a text tower"
        )

    @cached_property
    def context(self) -> int:
        """How many tokens of a text the model reads, start and end included."""
        for config in self._configs():
            if isinstance(tokens := config.get("text_config", {}).get("max_position_embeddings"), int):
                return tokens
        raise CheckpointError(f"{self.folder}/config.json does not say how long a text may be: get it again")

    def _configs(self) -> Iterator[dict[str, Any]]:
        """Yield the configuration, then the same with the defaults of its kind: slow, for transformers is imported."""
        yield self.config
        from transformers import AutoConfig

        try:
            yield AutoConfig.from_pretrained(self.folder, local_files_only=True).to_dict()
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{self.folder}/config.json cannot be understood ({reason}): get it again"
            ) from error

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What `preprocessor_config.json` or `processor_config.json` says about pixels."""
        for name in ("preprocessor_config.json", "processor_config.json"):
            if (self.folder / name).exists():
                entries = _read_json(self.folder / name)
                return _preprocessing(entries.get("image_processor", entries), self.folder / name)
        raise CheckpointError(f"{self.folder} has no preprocessor_config.json: it is no CLIP, or an incomplete copy")

    @cached_property
    def weights(self) -> list[Path]:
        """The weight files, in a stable order."""
        files = sorted(p for p in self.folder.iterdir() if p.suffix in WEIGHT_SUFFIXES and p.stem != "training_args")
        safe = [p for p in files if p.suffix == ".safetensors"]
        if not files:
            raise CheckpointError(f"{self.folder} has no weights (*.safetensors): it is an incomplete copy")
        return safe or files

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hex, of all that decides what is stored: weights, architecture, preprocessing, tokenizer."""
        digest = hashlib.sha256()
        shape = {key: value for key, value in self.config.items() if not key.startswith(("transformers_", "_name"))}
        digest.update(json.dumps(shape, sort_keys=True).encode())
        digest.update(f"{self.preprocessing!r}{self.preprocessing.resized or ''}".encode())
        heads = [self.folder / HEAD_WEIGHTS, self.folder / CROSS] if self.token_heads else []
        for path in [*self.weights, *(self.folder / name for name in TOKENIZER_FILES), *heads]:
            if path.exists():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @cached_property
    def trained_split(self) -> tuple[float, int] | None:
        """Which share of the products training was shown, and by which seed it was chosen; None where nobody says."""
        data = self.recipe.get("data", {})
        share, seed = data.get("train_share"), data.get("split_seed")
        return (float(share), seed) if isinstance(share, int | float) and isinstance(seed, int) else None

    @cached_property
    def new_text_layers(self) -> int:
        """How many layers of the text tower were trained on top of a frozen sentence encoder; 0 if there is none."""
        sizes = self.recipe.get("model", {})
        return int(sizes.get("text_layers", 0)) if sizes.get("text_base") else 0

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The recipe that it was trained by, as `training.json` keeps it; empty for a checkpoint from elsewhere."""
        recipe = self.notes.get("recipe", {})
        return recipe if isinstance(recipe, dict) else {}

    @cached_property
    def notes(self) -> dict[str, Any]:
        """What `training.json` says about its training; empty for a checkpoint from elsewhere."""
        path = self.folder / NOTES
        return _read_json(path) if path.exists() else {}

    @cached_property
    def token_heads(self) -> TokenHeadFacts | None:
        """What `token_heads.json` says; None for a checkpoint that cannot look at hits more closely."""
        path = self.folder / HEAD_FACTS
        if not path.exists():
            return None
        facts = _read_json(path)
        try:
            weights = {str(name): float(weight) for name, weight in facts["weights"].items()}
            best = max(weights, key=lambda name: name == facts["best"])
            return TokenHeadFacts(int(facts["dimension"]), int(facts["text_layer"]), weights, best)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be understood ({error!r}): get the checkpoint again") from error

    def tower(self, kind: str) -> Path | None:
        """Return the exported ONNX tower, ``text`` or ``image``, if the checkpoint has it."""
        path = self.folder / f"{kind}.onnx"
        return path if path.exists() else None


def find_checkpoint(model: str) -> Checkpoint:
    """Find a checkpoint: a folder, the name of a bundled one, or a name on the Hugging Face hub.

    Raises:
        CheckpointError: a folder that is no checkpoint, or a hub that cannot be reached.
    """
    folder = Path(os.path.expanduser(model))  # noqa: PTH111 - leaves the home of somebody who is not there alone
    if not folder.exists():
        bundled = BUNDLED / model
        folder = bundled if bundled.is_dir() else _download(model)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json (a Hugging Face CLIP folder has)")
    return Checkpoint(folder.resolve())


def _download(model: str) -> Path:
    bundled = ", ".join(sorted(p.name for p in BUNDLED.glob("*") if p.is_dir())) or "none"
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise CheckpointError(f"no checkpoint folder {model}: give a folder, a hub name, or a bundled one ({bundled})")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.model", "*.safetensors", "*.onnx", "README.md"]
    try:
        folder = Path(snapshot_download(model, allow_patterns=wanted))
        if not any(folder.glob("*.safetensors")):  # an older one, which has nothing else
            folder = Path(snapshot_download(model, allow_patterns=[*wanted, "*.bin"]))
        return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"no checkpoint {model!r}: no such folder, not bundled ({bundled}), "
            f"and the hub did not give it ({type(error).__name__})"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): get the checkpoint again") from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path} is no JSON object: get the checkpoint again")
    return entries


def _preprocessing(entries: dict[str, Any], path: Path) -> Preprocessing:
    size, crop = entries.get("size", 224), entries.get("crop_size", 224)
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    if not entries.get("do_resize", True) or not ({"shortest_edge"} <= set(size) or {"height", "width"} <= set(size)):
        raise CheckpointError(f"{path}: the image size {size!r} is of a kind that this program does not know")
    normal = bool(entries.get("do_normalize", True))
    try:
        resized = None if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
        cut = resized is None or entries.get("do_center_crop")
        height, width = (int((crop if cut else size)[side]) for side in ("height", "width"))
        return Preprocessing(
            height=height,
            width=width,
            shortest_edge=int(size["shortest_edge"]) if resized is None else None,
            resample=int(entries.get("resample", BICUBIC)),
            mean=_channels(entries.get("image_mean", CLIP_MEAN) if normal else (0, 0, 0)),
            std=_channels(entries.get("image_std", CLIP_STD) if normal else (1, 1, 1)),
            resized=None if resized == (height, width) else resized,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be understood ({error}): get the checkpoint again") from None


def _channels(values: Any) -> tuple[float, float, float]:  # noqa: ANN401
    red, green, blue = (float(value) for value in values)
    return red, green, blue
