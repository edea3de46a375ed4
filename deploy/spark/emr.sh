#!/bin/sh
# A step of an EMR 7 cluster (its nodes have Java 17): emr.sh s3://bucket/prefix [words of `feltwire process`], where
# the prefix holds feltwire-env.tar.gz, yarn.sh and cluster.toml. Runs on the first node, as
#     aws emr add-steps --cluster-id j-… --steps 'Type=CUSTOM_JAR,Name=feltwire,ActionOnFailure=CONTINUE,\
#       Jar=command-runner.jar,Args=[bash,-c,"aws s3 cp s3://bucket/prefix/emr.sh . && sh emr.sh s3://bucket/prefix"]'
# Not run where this was written: there is no EMR.
set -eu
from=$1
shift
for name in feltwire-env.tar.gz yarn.sh cluster.toml; do
    aws s3 cp "$from/$name" "$name"
done
export HADOOP_CONF_DIR=/etc/hadoop/conf
exec sh yarn.sh feltwire-env.tar.gz --config cluster.toml "$@"
