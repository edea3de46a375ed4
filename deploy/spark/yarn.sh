#!/bin/sh
# Feltwire on any YARN, with a Spark of its own: yarn.sh ARCHIVE [words of `feltwire process`]. HADOOP_CONF_DIR has to
# name the cluster's configuration; its nodes need Java 17. The archive must hold Spark's jars (pack.py without
# --without-jars): they are sent along instead of what the image has. Not run where this was written: there is no YARN.
set -eu
: "${HADOOP_CONF_DIR:?names the folder of yarn-site.xml}"
archive=$1
shift
[ -x env/bin/python ] || { mkdir -p env && tar -xf "$archive" -C env; }
unset SPARK_HOME
export PYSPARK_PYTHON=./env/bin/python
FELTWIRE_ENGINE__SPARK="{\"spark.archives\": \"$archive#env\", \"spark.executor.memoryOverhead\": \"3g\"}" \
    exec ./env/bin/python -m feltwire.cli process --engine spark --master yarn "$@"
