"""Streams and their states: RFC 9113 §5."""
from case import OK, OriginSaw, Pause, area, early, reached_times, reply, row
from h2wire import *

GET1 = headers(1, request())
OPEN = headers(1, request("POST"), end=False)
NONE = {"streams": ()}
CLOSED_CODES = (STREAM_CLOSED, PROTOCOL_ERROR)
SLOW = early(Pause(0.3), OK)


def closed_by_end(name, section, send, **rest):
    """The client had ended the stream (half-closed (remote)); the answer takes its time."""
    return row(name, section, (GET1, OriginSaw(b"GET"), send), *stream_error(1, STREAM_CLOSED), [goaway(STREAM_CLOSED, PROTOCOL_ERROR)], answer=SLOW, **rest)


def several(count):
    return b"".join(headers(1 + 2 * i, request("GET", "/%d" % i)) for i in range(count))


def all_200(*numbers):
    def check(seen):
        bad = {n: seen.h2.streams[n].status if n in seen.h2.streams else 0 for n in numbers}
        bad = {n: code for n, code in bad.items() if code != 200}
        if bad:
            return "not 200: %s (%s)" % (bad, ended(seen))
    return check


def refused_over(limit_key):
    """Of very many streams, those over the announced limit are refused; the connection is alive or ended for it."""
    def check(seen):
        limit = seen.h2.settings.get(limit_key)
        if limit is None:
            return "no MAX_CONCURRENT_STREAMS"
        over = [n for n, s in seen.h2.streams.items() if s.reset in (REFUSED_STREAM, PROTOCOL_ERROR, ENHANCE_YOUR_CALM)]
        if not over and not (seen.h2.goaway and seen.h2.goaway[1]):
            return "more than %d streams at once are taken" % limit
    return check


