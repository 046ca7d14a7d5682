"""Flow control (RFC 9113 §5.2, §6.9) and floods (§10.5): what a peer may cost."""
from case import Pause, area, origin_body, reply, row, untouched
from h2wire import *

GET = headers(1, request())
FINE = [stream_status(1, 200), stream_whole(1), alive]
NONE = {"streams": ()}


def big(size):
    return reply("Content-Length: %d\r\n" % size, b"d" * size)


def window(*pairs, **rest):
    return {"auto": False, "settings": pairs, "streams": (1,), **rest}


def got(client):
    return len(client.streams.get(1, Stream()).body)


def noted(name, value):
    def check(seen):
        if seen.h2.notes.get(name) != value:
            return "%s: %s, not %s (%s)" % (name, seen.h2.notes.get(name), value, ended(seen))
    return check


def all_of(size):
    def check(seen):
        if len(seen.h2.streams[1].body) != size or not seen.h2.streams[1].is_ended:
            return "%d bytes of %d (%s)" % (len(seen.h2.streams[1].body), size, ended(seen))
    return check


def flood(name, section, send, *more, **rest):
    """The connection is ended, or a refusal keeps it small."""
    rest.setdefault("options", NONE)
    return row(name, section, send, [over], *more, lint=False, **rest)


def resets(count, trigger):
    """Streams that are opened and at once brought to their end."""
    return b"".join(headers(1 + 2 * i, request("POST", "/%d" % i), end=False) + trigger(1 + 2 * i) for i in range(count))


def few_at_origin(limit):
    def check(seen):
        if len(seen.requests) > limit:
            return "%d requests came to the origin" % len(seen.requests)
    return check


def bomb(copies):
    """A field of 3,000 bytes, stored once and named again and again: small on the wire, large when expanded."""
    base = b"\x82\x87\x84" + literal(":authority", "a.test")
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, base + b"\x40\x01x" + integer(3000, 7) + b"y" * 3000 + b"\xbe" * copies)


