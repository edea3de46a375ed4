"""A Spark session for the engine: with the right Java and Spark, or one line that says what is wrong."""

import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pyspark
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from feltwire.engines._spark_log import FeltwireLog
from feltwire.errors import ConfigError

logger = logging.getLogger(__name__)

LEAST: Final = (4, 2)  # read limits and available-now for Python sources came with it
_JAVA: Final = 17

# Where this process starts Spark itself; what the settings or spark-submit say stands above them.
_DEFAULTS: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.python.daemon.module": "feltwire.engines._spark_daemon",
}
_LOCAL: Final = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def check_version(version: str, what: str) -> None:
    """Raise ConfigError for a Spark that is too old."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < LEAST:
        raise ConfigError(
            f"engine 'spark': {what} is Spark {version}, and 4.2 or newer is needed: pip install 'feltwire[spark]', or "
            "bring a newer Spark along (docs/spark.md)"
        )


def check_java() -> None:
    """Raise ConfigError where there is no Java to start Spark with."""
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").exists():
        raise ConfigError(f"engine 'spark': JAVA_HOME is {home!r}, where there is no bin/java: Java {_JAVA} is needed")
    if not home and shutil.which("java") is None:
        raise ConfigError(
            f"engine 'spark' needs Java {_JAVA} or newer: there is none on the PATH, and JAVA_HOME is not set"
        )


def open_session(name: str, master: str | None, given: Mapping[str, str], resources: ExitStack) -> SparkSession:
    """A session with settings of its own, in the Spark of this process if one runs already, else in a new one.

    A Spark that was started here ends with `resources`. Raises ConfigError where it is too old or cannot be started.
    """
    check_version(pyspark.__version__, "the library pyspark")
    running = SparkSession.getActiveSession() or SparkSession._instantiatedSession
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if running is None and not submitted:
        check_java()
        # The workers' Python is this one, unless somebody says otherwise: an archive on a cluster does.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if master:
        builder = builder.master(master)
    defaults = {} if submitted else _DEFAULTS | (_LOCAL if (master or "local").startswith("local") else {})
    for key, value in {**defaults, **given}.items():
        builder = builder.config(key, value)
    try:
        session = running or builder.getOrCreate()
    except (PySparkException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"engine 'spark': Spark cannot be started (is it Java {_JAVA} or newer?): {first}") from error
    if running is None:
        resources.callback(_end, session)
    check_version(session.version, "the cluster")
    own = session.newSession()
    own.conf.set("spark.sql.session.timeZone", "UTC")
    own.conf.set("spark.sql.streaming.minBatchesToRetain", "2")
    own.dataSource.register(FeltwireLog)
    return own


def _end(session: SparkSession) -> None:
    try:
        session.stop()
    except (Py4JError, OSError) as error:  # its process has ended before
        logger.info("Spark was not there to be stopped: %s", type(error).__name__)
