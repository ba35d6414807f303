#!/bin/sh
# Makes sure that what building Vivace needs is on this machine: Rust, and on Debian or Ubuntu the packages that the
# bundled Kafka client (librdkafka, built by cmake with TLS and zstd) wants. Does nothing when all is there.
set -eu

PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/../rust-toolchain.toml")

# Name of what is missing (as Debian's packages are called), by what can be done rather than by what is installed,
# so that any system passes that can build.
missing=""
need() { # package, command that succeeds if it is there
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
need cmake command -v cmake
need g++ command -v c++
need make command -v make
need pkg-config command -v pkg-config
need libssl-dev pkg-config --exists openssl
need zlib1g-dev pkg-config --exists zlib
# librdkafka 2.12.1 includes curl's header even where curl is switched off; nothing of it is linked.
need libcurl4-openssl-dev pkg-config --exists libcurl

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: missing here:$missing (Debian's names). Install what your system calls them." >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        root=""
    elif command -v sudo >/dev/null; then
        root="sudo"
    else
        echo "setup: missing here:$missing. As root, run: apt-get install$missing" >&2
        exit 1
    fi
    echo "setup: installing$missing" >&2
    $root apt-get update -qq
    # shellcheck disable=SC2086 # one word each is what is wanted
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
fi

# rustup reads rust-toolchain.toml and fetches the right compiler itself.
if ! command -v cargo >/dev/null; then
    echo "setup: Rust is missing. Install it from https://rustup.rs:" >&2
    command -v curl >/dev/null || echo "    apt-get install curl ca-certificates    # curl is missing too" >&2
    echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2
    exit 1
fi
if ! command -v rustup >/dev/null; then
    have=$(rustc --version | cut -d' ' -f2)
    oldest=$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)
    if [ "$oldest" != "$wanted" ]; then
        echo "setup: Rust $have is too old, $wanted is needed. Get it from https://rustup.rs" >&2
        exit 1
    fi
fi
