"""Re-rankers: attention over pooled embeddings, token heads, cross-attention."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from training import TINY
from workshop import Retold, Shop, paint

from engine.checkpoint import Checkpoint, find_checkpoint
from engine.cross import cross_scores
from engine.encoder import OnnxEncoder, TorchEncoder, load_encoder
from engine.errors import CheckpointError, UsageError
from engine.records import point_id
from engine.search import Page, Query, search
from engine.store.edge import EdgeStore
from ingest.sources.source import Source
from train.cross_attention import PooledAttention, fit, rerank
from train.cross_encoder import CrossEncoder, export_cross_encoder
from train.reranker import Chosen, marks_of_order
from train.run import Progress
from train.trainer import train


def test_untrained_attention_over_pooled_embeddings_changes_no_order_and_training_lowers_its_loss() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(64, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = rows + 0.3 * rng.normal(size=rows.shape).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    torch.manual_seed(0)
    model = PooledAttention(8, layers=2, heads=2)
    assert rerank(model, texts[0], rows).tolist() == np.argsort(-(rows @ texts[0]), kind="stable").tolist()
    losses: list[float] = []
    keys = [str(n) for n in range(64)]
    fit(model, rows, texts, keys, steps=120, batch_size=16, report=lambda step, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.fixture(scope="session")
def looking_closer(look_book: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with token heads."""
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, head_steps=4, cross_steps=6)
    out = tmp_path_factory.mktemp("heads") / "run"
    with pytest.MonkeyPatch.context() as patch:  # so small a model gains nothing by them
        patch.setattr("train.trainer.choose_weights", lambda *_: Chosen({"maxsim": 0.5, "cross": 0.7}, "maxsim", {}))
        return train(dataclasses.replace(TINY, model=sizes, optimizer=choices), [look_book], out, threads=1)


def test_both_engines_give_the_same_words_and_patches(looking_closer: Path) -> None:
    checkpoint = find_checkpoint(str(looking_closer))
    assert checkpoint.token_heads
    assert checkpoint.token_heads.dimension == 8
    onnx, torch_encoder = load_encoder(checkpoint), TorchEncoder(checkpoint, "cpu", precise=True)
    assert isinstance(onnx, OnnxEncoder)
    words = onnx.encode_words("a red dress")
    assert words.shape == (len(words), 8)
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(words, torch_encoder.encode_words("a red dress"), atol=1e-3)
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    (rows, patches), (other_rows, other_patches) = (one.encode_photographs(pixels) for one in (onnx, torch_encoder))
    assert patches is not None and other_patches is not None
    assert patches.shape == (3, 4, 8)
    np.testing.assert_allclose(rows, other_rows, atol=0.15)  # the image tower may be in integers
    np.testing.assert_allclose(patches, other_patches, atol=0.15)
    np.testing.assert_allclose(rows, onnx.encode_pixels(pixels), atol=1e-6)


