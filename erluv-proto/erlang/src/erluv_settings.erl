%% @private
%% @doc The options of `erluv:start/1' as settings of the application.
-module(erluv_settings).

-export([set/1]).

-spec set([term()]) -> ok | {error, term()}.
set(Options) ->
    Listed = proplists:unfold(Options),
    _ = application:load(erluv),
    case [Reason || Option <- Listed, {error, Reason} <- [check(Option)]] of
        [] ->
            lists:foreach(fun({Key, Value}) -> application:set_env(erluv, Key, Value) end, [
                Option
             || Option <- Listed, check(Option) =:= set
            ]);
        [Reason | _] ->
            {error, Reason}
    end.

-spec check(term()) -> set | ignore | {error, term()}.
check({debug, true}) -> ignore;
check({debug, Level}) when is_integer(Level), Level >= 0, Level =< 10 -> set;
check({env, inherit}) -> set;
check({env, Env}) when is_list(Env) -> is_env(Env);
check({node, Node}) when is_atom(Node) -> set;
check({nodes, Nodes}) when is_list(Nodes) -> is_set(lists:all(fun is_atom/1, Nodes), nodes);
check({choose, Choose}) -> is_set(Choose =:= first orelse Choose =:= spread orelse is_function(Choose, 1), choose);
check({respawn, {always, Max, Seconds}}) ->
    is_set(is_integer(Max) andalso Max > 0 andalso is_integer(Seconds) andalso Seconds > 0, respawn);
check({respawn, How}) -> is_set(How =:= always orelse How =:= never orelse is_function(How, 2), respawn);
check({daemon, _}) -> set;
check({window, Bytes}) -> is_set(is_integer(Bytes) andalso Bytes > 0, window);
check({exec_compat, Is}) -> is_set(is_boolean(Is), exec_compat);
%% What does not protect, but was meant to, is an error and not silence.
check({Key, _}) when Key =:= user; Key =:= limit_users; Key =:= capabilities -> {error, {not_supported, Key}};
check({root, false}) -> ignore;
check({root, _}) -> {error, {not_supported, root}};
check({Key, _}) when Key =:= args; Key =:= alarm; Key =:= portexe; Key =:= valgrind; Key =:= verbose -> ignore;
check(Option) -> {error, {invalid_option, Option}}.

-spec is_set(boolean(), atom()) -> set | {error, term()}.
is_set(true, _Key) -> set;
is_set(false, Key) -> {error, {invalid_option, Key}}.

%% The texts that erlexec takes: pairs; a name with `false' is not there, as no other is.
-spec is_env([term()]) -> set | {error, term()}.
is_env(Env) ->
    Good = fun
        ({Name, Value}) -> (is_list(Name) orelse is_binary(Name)) andalso (is_list(Value) orelse is_binary(Value));
        (_) -> false
    end,
    is_set(lists:all(Good, Env), env).
