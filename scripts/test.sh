#!/usr/bin/env bash
# shellcheck disable=SC2086 # $members has several words
# Runs all checks: format, lints, documentation, and all tests, including those with several hosts and with windows.
# Installs missing packages. From a clean clone on two cores it takes under 25 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

began=$SECONDS
step() { printf '\n== %s (%s s)\n' "$1" "$((SECONDS - began))"; }

step "packages"
need_rust
if [ "$(uname -s)" = Linux ]; then
    need cc pkg-config util-linux iproute2 nftables hostname venv xvfb vulkan x11
else
    need cc
fi
members=$(members_to_build)
# The tests must not depend on the caller's settings for hana, the terminal and the desktop.
for name in $(compgen -e); do
    case $name in
        HANA_SEED | HANA_CASES | HANA_LAB | HANA_PICTURES | HANA_STEADY_S) ;;
        HANA_* | ZENOH_* | LC_* | LANG | LANGUAGE | NO_COLOR | CLICOLOR* | DISPLAY | WAYLAND_DISPLAY) unset "$name" ;;
        RUST_LOG | NOTIFY_SOCKET | WATCHDOG_USEC | SUDO_USER) unset "$name" ;;
    esac
done
export LC_ALL=C.UTF-8
# Nor on the files in ~/.config/hana.
mkdir -p target/no-settings
export XDG_CONFIG_HOME="$PWD/target/no-settings"
export PYTHONDONTWRITEBYTECODE=1
export CARGO_TERM_COLOR=never
# Pictures of `hana top` are compared, not written.
export INSTA_UPDATE=no

step "format"
cargo fmt --all --check

step "build"
cargo build $members --all-targets

step "lints"
# Of this workspace only; its dependencies have checks of their own.
cargo clippy --quiet $members --all-targets -- -D warnings

step "licences and advisories"
if ! cargo deny --version >/dev/null 2>&1; then
    echo "Skipped: cargo-deny is not installed (cargo install cargo-deny)."
elif cargo deny fetch db >/dev/null 2>&1; then
    cargo deny check
else
    echo "Advisories are not checked: their database cannot be downloaded."
    cargo deny --offline check bans licenses sources
fi

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet $members --no-deps

step "foreign clients"
tests/foreign/setup.sh
target/foreign/bin/python3 -m unittest discover -q -s tools/zenoh_cli_hana/tests

step "examples in the documentation"
cargo test $members --doc

step "tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run $members --no-fail-fast
else
    cargo test $members --all-targets --no-fail-fast
fi
