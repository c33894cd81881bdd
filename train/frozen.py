"""A pretrained sentence encoder as the text tower: its layers frozen, new ones on top, trained.

Photographs of one shop know few words; an encoder that read a billion sentences knows many more, and which are alike.
Frozen layers give the same numbers in every epoch, so each text passes through them once (locked-image tuning, Zhai et
al. 2022, with the text side locked instead), and a step costs hardly more than its photographs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from engine.checkpoint import Checkpoint
from engine.errors import CheckpointError
from train.model import start_uniform

LATIN = re.compile(r"(##)?[\x21-\x7e£€°]+")


def extend(base: Checkpoint, new_layers: int, vocabulary: int, corpus: Iterable[str], out: Path) -> tuple[Any, Any]:
    """Return a `BertModel` with ``new_layers`` untrained layers on top of those of ``base``, and its tokenizer.

    Of the vocabulary are kept the ``vocabulary`` most frequent entries (WordPiece lists them in that order) that are
    in Latin script, all parts of words, and all that the ``corpus`` uses. The tokenizer is written to ``out``.

    Raises:
        CheckpointError: ``base`` is no BERT with a WordPiece tokenizer.
    """
    if base.config.get("model_type") != "bert":
        raise CheckpointError(f"{base.folder} is a {base.config.get('model_type')}: text_base takes a BERT")
    tokenizer = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    kept = _kept(tokenizer, vocabulary, corpus)
    old = BertModel.from_pretrained(base.folder, local_files_only=True, dtype=torch.float32)
    config = old.config
    config.num_hidden_layers += new_layers
    config.vocab_size = len(kept)
    config.pad_token_id = 0
    config._name_or_path = ""  # a folder of whoever trains is nobody else's business
    model = BertModel(config)
    weights = {name: value for name, value in old.state_dict().items() if not name.startswith("pooler.")}
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][kept]
    model.load_state_dict(weights, strict=False)
    _start_as_mean(model, new_layers)
    return model, _shrunk(tokenizer, kept, out)


def _start_as_mean(model: Any, new_layers: int) -> None:
    """Let the pooled output start near the mean of the token states, which is what such an encoder was trained for."""
    for layer in model.encoder.layer[-new_layers:]:
        start_uniform(layer.attention.self.query, layer.attention.self.value, layer.attention.output.dense)
    with torch.no_grad():
        model.pooler.dense.weight.copy_(torch.eye(model.config.hidden_size))


def freeze(text_model: Any, new_layers: int) -> None:
    """Let only the last ``new_layers`` and the pooler learn."""
    for part in (text_model.embeddings, *text_model.encoder.layer[:-new_layers]):
        part.requires_grad_(False)


def pooled(text_model: Any, new_layers: int, states: Tensor, there: Tensor) -> Tensor:
    """Return what ``text_model`` gives as its pooled output (k, width), from the states below its new layers.

    Of the last layer only the first token is asked for, so only that one is computed: a quarter of the work.
    """
    *below, last = text_model.encoder.layer[-new_layers:]
    mask = there[:, None, None, :]
    for layer in below:
        states = layer(states, mask)
    return text_model.pooler(_first_token(last, states, mask))  # type: ignore[no-any-return]


def _first_token(layer: Any, states: Tensor, mask: Tensor) -> Tensor:
    attention, first = layer.attention.self, states[:, :1]
    heads = (attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (
        part(rows).unflatten(-1, heads).transpose(1, 2)
        for part, rows in ((attention.query, first), (attention.key, states), (attention.value, states))
    )
    scores = (query @ key.transpose(2, 3) * attention.scaling).masked_fill(~mask, -torch.inf)
    weights = attention.dropout(F.softmax(scores.float(), dim=-1).to(value.dtype))
    mixed = (weights @ value).transpose(1, 2).flatten(2)
    after = layer.attention.output(mixed, first)
    return layer.output(layer.intermediate(after), after)  # type: ignore[no-any-return]


def _kept(tokenizer: Any, vocabulary: int, corpus: Iterable[str]) -> list[int]:
    used: set[int] = set(tokenizer.all_special_ids)
    texts = list(corpus)
    for start in range(0, len(texts), 10_000):
        for ids in tokenizer(texts[start : start + 10_000])["input_ids"]:
            used.update(ids)
    for token, row in tokenizer.get_vocab().items():
        frequent = row < vocabulary or token.startswith("##") or len(token) == 1
        if frequent and LATIN.fullmatch(token) and not token.startswith("[unused"):
            used.add(row)
    return sorted(used)


def _shrunk(tokenizer: Any, kept: Sequence[int], out: Path) -> Any:
    """Write the tokenizer to ``out`` with only the entries ``kept``, in their order; return it."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    entries = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
    names = {row: token for token, row in entries["model"]["vocab"].items()}
    entries["model"]["vocab"] = {names[row]: place for place, row in enumerate(kept)}
    ids = entries["model"]["vocab"]
    entries["added_tokens"] = [one | {"id": ids[one["content"]]} for one in entries["added_tokens"]]
    for special in entries["post_processor"]["special_tokens"].values():
        special["ids"] = [ids[token] for token in special["tokens"]]
    entries["truncation"] = entries["padding"] = None
    (out / "tokenizer.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return AutoTokenizer.from_pretrained(out, local_files_only=True)
