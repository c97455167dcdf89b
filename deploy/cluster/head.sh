#!/bin/sh
# A head: a node of the Ray cluster that gives no cores and no cards, and the server. $1: its address among Ray's nodes.
set -eu
export RAY_USAGE_STATS_ENABLED=0
until ray start --address=10.77.0.10:6379 --node-ip-address="$1" --num-cpus=0 --num-gpus=0 \
    --object-store-memory=500000000 --disable-usage-stats; do
    sleep 2
done
exec audio-pool serve --config /etc/audio-pool/pool.toml
