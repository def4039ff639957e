-module(erluv_settings_tests).
-compile(export_all).
-compile(nowarn_export_all).
-include_lib("stdlib/include/assert.hrl").

a_setting_that_would_promise_protection_is_refused_test() ->
    ?assertEqual({error, {not_supported, limit_users}}, erluv_settings:set([{limit_users, ["nobody"]}])),
    ?assertEqual({error, {not_supported, user}}, erluv_settings:set([{user, "root"}])),
    ?assertEqual({error, {not_supported, root}}, erluv_settings:set([root])),
    ?assertEqual({error, {not_supported, capabilities}}, erluv_settings:set([{capabilities, all}])).

settings_of_the_port_program_mean_nothing_here_test() ->
    ?assertEqual(ok, erluv_settings:set([verbose, {alarm, 3}, {portexe, "x"}, {root, false}, debug])).

a_bad_setting_changes_nothing_test() ->
    Old = application:get_env(erluv, debug, 0),
    ?assertEqual({error, {invalid_option, {nope, 1}}}, erluv_settings:set([{debug, 7}, {nope, 1}])),
    ?assertEqual({error, {invalid_option, respawn}}, erluv_settings:set([{respawn, {always, 0, 1}}])),
    ?assertEqual(Old, application:get_env(erluv, debug, 0)).

debug_answers_the_level_before_test() ->
    {ok, Old} = erluv:debug(3),
    ?assertEqual({ok, 3}, erluv:debug(Old)),
    ?assertEqual({error, badarg}, erluv:debug(11)).

manage_is_not_supported_test() ->
    ?assertEqual({error, not_supported}, erluv:manage(1, [])),
    ?assertEqual({error, not_supported}, erluv:manage(1, [], 1000)),
    ?assertEqual({error, not_supported}, erluv:manage('e@h', 1, [], 1000)).
