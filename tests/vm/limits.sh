# shellcheck shell=dash disable=SC2154 # inside.sh sets what is not set here
# Checks of the limits of control groups, for inside.sh, which has the functions that they are written with.

# held NAME PROFILE COMMAND: as worker, under a profile.
held() {
	os_pid=$(keeper "{ok, P, Os} = gen_server:call({erluv, E}, {run, $3, [{profile, $2}]}), put($1, P), Os")
	case $os_pid in
	'' | *[!0-9]*) die "no worker: ${os_pid:-the node does not answer}" ;;
	esac
	echo "$os_pid"
}

# ends PROFILE COMMAND WANTED: runs it to its end; WANTED is a pattern of Erlang for the map of its report.
ends() {
	said=$(keeper "{ok, P, _} = gen_server:call({erluv, E}, {run, $2, [{profile, $1}, {report, true}]}),
		receive {report, P, $3} -> as_wanted; {report, P, M} -> M after 60000 -> late end")
	same "the report" as_wanted "$said"
}

folder_of() { echo "/sys/fs/cgroup$(group_of "$1")"; }

profiles_are_taken() {
	set_conf 's/^# profile = "default"/profiles = ["default", "small", "slow", "short"]/'
	cat >>"$conf" <<'END'
[profile.small.cgroup]
memory_max = "24M"
swap_max = 0
pids_max = 12
[profile.slow.cgroup]
cpu_max = "5%"
cpu_weight = 7
[profile.short]
wall_time = "1s"
END
	erluv-main -n -f "$conf" >/tmp/checked 2>&1 || die "$(cat /tmp/checked)"
	systemctl reload "$unit" || die "systemctl reload fails"
	within "the reloaded configuration" sh -c "journalctl -q -b -o cat -u $unit | tail -n 3 | grep -q reloaded"
}

controllers_as_needed() {
	for folder in "$group" "$group"/erluv.*; do
		given=$(cat "$folder/cgroup.subtree_control")
		for name in cpu memory pids; do
			case " $given " in *" $name "*) ;; *) die "$folder hands on \"$given\"" ;; esac
		done
		case " $given " in *" io "*) die "$folder hands on io, which no profile needs" ;; esac
	done
}

limits_are_written() {
	folder=$(folder_of "$(held small1 small '["/bin/sleep", "3001"]')")
	case $folder in "$group"/erluv.*/n0/w*) ;; *) die "the worker is in $folder" ;; esac
	same memory.max 25165824 "$(cat "$folder/memory.max")"
	same memory.swap.max 0 "$(cat "$folder/memory.swap.max")"
	same memory.oom.group 1 "$(cat "$folder/memory.oom.group")"
	same pids.max 12 "$(cat "$folder/pids.max")"
	folder=$(folder_of "$(held slow1 slow '["/bin/sleep", "3002"]')")
	same cpu.max "5000 100000" "$(cat "$folder/cpu.max")"
	same cpu.weight 7 "$(cat "$folder/cpu.weight")"
	same "memory.max of another profile" max "$(cat "$folder/memory.max")"
}

out_of_memory() {
	ends small '"setsid -f sleep 3003; tail /dev/zero"' '#{oom := true, signal := sigkill, timeout := false}'
	within "the end of sleep 3003" ended 3003
	by_seconds 3001 >/dev/null || die "another worker has died with it"
	ends small '"exit 0"' '#{oom := false, code := 0}'
	journalctl -q -b -o cat -u "$unit" | grep -q '^audit event=end .* profile=small .* signal=SIGKILL .*oom=yes' ||
		die "no audit line says so"
}

# The inner shell, which cannot go on, leaves its processes to the outer one.
fork_bomb() {
	pid=$(held bomb small '"sh -c \"while :; do sleep 3004 & done\"; exec sleep 3004"') || die "$pid"
	folder=$(folder_of "$pid")
	within "the limit" sh -c "! grep -q '^max 0$' '$folder/pids.events'"
	[ "$(wc -l <"$folder/cgroup.procs")" -le 12 ] || die "$(wc -l <"$folder/cgroup.procs") processes"
	keeper 'exit(get(bomb), kill)' >/dev/null
	within "the end of the bomb" ended 3004
}

slowed_down() {
	pid=$(held busy slow '"while :; do :; done"') || die "$pid"
	folder=$(folder_of "$pid")
	within "a period without time" sh -c "grep -q '^nr_throttled [1-9]' '$folder/cpu.stat'"
	keeper 'exit(get(busy), kill)' >/dev/null
}

time_over() { ends short '["/bin/sleep", "3005"]' '#{timeout := true, oom := false, stopped := timeout}'; }

# Without systemd's help: main starts in a group of its own, and goes out of the way of what it enables there.
hand=/sys/fs/cgroup/hand

by_hand() {
	mkdir -p "$hand"
	echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control || die "no controllers for groups by hand"
	# Once it hands controllers on, no process may be in it.
	place=$hand
	[ ! -d "$hand/main" ] || place=$hand/main
	sh -c "echo \$\$ >$place/cgroup.procs && exec erluv-main -f $conf" || die "erluv-main does not start"
	within "a connection to the node" connected
}

limits_by_hand() {
	by_hand
	main=$(pgrep -o -x erluv-main) || die "no main"
	same "the group of main" /hand/main "$(group_of "$main")"
	folder=$(folder_of "$(held small2 small '["/bin/sleep", "3006"]')")
	case $folder in "$hand"/erluv."$main".*/n0/w*) ;; *) die "the worker is in $folder" ;; esac
	same memory.max 25165824 "$(cat "$folder/memory.max")"
}

# Main and its child are killed at once, so that neither kills the workers: the next main does.
left_overs() {
	main=$(pgrep -o -x erluv-main) || die "no main"
	pid=$(worker left '"setsid -f sleep 3007; exec sleep 3006"') || die "$pid"
	within "sleep 3007" by_seconds 3007
	kill -STOP "$(pgrep -P "$main" -x erluv-child)"
	kill -KILL "$main"
	within "the end of main" gone "$main"
	by_seconds 3007 >/dev/null || die "it has died without a main: nothing is left to be killed"
	pkill -KILL -x erluv-child
	by_hand
	same "what is left" "" "$(by_seconds 3007)"
	same "the old groups" "" "$(find "$hand" -maxdepth 1 -name "erluv.$main.*")"
	pkill -TERM -x erluv-main
	within "the end of main" sh -c '! pgrep -x erluv-main'
	same "what is left of the groups" "$hand/main" "$(find "$hand" -mindepth 1 -type d)"
}
