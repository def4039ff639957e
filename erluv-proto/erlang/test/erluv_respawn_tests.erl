%% The unprivileged half is killed: what the node is told, and what it orders.
-module(erluv_respawn_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

respawn_test_() ->
    {setup, fun erluv_worker_tests:quiet/0, fun erluv_worker_tests:loud/1, [
        {atom_to_list(F), {timeout, 60, {spawn, fun ?MODULE:F/0}}}
     || os:getenv("ERLUV_TEST_CRASH") =/= false,
        F <- [a_crash_is_answered_by_the_order_case, nobody_hangs_when_the_half_is_lost_case,
             a_writer_is_told_that_the_half_is_lost_case,
             supervised_workers_come_back_case, never_waits_for_a_hand_case,
              a_fun_decides_case, the_limit_is_kept_case]
    ]}.

told(What) ->
    receive {erluv, Node, What} -> Node
    after 20000 -> erlang:error({not_told, What, process_info(self(), messages)})
    end.

a_crash_is_answered_by_the_order_case() ->
    ok = application:set_env(erluv, respawn, {always, 5, 60}),
    ok = erluv:subscribe(),
    {ok, Pid, _} = erluv:run(["/bin/sleep", "100"], []),
    Ref = monitor(process, Pid),
    true = erluv_test:crash(),
    receive {'DOWN', Ref, _, _, Reason} -> ?assertEqual(noconnection, Reason) end,
    Node = told(down),
    Node = told(respawned),
    ?assertEqual([Node], erluv:nodes()),
    ?assertEqual({ok, []}, erluv:run("true", [sync])),
    ok = erluv:unsubscribe().

nobody_hangs_when_the_half_is_lost_case() ->
    Self = self(),
    ok = application:set_env(erluv, respawn, always),
    spawn_link(fun() -> Self ! {sync, erluv:run("echo x; sleep 100", [sync, stdout])} end),
    ok = erluv_test:until(fun() -> erluv:which_children() =/= [] end),
    timer:sleep(200),
    ok = erluv:subscribe(),
    true = erluv_test:crash(),
    Result = receive {sync, Answer} -> Answer after 20000 -> hangs end,
    ?assertEqual({error, [{reason, noconnection}, {stdout, [<<"x\n">>]}]}, Result),
    told(respawned).

a_writer_is_told_that_the_half_is_lost_case() ->
    Self = self(),
    ok = application:set_env(erluv, respawn, always),
    {ok, Pid, _} = erluv:run(["/bin/sleep", "100"], [stdin]),
    Write = fun() -> erluv:send(Pid, binary:copy(<<"x">>, 1000000)) end,
    Writer = spawn_link(fun() -> Self ! {written, Write()} end),
    ok = erluv_test:until(fun() -> {status, waiting} =:= process_info(Writer, status) end),
    timer:sleep(200),
    ok = erluv:subscribe(),
    true = erluv_test:crash(),
    ?assertEqual({error, no_process}, receive {written, Answer} -> Answer after 20000 -> hangs end),
    told(respawned),
    %% The worker was of the half that is gone.
    ?assertEqual({error, no_process}, Write()).

supervised_workers_come_back_case() ->
    ok = application:set_env(erluv, respawn, always),
    Spec = #{cmd => ["sleep", "1000"], start_timeout => 20000},
    {ok, Supervisor} = erluv_worker_tests:supervisor([Spec#{id => N} || N <- [1, 2, 3]]),
    First = erluv_worker_tests:child(Supervisor, 1),
    true = erluv_test:crash(),
    Back = fun() ->
        Children = [erluv_worker_tests:child(Supervisor, N) || N <- [1, 2, 3]],
        not lists:member(First, Children) andalso
            lists:all(fun(C) -> is_pid(C) andalso element(1, erluv:worker(C)) =:= ok end, Children) andalso
            length(erluv:which_children()) =:= 3
    end,
    ok = erluv_test:until(Back).

never_waits_for_a_hand_case() ->
    ok = application:set_env(erluv, respawn, never),
    Node = erluv_test:daemon(),
    ok = erluv:subscribe(),
    true = erluv_test:crash(),
    Node = told(down),
    ok = erluv_test:until(fun() -> erluv_node:states() =:= #{Node => crashed} end),
    ?assertEqual([], erluv:nodes()),
    ?assertEqual({error, child_down}, erluv:run(Node, "true", [])),
    ?assertEqual({error, no_daemon}, erluv:run("true", [], 50)),
    ok = erluv:respawn(Node),
    Node = told(respawned),
    ?assertEqual({ok, []}, erluv:run("true", [sync])).

a_fun_decides_case() ->
    Self = self(),
    ok = application:set_env(erluv, respawn, fun(Node, Reason) -> Self ! {asked, Node, Reason}, true end),
    ok = erluv:subscribe(),
    true = erluv_test:crash(),
    Node = told(respawned),
    receive {asked, Node, _} -> ok after 0 -> erlang:error(not_asked) end.

the_limit_is_kept_case() ->
    %% Earlier orders count: with one in ten minutes, the next is not given.
    ok = application:set_env(erluv, respawn, {always, 1, 600}),
    Node = erluv_test:daemon(),
    ok = erluv:subscribe(),
    true = erluv_test:crash(),
    Crashed = fun() -> erluv_node:states() =:= #{Node => crashed} end,
    Again = fun() -> receive {erluv, Node, respawned} -> erluv_test:crash() after 0 -> false end end,
    ok = erluv_test:until(fun() -> _ = Again(), Crashed() end),
    timer:sleep(300),
    ?assert(Crashed()),
    ok = erluv:respawn(Node),
    ok = application:set_env(erluv, respawn, always),
    ok = erluv_test:until(fun() -> erluv:nodes() =:= [Node] end).
