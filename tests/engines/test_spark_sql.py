"""A lake read by Spark SQL, with the delta-spark package that nothing else needs."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import PROVING

from feltwire import schema
from feltwire.engines import local
from feltwire.lake import open_lake
from feltwire.plan import Plan, SourcePlan

PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"

READER = """
import json, sys
from pyspark.sql import SparkSession

lake, package, tables = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
builder = SparkSession.builder.master("local[1]")
for key, value in {
    "spark.jars.packages": package,
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.driver.memory": "768m",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
}.items():
    builder = builder.config(key, value)
try:
    spark = builder.getOrCreate()
except Exception as error:
    sys.exit(f"no session: {str(error)[:500]}")
read = {table: spark.read.format("delta").load(f"{lake}/{table}") for table in tables}
found = {table: frame.count() for table, frame in read.items()}
found["p_positive"] = read["posts"].selectExpr("sum(cast(p_positive as double)) s").collect()[0]["s"]
found["n"] = read["windows"].where("track = '*'").selectExpr("sum(n) s").collect()[0]["s"]
found["columns"] = read["posts"].columns
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.skipif(not PROVING, reason="fetches a package from Maven Central: FELTWIRE_PROVE=1")
def test_spark_sql_reads_the_lake(tmp_path: Path, absent: Callable[[str], None]) -> None:
    if shutil.which("java") is None:
        absent("no java on the PATH: apt-get install openjdk-17-jre-headless")
    told = {"seed": 1, "rate": 50_000, "count": 3_000, "mess": 0.2}
    source = SourcePlan(key="simulator", uri="simulator:", options=told)
    path = str(tmp_path / "lake")
    plan = Plan(log=f"sqlite:{tmp_path}/log.sqlite", lake=path, sources=(source,), until_idle=True)
    local.run(plan, stop=threading.Event())
    lake, tables = open_lake(path), list(schema.STREAMED)
    done = subprocess.run(
        [sys.executable, "-c", READER, path, PACKAGE, ",".join(tables)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    if "unresolved dependency" in done.stderr or "no session" in done.stderr:
        absent(f"{PACKAGE} could not be fetched from Maven Central")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    sizes = lake.sizes()
    assert {table: found[table] for table in tables} == {table: sizes[table]["rows"] for table in tables}
    assert found["columns"] == schema.POSTS.names
    assert found["n"] == sizes["posts"]["rows"]
    assert found["p_positive"] == lake.sql("select sum(cast(p_positive as double)) s from posts_all")["s"][0].as_py()
