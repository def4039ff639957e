%% @private
%% @doc The acknowledgements of one worker's output, fewer than its pieces: each is a message to the daemon.
%%
%% What was read is counted, and acknowledged when it is half the window. So less than half of the window is read and
%% not acknowledged at any time, and a reader that has read all that has come can wait: the daemon may send more.
%%
%% A worker that outlives the connection is sent on from the last byte that was acknowledged, maybe to another process
%% or another start of the node, which knows no count. Of such a worker each piece is acknowledged as it is read, so
%% that nothing of what was read comes again but that whose acknowledgement was lost with the connection.
-module(erluv_acks).

-export([new/1, read/4]).

%% Bytes that are acknowledged together, and how many of each stream wait for that.
-opaque acks() :: {pos_integer(), counters:counters_ref()}.
-export_type([acks/0]).

%% @doc For a worker with these options of the daemon, `window' among them.
-spec new([term()]) -> acks().
new(Options) -> {together(Options), counters:new(2, [])}.

%% The daemon refuses what is no window. Of two it takes one: the smaller is right for either.
-spec together([term()]) -> pos_integer().
together(Options) ->
    Kept = [Keep || {on_nodedown, {keep, _} = Keep} <- Options],
    Windows = [Window || {window, Window} <- Options, is_integer(Window), Window > 0],
    case {Kept, Windows} of
        {[], [_ | _]} -> lists:min(Windows) div 2 + lists:min(Windows) rem 2;
        _ -> 1
    end.

%% @doc So many bytes of the worker's stream are dealt with.
-spec read(acks(), pid(), stdout | stderr, non_neg_integer()) -> ok.
read({Together, Counts}, Pid, Stream, Bytes) ->
    Index = index(Stream),
    case counters:get(Counts, Index) + Bytes of
        Sum when Sum >= Together ->
            Pid ! {ack, Stream, Sum},
            counters:put(Counts, Index, 0);
        Sum ->
            counters:put(Counts, Index, Sum)
    end.

-spec index(stdout | stderr) -> 1 | 2.
index(stdout) -> 1;
index(stderr) -> 2.
