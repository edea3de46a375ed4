"""A DAG for Airflow 3: every night the day before, by `feltwire backfill`, then the reports.

Copy it into the folder of DAGs. The variables of the environment of Airflow's workers:

BACKFILL_FOLDER   where `feltwire.toml` lies, and where the lake, `staging/` and `sentiments/` are (/srv/feltwire)
BACKFILL_COMMAND  how Feltwire is called (feltwire)
FELTWIRE_X_TOKEN  the token of X

A task that fails is tried again, and goes on where it was: no finished slice is pulled again. A run of an older date
backfills the day before that date.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

FOLDER = os.environ.get("BACKFILL_FOLDER", "/srv/feltwire")
COMMAND = os.environ.get("BACKFILL_COMMAND", "feltwire")
THE_DAY_BEFORE = "{{ (dag_run.run_after - macros.timedelta(days=1)).strftime('%Y-%m-%d') }}"

with DAG(
    dag_id="feltwire_backfill",
    description="The posts of the day before",
    schedule="15 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
) as dag:
    backfill = BashOperator(
        task_id="backfill",
        bash_command=f"{COMMAND} backfill --start {THE_DAY_BEFORE} --end {THE_DAY_BEFORE} --slice 15min --yes",
        cwd=FOLDER,
    )
    report = BashOperator(task_id="report", bash_command=f"{COMMAND} report --window 15min", cwd=FOLDER)
    backfill >> report
