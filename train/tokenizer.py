"""A byte-level BPE tokenizer in CLIP's form, learnt from the captions at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> Any:
    """Learn merges from ``texts`` and return a `transformers.CLIPTokenizer` of ``vocabulary`` entries.

    The alphabet is all 256 bytes, each also with the end-of-word mark: otherwise a byte that the captions never
    showed would become the unknown token, which in CLIP is the end-of-text token, and the rest of the query would
    silently be ignored. The end-of-text token has the highest id, so that pooling finds exactly one. So there are no
    fewer than `train.recipe.LEAST_VOCABULARY` entries.
    """
    alphabet = list(byte_alphabet())
    base = alphabet + [symbol + "</w>" for symbol in alphabet]
    blank = CLIPTokenizer()
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    merges = merges[: max(0, vocabulary - len(base) - 2)]
    tokens = [*list(dict.fromkeys([*base, *(left + right for left, right in merges)])), START, END]
    ids = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=context)  # type: ignore[arg-type]


def byte_alphabet() -> str:
    """Return the 256 printable characters that stand for the 256 bytes in byte-level BPE (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))
