-module(erluv_options_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

exec(Cmd, Options) -> erluv_options:exec(Cmd, Options, []).
options(Cmd, Options) ->
    {ok, #{options := Daemon}} = exec(Cmd, Options),
    lists:sort(Daemon).
error_of(Options) ->
    {error, Reason} = exec(["/bin/ls"], Options),
    Reason.

kill_timeout_is_in_seconds_here_and_five_of_them_by_default_test() ->
    ?assertEqual([{kill_timeout, 5000}], options(["/bin/ls"], [])),
    ?assertEqual([{kill_timeout, 2000}], options("ls", [{kill_timeout, 2}])).

output_goes_to_the_owner_unless_it_is_said_where_test() ->
    ?assertEqual([stdout, {kill_timeout, 5000}, {stderr, stdout}], options("ls", [stdout, {stderr, stdout}])),
    ?assertEqual([{kill_timeout, 5000}, {stdout, self()}], options("ls", [{stdout, self()}])),
    ?assertEqual([{kill_timeout, 5000}], options("ls", [{stdout, null}, {stderr, null}, {stdin, null}])),
    ?assertEqual(
        [{kill_timeout, 5000}, {stdout, "/tmp/a", [append, {mode, 8#600}]}],
        options("ls", [{stdout, "/tmp/a", [append, {mode, 8#600}]}])
    ).

a_list_command_is_not_looked_up_test() ->
    ?assertEqual([{executable, "/ls"}, {kill_timeout, 5000}], options(["ls"], [])),
    ?assertEqual([{cd, "/opt"}, {executable, "/opt/bin/x"}, {kill_timeout, 5000}], options(["bin/x"], [{cd, "/opt"}])),
    ?assertEqual([{executable, "/bin/busybox"}, {kill_timeout, 5000}], options(["ls"], [{executable, "/bin/busybox"}])),
    ?assertEqual([{executable, "bash"}, {kill_timeout, 5000}], options("ls", [{executable, "bash"}])).

a_command_is_texts_and_not_empty_test() ->
    [?assertEqual({error, "empty command provided"}, exec(Cmd, [])) || Cmd <- ["", <<>>, [""], [<<>>]]],
    [
        ?assertEqual({error, {badcommand, Cmd}}, exec(Cmd, []))
     || Cmd <- [["/bin/ls", atom], ls, 5, ["/bin/ls" | "x"], ["/bin/ls", 1.5], {ls}]
    ],
    ?assertMatch({ok, _}, exec(["/bin/echo", <<"b">>, "l", "", <<>>], [])).

options_are_refused_in_the_words_of_erlexec_test() ->
    ?assertEqual({invalid_option, {nope, 1}}, error_of([{nope, 1}])),
    ?assertEqual({invalid_option, nope}, error_of([nope])),
    ?assertEqual("duplicate stdout option specified", error_of([stdout, {stdout, null}])),
    ?assertEqual("self-reference of stderr", error_of([{stderr, stderr}])),
    ?assertEqual("circular reference of stdout and stderr", error_of([{stderr, stdout}, {stdout, stderr}])),
    ?assertMatch("Invalid stdout option " ++ _, error_of([{stdout, fun(_) -> ok end}])),
    ?assertEqual({invalid_pty_value, [{vintr, 256}, nope]}, error_of([{pty, [{echo, true}, {vintr, 256}, nope]}])),
    ?assertEqual({invalid_env_value, [bad]}, error_of([{env, ["A=1", bad]}])),
    ?assertEqual("env - invalid env argument #2", error_of([{env, ["A=1", "B"]}])),
    ?assertEqual({invalid_option, {nice, 21}}, error_of([{nice, 21}])),
    ?assertEqual({invalid_option, {kill_timeout, -1}}, error_of([{kill_timeout, -1}])),
    ?assertEqual({not_supported, capabilities}, error_of([{capabilities, all}])),
    ?assertEqual({invalid_option, [stdin | stdout]}, error_of([stdin | stdout])).

env_adds_to_the_base_and_clear_leaves_it_test() ->
    Env = fun(Options) ->
        {ok, #{options := Daemon}} = erluv_options:exec("x", Options, [{"A", "1"}, {"B", "2"}]),
        proplists:get_value(env, Daemon, [])
    end,
    ?assertEqual([{"A", "1"}, {"B", "2"}], Env([])),
    ?assertEqual([{"B", "2"}, {"A", ""}], Env([{env, [{"A", ""}]}])),
    ?assertEqual([{"B", "2"}, {"C", "x=y"}], Env([{env, ["C=x=y", {<<"A">>, false}]}])),
    ?assertEqual([{"C", "3"}], Env([{env, [{"C", "3"}, clear]}])).

a_map_is_a_list_of_options_test() ->
    ?assertEqual(options("x", [stdin, stdout, {cd, "/"}]),
        options("x", #{stdin => true, stdout => true, cd => "/", pty => false})),
    ?assertEqual([{report, true}], erluv_options:list(#{report => true, kill_group => false})).

who_asks_for_sync_link_monitor_and_handlers_test() ->
    Fun = fun(_, _, _) -> ok end,
    {ok, Run} = exec("x", [sync, link, monitor, {stdout, print}, {stderr, Fun}, exec_compat]),
    ?assertMatch(
        #{sync := true, link := true, monitor := true, exec_compat := true,
          handlers := #{stdout := print, stderr := Fun}}, Run
    ).
