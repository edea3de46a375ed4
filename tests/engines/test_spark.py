"""The Spark engine beside the local one: the same tables, one lake after the other's turn, and everything once."""

import functools
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark import SparkContext, cloudpickle
from pyspark.sql import SparkSession
from tests.conftest import PROVING
from tests.engines.children import Child, polling, started
from tests.engines.equal import assert_equal
from tests.engines.exact import assert_exact
from tests.engines.stream import Story, file_source
from tests.models.far_side import FarSide, certified
from tests.services import kinesis_server
from tests.services.kafka.broker import Broker

from feltwire import pipeline
from feltwire.engines import _opened, _spark_work, local, spark
from feltwire.errors import ConfigError, ModelAwayError
from feltwire.lake import open_lake
from feltwire.logs.sqlite import Options, SqliteLog
from feltwire.plan import Plan, Progress, Report, SourcePlan
from feltwire.tracks import Track

SEED = 11
RECORDS = 100_000 if PROVING else 4_000
KILLS = 30 if PROVING else 1
SMALL = {"spark.driver.memory": "768m", "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}
TRACKS = (Track("air", "airline OR larkwing OR flight"), Track("phone", "quillo OR phone"), Track("not", "-the"))

pytestmark = [pytest.mark.slow, pytest.mark.prove]

# The executors' processes do not find the tests by their names.
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def java(absent: Callable[[str], None]) -> None:
    """Skips where there is no Java."""
    if shutil.which("java") is None:
        absent("no java on the PATH: apt-get install openjdk-17-jre-headless")


@pytest.fixture(scope="module")
def cluster(java: None) -> Iterator[SparkSession]:
    """One Spark for all tests here: two cores, four tries a task."""
    stack = _spark(SMALL)
    yield stack
    stack.stop()


def _spark(given: dict[str, str]) -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    kinesis_server.endpoint()  # its credentials stand in the environment, which Spark's own process inherits
    if SparkContext._gateway is not None:  # begun by an earlier test, without them
        SparkContext._gateway.shutdown()
        SparkContext._gateway.proc.communicate()  # without its input it ends
        SparkContext._gateway = SparkContext._jvm = None
    builder = SparkSession.builder.master("local[2,4]").appName("tests")
    given = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "OFF",
        "spark.python.daemon.module": "feltwire.engines._spark_daemon",
        **given,
    }
    for key, value in given.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def _fill(folder: Path, *, log: str = "", records: int = RECORDS, partitions: int = 2, **options: Any) -> str:
    """A log with invented records of all kinds; in SQLite, unless another is named."""
    log = log or f"sqlite:{folder}/log.sqlite?partitions={partitions}"
    told = {"seed": SEED, "rate": 50_000, "count": records, "mess": 0.3, **options}
    source = SourcePlan(key="simulator", uri="simulator:", options=told)
    local.run(Plan(log=log, sources=(source,), until_idle=True), stop=threading.Event())
    return log


def _run(engine: Any, log: str, lake: Path, **changed: Any) -> Report:
    given = {"log": log, "lake": str(lake), "pipeline": lake.name, "until_idle": True, "maintain": False, **changed}
    seen: list[Progress] = []
    report: Report = engine.run(Plan(**given), stop=threading.Event(), observe=seen.append)
    return report


def _kafka(request: pytest.FixtureRequest, _: Path) -> str:
    broker: Broker = request.getfixturevalue("broker")
    return broker.uri("both-engines?partitions=2")


