#!/usr/bin/env bash
# Makes target/foreign, the virtual environment with the programs that are not ours. Does nothing if it is there
# and was made from what stands here now.
set -euo pipefail
cd "$(dirname "$0")/../.."

environment=${CARGO_TARGET_DIR:-target}/foreign
python=${PYTHON:-python3}
codec=tools/zenoh_cli_hana

made_from() {
    "$python" --version; pwd
    find tests/foreign/requirements.txt tests/foreign/setup.sh $codec/pyproject.toml $codec/src -type f \
        -not -path '*/__pycache__/*' -not -path '*.egg-info/*' | LC_ALL=C sort | xargs cat
}

stamp=$(made_from | cksum)
if [ "$(cat "$environment/stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$environment/bin/zenoh" ]; then
    exit
fi

if ! "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "tests/foreign/setup.sh: needs Python 3.10 or newer with venv: install python3-venv, or run scripts/test.sh" >&2
    exit 1
fi

echo "making $environment"
rm -rf "$environment"
"$python" -m venv "$environment"
pip=("$environment/bin/python3" -m pip --quiet --disable-pip-version-check --no-input)
"${pip[@]}" install --no-deps --requirement tests/foreign/requirements.txt

# From a copy: a build leaves files beside the sources.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r $codec/. "$copy"
"${pip[@]}" install --no-deps "$copy"

echo "$stamp" > "$environment/stamp"
