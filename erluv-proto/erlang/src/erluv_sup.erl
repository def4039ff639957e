%% @doc The supervisor of what runs on the node: the scope of `pg', the process `erluv', and daemons started from here.
%%
%% `rest_for_one', in this order: `erluv_node' joins groups of the scope, and a daemon announces itself to `erluv_node'.
-module(erluv_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    case supervisor:start_link({local, ?MODULE}, ?MODULE, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Scope = #{id => pg, start => {pg, start_link, [erluv_choose:scope()]}, modules => [pg]},
    Node = #{id => node, start => {erluv_node, start_link, []}},
    Daemons = #{id => daemons, start => {erluv_daemon_sup, start_link, []}, type => supervisor, shutdown => infinity},
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 30}, [Scope, Node, Daemons]}}.
