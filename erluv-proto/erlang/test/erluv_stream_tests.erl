-module(erluv_stream_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

stream_test_() ->
    Tests = [F || {F, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(F))],
    {setup, fun erluv_test:start/0, [
        {atom_to_list(F), {timeout, 60, {spawn, fun ?MODULE:F/0}}}
     || F <- lists:sort(Tests)
    ]}.

count(Stream, Sum) ->
    case erluv:read(Stream, 10000) of
        {stdout, Data} -> count(Stream, Sum + byte_size(Data));
        End -> {Sum, End}
    end.

all_of_it_is_read_and_then_its_end_case() ->
    {ok, Stream} = erluv:stream(["head", "-c", "5000000", "/dev/zero"]),
    ?assertEqual({5000000, {eof, normal}}, count(Stream, 0)).

who_does_not_read_gets_a_window_and_no_more_case() ->
    {ok, Stream} = erluv:stream(["cat", "/dev/zero"], [{window, 100000}]),
    Held = fun erluv_accept_tests:held/0,
    ok = erluv_test:until(fun() -> Held() >= 100000 end),
    timer:sleep(300),
    ?assertEqual(100000, Held()),
    {stdout, _} = erluv:read(Stream),
    ok = erluv_test:until(fun() -> Held() >= 100000 end),
    ?assertEqual(ok, erluv:close(Stream)),
    ?assertEqual([], element(2, process_info(self(), messages))).

what_is_written_is_read_case() ->
    {ok, Stream} = erluv:stream(["cat"], #{stdin => true}),
    ok = erluv:write(Stream, ["a", <<"b">>]),
    ?assertEqual({stdout, <<"ab">>}, erluv:read(Stream, 10000)),
    ?assertEqual({error, timeout}, erluv:read(Stream, 10)),
    ok = erluv:write(Stream, eof),
    ?assertEqual({eof, normal}, erluv:read(Stream, 10000)).

both_outputs_are_told_apart_case() ->
    {ok, Stream} = erluv:stream("echo e >&2; exit 4", [stderr]),
    ?assertEqual({stderr, <<"e\n">>}, erluv:read(Stream, 10000)),
    ?assertEqual({eof, {exited, 4}}, erluv:read(Stream, 10000)).

what_cannot_start_is_an_error_case() ->
    ?assertEqual({error, {launch_failed, exec, enoent}}, erluv:stream(["/no/such"])),
    ?assertEqual({error, {badopt, nope}}, erluv:stream(["true"], [nope])),
    ?assertMatch({error, {refused, {users, _}}}, erluv:stream(["true"], [{user, "no_such_user_"}])),
    ?assertMatch({error, {badcommand, _}}, erluv:stream([true])),
    ?assertEqual([], element(2, process_info(self(), messages))).

the_end_of_the_reader_is_the_end_of_the_worker_case() ->
    Self = self(),
    Reader = spawn(fun() -> Self ! erluv:stream(["cat", "/dev/zero"]), receive go -> ok end end),
    Stream = receive {ok, S} -> S end,
    Ref = monitor(process, erluv_stream:pid(Stream)),
    Reader ! go,
    ?assertEqual(ended, receive {'DOWN', Ref, _, _, _} -> ended after 15000 -> lives end).
