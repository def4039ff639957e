-module(erluv_worker_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").
-behaviour(supervisor).

worker_test_() ->
    Tests = [F || {F, 0} <- ?MODULE:module_info(exports), lists:suffix("_case", atom_to_list(F))],
    {setup, fun quiet/0, fun loud/1, [
        {atom_to_list(F), {timeout, 60, {spawn, fun ?MODULE:F/0}}}
     || F <- lists:sort(Tests)
    ]}.

%% Supervisors report the ends that are wanted here.
quiet() ->
    _ = erluv_test:start(),
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, none),
    Level.

loud(Level) -> logger:set_primary_config(level, Level).

init(Children) -> {ok, {#{intensity => 3, period => 10}, Children}}.

supervisor(Specs) ->
    process_flag(trap_exit, true),
    supervisor:start_link(?MODULE, [erluv:child_spec(Spec) || Spec <- Specs]).

child(Supervisor, Id) ->
    {Id, Child, worker, _} = lists:keyfind(Id, 1, supervisor:which_children(Supervisor)),
    Child.

a_child_specification_is_one_case() ->
    Specs = [
        erluv:child_spec(#{cmd => ["sleep", "1"]}),
        erluv:child_spec(#{id => x, cmd => "true", restart => transient, shutdown => 900})
    ],
    ?assertEqual(ok, supervisor:check_childspecs(Specs)),
    ?assertMatch(
        [
            #{id := ["sleep", "1"], restart := permanent, shutdown := 5000},
            #{id := x, restart := transient, shutdown := 900}
        ],
        Specs
    ).

a_worker_that_ends_is_started_again_case() ->
    {ok, Supervisor} = supervisor([#{id => w, cmd => ["sleep", "1000"]}]),
    First = child(Supervisor, w),
    {ok, Pid, OsPid} = erluv:worker(First),
    ?assertEqual(true, lists:member({active, 1}, supervisor:count_children(Supervisor))),
    exit(Pid, kill),
    ok = erluv_test:until(fun() -> Next = child(Supervisor, w), is_pid(Next) andalso Next =/= First end),
    {ok, _, Other} = erluv:worker(child(Supervisor, w)),
    ?assertNotEqual(OsPid, Other).

the_supervisor_s_end_is_the_worker_s_case() ->
    {ok, Supervisor} = supervisor([#{id => w, cmd => "trap '' TERM; while :; do sleep 1; done", shutdown => 700}]),
    {ok, Pid, _} = erluv:worker(child(Supervisor, w)),
    Ref = monitor(process, Pid),
    ?assertEqual(ok, supervisor:terminate_child(Supervisor, w)),
    %% Its time is the shutdown's, less what SIGKILL needs: the supervisor has seen it end.
    ?assertMatch({error, noproc}, erluv:info(Pid)),
    receive {'DOWN', Ref, _, _, _} -> ok end.

a_killed_child_takes_its_worker_along_case() ->
    {ok, Supervisor} = supervisor([#{id => w, cmd => ["sleep", "1000"], restart => temporary}]),
    Child = child(Supervisor, w),
    {ok, Pid, _} = erluv:worker(Child),
    Ref = monitor(process, Pid),
    exit(Child, kill),
    ?assertEqual(ended, receive {'DOWN', Ref, _, _, _} -> ended after 15000 -> lives end).

exit_codes_are_reasons_case() ->
    process_flag(trap_exit, true),
    Ends = fun(Spec) ->
        {ok, Child} = erluv:start_worker(Spec),
        receive {'EXIT', Child, Reason} -> Reason after 15000 -> none end
    end,
    ?assertEqual(normal, Ends(#{cmd => "exit 0"})),
    ?assertEqual({exited, 3}, Ends(#{cmd => "exit 3"})),
    ?assertEqual({signaled, sigkill}, Ends(#{cmd => "kill -9 $$"})),
    Reasons = #{3 => {shutdown, full}, sigkill => killed_it, 0 => done},
    ?assertEqual({shutdown, full}, Ends(#{cmd => "exit 3", reasons => Reasons})),
    ?assertEqual(killed_it, Ends(#{cmd => "kill -9 $$", reasons => Reasons})),
    ?assertEqual(done, Ends(#{cmd => "exit 0", reasons => Reasons})),
    ?assertEqual({exited, 4}, Ends(#{cmd => "exit 4", reasons => Reasons})).

a_transient_worker_with_a_normal_end_stays_away_case() ->
    {ok, Supervisor} = supervisor([#{id => w, cmd => "exit 3", restart => transient, reasons => #{3 => normal}}]),
    ok = erluv_test:until(fun() -> child(Supervisor, w) =:= undefined end).

what_cannot_start_is_the_supervisor_s_error_case() ->
    ?assertMatch(
        {error, {shutdown, {failed_to_start_child, w, {launch_failed, exec, enoent}}}},
        supervisor([#{id => w, cmd => ["/no/such"]}])
    ),
    ?assertMatch({error, {badspec, _}}, erluv:start_worker(#{})).

its_output_is_logged_by_lines_case() ->
    ok = logger:set_primary_config(level, info),
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}}),
    process_flag(trap_exit, true),
    Talk = "echo one; echo two; echo bad >&2",
    {ok, Child} = erluv:start_worker(#{id => talker, cmd => Talk, options => [stdout, stderr]}),
    receive {'EXIT', Child, normal} -> ok after 15000 -> erlang:error(lives) end,
    Logged = [receive {logged, L, S, Text} -> {L, S, Text} after 5000 -> none end || _ <- [1, 2, 3]],
    ok = logger:remove_handler(?MODULE),
    ok = logger:set_primary_config(level, none),
    ?assertEqual(
        [{info, stdout, "talker: one"}, {info, stdout, "talker: two"}, {notice, stderr, "talker: bad"}],
        lists:sort(Logged)
    ).

log(#{level := Level, msg := {Format, Arguments}, meta := #{erluv := #{stream := Stream}}}, #{config := #{to := To}}) ->
    To ! {logged, Level, Stream, lists:flatten(io_lib:format(Format, Arguments))};
log(_, _) ->
    ok.

a_worker_waits_for_its_daemon_case() ->
    process_flag(trap_exit, true),
    Spec = #{cmd => "true", node => 'no@127.0.0.1', start_timeout => 50},
    ?assertEqual({error, {nodedown, 'no@127.0.0.1'}}, erluv:start_worker(Spec)).
