%% @private
%% @doc The process that calls the handlers of one worker's output: the options `print' and `fun/3' of erlexec.
%%
%% erlexec calls them in the process that it has for each OS process. Here only a worker with a handler has one, and it
%% ends with its worker.
-module(erluv_forward).

-export([start/2, run/3, attach/2]).

-include_lib("kernel/include/logger.hrl").

-type handlers() :: #{stdout | stderr => erluv_options:handler()}.
-type answer() :: {ok, pid(), non_neg_integer()} | {error, term()}.

%% @doc Starts the process; it waits for {@link run/3} or {@link attach/2}.
-spec start(handlers(), pid()) -> pid().
start(Handlers, Owner) ->
    spawn(fun() -> wait(Handlers, Owner) end).

%% @doc Asks for the worker from the process, which is then told of its end, and tells the owner where `Tell' is true.
-spec run(pid(), fun(() -> answer()), boolean()) -> answer().
run(Forward, Ask, Tell) ->
    Ref = monitor(process, Forward),
    Forward ! {run, self(), Ref, Ask, Tell},
    receive
        {Ref, Answer} ->
            true = demonitor(Ref, [flush]),
            Answer;
        {'DOWN', Ref, process, Forward, Reason} ->
            {error, Reason}
    end.

%% @doc Tells the process which worker it serves, or that there is none.
-spec attach(pid(), answer()) -> ok.
attach(Forward, Answer) ->
    Forward ! {attach, Answer},
    ok.

-spec wait(handlers(), pid()) -> ok.
wait(Handlers, Owner) ->
    Ref = monitor(process, Owner),
    receive
        {run, From, Tag, Ask, Tell} ->
            true = demonitor(Ref, [flush]),
            Answer = Ask(),
            From ! {Tag, Answer},
            serve(Answer, Handlers, [Owner || Tell]);
        {attach, Answer} ->
            true = demonitor(Ref, [flush]),
            serve(Answer, Handlers, []);
        {'DOWN', Ref, process, Owner, _} ->
            ok
    end.

-spec serve(answer(), handlers(), [pid()]) -> ok.
serve({error, _}, _Handlers, _Tell) -> ok;
serve({ok, Pid, OsPid}, Handlers, Tell) -> loop(Pid, OsPid, monitor(process, Pid), Handlers, Tell, undefined).

%% All output of a worker comes before its end, and its end as the daemon tells it before the end that the monitor tells
%% or with it.
-spec loop(pid(), non_neg_integer(), reference(), handlers(), [pid()], term()) -> ok.
loop(Pid, OsPid, Ref, Handlers, Tell, Told) ->
    receive
        {Stream, OsPid, Data} when Stream =:= stdout; Stream =:= stderr ->
            loop(Pid, OsPid, Ref, handle(Stream, Pid, OsPid, Data, Handlers), Tell, Told);
        {'DOWN', OsPid, process, Pid, Reason} ->
            loop(Pid, OsPid, Ref, Handlers, Tell, {told, Reason});
        {'DOWN', Ref, process, Pid, Reason} ->
            Real =
                case Told of
                    {told, First} -> First;
                    undefined -> Reason
                end,
            _ = [Owner ! {'DOWN', OsPid, process, Pid, Real} || Owner <- Tell],
            ok
    end.

%% A handler that fails has its worker stopped, as it ends the worker's process in erlexec; later output goes nowhere.
-spec handle(stdout | stderr, pid(), non_neg_integer(), binary(), handlers()) -> handlers().
handle(Stream, Pid, OsPid, Data, Handlers) ->
    try
        case Handlers of
            #{Stream := print} -> io:format("Got ~w from ~w: ~tp\n", [Stream, OsPid, Data]);
            #{Stream := Fun} -> Fun(Stream, OsPid, Data);
            #{} -> ok
        end,
        Handlers
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR("erluv: the handler of ~w of process ~w failed: ~tp", [Stream, OsPid, {Class, Reason, Stack}]),
            exit(Pid, handler_failed),
            #{}
    end.
