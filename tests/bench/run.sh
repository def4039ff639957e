#!/bin/sh
# The benchmark of erluv, from the build to the table: see README.md here.
#
#   tests/bench/run.sh [OPTION...]      the options are those of erluv-bench: --help lists them
#
# Root on Linux, with cargo, cc and erlc; on Debian, what is missing is installed.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/lib.sh"

am_root || die "run it as root: the daemon is measured as it runs on a host, with users of its own"
need_rust
need_packages cc:gcc erl:erlang-base epmd:erlang-base erlc:erlang-base taskset:util-linux

cd "$top"
# The daemon as it is installed, and the benchmark beside it, which looks for it there.
cargo build --locked --release -p erluv-main -p erluv-child -p erluv-bench
target=$(cargo metadata --no-deps --format-version 1 | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
exec "$target/release/erluv-bench" "$@"
