#!/usr/bin/env bash
# Installs missing system packages, and prints their names. demo.sh and test.sh source this file.
#
# need NAME... : installs the named programs and libraries, unless they are present. The functions below find each of
# them, and name its packages on Debian and in Homebrew.

have_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }

any_file() {
    local file
    for file in "$@"; do [ -e "$file" ] && return 0; done
    return 1
}

# libclang needs the C headers of its compiler, which are in its development package.
have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    if [ "$(uname -s)" = Darwin ]; then
        any_file "$(xcode-select -p)/usr/lib/libclang.dylib" "$(brew --prefix llvm)/lib/libclang.dylib"
    else
        any_file /usr/lib*/llvm*/lib*/libclang{.so,-[0-9]*.so}* /usr/lib*/{,*-linux-gnu/}libclang{.so,-[0-9]*.so}* &&
            any_file /usr/lib*/clang/*/include/stdbool.h /usr/lib*/llvm*/lib*/clang/*/include/stdbool.h
    fi
}

# Whether NAME is installed.
is_there() {
    case "$1" in
        cc) command -v cc ;;
        c++) command -v c++ ;;
        cmake) command -v cmake ;;
        libclang) have_libclang ;;
        pkg-config) command -v pkg-config ;;
        xvfb) command -v Xvfb ;;
        iproute2) command -v ip ;;
        nftables) command -v nft || [ -x /usr/sbin/nft ] ;;
        vulkan) have_library libvulkan.so.1 && ls /usr/share/vulkan/icd.d/*.json ;;
        x11) have_library libX11.so.6 && have_library libXcursor.so.1 && have_library libXi.so.6 &&
            have_library libXrandr.so.2 && have_library libxkbcommon-x11.so.0 ;;
        venv) python3 -c 'import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 10))' ;;
        util-linux) command -v unshare && command -v nsenter && command -v setsid ;;
        hostname) command -v hostname ;;
    esac >/dev/null 2>&1
}

# The packages of NAME in Homebrew, unless macOS includes it.
homebrew_packages() {
    case "$1" in
        cmake) echo cmake ;;
        libclang) echo llvm ;;
    esac
}

debian_packages() {
    case "$1" in
        cc) echo gcc libc6-dev ;;
        c++) echo g++ ;;
        cmake) echo cmake ;;
        libclang) echo libclang-dev ;;
        pkg-config) echo pkg-config ;;
        xvfb) echo xvfb ;;
        iproute2) echo iproute2 ;;
        nftables) echo nftables ;;
        vulkan) echo libvulkan1 mesa-vulkan-drivers ;;
        x11) echo libx11-6 libxcursor1 libxi6 libxrandr2 libxkbcommon-x11-0 ;;
        venv) echo python3 python3-venv ;;
        util-linux) echo util-linux ;;
        hostname) echo hostname ;;
    esac
}

need() {
    local missing=() packages=() name
    for name in "$@"; do
        is_there "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    case "$(uname -s)" in
        Darwin)
            # macOS includes windows and Metal; only compilers may be missing.
            if printf '%s\n' "${missing[@]}" | grep -qx 'cc\|c++'; then
                echo "Installing the command-line compiler with: xcode-select --install"
                xcode-select --install || true
            fi
            for name in "${missing[@]}"; do
                read -r -a more <<<"$(homebrew_packages "$name")"
                [ ${#more[@]} -eq 0 ] && continue
                command -v brew >/dev/null || { echo "Missing: $name. Install Homebrew (https://brew.sh), then run this again." >&2; return 1; }
                echo "Installing with Homebrew: ${more[*]}"
                brew install --quiet "${more[@]}"
            done
            return 0
            ;;
        Linux) ;;
        *)
            echo "On Windows, run: winget install Microsoft.VisualStudio.2022.BuildTools Rustlang.Rustup" >&2
            return 0
            ;;
    esac
    if ! command -v apt-get >/dev/null; then
        echo "Missing: ${missing[*]}. Install them with your package manager. Their Debian packages are:" >&2
        for name in "${missing[@]}"; do echo "    $(debian_packages "$name")"; done >&2
        return 1
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "Missing: ${missing[*]}. There is no sudo: run this as root." >&2; return 1; }
        as_root=(sudo)
    fi
    for name in "${missing[@]}"; do
        read -r -a more <<<"$(debian_packages "$name")"
        packages+=("${more[@]}")
    done
    echo "Installing system packages: ${packages[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${packages[@]}" >/dev/null
}

need_rust() {
    # rustup creates this file; a shell that has not read it does not find cargo.
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null && return 0
    echo "Rust is missing. Install version 1.95 or newer from https://rustup.rs, then run this again." >&2
    return 1
}

# Prints the arguments with which cargo builds everything that can be built here. hana-link contains Ableton Link, which
# is C++; without a C++ compiler it is left out. The features of all other crates are the same either way, so that
# nothing is built twice.
members_to_build() {
    local name missing=()
    need cmake c++ libclang >&2 || true
    for name in cmake c++ libclang; do
        is_there "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        echo "--workspace"
    else
        echo "Not building hana-link, because of missing: ${missing[*]}. hana then runs without Ableton Link." >&2
        echo "--workspace --exclude hana_link"
    fi
}
