%% @doc How each of the compared systems does the same thing: the only place where they differ.
%%
%% A system is `{erluv, Node}', by spawn and messages alone; `app', the OTP application; `port', open_port; `erlexec', the
%% application of that name; `{limit, Node}', the C program limits/cnode.c, which has a command for each kind of work and
%% nothing else; or `{twice, Node}', the same, which tells of starts and of ends.
-module(erluv_bench_way).

-export([run/3, output/3, talk_start/2, talk/3, talk_end/2, feed/5, drop/3]).
-export([hold/2, held/2, list/2, kill/2, gone/2, deaf/2, stuck/2, unstick/0]).

%% Bytes of a stream that are on their way unacknowledged, where there is such a window: the application's default.
-define(WINDOW, 368640).
%% The two applications have the same functions, but for pull streams.
-define(IS_API(System), (System =:= app orelse System =:= erlexec)).
%% Nothing that is waited for takes as long: what does hangs.
-define(LONG, 120000).

%% @doc Starts a program with pipes for its input and output, and waits for its end, which must be a good one.
run({erluv, Node}, Program, Options) ->
    {Pid, Ref} = spawn_opt(Node, erluv, run, [[Program], [stdin, stdout | Options]], [monitor]),
    receive
        {'DOWN', Ref, process, Pid, normal} -> ok;
        {'DOWN', Ref, process, Pid, Reason} -> error({ended, Reason})
    after ?LONG -> error(hangs)
    end;
run(Api, Program, Options) when ?IS_API(Api) ->
    {ok, Pid, OsPid} = (module(Api)):run([Program], [stdin, stdout, monitor | Options]),
    receive
        {'DOWN', OsPid, process, Pid, normal} -> ok;
        {'DOWN', OsPid, process, Pid, Reason} -> error({ended, Reason})
    after ?LONG -> error(hangs)
    end;
run(port, Program, _) ->
    Port = open_port({spawn_executable, Program}, [exit_status, binary]),
    receive
        {Port, {exit_status, 0}} -> ok;
        {Port, Other} -> error({ended, Other})
    after ?LONG -> error(hangs)
    end;
run({limit, Node}, Program, _) ->
    {bench, Node} ! <<"s", (text([Program]))/binary>>,
    ended();
run({twice, Node}, Program, _) ->
    {bench, Node} ! <<"b", (text([Program]))/binary>>,
    receive <<"b">> -> ended() after ?LONG -> error(hangs) end.

module(app) -> erluv;
module(erlexec) -> exec.

ended() ->
    receive
        <<"e", 0:32>> -> ok;
        <<"e", Status:32>> -> error({ended, Status})
    after ?LONG -> error(hangs)
    end.

%% @doc Runs a command and returns how many bytes it has written, all of which have been received. `window' among the
%% options is for erluv by messages and the limit: with a window, acknowledged by halves, as erluv-protocol(7) says.
output({erluv, Node}, Command, Options) ->
    Windows = [{window, ?WINDOW} || lists:member(window, Options)],
    {Pid, Ref} = spawn_opt(Node, erluv, run, [Command, [stdout | Windows]], [monitor]),
    erluv_output(Pid, Ref, together(Options), 0, 0);
output(app, Command, _) ->
    {ok, Stream} = erluv:stream(Command),
    app_output(Stream, 0);
output(erlexec, Command, _) ->
    {ok, Pid, OsPid} = exec:run(Command, [stdout, monitor]),
    erlexec_output(Pid, OsPid, 0);
output(port, [Program | Arguments], _) ->
    Port = open_port({spawn_executable, Program}, [{args, Arguments}, stream, binary, exit_status, in]),
    port_output(Port, 0);
output({limit, Node}, Command, Options) ->
    What =
        case lists:member(window, Options) of
            true -> <<"w">>;
            false -> <<"o">>
        end,
    {bench, Node} ! <<What/binary, (text(Command))/binary>>,
    limit_output(Node, together(Options), 0, 0).

%% How many bytes are acknowledged together. An atom is more than any number: without a window none are.
together(Options) ->
    case lists:member(window, Options) of
        true -> ?WINDOW div 2;
        false -> infinity
    end.

erluv_output(Pid, Ref, Together, Read, Sum) when Read >= Together ->
    Pid ! {ack, stdout, Read},
    erluv_output(Pid, Ref, Together, 0, Sum);
erluv_output(Pid, Ref, Together, Read, Sum) ->
    receive
        {stdout, Pid, Data} ->
            erluv_output(Pid, Ref, Together, Read + byte_size(Data), Sum + byte_size(Data));
        {'DOWN', Ref, process, Pid, normal} ->
            Sum
    after ?LONG -> error({hangs, Sum})
    end.

