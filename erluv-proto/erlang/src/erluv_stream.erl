%% @doc Output that is pulled: a worker whose output is read when the reader wants more.
%%
%% The daemon sends no more of a stream than its window before the reader has acknowledged it, and {@link read/2}
%% acknowledges what it hands out, when that is half the window. So the reader's mailbox holds a window of each stream
%% at most, and the worker waits at its pipe meanwhile, as in a shell. The process that opens a stream owns it: it
%% reads, and with its end the worker ends.
-module(erluv_stream).

-export([open/3, read/2, write/2, close/1, pid/1, write_pieces/2]).

-opaque stream() :: {?MODULE, pid(), reference(), erluv_acks:acks()}.
-type result() :: {stdout | stderr, binary()} | {eof, Reason :: term()} | {error, timeout}.
-export_type([stream/0, result/0]).

%% The most bytes that are written by one call: each costs the node three messages, for its monitor as well.
-define(PIECE, 524288).
%% The same for a daemon that takes no frames so long: below its settings `max_frame' and `input_cap', whose smallest
%% values are above it.
-define(SHORT_PIECE, 65536).
%% Where the application's environment says nothing: six messages of 60 KiB, which is how the daemon cuts a window of this
%% length or more. Three are acknowledged together while three are under way.
-define(WINDOW, 368640).
%% The most of a worker that outlives the connection: so much is kept of each of its streams.
-define(LARGEST_KEPT_WINDOW, 262144).

%% @doc Starts a worker whose standard output, and standard error output where the options say `stderr', is read by
%% {@link read/2}. Options and errors are the daemon's: erluv-protocol(7).
-spec open(erluv_choose:which(), term(), [term()] | map()) -> {ok, stream()} | {error, term()}.
open(Which, Cmd, Options) ->
    case erluv_choose:node(Which, 5000) of
        {ok, Node} ->
            All = options(erluv_options:list(Options)),
            case erluv_call:spawn_worker(Node, Cmd, All) of
                {ok, Pid, _OsPid, Ref} -> {ok, {?MODULE, Pid, Ref, erluv_acks:new(All)}};
                {error, Reason} -> {error, Reason}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

-spec options([term()]) -> [term()].
options(Options) ->
    [stdout || not has(stdout, Options)] ++ [{window, window(Options)} || not has(window, Options)] ++ Options.

-spec window([term()]) -> term().
window(Options) ->
    Window = application:get_env(erluv, window, ?WINDOW),
    case lists:keyfind(on_nodedown, 1, Options) of
        {on_nodedown, {keep, _}} -> min(Window, ?LARGEST_KEPT_WINDOW);
        _ -> Window
    end.

-spec has(atom(), [term()]) -> boolean().
has(Name, Options) -> lists:member(Name, Options) orelse lists:keymember(Name, 1, Options).

%% @doc The next piece of output; waits for it up to `Timeout' milliseconds. `{eof, Reason}' is the worker's end, after
%% all of its output; nothing can be read after it.
-spec read(stream(), timeout()) -> result().
read({?MODULE, Pid, Ref, Acks}, Timeout) ->
    receive
        {Stream, Pid, Data} when Stream =:= stdout; Stream =:= stderr ->
            ok = erluv_acks:read(Acks, Pid, Stream, byte_size(Data)),
            {Stream, Data};
        {'DOWN', Ref, process, Pid, Reason} ->
            {eof, Reason}
    after Timeout -> {error, timeout}
    end.

%% @doc Writes to the worker's standard input, which the options have to ask for, or ends it by `eof'. Waits until the
%% worker's pipe has taken all: a worker whose own output has to be read meanwhile must have another process write.
-spec write(stream(), iodata() | eof) -> ok | {error, term()}.
write({?MODULE, Pid, _, _}, eof) -> erluv_call:worker(Pid, {stdin, eof});
write({?MODULE, Pid, _, _}, Data) -> write_pieces(Pid, iolist_to_binary(Data)).

%% @doc Ends the worker, if it has not ended, and throws away what was not read. Returns when it has ended: all output
%% comes before the end, so what is thrown away is acknowledged too.
-spec close(stream()) -> ok.
close({?MODULE, Pid, Ref, Acks}) ->
    Ended = monitor(process, Pid),
    exit(Pid, shutdown),
    ok = drop(Pid, Ended, Acks),
    true = demonitor(Ref, [flush]),
    ok.

-spec drop(pid(), reference(), erluv_acks:acks()) -> ok.
drop(Pid, Ended, Acks) ->
    receive
        {Stream, Pid, Data} when Stream =:= stdout; Stream =:= stderr ->
            ok = erluv_acks:read(Acks, Pid, Stream, byte_size(Data)),
            drop(Pid, Ended, Acks);
        {'DOWN', Ended, process, Pid, _} ->
            ok
    end.

%% @doc The worker's own pid.
-spec pid(stream()) -> pid().
pid({?MODULE, Pid, _, _}) -> Pid.

%% @private
%% @doc Writes in pieces that the daemon takes, each when the worker's pipe has taken the one before.
-spec write_pieces(pid(), binary()) -> ok | {error, term()}.
write_pieces(Pid, Data) -> write_pieces(Pid, Data, ?PIECE).

-spec write_pieces(pid(), binary(), pos_integer()) -> ok | {error, term()}.
write_pieces(_Pid, <<>>, _Most) ->
    ok;
write_pieces(Pid, Data, Most) ->
    {Piece, Rest} =
        case Data of
            <<First:Most/binary, Others/binary>> -> {First, Others};
            _ -> {Data, <<>>}
        end,
    case write_piece(Pid, Piece, 1) of
        ok -> write_pieces(Pid, Rest, Most);
        {error, too_large} when Most > ?SHORT_PIECE -> write_pieces(Pid, Data, ?SHORT_PIECE);
        {error, Reason} -> {error, Reason}
    end.

%% So many may write at once to a worker which does not read that the daemon holds no more, and has taken nothing of
%% this piece: it is offered again, more and more seldom.
-spec write_piece(pid(), binary(), pos_integer()) -> ok | {error, term()}.
write_piece(Pid, Piece, Pause) ->
    case erluv_call:worker(Pid, {stdin, Piece}) of
        {error, stdin_overflow} ->
            timer:sleep(Pause),
            write_piece(Pid, Piece, min(2 * Pause, 100));
        Answer ->
            Answer
    end.
