%% The whole life of a worker at once: many of them, supervised ones, and ones that nobody reads or that read nobody.
%%
%% tests/tests/accept.rs uses the functions of the second part too, from where it sees the daemon's own memory and can
%% end it.
-module(erluv_accept_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").
-behaviour(supervisor).

-define(MANY, 900).
%% Nothing takes so long: it is for machines that do much else.
-define(WITHIN, 60000).

accept_test_() ->
    Tests = [F || {F, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(F))],
    {setup, fun erluv_worker_tests:quiet/0, fun erluv_worker_tests:loud/1, [
        {atom_to_list(F), {timeout, 300, {spawn, fun ?MODULE:F/0}}}
     || F <- lists:sort(Tests)
    ]}.

%% Two streams of some lines each, other ones for each number, and an exit code.
script(Number, First) ->
    Script =
        First ++ "i=0; while [ $i -lt 40 ]; do echo $0 out $i; echo $0 err $i >&2; i=$((i+1)); done; exit $1",
    ["/bin/sh", "-c", Script, integer_to_list(Number), integer_to_list(Number rem 3)].

written(Number, Word) ->
    iolist_to_binary([[integer_to_list(Number), Word, integer_to_list(I), $\n] || I <- lists:seq(0, 39)]).

status(Number) when Number rem 3 =:= 0 -> normal;
status(Number) -> {exit_status, (Number rem 3) * 256}.

expected(Number) -> {written(Number, " out "), written(Number, " err "), status(Number)}.

%% What each of so many workers has written until its end was told. Output after that, or an end that is told twice,
%% is an error.
collect(Left, _Open, Ended) when map_size(Ended) =:= Left ->
    Ended;
collect(Left, Open, Ended) ->
    receive
        {stdout, OsPid, Data} ->
            {Out, Err} = maps:get(OsPid, Open, {<<>>, <<>>}),
            collect(Left, Open#{OsPid => {<<Out/binary, Data/binary>>, Err}}, Ended);
        {stderr, OsPid, Data} ->
            {Out, Err} = maps:get(OsPid, Open, {<<>>, <<>>}),
            collect(Left, Open#{OsPid => {Out, <<Err/binary, Data/binary>>}}, Ended);
        {'DOWN', OsPid, process, Pid, Reason} when is_integer(OsPid) ->
            {Out, Err} = maps:get(OsPid, Open, {<<>>, <<>>}),
            false = is_map_key(Pid, Ended),
            collect(Left, maps:remove(OsPid, Open), Ended#{Pid => {Out, Err, Reason}})
    after ?WITHIN ->
        erlang:error({lost, Left - map_size(Ended)})
    end.

check(Workers) ->
    Ended = collect(length(Workers), #{}, #{}),
    ?assertEqual([], [{N, maps:get(Pid, Ended)} || {N, Pid} <- Workers, maps:get(Pid, Ended) =/= expected(N)]),
    %% What was still on its way for them would be here before this answer.
    #{} = erluv:info(erluv_test:daemon()),
    ?assertEqual([], element(2, process_info(self(), messages))),
    ?assertEqual([], erluv:which_children()).

start(Number, First, Options) ->
    {ok, Pid, _} = erluv:run(script(Number, First), [stdout, stderr, monitor | Options]),
    {Number, Pid}.

nine_hundred_that_live_at_once_lose_nothing_case() ->
    Workers = [start(N, "read x; ", [stdin]) || N <- lists:seq(1, ?MANY)],
    ?assertEqual(?MANY, length(lists:usort(erluv:which_children()))),
    [ok = erluv:send(Pid, <<"go\n">>) || {_, Pid} <- Workers],
    check(Workers).

nine_hundred_that_end_as_they_come_lose_nothing_case() ->
    check([start(N, "", []) || N <- lists:seq(1, ?MANY)]).

nine_hundred_by_fifty_callers_that_wait_lose_nothing_case() ->
    Run = fun(N) ->
        Result = erluv:run(script(N, ""), [sync, stdout, stderr]),
        {Exit, Output} =
            case Result of
                {ok, Streams} -> {normal, Streams};
                {error, [{exit_status, _} = Status | Streams]} -> {Status, Streams}
            end,
        Of = fun(Stream) -> iolist_to_binary(proplists:get_value(Stream, Output)) end,
        {Of(stdout), Of(stderr), Exit} =:= expected(N)
    end,
    Caller = fun(First) ->
        fun() ->
            Right = [Run(N) || N <- lists:seq(First, ?MANY, 50)],
            exit({right, Right, element(2, process_info(self(), messages))})
        end
    end,
    Callers = [spawn_monitor(Caller(First)) || First <- lists:seq(1, 50)],
    Ends = [receive {'DOWN', Ref, process, Pid, Reason} -> Reason end || {Pid, Ref} <- Callers],
    ?assertEqual([], [End || End <- Ends, element(1, End) =/= right orelse element(3, End) =/= []]),
    Right = lists:append([Results || {right, Results, _} <- Ends]),
    ?assertEqual(lists:duplicate(?MANY, true), Right),
    ?assertEqual([], erluv:which_children()).

ten_supervised_workers_are_started_as_often_as_they_end_case() ->
    ok = application:set_env(erluv, respawn, always),
    Crash = os:getenv("ERLUV_TEST_CRASH") =/= false,
    {ok, Supervisor} = supervise(10, 11),
    ok = back(Supervisor, #{}),
    First = workers(Supervisor),
    {_, OsPid} = maps:get(4, First),
    os:cmd("kill -9 " ++ integer_to_list(OsPid)),
    ok = back(Supervisor, #{4 => maps:get(4, First)}),
    ?assertEqual([{N, starts(N, [4])} || N <- lists:seq(1, 10)], starts()),
    Second = workers(Supervisor),
    ?assertEqual(maps:remove(4, First), maps:remove(4, Second)),
    Crash andalso
        begin
            true = erluv_test:crash(),
            ok = back(Supervisor, Second),
            ?assertEqual([{N, 1 + starts(N, [4])} || N <- lists:seq(1, 10)], starts())
        end,
    ?assert(is_process_alive(Supervisor)),
    ok = gen_server:stop(Supervisor),
    ok = erluv_test:until(fun() -> erluv:which_children() =:= [] end).

starts(Number, Again) -> 1 + length([N || N <- Again, N =:= Number]).

a_reader_that_sleeps_costs_the_node_a_window_and_misses_nothing_case() ->
    Before = memory(),
    {ok, Stream} = erluv:stream(["seq", "1", "100000000"]),
    ok = erluv_test:until(fun() -> held() >= 368640 end),
    timer:sleep(500),
    ?assertEqual(368640, held()),
    ?assert(memory() - Before < 1048576),
    ?assertEqual(1000001, numbers(Stream, 1, 1000001)),
    ok = erluv:close(Stream).

a_writer_waits_for_who_does_not_read_and_loses_nothing_case() ->
    {Worker, Flood} = flood(40, 8),
    timer:sleep(500),
    ?assertEqual(40, length(writing(Flood))),
    ok = erluv:kill(Worker, sigusr1),
    ?assertEqual({lists:duplicate(40, written), 40 * 8 * 65536}, drained(Worker, Flood)).

%% A supervisor of so many workers, with that many restarts allowed for good; each start is counted.
supervise(Number, Intensity) ->
    process_flag(trap_exit, true),
    ?MODULE = ets:new(?MODULE, [named_table, public, ordered_set]),
    Specs = [counted(erluv:child_spec(spec(N))) || N <- lists:seq(1, Number)],
    supervisor:start_link(?MODULE, {#{strategy => one_for_one, intensity => Intensity, period => 3600}, Specs}).

spec(Number) -> #{id => Number, cmd => ["sleep", "1000"], restart => permanent, start_timeout => ?WITHIN}.

init(Supervision) -> {ok, Supervision}.

counted(#{start := {erluv, start_worker, [Spec]}} = Child) -> Child#{start := {?MODULE, start_worker, [Spec]}}.

start_worker(#{id := Id} = Spec) ->
    _ = ets:update_counter(?MODULE, Id, 1, {Id, 0}),
    erluv:start_worker(Spec).

starts() -> ets:tab2list(?MODULE).

%% The workers that run, as a map of their pids and numbers by identity.
workers(Supervisor) ->
    maps:from_list([
        {Id, {Pid, OsPid}}
     || {Id, Child, worker, _} <- supervisor:which_children(Supervisor),
        is_pid(Child),
        {ok, Pid, OsPid} <- [erluv:worker(Child)],
        is_map(erluv:info(Pid))
    ]).

%% Waits until all of ten run, these as other ones than before.
back(Supervisor, Before) ->
    erluv_test:until(fun() ->
        Now = workers(Supervisor),
        OsPids = lists:sort([OsPid || {_, OsPid} <- maps:values(Now)]),
        map_size(Now) =:= 10 andalso lists:sort(erluv:which_children()) =:= OsPids andalso
            lists:all(fun({Id, Old}) -> maps:get(Id, Now) =/= Old end, maps:to_list(Before))
    end).

%% Bytes of binaries and of processes, those of the caller's mailbox among them.
memory() ->
    [garbage_collect(Pid) || Pid <- processes()],
    erlang:memory(binary) + erlang:memory(processes).

%% Bytes of output in the caller's mailbox. Another process looks: a process that asks OTP 25 of itself is not told of
%% messages that it has not looked for yet.
held() ->
    Self = self(),
    Look = fun() ->
        {messages, Messages} = process_info(Self, messages),
        exit({held, lists:sum([byte_size(Data) || {stdout, _, Data} <- Messages])})
    end,
    {Looker, Ref} = spawn_monitor(Look),
    receive {'DOWN', Ref, process, Looker, {held, Bytes}} -> Bytes end.

%% Reads numbers, a line each, from this one to that: the last read, or the first wrong line.
numbers(Stream, From, To) -> numbers(Stream, From, To, <<>>).
numbers(Stream, From, To, Begun) ->
    {stdout, Data} = erluv:read(Stream, ?WITHIN),
    Lines = binary:split(<<Begun/binary, Data/binary>>, <<"\n">>, [global]),
    case in_order(Lines, From, To) of
        {more, Next, Rest} -> numbers(Stream, Next, To, Rest);
        Done -> Done
    end.

in_order([Rest], Next, _To) -> {more, Next, Rest};
in_order([Line | Lines], Next, To) ->
    case integer_to_binary(Next) of
        Line when Next =:= To -> To;
        Line -> in_order(Lines, Next + 1, To);
        _ -> {not_next, Next, Line}
    end.

%% A worker that counts its input when it is told to by a signal, and that many writers of that many 64 KiB each.
%% Returns when the worker's pipe is full and much waits.
flood(Writers, Pieces) ->
    Script = "trap go=1 USR1; echo ready; while [ -z \"$go\" ]; do sleep 0.05; done; exec wc -c",
    {ok, Worker, OsPid} = erluv:run(["/bin/sh", "-c", Script], [stdin, stdout, monitor, {env, path()}]),
    receive {stdout, OsPid, <<"ready\n">>} -> ok after ?WITHIN -> erlang:error(not_ready) end,
    Piece = binary:copy(<<"flood-of ">>, 7282),
    Write = fun() ->
        [ok = erluv:send(Worker, binary:part(Piece, 0, 65536)) || _ <- lists:seq(1, Pieces)],
        exit(written)
    end,
    Flood = [spawn_monitor(Write) || _ <- lists:seq(1, Writers)],
    Full = fun() -> maps:get(queued, erluv:info(Worker)) >= min(65536 * Writers div 2, 524288) end,
    ok = erluv_test:until(Full),
    {Worker, Flood}.

path() -> ["PATH=/usr/bin:/bin"].

writing(Flood) -> [Pid || {Pid, _} <- Flood, is_process_alive(Pid)].

%% How the writers ended, and what the worker has counted.
drained(Worker, Flood) ->
    Ends = [receive {'DOWN', Ref, process, Pid, Reason} -> Reason end || {Pid, Ref} <- Flood],
    ok = erluv:send(Worker, eof),
    receive
        {stdout, _, Count} ->
            receive {'DOWN', _, process, Worker, normal} -> ok after ?WITHIN -> erlang:error(no_end) end,
            {Ends, binary_to_integer(string:trim(Count))}
    after ?WITHIN -> erlang:error(no_count)
    end.

%% Reads that many bytes and the rest of the last piece: the same line again and again.
repeated(Stream, Line, Bytes) -> repeated(Stream, Line, Bytes, <<>>).
repeated(_Stream, _Line, Bytes, _Begun) when Bytes =< 0 -> 1000001;
repeated(Stream, Line, Bytes, Begun) ->
    {stdout, Data} = erluv:read(Stream, ?WITHIN),
    Got = <<Begun/binary, Data/binary>>,
    Whole = byte_size(Got) div byte_size(Line),
    case Got of
        <<Lines:(Whole * byte_size(Line))/binary, Rest/binary>> ->
            case binary:copy(Line, Whole) of
                Lines -> repeated(Stream, Line, Bytes - byte_size(Data), Rest);
                _ -> {gap, Bytes}
            end
    end.
