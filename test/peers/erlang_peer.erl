%% A peer on Erlang's ssl. One process sends, another one receives, and the connection's own process lets what is sent wait
%% while a handshake is in progress. The arguments, commands and lines are those of all peers; see test/fixtures/foreign-peer.ts.
-module(erlang_peer).
-export([main/0]).

%% How much is sent at once: a multiple of 8, so that each piece begins with a whole number.
-define(PIECE, 32768).

main() ->
    %% The application ssl would log alerts to the standard output.
    logger:set_primary_config(level, none),
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Version} = application:get_key(ssl, vsn),
    say("version Erlang/OTP ~s, ssl ~s", [erlang:system_info(otp_release), Version]),
    [Role, Port, Ca, Certificate, Key | More] = init:get_plain_arguments(),
    Main = self(),
    spawn_link(fun() -> read_commands(Main) end),
    Options = [
        binary, {active, false}, {packet, raw}, {nodelay, true}, {versions, versions(More)},
        {cacertfile, Ca}, {certfile, Certificate}, {keyfile, Key}
    ],
    Socket = open(Role, list_to_integer(Port), Options),
    {ok, [{selected_cipher_suite, Suite}]} = ssl:connection_information(Socket, [selected_cipher_suite]),
    say("connected ~s", [ssl:suite_to_str(Suite)]),
    Sender = spawn_link(fun() -> send(Socket, 0) end),
    loop(#{socket => Socket, sender => Sender, received => 0, expected => infinity, random => random(Socket)}).

versions([]) -> ['tlsv1.2'];
versions(["TLSv1.3"]) -> ['tlsv1.3'].

say(Format, Values) ->
    io:format(Format ++ "~n", Values).

fail(Problem) ->
    say("error ~0p", [Problem]),
    halt(1).

open("server", Port, Options) ->
    {ok, Listener} = ssl:listen(Port, [{ip, {127, 0, 0, 1}}, {reuseaddr, true} | Options]),
    {ok, {_, Listening}} = ssl:sockname(Listener),
    say("listening ~b", [Listening]),
    {ok, Accepted} = ssl:transport_accept(Listener),
    connected(ssl:handshake(Accepted));
open("client", Port, Options) ->
    Verify = [{verify, verify_peer}, {server_name_indication, "localhost"}],
    connected(ssl:connect({127, 0, 0, 1}, Port, Verify ++ Options)).

connected({ok, Socket}) -> Socket;
connected({error, Problem}) -> fail(Problem).

read_commands(Main) ->
    case io:get_line("") of
        eof -> halt(0);
        Line ->
            Main ! {command, string:split(string:trim(Line), " ")},
            read_commands(Main)
    end.

%% Data comes as messages, because ssl:recv/2 fails if it is called while a handshake is in progress (OTP 25).
loop(#{socket := Socket, received := Received} = State) ->
    %% It fails if the connection has been closed. There is a message about that, too.
    ssl:setopts(Socket, [{active, once}]),
    receive
        {command, Command} -> loop(tell_received(obey(Command, State)));
        {ssl, Socket, Data} ->
            check(Data, Received),
            loop(tell_received(tell_handshake(State#{received := Received + byte_size(Data)})));
        {ssl_closed, Socket} -> fail(closed);
        {ssl_error, Socket, Problem} -> fail(Problem)
    end.

obey(["renegotiate"], #{socket := Socket} = State) ->
    spawn_link(fun() -> renegotiate(Socket) end),
    State;
obey(["update"], #{socket := Socket} = State) ->
    ok = ssl:update_keys(Socket, read_write),
    State;
obey(["stop"], #{sender := Sender} = State) ->
    Sender ! stop,
    State;
obey(["expect", Bytes], State) ->
    State#{expected := list_to_integer(Bytes)}.

tell_received(#{received := Received, expected := Expected} = State) when Received >= Expected ->
    say("received ~b", [Received]),
    State#{expected := infinity};
tell_received(State) ->
    State.

%% ssl has no event for a handshake that the other end began. But each handshake has a client random of its own.
tell_handshake(#{socket := Socket, random := Random} = State) ->
    NewRandom = random(Socket),
    NewRandom =:= Random orelse say("renegotiated", []),
    State#{random := NewRandom}.

%% Returns when the handshake is complete. tell_handshake/1 tells it, whoever began it.
renegotiate(Socket) ->
    case ssl:renegotiate(Socket) of
        ok -> ok;
        {error, renegotiation_rejected} -> say("refused", []);
        {error, Problem} -> fail(Problem)
    end.

send(Socket, Sent) ->
    receive
        stop -> say("stopped ~b", [Sent])
    after 0 ->
        case ssl:send(Socket, pattern(Sent div 8, ?PIECE div 8)) of
            ok -> send(Socket, Sent + ?PIECE);
            {error, Problem} -> fail(Problem)
        end
    end.

random(Socket) ->
    case ssl:connection_information(Socket, [client_random]) of
        {ok, [{client_random, Random}]} -> Random;
        %% A server in TLS 1.3.
        {ok, []} -> undefined;
        {error, Problem} -> fail(Problem)
    end.

pattern(First, Count) ->
    << <<Number:64>> || Number <- lists:seq(First, First + Count - 1) >>.

check(Data, Offset) ->
    Size = byte_size(Data),
    Skipped = Offset rem 8,
    Right = binary:part(pattern(Offset div 8, (Skipped + Size + 7) div 8), Skipped, Size),
    Data =:= Right orelse fail({wrong_byte_at, Offset + binary:longest_common_prefix([Data, Right])}).
