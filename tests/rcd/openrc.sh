# OpenRC: a double of openrc-run(8). Part of tests/rcd.sh.
# shellcheck shell=sh disable=SC2154

copy openrc "$T/openrc/erluv" /usr/sbin=sbin /run/erluv=run/erluv

# From openrc-run(8): conf.d, then the script; ACTION_pre can stop an action; start and stop are start-stop-daemon's
# unless the script has its own; restart is stop and start with RC_CMD; reload needs a started service.
mkdir -p "$T/openrc/conf.d" "$T/openrc/bin"
cat >"$T/openrc/openrc-run" <<END
#!/bin/dash
root=$T/openrc
END
cat >>"$T/openrc/openrc-run" <<'END'
RC_SVCNAME=erluv
PATH=$root/bin:$PATH
ebegin() { echo " * $* ..."; }
eend() { [ "$1" -eq 0 ] || echo " [ !! ]"; return "$1"; }
eerror() { echo " * $*" >&2; }
checkpath() { echo "checkpath $*" >>"$root/checkpath"; }
service_started() { [ -e "$root/started" ]; }

start() {
	eval start-stop-daemon --start --exec "$command" ${pidfile:+--pidfile} $pidfile -- $command_args || return 1
	: >"$root/started"
}
stop() {
	start-stop-daemon --stop ${retry:+--retry} $retry --exec "$command" ${pidfile:+--pidfile} $pidfile || return 1
	rm -f "$root/started"
}
status() { service_started || return 3; }

[ ! -f "$root/conf.d/erluv" ] || . "$root/conf.d/erluv"
. "$root/erluv"

run() {
	case " start stop status $extra_commands $extra_started_commands " in
	*" $1 "*) ;;
	*) eerror "unknown function $1"; exit 1 ;;
	esac
	case " $extra_started_commands " in
	*" $1 "*) service_started || { eerror "cannot $1: not started"; exit 1; } ;;
	esac
	if type "${1}_pre" >/dev/null 2>&1; then "${1}_pre" || exit 1; fi
	"$1" || exit $?
}

RC_CMD=$1
if [ "$1" = restart ]; then
	run stop
	run start
else
	run "$1"
fi
END
chmod 755 "$T/openrc/openrc-run"

# OpenRC's own start-stop-daemon sends a signal without --stop; the rest of what is used is the same.
cat >"$T/openrc/bin/start-stop-daemon" <<END
#!/bin/dash
case \$1 in
--signal) exec $(command -v start-stop-daemon) --stop "\$@" ;;
*) exec $(command -v start-stop-daemon) --quiet "\$@" ;;
esac
END
chmod 755 "$T/openrc/bin/start-stop-daemon"

act() {
	"$T/openrc/openrc-run" "$@"
}

common openrc checkconfig
code 3 "openrc: status of nothing" act status
fails "openrc: reload of nothing" act reload
said 'not started' "openrc: reload of nothing"
if grep -q -- "--directory --mode 0755 --owner root:root $T/openrc/run/erluv $T/openrc/run/erluv/empty" \
	"$T/openrc/checkpath"; then
	ok
else
	not_ok "openrc: the empty folder is not asked for"
fi

echo 'erluv_args="-v --node a@b"' >"$T/openrc/conf.d/erluv"
forget
code 0 "openrc: start with arguments" act start
holds "openrc: arguments arrive" heard "start -o pid_file=$T/openrc/run/erluv.pid -v --node a@b"
same_arguments openrc
code 0 "openrc: status" act status
code 0 "openrc: stop with arguments" act stop

echo 'command_user=nobody' >"$T/openrc/conf.d/erluv"
forget
fails "openrc: start as another user" act start
said command_user "openrc: another user"
holds "openrc: another user starts nothing" not_heard 'start\|check'
