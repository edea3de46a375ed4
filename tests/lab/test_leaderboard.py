"""The leaderboard: cells that are kept, a table, the best, and posts a second."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.lab.texts import invented

from feltwire import cli
from feltwire.errors import ConfigError, ModelError
from feltwire.lab import board as boards
from feltwire.lab import leaderboard as module
from feltwire.lab import plots, rate
from feltwire.lab.leaderboard import Board, Cell, Entry, Settings, best, entries, promotable, run
from feltwire.models import _store, bundled
from feltwire.models._places import FolderPlace

UNTIMED = Settings(seconds=0, options={"lr": {"curve": False}, "nb": {"curve": False}})


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("confusion", "roc", "calibration", "curve", "leaderboard"):
        monkeypatch.setattr(plots, name, lambda *given: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with two tasks."""
    for name, names in (("airline_sentiment", None), ("airline_topics", ("Baggage Issue", "Extra Charges"))):
        given = invented(60)
        (tmp_path / "data" / name).mkdir(parents=True)
        labels = [given.names[label] if names is None else names[label % 2] for label in given.labels]
        pq.write_table(pa.table({"text": given.texts, "label": labels}), tmp_path / "data" / name / "train.parquet")
    return tmp_path / "data"


def fill(folder: Path, out: Path, contenders: list[Entry], settings: Settings = UNTIMED, **more: Any) -> Board:
    given = {"task_names": ["airline_sentiment"], "contenders": contenders, "settings": settings, **more}
    return run(folder, out, **given)


def test_every_contender_has_a_cell_on_every_task(folder: Path, tmp_path: Path) -> None:
    contenders = entries(["lr", "nb"], ["social", "letters"], ["lexicon:vader"])
    board = fill(folder, tmp_path / "out", contenders, task_names=["airline_sentiment", "airline_topics"])
    assert [(cell.task, cell.name) for cell in board.cells] == [
        *[
            ("airline_sentiment", f"{preset} ({profile})")
            for preset in ("lr", "nb")
            for profile in ("social", "letters")
        ],
        ("airline_sentiment", "vader@3.3.2"),
        *[("airline_topics", f"{preset} ({profile})") for preset in ("lr", "nb") for profile in ("social", "letters")],
    ]
    assert board.skipped.keys() == {"airline_topics: lexicon:vader"}
    assert "has no head 'category'" in board.skipped["airline_topics: lexicon:vader"]
    trained = board.cells[0]
    assert trained.measures["rows"] == 10
    assert trained.train_rows == 50
    assert trained.size is not None
    assert (tmp_path / "out" / trained.folder / "CARD.md").is_file()
    assert board.cells[4].size is None
    boards.write(tmp_path / "out", board, "feltwire leaderboard DATA")
    table = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "## airline_topics" in table
    assert "| lr (letters) | " in table
    assert "50 training rows, 10 validation rows" in table
    assert "`feltwire leaderboard DATA`" in table
    stored = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert len(stored["cells"]) == 9
    assert len(stored["cells"][0]["measures"]["confusion"]) == 3


def test_what_is_done_is_not_done_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    trained, given = module._trained, module._given

    def noting(function: Callable[..., Cell]) -> Callable[..., Cell]:
        def noted(*arguments: Any) -> Cell:
            done.append(next(one.name for one in arguments if isinstance(one, Entry)))
            return function(*arguments)

        return noted

    monkeypatch.setattr(module, "_trained", noting(trained))
    monkeypatch.setattr(module, "_given", noting(given))
    contenders = entries(["nb"], ["social"], ["lexicon:vader"])
    first = fill(folder, tmp_path / "out", contenders)
    assert done == ["nb (social)", "lexicon:vader"]
    assert fill(folder, tmp_path / "out", contenders) == first
    assert len(done) == 2
    fill(folder, tmp_path / "out", [*contenders, Entry(preset="lr", profile="social")])
    assert done[2:] == ["lr (social)"]
    other = replace(UNTIMED, options={"nb": {"curve": False, "alpha": 2.0}})
    second = fill(folder, tmp_path / "out", contenders, other)
    assert done[3:] == ["nb (social)"]
    assert second.cells[0].folder != first.cells[0].folder
    rows = fill(folder, tmp_path / "out", contenders[:1], replace(UNTIMED, max_rows=30))
    assert rows.cells[0].train_rows == 30
    path = folder / "airline_sentiment" / "train.parquet"
    pq.write_table(pq.read_table(path).slice(0, 50), path)
    fill(folder, tmp_path / "out", contenders[1:])
    assert done[5:] == ["lexicon:vader"]


def test_another_bundle_by_the_same_name_is_judged_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "bundles" / "tiny", tmp_path / "bundles" / "tiny")
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "bundles")
    contenders = entries([], [], ["bundled:tiny"])
    [first] = fill(folder, tmp_path / "out", contenders).cells
    assert first.size is not None
    judged = noted(monkeypatch)
    fill(folder, tmp_path / "out", contenders)
    assert not judged
    manifest = tmp_path / "bundles" / "tiny" / "model.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "next"}))
    fill(folder, tmp_path / "out", contenders)
    assert judged == ["bundled:tiny"]


