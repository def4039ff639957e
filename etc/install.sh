#!/bin/sh
#
# Installs erluv from this source tree, after `cargo build --release`.
#
#   etc/install.sh [--system SYSTEM] [--users]
#
#   --system   debian, systemd, openrc, freebsd, netbsd or openbsd; found out where it is not given
#   --users    make the users _erluv and _erluvw; only as root and without DESTDIR
#
# Environment: DESTDIR (empty: install into the running system), PREFIX (by system: /usr, /usr/local, /usr/pkg),
# BUILD (where the two programs are; target/release). A configuration that is there is never changed.

set -eu

tree=$(cd "$(dirname "$0")/.." && pwd)
DESTDIR=${DESTDIR:-}
BUILD=${BUILD:-$tree/target/release}
system=
users=no

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

usage() {
	sed -n '5,8s/^# *//p' "$0" >&2
	exit 64
}

while [ $# -gt 0 ]; do
	case $1 in
	--system)
		[ $# -ge 2 ] || usage
		system=$2
		shift
		;;
	--users) users=yes ;;
	*) usage ;;
	esac
	shift
done

guess_system() {
	case $(uname -s) in
	OpenBSD) echo openbsd ;;
	FreeBSD) echo freebsd ;;
	NetBSD) echo netbsd ;;
	Linux)
		if [ -f /etc/debian_version ]; then
			echo debian
		elif [ -x /sbin/openrc-run ]; then
			echo openrc
		else
			echo systemd
		fi
		;;
	*) fail "$(uname -s): not a system that erluv runs on" ;;
	esac
}

