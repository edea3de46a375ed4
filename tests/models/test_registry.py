"""The registry of models: what goes in, what serves, and what happens when it is out of reach or spoiled."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bundles.versions import TINY, tiny

from feltwire import config, loading
from feltwire.errors import ConfigError, FeltwireError, ModelError, RetryableError
from feltwire.loading import Current, load, pin
from feltwire.models import _store
from feltwire.models._place import ABSENT, Entry
from feltwire.models._places import FolderPlace, open_place
from feltwire.registry import create


class MemoryPlace:
    """The twin in memory; `away` makes it unreachable."""

    folder: Path | None = None

    def __init__(self) -> None:
        self.where = "memory"
        self.kept: dict[str, Entry] = {}
        self.away = False

    def get(self, key: str) -> Entry | None:
        self._reach()
        return self.kept.get(key)

    def put(self, key: str, content: bytes, *, before: str) -> bool:
        self._reach()
        there = self.kept.get(key)
        if (there.tag if there else ABSENT) != before:
            return False
        self.kept[key] = Entry(content, f"tag {len(self.kept)} {hash(content)}")
        return True

    def keys(self, prefix: str = "") -> list[str]:
        self._reach()
        return sorted(key for key in self.kept if key.startswith(prefix))

    def _reach(self) -> None:
        if self.away:
            raise RetryableError("memory is away")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=[MemoryPlace, FolderPlace])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryPlace | FolderPlace:
    return MemoryPlace() if request.param is MemoryPlace else FolderPlace(tmp_path / "registry")


Place = MemoryPlace | FolderPlace


def refusal(kind: type[FeltwireError], function: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        function()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_there_promoted_and_back(place: Place, tmp_path: Path) -> None:
    second = tiny(tmp_path / "second")
    assert _store.add(place, TINY) == ("tiny", "1", True)
    assert _store.add(place, second) == ("tiny", "2", True)
    assert _store.names(place) == ["tiny"]
    assert _store.versions(place, "tiny") == ["1", "2"]
    assert _store.promote(place, "tiny", "1")
    assert _store.promote(place, "tiny", "2")
    assert not _store.promote(place, "tiny", "2")
    assert _store.current(place, "tiny") == "2"
    assert _store.rollback(place, "tiny") == "1"
    assert _store.current(place, "tiny") == "1"
    pointer = _store.pointer(place, "tiny")
    assert pointer is not None
    assert [(move.action, move.version) for move in pointer.history] == [
        ("promote", "1"),
        ("promote", "2"),
        ("rollback", "1"),
    ]
    assert _store.describe(place, "tiny", "2")[0].version == "2"
    assert _store.describe(place, "tiny", "1")[1] == sum(path.stat().st_size for path in TINY.iterdir())


def test_rolling_back_again_goes_further_back(place: Place, tmp_path: Path) -> None:
    for version in "123":
        _store.add(place, tiny(tmp_path / version, version))
        _store.promote(place, "tiny", version)
    assert [_store.rollback(place, "tiny") for _ in range(2)] == ["2", "1"]
    assert "nothing served before 1" in refusal(ConfigError, lambda: _store.rollback(place, "tiny"))
    _store.promote(place, "tiny", "3")
    assert _store.rollback(place, "tiny") == "1"


def test_the_same_again_changes_nothing(place: Place) -> None:
    _store.add(place, TINY)
    assert not _store.add(place, TINY).new


def test_a_version_never_changes(place: Place, tmp_path: Path) -> None:
    _store.add(place, TINY)
    other = tiny(tmp_path / "other", "1", lambda m: m.update(description="another"))
    assert "tiny@1 is there with other content" in refusal(ModelError, lambda: _store.add(place, other))
    assert _store.describe(place, "tiny", "1")[0].description != "another"
    assert _store.add(place, other, name="mood", version="7").version == "7"


def test_what_is_broken_is_refused_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    changed = tiny(tmp_path / "changed")
    (changed / "tokenizer.json").write_text("{}")
    assert "tokenizer.json has SHA-256" in refusal(ModelError, lambda: _store.add(place, changed))
    mislabelled = tiny(tmp_path / "mislabelled", "2", lambda m: m["heads"]["sentiment"]["labels"].append("mixed"))
    assert "has 4 labels" in refusal(ModelError, lambda: _store.add(place, mislabelled))
    assert "no such folder" in refusal(ModelError, lambda: _store.add(place, tmp_path / "nothing"))
    assert _store.names(place) == []


@pytest.mark.parametrize("name", ["../up", "", "a/b", "_current.json", ".hidden", "a b"])
def test_names(place: Place, name: str) -> None:
    assert "expected a letter or digit" in refusal(ConfigError, lambda: _store.fetch(place, name, "1"))
    if name:
        assert "expected a letter or digit" in refusal(ConfigError, lambda: _store.add(place, TINY, name=name))


def test_what_is_not_there(place: Place) -> None:
    assert "known are none" in refusal(ConfigError, lambda: _store.current(place, "tiny"))
    _store.add(place, TINY)
    assert "feltwire models promote tiny 1" in refusal(ConfigError, lambda: _store.current(place, "tiny"))
    assert "no version '9': it has 1" in refusal(ConfigError, lambda: _store.promote(place, "tiny", "9"))
    assert "known are tiny" in refusal(ConfigError, lambda: _store.promote(place, "tony", "1"))
    assert "ever promoted" in refusal(ConfigError, lambda: _store.rollback(place, "tiny"))


def test_rivals_that_promote_at_once_are_both_remembered(place: Place, tmp_path: Path) -> None:
    for version in "1234":
        _store.add(place, tiny(tmp_path / version, version))
    threads = [threading.Thread(target=_store.promote, args=(place, "tiny", version)) for version in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = _store.pointer(place, "tiny")
    assert pointer is not None
    assert sorted(move.version for move in pointer.history) == ["1", "2", "3", "4"]
    assert pointer.current == pointer.history[-1].version


def test_half_a_version_is_none(tmp_path: Path) -> None:
    """A process killed while it adds: the version is not listed, cannot serve, and adding it again completes it."""
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    (tmp_path / "registry" / "tiny" / "1" / "tokenizer.json").unlink()
    assert _store.versions(place, "tiny") == []
    assert "tokenizer.json is missing" in refusal(ModelError, lambda: _store.fetch(place, "tiny", "1"))
    assert _store.add(place, TINY).new
    assert _store.versions(place, "tiny") == ["1"]


@pytest.mark.parametrize("file", ["model.json", "model.onnx"])
def test_a_file_changed_in_the_registry_is_refused(tmp_path: Path, file: str) -> None:
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    path = tmp_path / "registry" / "tiny" / "1" / file
    path.write_bytes(path.read_bytes() + b" ")
    assert f"the file {file}" in refusal(ModelError, lambda: _store.promote(place, "tiny", "1"))


def test_a_listing_that_leads_out_of_the_bundle(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    path = tmp_path / "registry" / "tiny" / "1" / "_files.json"
    listing = json.loads(path.read_text())
    path.write_text(json.dumps({**listing, "files": {"../../../secret": "0" * 64}}))
    assert "not in the bundle" in refusal(ModelError, lambda: _store.fetch(place, "tiny", "1"))


def test_a_pointer_that_is_none(place: Place) -> None:
    _store.add(place, TINY)
    place.put("tiny/_current.json", b'{"current": 2}', before=ABSENT)
    assert "_current.json" in refusal(ModelError, lambda: _store.current(place, "tiny"))


def test_versions_are_in_the_order_in_which_people_count(place: Place, tmp_path: Path) -> None:
    for version in ("10", "9", "v2", "1.10", "1.9"):
        _store.add(place, tiny(tmp_path / version, version))
    assert _store.versions(place, "tiny") == ["1.9", "1.10", "9", "10", "v2"]


def test_what_was_fetched_serves_while_the_place_is_away(tmp_path: Path) -> None:
    place = MemoryPlace()
    _store.add(place, TINY)
    _store.add(place, tiny(tmp_path / "2"))
    folder = _store.fetch(place, "tiny", "1")
    place.away = True
    assert _store.fetch(place, "tiny", "1") == folder
    with pytest.raises(RetryableError):
        _store.fetch(place, "tiny", "2")


def test_a_spoiled_cache_is_brought_anew() -> None:
    place = MemoryPlace()
    _store.add(place, TINY)
    folder = _store.fetch(place, "tiny", "1")
    (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        _store.fetch(place, "tiny", "1")
    assert (_store.fetch(place, "tiny", "1") / "model.onnx").stat().st_size


def test_where_a_registry_may_be(tmp_path: Path) -> None:
    assert open_place("").where == str(tmp_path / "data" / "feltwire" / "models")
    with pytest.raises(ConfigError, match="s3://bucket"):
        open_place("gs://bucket/x")
    with pytest.raises(ConfigError, match="s3://bucket"):
        open_place("s3://")


# As a model's URI


@pytest.fixture
def shelf(tmp_path: Path) -> FolderPlace:
    """Two versions, the first promoted."""
    place = FolderPlace(tmp_path / "registry")
    _store.add(place, TINY)
    _store.add(place, tiny(tmp_path / "second"))
    _store.promote(place, "tiny", "1")
    loading._load.cache_clear()
    loading._current.cache_clear()
    return place


def test_a_uri_with_and_without_a_version(shelf: FolderPlace) -> None:
    assert pin(f"registry:tiny?at={shelf.where}") == f"registry:tiny@1?at={shelf.where}"
    assert pin(f"registry:tiny@2?at={shelf.where}") == f"registry:tiny@2?at={shelf.where}"
    assert load(f"registry:tiny@2?at={shelf.where}&threads=2").name == "tiny@2"
    assert pin("lexicon:vader") == "lexicon:vader"
    assert pin(str(TINY)) == str(TINY)


@pytest.mark.parametrize("uri", ["registry:", "registry:@1", "registry:tiny@", "registry:../x"])
def test_a_uri_that_names_nothing(shelf: FolderPlace, uri: str) -> None:
    with pytest.raises(ConfigError):
        load(f"{uri}?at={shelf.where}")


def test_a_model_is_called_as_it_is_registered(shelf: FolderPlace) -> None:
    _store.add(shelf, TINY, name="best", version="2026-11-21")
    model = create("models", f"registry:best@2026-11-21?at={shelf.where}")
    assert model.name == "best@2026-11-21"


def test_the_settings_say_where_the_registry_is() -> None:
    settings = config.load(None, {"FELTWIRE_MODEL__REGISTRY": "s3://models/x", "FELTWIRE_MODEL__URI": "registry:tiny"})
    assert settings.model.uri == "registry:tiny?at=s3://models/x"
    place = "/a folder/&"
    assert config.in_registry("registry:tiny?threads=2", place) == "registry:tiny?threads=2&at=/a%20folder/%26"
    assert config.in_registry("registry:tiny?at=b", place) == "registry:tiny?at=b"
    assert config.in_registry("lexicon:vader", place) == "lexicon:vader"
    nested = config.in_registry("auto:?fast=registry:tiny&base=bundled:base&threshold=0.5", place)
    assert nested == "auto:?fast=registry:tiny%3Fat%3D/a%2520folder/%2526&base=bundled:base&threshold=0.5"


def test_a_promoted_version_takes_over(shelf: FolderPlace) -> None:
    current = Current(f"registry:tiny?at={shelf.where}")
    assert load(current.uri).name == "tiny@1"
    _store.promote(shelf, "tiny", "2")
    current.check()
    assert load(current.uri).name == "tiny@2"
    _store.rollback(shelf, "tiny")
    current.check()
    assert load(current.uri).name == "tiny@1"


def test_within_a_second_nobody_looks(shelf: FolderPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"registry:tiny?at={shelf.where}"
    assert load(uri).name == "tiny@1"
    _store.promote(shelf, "tiny", "2")
    assert load(uri).name == "tiny@1"
    monkeypatch.setattr(loading, "CHECK_S", 0.0)
    assert load(uri).name == "tiny@2"


def test_a_version_that_cannot_be_loaded_is_told_once_and_the_old_one_goes_on(
    shelf: FolderPlace, caplog: pytest.LogCaptureFixture
) -> None:
    current = Current(f"registry:tiny?at={shelf.where}")
    _store.promote(shelf, "tiny", "2")
    (Path(shelf.where) / "tiny" / "2" / "model.onnx").write_bytes(b"no graph")
    for _ in range(3):
        current.check()
        assert load(current.uri).name == "tiny@1"
    assert len([record for record in caplog.records if "goes on" in record.message]) == 1
    _store.add(shelf, tiny(Path(shelf.where).parent / "third", "3"))
    _store.promote(shelf, "tiny", "3")
    current.check()
    assert load(current.uri).name == "tiny@3"


def test_a_registry_that_goes_away_is_told_once(shelf: FolderPlace, caplog: pytest.LogCaptureFixture) -> None:
    current = Current(f"registry:tiny?at={shelf.where}")
    away = shelf.where + ".away"
    shutil.move(shelf.where, away)
    current.check()
    current.check()
    assert load(current.uri).name == "tiny@1"
    assert len(caplog.records) == 1
    shutil.move(away, shelf.where)
    _store.promote(shelf, "tiny", "2")
    current.check()
    assert load(current.uri).name == "tiny@2"
