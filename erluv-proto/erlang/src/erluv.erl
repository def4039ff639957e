%% @doc Processes of the operating system, run by erluv, the daemon.
%%
%% The first part has the functions of erlexec's module `exec', with its arguments, messages and results: replace
%% `exec:' by `erluv:'. Each of them also takes a daemon first, by node name, or `first' or `spread'. That is never
%% ambiguous: in erlexec's own forms no first argument is an atom.
%%
%% A `worker()' is the worker's own pid, as {@link run/2} returns it, its number at the operating system, or a port,
%% whose number is meant. A pid is the better name: it says by itself which daemon has the worker, where a number
%% has to be asked for, and comes to be another process's when the worker has ended.
%%
%% What differs from erlexec on purpose is in README.md, "Moving from erlexec".
-module(erluv).

-compile({no_auto_import, [nodes/0]}).

%% erlexec's
-export([start/0, start/1, start_link/1, run/2, run/3, run/4, run_link/2, run_link/3, run_link/4]).
-export([send/2, send/3, kill/2, kill/3, stop/1, stop/2, stop_and_wait/2, stop_and_wait/3]).
-export([manage/2, manage/3, manage/4]).
-export([ospid/1, ospid/2, pid/1, pid/2, winsz/3, winsz/4, pty_opts/2, pty_opts/3, setpgid/2, setpgid/3]).
-export([which_children/0, which_children/1, debug/1, debug/2, status/1, signal/1, signal_to_int/1]).
%% beyond it
-export([stream/1, stream/2, stream/3, read/1, read/2, write/2, close/1]).
-export([start_worker/1, child_spec/1, worker/1]).
-export([nodes/0, info/0, info/1, workers/0, workers/1, i/0, adopt/1, subscribe/0, unsubscribe/0, respawn/1]).
-export([start_daemon/0, start_daemon/1, stop_daemon/1]).

-type cmd() :: string() | binary() | [string() | binary()].
-type ospid() :: non_neg_integer().
-type worker() :: pid() | ospid() | port().
%% A daemon: its node name, the one that announced itself first, or one of all at random.
-type daemon() :: node() | first | spread.
-type output() ::
    null | close | print | string() | binary() | pid() | fun((stdout | stderr, ospid(), binary()) -> term())
    | stdout | stderr.
-type option() ::
    sync | link | monitor | stdin | stdout | stderr | pty | pty_echo | kill_group | debug | exec_compat
    | {executable, string() | binary()} | {cd, string() | binary()}
    | {env, [string() | binary() | clear | {string() | binary(), string() | binary() | false}]}
    | {kill, string() | binary()} | {kill_timeout, Seconds :: non_neg_integer()}
    | {group, 0} | {user, string() | binary()} | {profile, atom() | string() | binary()} | {nice, -20..20} | {success_exit_code, 0..255}
    | {stdin, null | close | string() | binary()} | {stdout | stderr, output()}
    | {stdout | stderr, string() | binary(), [append | {mode, non_neg_integer()}]}
    | {pty, [{atom(), boolean() | non_neg_integer()}]} | {winsz, {pos_integer(), pos_integer()}} | {debug, 0..10}
    | {exec_compat, boolean()} | {lines | window | umask, non_neg_integer()} | {timeout, Milliseconds :: pos_integer()}
    | {arg0, string() | binary()} | {limits, [{atom(), non_neg_integer() | unlimited}]} | {report, boolean()}
    | {on_nodedown, stop | {keep, Seconds :: non_neg_integer()}} | {owner, pid() | none}.
-type options() :: [option()] | #{atom() => term()}.
-type started() :: {ok, pid(), ospid()} | {ok, [{stdout | stderr, [binary()]}]} | {error, term()}.
-type stream() :: erluv_stream:stream().
-export_type([cmd/0, ospid/0, worker/0, daemon/0, option/0, options/0, started/0, stream/0]).

%% @equiv start([])
-spec start() -> {ok, pid()} | {error, term()}.
start() -> start([]).

%% @doc Starts the application. `env', `debug', `node', `nodes', `choose', `respawn', `daemon', `window' and
%% `exec_compat' are its settings; erlexec's other options are the administrator's and stand in erluv.conf(5):
%% `{error, {not_supported, Option}}' for `user', `limit_users', `root' and `capabilities', which would promise a
%% protection that nobody gives. `args', `alarm', `portexe', `valgrind' and `verbose' have nothing here to apply to.
-spec start([term()]) -> {ok, pid()} | {error, term()}.
start(Options) ->
    case erluv_settings:set(Options) of
        ok ->
            case application:start(erluv) of
                ok -> {ok, whereis(erluv)};
                {error, {already_started, erluv}} -> {error, {already_started, whereis(erluv)}};
                {error, Reason} -> {error, Reason}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc As {@link start/1}, but as a part of the caller's own supervision tree, linked with it.