def test_a_checkpoint_with_heads_has_another_fingerprint_than_without(looking_closer: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(looking_closer, bare)
    (bare / "token_heads.json").unlink()
    assert find_checkpoint(str(bare)).fingerprint != find_checkpoint(str(looking_closer)).fingerprint
    assert find_checkpoint(str(bare)).token_heads is None
    (bare / "token_heads.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"token_heads\.json"):
        _ = find_checkpoint(str(bare)).token_heads


@pytest.mark.usefixtures("without_onnx")
def test_heads_can_be_given_to_a_checkpoint_whose_towers_stay_as_they_are(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.choose_weights", lambda *_: Chosen({"maxsim": 0.5, "cross": 0.7}, "maxsim", {}))
    base = train(TINY, [look_book], tmp_path / "first", threads=1)
    sizes = dataclasses.replace(TINY.model, patches=8)
    later = dataclasses.replace(TINY.optimizer, epochs=0, head_steps=3)
    recipe = dataclasses.replace(TINY, model=sizes, optimizer=later)
    folder = train(recipe, [look_book], tmp_path / "second", base=find_checkpoint(str(base)), threads=1)
    assert (folder / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert find_checkpoint(str(folder)).token_heads


@pytest.mark.usefixtures("without_onnx")
def test_heads_that_help_nobody_are_not_kept(
    look_book: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.trainer.choose_weights", lambda *_: Chosen({}, "none", {}))
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, epochs=0, head_steps=1)
    recipe = dataclasses.replace(TINY, model=sizes, optimizer=choices)
    assert find_checkpoint(str(train(recipe, [look_book], tmp_path / "run", threads=1))).token_heads is None


def test_heads_without_a_caption_to_learn_by_are_refused_before_the_first_step(
    look_book: Source, tmp_path: Path
) -> None:
    told: list[Progress] = []
    recipe = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, patches=8))
    silent = Retold(look_book, lambda captions: ())
    with pytest.raises(UsageError, match=r"patches 8 are for a re-ranking, .* no photograph .* has one: leave out"):
        train(recipe, [silent], tmp_path / "run", threads=1, report=told.append)
    assert not told


@pytest.mark.usefixtures("without_onnx")
def test_re_rankers_are_weighed_beside_the_towers_alone_whose_marks_are_those_of_validation(
    look_book: Source, tmp_path: Path
) -> None:
    sizes = dataclasses.replace(TINY.model, patches=8)
    choices = dataclasses.replace(TINY.optimizer, epochs=1, head_steps=2, cross_steps=2)
    folder = train(dataclasses.replace(TINY, model=sizes, optimizer=choices), [look_book], tmp_path / "run", threads=1)
    marks = find_checkpoint(str(folder)).notes["validation"]
    for mark in ("mrr", "hit@1"):
        assert marks[f"{mark}, alone"] == pytest.approx(marks[mark])
        assert {f"{mark}, maxsim", f"{mark}, cross"} <= set(marks)


def test_a_new_order_of_the_first_hits_leaves_the_others_where_they_were() -> None:
    right = np.array([[False, True, True], [False, False, False], [True, False, False]])
    scores = np.array([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    marks = marks_of_order(right, np.array([2, 50, 1]), scores)
    assert marks == pytest.approx({"hit@1": 1 / 3, "mrr": (1 + 1 / 50 + 1 / 2) / 3})


def test_a_query_looks_closer_at_its_first_hits_and_loses_none(looking_closer: Path, tmp_path: Path) -> None:
    encoder = load_encoder(find_checkpoint(str(looking_closer)))
    shop = Shop(tmp_path, encoder)
    for seed in range(12):
        paint(shop.photos / f"{seed}.png", seed)
    shutil.copy(shop.photos / "3.png", shop.photos / "copy.png")
    shop.ingest()
    names = {Path(str(payload["uri"])).name: item_id for item_id, payload in shop.payloads().items()}
    with EdgeStore(shop.store_folder, "fashion") as store:
        ids = [point_id(names["3.png"]), point_id(names["copy.png"])]
        own, copy = store.retrieve(ids, vectors=True, patches=True)
        assert own.patches is not None and copy.patches is not None, "a duplicate borrows them"
        np.testing.assert_array_equal(own.patches, copy.patches)
        plain = search(store, encoder, Query("a red dress"), Page(limit=13, rerank="none"))
        closer = search(store, encoder, Query("a red dress"), Page(limit=13))
        assert {hit.id for hit in plain} == {hit.id for hit in closer}
        assert all(hit.rerank_score is None for hit in plain)
        assert all(hit.rerank_score is not None for hit in closer)
        assert {hit.id: hit.score for hit in plain} == pytest.approx({hit.id: hit.score for hit in closer}, abs=1e-6)
        pages = [search(store, encoder, Query("a red dress"), Page(limit=5, offset=start)) for start in (0, 5, 10)]
        assert [hit.id for page in pages for hit in page] == [hit.id for hit in closer]
        patches = {record.id: record.patches for record in store.retrieve([hit.id for hit in plain], patches=True)}
        words = encoder.encode_words("a red dress")
        for hit in closer:
            slow = np.mean([max(float(word @ patch) for patch in patches[hit.id]) for word in words])  # type: ignore[union-attr]
            assert hit.rerank_score == pytest.approx(slow, abs=5e-3)
        for query, page in (
            (Query(like=[names["3.png"]]), Page(rerank="maxsim")),
            (Query("a red dress"), Page(rerank="maxsim", group_by="source")),
        ):
            with pytest.raises(UsageError, match="query in words alone, hits that are not grouped"):
                search(store, encoder, query, page)
        crossed = search(store, encoder, Query("a red dress"), Page(limit=13, rerank="cross"))
        assert {hit.id: hit.score for hit in plain} == pytest.approx({hit.id: hit.score for hit in crossed}, abs=1e-6)
        for hit in crossed:
            (alone,) = cross_scores(encoder.checkpoint, words, np.asarray(patches[hit.id])[None])
            assert hit.rerank_score == pytest.approx(float(alone), abs=1e-4)


def test_an_untrained_cross_encoder_finds_nothing_and_the_exported_one_what_the_trained_one_finds(
    tmp_path: Path,
) -> None:
    torch.manual_seed(3)
    cross = CrossEncoder(8, 4).eval()
    words, patches = torch.randn(5, 8), torch.randn(6, 4, 8)
    there = torch.ones(6, 7, dtype=torch.bool)
    there[:, 5:] = False
    with torch.inference_mode():
        assert float(cross(words.expand(6, 5, 8), patches).abs().max()) == 0
        torch.nn.init.normal_(cross.verdict.weight)
        expected = cross(words.expand(6, 5, 8), patches)
        padded = torch.cat([words, torch.randn(2, 8)])
        torch.testing.assert_close(cross(padded.expand(6, 7, 8), patches, there), expected)
    export_cross_encoder(cross, tmp_path)
    found = cross_scores(Checkpoint(tmp_path), words.numpy(), patches.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
