#!/bin/sh
# What the virtual machine of tests/vm.sh runs as root, under systemd: installs erluv as etc/README.md says, and looks at
# what the service does. A line for each check, `ok NAME` or `not ok NAME: why`; what it says besides begins with "#".
#
# Where it waits it waits for something to happen, never for a time to pass, but for at most 60 s.
set -u
export LC_ALL=C HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin

tree=/opt/erluv
unit=erluv.service
group=/sys/fs/cgroup/system.slice/$unit
conf=/etc/erluv.conf
cookie=only-for-this-machine-0123456789
passed=0
failed=0

# check NAME FUNCTION...: one check, in a shell of its own; what it prints is why it has failed.
check() {
	name=$1
	shift
	if why=$("$@" 2>&1 </dev/null); then
		passed=$((passed + 1))
		echo "ok $name"
	else
		failed=$((failed + 1))
		echo "not ok $name: $(echo "$why" | tail -n 4 | tr '\n' ' ')"
		journalctl -q -b -o cat -u "$unit" -n 15 | sed 's/^/#   /'
	fi
}

die() {
	echo "$*"
	exit 1
}

# same WHAT WANTED GOT
same() { [ "$2" = "$3" ] || die "$1 is \"$3\", not \"$2\""; }

# within WHAT COMMAND...: waits until the command succeeds.
within() {
	what=$1
	shift
	last=$(($(date +%s) + 60))
	while [ "$(date +%s)" -le "$last" ]; do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.2
	done
	die "not within 60 s: $what"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# prop PROPERTY: of the unit.
prop() { systemctl show -P "$1" "$unit"; }

# field PID NAME: a line of /proc/PID/status, its blanks made single.
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" | tr '\t' ' '; }

group_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }

main_pid() { prop MainPID; }

child_pid() { pgrep -P "$(main_pid)" -x erluv-child; }

# keeper EXPRESSIONS: evaluated by the process `keeper` of the node, which owns the workers; E is erluv. Prints the value.
keeper() {
	{
		echo 'keeper ! {keep, self(), fun() ->'
		echo '    [E | _] = [N || N <- nodes(hidden), lists:prefix("erluv_", atom_to_list(N))],'
		echo "    $1"
		echo 'end}, receive {kept, Value} -> Value after 20000 -> late end.'
	} | erl_call -timeout 30 -c "$cookie" -name shop@127.0.0.1 -e | sed -n 's/^{ok, *\(.*\)}$/\1/p'
}

# worker NAME COMMAND: has the keeper start a worker and call it NAME; prints its process.
worker() {
	os_pid=$(keeper "{ok, P, Os} = gen_server:call({erluv, E}, {run, $2, []}), put($1, P), Os")
	case $os_pid in
	'' | *[!0-9]*) die "no worker: ${os_pid:-the node does not answer}" ;;
	esac
	echo "$os_pid"
}

connected() { [ "$(keeper 'net_adm:ping(E)')" = pong ]; }

# set_conf SED: changes the configuration in place.
set_conf() { sed -i "$1" "$conf"; }

# ---- the installation

installs() {
	(cd "$tree" && etc/install.sh --users) || die "etc/install.sh failed"
	for name in _erluv _erluvw; do
		id "$name" >/dev/null || die "no user $name"
		same "the group of $name" "$name" "$(id -gn "$name")"
		same "the groups of $name" "$name" "$(id -Gn "$name")"
	done
	[ -f /etc/systemd/system/erluv.service ] || die "no unit"
	systemctl daemon-reload
}

sysusers() {
	userdel _erluv && userdel _erluvw || die "cannot delete the users"
	systemd-sysusers || die "systemd-sysusers failed"
	for name in _erluv _erluvw; do
		same "the groups of $name" "$name" "$(id -Gn "$name")"
		same "the shell of $name" /usr/sbin/nologin "$(getent passwd "$name" | cut -d: -f7)"
	done
}

tmpfiles() {
	rm -rf /run/erluv
	systemd-tmpfiles --create erluv.conf || die "systemd-tmpfiles failed"
	for name in /run/erluv /run/erluv/empty; do
		same "$name" "755 root:root" "$(stat -c '%a %U:%G' "$name")"
	done
}

verify() {
	found=$(systemd-analyze verify --man=no "$unit" 2>&1) || die "systemd-analyze verify: $found"
	same "what systemd-analyze verify says" "" "$found"
}

