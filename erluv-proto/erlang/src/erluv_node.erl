%% @doc The process `erluv' of the node: knows the daemons that serve it, and gives the order to respawn.
%%
%% A daemon announces itself to this name at each connect. One that was there before this process is found by asking
%% each hidden node for its `info'. The life of a daemon is the table `next/2'; this process only carries out what the
%% table says.
%%
%% No request passes through here: the daemons are read from a table, and workers are asked for from the daemon itself.
-module(erluv_node).
-behaviour(gen_server).

-export([start_link/0, daemons/0, connection/1, states/0, wait/2, subscribe/1, unsubscribe/1, respawn/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([next/2]).

-include_lib("kernel/include/logger.hrl").

-define(TABLE, erluv_daemons).
-define(CONNECTIONS, erluv_connections).

-type life() :: absent | asked | up | crashed.
-type event() ::
    node_up | {info, up | crashed | other} | announced | {child_down, term()} | respawned | not_respawned | node_down.
-type action() :: ask | add | remove | {respawn, term()} | {tell, up | down | respawned}.
-type respawn() ::
    always | {always, Max :: pos_integer(), Seconds :: pos_integer()} | never | fun((node(), term()) -> boolean()).
-export_type([life/0, event/0, action/0, respawn/0]).

-record(state, {
    lives = #{} :: #{node() => asked | up | crashed},
    requests :: gen_server:request_id_collection(),
    subscribers = #{} :: #{pid() => reference()},
    waiting = #{} :: #{reference() => {gen_server:from(), any | [node()]}},
    respawned = #{} :: #{node() => [integer()]},
    next = 1 :: pos_integer()
}).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    gen_server:start_link({local, erluv}, ?MODULE, [], []).

%% @doc The daemons that serve this node, in the order in which they announced themselves.
-spec daemons() -> [node()].
daemons() ->
    try
        [Node || {_, Node} <- ets:tab2list(?TABLE)]
    catch
        error:badarg -> []
    end.

%% @doc A process of this node that lives as long as a daemon serves it on the present connection: who waits for an
%% answer monitors that, which costs the connection nothing.
-spec connection(node()) -> {ok, pid()} | {error, unknown}.
connection(Node) ->
    try ets:lookup(?CONNECTIONS, Node) of
        [{Node, Pid}] -> {ok, Pid};
        [] -> {error, unknown}
    catch
        error:badarg -> {error, unknown}
    end.

%% @doc What is known of each daemon.
-spec states() -> #{node() => asked | up | crashed}.
states() ->
    try
        gen_server:call(erluv, states)
    catch
        exit:_ -> #{}
    end.

%% @doc Waits until one of the nodes, or any, serves this node: `Timeout' in milliseconds.
-spec wait(any | [node()], timeout()) -> {ok, node()} | {error, no_daemon | not_started}.
wait(Which, Timeout) ->
    try
        gen_server:call(erluv, {wait, Which, Timeout}, infinity)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc From now on the process gets `{erluv, Node, up | down | respawned}'.
-spec subscribe(pid()) -> ok | {error, not_started}.
subscribe(Pid) -> subscription({subscribe, Pid}).

-spec unsubscribe(pid()) -> ok | {error, not_started}.
unsubscribe(Pid) -> subscription({unsubscribe, Pid}).

-spec subscription({subscribe | unsubscribe, pid()}) -> ok | {error, not_started}.
subscription(Request) ->
    try
        gen_server:call(erluv, Request)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc Gives the order to respawn by hand, whatever the setting says.
-spec respawn(node()) -> ok | {error, term()}.
respawn(Node) ->
    case erluv_call:daemon(Node, respawn, 10000) of
        ok ->
            gen_server:cast(erluv, {respawned, Node});
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc The life of a daemon as this node sees it: the next state, and what to do.
%%
%% A crash is told by the privileged half on a connection of its own, after the `nodedown' of the one before. The
%% unprivileged half announces itself, so a crashed daemon that does has been respawned, by whomever.
-spec next(life(), event()) -> {life(), [action()]}.
next(absent, node_up) -> {asked, [ask]};
next(absent, announced) -> {up, [add, {tell, up}]};
next(absent, {child_down, Reason}) -> {crashed, [{respawn, Reason}]};
next(absent, {info, _}) -> {absent, []};
next(absent, respawned) -> {absent, []};
next(absent, not_respawned) -> {absent, []};
next(absent, node_down) -> {absent, []};
next(asked, node_up) -> {asked, []};
next(asked, announced) -> {up, [add, {tell, up}]};
next(asked, {child_down, Reason}) -> {crashed, [{respawn, Reason}]};
next(asked, {info, up}) -> {up, [add, {tell, up}]};
next(asked, {info, crashed}) -> {crashed, [{respawn, unknown}]};
next(asked, {info, other}) -> {absent, []};
next(asked, respawned) -> {asked, []};
next(asked, not_respawned) -> {asked, []};
next(asked, node_down) -> {absent, []};
next(up, node_up) -> {up, []};
next(up, announced) -> {up, []};
next(up, {child_down, Reason}) -> {crashed, [remove, {tell, down}, {respawn, Reason}]};
next(up, {info, _}) -> {up, []};
next(up, respawned) -> {up, []};
next(up, not_respawned) -> {up, []};
next(up, node_down) -> {absent, [remove, {tell, down}]};
next(crashed, node_up) -> {crashed, []};
next(crashed, announced) -> {up, [add, {tell, respawned}]};
next(crashed, {child_down, _}) -> {crashed, []};
next(crashed, {info, _}) -> {crashed, []};
next(crashed, respawned) -> {up, [add, {tell, respawned}]};
next(crashed, not_respawned) -> {crashed, []};
next(crashed, node_down) -> {absent, []}.

-spec init([]) -> {ok, #state{}}.
init([]) ->
    process_flag(trap_exit, true),
    ?TABLE = ets:new(?TABLE, [ordered_set, protected, named_table, {read_concurrency, true}]),
    ?CONNECTIONS = ets:new(?CONNECTIONS, [set, protected, named_table, {read_concurrency, true}]),
    %% Signals of a node come after its nodeup and before its nodedown, so the table is never behind a message.
    ok = net_kernel:monitor_nodes(true, [{node_type, hidden}]),
    Requests = gen_server:reqids_new(),
    {ok, lists:foldl(fun(Node, S) -> event(Node, node_up, S) end, #state{requests = Requests}, nodes(hidden))}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(states, _From, State) ->
    {reply, State#state.lives, State};
handle_call({wait, Which, Timeout}, From, State) ->
    case [Node || Node <- daemons(), wanted(Node, Which)] of
        [Node | _] -> {reply, {ok, Node}, State};
        [] when Timeout =:= 0 -> {reply, {error, no_daemon}, State};
        [] -> {noreply, wait_for(Which, Timeout, From, State)}
    end;
handle_call({subscribe, Pid}, _From, #state{subscribers = Subscribers} = State) ->
    case Subscribers of
        #{Pid := _} -> {reply, ok, State};
        #{} -> {reply, ok, State#state{subscribers = Subscribers#{Pid => monitor(process, Pid)}}}
    end;
handle_call({unsubscribe, Pid}, _From, State) ->
    {reply, ok, forget(Pid, State)};
handle_call(Request, _From, State) ->
    {reply, {error, {unknown_request, Request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({respawned, Node}, State) ->
    {noreply, event(Node, respawned, State)};
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({erluv, Node, up}, State) when is_atom(Node) ->
    {noreply, event(Node, announced, State)};
handle_info({erluv, Node, {child_down, Reason}}, State) when is_atom(Node) ->
    ?LOG_ERROR("erluv ~ts: the unprivileged half ended: ~tp; its workers are gone", [Node, Reason]),
    {noreply, event(Node, {child_down, Reason}, State)};
handle_info({nodeup, Node, _Info}, State) ->
    {noreply, event(Node, node_up, State)};
handle_info({nodedown, Node, _Info}, State) ->
    {noreply, event(Node, node_down, State)};
handle_info({'DOWN', _Ref, process, Pid, _Reason} = Message, #state{subscribers = Subscribers} = State) ->
    case Subscribers of
        #{Pid := _} -> {noreply, forget(Pid, State)};
        #{} -> answer(Message, State)
    end;
handle_info({timeout, Timer, waited}, #state{waiting = Waiting} = State) ->
    case maps:take(Timer, Waiting) of
        {{From, _}, Rest} ->
            gen_server:reply(From, {error, no_daemon}),
            {noreply, State#state{waiting = Rest}};
        error ->
            {noreply, State}
    end;
handle_info(Message, State) ->
    answer(Message, State).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, _State) ->
    ok.

%% The answer of a daemon to `info' or `respawn'; anything else is no concern of this process.
-spec answer(term(), #state{}) -> {noreply, #state{}}.
answer(Message, #state{requests = Requests} = State) ->
    case gen_server:check_response(Message, Requests, true) of
        {Response, {What, Node}, Rest} ->
            {noreply, event(Node, told(What, Node, Response), State#state{requests = Rest})};
        no_request -> {noreply, State};
        no_reply -> {noreply, State}
    end.

-spec told(info | respawn, node(), {reply, term()} | {error, {term(), term()}}) -> event().
told(info, Node, {reply, #{node := Node}}) ->
    {info, up};
told(info, _Node, {reply, {error, child_down}}) ->
    {info, crashed};
told(info, _Node, _Other) ->
    {info, other};
told(respawn, Node, {reply, ok}) ->
    ?LOG_NOTICE("erluv ~ts: respawned", [Node]),
    respawned;
told(respawn, Node, {_, Why}) ->
    ?LOG_ERROR("erluv ~ts: the order to respawn failed: ~tp", [Node, Why]),
    not_respawned.

-spec event(node(), event(), #state{}) -> #state{}.
event(Node, Event, #state{lives = Lives} = State) ->
    {Life, Actions} = next(maps:get(Node, Lives, absent), Event),
    Known =
        case Life of
            absent -> maps:remove(Node, Lives);
            _ -> Lives#{Node => Life}
        end,
    lists:foldl(fun(Action, S) -> act(Action, Node, S) end, State#state{lives = Known}, Actions).

-spec act(action(), node(), #state{}) -> #state{}.
act(ask, Node, State) ->
    request(info, Node, State);
act(add, Node, #state{next = Next} = State) ->
    true = ets:insert(?TABLE, {Next, Node}),
    true = ets:insert(?CONNECTIONS, {Node, spawn_link(fun() -> receive {lost, Node} -> ok end end)}),
    ok = pg:join(erluv_choose:scope(), Node, self()),
    ?LOG_INFO("erluv ~ts: serves this node", [Node]),
    found(Node, State#state{next = Next + 1});
act(remove, Node, State) ->
    true = ets:match_delete(?TABLE, {'_', Node}),
    _ = [Pid ! {lost, Node} || {_, Pid} <- ets:take(?CONNECTIONS, Node)],
    _ = pg:leave(erluv_choose:scope(), Node, self()),
    ?LOG_NOTICE("erluv ~ts: serves this node no more", [Node]),
    State;
act({respawn, Reason}, Node, State) ->
    Policy = application:get_env(erluv, respawn, {always, 5, 60}),
    case order(Policy, Node, Reason, State) of
        {true, Ordered} ->
            request(respawn, Node, Ordered);
        {false, Kept} ->
            ?LOG_ERROR("erluv ~ts: not respawned, by the setting respawn; it leaves after its die_timeout", [Node]),
            Kept
    end;
act({tell, What}, Node, #state{subscribers = Subscribers} = State) ->
    _ = [Pid ! {erluv, Node, What} || Pid <- maps:keys(Subscribers)],
    State.

-spec request(info | respawn, node(), #state{}) -> #state{}.
request(What, Node, #state{requests = Requests} = State) ->
    State#state{requests = gen_server:send_request({erluv, Node}, What, {What, Node}, Requests)}.

%% Whether to give the order, and the times of the orders that count against the limit.
-spec order(respawn(), node(), term(), #state{}) -> {boolean(), #state{}}.
order(always, _Node, _Reason, State) ->
    {true, State};
order(never, _Node, _Reason, State) ->
    {false, State};
order({always, Max, Seconds}, Node, _Reason, #state{respawned = Respawned} = State) ->
    Now = erlang:monotonic_time(millisecond),
    Since = Now - Seconds * 1000,
    Recent = [Time || Time <- maps:get(Node, Respawned, []), Time > Since],
    case length(Recent) < Max of
        true -> {true, State#state{respawned = Respawned#{Node => [Now | Recent]}}};
        false -> {false, State}
    end;
order(Fun, Node, Reason, State) when is_function(Fun, 2) ->
    try Fun(Node, Reason) of
        Answer -> {Answer =:= true, State}
    catch
        Class:Why:Stack ->
            ?LOG_ERROR("erluv ~ts: the fun of the setting respawn failed: ~tp", [Node, {Class, Why, Stack}]),
            {false, State}
    end;
order(Other, Node, _Reason, State) ->
    ?LOG_ERROR("erluv ~ts: the setting respawn has a value that it cannot have: ~tp", [Node, Other]),
    {false, State}.

-spec wait_for(any | [node()], timeout(), gen_server:from(), #state{}) -> #state{}.
wait_for(Which, Timeout, From, #state{waiting = Waiting} = State) ->
    Timer =
        case Timeout of
            infinity -> make_ref();
            _ -> erlang:start_timer(Timeout, self(), waited)
        end,
    State#state{waiting = Waiting#{Timer => {From, Which}}}.

-spec found(node(), #state{}) -> #state{}.
found(Node, #state{waiting = Waiting} = State) ->
    Served = maps:filter(fun(_, {_, Which}) -> wanted(Node, Which) end, Waiting),
    maps:foreach(fun(_, {From, _}) -> gen_server:reply(From, {ok, Node}) end, Served),
    _ = [erlang:cancel_timer(Timer) || Timer <- maps:keys(Served)],
    State#state{waiting = maps:without(maps:keys(Served), Waiting)}.

-spec wanted(node(), any | [node()]) -> boolean().
wanted(_Node, any) -> true;
wanted(Node, Nodes) -> lists:member(Node, Nodes).

-spec forget(pid(), #state{}) -> #state{}.
forget(Pid, #state{subscribers = Subscribers} = State) ->
    case maps:take(Pid, Subscribers) of
        {Ref, Rest} ->
            true = demonitor(Ref, [flush]),
            State#state{subscribers = Rest};
        error ->
            State
    end.
