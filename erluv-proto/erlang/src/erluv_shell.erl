%% @private
%% @doc The table of `erluv:i/0'.
-module(erluv_shell).

-export([table/2]).

-define(ROW, "~-16ts ~9ts  ~-12ts ~-9ts ~8ts ~9ts  ~ts~n").

%% @doc Formats the workers of each daemon; `Now' is in seconds since 1970.
-spec table([{node(), [map()]}], integer()) -> io_lib:chars().
table([], _Now) ->
    "no erluv serves this node\n";
table(Daemons, Now) ->
    [daemon(Daemon, Now) || Daemon <- Daemons].

-spec daemon({node(), [map()]}, integer()) -> io_lib:chars().
daemon({Node, Workers}, Now) ->
    Rows = lists:sort([{maps:get(started, W, 0), maps:get(os_pid, W, 0), W} || W <- Workers]),
    Head = io_lib:format("~ts: ~w workers~n", [Node, length(Workers)]),
    Titles = [io_lib:format(?ROW, ["Pid", "OsPid", "User", "State", "Age", "Queued", "Command"]) || Workers =/= []],
    [Head, Titles, [row(Worker, Now) || {_, _, Worker} <- Rows]].

-spec row(map(), integer()) -> io_lib:chars().
row(Worker, Now) ->
    Get = fun(Key) -> maps:get(Key, Worker, "?") end,
    Age =
        case Worker of
            #{started := Started} -> age(max(0, Now - Started));
            #{} -> "?"
        end,
    io_lib:format(?ROW, [
        text(Get(pid)), text(Get(os_pid)), text(Get(user)), text(Get(state)), Age, text(Get(queued)),
        string:slice(text(Get(command)), 0, 60)
    ]).

-spec age(non_neg_integer()) -> io_lib:chars().
age(S) when S < 100 -> io_lib:format("~ws", [S]);
age(S) when S < 6000 -> io_lib:format("~wm", [S div 60]);
age(S) when S < 360000 -> io_lib:format("~wh", [S div 3600]);
age(S) -> io_lib:format("~wd", [S div 86400]).

%% One line for each worker: what is no printable character of a command is escaped.
-spec text(term()) -> unicode:chardata().
text(Binary) when is_binary(Binary) ->
    Printable = io_lib:printable_unicode_list(unicode:characters_to_list(Binary)),
    case Printable andalso string:find(Binary, "\n") =:= nomatch of
        true -> Binary;
        false -> lists:flatten(io_lib:format("~tp", [Binary]))
    end;
text(List) when is_list(List) -> List;
text(Term) -> lists:flatten(io_lib:format("~tp", [Term])).