enable() {
	systemctl enable "$unit" || die "cannot be enabled"
	same "is-enabled" enabled "$(systemctl is-enabled "$unit")"
}

# ---- a start that cannot be: 78, and no second try

# refused CODE: the start fails with that code of main, and stays failed for longer than RestartSec.
refused() {
	if systemctl start "$unit"; then die "systemctl start succeeds"; fi
	for _ in 1 2 3; do
		same "the state" "failed/failed" "$(prop ActiveState)/$(prop SubState)"
		same "the result" exit-code "$(prop Result)"
		same "the code of main" "$1" "$(prop ExecMainStatus)"
		same "the number of restarts" 0 "$(prop NRestarts)"
		sleep 1
	done
}

# Whatever a bad start came to, the next begins anew.
anew() {
	systemctl stop "$unit"
	systemctl reset-failed "$unit" 2>/dev/null
}

wrong_configuration() {
	refused 78
	journalctl -q -b -o cat -u "$unit" | grep -q no_such_key || die "the journal does not name the key"
}

wrong_command_line() { refused 64; }

# ---- the start

gets_ready() {
	same "the type" notify "$(prop Type)"
	systemctl start "$unit" || die "systemctl start fails"
	same "the state" "active/running" "$(prop ActiveState)/$(prop SubState)"
	same "the name of the main process" erluv-main "$(cat "/proc/$(main_pid)/comm")"
}

status_shows_main() {
	systemctl status --no-pager "$unit" >/tmp/status || die "systemctl status fails"
	grep -q "Main PID: $(main_pid) (erluv-main)" /tmp/status || die "no main process in: $(cat /tmp/status)"
}

node_starts() {
	useradd --system --create-home --home-dir /var/lib/shop shop || die "no user for the node"
	install -o shop -m 400 /etc/erluv.cookie /var/lib/shop/.erlang.cookie
	cat >/var/lib/shop/keeper <<'END'
register(keeper, spawn(fun() -> (fun Serve() ->
    receive {keep, From, Do} -> From ! {kept, catch Do()}; _ -> ok end, Serve() end)() end)).
END
	systemd-run -q --unit=shop -p User=shop -E HOME=/var/lib/shop erl -noinput -start_epmd false -name shop@127.0.0.1 \
		-eval "ok = file:eval(\"/var/lib/shop/keeper\")" || die "the node does not start"
	within "a node that erluv has joined" connected
}

main_in_its_group() {
	same "the group of main" "/system.slice/$unit/main" "$(group_of "$(main_pid)")"
	same "the group of child" "/system.slice/$unit/main" "$(group_of "$(child_pid)")"
	same "Delegate" yes "$(prop Delegate)"
}

child_is_confined() {
	child=$(child_pid)
	id=$(id -u _erluv)
	same "the user of child" "$id $id $id $id" "$(field "$child" Uid)"
	same "Seccomp of child" 2 "$(field "$child" Seccomp)"
	# The unit's own settings may bring filters, which main has too: child has one more at least.
	[ "$(field "$child" Seccomp_filters)" -gt "$(field "$(main_pid)" Seccomp_filters)" ] || die "no filter of its own"
	same "NoNewPrivs of child" 1 "$(field "$child" NoNewPrivs)"
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		same "$set of child" 0000000000000000 "$(field "$child" $set)"
	done
	same "what child sees of the file system" "" "$(ls -A "/proc/$child/root/")"
}

worker_in_its_group() {
	one=$(worker one '["/bin/sleep", "1001"]') || die "$one"
	two=$(worker two '["/bin/sleep", "1002"]') || die "$two"
	for pid in "$one" "$two"; do
		case $(group_of "$pid") in
		"/system.slice/$unit/erluv.$(main_pid)."*/n0/w*) ;;
		*) die "a worker is in $(group_of "$pid")" ;;
		esac
	done
	[ "$(group_of "$one")" != "$(group_of "$two")" ] || die "two workers are in one group"
}