# Where things go. `default` is the prefix that the scripts of the tree have; `empty` erluv-child's root folder.
layout() {
	[ -n "$system" ] || system=$(guess_system)
	mode=0755
	case $system in
	debian | systemd | openrc) default=/usr conf=/etc empty=/run/erluv/empty ;;
	freebsd) default=/usr/local conf=${PREFIX:-/usr/local}/etc empty=/var/empty mode=0555 ;;
	netbsd) default=/usr/pkg conf=${PREFIX:-/usr/pkg}/etc empty=/var/empty mode=0555 ;;
	openbsd) default=/usr/local conf=/etc empty=/var/empty mode=0555 ;;
	*) fail "$system: write --system debian, systemd, openrc, freebsd, netbsd or openbsd" ;;
	esac
	PREFIX=${PREFIX:-$default}
	case $PREFIX in
	/*) ;;
	*) fail "$PREFIX: write PREFIX as an absolute path" ;;
	esac
	case $system in
	openbsd | netbsd) man=$PREFIX/man ;;
	*) man=$PREFIX/share/man ;;
	esac
}

# put FILE TARGET MODE: one file, its folders made, its owner root where root installs.
put() {
	[ -f "$1" ] || fail "$1: not there (run: cargo build --release)"
	mkdir -p "$DESTDIR$(dirname "$2")"
	# By another name and then renamed: a program that runs is replaced, not written over.
	cp "$1" "$DESTDIR$2.new"
	chmod "$3" "$DESTDIR$2.new"
	if [ "$(id -u)" -eq 0 ]; then
		chown 0:0 "$DESTDIR$2.new"
	fi
	mv -f "$DESTDIR$2.new" "$DESTDIR$2"
	echo "$DESTDIR$2"
}

# put_script FILE TARGET MODE: the same, with the programs' path of this PREFIX.
put_script() {
	[ -f "$1" ] || fail "$1: not there"
	sed "s|$default/sbin/erluv-main|$PREFIX/sbin/erluv-main|g" "$1" >"$work"
	put "$work" "$2" "$3"
}

programs() {
	put "$BUILD/erluv-main" "$PREFIX/sbin/erluv-main" "$mode"
	put "$BUILD/erluv-child" "$PREFIX/libexec/erluv/erluv-child" "$mode"
}

manuals() {
	put "$tree/erluv-main/erluv-main.8" "$man/man8/erluv-main.8" 0644
	put "$tree/erluv-child/erluv-child.8" "$man/man8/erluv-child.8" 0644
	put "$tree/erluv-main/erluv.conf.5" "$man/man5/erluv.conf.5" 0644
	put "$tree/erluv-proto/erluv-protocol.7" "$man/man7/erluv-protocol.7" 0644
}

# The sample names this system's empty folder.
configuration() {
	[ -f "$tree/etc/erluv.conf" ] || fail "$tree/etc/erluv.conf: not there"
	sed "s|^\(#* *\)chroot = .*|\1chroot = \"$empty\"|" "$tree/etc/erluv.conf" >"$work"
	if [ "$empty" != /var/empty ]; then
		sed 's|^# *chroot = |chroot = |' "$work" >"$work.2"
		mv "$work.2" "$work"
	fi
	put "$work" "$PREFIX/share/examples/erluv/erluv.conf" 0644
	if [ -e "$DESTDIR$conf/erluv.conf" ]; then
		echo "$DESTDIR$conf/erluv.conf is there: left as it is"
	else
		put "$work" "$conf/erluv.conf" 0644
	fi
}

start_script() {
	case $system in
	openbsd)
		put_script "$tree/rc.d/openbsd" /etc/rc.d/erluv 0555
		put "$tree/etc/login.conf.d/erluv" /etc/login.conf.d/erluv 0644
		;;
	freebsd) put_script "$tree/rc.d/freebsd" "$PREFIX/etc/rc.d/erluv" 0555 ;;
	netbsd) put_script "$tree/rc.d/netbsd" /etc/rc.d/erluv 0555 ;;
	openrc) put_script "$tree/rc.d/openrc" /etc/init.d/erluv 0755 ;;
	debian | systemd)
		if [ "$system" = debian ]; then
			put_script "$tree/rc.d/debian" /etc/init.d/erluv 0755
		fi
		# A packager's DESTDIR gets the vendor's folder, a person's machine the administrator's.
		if [ -n "$DESTDIR" ]; then
			units=/usr/lib/systemd/system
		else
			units=/etc/systemd/system
		fi
		put_script "$tree/etc/systemd/erluv.service" "$units/erluv.service" 0644
		put "$tree/etc/sysusers.d/erluv.conf" /usr/lib/sysusers.d/erluv.conf 0644
		put "$tree/etc/tmpfiles.d/erluv.conf" /usr/lib/tmpfiles.d/erluv.conf 0644
		;;
	esac
}

# make_user NAME COMMENT: a system user with a group of its own and no way to log in.
make_user() {
	if id "$1" >/dev/null 2>&1; then
		echo "user $1 is there"
		return 0
	fi
	case $system in
	freebsd) pw useradd -n "$1" -c "$2" -d /var/empty -s /usr/sbin/nologin -w no ;;
	netbsd | openbsd)
		groupadd "$1"
		useradd -g "$1" -c "$2" -d /var/empty -s /sbin/nologin "$1"
		;;
	*)
		if command -v useradd >/dev/null 2>&1; then
			useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
				--comment "$2" "$1"
		else
			addgroup -S "$1"
			adduser -S -D -H -h /nonexistent -s /sbin/nologin -G "$1" -g "$2" "$1"
		fi
		;;
	esac
	echo "user $1 made"
}

# What a running system needs besides files.
local_steps() {
	if [ "$users" = yes ]; then
		[ "$(id -u)" -eq 0 ] || fail "--users: run as root"
		make_user _erluv "erluv-child"
		make_user _erluvw "erluv workers"
	fi
	if [ "$(id -u)" -eq 0 ] && [ ! -d "$empty" ]; then
		(umask 022 && mkdir -p "$empty")
		echo "$empty made"
	fi
}

next_steps() {
	case $system in
	openbsd) enable="rcctl enable erluv && rcctl start erluv" ;;
	freebsd) enable="sysrc erluv_enable=YES && service erluv start" ;;
	netbsd) enable="echo erluv=YES >>/etc/rc.conf && service erluv start" ;;
	openrc) enable="rc-update add erluv && rc-service erluv start" ;;
	debian | systemd)
		enable="systemctl daemon-reload && systemctl enable --now erluv"
		if [ "$system" = debian ] && [ ! -d /run/systemd/system ]; then
			enable="update-rc.d erluv defaults && service erluv start"
		fi
		;;
	esac
	cat <<END

What to do next, as root:
  1. the users: etc/install.sh --users makes _erluv and _erluvw, where no package does
  2. the node's cookie into /etc/erluv.cookie, mode 0400, owned by root
  3. the node and its policy in $conf/erluv.conf: see erluv.conf(5)
  4. $PREFIX/sbin/erluv-main -n -f $conf/erluv.conf
  5. $enable
END
}

layout
if [ "$users" = yes ] && [ -n "$DESTDIR" ]; then
	fail "--users: not with DESTDIR, a package makes its users itself"
fi
umask 022
work=$(mktemp)
trap 'rm -f "$work" "$work.2"' EXIT
programs
manuals
configuration
start_script
if [ -z "$DESTDIR" ]; then
	local_steps
fi
next_steps
