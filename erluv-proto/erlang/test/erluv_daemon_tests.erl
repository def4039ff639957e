%% A daemon that the node starts itself; ERLUV_TEST_MAIN is the file of erluv-main.
-module(erluv_daemon_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

daemon_test_() ->
    {setup, fun erluv_worker_tests:quiet/0, fun erluv_worker_tests:loud/1, [
        {atom_to_list(F), {timeout, 60, {spawn, fun ?MODULE:F/0}}}
     || os:getenv("ERLUV_TEST_MAIN") =/= false,
        F <- [it_starts_serves_and_ends_case, what_it_says_is_the_error_case, it_is_started_again_case,
             a_crash_of_this_process_ends_it_case, a_killed_shell_leaves_nothing_case, settings_are_checked_case]
    ]}.

settings() ->
    Root = [{user, "nobody"} || os:cmd("id -u") =:= "0\n"],
    #{program => os:getenv("ERLUV_TEST_MAIN"), options => Root ++ [{"workers.users", "[\"daemon\"]"} || Root =/= []]}.

folders() -> filelib:wildcard("erluv-" ++ os:getpid() ++ "-*", os:getenv("TMPDIR", "/tmp")).

it_starts_serves_and_ends_case() ->
    {ok, Node} = erluv:start_daemon(settings()),
    ?assert(lists:member(Node, erluv:nodes())),
    [Folder] = folders(),
    File = filename:join([os:getenv("TMPDIR", "/tmp"), Folder, "cookie"]),
    ?assertEqual({ok, 8#600}, mode(File)),
    ?assertEqual({ok, 8#700}, mode(filename:dirname(File))),
    {ok, Stream} = erluv:stream(Node, ["echo", "x"], []),
    ?assertEqual({stdout, <<"x\n">>}, erluv:read(Stream, 10000)),
    Cookie = atom_to_list(erlang:get_cookie()),
    Seen = os:cmd("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"),
    ?assertEqual(nomatch, string:find(Seen, Cookie)),
    ?assertEqual(ok, erluv:stop_daemon(Node)),
    ?assertNot(lists:member(Node, erluv:nodes())),
    ok = gone(),
    ?assertEqual({error, not_found}, erluv:stop_daemon(Node)).

gone() -> erluv_test:until(fun() -> folders() =:= [] end).

mode(File) ->
    case file:read_file_info(File) of
        {ok, Info} -> {ok, element(8, Info) band 8#777};
        Error -> Error
    end.

what_it_says_is_the_error_case() ->
    Settings = settings(),
    {error, {exited, 78, Log}} = erluv:start_daemon(Settings#{options => [{nonsense, 1}]}),
    ?assertNotEqual(nomatch, string:find(iolist_to_binary(Log), "nonsense")),
    ok = gone(),
    ?assertEqual({error, {program, enoent}}, erluv:start_daemon(#{program => "/no/such"})).

it_is_started_again_case() ->
    {ok, Node} = erluv:start_daemon(settings()),
    ok = erluv:subscribe(),
    os:cmd("for f in /proc/[0-9]*/cmdline; do if tr '\\0' ' ' <$f | "
        "grep -q -- '^[^ ]*erluv-main -d .*" ++ atom_to_list(Node) ++
        "'; then p=${f#/proc/}; kill -9 ${p%/cmdline}; fi; done"),
    receive {erluv, Node, down} -> ok end,
    receive {erluv, Node, up} -> ok after 20000 -> erlang:error(gone) end,
    ok = erluv:stop_daemon(Node).

a_crash_of_this_process_ends_it_case() ->
    {ok, Node} = erluv:start_daemon(settings()),
    {Node, Pid, _, _} = lists:keyfind(Node, 1, supervisor:which_children(erluv_daemon_sup)),
    ok = erluv:subscribe(),
    exit(Pid, kill),
    receive {erluv, Node, down} -> ok after 20000 -> erlang:error(lives) end,
    receive {erluv, Node, up} -> ok after 20000 -> erlang:error(gone) end,
    ok = erluv:stop_daemon(Node),
    ok = gone().

settings_are_checked_case() ->
    Settings = settings(),
    ?assertEqual({error, {badopt, nope}}, erluv:start_daemon(Settings#{nope => 1})),
    ?assertEqual({error, {badopt, {timeout, 0}}}, erluv:start_daemon(Settings#{timeout => 0})).

a_killed_shell_leaves_nothing_case() ->
    {ok, Node} = erluv:start_daemon(settings()),
    ok = erluv:subscribe(),
    {Node, Pid, _, _} = lists:keyfind(Node, 1, supervisor:which_children(erluv_daemon_sup)),
    {os_pid, Shell} = erlang:port_info(element(2, sys:get_state(Pid)), os_pid),
    os:cmd("kill -9 " ++ integer_to_list(Shell)),
    ok = erluv:stop_daemon(Node),
    receive {erluv, Node, down} -> ok after 20000 -> erlang:error(lives) end,
    ok = gone().
