"""What many tests need and nobody should wait for twice: drawings, the bundled encoder, a store that holds them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from workshop import Shop, command, copy_store, environment

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.encoder import Encoder, load_encoder
from ingest.lookbook.draw import draw_lookbook
from ingest.sources.detect import open_source
from ingest.sources.source import Source

# The same examples each time, so that a stranger's first run finds what ours found; `pytest
# --hypothesis-profile=default` looks for others.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


def pytest_configure() -> None:
    """Let the processes that tests start heed Ctrl-C, though a shell lets its jobs in the background ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def bundled() -> Checkpoint:
    """The checkpoint that comes with the package."""
    return find_checkpoint("fashion-small")


@pytest.fixture(scope="session")
def bundled_encoder(bundled: Checkpoint) -> Encoder:
    return load_encoder(bundled, "cpu")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A look-book of 48 drawings in DeepFashion-MultiModal's layout; read only."""
    folder = tmp_path_factory.mktemp("drawings") / "look-book"
    draw_lookbook(folder, count=48, seed=7)
    return folder


@pytest.fixture(scope="session")
def _ingested_once(drawings: Path, bundled_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shop = Shop(tmp_path_factory.mktemp("ingested"), bundled_encoder)
    assert shop.ingest(drawings).indexed == 48
    return shop.store_folder


@pytest.fixture
def ingested(_ingested_once: Path, tmp_path: Path) -> Path:
    """The folder of an Edge store with the collection ``fashion`` of all drawings, a copy for each test."""
    return copy_store(_ingested_once, tmp_path / "ingested")


@pytest.fixture
def shop(tmp_path: Path, bundled_encoder: Encoder) -> Shop:
    """An empty folder of photographs, and a store that is yet to be made."""
    return Shop(tmp_path, bundled_encoder)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real program as a process of its own: ``program("ingest", folder, cwd=...)``."""
    state = tmp_path_factory.mktemp("state")

    def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=cwd, capture_output=True, text=True, env=environment(state), check=False
        )

    return run


@pytest.fixture(scope="session")
def look_book(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Sixty drawings to learn from."""
    folder = tmp_path_factory.mktemp("train") / "look-book"
    draw_lookbook(folder, count=60, seed=3)
    return open_source(folder)


@pytest.fixture(scope="session")
def sentence_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a WordPiece tokenizer, as a sentence encoder is laid out."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "北",
        "##s",
        "##ed",
        "red",
        "dress",
        "a",
        "the",
    ]
    words += [chr(letter) for letter in range(ord("b"), ord("z") + 1)] + [f"##{chr(n)}" for n in range(97, 123)]
    words += ["zebra"]
    inner = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 3), ("[SEP]", 4)])
    BertTokenizer(tokenizer_object=inner).save_pretrained(folder)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run writes has weights, but no ONNX towers; torch answers instead."""
    from training import leave_out_onnx

    leave_out_onnx(monkeypatch)
