#!/bin/sh
# Every check of the repository: formatting, lints, documentation, all tests (as root: kernel tests included).
set -eu
cd "$(dirname "$0")/.."
set -- test
. scripts/setup.sh
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
step() { printf '\n== %s (at %s s)\n' "$*" "$(($(date +%s) - started))"; "$@"; }
started=$(date +%s)
step cargo fmt --all --check
step cargo clippy --quiet --workspace --all-targets -- -D warnings
# Private items are documented too, so links to them lead somewhere.
step env RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
    cargo doc --quiet --workspace --no-deps --document-private-items
step cargo build --quiet --workspace --all-targets
step cargo test --workspace --no-fail-fast
printf '\nall checks passed in %s s\n' "$(($(date +%s) - started))"
