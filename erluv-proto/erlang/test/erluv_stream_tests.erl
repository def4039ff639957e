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

%% The daemon keeps less of a stream than the window of others may be.
a_worker_that_is_kept_has_a_window_that_the_daemon_takes_case() ->
    {ok, Before} = application:get_env(erluv, window),
    ok = application:set_env(erluv, window, 1000000),
    {ok, Stream} =
        try
            erluv:stream(["cat", "/dev/zero"], [{on_nodedown, {keep, 60}}])
        after
            application:set_env(erluv, window, Before)
        end,
    ok = erluv_test:until(fun() -> erluv_accept_tests:held() >= 262144 end),
    timer:sleep(300),
    ?assertEqual(262144, erluv_accept_tests:held()),
    ok = erluv:close(Stream).

who_does_not_read_gets_a_window_and_no_more_case() ->
    {ok, Stream} = erluv:stream(["cat", "/dev/zero"], [{window, 100000}]),
    Held = fun erluv_accept_tests:held/0,
    ok = erluv_test:until(fun() -> Held() >= 100000 end),
    timer:sleep(300),
    ?assertEqual(100000, Held()),
    %% As much as is acknowledged together: what comes first may be less.
    (fun Half(Left) when Left > 0 -> {stdout, Data} = erluv:read(Stream), Half(Left - byte_size(Data)); Half(_) -> ok end)(
        50000
    ),
    ok = erluv_test:until(fun() -> Held() >= 100000 end),
    ?assertEqual(ok, erluv:close(Stream)),
    ?assertEqual([], element(2, process_info(self(), messages))).

%% Many windows of each size, and ends within one.
a_window_of_any_size_never_stalls_case() ->
    [
        begin
            {ok, Stream} = erluv:stream(["head", "-c", integer_to_list(Bytes), "/dev/zero"], [{window, Window} | More]),
            ?assertEqual({Window, {Bytes, {eof, normal}}}, {Window, count(Stream, 0)})
        end
     || {Window, Bytes} <- [{1, 1000}, {2, 2001}, {3, 1000}, {65535, 3000001}, {65536, 3000000}, {65537, 3000000}],
        More <- [[], [{lines, 5}], [{on_nodedown, {keep, 60}}]]
    ].

a_small_window_of_lines_never_stalls_case() ->
    Script = "i=0; while [ $i -lt 500 ]; do echo a line $i; i=$((i+1)); done",
    {ok, Stream} = erluv:stream(Script, [{lines, 99}, {window, 1}]),
    ?assertEqual({500 * 8 + 10 + 2 * 90 + 3 * 400, {eof, normal}}, count(Stream, 0)).

%% What is read without being acknowledged is less than half the window: who has read all that came gets more.
who_stops_in_the_middle_goes_on_case() ->
    {ok, Stream} = erluv:stream(["cat"], [stdin, {window, 1000}]),
    Read = fun(Bytes) ->
        ok = erluv:write(Stream, binary:copy(<<"x">>, Bytes)),
        (fun
            All(0) -> ok;
            All(Left) ->
                {stdout, Data} = erluv:read(Stream, 10000),
                All(Left - byte_size(Data))
        end)(Bytes),
        ?assertEqual({error, timeout}, erluv:read(Stream, 1))
    end,
    %% Each stop is elsewhere in the window.
    lists:foreach(Read, [499, 1, 499, 2, 498, 999, 1000, 1001] ++ lists:seq(400, 600, 7)),
    ok = erluv:write(Stream, eof),
    ?assertEqual({eof, normal}, erluv:read(Stream, 10000)).

more_than_a_frame_is_written_in_pieces_case() ->
    Bytes = 2 * 1048576 + 1,
    {ok, Stream} = erluv:stream(["wc", "-c"], [stdin]),
    ok = erluv:write(Stream, binary:copy(<<0>>, Bytes)),
    ok = erluv:send(erluv_stream:pid(Stream), binary:copy(<<0>>, 1048576)),
    ok = erluv:write(Stream, eof),
    {stdout, Number} = erluv:read(Stream, 10000),
    ?assertEqual(Bytes + 1048576, binary_to_integer(string:trim(Number))).