app_output(Stream, Sum) ->
    case erluv:read(Stream, ?LONG) of
        {stdout, Data} -> app_output(Stream, Sum + byte_size(Data));
        {eof, normal} -> Sum
    end.

erlexec_output(Pid, OsPid, Sum) ->
    receive
        {stdout, OsPid, Data} -> erlexec_output(Pid, OsPid, Sum + byte_size(Data));
        {'DOWN', OsPid, process, Pid, normal} -> Sum
    after ?LONG -> error({hangs, Sum})
    end.

port_output(Port, Sum) ->
    receive
        {Port, {data, Data}} -> port_output(Port, Sum + byte_size(Data));
        {Port, {exit_status, 0}} -> Sum
    after ?LONG -> error({hangs, Sum})
    end.

limit_output(Node, Together, Read, Sum) when Read >= Together ->
    {bench, Node} ! <<"a", Read:32>>,
    limit_output(Node, Together, 0, Sum);
limit_output(Node, Together, Read, Sum) ->
    receive
        <<>> -> Sum;
        Data when is_binary(Data) -> limit_output(Node, Together, Read + byte_size(Data), Sum + byte_size(Data))
    after ?LONG -> error({hangs, Sum})
    end.

%% @doc Starts a program that answers each line of talk with the same bytes.
talk_start({erluv, Node}, Program) ->
    {Pid, Ref} = spawn_opt(Node, erluv, run, [[Program], [stdin, stdout]], [monitor]),
    {Pid, Ref};
talk_start(Api, Program) when ?IS_API(Api) ->
    {ok, Pid, OsPid} = (module(Api)):run([Program], [stdin, stdout, monitor]),
    {Pid, OsPid};
talk_start(port, Program) ->
    open_port({spawn_executable, Program}, [stream, binary]);
talk_start({limit, Node}, Program) ->
    {bench, Node} ! <<"c", (text([Program]))/binary>>,
    receive
        <<"k">> -> Node
    after ?LONG -> error(hangs)
    end.

%% @doc Sends it bytes and returns when it has answered all of them; of the limit, 64 bytes. To the limit alone, `direct'
%% in the place of what was started is answered by the C program itself.
talk({erluv, _}, {Pid, _}, Bytes) ->
    Pid ! {stdin, Bytes},
    Get = fun() -> receive {stdout, Pid, Data} -> Data after ?LONG -> error(hangs) end end,
    answered(Get, Bytes);
talk(Api, {Pid, OsPid}, Bytes) when ?IS_API(Api) ->
    ok = (module(Api)):send(Pid, Bytes),
    Get = fun() -> receive {stdout, OsPid, Data} -> Data after ?LONG -> error(hangs) end end,
    answered(Get, Bytes);
talk(port, Port, Bytes) ->
    true = port_command(Port, Bytes),
    Get = fun() -> receive {Port, {data, Data}} -> Data after ?LONG -> error(hangs) end end,
    answered(Get, Bytes);
talk({limit, Node}, direct, Bytes) ->
    {bench, Node} ! <<"r", Bytes/binary>>,
    answered(fun any/0, Bytes);
talk({limit, Node}, Node, Bytes) ->
    {bench, Node} ! <<"t", Bytes/binary>>,
    answered(fun any/0, Bytes).

any() ->
    receive
        Data when is_binary(Data) -> Data
    after ?LONG -> error(hangs)
    end.

%% The answer may come in pieces; its bytes have to be those that were sent.
answered(Get, Bytes) ->
    case Get() of
        Bytes -> ok;
        Piece ->
            Size = byte_size(Piece),
            case Bytes of
                <<Piece:Size/binary, Rest/binary>> when Size > 0 -> answered(Get, Rest);
                _ -> error({wrong_bytes, Piece, Bytes})
            end
    end.

%% @doc Ends it.
talk_end({erluv, _}, {Pid, Ref}) ->
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> ok after ?LONG -> error(hangs) end;
talk_end(Api, {Pid, OsPid}) when ?IS_API(Api) ->
    ok = (module(Api)):kill(Pid, 9),
    receive {'DOWN', OsPid, process, Pid, _} -> ok after ?LONG -> error(hangs) end;
talk_end(port, Port) ->
    true = port_close(Port),
    ok;
talk_end({limit, _}, _) ->
    ok.

%% @doc Sends `Count' times the binary to a program that counts its input, and returns what the program says at its end.
%% A port's program is `Counter', which knows how much will come: a port has no end of input.
feed({erluv, Node}, Program, _, Piece, Count) ->
    {Pid, Ref} = spawn_opt(Node, erluv, run, [Program, [stdin, stdout]], [monitor]),
    %% By calls, each of which is answered when the pipe has taken all that was sent so far; with so many on their way
    %% that the daemon's queue is never empty. Without a monitor for each, as the worker is monitored from its start.
    %% The daemon takes no message of a whole MiB with its envelope.
    {Part, Parts} = part(Piece, 524288),
    ok = erluv_feed(Pid, Ref, Part, Parts * Count, max(1, 524288 div byte_size(Part)), 0),
    Pid ! {stdin, eof},
    Text = erluv_text(Pid, Ref, <<>>),
    number(Text);
