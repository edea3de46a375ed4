"""What runs a backfill every night: the DAG under a pinned Airflow in an environment of its own, and the timer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.backfill.past import Commands, Past, days_ago
from tests.conftest import IN_CI, PROVING

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INSTALL_S = 900.0

# Imported and run by Airflow's own Python: the file must give one DAG without an error, and each of its tasks succeed.
RUN_DAG = """
import sys
from airflow.models.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1], include_examples=False)
assert not bag.import_errors, bag.import_errors
assert list(bag.dags) == ["feltwire_backfill"], bag.dags
run = bag.dags["feltwire_backfill"].test()
states = {task.task_id: str(task.state) for task in run.get_task_instances()}
assert states == {"backfill": "success", "report": "success"}, states
"""


@pytest.fixture(scope="module")
def airflow(absent: Callable[[str], None]) -> Path:
    """Airflow's Python, of an environment of its own that is kept; installed where the proofs are run, and in CI."""
    pins = DEPLOY / "airflow" / "requirements.txt"
    pinned = next(line for line in pins.read_text().splitlines() if line.startswith("apache-airflow=="))
    folder = Path(os.environ.get("FELTWIRE_AIRFLOW") or ROOT / ".cache" / pinned.replace("==", "-"))
    python = folder / "bin" / "python"
    if (folder / "bin" / "airflow").exists():
        return python
    if not (PROVING or IN_CI):
        pytest.skip(f"no {pinned} in {folder}: `make prove` installs it, half a gigabyte")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        absent("no uv: pip install uv")
    for command in (["venv", str(folder)], ["pip", "install", "--python", str(python), "-r", str(pins)]):
        subprocess.run([str(uv), *command], check=True, timeout=INSTALL_S, capture_output=True)
    return python


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.timeout(0)
def test_the_dag_runs_under_airflow(airflow: Path, tmp_path: Path) -> None:
    """The DAG is imported without an error, and run: the day before is in the lake, and the reports are written."""
    with Past(4, days_ago(1), 24 * 60, 0.2) as past:
        commands = Commands(tmp_path, past, every="15min")
        (tmp_path / "feltwire.toml").write_text(
            f'[[sources]]\nuri = "x:search"\nbase_url = "{past.url}"\n\n[[tracks]]\nname = "cats"\nquery = "cats"\n'
        )
        dags = tmp_path / "airflow" / "dags"
        dags.mkdir(parents=True)
        shutil.copy(DEPLOY / "airflow" / "feltwire_backfill.py", dags)
        env = {
            **commands.env(), "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "BACKFILL_FOLDER": str(tmp_path), "BACKFILL_COMMAND": f"{sys.executable} -m feltwire.cli",
            "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        prepare = (["-m", "airflow", "db", "migrate"], ["-m", "airflow", "dags", "reserialize"])
        for command in (*prepare, ["-c", RUN_DAG, str(dags)]):
            done = subprocess.run(
                [str(airflow), *command],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
        commands.check()
        assert len(commands.staged()) == 96
        assert past.period[1] - past.period[0] == timedelta(days=1)
    assert (tmp_path / "report" / "tweet" / "tweet.parquet").exists()
    assert (tmp_path / "report" / "sentiment" / "sentiment.csv").exists()


@pytest.mark.slow
def test_the_timer_is_one_that_systemd_takes(program: Callable[..., str], tmp_path: Path) -> None:
    analyze = program("systemd-analyze", package="systemd")
    units = []
    for path in sorted((DEPLOY / "systemd").iterdir()):
        units.append(tmp_path / path.name)
        units[-1].write_text(path.read_text().replace("/opt/feltwire/bin/feltwire", sys.executable))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, units)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