%% The connection is lost, and what was read does not come again to who adopts the worker.
what_was_read_of_a_kept_worker_comes_once_case() ->
    {ok, Stream} = erluv:stream("echo first; read x; echo $x", [stdin, {on_nodedown, {keep, 60}}]),
    Pid = erluv_stream:pid(Stream),
    ?assertEqual({stdout, <<"first\n">>}, erluv:read(Stream, 10000)),
    %% Answered behind the acknowledgement.
    #{state := running} = erluv:info(Pid),
    true = erlang:disconnect_node(node(Pid)),
    ?assertEqual({eof, noconnection}, erluv:read(Stream, 10000)),
    ok = erluv_test:until(fun() -> erluv:adopt(Pid) =:= ok end),
    ok = erluv:write(Stream, <<"second\n">>),
    ?assertEqual({stdout, <<"second\n">>}, erluv:read(Stream, 10000)),
    _ = erluv_test:start().

%% Half the window at a time, and with a worker that is kept each piece.
acknowledgements_are_gathered_case() ->
    Each = fun(Options, Sizes) ->
        Acks = erluv_acks:new(Options),
        [ok = erluv_acks:read(Acks, self(), Stream, Bytes) || {Stream, Bytes} <- Sizes],
        (fun All() -> receive {ack, Stream, Bytes} -> [{Stream, Bytes} | All()] after 0 -> [] end end)()
    end,
    Sizes = [{stdout, 3}, {stderr, 4}, {stdout, 1}, {stdout, 1}, {stderr, 9}, {stdout, 4}],
    ?assertEqual([{stdout, 5}, {stderr, 13}], Each([{window, 10}], Sizes)),
    ?assertEqual([{stdout, 5}, {stderr, 13}], Each([{window, 9}], Sizes)),
    ?assertEqual([{stderr, 13}], Each([{window, 20}], Sizes)),
    ?assertEqual(Sizes, Each([{window, 1}], Sizes)),
    ?assertEqual(Sizes, Each([{window, 10}, {on_nodedown, {keep, 9}}], Sizes)),
    ?assertEqual([{stdout, 5}, {stderr, 13}], Each([{window, 10}, {on_nodedown, stop}], Sizes)).

what_is_written_is_read_case() ->
    {ok, Stream} = erluv:stream(["cat"], #{stdin => true}),
    ok = erluv:write(Stream, ["a", <<"b">>]),
    ?assertEqual({stdout, <<"ab">>}, erluv:read(Stream, 10000)),
    ?assertEqual({error, timeout}, erluv:read(Stream, 10)),
    ok = erluv:write(Stream, eof),
    ?assertEqual({eof, normal}, erluv:read(Stream, 10000)).

%% A daemon whose max_frame is smaller than a piece refuses it whole, and nothing of it is lost or written twice.
what_is_too_long_for_a_daemon_is_written_in_shorter_pieces_case() ->
    Bytes = << <<N:32>> || N <- lists:seq(1, 300000) >>,
    Written = fun(Most) ->
        Takes = fun Takes(Taken) ->
            receive
                {'$gen_call', From, {stdin, Piece}} when byte_size(Piece) > Most ->
                    gen:reply(From, {error, too_large}),
                    Takes(Taken);
                {'$gen_call', From, {stdin, Piece}} ->
                    gen:reply(From, ok),
                    Takes([Taken, Piece]);
                {taken, To} ->
                    To ! {taken, iolist_to_binary(Taken)}
            end
        end,
        Worker = spawn_link(fun() -> Takes([]) end),
        ?assertEqual(ok, erluv_stream:write_pieces(Worker, Bytes)),
        Worker ! {taken, self()},
        receive {taken, Taken} -> Taken end
    end,
    [?assert(Written(Most) =:= Bytes) || Most <- [65536, 100000, 524288, 1048576]].

a_writer_is_told_that_the_worker_has_ended_case() ->
    Self = self(),
    {ok, Stream} = erluv:stream(["sleep", "1000"], [stdin]),
    Write = fun() -> erluv:write(Stream, binary:copy(<<"x">>, 1000000)) end,
    _ = spawn_link(fun() -> Self ! {written, Write()} end),
    ?assertEqual(waits, receive {written, Early} -> Early after 300 -> waits end),
    ok = erluv:kill(erluv_stream:pid(Stream), sigkill),
    ?assertEqual({error, stdin_closed}, receive {written, Late} -> Late after 10000 -> hangs end),
    ?assertEqual({eof, {signaled, sigkill}}, erluv:read(Stream, 10000)),
    ?assertEqual({error, noproc}, Write()),
    ?assertEqual([], element(2, process_info(self(), messages))).

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
