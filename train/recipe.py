"""A training recipe: every choice that shapes a checkpoint, read from one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.checkpoint import Checkpoint
from engine.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"
CHOICES = {
    "vision": ("hybrid", "convnext", "efficientnet"),
    "loss": ("softmax", "sigmoid", "raw"),
    "freeze": ("", "image", "text"),
}
TOO_MUCH = 2**63
"""No number of a recipe reaches it: tensors, seeds and files take no larger ones."""
LEAST_VOCABULARY = 514
"""The 256 bytes, each also as the end of a word, and the two ends of a text."""
_COUNT = ("at least 1", lambda value: value >= 1)
_SHARE = ("between 0 and 1", lambda value: value <= 1)
_LESS_THAN_ALL = ("at least 0 and below 1", lambda value: value < 1)
BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("image_height", "image_width", "vision_stem", "vision_widths", "vision_depths"), _COUNT),
    **dict.fromkeys(("text_width", "text_heads", "vocabulary", "dimension"), _COUNT),
    **dict.fromkeys(("batch_size", "texts_per_item"), _COUNT),
    **dict.fromkeys(("brightness", "erase", "word_dropout", "warmup_share", "coarse_share"), _SHARE),
    **dict.fromkeys(("vision_dropout", "ema_decay"), _LESS_THAN_ALL),
    "context": ("at least 3: a token between the two ends", lambda value: value >= 3),
    "crop_scale": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "train_share": ("above 0 and below 1", lambda value: 0 < value < 1),
}
"""What a number, or each of several, may be; none is negative."""


@dataclass(frozen=True)
class ModelRecipe:
    """The two towers. Sizes in pixels, channels, layers; ``dimension`` is that of the shared embedding.

    ``vision``: ``hybrid``, a ResNet of three stages after a stem of ``vision_stem`` channels, over whose last cells
    ``vision_layers`` of a transformer attend; ``convnext``, which has no batch normalisation, so that dividing a
    batch makes no difference; or ``efficientnet``, EfficientNet-Lite0, whose sizes are fixed, and which starts from
    the weights in the file ``vision_base`` if there is one (`train.efficientnet` says which). ``vision_dropout``: of
    the transformer, or of blocks of the others.
    ``text_base``: a BERT-like sentence encoder (a folder or a hub name) whose layers are kept as they are, with
    ``text_layers`` new ones on top; then ``vocabulary`` is how many of its most frequent tokens are kept, and the
    other text sizes are its own. Or a checkpoint of this program, whose whole text tower is taken: for a new image
    tower beside it. Without it, the text tower is CLIP's, from scratch. ``reduced_dimension``: to how many numbers the
    shared embedding is cut when the training is over (`train.reduce`), 0 for not. ``patches``: how many numbers a
    part of a photograph gets for the re-ranking, 0 for a checkpoint that does not re-rank.
    """

    image_height: int = 80
    image_width: int = 64
    vision: str = "hybrid"
    vision_base: str = ""
    vision_stem: int = 48
    vision_widths: tuple[int, ...] = (64, 128, 320)
    vision_depths: tuple[int, ...] = (2, 2, 3)
    vision_layers: int = 1
    vision_dropout: float = 0.05
    text_base: str = ""
    text_width: int = 256
    text_layers: int = 2
    text_heads: int = 4
    vocabulary: int = 4096
    context: int = 77
    dimension: int = 256
    reduced_dimension: int = 0
    patches: int = 0


@dataclass(frozen=True)
class DataRecipe:
    """Which part of the data is seen, and how it is varied (`train.augment` says how much each number means).

    ``texts_per_item``: so many titles, and as many attribute texts, are written for each item before training.
    """

    train_share: float = 0.8
    split_seed: int = 42
    texts_per_item: int = 4
    word_dropout: float = 0.1
    crop_scale: float = 0.75
    brightness: float = 0.15
    erase: float = 0.25


@dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW with linear warm-up and cosine decay to zero, clipping, and an average of the weights.

    ``loss``: ``softmax`` (CLIP), ``sigmoid`` (SigLIP), or ``raw``: cosines without a temperature, which hardly learn;
    it is there to be compared with. ``coarse_share``: for that share of the steps a convolutional tower sees smaller
    photographs, at less than half the cost. ``micro_batch``: so many are embedded at once, 0 for the whole batch.
    ``memory``: so many pairs of earlier steps are kept as further wrong answers for titles (softmax only); for a run
    with a frozen tower, as two that both learn can tell what is old by moving away from it.
    ``teach_weight``: of a term of the loss that draws photographs to where the image tower of ``text_base``, then a
    checkpoint, has it (`train.teacher`).
    ``attribute_weight``: of the same loss over texts made of attributes, beside that over titles. ``warmup_share``: of
    the steps, in which the learning rate rises. ``clip_norm``: what gradients are clipped to. ``ema_decay``: of the
    average of the weights, which is what is examined and kept.
    ``layer_decay``: each layer down, the learning rate is multiplied by it. ``freeze``: ``image`` or ``text``, a tower
    that keeps its weights, whose embeddings are computed once (locked tuning: Zhai et al. 2022). ``lora_rank``: learn
    only matrices of that rank beside those of the attention, 0 for all weights. ``patience``: epochs
    without a better validation after which the run ends, 0 for never. ``wise_ft``: mix the weights with those of the
    base, in the proportion that validates best (Wortsman et al. 2022). ``head_steps``: of training the heads of the
    re-ranking, when all else is done, and ``cross_steps`` then of cross-attention over them.
    """

    batch_size: int = 512
    epochs: int = 14
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_share: float = 0.05
    clip_norm: float = 1.0
    loss: str = "softmax"
    coarse_share: float = 0.0
    micro_batch: int = 0
    memory: int = 0
    layer_decay: float = 1.0
    freeze: str = ""
    lora_rank: int = 0
    patience: int = 0
    wise_ft: bool = False
    head_steps: int = 800
    cross_steps: int = 0
    ema_decay: float = 0.99
    teach_weight: float = 0.0
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
    if not path.is_file():
        path = RECIPES / f"{name}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"no recipe {name!r}: give a .toml file, or one of those shipped: {shipped}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no recipe in TOML: {error}") from error
    sections = {"model": ModelRecipe, "data": DataRecipe, "optimizer": OptimizerRecipe}
    _only_known(tables, set(sections), f"{path}")
    parts = {name: _section(kind, tables.get(name, {}), f"{path} [{name}]") for name, kind in sections.items()}
    if parts["model"].text_base and not parts["model"].text_layers:
        raise UsageError(f"{path} [model]: text_base is frozen and needs at least one layer on top: text_layers = 1")
    return Recipe(name=path.stem, **parts)


