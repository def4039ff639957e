%% @private
%% @doc Signals and wait statuses, in the numbers of Linux and the names of erlexec.
%%
%% The numbers are an agreement with the caller, whatever system the daemon is on: it is told names where there are any.
-module(erluv_signal).

-export([status/1, name/1, number/1, known/1]).

-define(SIGNALS, [
    {1, sighup}, {2, sigint}, {3, sigquit}, {4, sigill}, {5, sigtrap}, {6, sigabrt}, {7, sigbus}, {8, sigfpe},
    {9, sigkill}, {11, sigsegv}, {13, sigpipe}, {14, sigalrm}, {15, sigterm}, {16, sigstkflt}, {17, sigchld},
    {18, sigcont}, {19, sigstop}, {20, sigtstp}, {21, sigttin}, {22, sigttou}, {23, sigurg}, {24, sigxcpu},
    {25, sigxfsz}, {26, sigvtalrm}, {27, sigprof}, {28, sigwinch}, {29, sigio}, {30, sigpwr}, {31, sigsys},
    {34, sigrtmin}, {64, sigrtmax}
]).

%% Without a name there: erlexec's signal/1 answers the number for these two, so name/1 does; number/1 takes them.
-define(USER_SIGNALS, [{10, sigusr1}, {12, sigusr2}]).

%% @doc What a status of wait(2) says.
-spec status(non_neg_integer()) -> {status, 0..255} | {signal, atom() | integer(), CoreDump :: boolean()}.
status(Status) when is_integer(Status), Status >= 0 ->
    case Status band 16#7f of
        0 -> {status, (Status bsr 8) band 16#ff};
        Signal -> {signal, name(Signal), Status band 16#80 =/= 0}
    end.

-spec name(integer()) -> atom() | integer().
name(Number) when is_integer(Number) ->
    case lists:keyfind(Number, 1, ?SIGNALS) of
        {_, Name} -> Name;
        false -> Number
    end.

%% @doc Fails with `function_clause' for a name that there is not, as erlexec does.
-spec number(atom() | integer()) -> integer().
number(Number) when is_integer(Number) ->
    Number;
number(Name) when is_atom(Name) ->
    case lists:keyfind(Name, 2, ?SIGNALS ++ ?USER_SIGNALS) of
        {Number, _} -> Number;
        false -> erlang:error(function_clause, [Name])
    end.

-spec known(term()) -> boolean().
known(Name) when is_atom(Name) -> lists:keymember(Name, 2, ?SIGNALS ++ ?USER_SIGNALS);
known(Number) when is_integer(Number) -> Number >= 0 andalso Number =< 64;
known(_) -> false.
