# FreeBSD and NetBSD: one double of rc.subr(8), which both have from the same root. Part of tests/rcd.sh.
# shellcheck shell=sh disable=SC2154

# From rc.subr(8): rcvar guards all but stop and status; required_files are looked for before start; ARG_precmd can stop
# an action, ARG_cmd takes its place; the pid file is believed where the process has the command's name.
rc_subr() {
	cat >"$1" <<END
rc_conf=$2
END
	cat >>"$1" <<'END'
err() { code=$1; shift; echo "$0: ERROR: $*" >&2; exit "$code"; }
warn() { echo "$0: WARNING: $*" >&2; }
checkyesno() { eval "value=\$$1"; case $value in [Yy][Ee][Ss]) return 0 ;; *) return 1 ;; esac; }
load_rc_config() { [ ! -f "$rc_conf" ] || . "$rc_conf"; }

find_pid() {
	rc_pid=
	[ -s "$pidfile" ] || return 0
	read -r pid <"$pidfile"
	arg0=$(ps -o args= -p "$pid" | cut -d' ' -f1)
	[ "$arg0" != "$command" ] || rc_pid=$pid
}

run_rc_command() {
	rc_arg=$1
	case $rc_arg in
	one*) rc_arg=${rc_arg#one}; eval "$rcvar=YES" ;;
	esac
	eval "rc_flags=\$${name}_flags env=\$${name}_env user=\$${name}_user"
	find_pid
	case " start stop restart status $extra_commands " in
	*" $rc_arg "*) ;;
	*) echo "usage: $0 (start|stop|restart|status|$extra_commands)" >&2; exit 1 ;;
	esac
	case $rc_arg in
	stop | status) ;;
	*)
		if ! checkyesno "$rcvar"; then
			echo "Cannot '$rc_arg' $name: $rcvar is not YES"
			return 0
		fi
		;;
	esac
	eval "cmd=\$${rc_arg}_cmd precmd=\$${rc_arg}_precmd"
	if [ -n "$cmd" ]; then
		eval "$precmd" || exit 1
		eval "$cmd" || exit 1
		return 0
	fi
	case $rc_arg in
	status)
		[ -n "$rc_pid" ] || { echo "$name is not running."; exit 1; }
		echo "$name is running as pid $rc_pid."
		;;
	start)
		[ -z "$rc_pid" ] || { echo "$name already running?"; exit 1; }
		for file in $required_files; do
			[ -r "$file" ] || { warn "$file is not readable."; exit 1; }
		done
		eval "$precmd" || exit 1
		[ -z "$user" ] || exit 99
		# shellcheck disable=SC2086
		env $env $command $rc_flags $command_args || exit 1
		;;
	stop)
		[ -n "$rc_pid" ] || { echo "$name not running?"; exit 1; }
		eval "$precmd" || exit 1
		kill -TERM "$rc_pid" || exit 1
		while kill -0 "$rc_pid" 2>/dev/null; do sleep 0.1; done
		;;
	reload)
		[ -n "$rc_pid" ] || { echo "$name not running?"; exit 1; }
		eval "$precmd" || exit 1
		kill -HUP "$rc_pid" || exit 1
		;;
	restart)
		eval "$precmd" || exit 1
		("$0" stop)
		"$0" start || exit 1
		;;
	esac
}
END
}

# bsd SYSTEM PREFIX RCVAR
bsd() {
	system=$1 prefix=$2 rcvar=$3
	script=$T/$system/etc/rc.d/erluv
	copy "$system" "$script" /etc/rc.subr=etc/rc.subr "$prefix/sbin=sbin" "$prefix/etc=etc" /var/run=run
	rc_subr "$T/$system/etc/rc.subr" "$T/$system/etc/rc.conf"

	act() {
		"$script" "$@"
	}

	code 0 "$system: start when not enabled" act start
	holds "$system: not enabled, not started" not_heard 'start\|check'
	echo "$rcvar=YES" >"$T/$system/etc/rc.conf"
	fails "$system: start without its configuration file" act start
	: >"$T/$system/etc/erluv.conf"
	common "$system" configtest
	fails "$system: status of nothing" act status
	fails "$system: stop of nothing" act stop
	fails "$system: reload of nothing" act reload

	cat >>"$T/$system/etc/rc.conf" <<END
erluv_flags="-v"
erluv_env="ERLUV_NODE=a@b"
erluv_config=$T/$system/etc/other.conf
END
	: >"$T/$system/etc/other.conf"
	forget
	code 0 "$system: start with settings" act start
	holds "$system: settings arrive" heard \
		"start -v -f $T/$system/etc/other.conf -o pid_file=$T/$system/run/erluv.pid ERLUV_NODE=a@b"
	same_arguments "$system"
	code 0 "$system: status" act status
	code 0 "$system: stop with settings" act stop
	if [ ! -e "$T/$system/run/erluv.pid" ]; then ok; else not_ok "$system: the pid file is left"; fi

	for knob in erluv_user erluv_chroot; do
		printf '%s=YES\n%s=/x\n' "$rcvar" "$knob" >"$T/$system/etc/rc.conf"
		forget
		fails "$system: start with $knob" act start
		said "$knob" "$system: $knob"
		holds "$system: $knob starts nothing" not_heard 'start\|check'
	done
	rm "$T/$system/etc/rc.conf"
	code 0 "$system: onestart" act onestart
	holds "$system: onestart runs" runs
	code 0 "$system: stop of onestart" act stop
}

bsd freebsd /usr/local erluv_enable
bsd netbsd /usr/pkg erluv
