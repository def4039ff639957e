# Debian: the script with the real start-stop-daemon and init-functions. Part of tests/rcd.sh.
# shellcheck shell=sh disable=SC2154

# systemd's hook in init-functions looks at scripts in /etc/init.d alone, and this one is elsewhere.
script=$T/debian/init.d/erluv
copy debian "$script" /usr/sbin/erluv-main=sbin/erluv-main /etc/default=etc/default /run/erluv=run/erluv
mkdir -p "$T/debian/etc/default"

act() {
	"$script" "$@"
}

code 3 "debian: status of nothing" act status
code 0 "debian: stop of nothing" act stop
code 7 "debian: reload of nothing" act reload
code 0 "debian: try-restart of nothing" act try-restart
holds "debian: try-restart of nothing starts nothing" not_heard start
code 3 "debian: no such action" act fly
code 3 "debian: no action" act
common debian configtest

bad_configuration
code 6 "debian: start with a wrong configuration" act start
said 'bad by order' "debian: start with a wrong configuration"
code 6 "debian: configtest of a wrong configuration" act configtest
good_configuration
: >"$T/fake/no-permission"
code 4 "debian: erluv-main ends with 77" act start
rm "$T/fake/no-permission"

# shellcheck disable=SC2012 # the mode in letters
mode=$(ls -ldn "$T/debian/run/erluv/empty" | awk '{ print $1, $3, $4 }')
if [ "$mode" = "drwxr-xr-x 0 0" ]; then ok; else not_ok "debian: the empty folder is '$mode'"; fi

printf 'DAEMON_ARGS="-v -o workers.max=5"\nERLUV_NODE=a@b\n' >"$T/debian/etc/default/erluv"
forget
code 0 "debian: start with arguments" act start
holds "debian: arguments and variables arrive" heard \
	"start -v -o workers.max=5 -o pid_file=$T/debian/run/erluv.pid ERLUV_NODE=a@b"
same_arguments debian
code 0 "debian: start of what runs" act start
said already "debian: start of what runs"
code 0 "debian: status" act status
code 0 "debian: force-reload" act force-reload
holds "debian: force-reload is SIGHUP" heard hup
forget
code 0 "debian: try-restart" act try-restart
holds "debian: try-restart stops" heard term
holds "debian: try-restart starts" heard start

# A daemon that was killed leaves its pid file; a stranger with its pid is not taken for it.
kill -KILL "$(cat "$T/debian/run/erluv.pid")"
holds "debian: killed" is_gone
code 1 "debian: status of a killed daemon" act status
sleep 300 &
stranger=$!
echo "$stranger" >"$T/debian/run/erluv.pid"
code 1 "debian: status with the pid of a stranger" act status
code 0 "debian: stop with the pid of a stranger" act stop
if kill "$stranger" 2>/dev/null; then ok; else not_ok "debian: stop has ended a stranger"; fi
rm -f "$T/debian/run/erluv.pid" "$T/fake/main.pid"

if command -v setpriv >/dev/null 2>&1; then
	code 4 "debian: start by another user" setpriv --reuid=65534 --regid=65534 --clear-groups "$script" start
	code 3 "debian: status by another user" setpriv --reuid=65534 --regid=65534 --clear-groups "$script" status
fi
mv "$T/debian/sbin/erluv-main" "$T/debian/sbin/elsewhere"
code 5 "debian: start without the program" act start
code 0 "debian: stop without the program" act stop
mv "$T/debian/sbin/elsewhere" "$T/debian/sbin/erluv-main"
