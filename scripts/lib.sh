# shellcheck shell=bash
# What the scripts share. Sourced, never run; after it, $root is the checkout and $CARGO a cargo that is new enough.

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)

# the oldest compiler that the manifest allows
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

fail() {
    say "$*"
    exit 2
}

# new_enough CARGO: whether it is there and no older than the manifest wants
new_enough() {
    local version
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] && printf '%s\n%s\n' "$needed" "$version" | sort -VC
}

# Finds the cargo to use: $CARGO, the first on PATH, rustup's, Debian's. False where none is new enough.
find_cargo() {
    local candidate
    for candidate in "${CARGO:-}" "$(command -v cargo || true)" "${CARGO_HOME:-${HOME:-/}/.cargo}/bin/cargo" /usr/bin/cargo; do
        if [ -n "$candidate" ] && new_enough "$candidate"; then
            export CARGO=$candidate
            # rustc, rustfmt and clippy must be those that came with it
            if [[ $candidate == */* ]]; then PATH=$(dirname "$candidate"):$PATH; fi
            return 0
        fi
    done
    return 1
}

need_cargo() { find_cargo || fail "no cargo $needed or newer is on PATH; scripts/install-deps installs one"; }
