#!/bin/sh
# Feltwire on a standalone Spark cluster whose workers have no Feltwire: standalone.sh MASTER ARCHIVE [words of
# `feltwire process`]. The archive is one of pack.py's; it is unpacked here too, since driver and executors name their
# Python alike. Tried by tests/engines/test_spark_archive.py.
set -eu
master=$1 archive=$2
shift 2
[ -x env/bin/python ] || { mkdir -p env && tar -xf "$archive" -C env; }
unset SPARK_HOME
export PYSPARK_PYTHON=./env/bin/python
FELTWIRE_ENGINE__SPARK="{\"spark.archives\": \"$archive#env\"}" \
    exec "${DRIVER_PYTHON:-./env/bin/python}" -m feltwire.cli process --engine spark --master "$master" "$@"
