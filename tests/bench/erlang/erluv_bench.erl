%% @doc The measuring loops of the benchmark; they run inside the node that uses the system which is measured.
%%
%% The bench calls `start(Work, Arguments)', then `await(Milliseconds)' until the answer is not `running': a text of
%% `name=number' with blanks between. An exception of the work is raised there, and fails the benchmark.
%% Times are microseconds and rates are for a second, unless the name of the work says otherwise.
-module(erluv_bench).

-export([start/2, await/1, collect/0]).
-export([one/4, many/4, many/3, output/5, feed/5, drop/3, echo/3, direct/2]).
-export([hold/3, list/2, release/1, deaf/3, stuck/4, leave/0]).

%% How many call at once where many do, and how many hold what is held.
-define(CALLERS, 32).

start(Work, Arguments) ->
    put(?MODULE, spawn_monitor(fun() -> exit({done, apply(?MODULE, Work, Arguments)}) end)),
    started.

await(Milliseconds) ->
    {Pid, Ref} = get(?MODULE),
    receive
        {'DOWN', Ref, process, Pid, {done, Values}} -> lists:flatten(lists:join($\s, [text(Value) || Value <- Values]));
        {'DOWN', Ref, process, Pid, Reason} -> error(Reason)
    after Milliseconds -> running
    end.

text({Name, Number}) -> io_lib:format("~s=~.3f", [Name, float(Number)]).

%% @doc Frees what the node has no use for, before its memory is looked at.
collect() ->
    [erlang:garbage_collect(Pid) || Pid <- processes()],
    ok.

%% @doc Starts and ends of a program, one at a time.
one(System, Program, Count, Options) ->
    Once = fun(_) -> erluv_bench_way:run(System, Program, Options) end,
    lists:foreach(Once, lists:seq(1, Count div 10 + 1)),
    percentiles([time(Once) || _ <- lists:seq(1, Count)]).

many(System, Program, Count) -> many(System, Program, Count, ?CALLERS).

%% @doc Starts and ends of a program, by so many callers at once.
many(System, Program, Count, Callers) ->
    Each = Count div Callers,
    Once = fun(_) -> erluv_bench_way:run(System, Program, []) end,
    Time = parallel(Callers, fun() -> lists:foreach(Once, lists:seq(1, Each)) end),
    [{rate, Each * Callers / Time * 1.0e6}].

%% @doc What a command writes, in million bytes a second; so many of them at once.
output(System, Command, Bytes, Parallel, Options) ->
    Run = fun() -> right(erluv_bench_way:output(System, Command, Options), Bytes) end,
    Time = parallel(Parallel, Run),
    [{rate, Bytes * Parallel / Time}].

%% @doc What a program that counts reads, in million bytes a second.
feed(System, Counter, PieceSize, Total, _) ->
    Feed = fun(Piece, Count) -> erluv_bench_way:feed(System, ["/usr/bin/wc", "-c"], Counter, Piece, Count) end,
    pieces(Feed, PieceSize, Total).

%% @doc What the limit's C program reads without a worker, in million bytes a second.
drop(System, PieceSize, Total) ->
    pieces(fun(Piece, Count) -> erluv_bench_way:drop(System, Piece, Count) end, PieceSize, Total).

pieces(Feed, PieceSize, Total) ->
    Piece = binary:copy(<<7>>, PieceSize),
    Count = Total div PieceSize,
    Time = parallel(1, fun() -> right(Feed(Piece, Count), Count * PieceSize) end),
    [{rate, Count * PieceSize / Time}].

right(Bytes, Bytes) -> ok;
right(Got, Expected) -> error({wrong_byte_count, Got, Expected}).

%% @doc 64 bytes through cat and back, so many times.
echo(System, Program, Count) ->
    Talker = erluv_bench_way:talk_start(System, Program),
    Values = echoes(System, Talker, Count),
    erluv_bench_way:talk_end(System, Talker),
    Values.

%% @doc 64 bytes to the limit's C program and back.
direct(System, Count) -> echoes(System, direct, Count).

echoes(System, Talker, Count) ->
    Once = fun(Number) -> ok = erluv_bench_way:talk(System, Talker, <<Number:512>>) end,
    lists:foreach(Once, lists:seq(1, Count div 10 + 1)),
    percentiles([time(Once) || _ <- lists:seq(1, Count)]).

%% @doc Starts so many programs that sleep; they run until `release'. Seconds.
hold(System, Program, Count) ->
    Self = self(),
    Shares = [Count div ?CALLERS + min(1, max(0, Count rem ?CALLERS - I)) || I <- lists:seq(0, ?CALLERS - 1)],
    Before = now_us(),
    Holders = [spawn_link(fun() -> holder(Self, System, Program, Share) end) || Share <- Shares],
    [receive {holds, Holder} -> true = unlink(Holder) end || Holder <- Holders],
    Time = now_us() - Before,
    true = register(erluv_bench_holders, spawn(fun() -> keep(Holders) end)),
    [{start, Time / 1.0e6}, {rate, Count / Time * 1.0e6}].

