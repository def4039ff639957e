%% @doc A worker under an OTP supervisor.
%%
%% The child of the supervisor is a small process on this node, which owns the worker and monitors it. Why not the
%% worker's own pid, which links, monitors and exit signals reach from here: `supervisor:count_children/1' asks
%% `is_process_alive/1' of each child, which fails for a pid of another node and takes the supervisor down. And
%% someone here has to own the worker's output, to wait for a daemon that is being respawned without using up the
%% supervisor's restarts, and to say by its own exit reason what an exit code means.
%%
%% The process sleeps (hibernated) as long as its worker has nothing to say.
-module(erluv_worker).
-behaviour(gen_server).

-export([start_link/1, child_spec/1, worker/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").

-type spec() :: #{
    id => term(),
    cmd := erluv:cmd(),
    options => [term()] | map(),
    node => erluv_choose:which(),
    %% How long to wait for a daemon, in milliseconds; 5000 by default.
    start_timeout => timeout(),
    %% Exit reasons of the child by what the worker's end is: a code, a signal, or the daemon's reason itself.
    reasons => #{term() => term()},
    restart => supervisor:restart(),
    significant => boolean(),
    shutdown => supervisor:shutdown(),
    modules => [module()]
}.
-export_type([spec/0]).

-record(state, {
    id :: term(),
    pid :: pid(),
    os_pid :: erluv:ospid() | undefined,
    ref :: reference(),
    reasons :: #{term() => term()},
    acks :: erluv_acks:acks(),
    ended = false :: boolean()
}).

%% @doc A child specification of the map. `id' is the command where it is not given; the worker's `kill_timeout' is
%% half a second below the supervisor's `shutdown', unless the options have one, so that the worker has ended by SIGKILL
%% before the supervisor gives up.
-spec child_spec(spec()) -> supervisor:child_spec().
child_spec(#{cmd := Cmd} = Spec) ->
    Own = maps:with([restart, significant, shutdown, modules], Spec),
    Defaults = #{restart => permanent, shutdown => 5000, modules => [?MODULE]},
    Child = maps:merge(Defaults, Own),
    Id = maps:get(id, Spec, Cmd),
    Start = maps:without([restart, significant, modules], Spec),
    Argument = Start#{id => Id, shutdown => maps:get(shutdown, Child)},
    Child#{id => Id, type => worker, start => {erluv, start_worker, [Argument]}}.

%% @doc Starts the process and its worker, for a supervisor or any other process, which it is linked with.
-spec start_link(spec()) -> {ok, pid()} | ignore | {error, term()}.
start_link(#{cmd := _} = Spec) -> gen_server:start_link(?MODULE, Spec, []);
start_link(Spec) -> {error, {badspec, Spec}}.

%% @doc The worker that the process keeps: its own pid, and its number at the system.
-spec worker(pid()) -> {ok, pid(), erluv:ospid() | undefined} | {error, noproc}.
worker(Keeper) ->
    case erluv_call:worker(Keeper, worker, 5000) of
        {ok, Pid, OsPid} -> {ok, Pid, OsPid};
        {error, _} -> {error, noproc}
    end.

-spec init(spec()) -> {ok, #state{}, hibernate} | {stop, term()}.
init(#{cmd := Cmd} = Spec) ->
    process_flag(trap_exit, true),
    Options = options(Spec),
    case start(Spec, Options, erluv_call:deadline(maps:get(start_timeout, Spec, 5000))) of
        {ok, Pid, OsPid, Ref} ->
            Reasons = maps:get(reasons, Spec, #{}),
            Id = maps:get(id, Spec, Cmd),
            Acks = erluv_acks:new(Options),
            {ok, #state{id = Id, pid = Pid, os_pid = OsPid, ref = Ref, reasons = Reasons, acks = Acks}, hibernate};
        {error, Reason} ->
            {stop, Reason}
    end.

%% A daemon that is lost or leaves may be lost here before erluv_node has heard of it. Its worker's end is what has a
%% supervisor start this process, so it is met here more often than not; each try that fails would use up a restart.
-spec start(spec(), [term()], integer() | infinity) ->
    {ok, pid(), non_neg_integer() | undefined, reference()} | {error, term()}.
start(#{cmd := Cmd} = Spec, Options, Deadline) ->
    case erluv_choose:node(maps:get(node, Spec, default), erluv_call:left(Deadline)) of
        {ok, Node} ->
            Result = erluv_call:spawn_worker(Node, Cmd, Options),
            case is_lost(Result) andalso erluv_call:left(Deadline) > 0 of
                true ->
                    timer:sleep(50),
                    start(Spec, Options, Deadline);
                false ->
                    Result
            end;
        {error, Reason} ->
            {error, Reason}
    end.

%% The answers of a daemon that is not there for the moment, or will not be.
-spec is_lost({ok, pid(), non_neg_integer() | undefined, reference()} | {error, term()}) -> boolean().
is_lost({error, noconnection}) -> true;
is_lost({error, child_down}) -> true;
is_lost({error, {refused, {stopping, _}}}) -> true;
is_lost(_) -> false.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}, hibernate}.
handle_call(worker, _From, #state{pid = Pid, os_pid = OsPid} = State) ->
    {reply, {ok, Pid, OsPid}, State, hibernate};
handle_call(Request, _From, State) ->
    {reply, {error, {unknown_request, Request}}, State, hibernate}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, hibernate}.
handle_cast(_Request, State) ->
    {noreply, State, hibernate}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}, hibernate} | {stop, term(), #state{}}.
handle_info({Stream, Pid, Data}, #state{pid = Pid} = State) when Stream =:= stdout; Stream =:= stderr ->
    ok = taken(Stream, Data, State),
    {noreply, State, hibernate};
handle_info({'DOWN', Ref, process, _Pid, Reason}, #state{ref = Ref} = State) ->
    {stop, reason(Reason, State), State#state{ended = true}};
handle_info({'EXIT', _Other, Reason}, State) ->
    %% A process that somebody linked with this one: as for every process that traps exits by need, an end that is not
    %% normal is passed on.
    case Reason of
        normal -> {noreply, State, hibernate};
        _ -> {stop, Reason, State}
    end;
handle_info(_Message, State) ->
    {noreply, State, hibernate}.

%% The worker goes the way of SIGTERM, kill_timeout and SIGKILL, and is waited for. A supervisor whose time is up kills
%% this process: the worker has lost its owner and ends all the same.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{ended = true}) ->
    ok;
terminate(_Reason, #state{pid = Pid} = State) ->
    exit(Pid, shutdown),
    ended(State).

-spec ended(#state{}) -> ok.
ended(#state{pid = Pid, ref = Ref} = State) ->
    receive
        {'DOWN', Ref, process, Pid, _} ->
            ok;
        {Stream, Pid, Data} when Stream =:= stdout; Stream =:= stderr ->
            ok = taken(Stream, Data, State),
            ended(State)
    end.

-spec taken(stdout | stderr, binary(), #state{}) -> ok.
taken(Stream, Data, #state{pid = Pid, acks = Acks} = State) ->
    ok = log(Stream, Data, State),
    erluv_acks:read(Acks, Pid, Stream, byte_size(Data)).

-spec log(stdout | stderr, binary(), #state{}) -> ok.
log(Stream, Data, #state{id = Id, os_pid = OsPid}) ->
    Line = string:trim(Data, trailing, "\n"),
    Metadata = #{erluv => #{id => Id, os_pid => OsPid, stream => Stream}},
    case Stream of
        stdout -> ?LOG_INFO("~tp: ~ts", [Id, printable(Line)], Metadata);
        stderr -> ?LOG_NOTICE("~tp: ~ts", [Id, printable(Line)], Metadata)
    end.

-spec printable(binary()) -> unicode:chardata().
printable(Line) ->
    case unicode:characters_to_list(Line) of
        Characters when is_list(Characters) -> Line;
        _ -> io_lib:format("~tp", [Line])
    end.

%% The reason of the child: what the specification says of the code, the signal or the reason, else the daemon's.
-spec reason(term(), #state{}) -> term().
reason(Reason, #state{reasons = Reasons}) ->
    Key =
        case Reason of
            normal -> 0;
            {exited, Code} -> Code;
            {signaled, Signal} -> Signal;
            Other -> Other
        end,
    case Reasons of
        #{Key := Mapped} -> Mapped;
        #{Reason := Mapped} -> Mapped;
        #{} -> Reason
    end.

%% The process is the worker's owner; what it is sent is logged, a line at a time, with a window that a program which
%% writes faster than the log can take has to wait at.
-spec options(spec()) -> [term()].
options(Spec) ->
    Given = erluv_options:list(maps:get(options, Spec, [])),
    Logs = lists:member(stdout, Given) orelse lists:member(stderr, Given),
    [{lines, 4096} || Logs, not lists:keymember(lines, 1, Given)] ++
        [{window, 65536} || Logs, not lists:keymember(window, 1, Given)] ++
        [{kill_timeout, kill_timeout(maps:get(shutdown, Spec, 5000))} || not lists:keymember(kill_timeout, 1, Given)] ++
        Given.

-spec kill_timeout(supervisor:shutdown()) -> non_neg_integer().
kill_timeout(brutal_kill) -> 0;
kill_timeout(infinity) -> 5000;
kill_timeout(Time) when is_integer(Time) -> max(0, min(Time - 500, 86400000)).