worker_has_nothing() {
	pid=$(worker plain '["/bin/sleep", "1003"]') || die "$pid"
	id=$(id -u _erluvw)
	same "the user" "$id $id $id $id" "$(field "$pid" Uid)"
	id=$(id -g _erluvw)
	same "the group" "$id $id $id $id" "$(field "$pid" Gid)"
	for set in CapInh CapPrm CapEff CapBnd CapAmb; do
		same "$set" 0000000000000000 "$(field "$pid" $set)"
	done
	same NoNewPrivs 1 "$(field "$pid" NoNewPrivs)"
	# Of main's environment, which has NOTIFY_SOCKET and more, neither has anything.
	for one in "$pid" "$(child_pid)"; do
		same "what process $one inherits" "" "$(tr '\0' '\n' <"/proc/$one/environ" | grep -E '^[A-Z_]*(NOTIFY|JOURNAL|INVOCATION|SYSTEMD|MANAGER)')"
	done
}

# ---- the end of a worker

# by_seconds SECONDS: the process of _erluvw that is `sleep SECONDS`.
by_seconds() { pgrep -u _erluvw -x -f "(/bin/)?sleep $1"; }

ended() { ! by_seconds "$1"; }

tree_is_killed() {
	pid=$(worker forker '"setsid -f sleep 2001; (setsid sleep 2002 &); exec sleep 2003"') || die "$pid"
	for seconds in 2001 2002 2003; do within "sleep $seconds" by_seconds $seconds; done
	below=$(by_seconds 2001)
	[ "$(field "$below" PPid)" != "$pid" ] || die "it has not forked twice"
	keeper 'exit(get(forker), kill)' >/dev/null
	for seconds in 2001 2002 2003; do within "the end of sleep $seconds" ended $seconds; done
}

tree_ends_with_its_leader() {
	pid=$(worker leaver '"setsid -f sleep 2004; exec sleep 2005"') || die "$pid"
	within "sleep 2004" by_seconds 2004
	within "sleep 2005" by_seconds 2005
	folder=/sys/fs/cgroup$(group_of "$pid")
	[ -d "$folder" ] || die "no group $folder"
	kill "$pid"
	within "the end of sleep 2004" ended 2004
	within "the removal of the group" sh -c "! [ -e '$folder' ]"
}

# ---- reload

by_shell() { keeper 'element(1, gen_server:call({erluv, E}, {run, "exit 0", []}))'; }

refuses_the_shell() { [ "$(by_shell)" = error ]; }

reloads() {
	before=$(main_pid)
	one=$(by_seconds 1001) || die "no worker to look at"
	same "a command for the shell" ok "$(by_shell)"
	set_conf 's/^# shell = true/shell = false/'
	systemctl reload "$unit" || die "systemctl reload fails"
	within "the new policy" refuses_the_shell
	same "the main process" "$before" "$(main_pid)"
	same "the worker from before" "$one" "$(by_seconds 1001)"
	set_conf 's/^shell = false/# shell = true/'
	systemctl reload "$unit" || die "systemctl reload fails"
}

reload_refuses() {
	before=$(main_pid)
	echo 'no_such_key = 1' >>"$conf"
	if systemctl reload "$unit"; then die "systemctl reload takes a wrong configuration"; fi
	set_conf '/^no_such_key/d'
	same "the state" active "$(prop ActiveState)"
	same "the main process" "$before" "$(main_pid)"
	connected || die "the node has lost it"
}

# ---- main is lost

restarted() { [ "$(main_pid)" != "$1" ] && [ "$(prop ActiveState)" = active ]; }

main_killed() {
	before=$(main_pid)
	stubborn=$(worker stubborn '["/bin/sh", "-c", "trap \"\" TERM; setsid -f sleep 2006; while :; do sleep 2007; done"]') ||
		die "$stubborn"
	within "sleep 2006" by_seconds 2006
	restarts=$(prop NRestarts)
	kill -9 "$before"
	within "another main" restarted "$before"
	same "the number of restarts" $((restarts + 1)) "$(prop NRestarts)"
	same "the processes of _erluvw" "" "$(pgrep -u _erluvw | tr '\n' ' ')"
	same "the old groups" "" "$(find "$group" -maxdepth 1 -name "erluv.$before.*")"
	within "a connection to the node" connected
	pid=$(worker later '["/bin/sleep", "1004"]') || die "$pid"
}

