# Sourced by the scripts beside it: the clone's own environment, made once and checked every time.
# Sets ROOT and PYTHON; installs Debian packages as root, else prints the line that does.

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${EUBCHAIN_VENV:-$ROOT/.venv}"
PYTHON="$VENV/bin/python"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in "${EUBCHAIN_PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] || continue
        command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "Python 3.11, 3.12 or 3.13 is needed and none was found. On Debian 12: apt-get install python3 python3-venv"
    exit 1
}

# need_packages PACKAGE… : install what is missing, as root; otherwise say how.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "These packages are needed: ${missing[*]}"
        say "Install them with: sudo apt-get install -y --no-install-recommends ${missing[*]}"
        return 1
    fi
    say "installing ${missing[*]}"
    if ! { apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; }; } >/dev/null 2>&1; then
        say "apt-get could not install ${missing[*]}"
        return 1
    fi
}

# A C compiler and GMP: fastecdsa, which py-libp2p requires, is published as source only.
can_compile() {
    printf '#include <gmp.h>\n#include <Python.h>\nint main(void){return 0;}\n' |
        gcc -x c -fsyntax-only "-I$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')" - 2>/dev/null
}

make_environment() {
    local base stamp
    base="$(find_python)"
    stamp="$(cat "$ROOT/requirements.txt" "$ROOT/setup.cfg" | sha256sum | cut -d' ' -f1)-$("$base" -V 2>&1)"
    if [ -x "$PYTHON" ] && [ "$(cat "$VENV/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    if ! can_compile "$base"; then
        local packages=(gcc libc6-dev libgmp-dev)
        # A Python from elsewhere brings its own headers; Debian's needs its packages.
        case "$(command -v "$base")" in /usr/bin/*) packages+=(python3-dev python3-venv) ;; esac
        if "$base" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))'; then packages+=(g++ libleveldb-dev); fi
        need_packages "${packages[@]}" || exit 1
    fi
    say "making $VENV (about a minute, once)"
    if ! "$base" -m venv "$VENV"; then
        need_packages python3-venv || exit 1
        "$base" -m venv "$VENV"
    fi
    "$PYTHON" -m pip install -q --disable-pip-version-check --use-pep517 -r "$ROOT/requirements.txt"
    "$PYTHON" -m pip install -q --disable-pip-version-check --no-deps -e "$ROOT"
    printf '%s' "$stamp" >"$VENV/stamp"
}

make_environment
export PATH="$VENV/bin:$PATH"
cd "$ROOT"
