%% What the suites share, and the run of all of them with a line for each test and a count at the end.
-module(erluv_test).
-behaviour(eunit_listener).

-export([start/0, daemon/0, until/1, crash/0, all/1]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

%% Starts the application and waits until the daemon serves this node.
start() ->
    _ = application:ensure_all_started(erluv),
    {ok, Node} = erluv_choose:node(default, 20000),
    Node.

daemon() -> hd(erluv:nodes()).

%% Asks until the answer is true; ten seconds is for machines that do much else.
until(Question) -> until(Question, 200).

until(_Question, 0) ->
    erlang:error(still_false);
until(Question, Tries) ->
    case Question() of
        true -> ok;
        false -> timer:sleep(50), until(Question, Tries - 1)
    end.

%% Asks who runs the tests to kill the unprivileged half, by a file of this name; first there has to be one that serves.
crash() ->
    ok = until(fun() -> map_size(erluv:info()) > 0 end),
    case os:getenv("ERLUV_TEST_CRASH") of
        false -> false;
        File -> ok =:= file:write_file(File, <<>>)
    end.

%% Runs the suites; prints a line for each test; the last line is the count.
all(Suites) ->
    Loaded = [Suite || Suite <- Suites, {module, Suite} =:= code:ensure_loaded(Suite)],
    Missing = Suites -- Loaded,
    Missing =:= [] orelse io:format("not there: ~p~n", [Missing]),
    Result = eunit:test([{module, Suite} || Suite <- Loaded], [no_tty, {report, {?MODULE, []}}]),
    case {Result, Missing} of
        {ok, []} -> ok;
        _ -> error
    end.

start(Options) -> eunit_listener:start(?MODULE, Options).

init(_Options) -> [].

handle_begin(_Kind, _Data, State) -> State.

handle_end(test, Data, State) ->
    {Module, Name, _} = proplists:get_value(source, Data),
    Title =
        case proplists:get_value(desc, Data) of
            Empty when Empty =:= undefined; Empty =:= "" -> Name;
            Text -> Text
        end,
    case proplists:get_value(status, Data) of
        ok ->
            io:format("ok ~s: ~s~n", [Module, Title]);
        {error, Why} ->
            io:format("FAILED ~s: ~s~n~p~n~ts~n", [Module, Title, Why, proplists:get_value(output, Data, <<>>)]);
        {skipped, Why} ->
            io:format("skipped ~s: ~s: ~p~n", [Module, Title, Why])
    end,
    State;
handle_end(group, _Data, State) ->
    State.

handle_cancel(Kind, Data, State) ->
    case proplists:get_value(reason, Data) of
        undefined -> ok;
        Reason -> io:format("FAILED ~p cancelled: ~p~n~p~n", [Kind, Reason, proplists:get_value(source, Data)])
    end,
    State.

terminate({ok, Data}, _State) ->
    Get = fun(Key) -> proplists:get_value(Key, Data, 0) end,
    io:format("count: ~w passed, ~w failed, ~w skipped~n", [Get(pass), Get(fail) + Get(cancel), Get(skip)]);
terminate({error, Reason}, _State) ->
    io:format("FAILED: ~p~ncount: 0 passed, 1 failed, 0 skipped~n", [Reason]).
