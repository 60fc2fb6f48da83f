#!/usr/bin/env bash
# Runs a whole show on this machine: installs missing packages, builds everything, and runs `hana demo`.
# Arguments are passed on: scripts/demo.sh --seconds 30
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

need_rust
if [ "$(uname -s)" = Linux ]; then
    need cc pkg-config
    # Windows need these. Without a display, the visualizations run without a window.
    if [ -n "${DISPLAY:-}" ]; then need x11 vulkan; fi
else
    need cc
fi

members=$(members_to_build)
# Cargo draws its progress bar on a terminal only, and on standard error; in a pipe or a log its lines would be noise.
quiet=--quiet
if [ -t 2 ]; then quiet=""; fi
echo "Building (the first time takes about ten minutes: Bevy is large)"
# shellcheck disable=SC2086 # these are several words, or none
cargo build $quiet $members --bins
exec target/debug/hana demo "$@"
