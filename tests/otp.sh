#!/bin/sh
# Makes folders with OTP 27 and 29 of Debian's newer releases, to be entered by chroot: otp27 and otp29 in DIR.
# The machine's own system is not touched, and only the Erlang runtime with what it links against is fetched.
#
#   tests/otp.sh [DIR]          default: $ERLUV_TEST_OTP_DIR, else erluv-otp in the cache folder of the user
#
# Needs root (chroot, device nodes), apt and dpkg. A folder that is there is complete and reused: each is made under
# another name and renamed when its erl has answered. ERLUV_TEST_MIRROR names a mirror other than apt's own.
set -eu

. "$(dirname "$0")/lib.sh"

# Raise it when the recipe changes: folders of an older recipe are then made anew.
recipe=1

am_root || die "needs root, for chroot and device nodes"
for tool in apt-get dpkg chroot; do
    command -v "$tool" >/dev/null || die "needs $tool: it unpacks packages of Debian"
done

folder=${1:-$(otp_folder)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

work=
finish() { [ -z "$work" ] || rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' HUP INT TERM

# What `erl -noshell` needs: the runtime, eunit, the libraries of the runtime's programs, a shell for the script `erl`.
packages="erlang-base erlang-eunit libc6 libgcc-s1 libstdc++6 libtinfo6 zlib1g libzstd1 libsystemd0 libcap2 libsctp1
busybox-static"

# Fills $1 with the packages of suite $2.
unpack() {
    root=$1 suite=$2
    private_apt "$work/apt-$suite" "$suite" apt-get update >"$work/log" 2>&1 || return 1
    mkdir "$work/debs-$suite"
    # shellcheck disable=SC2086 # a list of words
    (cd "$work/debs-$suite" && private_apt "$work/apt-$suite" "$suite" apt-get download $packages) >>"$work/log" 2>&1 ||
        return 1
    # Debian's folders have been merged into /usr: the links first, so that packages which still use /lib follow them.
    mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    for deb in "$work/debs-$suite"/*.deb; do
        dpkg --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root" || return 1
    done
    rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
}

# What no package brings: the shell's tools, two devices and folders to write to.
furnish() {
    root=$1
    for name in sh dirname basename sed cat readlink expr uname env; do
        [ -e "$root/usr/bin/$name" ] || ln -s busybox "$root/usr/bin/$name"
    done
    mkdir -p "$root/dev" "$root/etc" "$root/root" "$root/tmp" "$root/proc"
    chmod 1777 "$root/tmp"
    echo "127.0.0.1 localhost" > "$root/etc/hosts"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 444 "$root/dev/urandom" c 1 9
}

# Prints the release that the folder's erl says it is.
release_of() {
    chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin \
        erl -noinput -eval 'io:put_chars(erlang:system_info(otp_release)), halt().' </dev/null
}

# Makes the folder of one release: make RELEASE SUITE...; the first suite that has it serves.
make() {
    release=$1 done=$folder/otp$1
    shift
    if [ "$(cat "$done/.erluv-recipe" 2>/dev/null)" = "$recipe" ]; then
        echo "OTP $release is in $done"
        return
    fi
    work=$(mktemp -d "$folder/making.XXXXXX")
    for suite; do
        root=$work/root-$suite
        mkdir "$root"
        chmod 755 "$root"
        if ! unpack "$root" "$suite"; then
            sed "s/^/  $suite: /" "$work/log" >&2
            continue
        fi
        furnish "$root"
        found=$(release_of "$root" || true)
        if [ "$found" = "$release" ]; then
            echo "$recipe" > "$root/.erluv-recipe"
            rm -rf "$done"
            mv "$root" "$done"
            rm -rf "$work"
            work=
            echo "OTP $release is made in $done, from $suite of $(mirror)"
            return
        fi
        echo "  $suite: its erl answers \"$found\", wanted $release" >&2
    done
    die "no OTP $release: what was tried is above"
}

make 27 trixie
make 29 forky sid