-spec start_link([term()]) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    case erluv_settings:set(Options) of
        ok -> erluv_sup:start_link();
        {error, Reason} -> {error, Reason}
    end.

%% @equiv run(Cmd, Options, 30000)
-spec run(cmd(), options()) -> started().
run(Cmd, Options) -> run(Cmd, Options, 30000).

%% @doc Runs a command: `run(Cmd, Options, Timeout)', or `run(Daemon, Cmd, Options)'.
%%
%% A text is run by /bin/sh; a list is executed as it is, without a search in a PATH. `{ok, Pid, OsPid}' comes when it
%% runs; that it cannot be executed is an error at once: `{error, {launch_failed, exec, enoent}}'. With `sync' it waits
%% for the end and returns what was written. `Timeout', in milliseconds, is for the start: it also waits that long for a
%% daemon, where none is there and none is named.
-spec run(cmd(), options(), timeout()) -> started(); (daemon(), cmd(), options()) -> started().
run(Daemon, Cmd, Options) when is_atom(Daemon) -> run(Daemon, Cmd, Options, 30000);
run(Cmd, Options, Timeout) -> erluv_exec:run(default, Cmd, Options, Timeout).

-spec run(daemon(), cmd(), options(), timeout()) -> started().
run(Daemon, Cmd, Options, Timeout) -> erluv_exec:run(Daemon, Cmd, Options, Timeout).

%% @equiv run_link(Cmd, Options, 30000)
-spec run_link(cmd(), options()) -> started().
run_link(Cmd, Options) -> run_link(Cmd, Options, 30000).

%% @doc As {@link run/3}; the worker is linked with the caller as it starts. With `sync' there is nothing to link.
-spec run_link(cmd(), options(), timeout()) -> started(); (daemon(), cmd(), options()) -> started().
run_link(Daemon, Cmd, Options) when is_atom(Daemon) -> run_link(Daemon, Cmd, Options, 30000);
run_link(Cmd, Options, Timeout) -> erluv_exec:run_link(default, Cmd, Options, Timeout).

-spec run_link(daemon(), cmd(), options(), timeout()) -> started().
run_link(Daemon, Cmd, Options, Timeout) -> erluv_exec:run_link(Daemon, Cmd, Options, Timeout).

%% @doc Writes to the standard input of a worker, or ends it by `eof'. Returns when the worker's pipe has taken all: a
%% worker that does not read makes the writer wait, where erlexec would queue without limit. `Pid ! {stdin, Data}' does
%% not wait. By number the answer is always `ok', as in erlexec.
-spec send(worker(), iodata() | eof) -> ok | {error, term()}.
send(Worker, Data) -> erluv_exec:send(any, Worker, Data).

-spec send(daemon(), worker(), iodata() | eof) -> ok | {error, term()}.
send(Daemon, Worker, Data) -> erluv_exec:send(Daemon, Worker, Data).

%% @doc Sends a signal, by name or by Linux's number. Its end is told as what it was.
-spec kill(worker(), atom() | integer()) -> ok | {error, term()}.
kill(Worker, Signal) -> erluv_exec:kill(any, Worker, Signal).

-spec kill(daemon(), worker(), atom() | integer()) -> ok | {error, term()}.
kill(Daemon, Worker, Signal) -> erluv_exec:kill(Daemon, Worker, Signal).

%% @doc Ends a worker: its kill command or SIGTERM, and SIGKILL after its `kill_timeout'. Returns at once; the end
%% is then told as `normal'.
-spec stop(worker()) -> ok | {error, term()}.
stop(Worker) -> erluv_exec:stop(any, Worker).

-spec stop(daemon(), worker()) -> ok | {error, term()}.
stop(Daemon, Worker) -> erluv_exec:stop(Daemon, Worker).

%% @doc Ends a worker and returns the reason of its end, whether the caller monitors it or not. A `DOWN' of
%% erlexec's form that tells it is taken out of the mailbox.
-spec stop_and_wait(worker(), timeout()) -> term() | {error, term()}.
stop_and_wait(Worker, Timeout) -> erluv_exec:stop_and_wait(any, Worker, Timeout).

-spec stop_and_wait(daemon(), worker(), timeout()) -> term() | {error, term()}.
stop_and_wait(Daemon, Worker, Timeout) -> erluv_exec:stop_and_wait(Daemon, Worker, Timeout).

