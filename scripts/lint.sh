#!/bin/bash
# lint.sh: rustfmt, clippy with warnings as errors, shellcheck, and python that compiles.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh lint
cargo fmt --check
cargo fmt --check --manifest-path scripts/fuzz/Cargo.toml
cargo clippy --locked --all-targets -- -D warnings
# The fuzz targets, which nothing else in CI builds; without the C++ part, for nothing is linked.
CUSTOM_LIBFUZZER_PATH=/nowhere/libFuzzer.a cargo clippy --locked --manifest-path scripts/fuzz/Cargo.toml -- -D warnings
# SC2016: what stands in single quotes is for the container's shell. SC2317: functions
# that only a trap or `try` calls.
shellcheck -x -P SCRIPTDIR -e SC2016,SC2317 scripts/*.sh scripts/lessons/*.sh .ci/run
if [[ -x /usr/bin/python3 ]]; then
    for file in scripts/*.py; do
        /usr/bin/python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file"
    done
fi
echo "lint: fmt, clippy and shellcheck have nothing to say"
