%% @doc The supervisor of the daemons that this node has started.
%%
%% A daemon that ends is started again, five times a minute at most; then this supervisor gives up, and so does the
%% application: the node is told by the application's end.
-module(erluv_daemon_sup).
-behaviour(supervisor).

-export([start_link/0, start_daemon/1, stop_daemon/1, init/1]).

-spec start_link() -> {ok, pid()} | ignore | {error, term()}.
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Starts a daemon of checked options, under the name that they hold.
-spec start_daemon(erluv_daemon:options()) -> {ok, pid()} | {error, term()}.
start_daemon(#{name := Name} = Options) ->
    try supervisor:start_child(?MODULE, child(Name, Options)) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, {already_started, _}} -> {error, {already_started, Name}};
        {error, {{shutdown, Reason}, _Child}} -> {error, Reason};
        {error, {Reason, _Child}} -> {error, Reason};
        {error, Reason} -> {error, Reason}
    catch
        exit:{noproc, _} -> {error, not_started}
    end.

%% @doc Ends the daemon of this name and forgets it.
-spec stop_daemon(node()) -> ok | {error, not_found | not_started}.
stop_daemon(Name) ->
    try supervisor:terminate_child(?MODULE, Name) of
        ok ->
            _ = supervisor:delete_child(?MODULE, Name),
            ok;
        {error, _} ->
            {error, not_found}
    catch
        exit:{noproc, _} -> {error, not_started}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Children =
        case application:get_env(erluv, daemon, undefined) of
            undefined ->
                [];
            false ->
                [];
            Settings ->
                case erluv_daemon:options(Settings) of
                    {ok, #{name := Name} = Options} -> [child(Name, Options)];
                    {error, Reason} -> exit({shutdown, {daemon, Reason}})
                end
        end,
    {ok, {#{strategy => one_for_one, intensity => 5, period => 60}, Children}}.

%% The shutdown time is above what the daemon takes to end its workers by SIGTERM and SIGKILL.
-spec child(node(), erluv_daemon:options()) -> supervisor:child_spec().
child(Name, Options) ->
    #{id => Name, start => {erluv_daemon, start_link, [Options]}, restart => permanent, shutdown => 30000}.
