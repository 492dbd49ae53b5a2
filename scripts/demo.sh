#!/bin/sh
# Builds Mainstay and plays the demo on a throw-away sandbox. Arguments go to `mainstay demo` (try --keep).
set -eu
cd "$(dirname "$0")/.."
. scripts/setup.sh
cargo build --release --quiet --bin mainstay
exec "${CARGO_TARGET_DIR:-target}/release/mainstay" demo "$@"