feed(app, Program, _, Piece, Count) ->
    {ok, Pid, OsPid} = erluv:run(Program, [stdin, stdout, monitor]),
    ok = repeat(Count, fun() -> ok = erluv:send(Pid, Piece) end),
    ok = erluv:send(Pid, eof),
    number(app_text(Pid, OsPid, <<>>));
feed(port, _, Counter, Piece, Count) ->
    Arguments = [integer_to_list(byte_size(Piece) * Count)],
    Port = open_port({spawn_executable, Counter}, [{args, Arguments}, stream, binary, exit_status]),
    ok = repeat(Count, fun() -> true = port_command(Port, Piece) end),
    number(port_text(Port, <<>>));
feed({limit, Node}, Program, _, Piece, Count) ->
    {bench, Node} ! <<"i", (text(Program))/binary>>,
    receive <<"k">> -> ok after ?LONG -> error(hangs) end,
    Message = <<"f", Piece/binary>>,
    ok = repeat(Count, fun() -> {bench, Node} ! Message end),
    {bench, Node} ! <<"e">>,
    number(any()).

%% @doc Sends `Count' times the binary to the limit's C program, which drops it, and returns how many bytes it has seen.
drop({limit, Node}, Piece, Count) ->
    Message = <<"d", Piece/binary>>,
    ok = repeat(Count, fun() -> {bench, Node} ! Message end),
    {bench, Node} ! <<"q">>,
    receive
        <<Number:64>> -> Number
    after ?LONG -> error(hangs)
    end.

part(Piece, Most) when byte_size(Piece) > Most -> {binary:part(Piece, 0, Most), byte_size(Piece) div Most};
part(Piece, _) -> {Piece, 1}.

%% `Left' calls are to be made, `Sent' are not answered, and no more than `Most' may be.
erluv_feed(_, _, _, 0, _, 0) ->
    ok;
erluv_feed(Pid, Ref, Part, Left, Most, Sent) when Left > 0, Sent < Most ->
    Pid ! {'$gen_call', {self(), Left}, {stdin, Part}},
    erluv_feed(Pid, Ref, Part, Left - 1, Most, Sent + 1);
erluv_feed(Pid, Ref, Part, Left, Most, Sent) ->
    First = Left + Sent,
    receive
        {First, ok} -> erluv_feed(Pid, Ref, Part, Left, Most, Sent - 1);
        {First, Error} -> error(Error);
        {'DOWN', Ref, process, Pid, Reason} -> error({ended, Reason})
    after ?LONG -> error(hangs)
    end.

erluv_text(Pid, Ref, Text) ->
    receive
        {stdout, Pid, Data} -> erluv_text(Pid, Ref, <<Text/binary, Data/binary>>);
        {'DOWN', Ref, process, Pid, normal} -> Text
    after ?LONG -> error(hangs)
    end.

app_text(Pid, OsPid, Text) ->
    receive
        {stdout, OsPid, Data} -> app_text(Pid, OsPid, <<Text/binary, Data/binary>>);
        {'DOWN', OsPid, process, Pid, normal} -> Text
    after ?LONG -> error(hangs)
    end.

port_text(Port, Text) ->
    receive
        {Port, {data, Data}} -> port_text(Port, <<Text/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> Text
    after ?LONG -> error(hangs)
    end.

number(Text) -> binary_to_integer(string:trim(Text)).

repeat(0, _) ->
    ok;
repeat(Count, Fun) ->
    Fun(),
    repeat(Count - 1, Fun).

%% @doc Starts a program that sleeps, with a pipe for its output; returns what the other functions want. One pipe and
%% not two: ten thousand ports with two have more descriptors than some systems let a process have.
hold({erluv, Node}, Program) ->
    spawn_opt(Node, erluv, run, [[Program], [stdout]], [monitor]);
hold(Api, Program) when ?IS_API(Api) ->
    {ok, Pid, OsPid} = (module(Api)):run([Program], [stdout, monitor]),
    {Pid, OsPid};
hold(port, Program) ->
    open_port({spawn_executable, Program}, [exit_status, binary, in]);
hold({limit, Node}, Program) ->
    {bench, Node} ! <<"h", (text([Program]))/binary>>,
    receive <<"k">> -> Node after ?LONG -> error(hangs) end.

%% @doc Returns when what was started runs: a port is there before its process is.
held(port, Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, OsPid} when OsPid > 0 -> OsPid;
        {os_pid, _} -> erlang:yield(), held(port, Port)
    end;
held({limit, _}, _) ->
    ok;
held({erluv, _}, {Pid, Ref}) ->
    receive {'DOWN', Ref, process, Pid, Reason} -> error({ended, Reason}) after 0 -> ok end;
held(Api, {Pid, OsPid}) when ?IS_API(Api) ->
    receive {'DOWN', OsPid, process, Pid, Reason} -> error({ended, Reason}) after 0 -> ok end.

%% @doc Lists all that run, with at least `Count' entries.
list({erluv, Node}, Count) ->
    enough(length(gen_server:call({erluv, Node}, workers, ?LONG)), Count);
