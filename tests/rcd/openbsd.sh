# OpenBSD: a double of rc.subr(8), for mksh. Part of tests/rcd.sh, which has the words used here.
# shellcheck shell=sh disable=SC2154

copy openbsd "$T/openbsd/etc/rc.d/erluv" /etc/rc.d/rc.subr=etc/rc.d/rc.subr /usr/local/sbin=sbin

# From rc.subr(8): flags and user come from rc.conf.local; rc_configtest runs before start, reload and restart; the
# daemon is found by its whole argv; what actions print is kept back.
cat >"$T/openbsd/etc/rc.d/rc.subr" <<END
root=$T/openbsd
conf=$T/openbsd/etc/rc.conf.local
END
cat >>"$T/openbsd/etc/rc.d/rc.subr" <<'END'
daemon_user=root
daemon_timeout=30
[ -f "$conf" ] && . "$conf"
daemon_flags=${erluv_flags:-${daemon_flags}}
daemon_user=${erluv_user:-${daemon_user}}
pexp="${daemon}${daemon_flags:+ ${daemon_flags}}"

rc_exec() { sh -c "$1"; }
rc_start() { rc_exec "${daemon} ${daemon_flags}"; }
rc_check() { pgrep -xf "${pexp}"; }
rc_reload() { rc_signal HUP; }
rc_stop() { rc_signal TERM; }

# pkill(1) as rc.subr uses it, but never at a process outside of the test's folder, whatever pexp has become.
rc_signal() {
	typeset pid code=1
	for pid in $(pgrep -xf "${pexp}"); do
		case $(ps -o args= -p "$pid") in
		"$root"/sbin/*) kill -"$1" "$pid" && code=0 ;;
		esac
	done
	return $code
}

rc_do() { "$@" >/dev/null 2>&1; }
rc_tested() { ! type rc_configtest >/dev/null 2>&1 || rc_do rc_configtest; }
rc_say() { echo "erluv($1)"; [ "$1" = ok ]; exit; }

rc_wait_end() {
	typeset i=0
	while [ $i -lt $((daemon_timeout * 10)) ]; do
		rc_do rc_check || return 0
		sleep 0.1
		i=$((i + 1))
	done
	return 1
}

rc_cmd() {
	case $1 in
	check) rc_do rc_check && rc_say ok ;;
	# For the test: what pexp finds.
	found) pgrep -xf "${pexp}"; exit ;;
	configtest) rc_tested && rc_say ok ;;
	start)
		rc_do rc_check && exit 0
		rc_tested && rc_do rc_start && rc_say ok
		;;
	stop)
		rc_do rc_check || exit 0
		rc_do rc_stop && rc_wait_end && rc_say ok
		;;
	reload) rc_tested && rc_do rc_check && rc_do rc_reload && rc_say ok ;;
	restart) rc_tested && "$0" stop && "$0" start && exit 0 ;;
	esac
	rc_say failed
}
END

act() {
	mksh "$T/openbsd/etc/rc.d/erluv" "$@"
}

common openbsd configtest
code 0 "openbsd: stop of nothing" act stop
fails "openbsd: check of nothing" act check
fails "openbsd: reload of nothing" act reload

echo 'erluv_flags="-v -f /some/erluv.conf"' >"$T/openbsd/etc/rc.conf.local"
forget
code 0 "openbsd: start with flags" act start
holds "openbsd: flags arrive" heard 'start -v -f /some/erluv.conf'
same_arguments openbsd
code 0 "openbsd: check" act check
found=$(act found)
if [ "$found" = "$(cat "$T/fake/main.pid")" ] && pgrep -P "$found" -xf "erluv-child $found --user _erluv" >"$out"; then
	ok
else
	not_ok "openbsd: pexp does not find main alone, beside an erluv-child: found $found"
fi
code 0 "openbsd: stop with flags" act stop
holds "openbsd: it is gone with flags" is_gone

echo 'erluv_user=nobody' >"$T/openbsd/etc/rc.conf.local"
forget
fails "openbsd: start as another user" act start
holds "openbsd: another user starts nothing" not_heard 'start\|check'