%% @doc Not supported: a process that erluv did not start is neither its child, so that its end and status cannot be
%% known for certain, nor held by its policy, so that a node could have any process of the worker's users killed.
-spec manage(ospid() | port(), options()) -> {error, not_supported}.
manage(_Process, _Options) -> {error, not_supported}.

-spec manage(ospid() | port() | daemon(), options() | ospid() | port(), timeout() | options()) ->
    {error, not_supported}.
manage(_Process, _Options, _Timeout) -> {error, not_supported}.

-spec manage(daemon(), ospid() | port(), options(), timeout()) -> {error, not_supported}.
manage(_Daemon, _Process, _Options, _Timeout) -> {error, not_supported}.

%% @doc The number of a worker at the operating system.
-spec ospid(pid()) -> ospid() | {error, term()}.
ospid(Pid) -> erluv_exec:ospid(Pid).

-spec ospid(daemon(), pid()) -> ospid() | {error, term()}.
ospid(_Daemon, Pid) -> erluv_exec:ospid(Pid).

%% @doc The worker of this number.
-spec pid(ospid()) -> pid() | undefined | {error, term()}.
pid(OsPid) -> erluv_exec:pid(any, OsPid).

-spec pid(daemon(), ospid()) -> pid() | undefined | {error, term()}.
pid(Daemon, OsPid) -> erluv_exec:pid(Daemon, OsPid).

%% @doc Sets the size of a worker's terminal.
-spec winsz(worker(), Rows :: pos_integer(), Columns :: pos_integer()) -> ok | {error, term()}.
winsz(Worker, Rows, Columns) -> erluv_exec:winsz(any, Worker, Rows, Columns).

-spec winsz(daemon(), worker(), Rows :: pos_integer(), Columns :: pos_integer()) -> ok | {error, term()}.
winsz(Daemon, Worker, Rows, Columns) -> erluv_exec:winsz(Daemon, Worker, Rows, Columns).

%% @doc Sets modes and characters of a worker's terminal.
-spec pty_opts(worker(), [term()]) -> ok | {error, term()}.
pty_opts(Worker, Options) -> erluv_exec:pty_opts(any, Worker, Options).

-spec pty_opts(daemon(), worker(), [term()]) -> ok | {error, term()}.
pty_opts(Daemon, Worker, Options) -> erluv_exec:pty_opts(Daemon, Worker, Options).

%% @doc Each worker leads a process group of its own: `ok' for 0 and for the worker's number, a refusal for all others.
-spec setpgid(worker(), non_neg_integer()) -> ok | {error, term()}.
setpgid(Worker, Group) -> erluv_exec:setpgid(any, Worker, Group).

-spec setpgid(daemon(), worker(), non_neg_integer()) -> ok | {error, term()}.
setpgid(Daemon, Worker, Group) -> erluv_exec:setpgid(Daemon, Worker, Group).

%% @doc The numbers of all workers.
-spec which_children() -> [ospid()].
which_children() -> erluv_exec:children(any).

-spec which_children(daemon()) -> [ospid()].
which_children(Daemon) -> erluv_exec:children(Daemon).

%% @doc Above 0, each request is logged at level `debug'. The daemon's own log is set on its command line, by nobody
%% here.
-spec debug(0..10) -> {ok, Old :: 0..10} | {error, badarg}.
debug(Level) when is_integer(Level), Level >= 0, Level =< 10 ->
    Old = application:get_env(erluv, debug, 0),
    ok = application:set_env(erluv, debug, Level),
    {ok, Old};
debug(_Level) ->
    {error, badarg}.

-spec debug(daemon(), 0..10) -> {ok, Old :: 0..10} | {error, badarg}.
debug(_Daemon, Level) -> debug(Level).

%% @doc What a status of wait(2) says.
-spec status(non_neg_integer()) -> {status, 0..255} | {signal, atom() | integer(), CoreDump :: boolean()}.
status(Status) -> erluv_signal:status(Status).

-spec signal(integer()) -> atom() | integer().
signal(Number) -> erluv_signal:name(Number).

-spec signal_to_int(atom() | integer()) -> integer().
signal_to_int(Signal) -> erluv_signal:number(Signal).

%% @equiv stream(Cmd, [])
-spec stream(cmd()) -> {ok, stream()} | {error, term()}.
stream(Cmd) -> stream(default, Cmd, []).

%% @doc Starts a worker whose output is pulled by {@link read/2}, in bounded memory; see {@link erluv_stream}. The
%% options are the daemon's, of erluv-protocol(7), and a list command is looked up in its PATH.
-spec stream(cmd(), [term()] | map()) -> {ok, stream()} | {error, term()}.
stream(Cmd, Options) -> stream(default, Cmd, Options).

