#!/bin/sh
# Type-checks and lints the three crates, unit tests included, for OpenBSD, FreeBSD and NetBSD on x86_64, against the
# standard library of these systems: built from its source, as the toolchain need not bring it compiled. Nothing is
# linked or run.
#
#   tests/bsd.sh
#
# The source is the one of rustc's own release: the component rust-src where it is installed, else the package rust-src
# of Debian's backports, fetched once into the folder that otp.sh uses (see otp_folder in lib.sh). Needs no root.
# ERLUV_TEST_MIRROR names a mirror other than apt's own.
set -eu

. "$(dirname "$0")/lib.sh"
need_rust
cd "$(dirname "$0")/.."

suite=trixie-backports
release=$(rustc -vV | sed -n 's/^release: //p')

work=
finish() { [ -z "$work" ] || rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' HUP INT TERM

# Ends the script where this rustc or this system has no such package: run.sh counts the line.
left_out() {
    echo "skipped: BSD type check: $*; \`rustup component add rust-src\` brings the source, too"
    exit 0
}

# Puts the source of the standard library into $1, all of it or nothing.
fetch() {
    work=$(mktemp -d "$(dirname "$1")/making.XXXXXX")
    # Error-Mode: else apt-get takes a list that it could not fetch for an empty one, and calls that success.
    private_apt "$work/apt" "$suite" apt-get -o APT::Update::Error-Mode=any update >"$work/log" 2>&1 ||
        { sed 's/^/  /' "$work/log" >&2; die "no list of packages of $suite: what was tried is above"; }
    versions=$(private_apt "$work/apt" "$suite" apt-cache madison rust-src | awk '{ print $3 }')
    [ -n "$versions" ] || die "$suite of $(mirror) has no package rust-src of any release"
    version=$(echo "$versions" | awk -v want="$release+" 'index($0, want) == 1 { print; exit }')
    [ -n "$version" ] || left_out "$suite has no rust-src of $release, only" $versions
    mkdir "$work/deb" "$work/library"
    (cd "$work/deb" && private_apt "$work/apt" "$suite" apt-get download "rust-src=$version") >"$work/log" 2>&1 ||
        { sed 's/^/  /' "$work/log" >&2; die "rust-src $version is not to be had: what was tried is above"; }
    dpkg-deb --fsys-tarfile "$work"/deb/*.deb >"$work/tar"
    tar -x -f "$work/tar" -C "$work/library" --strip-components=5 "./usr/src/rustc-$release/library"
    [ -e "$work/library/std/src/lib.rs" ] || die "rust-src $version does not hold the library where it is expected"
    rm -rf "$1"
    mkdir "$work/whole"
    mv "$work/library" "$work/whole/library"
    mv "$work/whole" "$1"
    rm -rf "$work"
    work=
    echo "rust-src $version is in $1, from $suite of $(mirror)"
}

if [ ! -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/std/src/lib.rs" ]; then
    source=$(otp_folder)/rust-src-$release
    if [ ! -e "$source" ]; then
        for tool in apt-get apt-cache dpkg-deb; do
            command -v "$tool" >/dev/null || left_out "no $tool, which would fetch the package rust-src"
        done
        mkdir -p "$(otp_folder)"
        fetch "$source"
    fi
    # The only way by which cargo looks elsewhere than in the toolchain: the one of its own tests.
    __CARGO_TESTS_ONLY_SRC_ROOT=$(cd "$source" && pwd)/library
    export __CARGO_TESTS_ONLY_SRC_ROOT
fi

# A build folder of its own: RUSTC_BOOTSTRAP, which allows -Zbuild-std, makes build scripts think of a nightly rustc.
# Unwinding: the harness of the unit tests wants it, and one run then does for them and the programs.
target=$(target_folder)/bsd
export CARGO_TARGET_DIR="$target" RUSTC_BOOTSTRAP=1
export CARGO_PROFILE_DEV_PANIC=unwind CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
cargo clippy --locked -p erluv-proto -p erluv-child -p erluv-main --all-targets --keep-going -Zbuild-std \
    --target x86_64-unknown-openbsd --target x86_64-unknown-freebsd --target x86_64-unknown-netbsd -- -D warnings
