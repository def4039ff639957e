%% @private
%% @doc The commands and options of erlexec, checked and turned into those of the daemon.
%%
%% Checks stand here where erlexec answers them in words of its own; the rest is checked by the daemon, which has to do
%% it anyway.
-module(erluv_options).

-export([exec/3, list/1, pty/1]).

-type handler() :: print | fun((stdout | stderr, non_neg_integer(), binary()) -> term()).
-type run() :: #{
    cmd := term(),
    options := [term()],
    handlers := #{stdout | stderr => handler()},
    sync := boolean(),
    link := boolean(),
    monitor := boolean(),
    exec_compat := boolean()
}.
-export_type([run/0, handler/0]).

-define(CHARACTERS, [
    vintr, vquit, verase, vkill, veof, veol, veol2, vstart, vstop, vsusp, vdsusp, vreprint, vwerase, vlnext, vflush,
    vswtch, vstatus, vdiscard
]).
-define(MODES, [
    ignpar, parmrk, inpck, istrip, inlcr, igncr, icrnl, xcase, iuclc, ixon, ixany, ixoff, imaxbel, iutf8, isig, icanon,
    echo, echoe, echok, echonl, noflsh, tostop, iexten, echoctl, echoke, pendin, opost, olcuc, onlcr, ocrnl, onocr,
    onlret, cs7, cs8, parenb, parodd
]).

%% The daemon's own options, which pass as they are: it checks them.
-define(PASSED, [
    cd, executable, kill, nice, user, profile, winsz, window, lines, arg0, umask, limits, timeout, on_nodedown, owner, report,
    success_exit_code
]).

%% @doc Options as a list: those of a map with `true' are flags, those with `false' are not there.
-spec list([term()] | map()) -> [term()].
list(Options) when is_map(Options) -> lists:append([pair(Key, Value) || {Key, Value} <- maps:to_list(Options)]);
list(Options) -> Options.

-spec pair(term(), term()) -> [term()].
pair(report, true) -> [{report, true}];
pair(Key, true) -> [Key];
pair(_Key, false) -> [];
pair(Stream, {File, How}) when Stream =:= stdout; Stream =:= stderr -> [{Stream, File, How}];
pair(Key, Value) -> [{Key, Value}].

%% @doc Checks a command and its options; `Base' is the environment that `env' adds to. Output goes to the owner, by
%% that word, so that it follows the worker to who adopts it.
-spec exec(term(), [term()] | map(), [{term(), term()}]) -> {ok, run()} | {error, term()}.
exec(Cmd, Options, Base) ->
    try
        ok = command(Cmd),
        Listed = list(Options),
        is_proper(Listed) orelse throw({invalid_option, Options}),
        ok = once(Listed),
        Parsed = lists:foldl(fun option/2, start(Base), Listed),
        {ok, finish(Cmd, Parsed)}
    catch
        throw:Reason -> {error, Reason}
    end.

-spec start([{term(), term()}]) -> map().
start(Base) ->
    #{options => [], handlers => #{}, sync => false, link => false, monitor => false, env => Base, cd => "/",
      kill_timeout => 5000, exec_compat => application:get_env(erluv, exec_compat, false) =:= true}.

-spec command(term()) -> ok.
command(Cmd) when Cmd =:= []; Cmd =:= <<>>; Cmd =:= ""; Cmd =:= [[]]; Cmd =:= [<<>>] ->
    throw("empty command provided");
command(Cmd) when is_binary(Cmd) -> ok;
command(Cmd) when is_list(Cmd) ->
    case is_text(Cmd) orelse (is_proper(Cmd) andalso lists:all(fun is_text/1, Cmd)) of
        true -> ok;
        false -> throw({badcommand, Cmd})
    end;
command(Cmd) -> throw({badcommand, Cmd}).

-spec once([term()]) -> ok.
once(Options) ->
    Names = [name(Option) || Option <- Options],
    case Names -- lists:usort(Names) of
        [] -> ok;
        [Twice | _] -> throw(text("duplicate ~tw option specified", [Twice]))
    end.

-spec name(term()) -> term().
name(Option) when is_tuple(Option), tuple_size(Option) > 0 -> element(1, Option);
name(Option) -> Option.

