"""A training recipe: every choice that shapes a checkpoint, read from one TOML file."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"
AT_LEAST_ONE = {"batch_size", "epochs"}


@dataclass(frozen=True)
class ModelRecipe:
    """The two towers. Sizes in pixels, channels, layers; ``dimension`` is that of the shared embedding."""

    image_height: int = 80
    image_width: int = 64
    vision_widths: tuple[int, ...] = (48, 96, 192, 384)
    vision_depths: tuple[int, ...] = (1, 2, 4, 2)
    text_width: int = 256
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 4096
    context: int = 77
    dimension: int = 256


@dataclass(frozen=True)
class DataRecipe:
    """Which part of the data is seen, and how it is varied. ``crop_margin`` in pixels, ``brightness`` as a share.

    ``learn_vocabulary``: a base gets a tokenizer learnt from this data; without a base, one is always learnt.
    """

    train_share: float = 0.8
    split_seed: int = 42
    learn_vocabulary: bool = False
    word_dropout: float = 0.1
    crop_margin: int = 6
    brightness: float = 0.15


@dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW with linear warm-up and cosine decay to zero, clipping, and an average of the weights."""

    batch_size: int = 512
    epochs: int = 14
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_share: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    attribute_weight: float = 0.5
    seed: int = 7


@dataclass(frozen=True)
class Recipe:
    """A whole recipe, as the checkpoint keeps it beside its weights."""

    name: str
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)


def load_recipe(name: str) -> Recipe:
    """Read a recipe by path, or by the name of one that is shipped.

    Raises:
        UsageError: no such recipe, or one with an entry that no recipe has or with a value of the wrong kind.
    """
    path = Path(name)
    if not path.exists():
        path = RECIPES / f"{name}.toml"
    if not path.exists():
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"no recipe {name!r}: give a .toml file, or one of those shipped: {shipped}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no recipe in TOML: {error}") from error
    sections = {"model": ModelRecipe, "data": DataRecipe, "optimizer": OptimizerRecipe}
    _only_known(tables, set(sections), f"{path}")
    parts = {name: _section(kind, tables.get(name, {}), f"{path} [{name}]") for name, kind in sections.items()}
    return Recipe(name=path.stem, **parts)


def _section(kind: type[Any], entries: Any, where: str) -> Any:  # noqa: ANN401
    if not isinstance(entries, dict):
        raise UsageError(f"{where} must be a table, not {entries!r}")
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    _only_known(entries, set(defaults), where)
    for key, value in entries.items():
        if not _alike(value, defaults[key]) or (key in AT_LEAST_ONE and value < 1):
            raise UsageError(f"{where}: {key} cannot be {value!r}; the default is {defaults[key]!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entries.items()})


def _alike(value: Any, default: Any) -> bool:  # noqa: ANN401
    """Say whether a value is of its default's kind; no number of a recipe is negative."""
    if isinstance(default, tuple):
        return isinstance(value, list) and bool(value) and all(_alike(part, 1) for part in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and value >= 0
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _only_known(entries: dict[str, Any], known: set[str], where: str) -> None:
    for key in entries:
        if key not in known:
            raise UsageError(f"{where}: unknown entry {key!r}; known are {', '.join(sorted(known))}")
