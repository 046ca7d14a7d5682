"""Frames and the connection: RFC 9113 §3.4, §4, §6, §7."""
from case import Pause, area, row, untouched
from h2wire import *

GET = headers(1, request())
OPEN = headers(1, request("POST", "/", ("content-length", "3")), end=False)
FINE = [stream_status(1, 200), stream_whole(1), alive]
NONE = {"streams": ()}


def fine(name, section, send, **rest):
    return row(name, section, send, FINE, **rest)


def ends(name, section, send, *codes, options=NONE, **rest):
    return row(name, section, send, *connection_error(*codes), options=options, **rest)


def stream_ends(name, section, send, *codes, **rest):
    return row(name, section, send, *stream_error(1, *codes), **rest)


def after(send):
    """An exchange first, so that the connection has seen life."""
    return (GET, StreamHas(1, "end"), send)


def priority(stream, payload=b"\x00\x00\x00\x00\x10"):
    return frame(PRIORITY, 0, stream, payload)


ROWS = area("h2 frames", "h2", [
    fine("a request", "9113 §8.1", GET),
    row("the server's first frame is SETTINGS", "9113 §3.4", GET, [lambda s: None
        if s.h2.frames and s.h2.frames[0][0] == SETTINGS and not s.h2.frames[0][1] & ACK
        else "first frame %s" % (s.h2.frames[:1],), *FINE]),
    ends("a wrong preface", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings(), PROTOCOL_ERROR,
        options={"streams": (), "preface": False}),
    ends("a preface without SETTINGS", "9113 §3.4", PREFACE + headers(1, request()), PROTOCOL_ERROR,
        options={"streams": (), "preface": False}),
    ends("HTTP/1.1 where HTTP/2 was agreed", "9113 §3.4", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", PROTOCOL_ERROR,
        options={"streams": (), "preface": False}),
    fine("SETTINGS and a request at once", "9113 §3.4", PREFACE + settings() + GET, options={"preface": False}),
    row("SETTINGS are acknowledged", "9113 §6.5.3", GET, [*FINE, lambda s: None if s.h2.settings_acks >= 1
        else "no ACK"]),
    row("two SETTINGS get two ACKs", "9113 §6.5.3", (settings((INITIAL_WINDOW, 70000)), GET), [*FINE, lambda s: None
        if s.h2.settings_acks == 2 else "%d ACKs" % s.h2.settings_acks]),
    fine("an unknown frame is ignored", "9113 §4.1", frame(0x16, 0, 0, b"x" * 8) + GET),
    fine("an unknown frame on a stream is ignored", "9113 §5.5", OPEN + frame(0x16, 0xff, 1, b"x" * 8) + data(1, b"abc",
        True)),
    fine("an unknown frame on an idle stream is ignored", "9113 §5.5", frame(0xfe, 0, 99, b"x") + GET),
    fine("unknown flags are ignored", "9113 §4.1", frame(PING, 0x16, 0, b"12345678") + frame(HEADERS,
        END_HEADERS | END_STREAM | 0x82 & 0, 1, block(request()))),
    fine("unknown flags of DATA are ignored", "9113 §4.1", OPEN + frame(DATA, END_STREAM | 0xf6 & ~PADDED & 0xf0, 1,
        b"abc")),
    fine("the reserved bit is ignored", "9113 §4.1", frame(PING, 0, 0x80000000, b"12345678") + frame(HEADERS,
        END_HEADERS | END_STREAM, 0x80000001, block(request()))),
    fine("DATA of 16384 bytes", "9113 §4.2", headers(1, request("POST"), end=False) + data(1, b"x" * 16384, True)),
    row("DATA beyond MAX_FRAME_SIZE", "9113 §4.2", headers(1, request("POST"), end=False) + data(1, b"x" * 16385, True),
        *stream_error(1, FRAME_SIZE_ERROR)),
    ends("HEADERS beyond MAX_FRAME_SIZE", "9113 §4.2", headers(1, request("GET", "/", ("x", "y" * 16400))),
        FRAME_SIZE_ERROR),
    ends("SETTINGS beyond MAX_FRAME_SIZE", "9113 §4.2", frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\xff\xff" * 3000),
        FRAME_SIZE_ERROR),
    ends("a frame of 16 MiB is not waited for", "9113 §4.2", b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", FRAME_SIZE_ERROR,
        PROTOCOL_ERROR),
    # DATA
    ends("DATA on stream 0", "9113 §6.1", data(0, b"x"), PROTOCOL_ERROR),
    fine("DATA with padding", "9113 §6.1", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x05abc" + b"\x00" * 5)),
    fine("DATA with no padding but its length", "9113 §6.1", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x00abc")),
    ends("DATA whose padding is all of it", "9113 §6.1", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x04abc"),
        PROTOCOL_ERROR),
    ends("DATA with too much padding", "9113 §6.1", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\xffabc"),
        PROTOCOL_ERROR),
    ends("DATA with PADDED and no length", "9113 §6.1", OPEN + frame(DATA, PADDED | END_STREAM, 1, b""), PROTOCOL_ERROR,
        FRAME_SIZE_ERROR),
    ends("DATA on an idle stream", "9113 §5.1", data(1, b"x"), PROTOCOL_ERROR, STREAM_CLOSED),
    # HEADERS
    ends("HEADERS on stream 0", "9113 §6.2", headers(0, request()), PROTOCOL_ERROR),
    fine("HEADERS with padding", "9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1,
        b"\x03" + block(request()) + b"\x00" * 3)),
    fine("HEADERS with a priority", "9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1,
        b"\x00\x00\x00\x00\xff" + block(request()))),
    fine("HEADERS with padding and a priority", "9113 §6.2", frame(HEADERS,
        END_HEADERS | END_STREAM | PRIORITIZED | PADDED, 1,
        b"\x02\x80\x00\x00\x00\xff" + block(request()) + b"\x00\x00")),
    ends("HEADERS with too much padding", "9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1,
        b"\xff" + block(request())), PROTOCOL_ERROR, FRAME_SIZE_ERROR),
    ends("HEADERS with PRIORITY and no room for it", "9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM | PRIORITIZED,
        1, b"\x00\x00"), FRAME_SIZE_ERROR, PROTOCOL_ERROR),
    # PRIORITY
    fine("PRIORITY is ignored", "9113 §5.3.2", priority(1) + GET),
    fine("PRIORITY on an idle stream", "9113 §5.1", priority(77) + GET),
    fine("PRIORITY on a closed stream", "9113 §5.1", (GET, StreamHas(1, "end"), priority(1))),
    ends("PRIORITY on stream 0", "9113 §6.3", priority(0), PROTOCOL_ERROR),
    row("PRIORITY of 4 bytes", "9113 §6.3", OPEN + priority(1, b"\x00" * 4) + data(1, b"abc", True), *stream_error(1,
        FRAME_SIZE_ERROR)),
    # RST_STREAM
    ends("RST_STREAM on stream 0", "9113 §6.4", rst(0), PROTOCOL_ERROR),
    ends("RST_STREAM on an idle stream", "9113 §6.4", rst(1), PROTOCOL_ERROR),
    ends("RST_STREAM of 3 bytes", "9113 §6.4", OPEN + frame(RST_STREAM, 0, 1, b"\x00" * 3), FRAME_SIZE_ERROR),
    row("RST_STREAM with an unknown code", "9113 §7", OPEN + rst(1, 0xfff) + headers(3, request()), [stream_status(3,
        200), alive], options={"streams": (3,)}),
    row("RST_STREAM is not answered with RST_STREAM", "9113 §5.4.2", OPEN + rst(1) + headers(3, request()),
        [stream_status(3, 200), alive, lambda s: None if 1 not in s.h2.streams or s.h2.streams[1].reset is None
        else "answered"], options={"streams": (3,)}),
    # SETTINGS
    ends("SETTINGS on a stream", "9113 §6.5", frame(SETTINGS, 0, 1, b""), PROTOCOL_ERROR),
    ends("SETTINGS of 5 bytes", "9113 §6.5", frame(SETTINGS, 0, 0, b"\x00" * 5), FRAME_SIZE_ERROR),
    ends("SETTINGS ACK with a payload", "9113 §6.5", frame(SETTINGS, ACK, 0, b"\x00\x04\x00\x00\xff\xff"),
        FRAME_SIZE_ERROR),
    ends("ENABLE_PUSH of 2", "9113 §6.5.2", settings((ENABLE_PUSH, 2)), PROTOCOL_ERROR),
    fine("ENABLE_PUSH of 0", "9113 §6.5.2", settings((ENABLE_PUSH, 0)) + GET),
    ends("INITIAL_WINDOW_SIZE above 2^31-1", "9113 §6.5.2", settings((INITIAL_WINDOW, 1 << 31)), FLOW_CONTROL_ERROR),
    ends("MAX_FRAME_SIZE below 2^14", "9113 §6.5.2", settings((MAX_FRAME, 16383)), PROTOCOL_ERROR),
    ends("MAX_FRAME_SIZE above 2^24-1", "9113 §6.5.2", settings((MAX_FRAME, 1 << 24)), PROTOCOL_ERROR),
    fine("an unknown setting is ignored", "9113 §6.5.2", settings((0xff, 1), (0xffff, 0xffffffff)) + GET),
    fine("empty SETTINGS", "9113 §6.5", settings() + GET),
    fine("MAX_CONCURRENT_STREAMS of 0 from a client", "9113 §6.5.2", settings((MAX_STREAMS, 0)) + GET),
    fine("a table of 0 bytes", "9113 §6.5.2", settings((HEADER_TABLE_SIZE, 0)) + GET),
    row("ENABLE_CONNECT_PROTOCOL of 2", "8441 §3", settings((CONNECT_PROTOCOL, 2)) + GET, [goaway(PROTOCOL_ERROR)],
        FINE),
    # PING
    row("a PING is answered", "9113 §6.7", (frame(PING, 0, 0, b"12345678"), GET), [pong(b"12345678"), *FINE]),
    row("a PING that is an ACK is not answered", "9113 §6.7", (frame(PING, ACK, 0, b"87654321"), GET), [*FINE,
        lambda s: None if b"87654321" not in s.h2.pongs else "answered"]),
    ends("PING on a stream", "9113 §6.7", frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    ends("PING of 7 bytes", "9113 §6.7", frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    ends("PING of 9 bytes", "9113 §6.7", frame(PING, 0, 0, b"123456789"), FRAME_SIZE_ERROR),
    # GOAWAY
    ends("GOAWAY on a stream", "9113 §6.8", frame(GOAWAY, 0, 1, b"\x00" * 8), PROTOCOL_ERROR),
    ends("GOAWAY of 4 bytes", "9113 §6.8", frame(GOAWAY, 0, 0, b"\x00" * 4), FRAME_SIZE_ERROR, PROTOCOL_ERROR),
    row("streams go on behind a client's GOAWAY", "9113 §6.8", (OPEN, frame(GOAWAY, 0, 0, b"\x00" * 8), data(1, b"abc",
        True)), [stream_status(1, 200), stream_whole(1)], probe=False),
    row("GOAWAY with an unknown code", "9113 §7", (OPEN, frame(GOAWAY, 0, 0, b"\x00\x00\x00\x00\x00\x00\x0f\xffdebug"),
        data(1, b"abc", True)), [stream_status(1, 200), stream_whole(1)], [lambda s: None if s.state in ("end", "reset",
        "goaway") else "open"], probe=False),
    # WINDOW_UPDATE
    ends("WINDOW_UPDATE of 0 on the connection", "9113 §6.9", window_update(0, 0), PROTOCOL_ERROR, FLOW_CONTROL_ERROR),
    row("WINDOW_UPDATE of 0 on a stream", "9113 §6.9", OPEN + window_update(1, 0), *stream_error(1, PROTOCOL_ERROR,
        FLOW_CONTROL_ERROR)),
    ends("WINDOW_UPDATE of 3 bytes", "9113 §6.9", frame(WINDOW_UPDATE, 0, 0, b"\x00\x00\x01"), FRAME_SIZE_ERROR),
    ends("WINDOW_UPDATE on an idle stream", "9113 §5.1", window_update(1, 100), PROTOCOL_ERROR),
    fine("WINDOW_UPDATE on a closed stream", "9113 §5.1", (GET, StreamHas(1, "end"), window_update(1, 100))),
    # PUSH_PROMISE, CONTINUATION
    ends("PUSH_PROMISE from a client", "9113 §8.4", frame(PUSH_PROMISE, END_HEADERS, 1,
        b"\x00\x00\x00\x02" + block(request())), PROTOCOL_ERROR),
    fine("a block over CONTINUATIONs", "9113 §6.10", frame(HEADERS, END_STREAM, 1,
        block(request()[:2])) + frame(CONTINUATION, 0, 1, block(request()[2:3])) + frame(CONTINUATION, END_HEADERS, 1,
        block(request()[3:]))),
    fine("a block cut inside a field", "9113 §4.3", frame(HEADERS, END_STREAM, 1,
        block(request())[:10]) + frame(CONTINUATION, END_HEADERS, 1, block(request())[10:])),
    fine("a block with an empty HEADERS", "9113 §6.10", frame(HEADERS, END_STREAM, 1, b"") + frame(CONTINUATION,
        END_HEADERS, 1, block(request()))),
    ends("CONTINUATION on stream 0", "9113 §6.10", frame(HEADERS, END_STREAM, 1,
        block(request()[:2])) + frame(CONTINUATION, END_HEADERS, 0, block(request()[2:])), PROTOCOL_ERROR),
    ends("CONTINUATION on another stream", "9113 §6.10", frame(HEADERS, END_STREAM, 1,
        block(request()[:2])) + frame(CONTINUATION, END_HEADERS, 3, block(request()[2:])), PROTOCOL_ERROR),
    ends("CONTINUATION alone", "9113 §6.10", frame(CONTINUATION, END_HEADERS, 1, block(request())), PROTOCOL_ERROR),
    ends("CONTINUATION behind END_HEADERS", "9113 §6.10", headers(1, request(), end=False) + frame(CONTINUATION,
        END_HEADERS, 1, block([("x", "y")])), PROTOCOL_ERROR),
    ends("CONTINUATION behind a CONTINUATION that ended", "9113 §6.10", frame(HEADERS, 0, 1,
        block(request()[:2])) + frame(CONTINUATION, END_HEADERS, 1, block(request()[2:])) + frame(CONTINUATION,
        END_HEADERS, 1, b""), PROTOCOL_ERROR),
    ends("CONTINUATION behind DATA", "9113 §6.10", OPEN + data(1, b"abc") + frame(CONTINUATION, END_HEADERS, 1,
        block([("x", "y")])), PROTOCOL_ERROR, STREAM_CLOSED),
    *[ends("a block interrupted by " + name, "9113 §4.3", frame(HEADERS, END_STREAM, 1,
        block(request()[:2])) + text + frame(CONTINUATION, END_HEADERS, 1, block(request()[2:])), PROTOCOL_ERROR)
        for name, text in ( ("DATA", data(1, b"x")), ("PRIORITY", priority(1)), ("HEADERS of another stream", headers(3,
        request())), ("PING", frame(PING, 0, 0, b"12345678")), ("SETTINGS", settings()), ("WINDOW_UPDATE",
        window_update(0, 1)), ("RST_STREAM", rst(1)), ("an unknown frame", frame(0x16, 0, 1, b"x")))],
    fine("frames byte by byte", "9113 §4.1", sum([[bytes([b]), Pause(0.0005)] for b in GET], [])),
    row("after a connection error nothing is answered", "9113 §5.4.1", data(0, b"x") + headers(1, request()),
        [goaway(PROTOCOL_ERROR), untouched], options=NONE),
    row("GOAWAY names the last stream that was processed", "9113 §6.8", after(data(0, b"x")), [goaway(PROTOCOL_ERROR),
        lambda s: None if s.h2.goaway is None or s.h2.goaway[0] in (1, 0x7fffffff)
        else "last stream %d" % s.h2.goaway[0]]),
])