def inherit(recipe: Recipe, base: Checkpoint | None, *, both_towers: bool = True) -> Recipe:
    """Return the recipe with what its base decides: the split, for what it saw is not held out, and what is frozen.

    And how its image tower was made, unless only its text tower is taken (not ``both_towers``).
    """
    if base is None or base.trained_split is None:
        return recipe
    share, seed = base.trained_split
    sizes = base.recipe.get("model", {})
    text_base, layers = str(sizes.get("text_base", "")), base.new_text_layers or recipe.model.text_layers
    seen: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in sizes.items()
        if both_towers and key.startswith(("image_", "vision")) and hasattr(recipe.model, key)
    }
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, train_share=share, split_seed=seed),
        model=dataclasses.replace(
            recipe.model,
            text_base=text_base,
            text_layers=layers,
            dimension=int(base.config.get("projection_dim", recipe.model.dimension)),
            **seen,
        ),
    )


_KINDS: dict[type[Any], str] = {
    tuple: "a list, not empty, of whole numbers from 0 on, below 2**63",
    bool: "true or false",
    str: "a text in quotation marks",
    int: "a whole number from 0 on, below 2**63",
    float: "a number from 0 on, below 2**63",
}


def check_recipe(recipe: Recipe, *, has_base: bool) -> None:
    """Refuse choices of which each is possible, and which make no towers together.

    ``has_base``: there is a checkpoint to start from, which decides the sizes of the towers.

    Raises:
        UsageError: naming the entries.
    """
    model, frozen = recipe.model, recipe.optimizer.freeze
    if model.vision_base and model.vision != "efficientnet":
        raise UsageError(
            f'[model]: vision_base {model.vision_base!r} is for vision = "efficientnet", not {model.vision!r}: '
            "change one of them, or leave out vision_base"
        )
    if frozen and not has_base and not (model.vision_base if frozen == "image" else model.text_base):
        raise UsageError(
            f"[optimizer]: freeze = {frozen!r} would lock a tower that has learnt nothing: give a --base, "
            f"or {'vision_base' if frozen == 'image' else 'text_base'} in the recipe, or leave out freeze"
        )
    if has_base:
        return
    if model.vision == "convnext":
        _check_stages(model)
    if model.text_base:
        return
    if model.vocabulary < LEAST_VOCABULARY:
        raise UsageError(
            f"[model]: vocabulary cannot be {model.vocabulary} without text_base, only at least {LEAST_VOCABULARY}: "
            "the bytes, and the ends of words and texts"
        )
    if model.text_width % model.text_heads:
        raise UsageError(
            f"[model]: text_width cannot be {model.text_width} with text_heads {model.text_heads}, "
            "only a multiple of that"
        )


