#!/usr/bin/env bash
# Compile tracer.wasm; the same bytes on every machine with the compiler named below.
#
# usage: build.sh [DIRECTORY]    (default: beside this file)
# Needs, on Debian 12: clang lld wasi-libc libclang-rt-14-dev-wasm32. Built with: clang 14.0.6
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
into="${1:-$here}"
# No fused multiply-add: its rounding differs, and the image must not.
clang --target=wasm32-wasi -std=c11 -O3 -ffp-contract=off -Wall -Wextra -Werror -Wl,--strip-all \
    -o "$into/tracer.wasm" "$here/tracer.c" -lm
chmod 644 "$into/tracer.wasm"
echo "built tracer.wasm in $into"
