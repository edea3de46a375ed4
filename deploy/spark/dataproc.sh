#!/bin/sh
# On the first node of a Dataproc cluster (image 2.2 or newer, with Java 17): dataproc.sh gs://bucket/prefix [words of
# `feltwire process`], where the prefix holds feltwire-env.tar.gz, yarn.sh and cluster.toml. For instance
#     gcloud dataproc jobs submit pig --cluster=… --region=… -e 'sh gsutil cp gs://bucket/prefix/dataproc.sh .; \
#       sh bash dataproc.sh gs://bucket/prefix'
# or by `gcloud compute ssh`. Lakes lie on s3:// or on a mounted folder. Not run where this was written: there is no
# Dataproc.
set -eu
from=$1
shift
for name in feltwire-env.tar.gz yarn.sh cluster.toml; do
    gsutil cp "$from/$name" "$name"
done
export HADOOP_CONF_DIR=/etc/hadoop/conf
exec sh yarn.sh feltwire-env.tar.gz --config cluster.toml "$@"
