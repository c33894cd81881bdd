"""Settings: a flag beats the environment, that beats engine.toml, that beats the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.options import ledger_path
from engine.errors import UsageError
from engine.settings import Settings, load_settings, state_folder


def test_each_level_beats_the_next_and_says_where_a_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text('store = "from-file"\ncollection = "from-file"\nmodel = "from-file"\n')
    environment = {"ENGINE_STORE": "from-environment", "QDRANT_COLLECTION": "from-environment"}
    settings, origins = load_settings({"store": "from-flag", "model": None}, environment, tmp_path)
    assert (settings.store, settings.collection, settings.model) == ("from-flag", "from-environment", "from-file")
    assert origins["store"] == "--store"
    assert origins["collection"] == "QDRANT_COLLECTION"
    assert origins["model"].endswith("engine.toml")
    assert origins["device"] == "default"


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings({}, {}, tmp_path)[0] == Settings()


def test_qdrant_url_is_the_store(tmp_path: Path) -> None:
    settings, _ = load_settings({}, {"QDRANT_URL": "http://localhost:6333", "QDRANT_API_KEY": "key"}, tmp_path)
    assert (settings.store, settings.api_key) == ("http://localhost:6333", "key")


def test_values_have_their_kinds(tmp_path: Path) -> None:
    settings, _ = load_settings({}, {"ENGINE_TIMEOUT_S": "2.5", "ENGINE_GRPC": "true"}, tmp_path)
    assert (settings.timeout_s, settings.grpc) == (2.5, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stor = 1", "unknown setting 'stor'"),
        ("store = ", "cannot be read"),
        ("timeout_s = 'soon'", "number of seconds"),
        ("timeout_s = -1", "above 0"),
        ("timeout_s = nan", "above 0"),
        ("store = 5", "text in quotes"),
    ],
)
def test_a_bad_file_is_named_with_its_entry(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "engine.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings({}, {}, tmp_path)


def test_a_key_loses_the_end_of_its_line_and_holds_nothing_else_that_no_header_can(tmp_path: Path) -> None:
    settings, _ = load_settings({}, {"QDRANT_API_KEY": "sekret\n"}, tmp_path)
    assert settings.api_key == "sekret"
    for key in ("se\nkret", "schlüssel"):
        with pytest.raises(UsageError, match="ENGINE_SERVER_KEY: a key") as refused:
            load_settings({}, {"ENGINE_SERVER_KEY": key}, tmp_path)
        assert key not in str(refused.value)


@pytest.mark.parametrize("variable", ["QDRANT_URL", "ENGINE_URL"])
def test_an_address_with_a_password_is_refused_and_not_shown(tmp_path: Path, variable: str) -> None:
    with pytest.raises(UsageError, match="without user and password") as refused:
        load_settings({}, {variable: "https://user:hunter2@shop.example/x"}, tmp_path)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(UsageError, match="--store: give the address without"):
        load_settings({"store": "http://user:hunter2@shop.example"}, {}, tmp_path)
    assert load_settings({"store": "shots@home"}, {}, tmp_path)[0].store == "shots@home"


def test_a_server_has_one_ledger_however_its_address_is_written(tmp_path: Path) -> None:
    ways = ("http://Shop.example:6333", "http://shop.example:6333/", "HTTP://shop.example:6333")
    assert len({ledger_path(load_settings({"store": way}, {}, tmp_path)[0]) for way in ways}) == 1
    other = load_settings({"store": "http://shop.example:6334"}, {}, tmp_path)[0]
    assert ledger_path(other) != ledger_path(load_settings({"store": ways[0]}, {}, tmp_path)[0])


def test_the_state_folder_is_xdgs(tmp_path: Path) -> None:
    assert state_folder({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "fashion-search-engine"
