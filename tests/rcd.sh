#!/bin/sh
#
# Tests of the start scripts (rc.d/), of the systemd files and of etc/install.sh, with a stand-in for erluv-main.
#
# Of the BSDs and of OpenRC there is nothing on the machine that runs this: small doubles of their rc.subr and of
# openrc-run take their place. They hold our reading of the contract (rc.subr(8), openrc-run(8)) and prove nothing about
# the systems themselves. Debian's start-stop-daemon and init-functions are the real ones.
#
# What runs are copies in which absolute paths are rewritten into a temporary folder: nothing outside of it is read as
# configuration or written. Needs root, cc, dash, mksh, procps, and Debian's start-stop-daemon.

set -u

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/.." && pwd)
T=$(mktemp -d "${TMPDIR:-/tmp}/erluv-rcd-XXXXXX")
chmod 755 "$T"
passed=0
failed=0
out=$T/out

cleanup() {
	# Stand-ins that a failed test has left: their children die with them.
	if [ -s "$T/fake/all" ]; then
		while read -r pid; do
			case $(ps -o args= -p "$pid") in
			"$T"/*) kill -KILL "$pid" ;;
			esac
		done <"$T/fake/all"
	fi
	rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

ok() {
	passed=$((passed + 1))
}

not_ok() {
	failed=$((failed + 1))
	echo "FAILED: $*"
	[ -s "$out" ] && sed 's/^/    /' "$out"
}

# code WANTED NAME COMMAND...: the command's exit code is the one wanted.
code() {
	wanted=$1 name=$2
	shift 2
	got=0
	"$@" >"$out" 2>&1 </dev/null || got=$?
	if [ "$got" -eq "$wanted" ]; then ok; else not_ok "$name: exit code $got, not $wanted"; fi
}

# fails NAME COMMAND...: the command's exit code is any but 0.
fails() {
	name=$1
	shift
	if "$@" >"$out" 2>&1 </dev/null; then not_ok "$name: exit code 0"; else ok; fi
}

# holds NAME COMMAND...: the condition holds, within ten seconds.
holds() {
	name=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ "$tries" -ge 100 ]; then
			not_ok "$name"
			return 0
		fi
		sleep 0.1
	done
	ok
}

# said WORD NAME: the last command printed it.
said() {
	if grep -q -- "$1" "$out"; then ok; else not_ok "$2: does not say '$1'"; fi
}

for tool in cc dash mksh pgrep start-stop-daemon; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "rcd: $tool is not there"
		exit 1
	fi
done

# --- The stand-in: takes erluv-main's arguments, writes what it hears to fake/log, has a child of another argv. ------

mkdir -p "$T/fake"
cat >"$T/fake/main.c" <<'END'
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>

static void note(const char *what, int argc, char **argv) {
	FILE *log = fopen(FAKE "/log", "a");
	if (!log) _exit(71);
	fprintf(log, "%s", what);
	for (int i = 1; i < argc; i++) fprintf(log, " %s", argv[i]);
	fprintf(log, "%s%s\n", getenv("ERLUV_NODE") ? " ERLUV_NODE=" : "", getenv("ERLUV_NODE") ? getenv("ERLUV_NODE") : "");
	fclose(log);
}

static void put_pid(const char *path, const char *how) {
	FILE *file = fopen(path, how);
	if (!file) _exit(71);
	fprintf(file, "%d\n", getpid());
	fclose(file);
}

int main(int argc, char **argv) {
	const char *pid_file = NULL;
	int check = 0;
	sigset_t set;
	if (strcmp(argv[0], "erluv-child") == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		// The parent may have gone before that.
		if (argc < 2 || getppid() != atoi(argv[1])) return 0;
		prctl(PR_SET_NAME, "erluv-child");
		for (;;) pause();
	}
	for (int i = 1; i < argc; i++) {
		check |= strcmp(argv[i], "-n") == 0;
		if (strncmp(argv[i], "pid_file=", 9) == 0) pid_file = argv[i] + 9;
	}
	note(check ? "check" : "start", argc, argv);
	if (access(FAKE "/bad", F_OK) == 0) {
		fprintf(stderr, "erluv.conf: bad by order\n");
		return 78;
	}
	if (check) return 0;
	if (access(FAKE "/no-permission", F_OK) == 0) return 77;
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int ready[2];
	char byte;
	if (pipe(ready)) return 71;
	if (fork()) {
		close(ready[1]);
		return read(ready[0], &byte, 1) == 1 ? 0 : 71;
	}
	setsid();
	close(ready[0]);
	if (!freopen("/dev/null", "r+", stdin) || !freopen("/dev/null", "a", stdout)) return 71;
	if (!freopen("/dev/null", "a", stderr)) return 71;
	prctl(PR_SET_DUMPABLE, 0);
	put_pid(FAKE "/main.pid", "w");
	put_pid(FAKE "/all", "a");
	if (pid_file) put_pid(pid_file, "w");
	char parent[16];
	snprintf(parent, sizeof parent, "%d", getpid());
	int child = fork();
	if (!child) {
		close(ready[1]);
		execl("/proc/self/exe", "erluv-child", parent, "--user", "_erluv", NULL);
		_exit(71);
	}
	if (write(ready[1], "1", 1) != 1) return 71;
	close(ready[1]);
	for (;;) {
		int signal = 0;
		sigwait(&set, &signal);
		note(signal == SIGHUP ? "hup" : "term", 0, NULL);
		if (signal == SIGTERM) {
			kill(child, SIGKILL);
			unlink(FAKE "/main.pid");
			if (pid_file) unlink(pid_file);
			return 0;
		}
	}
}
END
if ! cc -O1 -Wall -Wextra -DFAKE="\"$T/fake\"" -o "$T/fake/erluv-main" "$T/fake/main.c"; then
	echo "rcd: the stand-in does not compile"
	exit 1
fi

# Forgets what the stand-in has heard.
forget() {
	: >"$T/fake/log"
}

heard() {
	grep -q "^$1" "$T/fake/log"
}

not_heard() {
	! heard "$1"
}

runs() {
	[ -s "$T/fake/main.pid" ] && kill -0 "$(cat "$T/fake/main.pid")"
}

is_gone() {
	! runs
}

check_is_first() {
	head -1 "$T/fake/log" | grep -q '^check'
}

# Another process than this one runs.
is_not() {
	[ "$(cat "$T/fake/main.pid")" != "$1" ] && runs
}

bad_configuration() {
	: >"$T/fake/bad"
}

good_configuration() {
	rm -f "$T/fake/bad"
}

# copy SYSTEM SCRIPT FROM=TO...: the script of a system, its paths rewritten into $T/SYSTEM.
copy() {
	system=$1 target=$2
	shift 2
	mkdir -p "$T/$system/sbin" "$T/$system/run" "$T/$system/etc" "$(dirname "$target")"
	cp "$T/fake/erluv-main" "$T/$system/sbin/erluv-main"
	cp "$tree/rc.d/$system" "$target"
	for rule in "$@"; do
		sed "s|${rule%%=*}|$T/$system/${rule#*=}|g" "$target" >"$target.new"
		mv "$target.new" "$target"
	done
	chmod 755 "$target"
	forget
	good_configuration
}

# The part of the contract that all systems have. $1 the system, $2 the action that checks the configuration; `act`
# runs an action. What a system's exit codes are is asked elsewhere.
common() {
	bad_configuration
	fails "$1: $2 of a wrong configuration" act "$2"
	forget
	fails "$1: start with a wrong configuration" act start
	holds "$1: the check was asked" heard check
	holds "$1: a wrong configuration starts nothing" not_heard start
	good_configuration
	code 0 "$1: $2" act "$2"
	forget
	code 0 "$1: start" act start
	holds "$1: it runs" runs
	holds "$1: the check comes before the start" check_is_first
	same_arguments "$1"
	code 0 "$1: reload" act reload
	holds "$1: reload is SIGHUP" heard hup
	bad_configuration
	forget
	fails "$1: reload with a wrong configuration" act reload
	fails "$1: restart with a wrong configuration" act restart
	holds "$1: a wrong configuration stops nothing" runs
	holds "$1: it is not told" not_heard 'hup\|term'
	good_configuration
	old=$(cat "$T/fake/main.pid")
	code 0 "$1: restart" act restart
	holds "$1: it runs after restart" runs
	holds "$1: restart makes a new one" is_not "$old"
	forget
	code 0 "$1: stop" act stop
	holds "$1: stop is SIGTERM" heard term
	holds "$1: it is gone" is_gone
}

# The check has exactly the arguments of the start, -n apart.
same_arguments() {
	sed -n 's/^check -n *//p' "$T/fake/log" | head -1 >"$T/fake/checked"
	sed -n 's/^start *//p' "$T/fake/log" | head -1 >"$T/fake/started"
	if cmp -s "$T/fake/checked" "$T/fake/started"; then ok; else not_ok "$1: checked with other arguments than started"; fi
}

# --- Syntax ---------------------------------------------------------------------------------------------------------

for script in freebsd netbsd debian openrc; do
	code 0 "$script: syntax" dash -n "$tree/rc.d/$script"
done
code 0 "openbsd: syntax" mksh -n "$tree/rc.d/openbsd"
code 0 "install.sh: syntax" dash -n "$tree/etc/install.sh"
code 0 "install.sh: syntax for ksh" mksh -n "$tree/etc/install.sh"

# shellcheck source=tests/rcd/openbsd.sh
. "$here/rcd/openbsd.sh"
# shellcheck source=tests/rcd/rcng.sh
. "$here/rcd/rcng.sh"
# shellcheck source=tests/rcd/openrc.sh
. "$here/rcd/openrc.sh"
# shellcheck source=tests/rcd/debian.sh
. "$here/rcd/debian.sh"
# shellcheck source=tests/rcd/install.sh
. "$here/rcd/install.sh"

echo "rcd: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