def _kinesis(_: pytest.FixtureRequest, folder: Path) -> str:
    options = f"endpoint_url={kinesis_server.endpoint()}&region={kinesis_server.REGION}&state={folder}/state.sqlite"
    return f"kinesis:both-engines?create=2&{options}"


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("made", [None, _kafka, _kinesis], ids=["sqlite", "kafka", "kinesis"])
def test_both_engines_fill_equal_tables(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    made: Callable[[pytest.FixtureRequest, Path], str] | None,
) -> None:
    """Late, repeated, edited, withdrawn, broken and filtered records; available-now ends by itself."""
    log = _fill(tmp_path, log=made(request, tmp_path) if made else "")
    given = {"model": "lexicon:vader", "tracks": TRACKS}
    one = _run(local, log, tmp_path / "one", **given)
    other = _run(spark, log, tmp_path / "other", batch_rows=RECORDS // 3, **given)
    rows = assert_equal(str(tmp_path / "one"), str(tmp_path / "other"))
    assert min(rows.values()) > 0
    assert (one.processed, one.kept) == (other.processed, other.kept)
    assert other.batches >= 3
    ledger = open_lake(str(tmp_path / "other")).ledger().to_pylist()[0]
    assert all(ledger[name] for name in ("kept", "duplicate", "filtered", "dead", "edited", "withdrawn", "late"))
    record_property("rows", rows)


@pytest.mark.usefixtures("cluster")
def test_both_engines_score_alike(tmp_path: Path) -> None:
    """With a model that comes as a graph: what stands beside a post in a batch changes nothing that can be seen."""
    log = _fill(tmp_path, records=RECORDS // 10 if PROVING else 600)
    for engine, name in ((local, "one"), (spark, "other")):
        _run(engine, log, tmp_path / name, model="bundled:fast")
    assert_equal(str(tmp_path / "one"), str(tmp_path / "other"), within=0.005)


@pytest.mark.usefixtures("cluster")
def test_the_engines_take_turns(tmp_path: Path, inbox: Path) -> None:
    """Local, Spark with a source of its own, local again: each goes on from the other's position."""
    story = Story(SEED)
    log, lake = tmp_path / "log.sqlite", tmp_path / "lake"
    for turn, engine in enumerate((local, spark, local)):
        story.write(inbox / f"{turn}.jsonl", 500)
        sources = (SourcePlan(**file_source(inbox)),)
        _run(engine, f"sqlite:{log}", lake, sources=sources, model="lexicon:vader", trigger_s=0.2)
    assert_exact(lake, log, story.truth)


def _dying(batches: Any, *, flag: Path, **given: Any) -> Iterator[pa.RecordBatch]:
    """The executor's work, whose process ends the first time after the posts are written."""
    rows = list(_spark_work.work_on_span(batches, **given))
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield from rows


@pytest.mark.usefixtures("cluster")
def test_a_repeated_task_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker dies behind its Parquet file; Spark does the task again, and one of the two files is in the table."""
    log = _fill(tmp_path, records=1_500)
    monkeypatch.setattr(spark, "work_on_span", functools.partial(_dying, flag=tmp_path / "died"))
    _run(local, log, tmp_path / "one", model="lexicon:vader")
    _run(spark, log, tmp_path / "other", model="lexicon:vader")
    assert (tmp_path / "died").exists()
    assert_equal(str(tmp_path / "one"), str(tmp_path / "other"))
    lake = open_lake(str(tmp_path / "other"))
    assert len(list((tmp_path / "other" / "posts").rglob("*.parquet"))) > lake.sizes()["posts"]["files"]


def _away(batch: pa.RecordBatch, *, flag: Path) -> pa.RecordBatch:
    """A stage whose far side is away the first time."""
    if not flag.exists():
        flag.touch()
        raise ModelAwayError("the scorer is away")
    return batch


@pytest.mark.usefixtures("cluster")
def test_executors_ask_a_remote_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS, from the workers' processes: the same scores as from the local engine."""
    told = {"SSL_CERT_FILE": str(tmp_path / "cert.pem"), "XDG_DATA_HOME": str(tmp_path / "data")}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    far = FarSide(tls=certified(tmp_path))
    log = _fill(tmp_path, records=400)
    _with_stage(monkeypatch, functools.partial(_told, told=told))
    try:
        for engine, lake in ((local, "one"), (spark, "other")):
            _run(engine, log, tmp_path / lake, model=far.url)
    finally:
        far.close()
    assert_equal(str(tmp_path / "one"), str(tmp_path / "other"))
    scored = "select count(*) n from posts where scored and model = 'far@1'"
    assert open_lake(str(tmp_path / "other")).sql(scored)["n"][0].as_py() > 100


def _told(batch: pa.RecordBatch, *, told: dict[str, str]) -> pa.RecordBatch:
    """What a cluster's `spark.executorEnv` says; the workers here were started before."""
    os.environ.update(told)
    return batch


def _refusing(batch: pa.RecordBatch) -> pa.RecordBatch:
    raise ConfigError("this cannot be done")


def _with_stage(monkeypatch: pytest.MonkeyPatch, stage: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
    build = vars(_opened)["build"]
    monkeypatch.setattr(_opened, "build", lambda plan: pipeline.Pipeline((stage, *build(plan).stages)))


@pytest.mark.usefixtures("cluster")
def test_posts_wait_for_a_scorer_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away nothing is lost and nothing becomes a dead letter."""
    log = _fill(tmp_path, records=300)
    flag = tmp_path / "away"
    _with_stage(monkeypatch, functools.partial(_away, flag=flag))
    report = _run(spark, log, tmp_path / "lake", model="none:")
    assert flag.exists()
    assert report.processed == 300
    dead = open_lake(str(tmp_path / "lake")).sql("select reason from dead_letters")["reason"].to_pylist()
    assert not [reason for reason in dead if "away" in reason]


@pytest.mark.usefixtures("cluster")
def test_what_cannot_be_helped_ends_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no waiting mends comes out of the executors as what it is."""
    log = _fill(tmp_path, records=300)
    _with_stage(monkeypatch, _refusing)
    with pytest.raises(ConfigError, match="this cannot be done"):
        _run(spark, log, tmp_path / "lake", model="none:")


@pytest.mark.usefixtures("cluster")
def test_stopped_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    """With a trigger: told to stop while batches come; a second run ends at the log's end."""
    log = _fill(tmp_path, records=2_000)
    stop = threading.Event()
    given: dict[str, Any] = {"log": log, "lake": str(tmp_path / "lake"), "pipeline": "lake", "model": "lexicon:vader"}

    def enough(progress: Progress) -> None:
        if progress.processed:
            stop.set()

    report = spark.run(Plan(**given, batch_rows=200, trigger_s=0), stop=stop, observe=enough)
    assert 0 < report.processed <= 2_000
    _run(local, log, tmp_path / "lake", model="lexicon:vader")
    _run(local, log, tmp_path / "one", model="lexicon:vader")
    assert_equal(str(tmp_path / "one"), str(tmp_path / "lake"))


def _job(folder: Path, inbox: Path, **patch: Any) -> dict[str, Any]:
    plan = {
        "log": f"sqlite:{folder}/log.sqlite",
        "lake": str(folder / "lake"),
        "model": "lexicon:vader",
        "sources": [file_source(inbox)],
        "until_idle": True,
        "maintain": False,
        "master": "local[2]",
        "trigger_s": 0.2,
        "batch_rows": 400,
        "spark": SMALL,
    }
    return {"plan": plan, "engine": "spark", "patch": patch}


def _finish(folder: Path, inbox: Path, story: Story) -> None:
    """A last, whole run, by the other engine; then everything is there once."""
    with started(folder, {**_job(folder, inbox), "engine": "local"}) as child:
        assert child.report()["code"] == 0, child.errors()
    assert_exact(folder / "lake", folder / "log.sqlite", story.truth)


STEPS = ["commit.posts after 2", "commit.posts before 1", "commit.windows after 1", "commit.dead_letters after 2"]


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("step", STEPS if PROVING else STEPS[:1])
def test_the_driver_is_killed_between_two_commits(tmp_path: Path, inbox: Path, step: str) -> None:
    """Behind posts and before windows, say; Spark's own process ends by itself, and a new driver levels the tables."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 1_200)
    with started(tmp_path, _job(tmp_path, inbox, kill_at=step)) as child:
        assert child.process.wait(180) == -signal.SIGKILL, child.errors()
        child.seconds_until_alone(60)
    story.write(inbox / "1.jsonl", 300)
    with started(tmp_path, _job(tmp_path, inbox)) as child:
        assert child.report(180)["code"] == 0, child.errors()
        child.seconds_until_alone(60)
    assert_exact(tmp_path / "lake", tmp_path / "log.sqlite", story.truth)


@pytest.mark.usefixtures("java")
def test_sparks_own_process_is_killed(tmp_path: Path, inbox: Path) -> None:
    """The JVM dies under the driver, which ends with one line; what follows finds everything where it was."""
    story = Story(SEED)
    story.write(inbox / "0.jsonl", 2_000)
    with started(tmp_path, _job(tmp_path, inbox, drag_s=0.3)) as child:
        child.until(lambda progress: progress["processed"] > 0, timeout_s=180)
        for pid in _jvms(child):
            os.kill(pid, signal.SIGKILL)
        report = child.report(120)
    assert (report["error"], report["code"]) == ("FatalError", 3)
    assert "start again" in report["message"]
    _finish(tmp_path, inbox, story)


def _jvms(child: Child) -> list[int]:
    return [pid for pid in child.helpers() if Path(f"/proc/{pid}/comm").read_text().strip() == "java"]


@pytest.mark.skipif(not PROVING, reason="a proof: FELTWIRE_PROVE=1")
@pytest.mark.usefixtures("java")
def test_drivers_and_workers_are_killed_at_random(tmp_path: Path, inbox: Path) -> None:
    """Python driver, JVM and Python workers in turn, at random instants, thirty times each."""
    import random

    dice = random.Random(SEED)
    story = Story(SEED)
    for kill in range(3 * KILLS):
        story.write(inbox / f"{kill:03}.jsonl", 600)
        with started(tmp_path, _job(tmp_path, inbox, drag_s=0.1)) as child:
            before = child.until(lambda progress: progress["lag"] > 0, timeout_s=180)["processed"]
            assert before >= 0
            time.sleep(dice.random() * 12)
            victims = [[child.process.pid], _jvms(child), _workers(child)][kill % 3]
            for pid in victims[:1]:
                os.kill(pid, signal.SIGKILL)
            child.process.wait(300)
            child.seconds_until_alone(60)
    _finish(tmp_path, inbox, story)


@pytest.mark.skipif(not PROVING, reason="a proof: FELTWIRE_PROVE=1")
@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("round_", range(KILLS))
def test_two_engines_forced_onto_one_partition(tmp_path: Path, inbox: Path, round_: int) -> None:
    """A local engine and a Spark one that both believe the partition theirs: one of them leaves, nothing doubles."""
    story = Story(SEED + round_)
    story.write(inbox / "0.jsonl", 3_000)
    job = _job(tmp_path, inbox, no_claims=True, drag_s=0.2)
    with started(tmp_path, {**job, "plan": {**job["plan"], "lake": None}}) as child:
        assert child.report(180)["code"] == 0, child.errors()
    job["plan"]["sources"] = []
    slow = {**job, "engine": "local", "patch": {**job["patch"], "drag_s": 1.0, "chunk_rows": 100}}
    with started(tmp_path, job) as one, started(tmp_path, slow) as other:
        reports = [one.report(300), other.report(300)]
    assert {report.get("error", "ClaimError") for report in reports} == {"ClaimError"}, reports
    _finish(tmp_path, inbox, story)


def _workers(child: Child) -> list[int]:
    found = [pid for pid in child.helpers() if b"_spark_daemon" in _command(pid)]
    return sorted(found, reverse=True)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.usefixtures("java")
def test_an_interrupted_command_leaves_nothing_behind(tmp_path: Path, inbox: Path) -> None:
    """`feltwire process --engine spark` on the way to a terminal's Ctrl-C: exit code 0, no process left."""
    import subprocess

    story = Story(SEED)
    story.write(inbox / "0.jsonl", 300)
    words = [sys.executable, "-m", "feltwire.cli"]
    at = ["--lake", str(tmp_path / "lake")]
    subprocess.run(
        [*words, "run", "--source", f"file:{inbox}", "--until-idle", "--port", "0", "--model", "lexicon:vader", *at],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    story.write(inbox / "1.jsonl", 300)
    subprocess.run([*words, "ingest", "--source", f"file:{inbox}", *at], check=True, capture_output=True, cwd=tmp_path)
    command = [*words, "process", "--engine", "spark", "--master", "local[2]", "--model", "lexicon:vader", *at]
    log = SqliteLog(tmp_path / "lake-log.sqlite", Options())
    with (
        subprocess.Popen(
            command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        ) as child,
        log,
    ):
        lake = open_lake(str(tmp_path / "lake"))
        for _ in polling(180):
            if lake.positions()["ledger"] == log.ends() or child.poll() is not None:
                break
        os.killpg(child.pid, signal.SIGINT)
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
        assert "300 records processed" in errors
    assert_exact(tmp_path / "lake", tmp_path / "lake-log.sqlite", story.truth)
