#!/bin/sh
# The main job of erluv, once, from an empty machine to running workers: installs Erlang where it is missing, builds,
# starts an Erlang node and erluv, runs a few workers, shows what each process is, crashes the unprivileged half and has
# it respawned. As root the halves and the workers get users of their own; otherwise all of it runs as you.
#
#   tests/demo.sh
#
# Nothing is left behind but the build: it works in a temporary folder, on loopback ports of its own.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"

title() { printf '\n== %s\n' "$*"; }

title "what is needed"
need_rust
need_packages erl:erlang-base epmd:erlang-base

title "build"
cargo build --locked --release --manifest-path "$top/Cargo.toml"
target=$(target_folder)

work=$(mktemp -d /tmp/erluv-demo.XXXXXX)
chmod 755 "$work"
port=$(free_port)
epmd_pid='' main_pid=''
finish() {
    [ -z "$main_pid" ] || kill "$main_pid" 2>/dev/null || true
    [ -z "$main_pid" ] || wait "$main_pid" 2>/dev/null || true
    [ -z "$epmd_pid" ] || kill "$epmd_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir "$work/sbin"
cp "$target/release/erluv-main" "$target/release/erluv-child" "$work/sbin/"

# The node and erluv share the cookie through a file that nobody else can read.
head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$work/cookie"
chmod 400 "$work/cookie"

{
    echo 'node = "demo@127.0.0.1"'
    echo 'name = "erluv_demo@127.0.0.1"'
    echo "cookie_file = \"$work/cookie\""
    echo "epmd_port = $port"
    echo 'die_timeout = "20s"'
    if [ "$(id -u)" = 0 ]; then
        # Users that every system has; an installation makes its own, see etc/install.sh. And a folder to be locked into
        # that goes with the others: the default is below /run, and stays.
        mkdir "$work/empty" && chmod 755 "$work/empty"
        echo "chroot = \"$work/empty\""
        echo 'user = "nobody"'
        echo '[workers]'
        echo 'users = ["daemon"]'
    fi
} > "$work/erluv.conf"
chmod 600 "$work/erluv.conf"

title "the configuration, and what erluv says of it"
cat "$work/erluv.conf"
"$work/sbin/erluv-main" -n -f "$work/erluv.conf"

title "erluv starts; it waits for a node that is not there yet"
epmd -port "$port" -address 127.0.0.1 >/dev/null 2>&1 &
epmd_pid=$!
"$work/sbin/erluv-main" -d -f "$work/erluv.conf" 2>"$work/log" &
main_pid=$!

title "an Erlang node, with no library, uses it"
# The cookie reaches the node in its home's file, as it would at your place.
mkdir "$work/home"
cp "$work/cookie" "$work/home/.erlang.cookie"
chmod 400 "$work/home/.erlang.cookie"
status=0
HOME="$work/home" ERL_EPMD_PORT=$port MAIN_PID=$main_pid erl -noinput -start_epmd false -name demo@127.0.0.1 \
    -eval "case file:eval(\"$top/tests/demo.exprs\") of ok -> halt(0); E -> io:format(\"~p~n\", [E]), halt(1) end." ||
    status=$?

title "erluv is told to go"
kill -TERM "$main_pid"
wait "$main_pid" && echo "erluv-main ended with 0" || { echo "erluv-main ended with $?"; status=1; }
main_pid=''

title "its log"
cat "$work/log"
[ "$status" = 0 ] || { echo "the demo failed" >&2; exit 1; }
echo
echo "the demo has succeeded"
