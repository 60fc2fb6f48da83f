#!/usr/bin/env bash
# A whole show on this machine, from nothing: installs what is missing, builds, and runs `hana demo`.
# Arguments are passed on: scripts/demo.sh --seconds 30
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh

need_rust
if [ "$(uname -s)" = Linux ]; then
    need cc pkg-config
    # A window needs these; without a screen the visualizations run without one.
    if [ -n "${DISPLAY:-}" ]; then need x11 vulkan; fi
else
    need cc
fi

members=$(members_to_build)
echo "Building (the first time takes some ten minutes; Bevy is large)"
# shellcheck disable=SC2086 # these are several words
cargo build --quiet $members --bins
exec target/debug/hana demo "$@"