-spec stream(daemon() | default, cmd(), [term()] | map()) -> {ok, stream()} | {error, term()}.
stream(Daemon, Cmd, Options) -> erluv_stream:open(Daemon, Cmd, Options).

%% @equiv read(Stream, infinity)
-spec read(stream()) -> erluv_stream:result().
read(Stream) -> read(Stream, infinity).

-spec read(stream(), timeout()) -> erluv_stream:result().
read(Stream, Timeout) -> erluv_stream:read(Stream, Timeout).

-spec write(stream(), iodata() | eof) -> ok | {error, term()}.
write(Stream, Data) -> erluv_stream:write(Stream, Data).

-spec close(stream()) -> ok.
close(Stream) -> erluv_stream:close(Stream).

%% @doc Starts a supervised worker of a map; see {@link erluv_worker}.
-spec start_worker(erluv_worker:spec()) -> {ok, pid()} | ignore | {error, term()}.
start_worker(Spec) -> erluv_worker:start_link(Spec).

%% @doc A child specification of the same map, with a child specification's own keys.
-spec child_spec(erluv_worker:spec()) -> supervisor:child_spec().
child_spec(Spec) -> erluv_worker:child_spec(Spec).

%% @doc The worker of a supervised child.
-spec worker(pid()) -> {ok, pid(), ospid() | undefined} | {error, noproc}.
worker(Child) -> erluv_worker:worker(Child).

%% @doc The daemons that serve this node, in the order in which they announced themselves.
-spec nodes() -> [node()].
nodes() -> erluv_choose:nodes().

%% @doc What each daemon says of itself.
-spec info() -> #{node() => map()}.
info() -> maps:from_list([{Node, Info} || {Node, #{} = Info} <- erluv_call:all(nodes(), info, 5000)]).

%% @doc What a daemon says of itself, or of one of its workers.
-spec info(node() | pid()) -> map() | {error, term()}.
info(Daemon) when is_atom(Daemon) -> erluv_call:daemon(Daemon, info, 5000);
info(Pid) when is_pid(Pid) -> erluv_call:worker(Pid, info, 5000).

%% @doc The workers of all daemons.
-spec workers() -> [map()].
workers() -> lists:append([Workers || {_, Workers} <- erluv_call:all(nodes(), workers, 5000), is_list(Workers)]).

%% @doc The workers of a daemon, or those of all that match the keys `user', `owner', `command' and `state'.
-spec workers(node() | map()) -> [map()] | {error, term()}.
workers(Daemon) when is_atom(Daemon) -> erluv_call:daemon(Daemon, workers, 5000);
workers(Filter) when is_map(Filter) ->
    lists:append([Workers || {_, Workers} <- erluv_call:all(nodes(), {workers, Filter}, 5000), is_list(Workers)]).

%% @doc Prints the workers of all daemons, as `i()' of the shell does it for processes.
-spec i() -> ok.
i() ->
    Answers = [{Node, Workers} || {Node, Workers} <- erluv_call:all(nodes(), workers, 5000), is_list(Workers)],
    io:put_chars(erluv_shell:table(Answers, erlang:system_time(second))).

%% @doc Makes the caller the owner of a worker, such as one that was kept while its node was away.
-spec adopt(pid()) -> ok | {error, term()}.
adopt(Pid) -> erluv_call:daemon(node(Pid), {adopt, Pid}, 5000).

%% @doc From now on the caller gets `{erluv, Node, up | down | respawned}'.
-spec subscribe() -> ok | {error, not_started}.
subscribe() -> erluv_node:subscribe(self()).

-spec unsubscribe() -> ok | {error, not_started}.
unsubscribe() -> erluv_node:unsubscribe(self()).

%% @doc Gives the order to respawn by hand, where the setting `respawn' is `never'.
-spec respawn(node()) -> ok | {error, term()}.
respawn(Daemon) -> erluv_node:respawn(Daemon).

%% @equiv start_daemon(#{})
-spec start_daemon() -> {ok, node()} | {error, term()}.
start_daemon() -> start_daemon(#{}).

%% @doc Starts a daemon with the node's own user, which ends with the application; see {@link erluv_daemon}.
-spec start_daemon(erluv_daemon:settings()) -> {ok, node()} | {error, term()}.
start_daemon(Settings) ->
    case erluv_daemon:options(Settings) of
        {ok, #{name := Name} = Options} ->
            case erluv_daemon_sup:start_daemon(Options) of
                {ok, _} -> {ok, Name};
                {error, Reason} -> {error, Reason}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Ends a daemon that {@link start_daemon/1} has started.
-spec stop_daemon(node()) -> ok | {error, term()}.
stop_daemon(Name) -> erluv_daemon_sup:stop_daemon(Name).