ROWS = area("h2 flow and floods", "h2", [
    # ---- what the server sends
    row("a stream's window is kept", "9113 §6.9.1", (GET, StreamHas(1, "bytes", 10), Pause(0.1), note("bytes", got),
        window_update(1, 90)), [noted("bytes", 10), all_of(100)], answer=big(100), options=window((INITIAL_WINDOW, 10)),
        probe=False),
    row("a window of 0 lets the head through", "9113 §6.9", (GET, StreamHas(1), Pause(0.1), note("bytes", got),
        window_update(1, 100)), [noted("bytes", 0), all_of(100)], answer=big(100), options=window((INITIAL_WINDOW, 0)),
        probe=False),
    row("a window of 0 lets an empty body end", "9113 §6.9.1", GET, [stream_status(1, 200), stream_whole(1)],
        answer=big(0), options=window((INITIAL_WINDOW, 0)), probe=False),
    row("the connection's window is kept", "9113 §6.9.1", (GET, StreamHas(1, "bytes", 65535), Pause(0.1), note("bytes",
        got), window_update(0, 100000)), [noted("bytes", 65535), all_of(100000)], answer=big(100000),
        options=window((INITIAL_WINDOW, 1 << 20)), probe=False),
    row("a new INITIAL_WINDOW_SIZE changes open streams", "9113 §6.9.2", (GET, StreamHas(1), Pause(0.05), note("bytes",
        got), settings((INITIAL_WINDOW, 200))), [noted("bytes", 0), all_of(100)], answer=big(100),
        options=window((INITIAL_WINDOW, 0)), probe=False),
    row("a window may become negative", "9113 §6.9.2", (GET, StreamHas(1, "bytes", 30), settings((INITIAL_WINDOW, 10)),
        Pause(0.05), window_update(1, 15), Pause(0.1), note("bytes", got), window_update(1, 500)), [noted("bytes", 30),
        all_of(100)], answer=big(100), options=window((INITIAL_WINDOW, 30)), probe=False),
    row("a stalled stream does not stall its neighbour", "9113 §5.2.2", (GET, StreamHas(1, "bytes", 10), headers(3,
        request("GET", "/small")), StreamHas(3, "end"), note("small", lambda c: c.streams.get(3, Stream()).is_ended),
        window_update(1, 1 << 20)), [noted("small", True), all_of(50000)], answers=[big(50000), big(5)],
        options=window((INITIAL_WINDOW, 10)), probe=False),
    row("MAX_FRAME_SIZE of the client is kept", "9113 §4.2", GET, [all_of(60000), lambda s: None if max(len(f[3])
        for f in s.h2.frames) <= 16384 else "a frame of %d bytes" % max(len(f[3]) for f in s.h2.frames)],
        answer=big(60000)),
    row("a head beyond one frame is continued", "9113 §4.3", GET, [stream_status(1, 200), lambda s: None
        if max(len(f[3]) for f in s.h2.frames) <= 16384 else "a frame too large"], [stream_status(1, 500, 502, 503)],
        answer=reply("X: %s\r\nContent-Length: 2\r\n" % ("\\" * 20000), b"ok")),
    row("a table size of 0 is kept", "7541 §4.2", (settings((HEADER_TABLE_SIZE, 0)), Pause(0.05), GET), FINE,
        options={"streams": (1,)}),
    row("a window that overflows: the connection's", "9113 §6.9.1", window_update(0, 0x7fffffff) + window_update(0,
        0x7fffffff), *connection_error(FLOW_CONTROL_ERROR), options=NONE),
    row("a window that overflows: a stream's", "9113 §6.9.1", headers(1, request("POST"), end=False) + window_update(1,
        0x7fffffff) + window_update(1, 0x7fffffff), *stream_error(1, FLOW_CONTROL_ERROR), options=window()),
    row("a window that overflows by SETTINGS", "9113 §6.9.2", (GET, StreamHas(1, "bytes", 10), window_update(1,
        0x7fffffff - 50), settings((INITIAL_WINDOW, 0x7fffffff))), *connection_error(FLOW_CONTROL_ERROR),
        [stream_reset(1, FLOW_CONTROL_ERROR)], answer=(reply("Content-Length: 100000\r\n", b"d" * 10), Pause(0.3),
        b"d" * 99990), options=window((INITIAL_WINDOW, 10), streams=())),
    # ---- what the server takes
    row("an upload of a megabyte", "9113 §5.2", (headers(1, request("POST", "/", ("content-length", "1000000")),
        end=False), upload(1, 1000000)), [*FINE, lambda s: None if len(s.requests[0].body) == 1000000
        else "%d bytes" % len(s.requests[0].body)], wait=6),
    row("an upload without a length", "9113 §5.2", (headers(1, request("POST"), end=False), upload(1, 300000)), [*FINE,
        lambda s: None if len(s.requests[0].body) == 300000 else "%d bytes" % len(s.requests[0].body)], wait=6),
    row("padding gives its window back", "9113 §6.9.1", (headers(1, request("POST"), end=False), upload(1, 1000, 1,
        255)), [*FINE, origin_body(b"u" * 1000)], wait=6),
    row("a discarded upload gives the connection's window back", "9113 §6.9", (*[s for i in range(4)
        for s in (headers(1 + 2 * i, request("POST", "/%d" % i), end=False), upload(1 + 2 * i, 40000, end=False),
        Pause(0.02), rst(1 + 2 * i))], headers(9, request("POST", "/last"), end=False), upload(9, 40000)),
        [stream_status(9, 200), alive], options={"streams": (9,)}, lint=False, wait=6),
    row("uploads beside each other", "9113 §5.2", (headers(1, request("POST", "/1"), end=False), headers(3,
        request("POST", "/3"), end=False), upload(1, 100000), upload(3, 100000)), [stream_status(1, 200),
        stream_status(3, 200), alive], options={"streams": (1, 3)}, wait=6),
    # ---- floods
    flood("rapid reset", "CVE-2023-44487", resets(3000, rst), ),
    flood("rapid reset by GETs", "CVE-2023-44487", b"".join(headers(1 + 2 * i, request("GET",
        "/%d" % i)) + rst(1 + 2 * i) for i in range(3000))),
    flood("made you reset: WINDOW_UPDATE of 0", "CVE-2025-8671", resets(3000, lambda n: window_update(n, 0))),
    flood("made you reset: a window that overflows", "CVE-2025-8671", resets(3000, lambda n: window_update(n,
        0x7fffffff))),
    flood("made you reset: DATA behind the end", "CVE-2025-8671", b"".join(headers(1 + 2 * i, request("POST",
        "/%d" % i)) + data(1 + 2 * i, b"x") for i in range(3000))),
    flood("made you reset: malformed requests", "CVE-2025-8671", b"".join(headers(1 + 2 * i, [*request(), ("connection",
        "x")]) for i in range(3000))),
    flood("CONTINUATIONs without end", "CVE-2024-27316", frame(HEADERS, 0, 1, block(request())) + frame(CONTINUATION, 0,
        1, literal("x", "y" * 4000)) * 500),
    flood("empty CONTINUATIONs without end", "CVE-2024-27316", frame(HEADERS, 0, 1,
        block(request())) + frame(CONTINUATION, 0, 1, b"") * 20000),
    flood("a megabyte of fields", "9113 §10.5.1", frame(HEADERS, END_STREAM, 1,
        block(request())) + b"".join(frame(CONTINUATION, 0, 1, literal("x%d" % i, "y" * 8000))
        for i in range(128)) + frame(CONTINUATION, END_HEADERS, 1, b""), [stream_status(1, 400, 413, 431), untouched],
        [stream_reset(1), untouched], options={"streams": (1,)}),
    flood("an HPACK bomb", "9113 §10.5.1", bomb(4000), [stream_status(1, 400, 413, 431), untouched], [stream_reset(1),
        untouched], options={"streams": (1,)}),
    flood("empty SETTINGS", "9113 §10.5 (no MUST)", settings() * 20000, options={"streams": (), "auto": False}),
    flood("SETTINGS that say the same", "9113 §10.5 (no MUST)", settings((HEADER_TABLE_SIZE, 4096), (INITIAL_WINDOW,
        65535)) * 20000, options={"streams": (), "auto": False}),
    flood("PINGs", "9113 §10.5 (no MUST)", b"".join(frame(PING, 0, 0, b"%8d" % i) for i in range(20000)), [alive,
        lambda s: None if len(s.h2.pongs) >= 20000 else "%d answers" % len(s.h2.pongs)], wait=6),
    flood("empty DATA", "9113 §10.5 (no MUST)", headers(1, request("POST"), end=False) + data(1, b"") * 20000),
    flood("DATA of nothing but padding", "9113 §10.5 (no MUST)", (headers(1, request("POST"), end=False), frame(DATA,
        PADDED, 1, b"\x00") * 20000)),
    flood("PRIORITYs", "9113 §10.5 (no MUST)", b"".join(frame(PRIORITY, 0, 1 + 2 * (i % 500), b"\x00\x00\x00\x00\x10")
        for i in range(20000)), [alive]),
    flood("unknown frames", "9113 §10.5 (no MUST)", frame(0xbe, 0, 0, b"") * 20000, [alive]),
    flood("WINDOW_UPDATEs of one", "9113 §10.5 (no MUST)", window_update(0, 1) * 20000, [alive]),
])
