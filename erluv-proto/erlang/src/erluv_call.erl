%% @private
%% @doc Calls to a daemon and to its workers, with what can go wrong as a result instead of an exit.
%%
%% A late answer is dropped: the node calls with an alias.
-module(erluv_call).

-export([daemon/3, worker/2, worker/3, all/3, spawn_worker/3, deadline/1, left/1]).

-type failure() :: {error, timeout | noproc | {nodedown, node()} | not_alive}.
-export_type([failure/0]).

%% @doc Asks the process `erluv' of a daemon. The answer is the daemon's; see erluv-protocol(7).
-spec daemon(node(), term(), timeout()) -> term() | failure().
daemon(Node, _Request, _Timeout) when Node =:= node() ->
    %% The process `erluv' here is erluv_node, which runs nothing.
    {error, {nodedown, Node}};
daemon(Node, Request, Timeout) ->
    case call({erluv, Node}, Request, Timeout) of
        {error, noproc} -> {error, {nodedown, Node}};
        Answer -> Answer
    end.

%% @doc Asks a worker. `{error, noproc}' says that it has ended, also when it ended while it was asked.
-spec worker(pid(), term(), timeout()) -> term() | failure().
worker(Pid, Request, Timeout) ->
    case call(Pid, Request, Timeout) of
        {error, {nodedown, _}} -> {error, noproc};
        Answer -> Answer
    end.

%% @doc Asks a worker and waits for its answer as long as that takes.
%%
%% Of the three messages that a call costs the connection (monitor, request, demonitor) this needs the request alone: the
%% daemon answers for a worker that is no more, and that the daemon is lost is told by a process here, whose life is the
%% connection's. Where that is not known, it is a call as any other. The tag `[alias | Ref]' is OTP's own, which
%% gen:reply/2 and the daemon answer to.
-dialyzer({no_improper_lists, worker/2}).
-spec worker(pid(), term()) -> term() | failure().
worker(Pid, Request) ->
    case erluv_node:connection(node(Pid)) of
        {ok, Connection} ->
            Ref = monitor(process, Connection, [{alias, reply_demonitor}]),
            case erlang:send(Pid, {'$gen_call', {self(), [alias | Ref]}, Request}, [noconnect]) of
                ok ->
                    receive
                        {[alias | Ref], Answer} -> Answer;
                        {'DOWN', Ref, process, Connection, _Lost} -> {error, noproc}
                    end;
                noconnect ->
                    true = demonitor(Ref, [flush]),
                    {error, noproc}
            end;
        {error, unknown} ->
            worker(Pid, Request, infinity)
    end.

%% @doc Asks several daemons at once; the answers in the order of the nodes, without those that gave none.
-spec all([node()], term(), timeout()) -> [{node(), term()}].
all([Node], Request, Timeout) ->
    case daemon(Node, Request, Timeout) of
        {error, {nodedown, Node}} -> [];
        {error, timeout} -> [];
        Answer -> [{Node, Answer}]
    end;
all(Nodes, Request, Timeout) ->
    Deadline = deadline(Timeout),
    Sent = [{Node, gen_server:send_request({erluv, Node}, Request)} || Node <- Nodes, Node =/= node()],
    lists:append([
        case gen_server:receive_response(Id, left(Deadline)) of
            {reply, Answer} -> [{Node, Answer}];
            timeout -> [];
            {error, _} -> []
        end
     || {Node, Id} <- Sent
    ]).

%% @doc Starts a worker by spawn, with a monitor that is set as it starts: no end can be missed, and the reason is the
%% daemon's own. The number is `undefined' for a worker that has ended already.
%%
%% The answer to `info', or that there is nobody to give one, comes after a launch that failed has been told.
-spec spawn_worker(node(), term(), [term()]) ->
    {ok, pid(), non_neg_integer() | undefined, reference()} | {error, term()}.
spawn_worker(Node, Cmd, Options) ->
    {Pid, Ref} = erlang:spawn_opt(Node, erluv, run, [Cmd, Options], [monitor]),
    Info = worker(Pid, info, infinity),
    receive
        {'DOWN', Ref, process, Pid, {What, _} = Failure} when
            What =:= refused; What =:= badopt; What =:= badcommand; What =:= error
        ->
            {error, Failure};
        {'DOWN', Ref, process, Pid, {launch_failed, _, _} = Failure} ->
            {error, Failure};
        {'DOWN', Ref, process, Pid, Failure} when
            Failure =:= child_down; Failure =:= noconnection; Failure =:= notsup
        ->
            {error, Failure}
    after 0 ->
        case Info of
            #{os_pid := OsPid} -> {ok, Pid, OsPid, Ref};
            _ -> {ok, Pid, undefined, Ref}
        end
    end.

-spec call(pid() | {atom(), node()}, term(), timeout()) -> term() | failure().
call(To, Request, Timeout) ->
    try
        gen_server:call(To, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:{{nodedown, Node}, _} -> {error, {nodedown, Node}};
        exit:{noconnection, _} -> {error, {nodedown, node_of(To)}};
        exit:{_Ended, _} -> {error, noproc}
    end.

-spec node_of(pid() | {atom(), node()}) -> node().
node_of({_, Node}) -> Node;
node_of(Pid) -> node(Pid).

%% @doc When a time that begins now is over, for {@link left/1}.
-spec deadline(timeout()) -> integer() | infinity.
deadline(infinity) -> infinity;
deadline(Timeout) when is_integer(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% @doc The milliseconds that are left of it.
-spec left(integer() | infinity) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
