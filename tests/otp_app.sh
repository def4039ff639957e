#!/bin/sh
# The OTP application `erluv` (erluv-proto/erlang): compiles it with warnings as errors on OTP 25, 27 and 29, runs
# dialyzer, and runs its suites on nodes of each release against a daemon, then the Elixir one where there is mix.
#
#   tests/otp_app.sh
#
# As root the daemon's halves and the workers get users of their own; otherwise all of it runs as you. OTP 27 and 29 are
# those of tests/otp.sh, where they are made; what is missing is counted as skipped and named. The last line is
# `otp_app: N passed, N failed, N skipped`.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"
app=$top/erluv-proto/erlang

need_rust
need_packages erl:erlang-base epmd:erlang-base erlc:erlang-base :erlang-eunit

cargo build --locked --release --manifest-path "$top/Cargo.toml"
target=$(target_folder)

work=$(mktemp -d /tmp/erluv-otp-app.XXXXXX)
chmod 755 "$work"
passed=0 failed=0 skipped=0
main_pid='' epmd_pid='' watch_pid='' inner=''

stop_daemon() {
    for pid in $watch_pid $main_pid $epmd_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    main_pid='' epmd_pid='' watch_pid=''
}
finish() {
    stop_daemon
    [ -z "$inner" ] || rm -rf "$inner"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

pass() { passed=$((passed + 1)); echo "ok $*"; }
fail() { failed=$((failed + 1)); echo "FAILED $*"; }
skip() { skipped=$((skipped + 1)); echo "skipped $*"; }

# Adds the counts that the suites' last line tells; a run that told none has failed.
count() {
    line=$(grep '^count: ' "$1" | tail -n 1)
    if [ -z "$line" ]; then
        fail "$2: the run has not ended: $(tail -n 5 "$1")"
        return
    fi
    # shellcheck disable=SC2086 # a line of words
    set -- $line
    passed=$((passed + $2)) failed=$((failed + $4)) skipped=$((skipped + $6))
}

mkdir "$work/sbin"
cp "$target/release/erluv-main" "$target/release/erluv-child" "$work/sbin/"
head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$work/cookie"
chmod 400 "$work/cookie"

# Kills the unprivileged half whenever the file $1 is made: the suites ask for it so, from wherever their node runs.
watch() {
    while :; do
        if [ -e "$1" ]; then
            rm -f "$1"
            for stat in /proc/[0-9]*/stat; do
                # Fields: pid (name) state parent.
                # It may end meanwhile.
                { read -r pid name _ parent _ < "$stat"; } 2>/dev/null || continue
                if [ "$name" = "(erluv-child)" ] && [ "$parent" = "$main_pid" ]; then kill -9 "$pid"; fi
            done
        fi
        sleep 0.1
    done
}

# Starts epmd and the daemon; $1 is the file of watch.
start_daemon() {
    port=$(free_port)
    {
        echo 'node = "app@127.0.0.1"'
        echo 'name = "erluv_app@127.0.0.1"'
        echo "cookie_file = \"$work/cookie\""
        echo "epmd_port = $port"
        echo 'die_timeout = "60s"'
        if am_root; then
            # Users that every system has; an installation makes its own.
            echo 'user = "nobody"'
            echo '[workers]'
            echo 'users = ["daemon"]'
        fi
    } > "$work/erluv.conf"
    chmod 600 "$work/erluv.conf"
    epmd -port "$port" -address 127.0.0.1 >/dev/null 2>&1 &
    epmd_pid=$!
    "$work/sbin/erluv-main" -d -f "$work/erluv.conf" 2>>"$work/log" &
    main_pid=$!
    watch "$1" &
    watch_pid=$!
}

suites="erluv_signal_tests erluv_settings_tests erluv_node_tests erluv_options_tests erluv_exec_tests
erluv_stream_tests erluv_worker_tests erluv_daemon_tests erluv_respawn_tests erluv_accept_tests"

# Compiles the application and its suites with "$@", the command of erlc, between folders that it sees under $1.
compile() {
    seen=$1 real=$2
    shift 2
    mkdir -p "$real/ebin" "$real/test"
    cp "$app/src/erluv.app.src" "$real/ebin/erluv.app"
    cp "$app"/src/*.erl "$real/"
    cp "$app"/test/*.erl "$real/test/"
    sources=$(cd "$real" && for file in *.erl; do echo "$seen/$file"; done)
    tests=$(cd "$real/test" && for file in *.erl; do echo "$seen/test/$file"; done)
    # shellcheck disable=SC2086 # lists of files
    "$@" +debug_info +warn_missing_spec -Wall -Werror -o "$seen/ebin" $sources &&
        "$@" -Wall -Werror -o "$seen/test" $tests
}

# Runs the suites on the release $1: its folder for chroot, empty for the machine's own, is $2.
run_suites() {
    release=$1 root=$2
    if [ -z "$root" ]; then
        real=$work/otp$release seen=$real
        mkdir "$real"
        enter=
    else
        inner=$(mktemp -d "$root/tmp/erluv-otp-app.XXXXXX")
        real=$inner seen=${inner#"$root"}
        enter="chroot $root"
    fi
    # shellcheck disable=SC2086 # words
    if compile "$seen" "$real" $enter /usr/bin/env ERL_FLAGS= erlc; then
        pass "OTP $release compiles without a warning"
    else
        fail "OTP $release: compilation"
        return
    fi
    # In its own folder of a chroot, /proc is not there, which a daemon needs: that suite is for the machine's own.
    own_main=
    [ -n "$root" ] || own_main=ERLUV_TEST_MAIN=$work/sbin/erluv-main
    start_daemon "$real/crash"
    mkdir "$real/home"
    cp "$work/cookie" "$real/home/.erlang.cookie"
    chmod 400 "$real/home/.erlang.cookie"
    modules=$(printf %s "$suites" | tr ' \n' ',,')
    # shellcheck disable=SC2086 # words
    $enter /usr/bin/env -i HOME="$seen/home" PATH="$PATH" ERL_EPMD_PORT="$port" ERL_CRASH_DUMP=/dev/null \
        TMPDIR="$seen" \
        ERLUV_TEST_CRASH="$seen/crash" $own_main \
        erl -noinput -start_epmd false -name app@127.0.0.1 -pa "$seen/ebin" "$seen/test" \
        -kernel logger_level none -eval "erluv_test:all([$modules]), halt()." >"$work/out" 2>&1 || true
    sed "s/^/OTP $release: /" "$work/out"
    count "$work/out" "OTP $release"
    [ -z "$root" ] || skip "OTP $release: a daemon started by the node: needs /proc, which the chroot folder has not"
    stop_daemon
    [ -z "$inner" ] || rm -rf "$inner"
    inner=
}

here=$(erl -noinput -eval 'io:put_chars(erlang:system_info(otp_release)), halt().')
run_suites "$here" ""
for other in 27 29; do
    root=$(otp_folder)/otp$other
    if [ "$other" = "$here" ]; then
        continue
    elif am_root && [ -e "$root/.erluv-recipe" ]; then
        run_suites "$other" "$root"
    else
        skip "OTP $other: make it with tests/otp.sh, as root"
    fi
done

if command -v dialyzer >/dev/null; then
    # The table of OTP's own types takes a minute to make; a folder of the caller's may keep it.
    plt=${ERLUV_TEST_PLT:-$work/otp.plt}
    [ -e "$plt" ] || dialyzer --quiet --build_plt --output_plt "$plt" --apps erts kernel stdlib || true
    if dialyzer --quiet --plt "$plt" -Wunmatched_returns -Werror_handling -r "$work/otp$here/ebin"; then
        pass "dialyzer has nothing to say"
    else
        fail "dialyzer"
    fi
else
    skip "dialyzer is not installed: the package erlang-dialyzer has it"
fi

# $1 is the name of what the rest does, in a copy of the application that it may build in.
build_with() {
    name=$1
    shift
    rm -rf "$work/copy"
    cp -r "$app" "$work/copy"
    if (cd "$work/copy" && "$@") >"$work/out" 2>&1; then pass "$name"; else
        fail "$name"
        cat "$work/out"
    fi
}

if command -v rebar3 >/dev/null; then
    # A proxy that refuses: nothing is to be fetched.
    build_with "rebar3 compiles" env HOME="$work" https_proxy=http://127.0.0.1:9 http_proxy=http://127.0.0.1:9 \
        rebar3 compile
else
    skip "rebar3 is not installed"
fi

if command -v mix >/dev/null; then
    start_daemon "$work/crash"
    mkdir "$work/home"
    cp "$work/cookie" "$work/home/.erlang.cookie"
    chmod 400 "$work/home/.erlang.cookie"
    build_with "mix test" env HOME="$work/home" LC_ALL=C.UTF-8 ERL_EPMD_PORT="$port" https_proxy=http://127.0.0.1:9 \
        elixir --erl "-start_epmd false" --name app@127.0.0.1 -S mix test --no-color
    grep -E 'tests?, .* failures?' "$work/out" || true
    stop_daemon
else
    skip "mix is not installed: the package elixir has it"
fi

[ "$failed" = 0 ] || { echo "the daemon's log:"; cat "$work/log"; }
echo "otp_app: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
