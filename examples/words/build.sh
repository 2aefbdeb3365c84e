#!/usr/bin/env bash
# Compile readings.wasm and check.wasm; the same bytes on every machine with the compiler named below.
#
# usage: build.sh [DIRECTORY]    (default: beside this file)
# Needs, on Debian 12: clang lld wasi-libc libclang-rt-14-dev-wasm32. Built with: clang 14.0.6
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
into="${1:-$here}"
for name in readings check; do
    clang --target=wasm32-wasi -std=c11 -O2 -fwrapv -Wall -Wextra -Werror -Wl,--strip-all \
        -o "$into/$name.wasm" "$here/$name.c"
done
chmod 644 "$into"/{readings,check}.wasm
echo "built readings.wasm and check.wasm in $into"
