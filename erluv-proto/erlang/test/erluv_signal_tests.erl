-module(erluv_signal_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

a_wait_status_is_an_exit_code_or_a_signal_test() ->
    ?assertEqual({status, 0}, erluv:status(0)),
    ?assertEqual({status, 1}, erluv:status(256)),
    ?assertEqual({status, 255}, erluv:status(65280)),
    ?assertEqual({signal, sigterm, false}, erluv:status(15)),
    ?assertEqual({signal, sigsegv, true}, erluv:status(139)),
    ?assertEqual({signal, 10, false}, erluv:status(10)).

names_and_numbers_are_inverse_test() ->
    [?assertEqual(N, erluv:signal_to_int(erluv:signal(N))) || N <- lists:seq(1, 64)],
    ?assertEqual(sighup, erluv:signal(1)),
    ?assertEqual(12, erluv:signal(12)),
    ?assertEqual(10, erluv:signal_to_int(sigusr1)),
    ?assertError(function_clause, erluv:signal_to_int(sigfoo)).