def _check_stages(model: ModelRecipe) -> None:
    stages = len(model.vision_depths)
    if len(model.vision_widths) != stages:
        raise UsageError(
            f"[model]: vision_widths {list(model.vision_widths)} and vision_depths {list(model.vision_depths)} cannot "
            "be of different lengths in a convnext tower: each stage has one of either"
        )
    least = 4 * 2 ** (stages - 1)  # the stem divides the sides by four, each further stage by two
    if min(model.image_height, model.image_width) < least:
        raise UsageError(
            f"[model]: image_height and image_width cannot be {model.image_height} and {model.image_width} in a "
            f"convnext tower of {stages} stages, only at least {least}"
        )


def _section(kind: type[Any], entries: Any, where: str) -> Any:
    if not isinstance(entries, dict):
        raise UsageError(f"{where} must be a table, not {entries!r}")
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    _only_known(entries, set(defaults), where)
    for key, value in entries.items():
        if allowed := _transgressed(key, value, defaults[key]):
            raise UsageError(f"{where}: {key} cannot be {value!r}, only {allowed}; the default is {defaults[key]!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entries.items()})


def _transgressed(key: str, value: Any, default: Any) -> str:
    """Return what an entry may be, if it is something else."""
    if not _alike(value, default):
        return _KINDS[type(default)]
    if key in CHOICES and value not in CHOICES[key]:
        return "one of " + ", ".join(map(repr, CHOICES[key]))
    allowed, is_so = BOUNDS.get(key, ("", bool))
    return allowed if allowed and not all(map(is_so, value if isinstance(value, list) else [value])) else ""


def _alike(value: Any, default: Any) -> bool:
    """Say whether a value is of its default's kind; no number of a recipe is negative."""
    if isinstance(default, tuple):
        return isinstance(value, list) and bool(value) and all(_alike(part, 1) for part in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, int):
        return isinstance(value, int) and 0 <= value < TOO_MUCH
    return isinstance(value, int | float) and 0 <= value < TOO_MUCH  # neither is what is no number


def _only_known(entries: dict[str, Any], known: set[str], where: str) -> None:
    for key in entries:
        if key not in known:
            raise UsageError(f"{where}: unknown entry {key!r}; known are {', '.join(sorted(known))}")