def test_another_version_that_is_promoted_is_judged_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = FolderPlace(tmp_path / "registry")
    tiny = Path(__file__).parents[1] / "bundles" / "tiny"
    for version in ("1", "2"):
        _store.add(place, tiny, name="mine", version=version)
    _store.promote(place, "mine", "1")
    judged = noted(monkeypatch)
    contenders = entries([], [], [f"registry:mine?at={tmp_path / 'registry'}"])
    fill(folder, tmp_path / "out", contenders)
    fill(folder, tmp_path / "out", contenders)
    assert len(judged) == 1
    _store.promote(place, "mine", "2")
    fill(folder, tmp_path / "out", contenders)
    assert len(judged) == 2


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are judged from now on."""
    judged: list[str] = []
    given = module._given

    def judging(task: Any, entry: Entry, progress: Any) -> Cell:
        judged.append(entry.uri)
        return given(task, entry, progress)

    monkeypatch.setattr(module, "_given", judging)
    return judged


def test_what_earlier_runs_have_left_is_shown_where_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(folder, out, entries(["lr"], ["social"], []), task_names=["airline_sentiment", "airline_topics"])
    more = entries(["nb", "lr"], ["social"], [])
    names = [(cell.task, cell.name) for cell in fill(folder, out, more[:1], task_names=["airline_topics"]).cells]
    assert names == [("airline_topics", "nb (social)")]
    for contenders in (more[:1], more):
        board = fill(folder, out, contenders, task_names=["airline_topics"], kept=True)
        assert [cell.name for cell in board.cells] == ["nb (social)", "lr (social)"]


def test_a_library_that_is_missing_costs_one_cell(folder: Path, tmp_path: Path) -> None:
    board = fill(folder, tmp_path / "out", entries(["nb"], ["social"], [str(tmp_path / "none")]))
    assert len(board.cells) == 1
    assert "neither a folder" in next(iter(board.skipped.values()))
    with pytest.raises(ConfigError, match="unknown preset 'x'"):
        fill(folder, tmp_path / "out", entries(["x"], ["social"], []))


def cell(name: str, score: float | None, speed: float = 1.0, **more: Any) -> Cell:
    given = {"task": "t", "folder": f"models/{name}", "head": "sentiment", "train_rows": 1, "size": 1, **more}
    measures = {"accuracy": score, "calibration_error": score}
    return Cell(name=name, model=f"{name}@1", measures=measures, rates={"1": speed}, **given)


def test_a_preset_may_have_a_profile_of_its_own() -> None:
    found = [(one.preset, one.profile, one.uri) for one in entries(["lr", "nb@lemma"], ["social", "letters"], ["x:"])]
    assert found == [("lr", "social", ""), ("lr", "letters", ""), ("nb", "lemma", ""), ("", "", "x:")]


def test_the_best() -> None:
    cells = [cell("a", 0.5), cell("b", 0.7, 10), cell("c", 0.7, 20), cell("d", None), cell("e", 0.9, task="u")]
    assert best(cells, "t", "accuracy").name == "c"
    assert best(cells, "t", "calibration_error").name == "a"
    with pytest.raises(ConfigError, match="unknown measure 'beauty': known are accuracy"):
        best(cells, "t", "beauty")
    with pytest.raises(ConfigError, match="no model has a accuracy on the task 'v'"):
        best(cells, "v", "accuracy")
    with pytest.raises(ConfigError, match="no model has"):
        promotable([cell("a", 0.5, folder="")], "t", "accuracy", Path())


def test_posts_a_second(tmp_path: Path) -> None:
    speed = rate.posts_per_s("none:", ["a text"] * 20, 1, 0.05)
    assert speed is not None
    assert speed > 100
    assert rate.posts_per_s("none:", ["a"], 10_000, 0.05) is None
    with pytest.raises(ModelError, match="the rate of nonsense: could not be measured"):
        rate.posts_per_s("nonsense:", ["a"], 1, 0.05)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    def run_it(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["feltwire", "leaderboard", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run_it


def test_the_command_promotes_the_best(
    command: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    from feltwire.models._places import open_place
    from feltwire.models._store import versions

    ask = [
        str(folder), "--tasks", "airline_sentiment", "--presets", "nb,lr", "--models", "lexicon:vader",
        "--out", str(tmp_path / "out"), "--seconds", "0", "--set", "lr.curve=false", "--seed", "3",
        "--promote", "accuracy", "airline", "--registry", str(tmp_path / "registry"),
    ]  # fmt: skip
    code, said, told = command(*ask)
    assert code == 0, told
    assert "airline_sentiment, by macro f1" in said
    assert "registry:airline is airline@1-" in told
    assert len(versions(open_place(str(tmp_path / "registry")), "airline")) == 1
    code, said, told = command(*ask, "--json")
    assert "already" in told
    assert len(json.loads(said)["cells"]) == 3
    line = (
        "`feltwire leaderboard DATA --tasks airline_sentiment --presets nb,lr --profiles social --models lexicon:vader"
    )
    assert line in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--promote", "beauty", "x"], "unknown measure 'beauty'"),
        (["--promote", "accuracy", "x"], "--promote needs one task"),
        (["--set", "c=2"], "expected PRESET.OPTION=VALUE"),
        (["--tasks", "nope"], "unknown task 'nope'"),
        (["--set", "lr.nope=2"], "unknown option 'nope'"),
    ],
)
def test_the_command_refuses(
    options: list[str], expected: str, command: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    code, _, told = command(str(folder), "--out", str(tmp_path / "out"), *options)
    assert code == 2
    assert expected in told


def test_an_empty_table_is_not_written(
    command: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    ask = [
        "--tasks",
        "airline_topics",
        "--presets",
        "",
        "--models",
        str(tmp_path / "nowhere"),
        "--out",
        str(tmp_path / "out"),
    ]
    code, said, told = command(str(folder), *ask)
    assert code == 1
    assert not said
    assert "nothing could be measured: " in told
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "leaderboard.md").exists()