list(app, Count) ->
    enough(length(erluv:workers()), Count);
list(erlexec, Count) ->
    enough(length(exec:which_children()), Count);
list(port, Count) ->
    enough(length([OsPid || Port <- erlang:ports(), {os_pid, OsPid} <- [erlang:port_info(Port, os_pid)]]), Count).

enough(Length, Count) when Length >= Count -> ok;
enough(Length, Count) -> error({listed, Length, 'of', Count}).

%% @doc Kills all of a list. A port cannot: one shell does it for all ports of the list.
kill({erluv, _}, Held) ->
    lists:foreach(fun({Pid, _}) -> exit(Pid, kill) end, Held);
kill(Api, Held) when ?IS_API(Api) ->
    lists:foreach(fun({Pid, _}) -> ok = (module(Api)):kill(Pid, 9) end, Held);
kill(port, Held) ->
    OsPids = lists:join($\s, [integer_to_list(held(port, Port)) || Port <- Held]),
    Line = lists:flatten(["kill -9 ", OsPids]),
    Port = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Line]}, exit_status]),
    receive
        {Port, {exit_status, 0}} -> ok
    after ?LONG -> error(hangs)
    end;
kill({limit, Node}, Held) ->
    lists:foreach(fun(_) -> {bench, Node} ! <<"l">> end, Held).

%% @doc Waits until the end of one that was killed is told.
gone({erluv, _}, {Pid, Ref}) ->
    receive
        {'DOWN', Ref, process, Pid, {signaled, sigkill}} -> ok;
        {'DOWN', Ref, process, Pid, Other} -> error({ended, Other})
    after ?LONG -> error(hangs)
    end;
gone(Api, {Pid, OsPid}) when ?IS_API(Api) ->
    receive
        {'DOWN', OsPid, process, Pid, {exit_status, 9}} -> ok;
        {'DOWN', OsPid, process, Pid, Other} -> error({ended, Other})
    after ?LONG -> error(hangs)
    end;
gone(port, Port) ->
    receive
        {Port, {exit_status, 137}} -> ok;
        {Port, Other} -> error({ended, Other})
    after ?LONG -> error(hangs)
    end;
gone({limit, _}, _) ->
    receive <<"k">> -> ok after ?LONG -> error(hangs) end.

%% @doc Starts a command whose output goes to the caller, which does not receive it.
deaf({erluv, Node}, Command) ->
    spawn_opt(Node, erluv, run, [Command, [stdout, {window, ?WINDOW}]], [monitor]);
deaf(app, Command) ->
    {ok, Stream} = erluv:stream(Command),
    Stream;
deaf(port, [Program | Arguments]) ->
    open_port({spawn_executable, Program}, [{args, Arguments}, stream, binary, in]).

%% @doc Sends a program that reads nothing the binary again and again; never returns where the sender has to wait.
stuck({erluv, Node}, Program) ->
    {Pid, _} = spawn_opt(Node, erluv, run, [[Program], [stdin, stdout]], [monitor]),
    fun(Piece) -> Pid ! {stdin, Piece} end;
stuck(app, Program) ->
    {ok, Pid, _} = erluv:run([Program], [stdin, stdout, monitor]),
    fun(Piece) -> ok = erluv:send(Pid, Piece) end;
stuck(port, Program) ->
    Port = open_port({spawn_executable, Program}, [stream, binary]),
    persistent_term:put(?MODULE, held(port, Port)),
    fun(Piece) -> true = port_command(Port, Piece) end.

%% @doc Kills the program of `stuck' where it does not end with its owner: a port's does not, and the VM keeps what it
%% has not read.
unstick() ->
    case persistent_term:get(?MODULE, none) of
        none -> ok;
        OsPid ->
            true = persistent_term:erase(?MODULE),
            _ = os:cmd("kill -9 " ++ integer_to_list(OsPid)),
            ok
    end.

text(Command) -> << <<(iolist_to_binary(Word))/binary, 0>> || Word <- Command >>.
