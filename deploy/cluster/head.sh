#!/bin/sh
# A head: a node of the Ray cluster that gives no cores and no cards, and the server. $1: its address among Ray's nodes.
# The node is begun again where Ray's own head was lost and has come back; meanwhile the server goes on.
set -eu
export RAY_USAGE_STATS_ENABLED=0
joined=/tmp/ray/ray_current_cluster
rm -f "$joined"
while true; do
    ray start --address=10.77.0.10:6379 --node-ip-address="$1" --num-cpus=0 --num-gpus=0 \
        --object-store-memory=500000000 --block || true
    sleep 2
done &
until [ -s "$joined" ]; do sleep 1; done
exec audio-pool serve --config /etc/audio-pool/pool.toml
