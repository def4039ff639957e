# Shell functions that the scripts of this folder share; sourced, never run. POSIX sh.
# shellcheck shell=sh

# Prints $* as an error and ends the script.
die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

am_root() { [ "$(id -u)" = 0 ]; }

# Makes cargo reachable, or says how to get it.
need_rust() {
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || die "cargo is not installed: get Rust from https://rustup.rs"
}

# Prints those of its arguments whose software is missing, as package names.
# Each argument is COMMAND:PACKAGE, present when the command is found, or :PACKAGE, present when dpkg knows it installed.
missing_packages() {
    for want; do
        command=${want%%:*} package=${want#*:}
        if [ -n "$command" ]; then
            command -v "$command" >/dev/null || echo "$package"
        elif command -v dpkg-query >/dev/null; then
            dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
        fi
    done | sort -u
}

# Installs what missing_packages finds, on Debian and its kin as root. Elsewhere it fails and names what to install.
need_packages() {
    missing=$(missing_packages "$@" | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    if ! am_root || ! command -v apt-get >/dev/null; then
        echo "$(basename "$0"): please install: $missing" >&2
        return 1
    fi
    echo "installing: $missing"
    # The package lists may be absent or stale: fetch them only when the first try fails.
    # shellcheck disable=SC2086 # a list of words
    apt_install $missing >/dev/null 2>&1 || { apt-get -q update && apt_install $missing; }
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" </dev/null
}

# Prints the folder that cargo builds into, for the workspace that holds this script.
target_folder() {
    here=$(cd "$(dirname "$0")" && pwd)
    cargo metadata --no-deps --format-version 1 --manifest-path "$here/../Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# Prints a TCP port on which nothing listens at the moment, below the range from which systems take ports of their own.
free_port() {
    while :; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        hex=$(printf ':%04X 0' "$port")
        grep -qs "$hex" /proc/net/tcp /proc/net/tcp6 || break
    done
    echo "$port"
}

# Prints the folder of the OTP releases that otp.sh makes.
otp_folder() {
    echo "${ERLUV_TEST_OTP_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/erluv-otp}"
}

# The mirror that apt uses for Debian itself; other sources (security, third parties) lack the suites that are wanted.
mirror() {
    if [ -n "${ERLUV_TEST_MIRROR:-}" ]; then
        echo "$ERLUV_TEST_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt's own variable
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1 || true)
    echo "${found:-http://deb.debian.org/debian/}"
}

# Runs an apt command for one suite of Debian, with its state in a folder of its own, which need not be there yet:
# private_apt STATE SUITE COMMAND...
private_apt() {
    state=$1 suite=$2
    shift 2
    if [ ! -d "$state" ]; then
        mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/none"
        : > "$state/status"
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        [ -e "$keys" ] || die "needs the package debian-archive-keyring: apt checks signatures with it"
        echo "deb [signed-by=$keys] $(mirror) $suite main" > "$state/sources.list"
    fi
    "$@" -q -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
        -o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives" -o Dir::Etc::sourcelist="$state/sources.list" \
        -o Dir::Etc::sourceparts="$state/none" -o Dir::Etc::preferencesparts="$state/none" \
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root
}
