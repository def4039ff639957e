%% What erlexec promises its callers, asked of a daemon.
-module(erluv_exec_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

-define(WITHIN, 15000).
-define(receives(Pattern),
    receive Pattern -> ok
    after ?WITHIN -> erlang:error({nothing_like, ??Pattern, process_info(self(), messages)})
    end
).

exec_test_() ->
    Tests = [F || {F, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(F))],
    {setup, fun erluv_test:start/0, [
        {atom_to_list(F), {timeout, 60, {spawn, fun ?MODULE:F/0}}}
     || F <- lists:sort(Tests)
    ]}.

%% All of a stream until the end of the worker is told in erlexec's form.
output(OsPid, Pid) -> output(OsPid, Pid, <<>>, <<>>).
output(OsPid, Pid, Out, Err) ->
    receive
        {stdout, OsPid, Data} -> output(OsPid, Pid, <<Out/binary, Data/binary>>, Err);
        {stderr, OsPid, Data} -> output(OsPid, Pid, Out, <<Err/binary, Data/binary>>);
        {'DOWN', OsPid, process, Pid, Reason} -> {Out, Err, Reason}
    after ?WITHIN -> erlang:error({no_end, Out, Err, process_info(self(), messages)})
    end.

output_and_the_end_come_in_the_form_of_erlexec_case() ->
    {ok, Pid, OsPid} = erluv:run("echo out; echo err >&2; exit 3", [stdout, stderr, monitor]),
    ?assert(is_pid(Pid) andalso is_integer(OsPid)),
    ?assertEqual({<<"out\n">>, <<"err\n">>, {exit_status, 768}}, output(OsPid, Pid)).

status_0_is_normal_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/echo", <<"a b">>, "c"], [stdout, monitor]),
    ?assertEqual({<<"a b c\n">>, <<>>, normal}, output(OsPid, Pid)).

a_real_monitor_has_the_same_reason_case() ->
    {ok, Pid, _} = erluv:run("read x; exit 2", [stdin]),
    Ref = monitor(process, Pid),
    ok = erluv:send(Pid, <<"go\n">>),
    ?receives({'DOWN', Ref, process, Pid, {exit_status, 512}}).

sync_returns_what_was_written_case() ->
    ?assertEqual({ok, []}, erluv:run("true", [sync])),
    ?assertEqual({ok, [{stdout, [<<"x\n">>]}]}, erluv:run("echo x", [sync, stdout])),
    ?assertEqual({ok, [{stderr, [<<"y\n">>]}]}, erluv:run("echo y >&2", [sync, stdout, stderr])),
    ?assertMatch(
        {error, [{exit_status, 256}, {stdout, [<<"x\n">>]}, {stderr, [<<"y\n">>]}]},
        erluv:run("echo x; echo y >&2; exit 1", [sync, stdout, stderr])
    ),
    ?assertEqual({error, [{exit_status, 9}]}, erluv:run("kill -9 $$", [sync])),
    {ok, [{stdout, Pieces}]} = erluv:run("head -c 300000 /dev/zero", [sync, stdout]),
    ?assertEqual(300000, iolist_size(Pieces)),
    ?assertEqual([], element(2, process_info(self(), messages))).

a_command_that_cannot_be_executed_is_an_error_at_once_case() ->
    ?assertEqual({error, {launch_failed, exec, enoent}}, erluv:run(["/no/such/program"], [])),
    ?assertEqual({error, {launch_failed, exec, eacces}}, erluv:run(["/etc/passwd"], [])),
    ?assertEqual({error, {launch_failed, exec, enoent}}, erluv:run(["sh", "-c", "true"], [])),
    ?assertEqual({error, {launch_failed, chdir, enoent}}, erluv:run(["/bin/true"], [{cd, "/no/such"}])),
    ?assertEqual({error, {launch_failed, exec, enoent}}, erluv:run_link(["/no/such/program"], [sync, stdout])).

exec_compat_is_the_way_of_erlexec_case() ->
    {ok, Pid, OsPid} = erluv:run(["/no/such/program"], [exec_compat, stderr, monitor]),
    {<<>>, Text, {exit_status, 256}} = output(OsPid, Pid),
    Expected = io_lib:format("Pid ~w: cannot execute '/no/such/program': No such file or directory~n", [OsPid]),
    ?assertEqual(iolist_to_binary(Expected), Text),
    ?assertMatch({error, [{exit_status, 256}, {stderr, [_]}]},
        erluv:run(["/bin/true"], [{cd, "/no"}, sync, stderr, exec_compat])).

a_list_is_relative_to_the_directory_case() ->
    ?assertEqual({ok, [{stdout, [<<"x\n">>]}]}, erluv:run(["echo", "x"], [sync, stdout, {cd, "/bin"}])),
    ?assertEqual({ok, [{stdout, [<<"y\n">>]}]},
        erluv:run(["anything", "-c", "echo y"], [sync, stdout, {executable, "/bin/sh"}])).

input_by_pid_and_by_number_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/cat"], [stdin, stdout, monitor]),
    ok = erluv:send(Pid, <<"a">>),
    ok = erluv:send(OsPid, <<"b">>),
    ok = erluv:send(OsPid, <<>>),
    ok = erluv:send(node(Pid), OsPid, ["c", <<"d">>]),
    ok = erluv:send(Pid, eof),
    ?assertEqual({<<"abcd">>, <<>>, normal}, output(OsPid, Pid)),
    ?assertEqual({error, no_process}, erluv:send(Pid, <<"x">>)),
    ?assertEqual({error, no_process}, erluv:send(Pid, eof)),
    ?assertEqual(ok, erluv:send(OsPid, <<"x">>)).

much_input_is_not_lost_case() ->
    {ok, Pid, OsPid} = erluv:run("wc -c", [stdin, stdout, monitor]),
    ok = erluv:send(Pid, binary:copy(<<"0123456789abcdef">>, 200000)),
    ok = erluv:send(Pid, eof),
    {Count, <<>>, normal} = output(OsPid, Pid),
    ?assertEqual("3200000", string:trim(binary_to_list(Count))).

kill_tells_the_signal_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/sleep", "100"], [monitor]),
    ?assertEqual(ok, erluv:kill(Pid, 0)),
    ?assertEqual({error, einval}, erluv:kill(Pid, sigfoo)),
    ?assertEqual(ok, erluv:kill(OsPid, sigkill)),
    ?assertEqual({<<>>, <<>>, {exit_status, 9}}, output(OsPid, Pid)),
    ?assertEqual({error, no_process}, erluv:kill(Pid, sigterm)),
    ?assertEqual({error, "Cannot kill a pid not managed by this application"}, erluv:kill(1, sigterm)),
    ?assertEqual({error, "Not allowed to send signal to all processes"}, erluv:kill(-5, 9)),
    ?assertEqual({error, badarg}, erluv:kill(-1, 9)).

a_stopped_worker_ends_normal_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/sleep", "100"], [monitor]),
    ?assertEqual(ok, erluv:stop(OsPid)),
    ?assertEqual({<<>>, <<>>, normal}, output(OsPid, Pid)),
    ?assertEqual({error, no_process}, erluv:stop(Pid)),
    ?assertEqual({error, "pid not alive"}, erluv:stop(OsPid)).

kill_timeout_ends_who_does_not_listen_case() ->
    {ok, Pid, OsPid} = erluv:run("trap '' TERM; echo ready; while :; do sleep 1; done",
                                 [stdout, monitor, {kill_timeout, 1}]),
    ?receives({stdout, OsPid, <<"ready\n">>}),
    ok = erluv:stop(Pid),
    ?assertEqual({<<>>, <<>>, normal}, output(OsPid, Pid)).

a_kill_command_is_run_in_place_of_the_signal_case() ->
    {ok, Pid, OsPid} = erluv:run("trap 'echo usr1; exit 0' USR1; trap '' TERM; echo ready; while :; do sleep 0.1; done",
                                 [stdout, monitor, {kill, "kill -USR1 $CHILD_PID"}]),
    ?receives({stdout, OsPid, <<"ready\n">>}),
    ok = erluv:stop(Pid),
    ?assertEqual({<<"usr1\n">>, <<>>, normal}, output(OsPid, Pid)).

stop_and_wait_needs_no_monitor_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/sleep", "100"], []),
    ?assertEqual(normal, erluv:stop_and_wait(OsPid, 10000)),
    ?assertEqual({error, not_found}, erluv:stop_and_wait(OsPid, 10000)),
    ?assertEqual({error, not_found}, erluv:stop_and_wait(Pid, 10000)),
    {ok, Watched, _} = erluv:run(["/bin/sleep", "100"], [monitor]),
    ?assertEqual(normal, erluv:stop_and_wait(Watched, 10000)),
    {ok, Deaf, _} = erluv:run("trap '' TERM; echo; while :; do sleep 1; done", [stdout, {kill_timeout, 60}]),
    ?receives({stdout, _, _}),
    ?assertEqual({error, timeout}, erluv:stop_and_wait(Deaf, 100)),
    true = exit(Deaf, kill),
    ?assertEqual([], element(2, process_info(self(), messages))).

names_and_numbers_of_workers_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/sleep", "100"], []),
    ?assertEqual(OsPid, erluv:ospid(Pid)),
    ?assertEqual(Pid, erluv:pid(OsPid)),
    ?assertEqual(Pid, erluv:pid(node(Pid), OsPid)),
    ?assert(lists:member(OsPid, erluv:which_children())),
    ?assert(lists:member(OsPid, erluv:which_children(node(Pid)))),
    ?assertEqual(undefined, erluv:pid(1)),
    normal = erluv:stop_and_wait(Pid, 10000),
    ?assertEqual(undefined, erluv:pid(OsPid)),
    ?assertEqual({error, no_process}, erluv:ospid(Pid)),
    ?assertNot(lists:member(OsPid, erluv:which_children())).

a_link_tells_the_end_case() ->
    process_flag(trap_exit, true),
    {ok, Pid, _} = erluv:run_link("exit 1", []),
    ?receives({'EXIT', Pid, {exit_status, 256}}),
    {ok, Option, OsPid} = erluv:run("exit 0", [link, monitor]),
    ?receives({'EXIT', Option, normal}),
    receive {'DOWN', OsPid, _, _, _} = Down -> erlang:error(Down) after 200 -> ok end.

the_end_of_the_linked_caller_ends_the_worker_case() ->
    Self = self(),
    Caller = spawn(fun() -> Self ! {ran, erluv:run_link(["/bin/sleep", "100"], [])}, receive go -> exit(crash) end end),
    {Pid, _} = ran(),
    Ref = monitor(process, Pid),
    Caller ! go,
    ?receives({'DOWN', Ref, process, Pid, _}).

handlers_are_called_before_the_end_is_told_case() ->
    Self = self(),
    Fun = fun(Stream, OsPid, Data) -> timer:sleep(20), Self ! {handled, Stream, OsPid, Data} end,
    {ok, Pid, OsPid} = erluv:run("echo a; echo b >&2", [{stdout, Fun}, {stderr, Fun}, monitor]),
    ?receives({'DOWN', OsPid, process, Pid, normal}),
    Messages = element(2, process_info(self(), messages)),
    ?assertEqual([{handled, stderr, OsPid, <<"b\n">>}, {handled, stdout, OsPid, <<"a\n">>}], lists:sort(Messages)).

a_handler_and_the_caller_share_the_streams_case() ->
    Self = self(),
    Fun = fun(Stream, OsPid, Data) -> Self ! {handled, Stream, OsPid, Data} end,
    ?assertEqual({ok, [{stdout, [<<"a\n">>]}]}, erluv:run("echo a; echo b >&2", [sync, stdout, {stderr, Fun}])),
    ?receives({handled, stderr, _, <<"b\n">>}),
    process_flag(trap_exit, true),
    {ok, Pid, OsPid} = erluv:run_link("echo c", [{stdout, Fun}]),
    ?receives({handled, stdout, OsPid, <<"c\n">>}),
    ?receives({'EXIT', Pid, normal}).

a_handler_that_fails_ends_its_worker_case() ->
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    {ok, Pid, OsPid} = erluv:run("echo a; sleep 100", [{stdout, fun(_, _, _) -> error(oops) end}, monitor]),
    ?receives({'DOWN', OsPid, process, Pid, _}),
    ok = logger:set_primary_config(level, Level).

a_worker_of_a_handler_belongs_to_the_caller_case() ->
    Self = self(),
    Run = fun() -> erluv:run(["/bin/sleep", "100"], [{stdout, print}]) end,
    Caller = spawn(fun() -> Self ! {ran, Run()}, receive go -> ok end end),
    {Pid, _} = ran(),
    Ref = monitor(process, Pid),
    Caller ! go,
    ?receives({'DOWN', Ref, process, Pid, _}).

output_to_another_process_case() ->
    Self = self(),
    Other = spawn_link(fun() -> receive {stdout, OsPid, Data} -> Self ! {other, OsPid, Data} end end),
    {ok, Pid, OsPid} = erluv:run("echo a; echo b >&2", [{stdout, Other}, stderr, monitor]),
    ?assertEqual({<<>>, <<"b\n">>, normal}, output(OsPid, Pid)),
    ?receives({other, OsPid, <<"a\n">>}).

streams_join_case() ->
    {ok, [{stdout, Pieces}]} = erluv:run("echo a; echo b >&2; echo c", [sync, stdout, {stderr, stdout}]),
    ?assertEqual(<<"a\nb\nc\n">>, iolist_to_binary(Pieces)).

files_are_read_and_written_as_the_worker_case() ->
    {ok, [{stdout, [Line]}]} = erluv:run("mktemp -d /tmp/erluv-exec.XXXXXX", [sync, stdout]),
    Folder = binary_to_list(string:trim(Line)),
    File = Folder ++ "/out",
    ?assertEqual({ok, []}, erluv:run("echo one", [sync, {stdout, File, [{mode, 8#600}]}])),
    ?assertEqual({ok, []}, erluv:run("echo two", [sync, {stdout, list_to_binary(File), [append]}])),
    ?assertEqual({ok, [{stdout, [<<"one\ntwo\n">>]}]}, erluv:run(["/bin/cat"], [sync, stdout, {stdin, File}])),
    ?assertEqual({ok, [{stdout, [<<"600\n">>]}]}, erluv:run("stat -c %a " ++ File, [sync, stdout])),
    ?assertEqual({ok, []}, erluv:run("echo three", [sync, {stdout, File}])),
    ?assertEqual({ok, [{stdout, [<<"three\n">>]}]}, erluv:run(["/bin/cat", File], [sync, stdout])),
    {ok, []} = erluv:run(["/bin/rm", "-r", Folder], [sync]).

environment_case() ->
    Env = [{env, ["A=1", {"B", <<"2">>}, {"C", ""}, {"A", "3"}]}],
    ?assertEqual({ok, [{stdout, [<<"3-2--set-unset\n">>]}]},
        erluv:run("echo $A-$B-$C-${C+set}-${HOME-unset}", [sync, stdout | Env])),
    ?assertEqual({ok, [{stdout, [<<"/usr\n">>]}]}, erluv:run("/bin/pwd", [sync, stdout, {cd, "/usr"}])).

success_exit_code_and_nice_case() ->
    ?assertEqual({ok, [{stdout, [<<"7\n">>]}]},
        erluv:run("nice", [sync, stdout, {nice, 7}, {env, ["PATH=/usr/bin:/bin"]}])),
    ?assertEqual({error, [{exit_status, 5}]}, erluv:run("exit 0", [sync, {success_exit_code, 5}])).

a_terminal_case() ->
    Look = "stty size; stty -a | tr ' ' '\n' | grep 'echo$'",
    {ok, Pid, OsPid} = erluv:run(Look ++ "; read x; " ++ Look,
        [stdin, stdout, stderr, pty, {winsz, {33, 77}}, monitor]),
    ?assertEqual(<<"33 77\r\n-echo\r\n">>, some(OsPid, 2, <<>>)),
    ?assertEqual(ok, erluv:winsz(OsPid, 44, 88)),
    ?assertEqual(ok, erluv:pty_opts(Pid, [{echo, 1}])),
    ?assertEqual({error, {invalid_pty_value, [{echo, 2}, x]}}, erluv:pty_opts(Pid, [{echo, 2}, {icanon, true}, x])),
    ok = erluv:send(Pid, <<"\n">>),
    {Out, <<>>, normal} = output(OsPid, Pid),
    ?assertEqual(<<"\r\n44 88\r\necho\r\n">>, Out),
    ?assertEqual({error, lists:flatten(io_lib:format("pid ~w doesn't exist", [OsPid]))}, erluv:winsz(OsPid, 1, 1)),
    {ok, Plain, _} = erluv:run(["/bin/sleep", "100"], [stdin]),
    ?assertEqual({error, "failed to set window size"}, erluv:winsz(Plain, 1, 1)),
    ?assertEqual({error, "failed to set pty opts"}, erluv:pty_opts(Plain, [{echo, true}])).

%% What another process has started, as it tells.
ran() ->
    receive
        {ran, {ok, Pid, OsPid}} -> {Pid, OsPid};
        {ran, Other} -> erlang:error(Other)
    after ?WITHIN -> erlang:error(not_told)
    end.

%% So many lines of a stream.
some(OsPid, Lines, Sofar) ->
    case length(binary:matches(Sofar, <<"\n">>)) >= Lines of
        true -> Sofar;
        false ->
            receive {stdout, OsPid, Data} -> some(OsPid, Lines, <<Sofar/binary, Data/binary>>)
            after ?WITHIN -> erlang:error({only, Sofar})
            end
    end.

a_worker_leads_its_group_case() ->
    {ok, Pid, OsPid} = erluv:run("ps -o pgid= -p $$; sleep 100", [stdout, {group, 0}]),
    Group = receive {stdout, OsPid, Data} -> binary_to_integer(string:trim(Data)) after ?WITHIN -> none end,
    ?assertEqual(OsPid, Group),
    ?assertEqual(ok, erluv:setpgid(OsPid, 0)),
    ?assertEqual(ok, erluv:setpgid(OsPid, OsPid)),
    ?assertEqual({error, {refused, {group, 1}}}, erluv:setpgid(Pid, 1)),
    ?assertMatch({error, {refused, {group, _}}}, erluv:run("true", [{group, 1}])).

options_are_refused_by_name_case() ->
    ?assertEqual({error, {invalid_option, nope}}, erluv:run("true", [nope])),
    ?assertEqual({error, {invalid_option, {lines, 0}}}, erluv:run("true", [stdout, {lines, 0}])),
    ?assertMatch({error, {refused, {users, _}}}, erluv:run("true", [{user, "no_such_user_"}])).

daemons_can_be_named_case() ->
    Node = erluv_test:daemon(),
    [
        ?assertEqual({ok, [{stdout, [<<"x\n">>]}]}, erluv:run(Daemon, "echo x", [sync, stdout]))
     || Daemon <- [Node, first, spread]
    ],
    {ok, Pid, OsPid} = erluv:run_link(Node, ["/bin/sleep", "100"], [], 5000),
    ?assertEqual(Node, node(Pid)),
    ?assertEqual(ok, erluv:kill(Node, OsPid, 0)),
    unlink(Pid),
    ?assertEqual(normal, erluv:stop_and_wait(Node, OsPid, 10000)),
    ?assertEqual({error, {nodedown, 'no@127.0.0.1'}}, erluv:run('no@127.0.0.1', "true", [])).

a_worker_has_its_time_case() ->
    ?assertEqual({error, [{reason, timeout}]}, erluv:run("sleep 100", [sync, {timeout, 200}])).

lines_come_whole_case() ->
    ?assertEqual({ok, [{stdout, [<<"ab\n">>, <<"cde">>, <<"f\n">>, <<"g">>]}]},
        erluv:run("printf a; sleep 0.2; printf 'b\\ncdef\\ng'", [sync, stdout, {lines, 3}])).

workers_are_listed_by_what_they_are_case() ->
    {ok, Pid, OsPid} = erluv:run(["/bin/sleep", "98765"], []),
    ?assertMatch([#{pid := Pid, os_pid := OsPid}], erluv:workers(#{command => <<"sleep 98765">>})),
    ?assertEqual([], erluv:workers(#{command => <<"sleep 98765">>, user => <<"no_such_user_">>})),
    ?assert(lists:any(fun(#{pid := P}) -> P =:= Pid end, erluv:workers())),
    ?assertMatch(#{os_pid := OsPid}, erluv:info(Pid)),
    ok = erluv:i().

a_worker_is_adopted_case() ->
    Self = self(),
    First = spawn(fun() -> Self ! {ran, erluv:run(["/bin/cat"], [stdin, stdout])}, receive go -> ok end end),
    {Pid, OsPid} = ran(),
    ?assertEqual(ok, erluv:adopt(Pid)),
    Ref = monitor(process, First),
    First ! go,
    ?receives({'DOWN', Ref, process, First, _}),
    ok = erluv:send(Pid, <<"mine\n">>),
    ?receives({stdout, OsPid, <<"mine\n">>}).