keep(Holders) ->
    receive {holders, From} -> From ! {holders, Holders} end.

holder(Told, System, Program, Count) ->
    Held = [erluv_bench_way:hold(System, Program) || _ <- lists:seq(1, Count)],
    [erluv_bench_way:held(System, One) || One <- Held],
    Told ! {holds, self()},
    erlang:garbage_collect(),
    receive
        {release, From} ->
            erluv_bench_way:kill(System, Held),
            [ok = erluv_bench_way:gone(System, One) || One <- Held],
            From ! {released, self()}
    end.

%% @doc How long it takes to list them, in milliseconds: the shortest of three.
list(System, Count) ->
    [{list, lists:min([time(fun(_) -> erluv_bench_way:list(System, Count) end) || _ <- lists:seq(1, 3)]) / 1.0e3}].

%% @doc Kills them, and waits until the end of each is told. Seconds.
release(System) ->
    erluv_bench_holders ! {holders, self()},
    Holders = receive {holders, All} -> All end,
    Before = now_us(),
    ok = release_some(Holders, at_once(System)),
    [{kill, (now_us() - Before) / 1.0e6}].

release_some([], _) ->
    ok;
release_some(Holders, Most) ->
    {Some, Others} = lists:split(min(Most, length(Holders)), Holders),
    %% One that has failed at it, or before, has to fail the measurement.
    Monitored = [{Holder, monitor(process, Holder)} || Holder <- Some],
    [Holder ! {release, self()} || Holder <- Some],
    [released(One) || One <- Monitored],
    release_some(Others, Most).

released({Holder, Ref}) ->
    receive
        {released, Holder} -> true = demonitor(Ref, [flush]);
        {'DOWN', Ref, process, Holder, Reason} -> error(Reason)
    end.

%% The VM's helper for ports hangs for ever when more than 8192 of its processes end at the same moment: the pipe that
%% its signal handler writes to is full then, and only the interrupted code would read it (seen in OTP 25).
at_once(port) -> 8;
at_once(_) -> ?CALLERS.

%% @doc Starts a command that writes to a process which does not receive, and returns after that many milliseconds.
deaf(System, Command, Milliseconds) ->
    stay(fun() -> erluv_bench_way:deaf(System, Command) end, Milliseconds).

%% @doc Sends to a program which does not read, as often, and returns after that many milliseconds.
stuck(System, Program, Count, Milliseconds) ->
    Piece = binary:copy(<<7>>, 65536),
    Send = fun() ->
        To = erluv_bench_way:stuck(System, Program),
        lists:foreach(fun(_) -> To(Piece), receive_all() end, lists:seq(1, Count)),
        %% As a sender does that wants to know: what it is told of an overflow.
        (fun Stay() -> receive _ -> Stay() end end)()
    end,
    stay(Send, Milliseconds).

receive_all() ->
    receive _ -> receive_all() after 0 -> ok end.

stay(Fun, Milliseconds) ->
    Self = self(),
    Stays = spawn(fun() ->
        true = register(erluv_bench_stays, self()),
        Self ! begins,
        _ = Fun(),
        Self ! {returns, self()},
        receive never -> ok end
    end),
    Ref = monitor(process, Stays),
    receive begins -> ok end,
    receive
        {'DOWN', Ref, process, Stays, Reason} -> error(Reason)
    after Milliseconds -> ok
    end,
    [].

%% @doc Ends what `deaf' or `stuck' has started, with the process that it belongs to.
leave() ->
    Ref = monitor(process, erluv_bench_stays),
    exit(whereis(erluv_bench_stays), kill),
    receive {'DOWN', Ref, process, _, _} -> ok end,
    ok = erluv_bench_way:unstick(),
    [].

%% The microseconds that all of them take together.
parallel(Count, Fun) ->
    Self = self(),
    Run = fun() ->
        receive go -> ok end,
        Fun(),
        Self ! {done, self()}
    end,
    Started = [spawn_link(Run) || _ <- lists:seq(1, Count)],
    Before = now_us(),
    [Pid ! go || Pid <- Started],
    [receive {done, Pid} -> ok end || Pid <- Started],
    now_us() - Before.

%% Microseconds, with the fraction.
time(Fun) ->
    Before = erlang:monotonic_time(nanosecond),
    Fun(Before),
    (erlang:monotonic_time(nanosecond) - Before) / 1.0e3.

now_us() -> erlang:monotonic_time(nanosecond) / 1.0e3.

percentiles(Times) ->
    Sorted = lists:sort(Times),
    At = fun(Percent) -> lists:nth(min(length(Sorted), length(Sorted) * Percent div 100 + 1), Sorted) end,
    [{p50, At(50)}, {p99, At(99)}].
