# etc/install.sh into a folder, for each system; the systemd files by systemd's own tools. Part of tests/rcd.sh.
# shellcheck shell=sh disable=SC2154

mkdir -p "$T/build"
cp "$T/fake/erluv-main" "$T/build/erluv-main"
cp "$T/fake/erluv-main" "$T/build/erluv-child"

# install SYSTEM [PREFIX]: into $T/install/SYSTEM.
install_into() {
	if [ $# -gt 1 ]; then
		env DESTDIR="$T/install/$1" BUILD="$T/build" PREFIX="$2" "$tree/etc/install.sh" --system "$1"
	else
		env -u PREFIX DESTDIR="$T/install/$1" BUILD="$T/build" "$tree/etc/install.sh" --system "$1"
	fi
}

# installed SYSTEM FILE...: all are there, and of root.
installed() {
	system=$1
	shift
	for file in "$@"; do
		if [ -f "$T/install/$system/$file" ]; then ok; else not_ok "install $system: $file is not there"; fi
	done
	strangers=$(find "$T/install/$system" \( ! -user root -o -perm -0002 -o -perm -4000 -o -perm -2000 \) -print)
	if [ -z "$strangers" ]; then ok; else not_ok "install $system: owner or mode of $strangers"; fi
}

linux="usr/sbin/erluv-main usr/libexec/erluv/erluv-child etc/erluv.conf usr/share/man/man8/erluv-main.8
	usr/share/man/man8/erluv-child.8 usr/share/man/man5/erluv.conf.5 usr/share/man/man7/erluv-protocol.7
	usr/share/examples/erluv/erluv.conf"
units="usr/lib/systemd/system/erluv.service usr/lib/sysusers.d/erluv.conf usr/lib/tmpfiles.d/erluv.conf"
for system in debian systemd openrc freebsd netbsd openbsd; do
	code 0 "install $system" install_into "$system"
	said 'erluv-main -n' "install $system: what to do next"
done
# shellcheck disable=SC2086 # lists of words
{
	installed debian $linux $units etc/init.d/erluv
	installed systemd $linux $units
	installed openrc $linux etc/init.d/erluv
}
installed freebsd usr/local/sbin/erluv-main usr/local/libexec/erluv/erluv-child usr/local/etc/erluv.conf \
	usr/local/etc/rc.d/erluv usr/local/share/man/man8/erluv-main.8
installed netbsd usr/pkg/sbin/erluv-main usr/pkg/libexec/erluv/erluv-child usr/pkg/etc/erluv.conf etc/rc.d/erluv \
	usr/pkg/man/man8/erluv-main.8
installed openbsd usr/local/sbin/erluv-main usr/local/libexec/erluv/erluv-child etc/erluv.conf etc/rc.d/erluv \
	etc/login.conf.d/erluv usr/local/man/man8/erluv-main.8

if grep -q '^chroot = "/run/erluv/empty"' "$T/install/debian/etc/erluv.conf"; then
	ok
else
	not_ok "install debian: the configuration does not name the empty folder of Linux"
fi
if grep -q '/run/erluv/empty' "$T/install/openbsd/etc/erluv.conf"; then
	not_ok "install openbsd: the configuration names the empty folder of Linux"
else
	ok
fi

echo '# mine' >"$T/install/debian/etc/erluv.conf"
code 0 "install debian again" install_into debian
said 'left as it is' "install debian again"
if [ "$(cat "$T/install/debian/etc/erluv.conf")" = '# mine' ]; then
	ok
else
	not_ok "install: a configuration was changed"
fi

code 0 "install into another prefix" install_into systemd /opt/erluv
if grep -q '^ExecStart=/opt/erluv/sbin/erluv-main' "$T/install/systemd/usr/lib/systemd/system/erluv.service"; then
	ok
else
	not_ok "install: the unit does not follow PREFIX"
fi
fails "install for no system" install_into plan9
fails "install: users into DESTDIR" env DESTDIR="$T/install/x" BUILD="$T/build" "$tree/etc/install.sh" --users
code 64 "install: wrong arguments" "$tree/etc/install.sh" --fly
fails "install without programs" env DESTDIR="$T/install/x" BUILD="$T/none" "$tree/etc/install.sh" --system debian
said 'cargo build' "install without programs"

if command -v systemd-analyze >/dev/null 2>&1; then
	sed "s|/usr/sbin/erluv-main|$T/build/erluv-main|" "$tree/etc/systemd/erluv.service" >"$T/erluv.service"
	systemd-analyze verify --man=no "$T/erluv.service" >"$out" 2>&1 || true
	# What systemd before 254 does not know yet, and what is said about units that are not ours.
	grep erluv "$out" | grep -v "Unknown key.*DelegateSubgroup" >"$out.rest"
	mv "$out.rest" "$out"
	if [ ! -s "$out" ]; then ok; else not_ok "erluv.service: systemd-analyze verify"; fi
fi
if command -v systemd-sysusers >/dev/null 2>&1; then
	mkdir -p "$T/sysusers/etc"
	code 0 "sysusers.d" systemd-sysusers --root="$T/sysusers" "$tree/etc/sysusers.d/erluv.conf"
	for user in _erluv _erluvw; do
		if grep -q "^$user:.*:/usr/sbin/nologin$" "$T/sysusers/etc/passwd"; then ok; else not_ok "sysusers.d: $user"; fi
	done
fi
if command -v systemd-tmpfiles >/dev/null 2>&1; then
	mkdir -p "$T/tmpfiles"
	code 0 "tmpfiles.d" systemd-tmpfiles --root="$T/tmpfiles" --create "$tree/etc/tmpfiles.d/erluv.conf"
	mode=$(stat -c '%a %u %g' "$T/tmpfiles/run/erluv/empty")
	if [ "$mode" = "755 0 0" ]; then ok; else not_ok "tmpfiles.d: the empty folder is $mode"; fi
fi
