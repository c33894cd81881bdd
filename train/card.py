"""The model card of a checkpoint: what it is, what it learnt from, what was measured, and what it does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.checkpoint import Checkpoint
from eval.split import split_of
from ingest.sources.source import Source
from train.export import note

CARD = "README.md"
TOLD = ("epochs", "batch_size", "loss", "learning_rate", "freeze", "lora_rank", "seed")
_CARD = """---
library_name: sentence-transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, fashion, retrieval]
---

# {name}

A CLIP for photographs of fashion ({architecture}), with embeddings of {dimension} numbers; fingerprint
`{fingerprint}`. It loads in transformers and sentence-transformers without other code; `text.onnx` and `image.onnx`
are both towers for ONNX Runtime, and share the weights of `model.safetensors`.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("this folder")
model.encode(["long sleeve denim"])  # unit float32 rows; a PIL image goes the same way
```

## Data

{data}

Of these, {share:.0%}, split by product or title (seed {seed}), less a twentieth for validation. The rest was held out:
`engine eval` with this checkpoint examines by the same split.

## Training

{training}
`training.json` has the whole recipe.

## Figures

{figures}

On validation, by which the training was steered. For figures to publish, examine the held-out part: `engine eval`.

## Limits

- It knows the photographs above, and what its base knew. Figures on held-out products of the same catalogue are
  in-domain: they must not be compared with zero-shot figures.
- It sees {width} x {height} pixels: what is smaller than a pixel there, it cannot know. It reads {context} tokens of
  a text.
- Names of brands and of groups of people mean to it what the captions made of them.

## Licence

Not chosen yet. The photographs, the captions and the base have licences of their own: look at them before you
publish it.
"""


def write_card(folder: Path, sources: Sequence[Source]) -> None:
    """Note in a finished checkpoint what it learnt from, and write its card from its notes."""
    note(folder, {"data": [source.description for source in sources]})
    checkpoint = Checkpoint(folder)
    notes, spec, (share, seed) = checkpoint.notes, checkpoint.preprocessing, split_of(checkpoint)
    text = _CARD.format(
        name=checkpoint.recipe.get("name", "checkpoint"),
        architecture=checkpoint.config.get("model_type"),
        dimension=checkpoint.dimension,
        fingerprint=checkpoint.fingerprint[:12],
        data="\n".join(f"- {description}" for description in notes["data"]),
        **{"share": share, "seed": seed, "training": _training(notes), "figures": _figures(notes)},
        **{"width": spec.width, "height": spec.height, "context": checkpoint.context},
    )
    (folder / CARD).write_text(text, encoding="utf-8", errors="backslashreplace")  # names that are no Unicode


def _training(notes: Mapping[str, Any]) -> str:
    """Return how it came about, a line each."""
    lines = []
    if recipe := notes.get("recipe"):
        optimizer = recipe.get("optimizer", {})
        told = ", ".join(f"{name} {optimizer[name]}" for name in TOLD if optimizer.get(name))
        lines.append(f"Recipe `{recipe.get('name')}`: {told.replace('_', ' ')}.")
    if taught := notes.get("taught"):
        looked = "" if taught.get("attributes") is None else ", and attributes by their photographs"
        if taught.get("captions"):
            looked = f", and the captions of {taught['captions']:,} photographs"
        lines.append(
            f"Then `engine teach`: {taught['phrases']} phrases, by the checkpoint `{taught['base'][:12]}`{looked}."
        )
    if distilled := notes.get("distilled"):
        names = ", ".join(f"`{fingerprint[:12]}`" for fingerprint in distilled["from"])
        lines.append(f"Then `engine distil` of {names}, with {distilled['phrases']} phrases of shoppers.")
    return "\n".join(lines)


def _figures(notes: Mapping[str, Any]) -> str:
    marks = notes.get("validation") or notes.get("base", {}).get("validation") or {}
    rows = [f"| {name} | {value:.4g} |" for name, value in marks.items()]
    return "\n".join(["| figure | value |", "|---|---:|", *rows]) if rows else "None."
