"""Scoring history by another model: once each, whatever happens meanwhile; and comparing what came of it."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.lake.building import NOON, Builder, edit, post, withdrawal
from tests.models.far_side import FarSide, Reply, as_feltwire
from tests.models.twin import FunctionModel, by_word

from feltwire import loading, scoring
from feltwire.errors import ClaimError, ConfigError, ModelAwayError, ModelError
from feltwire.interfaces import Model
from feltwire.lake import rescore as rescoring
from feltwire.lake.maintain import Maintainer
from feltwire.lake.rescore import Selection, rescore
from feltwire.lake.scores import STREAM, compare, remove_orphans, scored_by
from feltwire.lake.storage import Location
from feltwire.lake.withdraw import remove_withdrawn
from feltwire.tracks import Track


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """{URI: model}, in the place of what can be loaded."""
    found: dict[str, Model] = {"twin:": FunctionModel(by_word)}
    for module in (loading, scoring):
        monkeypatch.setattr(module, "load", lambda uri: found[uri])
    monkeypatch.setattr(loading, "pin", lambda uri: uri)
    return found


@pytest.fixture
def built(tmp_path: Path) -> Builder:
    tracks = (Track(name="fives", query="five"), Track(name="rest", query="-five"))
    return Builder(tmp_path / "lake", tracks=tracks)


def stored(built: Builder, view: str = "scores_all") -> list[tuple[Any, ...]]:
    rows = built.lake.sql(f"select id, revision, sentiment, model from {view} order by model, id, revision").to_pylist()
    return [tuple(row.values()) for row in rows]


def ids(built: Builder, view: str = "scores_all") -> list[str]:
    return [row[0] for row in stored(built, view)]


def test_another_models_scores_stand_beside_the_old(built: Builder, models: dict[str, Model]) -> None:
    built.store(post(1, "good"), post(2, "mixed bad"), post(3, "so so"))
    seen: list[int] = []
    report = rescore(built.lake, "twin:", observe=seen.append)
    assert (report.model, report.scored, report.already, sum(seen)) == ("twin@1", 3, 0, 3)
    assert stored(built) == [
        ("x:1", 0, "positive", "twin@1"), ("x:2", 0, "negative", "twin@1"), ("x:3", 0, "neutral", "twin@1"),
    ]  # fmt: skip
    assert built.lake.sql("select distinct model from posts")["model"].to_pylist() == ["word@1"]
    assert built.lake.sql("select p_positive from scores order by id")["p_positive"].to_pylist()[0] > 0.79


def test_again_adds_only_what_is_new(built: Builder, models: dict[str, Model]) -> None:
    built.store(post(1), post(2))
    rescore(built.lake, "twin:")
    built.store(post(3), edit(2, 1))
    report = rescore(built.lake, "twin:")
    assert (report.scored, report.already) == (2, 1)
    assert [row[:2] for row in stored(built)] == [("x:1", 0), ("x:2", 0), ("x:2", 1), ("x:3", 0)]
    models["other:"] = FunctionModel(by_word, name="other@7")
    assert rescore(built.lake, "other:").scored == 3
    assert rescore(built.lake, "twin:").scored == 0


def test_a_selection_and_then_the_rest(built: Builder, models: dict[str, Model]) -> None:
    step = timedelta(seconds=20)
    for n in range(10):
        built.store(post(n, "good five" if n == 5 else "good", created_at=NOON + n * step))
    assert rescore(built.lake, "twin:", selection=Selection(track="fives")).scored == 1
    span = Selection(since=NOON + 4 * step, until=NOON + 7 * step)
    report = rescore(built.lake, "twin:", selection=span, batch_rows=2)
    assert (report.scored, report.already) == (2, 1)
    assert ids(built) == ["x:4", "x:5", "x:6"]
    assert rescore(built.lake, "twin:", batch_rows=3).scored == 7
    assert ids(built) == [f"x:{n}" for n in range(10)]


def test_what_is_left_out(built: Builder, models: dict[str, Model], caplog: pytest.LogCaptureFixture) -> None:
    models["twin:"] = FunctionModel(by_word, languages=frozenset({"en"}))
    built.store(post(1), post(2, "gut", lang="de"), post(3, "good fault"), post(4, "good", lang=None))
    report = rescore(built.lake, "twin:")
    assert (report.scored, report.unspoken, report.failed) == (2, 1, 1)
    assert ids(built) == ["x:1", "x:4"]
    assert "fault" not in caplog.text


def test_several_partitions(tmp_path: Path, models: dict[str, Model]) -> None:
    built = Builder(tmp_path / "lake", partitions=3)
    built.store(*(post(n) for n in range(20)))
    assert rescore(built.lake, "twin:", batch_rows=3).scored == 20
    assert rescore(built.lake, "twin:", batch_rows=3).already == 20


# Stopped, killed, at once


def test_stopped_and_started_again(built: Builder, models: dict[str, Model]) -> None:
    built.store(*(post(n) for n in range(9)))
    stop = threading.Event()
    report = rescore(built.lake, "twin:", batch_rows=4, stop=stop, observe=lambda posts: stop.set())
    assert report.scored == 4
    assert rescore(built.lake, "twin:", batch_rows=4).scored == 5
    assert ids(built) == [f"x:{n}" for n in range(9)]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_death_at_every_step(tmp_path: Path, models: dict[str, Model], after: bool) -> None:
    for step in range(100):
        built = Builder(tmp_path / f"{step}")
        built.store(*(post(n) for n in range(5)))
        with pytest.MonkeyPatch.context() as patch:
            _die_at(patch, step, after=after)
            try:
                rescore(built.lake, "twin:", batch_rows=2)
                finished = True
            except Died:
                finished = False
        rescore(built.lake, "twin:", batch_rows=2)
        assert ids(built) == [f"x:{n}" for n in range(5)]
        if finished:
            break
    assert step == 6


def _die_at(patch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    touched = 0
    for owner, name in ((DeltaTable, "create_write_transaction"), (Location, "write")):
        real = getattr(owner, name)

        def touch(*args: Any, _real: Callable[..., Any] = real, **kwargs: Any) -> Any:
            nonlocal touched
            now, touched = touched, touched + 1
            if now == step and not after:
                raise Died
            result = _real(*args, **kwargs)
            if now == step:
                raise Died
            return result

        patch.setattr(owner, name, touch)


def test_of_two_at_once_one_gives_way(built: Builder, models: dict[str, Model]) -> None:
    built.store(*(post(n) for n in range(6)))

    def rival(posts: int) -> None:
        rescore(built.lake, "twin:", batch_rows=2)

    with pytest.raises(ClaimError, match="another rescore by twin@1"):
        rescore(built.lake, "twin:", batch_rows=2, observe=rival)
    assert ids(built) == [f"x:{n}" for n in range(6)]


def test_maintenance_beside_it(built: Builder, models: dict[str, Model]) -> None:
    built.store(*(post(n) for n in range(40)))
    keeper = Maintainer(built.lake.location, built.owner)
    report = rescore(built.lake, "twin:", batch_rows=1, observe=lambda posts: keeper.tidy("scores"))
    assert report.scored == 40
    assert len(set(ids(built))) == len(ids(built)) == 40
    assert built.lake.sizes()["scores"]["files"] < 20


def test_a_model_that_is_away_is_waited_for(built: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "_FIRST_WAIT_S", 0.01)
    built.store(*(post(n) for n in range(5)))
    turns = iter(range(3))

    def reply(document: Any) -> Reply:
        return as_feltwire(document) if next(turns, None) is None else (429, {}, {"Retry-After": "0"})

    far = FarSide(reply)
    try:
        assert rescore(built.lake, f"{far.url}?patience=0.1", batch_rows=2).scored == 5
        assert {row[3] for row in stored(built)} == {"far@1"}
        far.stop()
        stop = threading.Event()
        threading.Timer(0.1, stop.set).start()
        built.store(post(7))
        with pytest.raises(ModelAwayError):
            rescore(built.lake, f"{far.url}?patience=0.05", stop=stop)
    finally:
        far.close()


def test_a_model_that_becomes_another_ends_it(built: Builder, models: dict[str, Model]) -> None:
    built.store(*(post(n) for n in range(4)))
    twin = FunctionModel(by_word)
    models["twin:"] = twin
    with pytest.raises(ModelError, match="twin@1 has become twin@2 meanwhile"):
        rescore(built.lake, "twin:", batch_rows=2, observe=lambda posts: setattr(twin, "name", "twin@2"))
    assert ids(built) == ["x:0", "x:1"]


def test_a_model_that_scores_nothing(built: Builder) -> None:
    with pytest.raises(ConfigError, match="'none:' scores nothing"):
        rescore(built.lake, "none:")


# Withdrawals


def test_withdrawn_posts_are_skipped_and_lose_their_scores(built: Builder, models: dict[str, Model]) -> None:
    built.store(post(1), post(2), post(3))
    built.store(withdrawal(1))
    assert rescore(built.lake, "twin:", batch_rows=1).scored == 2
    built.store(withdrawal(2), edit(3, 1))
    assert ids(built, "scores") == []
    assert ids(built) == ["x:2", "x:3"]
    assert remove_orphans(built.lake.location, built.owner) == 0  # `posts` has them still
    remove_withdrawn(built.lake.location, built.owner)
    assert remove_orphans(built.lake.location, built.owner) == 2
    assert ids(built) == []
    assert rescore(built.lake, "twin:").scored == 1
    assert [row[:2] for row in stored(built)] == [("x:3", 1)]
    assert remove_orphans(built.lake.location, built.owner) == 0


def test_orphans_are_removed_by_maintenance_and_only_they(built: Builder, models: dict[str, Model]) -> None:
    built.store(*(post(n) for n in range(6)))
    rescore(built.lake, "twin:", batch_rows=4)
    built.store(withdrawal(4))
    keeper = Maintainer(built.lake.location, built.owner, withdraw_every_s=0.0, orphans_every_s=0.0)
    keeper.tick()
    assert ids(built) == ids(built, "scores") == ["x:0", "x:1", "x:2", "x:3", "x:5"]


def test_a_post_that_is_withdrawn_while_it_is_scored(built: Builder, models: dict[str, Model]) -> None:
    def late(text: str) -> Any:
        built.store(withdrawal(1))
        remove_withdrawn(built.lake.location, built.owner)
        return by_word(text)

    models["twin:"] = FunctionModel(late)
    built.store(post(1))
    assert rescore(built.lake, "twin:").scored == 1
    assert ids(built, "scores") == []
    assert remove_orphans(built.lake.location, built.owner) == 1
    assert ids(built) == []


# Comparing


@pytest.fixture
def compared(built: Builder, models: dict[str, Model]) -> Builder:
    built.store(post(1, "good"), post(2, "mixed bad"), post(3, "so so"), post(4, "so bad"), post(5, "silent"))
    built.store(post(6, "good", created_at=NOON + timedelta(days=1)), at=NOON + timedelta(days=1))
    rescore(built.lake, "twin:")
    return built


def test_compare_with_the_stream(compared: Builder) -> None:
    found = compare(compared.lake, STREAM, "twin@1")
    assert (found.n, found.agreed, found.agreement) == (5, 3, 0.6)
    assert found.kappa == pytest.approx((3 / 5 - 6 / 25) / (1 - 6 / 25))
    assert [tuple(row.values()) for row in found.confusion.to_pylist()] == [
        ("positive", "positive", 2), ("mixed", "negative", 1), ("neutral", "negative", 1), ("neutral", "neutral", 1),
    ]  # fmt: skip
    first, second = found.days.to_pylist()
    assert (first["n"], first["first_net"], first["second_net"]) == (4, 0.25, -0.25)
    assert (second["n"], second["first_net"], second["second_net"]) == (1, 1.0, 1.0)
    changed = found.changed.to_pylist()
    assert [row["id"] for row in changed[:2]] == ["x:2", "x:4"]
    assert changed[0]["text"] == "mixed bad"
    assert changed[0]["moved"] == pytest.approx(0.7, abs=1e-3)
    assert compare(compared.lake, "word@1", "twin@1").n == 5
    assert scored_by(compared.lake) == ["twin@1", "word@1"]


def test_compare_part_of_it(compared: Builder) -> None:
    where = Selection(since=NOON + timedelta(hours=1)).predicate("p")
    assert compare(compared.lake, STREAM, "twin@1", where=where, limit=1).n == 1
    assert compare(compared.lake, STREAM, "twin@1", limit=1).changed.num_rows == 1
    nothing = compare(compared.lake, STREAM, "twin@1", field="emotion")
    assert (nothing.n, nothing.agreement, nothing.kappa) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "field", "message"),
    [
        (STREAM, "base@9", "sentiment", r"no scores of 'base@9': there are stream, twin@1, word@1"),
        (STREAM, STREAM, "sentiment", "with itself"),
        (STREAM, "twin@1", "text", "'text' cannot be compared"),
    ],
)
def test_compare_refuses(compared: Builder, first: str, second: str, field: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(compared.lake, first, second, field=field)