-spec option(term(), map()) -> map().
option(sync, Run) -> Run#{sync := true};
option(link, Run) -> Run#{link := true};
option(monitor, Run) -> Run#{monitor := true};
option(exec_compat, Run) -> Run#{exec_compat := true};
option({exec_compat, Is}, Run) when is_boolean(Is) -> Run#{exec_compat := Is};
option(debug, Run) -> Run;
option({debug, Level}, Run) when is_integer(Level), Level >= 0, Level =< 10 -> Run;
option(stdin, Run) -> add(stdin, Run);
option({stdin, null}, Run) -> Run;
option({stdin, Where} = Option, Run) ->
    case Where =:= close orelse is_file(Where) of
        true -> add(Option, Run);
        false -> throw({invalid_option, Option})
    end;
option(Stream, Run) when Stream =:= stdout; Stream =:= stderr -> add(Stream, Run);
option({Stream, Where}, Run) when Stream =:= stdout; Stream =:= stderr ->
    output(Stream, Where, Run);
option({Stream, File, How} = Option, Run) when Stream =:= stdout; Stream =:= stderr ->
    Good = is_file(File) andalso is_list(How) andalso lists:all(fun is_mode/1, How),
    Good orelse throw({invalid_option, Option}),
    add(Option, Run);
option({env, Env}, Run) when is_list(Env); is_map(Env) -> environment(Env, Run);
option({kill_timeout, Seconds}, Run) when is_integer(Seconds), Seconds >= 0 ->
    Run#{kill_timeout := Seconds * 1000};
option(kill_group, Run) -> add(kill_group, Run);
option({group, Zero}, Run) when Zero =:= 0; Zero =:= "0"; Zero =:= <<"0">> -> Run;
option({group, _} = Option, Run) -> add(Option, Run);
option(pty, Run) -> add(pty, Run);
option({pty, Options}, Run) ->
    case pty(Options) of
        ok -> add({pty, Options}, Run);
        {error, Bad} -> throw(Bad)
    end;
option(pty_echo, Run) -> add(pty_echo, Run);
option({nice, Nice} = Option, _) when not is_integer(Nice); Nice < -20; Nice > 20 -> throw({invalid_option, Option});
option({success_exit_code, Code} = Option, _) when not is_integer(Code); Code < 0; Code > 255 ->
    throw({invalid_option, Option});
