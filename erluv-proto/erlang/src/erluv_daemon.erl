%% @doc A daemon that the node starts itself, with the node's own user.
%%
%% A shell stands between the node and erluv-main: it waits for the end of its input, which comes when this process
%% ends or when the whole VM does, however it does. Then it sends SIGTERM, waits, and removes the folder with the
%% cookie. The cookie is in a file of mode 0600 in a folder of mode 0700, in no argument and in no environment;
%% erluv-main inherits no more of the node's environment than PATH, HOME, LANG and TMPDIR.
-module(erluv_daemon).
-behaviour(gen_server).

-export([options/1, start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include_lib("kernel/include/logger.hrl").
-include_lib("kernel/include/file.hrl").

-type settings() :: #{
    %% The file of erluv-main: looked up in PATH, then in /usr/local/sbin and /usr/sbin, where it is not given.
    program => file:name_all(),
    %% The daemon's node name; made anew for each start of it where it is not given.
    name => node(),
    %% A configuration file (erluv.conf(5)); what stands here overrides it.
    file => file:name_all(),
    %% Settings of erluv.conf(5) as `erluv-main -o' takes them.
    options => [{atom() | string() | binary(), term()}],
    %% How long to wait until the daemon serves this node, in milliseconds; 10000 by default.
    timeout => timeout()
}.
-type options() :: #{
    program := file:filename_all(), name := node(), file => file:name_all(), options := [string()], timeout := timeout()
}.
-export_type([settings/0, options/0]).

-record(state, {port :: port(), name :: node(), folder :: file:filename_all()}).

%% The script's own arguments: the folder to remove, then the program and its arguments. It reads a line, which is
%% the request to end, or the end of input; descriptor 3 is the port, as a background command of a shell has no
%% input. Either of its two processes ends the daemon and removes the folder without the other.
-define(SCRIPT,
    "exec 3<&0; dir=$1; shift; \"$@\" </dev/null 3<&- & main=$!; "
    "{ read -r _ <&3; kill -TERM $main 2>/dev/null; rm -rf \"$dir\"; } & guard=$!; "
    "wait $main; status=$?; kill $guard 2>/dev/null; rm -rf \"$dir\"; exit $status"
).

%% @doc Checks the settings. `true' and `[]' stand for no settings.
-spec options(term()) -> {ok, options()} | {error, term()}.
options(true) ->
    options(#{});
options(Settings) when is_list(Settings) ->
    try maps:from_list(Settings) of
        Map -> options(Map)
    catch
        error:badarg -> {error, {badopt, Settings}}
    end;
options(Settings) when is_map(Settings) ->
    try
        is_alive() orelse throw(not_alive),
        [throw({badopt, Key}) || Key <- maps:keys(maps:without([program, name, file, options, timeout], Settings))],
        Timeout = maps:get(timeout, Settings, 10000),
        is_timeout(Timeout) orelse throw({badopt, {timeout, Timeout}}),
        Name = maps:get(name, Settings, new_name()),
        is_atom(Name) orelse throw({badopt, {name, Name}}),
        Program = program(maps:get(program, Settings, undefined)),
        Given = [setting(Option) || Option <- maps:get(options, Settings, [])],
        File = maps:with([file], Settings),
        {ok, File#{program => Program, name => Name, options => Given, timeout => Timeout}}
    catch
        throw:Reason -> {error, Reason}
    end;
options(Settings) ->
    {error, {badopt, Settings}}.

%% @doc Starts the daemon and waits until it serves this node.
-spec start_link(options()) -> {ok, pid()} | ignore | {error, term()}.
start_link(Options) ->
    gen_server:start_link(?MODULE, Options, []).

-spec init(options()) -> {ok, #state{}} | {stop, term()}.
init(#{name := Name, timeout := Timeout} = Options) ->
    process_flag(trap_exit, true),
    case folder(3) of
        {ok, Folder} ->
            State = #state{port = open(Folder, Options), name = Name, folder = Folder},
            wait(State, erlang:monotonic_time(millisecond), Timeout, []);
        {error, Reason} ->
            {stop, {shutdown, {cookie_file, Reason}}}
    end.

%% Its log while it starts is the reason why it does not, in its own words.
-spec wait(#state{}, integer(), timeout(), [binary()]) -> {ok, #state{}} | {stop, term()}.
wait(#state{port = Port, name = Name} = State, Since, Timeout, Log) ->
    receive
        {Port, {data, {_, Line}}} ->
            ok = log(Line, State),
            wait(State, Since, Timeout, [Line | Log]);
        {Port, {exit_status, Status}} ->
            ok = remove(State),
            {stop, {shutdown, {exited, Status, lists:reverse(Log)}}}
    after 0 ->
        Spent = erlang:monotonic_time(millisecond) - Since,
        case erluv_node:wait([Name], 100) of
            {ok, Name} ->
                {ok, State};
            {error, no_daemon} when Timeout =:= infinity; Spent < Timeout ->
                wait(State, Since, Timeout, Log);
            {error, Reason} ->
                ok = close(State),
                {stop, {shutdown, {Reason, lists:reverse(Log)}}}
        end
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(Request, _From, State) ->
    {reply, {error, {unknown_request, Request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Request, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Port, {data, {_, Line}}}, #state{port = Port} = State) ->
    ok = log(Line, State),
    {noreply, State};
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    {stop, {daemon_exited, Status}, State};
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {daemon_exited, Reason}, State};
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate({daemon_exited, _}, State) -> remove(State);
terminate(_Reason, State) -> close(State).

%% By a line and not by closing the port, which would take away where the daemon logs its end and what tells it. The
%% time is below the supervisor's patience; then the port is closed with this process, and the shell goes on alone.
-spec close(#state{}) -> ok.
close(#state{port = Port} = State) ->
    try port_command(Port, "end\n") of
        true -> ended(State)
    catch
        error:badarg -> ok
    end.

-spec ended(#state{}) -> ok.
ended(#state{port = Port} = State) ->
    receive
        {Port, {data, {_, Line}}} ->
            ok = log(Line, State),
            ended(State);
        {Port, {exit_status, _}} ->
            remove(State)
    after 25000 -> ok
    end.

%% The shell has done it, unless it was killed.
-spec remove(#state{}) -> ok.
remove(#state{folder = Folder}) ->
    _ = file:del_dir_r(Folder),
    ok.

-spec log(binary(), #state{}) -> ok.
log(Line, #state{name = Name}) ->
    ?LOG_INFO("~ts: ~ts", [Name, printable(Line)]).

-spec printable(binary()) -> unicode:chardata().
printable(Line) ->
    case unicode:characters_to_list(Line) of
        Characters when is_list(Characters) -> Line;
        _ -> io_lib:format("~tp", [Line])
    end.

-spec open(file:filename_all(), options()) -> port().
open(Folder, #{program := Program, name := Name, options := Given} = Options) ->
    File = [["-f", maps:get(file, Options)] || is_map_key(file, Options)],
    Epmd =
        case os:getenv("ERL_EPMD_PORT") of
            false -> [];
            Epmd0 -> ["-o", "epmd_port=" ++ Epmd0]
        end,
    Sets = lists:append([["-o", Option] || Option <- Given]),
    Cookie = filename:join(Folder, "cookie"),
    Names = ["--node", atom_to_list(node()), "--name", atom_to_list(Name), "--cookie-file", Cookie],
    Arguments = lists:append([["-c", ?SCRIPT, "erluv", Folder, Program, "-d"], lists:append(File), Epmd, Sets, Names]),
    open_port({spawn_executable, "/bin/sh"}, [
        {args, Arguments}, {env, environment()}, {line, 4096}, binary, exit_status, stderr_to_stdout, hide
    ]).

-spec environment() -> [{string(), false}].
environment() ->
    [{Name, false} || {Name, _} <- os:env(), not lists:member(Name, ["PATH", "HOME", "LANG", "TMPDIR"])].

%% A folder that is there already is not taken: whoever made it may own it.
-spec folder(non_neg_integer()) -> {ok, file:filename_all()} | {error, term()}.
folder(0) ->
    {error, eexist};
folder(Tries) ->
    Unique = integer_to_list(erlang:phash2({os:getpid(), make_ref(), erlang:timestamp()}, 16#ffffffff), 36),
    Folder = filename:join(os:getenv("TMPDIR", "/tmp"), "erluv-" ++ os:getpid() ++ "-" ++ Unique),
    case file:make_dir(Folder) of
        ok -> cookie(Folder);
        {error, eexist} -> folder(Tries - 1);
        {error, Reason} -> {error, Reason}
    end.

-spec cookie(file:filename_all()) -> {ok, file:filename_all()} | {error, term()}.
cookie(Folder) ->
    File = filename:join(Folder, "cookie"),
    Cookie = atom_to_binary(erlang:get_cookie()),
    Steps = [
        fun() -> file:change_mode(Folder, 8#700) end,
        fun() -> file:write_file(File, <<>>, [exclusive, raw]) end,
        fun() -> file:change_mode(File, 8#600) end,
        fun() -> file:write_file(File, Cookie, [raw]) end
    ],
    case lists:foldl(fun(Step, Sofar) -> Sofar =:= ok andalso Step() end, ok, Steps) of
        ok ->
            {ok, Folder};
        _ ->
            _ = file:del_dir_r(Folder),
            {error, Folder}
    end.

-spec program(term()) -> file:filename_all().
program(undefined) ->
    Places = ["erluv-main", "/usr/local/sbin/erluv-main", "/usr/sbin/erluv-main"],
    Found = [os:find_executable(Place) || Place <- Places],
    case [File || File <- Found, File =/= false] of
        [File | _] -> File;
        [] -> throw({program, enoent})
    end;
program(File) when is_list(File); is_binary(File) ->
    case file:read_file_info(File) of
        {ok, #file_info{type = regular}} -> File;
        {ok, _} -> throw({program, eacces});
        {error, Reason} -> throw({program, Reason})
    end;
program(File) ->
    throw({badopt, {program, File}}).

%% A name of its own for each daemon, so that it is known before it announces itself.
-spec new_name() -> node().
new_name() ->
    [_, Host] = string:split(atom_to_list(node()), "@"),
    Number = integer_to_list(erlang:unique_integer([positive]), 36),
    list_to_atom("erluv_" ++ os:getpid() ++ "_" ++ string:lowercase(Number) ++ "@" ++ Host).

-spec setting(term()) -> string().
setting({Key, Value}) ->
    lists:flatten(io_lib:format("~ts=~ts", [as_text(Key), as_text(Value)]));
setting(Other) ->
    throw({badopt, Other}).

-spec is_timeout(term()) -> boolean().
is_timeout(Timeout) -> Timeout =:= infinity orelse (is_integer(Timeout) andalso Timeout > 0).

-spec as_text(term()) -> unicode:chardata().
as_text(Value) when is_atom(Value) -> atom_to_binary(Value);
as_text(Value) when is_integer(Value) -> integer_to_list(Value);
as_text(Value) when is_binary(Value) -> Value;
as_text(Value) ->
    case io_lib:printable_unicode_list(Value) of
        true -> Value;
        false -> throw({badopt, Value})
    end.
