#!/bin/sh
# Prints the README's table of what the gateway costs: tests/measure.sh > table.md
#
# Each combination of one or two workers, with and without the access log, takes about three minutes.
# The machine must be idle otherwise. `--quick` only checks that everything runs.
set -eu
cd "$(dirname "$0")/.."
cargo build --release -p berry-server -p berry-tests --bin berry-server --bin load

echo "Measured on $(date +%F) on $(uname -sm), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
    "Berry at $(git rev-parse --short HEAD)."
for workers in 1 2; do
    if [ "$workers" -gt "$(nproc)" ]; then
        continue
    fi
    for log in "" --log; do
        echo
        cargo run --quiet --release -p berry-tests --bin load -- --workers "$workers" --pin $log "$@"
    done
done
