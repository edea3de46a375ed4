"""Spark's Python daemon with everything imported that the work needs: each worker is a fork of it.

An executor starts a worker for every task that runs at a time, and ends it after a minute without work; the imports of
each would take seconds. Models are loaded by the workers themselves. Started by `spark.python.daemon.module`, also for
the small processes beside the driver, which need little.
"""

import importlib
import sys

from pyspark import daemon

if __name__ == "__main__":
    for module in ("_spark_log", "_spark_work") if sys.argv[1:2] == ["pyspark.worker"] else ():
        importlib.import_module(f"feltwire.engines.{module}")
    daemon.manager()