# erluv-child is killed and nobody orders another: main ends with 75, which is worth another start.
no_order() {
	set_conf 's/^# die_timeout = .*/die_timeout = "1s"/'
	systemctl reload "$unit" || die "systemctl reload fails"
	within "the reloaded configuration" sh -c "journalctl -q -b -o cat -u $unit | tail -n 3 | grep -q reloaded"
	before=$(main_pid)
	kill -9 "$(child_pid)"
	within "another main" restarted "$before"
	set_conf 's/^die_timeout = .*/# die_timeout = "30s"/'
	journalctl -q -b -o cat -u "$unit" | grep -q 'status=75' || die "main has not ended with 75"
	within "a connection to the node" connected
}

# ---- stop

stops() {
	worker last '["/bin/sh", "-c", "trap \"\" TERM; setsid -f sleep 2008; while :; do sleep 2009; done"]' || die "no worker"
	within "sleep 2008" by_seconds 2008
	systemctl stop "$unit" || die "systemctl stop fails"
	same "the state" "inactive/dead" "$(prop ActiveState)/$(prop SubState)"
	same "the result" success "$(prop Result)"
	same "the code of main" 0 "$(prop ExecMainStatus)"
	[ ! -e "$group" ] || die "$group is there: $(find "$group" -type d | tr '\n' ' ')"
	for name in _erluv _erluvw; do same "the processes of $name" "" "$(pgrep -u "$name" | tr '\n' ' ')"; done
	same "the processes by name" "" "$(pgrep erluv | tr '\n' ' ')"
	same "what is in the root folder of child" "" "$(ls -A /run/erluv/empty)"
}

starts_again() {
	systemctl restart "$unit" || die "systemctl restart fails"
	within "a connection to the node" connected
	systemctl stop "$unit" || die "systemctl stop fails"
}

# shellcheck source=tests/vm/limits.sh
. "$tree/tests/vm/limits.sh"

# The manager has left codes for a terminal on the line.
echo
echo "# $(systemctl --version | head -n 1), Linux $(uname -r)"
check etc_install_makes_users_and_unit installs
check sysusers_makes_the_same_users sysusers
check tmpfiles_makes_the_empty_folder tmpfiles
check systemd_analyze_finds_nothing verify
check it_can_be_enabled enable

(umask 077 && echo "$cookie" >/etc/erluv.cookie)
cp -p "$conf" /root/conf
echo 'no_such_key = 1' >>"$conf"
check a_wrong_configuration_fails_once_with_78 wrong_configuration
anew
cp -p /root/conf "$conf"
echo 'DAEMON_ARGS=--no-such-option' >/etc/default/erluv
check a_wrong_command_line_fails_once_with_64 wrong_command_line
anew
rm /etc/default/erluv

check start_gets_ready_before_there_is_a_node gets_ready
check status_shows_main status_shows_main
check a_node_that_starts_later_is_joined node_starts
check main_is_in_the_delegated_group main_in_its_group
check child_is_erluv_and_confined child_is_confined
check each_worker_has_a_group_beside_main worker_in_its_group
check a_worker_is_erluvw_and_has_no_capabilities worker_has_nothing
check double_forked_processes_die_with_a_killed_worker tree_is_killed
check double_forked_processes_die_when_their_worker_ends tree_ends_with_its_leader
check a_reload_takes_profiles_with_limits profiles_are_taken
check controllers_are_handed_down_as_far_as_profiles_need_them controllers_as_needed
check the_limits_of_a_profile_are_those_of_the_worker_s_group limits_are_written
check a_worker_beyond_its_memory_is_killed_whole_and_its_report_says_oom out_of_memory
check a_fork_bomb_ends_at_its_limit fork_bomb
check a_busy_worker_has_its_share_of_the_processor slowed_down
check a_worker_whose_time_is_over_is_ended time_over
check reload_takes_a_new_policy_and_keeps_workers reloads
check reload_refuses_a_wrong_configuration reload_refuses
check a_killed_main_leaves_no_worker_and_is_restarted main_killed
check an_end_with_75_is_restarted no_order
check stop_ends_with_0_and_leaves_nothing stops
check it_starts_again_after_a_stop starts_again
check without_systemd_main_makes_way_for_the_controllers limits_by_hand
check left_overs_of_a_killed_main_are_killed_at_the_next_start left_overs
[ "$failed" -eq 0 ] || journalctl -q -b -o short-monotonic -u "$unit" | sed 's/^/# /'
echo "vm: $passed passed, $failed failed"
