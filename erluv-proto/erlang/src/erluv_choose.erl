%% @private
%% @doc Which daemon serves a request: a named one, the one that announced itself first, or one of all.
%%
%% Each erluv_node is a member of a group of `pg' for each daemon that serves its node; the group has the daemon's name.
%% So every process reads from a table which daemons there are, here and in the cluster, and nothing is asked for it.
-module(erluv_choose).

-export([node/2, nodes/0, cluster/0, scope/0]).

-type which() :: default | first | spread | node().
-export_type([which/0]).

%% @doc The scope of `pg'; the process `erluv' has the shorter name.
-spec scope() -> erluv_pg.
scope() -> erluv_pg.

%% @doc Chooses, and waits up to `Timeout' milliseconds for a daemon where there is none.
%%
%% `default' is the application's setting `node', else its setting `choose'.
-spec node(which(), timeout()) -> {ok, node()} | {error, no_daemon | not_started | {nodedown, node()}}.
node(default, Timeout) ->
    case application:get_env(erluv, node, undefined) of
        undefined ->
            case application:get_env(erluv, choose, first) of
                Fun when is_function(Fun, 1) -> by_fun(Fun, Timeout);
                spread -> node(spread, Timeout);
                _ -> node(first, Timeout)
            end;
        Node when is_atom(Node) ->
            node(Node, Timeout)
    end;
node(Which, Timeout) ->
    case pick(Which) of
        {ok, Node} -> {ok, Node};
        none -> wait(Which, Timeout)
    end.

%% @doc The daemons that serve this node and may be chosen, in the order in which they announced themselves.
-spec nodes() -> [node()].
nodes() ->
    allowed(erluv_node:daemons()).

%% @doc All daemons of the cluster, each with the nodes that it serves.
-spec cluster() -> #{node() => [node()]}.
cluster() ->
    try
        maps:from_list([
            {Daemon, lists:usort([erlang:node(Pid) || Pid <- pg:get_members(scope(), Daemon)])}
         || Daemon <- pg:which_groups(scope())
        ])
    catch
        error:badarg -> #{}
    end.

-spec pick(which()) -> {ok, node()} | none.
pick(first) ->
    case ?MODULE:nodes() of
        [Node | _] -> {ok, Node};
        [] -> none
    end;
pick(spread) ->
    case allowed(local_groups()) of
        [] -> none;
        Nodes -> {ok, lists:nth(rand:uniform(length(Nodes)), Nodes)}
    end;
pick(Node) ->
    case lists:member(Node, erluv_node:daemons()) of
        true -> {ok, Node};
        false -> none
    end.

-spec by_fun(fun(([node()]) -> node()), timeout()) -> {ok, node()} | {error, no_daemon | not_started}.
by_fun(Fun, Timeout) ->
    case node(first, Timeout) of
        {ok, _} -> {ok, Fun(?MODULE:nodes())};
        {error, Reason} -> {error, Reason}
    end.

-spec wait(which(), timeout()) -> {ok, node()} | {error, no_daemon | not_started | {nodedown, node()}}.
wait(Which, Timeout) ->
    Wanted =
        case Which of
            first -> settled();
            spread -> settled();
            Node -> [Node]
        end,
    case erluv_node:wait(Wanted, Timeout) of
        {ok, Found} -> {ok, Found};
        {error, no_daemon} when Which =/= first, Which =/= spread -> {error, {nodedown, Which}};
        {error, Reason} -> {error, Reason}
    end.

-spec local_groups() -> [node()].
local_groups() ->
    try
        [Node || Node <- pg:which_groups(scope()), pg:get_local_members(scope(), Node) =/= []]
    catch
        error:badarg -> []
    end.

-spec allowed([node()]) -> [node()].
allowed(Nodes) ->
    case settled() of
        any -> Nodes;
        Settled -> [Node || Node <- Nodes, lists:member(Node, Settled)]
    end.

-spec settled() -> any | [node()].
settled() ->
    case application:get_env(erluv, nodes, []) of
        [] -> any;
        Nodes -> Nodes
    end.
