"""The Spark session that MLlib trains in, and what is said where Spark or Java is missing."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feltwire.config import java_home
from feltwire.errors import ConfigError, MissingExtraError
from feltwire.models._terms import Ints

MASTER: Final = "spark.master"
DEFAULTS: Final = {
    MASTER: "local[*]",
    "spark.app.name": "feltwire train",
    "spark.driver.memory": "3g",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
LOCAL: Final = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}


def session(given: Mapping[str, str]) -> Any:
    """The running session, or a new one with these settings over DEFAULTS; it lives as long as the process.

    Raises MissingExtraError without pyspark, ConfigError without Java or where Spark does not start.
    """
    found = running()
    if found is not None:
        return found
    if java_home() is None and shutil.which("java") is None:
        raise ConfigError(
            "Spark needs Java, and there is none: install Java 17 or 21, or let JAVA_HOME name its folder"
        )
    conf = {**DEFAULTS, **given}
    if conf[MASTER].partition("[")[0] == "local":
        conf = {**LOCAL, **conf}
    from pyspark.sql import SparkSession

    try:
        return SparkSession.builder.config(map=dict[str, Any](conf)).getOrCreate()
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"Spark does not start with {MASTER} = {conf[MASTER]!r}: {first}") from error


def running() -> Any:
    """The session that runs already; None: there is none. Raises MissingExtraError without pyspark."""
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise MissingExtraError(
            f"training on Spark needs the library {missing!r}: pip install 'feltwire[spark]'"
        ) from error
    return SparkSession.getActiveSession()


def frame(spark: Any, words: Sequence[Sequence[str]], labels: Ints) -> Any:
    """A table of Spark's: `label`, a double, and `words`, an array of strings."""
    table = pa.table({"label": pa.array(labels.astype(np.float64)), "words": pa.array(words, pa.list_(pa.string()))})
    return spark.createDataFrame(table)
