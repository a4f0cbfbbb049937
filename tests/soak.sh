#!/bin/sh
# Soaks a gateway: tests/soak.sh [SECONDS] [REQUESTS]
#
# Ends after so long (default: 600 s) or so many requests (default: 10 million). Memory must stay flat, and the gauges
# must return to zero after each round.
set -eu
cd "$(dirname "$0")/.."
cargo build --release -p berry-server -p berry-tests --bin berry-server --bin soak
exec "${CARGO_TARGET_DIR:-target}/release/soak" "$@"