option({cd, Directory}, Run) -> add({cd, Directory}, Run#{cd := Directory});
option({capabilities, _}, _) -> throw({not_supported, capabilities});
option({Name, _} = Option, Run) ->
    lists:member(Name, ?PASSED) orelse throw({invalid_option, Option}),
    add(Option, Run);
option(Option, _) -> throw({invalid_option, Option}).

-spec add(term(), map()) -> map().
add(Option, #{options := Options} = Run) -> Run#{options := [Option | Options]}.

-spec output(stdout | stderr, term(), map()) -> map().
output(_, null, Run) -> Run;
output(Stream, Stream, _) -> throw(text("self-reference of ~w", [Stream]));
output(Stream, Where, Run) when is_pid(Where); Where =:= close; Where =:= stdout; Where =:= stderr ->
    add({Stream, Where}, Run);
output(Stream, print, Run) -> handle(Stream, print, Run);
output(Stream, Fun, Run) when is_function(Fun, 3) -> handle(Stream, Fun, Run);
output(Stream, Fun, _) when is_function(Fun) ->
    throw(text("Invalid ~w option ~p: expected Fun/3", [Stream, Fun]));
output(Stream, Where, Run) ->
    is_file(Where) orelse throw({invalid_option, {Stream, Where}}),
    add({Stream, Where}, Run).

-spec handle(stdout | stderr, handler(), map()) -> map().
handle(Stream, Handler, #{handlers := Handlers} = Run) -> Run#{handlers := Handlers#{Stream => Handler}}.

-spec is_mode(term()) -> boolean().
is_mode(append) -> true;
is_mode({mode, Mode}) -> is_integer(Mode) andalso Mode >= 0 andalso Mode =< 8#7777;
is_mode(_) -> false.

%% `clear' counts wherever it stands. A later entry of a name replaces an earlier one.
-spec environment([term()] | map(), map()) -> map().
environment(Env, Run) when is_map(Env) ->
    environment(maps:to_list(Env), Run);
environment(Env, #{env := Base} = Run) ->
    is_proper(Env) orelse throw({invalid_option, {env, Env}}),
    Entries = lists:zip(lists:seq(1, length(Env)), Env),
    Start =
        case lists:member(clear, Env) of
            true -> [];
            false -> Base
        end,
    Run#{env := lists:foldl(fun variable/2, Start, Entries)}.

-spec variable({pos_integer(), term()}, [{term(), term()}]) -> [{term(), term()}].
variable({_, clear}, Env) ->
    Env;
variable({_, {Name, false} = Entry}, Env) ->
    is_text(Name) orelse throw({invalid_env_value, [Entry]}),
    without(Name, Env);
variable({_, {Name, Value} = Entry}, Env) ->
    is_text(Name) andalso is_text(Value) orelse throw({invalid_env_value, [Entry]}),
    without(Name, Env) ++ [{Name, Value}];
variable({Index, Text}, Env) ->
    is_text(Text) orelse throw({invalid_env_value, [Text]}),
    case string:split(Text, "=") of
        [Name, Value] -> without(Name, Env) ++ [{Name, Value}];
        [_] -> throw(text("env - invalid env argument #~w", [Index]))
    end.

-spec without(unicode:chardata(), [{term(), term()}]) -> [{term(), term()}].
without(Name, Env) ->
    Same = unicode:characters_to_binary(Name),
    [Entry || {Other, _} = Entry <- Env, unicode:characters_to_binary(Other) =/= Same].

%% @doc Checks options of a terminal; the answer names the bad ones, in their order.
-spec pty([term()]) -> ok | {error, {invalid_pty_value, term()}}.
pty(Options) when is_list(Options) ->
    case [Option || Option <- Options, not is_pty(Option)] of
        [] -> ok;
        Bad -> {error, {invalid_pty_value, Bad}}
    end;
pty(Options) ->
    {error, {invalid_pty_value, Options}}.

-spec is_pty(term()) -> boolean().
is_pty({Speed, Value}) when Speed =:= tty_op_ispeed; Speed =:= tty_op_ospeed -> is_integer(Value) andalso Value >= 0;
is_pty({Name, Value}) ->
    (lists:member(Name, ?CHARACTERS) andalso is_integer(Value) andalso Value >= 0 andalso Value =< 255) orelse
        (lists:member(Name, ?MODES) andalso lists:member(Value, [true, false, 0, 1]));
is_pty(_) -> false.

%% erlexec executes the first text of a list as it is: no search in a PATH, and a name without a leading slash is
%% relative to the working directory. The daemon would search, so it is told the file; argv stays what it was.
-spec finish(term(), map()) -> run().
finish(Cmd, #{options := Options, env := Env, cd := Directory, kill_timeout := KillTimeout} = Run) ->
    lists:member({stdout, stderr}, Options) andalso lists:member({stderr, stdout}, Options) andalso
        throw("circular reference of stdout and stderr"),
    Given = lists:keyfind(executable, 1, Options),
    File =
        case {is_text(Cmd), Given} of
            {true, _} -> Given;
            {false, false} -> absolute(hd(Cmd), Directory, false);
            {false, {_, Path}} -> absolute(Path, Directory, Given)
        end,
    Rest = lists:keydelete(executable, 1, lists:reverse(Options)),
    Executable = [{executable, element(2, File)} || File =/= false],
    Environment = [{env, Env} || Env =/= []],
    Base = maps:with([handlers, sync, link, monitor, exec_compat], Run),
    Base#{cmd => Cmd, options => [{kill_timeout, KillTimeout} | Rest] ++ Executable ++ Environment}.

-spec absolute(unicode:chardata(), unicode:chardata(), Given) -> {executable, unicode:chardata()} | Given.
absolute(<<"/", _/binary>>, _, Given) -> Given;
absolute("/" ++ _, _, Given) -> Given;
absolute(Name, Directory, _) -> {executable, filename:join(Directory, Name)}.

-spec is_text(term()) -> boolean().
is_text(Text) when is_binary(Text) -> true;
is_text(Text) ->
    is_proper(Text) andalso lists:all(fun(C) -> is_integer(C) andalso C > 0 andalso C =< 16#10ffff end, Text).

-spec is_file(term()) -> boolean().
is_file(File) -> File =/= "" andalso File =/= <<>> andalso is_text(File).

-spec is_proper(term()) -> boolean().
is_proper(List) -> is_list(List) andalso length_or(List) =/= improper.

-spec length_or(maybe_improper_list()) -> non_neg_integer() | improper.
length_or(List) ->
    try
        length(List)
    catch
        error:badarg -> improper
    end.

-spec text(io:format(), [term()]) -> string().
text(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).