ROWS = area("h2 streams", "h2", [
    row("several streams at once", "9113 §5.1.2", several(5), [all_200(1, 3, 5, 7, 9), alive, reached_times(5, 5)],
        options={"streams": (1, 3, 5, 7, 9)}),
    row("streams one after the other", "9113 §5.1.1", (GET1, StreamHas(1, "end"), headers(3, request()), StreamHas(3,
        "end"), headers(5, request())), [all_200(1, 3, 5), alive], options={"streams": (5,)}),
    row("identifiers may be skipped", "9113 §5.1.1", headers(7, request()), [all_200(7), alive], options={"streams": (7,
        )}),
    row("an even identifier", "9113 §5.1.1", headers(2, request()), *connection_error(PROTOCOL_ERROR), options=NONE),
    row("an identifier that is smaller than the last", "9113 §5.1.1", headers(5, request()) + headers(3, request()),
        *connection_error(PROTOCOL_ERROR, STREAM_CLOSED), options=NONE),
    row("an identifier twice", "9113 §5.1.1", (GET1, StreamHas(1, "end"), GET1), *connection_error(PROTOCOL_ERROR,
        STREAM_CLOSED), [alive, reached_times(0, 1)], [stream_reset(1, STREAM_CLOSED)], options=NONE),
    row("a limit of streams is announced", "9113 §5.1.2 (SHOULD)", GET1, [setting(MAX_STREAMS,
        lambda v: v is not None and 1 <= v <= 1000)]),
    row("streams over the limit are refused", "9113 §5.1.2", (lambda c: several(min(c.settings.get(MAX_STREAMS, 3000),
        3000) + 10), Pause(0.2)), [refused_over(MAX_STREAMS)], answers=[SLOW] * 400, options=NONE, probe=False),
    row("idle: DATA", "9113 §5.1", data(1, b"x", True), *connection_error(PROTOCOL_ERROR, STREAM_CLOSED), options=NONE),
    row("idle: RST_STREAM", "9113 §5.1", rst(1), *connection_error(PROTOCOL_ERROR), options=NONE),
    row("idle: WINDOW_UPDATE", "9113 §5.1", window_update(1, 1), *connection_error(PROTOCOL_ERROR), options=NONE),
    row("idle: an even stream's WINDOW_UPDATE", "9113 §5.1", window_update(2, 1), *connection_error(PROTOCOL_ERROR),
        options=NONE),
    closed_by_end("half-closed: DATA", "9113 §5.1", data(1, b"x", True)),
    closed_by_end("half-closed: HEADERS", "9113 §5.1", headers(1, [("x", "y")])),
    row("half-closed: CONTINUATION", "9113 §5.1", (GET1, frame(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))),
        *connection_error(PROTOCOL_ERROR, STREAM_CLOSED), answer=SLOW, options=NONE),
    row("half-closed: WINDOW_UPDATE is fine", "9113 §5.1", (GET1, window_update(1, 100)), [all_200(1), alive],
        answer=SLOW),
    row("half-closed: PRIORITY is fine", "9113 §5.1", (GET1, frame(PRIORITY, 0, 1, b"\x00" * 5)), [all_200(1), alive],
        answer=SLOW),
    row("half-closed: RST_STREAM is fine", "9113 §5.1", (GET1, rst(1), headers(3, request())), [all_200(3), alive],
        answer=SLOW, options={"streams": (3,)}),
    row("reset by the client: DATA", "9113 §5.1", (OPEN, rst(1), data(1, b"x")), *connection_error(STREAM_CLOSED,
        PROTOCOL_ERROR), [alive, reached_times(0, 1)], [stream_reset(1, STREAM_CLOSED)], options=NONE),
    row("reset by the client: HEADERS", "9113 §5.1", (OPEN, rst(1), headers(1, [("x", "y")])),
        *connection_error(STREAM_CLOSED, PROTOCOL_ERROR), [alive, reached_times(0, 1)], [stream_reset(1,
        STREAM_CLOSED)], options=NONE),
    row("reset by the client: CONTINUATION", "9113 §5.1", (OPEN, rst(1), frame(CONTINUATION, END_HEADERS, 1, b"")),
        *connection_error(STREAM_CLOSED, PROTOCOL_ERROR), options=NONE),
    row("closed: DATA", "9113 §5.1", (GET1, StreamHas(1, "end"), data(1, b"x")), *connection_error(STREAM_CLOSED,
        PROTOCOL_ERROR), [alive, reached_times(0, 1)], [stream_reset(1, STREAM_CLOSED)], options=NONE),
    row("closed: HEADERS", "9113 §5.1", (GET1, StreamHas(1, "end"), headers(1, [("x", "y")])),
        *connection_error(STREAM_CLOSED, PROTOCOL_ERROR), [alive, reached_times(0, 1)], [stream_reset(1,
        STREAM_CLOSED)], options=NONE),
    row("closed: CONTINUATION", "9113 §5.1", (GET1, StreamHas(1, "end"), frame(CONTINUATION, END_HEADERS, 1, b"")),
        *connection_error(STREAM_CLOSED, PROTOCOL_ERROR), options=NONE),
    row("closed: RST_STREAM is ignored", "9113 §5.1", (GET1, StreamHas(1, "end"), rst(1)), [all_200(1), alive]),
    row("reset by the server: what was on its way is ignored", "9113 §5.1", headers(1, [*request("POST"), ("connection",
        "close")], end=False) + data(1, b"abc") + window_update(1, 1) + data(1, b"", True), [alive],
        [goaway(PROTOCOL_ERROR, STREAM_CLOSED)], options=NONE),
    row("a request that is reset is not finished at the origin", "9113 §8.1.1", (headers(1, request("POST", "/",
        ("content-length", "10")), end=False), data(1, b"abc"), OriginSaw(b"abc"), rst(1), Pause(0.05)),
        [lambda s: "the request is complete at the origin" if [r for r in s.requests if r.complete] else None, alive],
        options=NONE, lint=False),
    row("a chunked request that is reset is not finished at the origin", "9113 §8.1.1", (OPEN, data(1, b"abc"),
        OriginSaw(b"abc"), rst(1), Pause(0.05)), [lambda s: "the request is complete at the origin" if [r
        for r in s.requests if r.complete] else None, alive], options=NONE, lint=False),
    row("a stream that is reset leaves its neighbours alone", "9113 §5.4.2", (GET1 + headers(3, request()), rst(1)),
        [all_200(3), alive], answers=[SLOW, OK, OK], options={"streams": (3,)}),
    row("a slow stream does not hold up its neighbour", "9113 §5", (headers(1, request("GET", "/slow")),
        OriginSaw(b"/slow"), headers(3, request()), StreamHas(3, "end"), note("slow is open",
        lambda c: not c.streams.get(1, Stream()).is_over)), [all_200(1, 3), lambda s: None
        if s.h2.notes.get("slow is open") else "stream 3 waited for stream 1"], answers=[early(Pause(0.5), OK), OK],
        options={"streams": (1, 3)}),
    row("an early answer ends the stream without error", "9113 §8.1 (no MUST)", (OPEN, data(1, b"x" * 100), StreamHas(1,
        "end")), [stream_status(1, 403), lambda s: None if s.h2.streams[1].is_ended and s.h2.streams[1].reset in (None,
        NO_ERROR) else "reset %s" % s.h2.streams[1].reset, alive], answer=early(reply("Content-Length: 2\r\n", b"no",
        "403 Forbidden")), lint=False),
    row("nothing is opened by the server", "9113 §8.4", (GET1,), [all_200(1), lambda s: None if not any(n and n % 2 == 0
        for n in s.h2.streams) else "a stream of the server"]),
])
