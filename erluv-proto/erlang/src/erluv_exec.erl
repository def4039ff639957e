%% @private
%% @doc The functions of erlexec's module `exec', served by a daemon. `erluv' exports them; what each promises is there.
-module(erluv_exec).

-export([run/4, run_link/4, send/3, kill/3, stop/2, stop_and_wait/3, ospid/1, pid/2, winsz/4, pty_opts/3, setpgid/3]).
-export([children/1, find/2]).

-include_lib("kernel/include/logger.hrl").

%% How long a question may take that a daemon answers at once.
-define(QUESTION, 5000).

-type which() :: erluv_choose:which() | any.

-spec run(erluv_choose:which(), term(), term(), timeout()) ->
    {ok, pid(), erluv:ospid()} | {ok, list()} | {error, term()}.
run(Which, Cmd, Options, Timeout) ->
    case erluv_options:exec(Cmd, Options, base()) of
        {ok, Run} -> start(Which, Run, Timeout);
        {error, Reason} -> {error, Reason}
    end.

-spec run_link(erluv_choose:which(), term(), term(), timeout()) ->
    {ok, pid(), erluv:ospid()} | {ok, list()} | {error, term()}.
run_link(Which, Cmd, Options, Timeout) ->
    case erluv_options:exec(Cmd, Options, base()) of
        {ok, Run} -> start(Which, Run#{link := true}, Timeout);
        {error, Reason} -> {error, Reason}
    end.

-spec start(erluv_choose:which(), erluv_options:run(), timeout()) ->
    {ok, pid(), erluv:ospid()} | {ok, list()} | {error, term()}.
start(Which, Run, Timeout) ->
    Level = application:get_env(erluv, debug, 0),
    Level > 0 andalso ?LOG_DEBUG("erluv: run on ~tp: ~tp", [Which, maps:get(cmd, Run)]),
    case choose(Which, Timeout) of
        {ok, Node} -> started(launch(Node, Run, Timeout), Run);
        {error, Reason} -> {error, Reason}
    end.

%% A daemon that the caller has named is asked without a wait: the answer says that it is not there.
-spec choose(erluv_choose:which(), timeout()) -> {ok, node()} | {error, term()}.
choose(Which, Timeout) when Which =:= default; Which =:= first; Which =:= spread -> erluv_choose:node(Which, Timeout);
choose(Node, _Timeout) -> {ok, Node}.

-spec started({ok, pid(), erluv:ospid()} | {error, term()}, erluv_options:run()) ->
    {ok, pid(), erluv:ospid()} | {ok, list()} | {error, term()}.
started({ok, Pid, OsPid}, #{sync := true}) -> collect(Pid, OsPid, monitor(process, Pid), [], []);
started(Result, _Run) -> Result.

%% With a handler the request comes from the process that calls it, so that the end is told after the last output was
%% handled; a link can only be made with who asks, so `link' does without that order.
-spec launch(node(), erluv_options:run(), timeout()) -> {ok, pid(), erluv:ospid()} | {error, term()}.
launch(Node, #{handlers := Handlers} = Run, Timeout) when map_size(Handlers) > 0 ->
    #{cmd := Cmd, options := Options, link := Link} = Run,
    Forward = erluv_forward:start(Handlers, self()),
    Streams = [{Stream, Forward} || Stream <- maps:keys(Handlers)],
    Result =
        case Link andalso not maps:get(sync, Run) of
            true ->
                Answer = ask(Node, Cmd, [link | Streams ++ Options], Run, Timeout),
                ok = erluv_forward:attach(Forward, Answer),
                Answer;
            false ->
                Owned = [{owner, self()} || not lists:keymember(owner, 1, Options)],
                Ask = fun() -> ask(Node, Cmd, Owned ++ Streams ++ [monitor | Options], Run, Timeout) end,
                erluv_forward:run(Forward, Ask, is_told(Run))
        end,
    Result;
launch(Node, #{cmd := Cmd, options := Options} = Run, Timeout) ->
    ask(Node, Cmd, told(Run) ++ Options, Run, Timeout).

%% `sync' needs the end told, and its caller waits for it: a link has nothing to tell it.
-spec told(erluv_options:run()) -> [link | monitor].
told(#{sync := true}) -> [monitor];
told(#{link := true}) -> [link];
told(#{monitor := true}) -> [monitor];
told(#{}) -> [].

-spec is_told(erluv_options:run()) -> boolean().
is_told(Run) -> told(Run) =:= [monitor].

-spec ask(node(), term(), [term()], erluv_options:run(), timeout()) -> {ok, pid(), erluv:ospid()} | {error, term()}.
ask(Node, Cmd, Options, #{exec_compat := Compat}, Timeout) ->
    case erluv_call:daemon(Node, {run, Cmd, [erlexec | Options]}, Timeout) of
        {ok, Pid, OsPid} ->
            {ok, Pid, OsPid};
        {error, {launch_failed, Step, Errno}} when Compat, Step =:= exec; Compat, Step =:= chdir ->
            erlexec_failure(Node, Cmd, Options, Step, Errno, Timeout);
        {error, {badopt, Option}} ->
            {error, {invalid_option, Option}};
        {error, Reason} ->
            {error, Reason}
    end.

%% The way of erlexec: there is a process, which says on its standard error output what is wrong, and exits with 1. A
%% shell does it, with the options that were asked for, so output, monitors and links go their usual ways.
-spec erlexec_failure(node(), term(), [term()], exec | chdir, atom(), timeout()) ->
    {ok, pid(), erluv:ospid()} | {error, term()}.
erlexec_failure(Node, Cmd, Options, Step, Errno, Timeout) ->
    {What, Object} =
        case Step of
            exec -> {"cannot execute", program(Cmd, Options)};
            chdir -> {"cannot change directory to", element(2, lists:keyfind(cd, 1, Options))}
        end,
    [First | Rest] = file:format_error(Errno),
    Script = "echo \"Pid $$: $1 '$2': $3\" >&2; exit 1",
    Say = ["/bin/sh", "-c", Script, "sh", What, Object, [string:to_upper(First) | Rest]],
    Kept = lists:keydelete(cd, 1, lists:keydelete(executable, 1, Options)),
    case erluv_call:daemon(Node, {run, Say, [erlexec | Kept]}, Timeout) of
        {ok, Pid, OsPid} -> {ok, Pid, OsPid};
        {error, _} -> {error, {launch_failed, Step, Errno}}
    end.

-spec program(term(), [term()]) -> unicode:chardata().
program(Cmd, Options) ->
    case {lists:keyfind(executable, 1, Options), Cmd} of
        {{executable, File}, _} -> File;
        {false, [Program | _]} when is_list(Program); is_binary(Program) -> Program;
        {false, _} -> "/bin/sh"
    end.

%% What a synchronous run has written, until its end is told. The real monitor is for a lost connection; where it
%% speaks of the worker's own end, the told one is in the mailbox already or comes with it.
-spec collect(pid(), erluv:ospid(), reference(), [binary()], [binary()]) -> {ok, list()} | {error, term()}.
collect(Pid, OsPid, Ref, Out, Err) ->
    receive
        {stdout, OsPid, Data} -> collect(Pid, OsPid, Ref, [Data | Out], Err);
        {stderr, OsPid, Data} -> collect(Pid, OsPid, Ref, Out, [Data | Err]);
        {'DOWN', OsPid, process, Pid, Reason} ->
            true = demonitor(Ref, [flush]),
            collected(Reason, Out, Err);
        {'DOWN', Ref, process, Pid, noconnection} ->
            collected(noconnection, Out, Err);
        {'DOWN', Ref, process, Pid, _Ended} ->
            collect(Pid, OsPid, Ref, Out, Err)
    end.

-spec collected(term(), [binary()], [binary()]) -> {ok, list()} | {error, term()}.
collected(Reason, Out, Err) ->
    Streams = [{Name, lists:reverse(Pieces)} || {Name, Pieces} <- [{stdout, Out}, {stderr, Err}], Pieces =/= []],
    case Reason of
        normal -> {ok, Streams};
        {exit_status, Status} -> {error, [{exit_status, Status} | Streams]};
        Other -> {error, [{reason, Other} | Streams]}
    end.

%% By call, so that the sender waits where the worker does not read: what was sent is in the worker's pipe, or the
%% worker is gone. erlexec answers ok for each number, whatever becomes of the data.
-spec send(which(), erluv:worker(), iodata() | eof) -> ok | {error, term()}.
send(Which, OsPid, Data) when is_integer(OsPid) ->
    case find(Which, OsPid) of
        {ok, Pid} ->
            _ = write(Pid, Data),
            ok;
        {error, _} ->
            ok
    end;
send(_Which, Pid, Data) when is_pid(Pid) ->
    write(Pid, Data);
send(Which, Port, Data) ->
    with(Which, Port, fun(Pid) -> write(Pid, Data) end).

-spec write(pid(), iodata() | eof) -> ok | {error, term()}.
write(Pid, eof) ->
    case erluv_call:worker(Pid, {stdin, eof}) of
        {error, noproc} -> {error, no_process};
        _ -> ok
    end;
write(Pid, Data) ->
    case erluv_stream:write_pieces(Pid, iolist_to_binary(Data)) of
        {error, noproc} -> {error, no_process};
        Result -> Result
    end.

-spec kill(which(), erluv:worker(), atom() | integer()) -> ok | {error, term()}.
kill(_Which, -1, _Signal) ->
    {error, badarg};
kill(_Which, OsPid, _Signal) when is_integer(OsPid), OsPid < 0 ->
    {error, "Not allowed to send signal to all processes"};
kill(Which, Worker, Signal) ->
    Known = erluv_signal:known(Signal),
    case find(Which, Worker) of
        {ok, _Pid} when not Known -> {error, einval};
        {ok, Pid} -> signal(Pid, Signal);
        {error, not_found} when is_integer(Worker) -> {error, "Cannot kill a pid not managed by this application"};
        {error, not_found} -> {error, no_process};
        {error, Reason} -> {error, Reason}
    end.

%% Signal 0 asks whether the process is there.
-spec signal(pid(), atom() | integer()) -> ok | {error, term()}.
signal(Pid, 0) ->
    case erluv_call:worker(Pid, info, ?QUESTION) of
        #{} -> ok;
        {error, _} -> {error, no_process}
    end;
signal(Pid, Signal) ->
    case erluv_call:worker(Pid, {signal, Signal}, ?QUESTION) of
        {error, noproc} -> {error, no_process};
        Result -> Result
    end.

-spec stop(which(), erluv:worker()) -> ok | {error, term()}.
stop(Which, Worker) ->
    case find(Which, Worker) of
        {ok, Pid} ->
            case erluv_call:worker(Pid, stop, ?QUESTION) of
                {error, noproc} -> {error, no_process};
                Result -> Result
            end;
        {error, not_found} when is_integer(Worker) -> {error, "pid not alive"};
        {error, not_found} -> {error, no_process};
        {error, Reason} -> {error, Reason}
    end.

%% erlexec takes the `DOWN' of its own form out of the mailbox, so this does, where there is one. The monitor on the
%% ended worker is answered after all that the worker has sent.
-spec stop_and_wait(which(), erluv:worker(), timeout()) -> term().
stop_and_wait(Which, Worker, Timeout) ->
    case find(Which, Worker) of
        {ok, Pid} ->
            case erluv_call:worker(Pid, stop_and_wait, Timeout) of
                {error, noproc} ->
                    down(Pid, {error, not_found});
                {error, Reason} ->
                    {error, Reason};
                Reason ->
                    Ref = monitor(process, Pid),
                    receive
                        {'DOWN', Ref, process, Pid, _} -> down(Pid, Reason)
                    end
            end;
        {error, Reason} ->
            {error, Reason}
    end.

-spec down(pid(), term()) -> term().
down(Pid, Otherwise) ->
    receive
        {'DOWN', OsPid, process, Pid, Reason} when is_integer(OsPid) -> Reason
    after 0 -> Otherwise
    end.

-spec ospid(pid()) -> erluv:ospid() | {error, term()}.
ospid(Pid) ->
    case erluv_call:worker(Pid, info, ?QUESTION) of
        #{os_pid := OsPid} -> OsPid;
        {error, noproc} -> {error, no_process};
        {error, Reason} -> {error, Reason}
    end.

-spec pid(which(), erluv:ospid()) -> pid() | undefined | {error, term()}.
pid(Which, OsPid) ->
    case find(Which, OsPid) of
        {ok, Pid} -> Pid;
        {error, not_found} -> undefined;
        {error, Reason} -> {error, Reason}
    end.

-spec winsz(which(), erluv:worker(), non_neg_integer(), non_neg_integer()) -> ok | {error, term()}.
winsz(Which, Worker, Rows, Columns) ->
    case find(Which, Worker) of
        {ok, Pid} ->
            case erluv_call:worker(Pid, {winsz, Rows, Columns}, ?QUESTION) of
                {error, noproc} -> {error, no_process};
                {error, enotty} -> {error, "failed to set window size"};
                Result -> Result
            end;
        {error, Reason} ->
            missing(Worker, Reason)
    end.

-spec pty_opts(which(), erluv:worker(), [term()]) -> ok | {error, term()}.
pty_opts(Which, Worker, Options) ->
    case erluv_options:pty(Options) of
        {error, Bad} ->
            {error, Bad};
        ok ->
            case find(Which, Worker) of
                {ok, Pid} ->
                    case erluv_call:worker(Pid, {pty_opts, Options}, ?QUESTION) of
                        {error, noproc} -> {error, no_process};
                        {error, enotty} -> {error, "failed to set pty opts"};
                        Result -> Result
                    end;
                {error, Reason} ->
                    missing(Worker, Reason)
            end
    end.

%% Each worker leads a process group from its start, so there is nothing to set; it cannot be moved into another.
-spec setpgid(which(), erluv:worker(), integer()) -> ok | {error, term()}.
setpgid(Which, Worker, Group) ->
    case find(Which, Worker) of
        {ok, _Pid} when Group =:= 0; Group =:= Worker -> ok;
        {ok, _Pid} -> {error, {refused, {group, Group}}};
        {error, Reason} -> missing(Worker, Reason)
    end.

-spec missing(erluv:worker(), term()) -> {error, term()}.
missing(OsPid, not_found) when is_integer(OsPid) ->
    {error, lists:flatten(io_lib:format("pid ~w doesn't exist", [OsPid]))};
missing(_, not_found) ->
    {error, no_process};
missing(_, Reason) ->
    {error, Reason}.

-spec children(which()) -> [erluv:ospid()].
children(Which) ->
    [OsPid || {_, Workers} <- erluv_call:all(nodes_of(Which), workers, ?QUESTION), is_list(Workers),
              #{os_pid := OsPid} <- Workers].

%% @doc The worker that a caller names. A number that is a worker's at two daemons on two hosts is nobody's:
%% `ambiguous'.
-spec find(which(), erluv:worker()) -> {ok, pid()} | {error, not_found | {ambiguous, [node()]} | term()}.
find(_Which, Pid) when is_pid(Pid) ->
    {ok, Pid};
find(Which, Port) when is_port(Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, OsPid} -> find(Which, OsPid);
        undefined -> {error, not_found}
    end;
find(Which, OsPid) when is_integer(OsPid) ->
    Answers = erluv_call:all(nodes_of(Which), {find, OsPid}, ?QUESTION),
    case [Found || {_, {ok, _}} = Found <- Answers] of
        [{_, {ok, Pid}}] -> {ok, Pid};
        [] -> {error, not_found};
        Several -> {error, {ambiguous, [Node || {Node, _} <- Several]}}
    end.

-spec with(which(), erluv:worker(), fun((pid()) -> ok | {error, term()})) -> ok | {error, term()}.
with(Which, Worker, Fun) ->
    case find(Which, Worker) of
        {ok, Pid} -> Fun(Pid);
        {error, not_found} -> {error, no_process};
        {error, Reason} -> {error, Reason}
    end.

-spec nodes_of(which()) -> [node()].
nodes_of(Which) when Which =:= any; Which =:= default; Which =:= first; Which =:= spread -> erluv_node:daemons();
nodes_of(Node) -> [Node].

%% The environment that `env' adds to. That of the node has what is nobody else's business: it is not there unasked, and
%% what holds a cookie is never.
-spec base() -> [{term(), term()}].
base() ->
    case application:get_env(erluv, env, []) of
        inherit -> [Entry || {Name, _} = Entry <- os:env(), string:find(string:uppercase(Name), "COOKIE") =:= nomatch];
        Env -> Env
    end.
