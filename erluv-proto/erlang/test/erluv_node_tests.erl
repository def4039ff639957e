-module(erluv_node_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

-define(LIVES, [absent, asked, up, crashed]).
-define(EVENTS, [
    node_up, {info, up}, {info, crashed}, {info, other}, announced, {child_down, why}, respawned,
    not_respawned, node_down
]).

each_pair_of_state_and_event_has_an_answer_test() ->
    [?assertMatch({_, _}, erluv_node:next(Life, Event)) || Life <- ?LIVES, Event <- ?EVENTS].

who_is_up_is_in_the_table_and_nobody_else_test() ->
    [
        begin
            {Next, Actions} = erluv_node:next(Life, Event),
            ?assert(lists:member(Next, ?LIVES)),
            ?assertEqual({Life, Event, Life =/= up andalso Next =:= up}, {Life, Event, lists:member(add, Actions)}),
            ?assertEqual({Life, Event, Life =:= up andalso Next =/= up}, {Life, Event, lists:member(remove, Actions)})
        end
     || Life <- ?LIVES, Event <- ?EVENTS
    ].

only_a_crash_is_answered_by_the_order_test() ->
    [
        begin
            {Next, Actions} = erluv_node:next(Life, Event),
            Ordered = [Reason || {respawn, Reason} <- Actions],
            ?assertEqual({Life, Event, Life =/= crashed andalso Next =:= crashed}, {Life, Event, Ordered =/= []})
        end
     || Life <- ?LIVES, Event <- ?EVENTS
    ].

a_crashed_daemon_is_up_again_only_by_the_answer_or_its_announcement_test() ->
    [?assertEqual(crashed, element(1, erluv_node:next(crashed, E)))
     || E <- ?EVENTS -- [respawned, announced, node_down]],
    ?assertEqual({up, [add, {tell, respawned}]}, erluv_node:next(crashed, respawned)),
    ?assertEqual({up, [add, {tell, respawned}]}, erluv_node:next(crashed, announced)).
