"""`engine train` makes a checkpoint, `engine teach` gives it words, `engine distil` makes one of several.

`engine quantize` makes a fast copy of one, `engine sample` draws the sample data set.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.learning import progress_of_learning
from engine.cli.options import (
    CaptionColumnOption,
    DeviceOption,
    IdColumnOption,
    ImageColumnOption,
    ProductColumnOption,
    SourceOption,
    TitleColumnOption,
    open_sources,
    settings_of,
)
from engine.errors import UsageError

if TYPE_CHECKING:
    from train.words import Taught

ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of torch; without it, as many cores as are idle.")
]


def train_command(
    recipe: Annotated[str, typer.Argument(help="A .toml file, or the name of a shipped recipe.")],
    data: Annotated[list[Path], typer.Option("--data", help="Photographs to learn from, as for ingest; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the checkpoint lies in it.")] = Path("run"),
    base: Annotated[str | None, typer.Option("--base", help="Start from this checkpoint, not from scratch.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    text_base: Annotated[
        str | None, typer.Option("--text-base", help="Pretrained sentence encoder, instead of the recipe's.")
    ] = None,
    image_base: Annotated[
        str | None, typer.Option("--image-base", help="Pretrained EfficientNet-Lite0, instead of the recipe's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    source: SourceOption = "auto",
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write events for TensorBoard into the run folder too.")
    ] = False,
) -> None:
    """Train a checkpoint on the training part of photographs with captions."""
    _check_extra()
    import dataclasses

    from engine.checkpoint import find_checkpoint
    from train.recipe import load_recipe

    settings, chosen = settings_of(None, None, device=device), load_recipe(recipe)
    if epochs:
        chosen = dataclasses.replace(chosen, optimizer=dataclasses.replace(chosen.optimizer, epochs=epochs))
    model = chosen.model
    model = dataclasses.replace(
        model, text_base=text_base or model.text_base, vision_base=image_base or model.vision_base
    )
    chosen = dataclasses.replace(chosen, model=model)
    sources = open_sources(data, source, (id_column, image_column, title_column, caption_column, product_column))
    start = find_checkpoint(base) if base and base != "scratch" else None
    _before_torch()
    from train.trainer import train

    with progress_of_learning(out, tensorboard=tensorboard) as report:
        folder = train(
            chosen,
            sources,
            out,
            base=start,
            resume=resume,
            threads=threads,
            device=settings.device,
            report=report,
        )
    print(folder)


def teach_command(
    data: Annotated[list[Path], typer.Option("--data", help="Photographs with captions, as for train; repeatable.")],
    synonyms: Annotated[
        str, typer.Argument(help="A file of synonyms in Solr's format, or `shipped`, the one that comes along.")
    ] = "shipped",
    base: Annotated[
        str | None, typer.Option("--base", help="What is to learn them, if not the model that `engine config` shows.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the checkpoint lies in it.")] = Path("taught"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Teach it what photographs with an attribute look like, too.")
    ] = False,
    stress: Annotated[
        list[str] | None,
        typer.Option("--stress", help="The same, and a field more than others: FIELD=TIMES; repeatable."),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions", help="Let captions learn to find their photographs among all; words stay.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="How often all is repeated.")] = 10,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    source: SourceOption = "auto",
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
) -> None:
    """Teach a checkpoint what shoppers say: synonyms, by texts alone; attributes or captions, by photographs."""
    _check_extra()
    from engine.checkpoint import find_checkpoint
    from train.synonyms import load_synonyms

    def report(taught: Taught) -> None:
        print(
            f"epoch {taught.epoch} of {epochs}: mean cosine of what is said to what is meant "
            f"{taught.understood:.3f}, of texts not shown to where they belong {taught.kept:.3f}",
            file=sys.stderr,
            flush=True,
        )

    weights = _weights(stress or []) if attributes or stress else None
    if captions and weights is not None:
        raise UsageError(
            "--captions keeps attributes as they are: teach --attributes first, its checkpoint is the --base"
        )
    settings, words = settings_of(None, None, base, device), load_synonyms(synonyms)
    sources = open_sources(data, source, (id_column, image_column, title_column, caption_column, product_column))
    checkpoint = find_checkpoint(settings.model)
    print(f"synonyms: {len(words.meanings)} phrases", file=sys.stderr)
    _before_torch()
    from train.captions import teach_captions
    from train.words import teach_words

    begin = partial(print, file=sys.stderr, flush=True)
    how: dict[str, Any] = {
        "epochs": epochs,
        "resume": resume,
        "threads": threads,
        "device": settings.device,
        "begin": begin,
    }
    if captions:
        with progress_of_learning(out, tensorboard=False) as tell:
            folder = teach_captions(checkpoint, words, sources, out, **how, report=tell)
    else:
        folder = teach_words(checkpoint, words, sources, out, attributes=weights, **how, report=report)
    print(folder)


def _weights(stress: list[str]) -> dict[str, float]:
    """Return what each FIELD=TIMES says."""
    weights = {}
    for one in stress:
        field, _, times = one.rpartition("=")
        try:
            weight = float(times)
        except ValueError:
            weight = math.nan
        if not field or not 0 < weight < math.inf:
            raise UsageError(f"--stress {one!r} is not FIELD=TIMES with a number above 0: say colour=2")
        weights[field] = weight
    return weights


def distil_command(
    checkpoints: Annotated[
        list[str], typer.Argument(help="Two or more that see alike; the result begins as the first of them.")
    ],
    data: Annotated[list[Path], typer.Option("--data", help="Photographs with captions, as for train; repeatable.")],
    synonyms: Annotated[str, typer.Option("--synonyms", help="What shoppers call things, as for teach.")] = "shipped",
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the checkpoint lies in it.")] = Path(
        "distilled"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    epochs: Annotated[int, typer.Option(min=1, help="How often all photographs are looked at.")] = 10,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    source: SourceOption = "auto",
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
) -> None:
    """Make one checkpoint of several: as fast as one of them, and nearly as good as all of them together."""
    _check_extra()
    from engine.checkpoint import find_checkpoint
    from train.synonyms import load_synonyms

    settings, words = settings_of(None, None, device=device), load_synonyms(synonyms)
    sources = open_sources(data, source, (id_column, image_column, title_column, caption_column, product_column))
    several = [find_checkpoint(each) for each in checkpoints]
    _before_torch()
    from train.distil import distil

    with progress_of_learning(out, tensorboard=False) as report:
        folder = distil(
            several,
            words,
            sources,
            out,
            epochs=epochs,
            resume=resume,
            threads=threads,
            device=settings.device,
            report=report,
        )
    print(folder)


def quantize_command(
    base: Annotated[str, typer.Argument(help="A CLIP: a folder, or a name on the hub.")],
    data: Annotated[list[Path], typer.Option("--data", help="Photographs with captions, as for train; repeatable.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; the checkpoint lies in it.")] = Path("copy"),
    source: SourceOption = "auto",
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
) -> None:
    """Make a copy of a CLIP that is faster without a GPU: ONNX, and 8-bit integers where captions find as well."""
    _check_extra()
    from engine.checkpoint import find_checkpoint

    sources = open_sources(data, source, (id_column, image_column, title_column, caption_column, product_column))
    checkpoint = find_checkpoint(base)
    _before_torch()
    from train.fast_copy import fast_copy

    copied = fast_copy(checkpoint, sources, out, begin=partial(print, file=sys.stderr, flush=True))
    print(
        f"hit@10 of {copied.examined:,} captions: {copied.marks}; it computes in {copied.arithmetic}\n"
        f"mean cosine to the original {copied.cosine:.4f}; {copied.after:.0f} photographs/s, the original "
        f"{copied.before:.0f}",
        file=sys.stderr,
    )
    print(copied.folder)


def _check_extra() -> None:
    """Raise UsageError where what writes a checkpoint is missing: now, and not when the training is over."""
    for name in ("onnx", "onnxscript", "matplotlib"):
        if find_spec(name) is None:
            raise UsageError(f"{name} is missing: pip install '.[train]' in this program's source folder")


def _before_torch() -> None:
    """Prepare the process for training, whose import takes seconds: what a user got wrong has been told by then."""
    from train.cores import keep_memory

    keep_memory()


def sample_command(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one that is not there yet.")],
    count: Annotated[int, typer.Option(min=1, help="How many photographs to draw.")] = 400,
    seed: Annotated[int, typer.Option(help="Another seed draws other figures.")] = 7,
) -> None:
    """Draw a sample data set: fashion figures in DeepFashion-MultiModal's layout. Drawings, not photographs."""
    from ingest.lookbook.draw import draw_lookbook

    drawn = draw_lookbook(folder, count, seed)
    print(f"{drawn.images} drawings of {drawn.products} products in {drawn.folder} (seed {drawn.seed})")
