"""WebSockets over HTTP/2: RFC 8441. Not to offer it is conforming too, so only the first row asks for it."""
import base64
import hashlib

from case import (CLOSE, END, OK, RESET, OriginSaw, Pause, Until, area, early, origin_has, origin_only,
                  origin_raw_has, origin_start, reply, row, untouched)
from h2wire import *


ASK = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/chat?x"), (":authority", "a.test"), ("sec-websocket-version", "13"), ("origin", "https://a.test")]


def yes(request):
    """The 101 that belongs to the key of the request (RFC 6455 §4.2.2)."""
    key = (request.all("sec-websocket-key") or [""])[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept


def not_offered(seen):
    if seen.h2.settings.get(CONNECT_PROTOCOL) == 1:
        return "the tunnel is offered"


def when_offered(step):
    """Nothing is sent to a proxy that does not offer it (§3)."""
    return lambda client: step if client.settings.get(CONNECT_PROTOCOL) == 1 else None


def row_of(name, section, send, *alternatives, **rest):
    rest.setdefault("options", {"streams": ()})
    return row(name, section, tuple(when_offered(s) if isinstance(s, bytes) else s for s in send), *alternatives, [not_offered], **rest)


class Offered:
    """A step that waits only where there is something to wait for."""

    def __init__(self, number, what="head", size=0):
        self.inner = StreamHas(number, what, size)

    def __call__(self, client):
        if client.settings.get(CONNECT_PROTOCOL) == 1:
            client.wait(lambda: self.inner.holds(client) or client.is_over())


def accept(steps):
    """The origin agrees."""
    return early(yes, *steps)


def tunnel(name, section, send, steps, *checks, **rest):
    return row_of(name, section, (headers(1, ASK, end=False), Offered(1), *send), [stream_status(1, 200), alive, *checks], answers=[accept(steps)], lint=False, **rest)


def body_is(payload):
    def check(seen):
        if seen.h2.streams[1].body != payload:
            return "the client got %r (%s)" % (seen.h2.streams[1].body[:60], ended(seen))
    return check


ROWS = area("h2 tunnels", "h2", [
    row("it is offered", "8441 §3", headers(1, request()), [setting(CONNECT_PROTOCOL, lambda v: v == 1)]),
    tunnel("200 opens it", "8441 §5", (), (Pause(0.1),)),
    tunnel("the origin sees a WebSocket's GET", "8441 §5, 6455 §4.1", (), (Pause(0.1),),
        origin_start(r"GET /chat\?x HTTP/1\.1"), origin_only("host", r"a\.test"), origin_only("upgrade", "websocket"),
        origin_has("connection", ".*upgrade.*"), origin_only("sec-websocket-key", "[A-Za-z0-9+/]{22}=="),
        origin_only("sec-websocket-version", "13"), origin_only("origin", "https://a\\.test")),
    tunnel("no field of the upgrade comes back", "9113 §8.2.2", (), (Pause(0.1),), stream_lacks(1, "connection",
        "upgrade")),
    tunnel("bytes from the client", "8441 §5", (data(1, b"\x81\x02hi"), Offered(1, "bytes", 4)), (Until(b"\x81\x02hi"),
        b"seen", Pause(0.05)), body_is(b"seen"), origin_raw_has(b"\x81\x02hi")),
    tunnel("bytes from the origin, in one piece with its 101", "8441 §5", (Offered(1, "bytes", 5),), (b"first",
        Pause(0.05)), body_is(b"first")),
    tunnel("bytes both ways", "8441 §5", (data(1, b"a1"), Offered(1, "bytes", 2), data(1, b"a2"), Offered(1, "bytes",
        4)), (Until(b"a1"), b"b1", Until(b"a2"), b"b2", Pause(0.05)), body_is(b"b1b2")),
    tunnel("bytes that look like a request are bytes", "8441 §5", (data(1,
        b"GET /in-tunnel HTTP/1.1\r\nHost: a\r\n\r\n"), Offered(1, "bytes", 4)), (Until(b"/in-tunnel"), b"seen",
        Pause(0.05)), body_is(b"seen")),
    tunnel("END_STREAM of the client is a FIN at the origin", "8441 §5", (data(1, b"bye", True), Offered(1, "end")),
        (Until(b"bye"), END), origin_raw_has(b"bye")),
    tunnel("a FIN of the origin is END_STREAM", "8441 §5", (Offered(1, "end"),), (b"bye", CLOSE), body_is(b"bye"),
        lambda s: None if s.h2.streams[1].is_ended or s.h2.streams[1].reset is not None else "still open"),
    tunnel("a reset of the origin is RST_STREAM", "8441 §5", (Offered(1, "end"),), (Pause(0.05), RESET), lambda s: None
        if s.h2.streams[1].reset is not None else "not reset (%s)" % ended(s)),
    tunnel("RST_STREAM of the client ends it at the origin", "8441 §5", (data(1, b"x"), OriginSaw(b"x"), rst(1),
        Pause(0.1)), (Until(b"x"), END)),
    tunnel("a large flow to the client", "8441 §5", (Offered(1, "bytes", 300000),), (b"d" * 300000, Pause(0.05)),
        lambda s: None if len(s.h2.streams[1].body) == 300000 else "%d bytes" % len(s.h2.streams[1].body)),
    tunnel("a request beside the tunnel", "8441 §5", (headers(3, request("GET", "/beside")), Offered(3, "end")),
        (Pause(0.3),), stream_status(3, 200)),
    row_of("a refusal of the origin is the answer", "8441 §5", (headers(1, ASK, end=False), Offered(1, "end")),
        [stream_status(1, 403), alive], answers=[early(reply("Content-Length: 2\r\n", b"no", "403 Forbidden"))],
        lint=False),
    row_of("200 of the origin is no tunnel", "8441 §5", (headers(1, ASK, end=False), Offered(1, "end")),
        [stream_status(1, 500, 501, 502, 503), alive], [stream_reset(1), alive], answers=[early(OK)], lint=False),
    row_of("an unknown :protocol", "8441 §4", (headers(1, [(n, "tea" if n == ":protocol" else v) for n, v in ASK],
        end=False), Offered(1, "end")), [stream_status(1, 400, 404, 501), alive, untouched], [stream_reset(1), alive,
        untouched], lint=False),
    row_of("h2c as a :protocol", "8441 §4", (headers(1, [(n, "h2c" if n == ":protocol" else v) for n, v in ASK],
        end=False), Offered(1, "end")), [stream_status(1, 400, 404, 501), alive, untouched], [stream_reset(1), alive,
        untouched], lint=False),
    *[row_of("no %s" % missing, "8441 §4", (headers(1, [f for f in ASK if f[0] != missing], end=False), Offered(1,
        "end")), [stream_reset(1), alive, untouched], [stream_status(1, 400, 404, 405, 501), alive, untouched],
        [goaway(PROTOCOL_ERROR)], lint=False) for missing in (":scheme", ":path", ":authority")],
    row_of(":protocol twice", "9113 §8.3.1", (headers(1, [(":protocol", "websocket"), *ASK], end=False), Offered(1,
        "end")), [stream_reset(1), alive, untouched], [stream_status(1, 400), alive, untouched],
        [goaway(PROTOCOL_ERROR)], lint=False),
    row_of(":protocol with CRLF", "9113 §8.2.1", (headers(1, [(n, "websocket\r\nX: y" if n == ":protocol" else v) for n,
        v in ASK], end=False), Offered(1, "end")), [stream_reset(1), alive, untouched], [stream_status(1, 400, 501),
        alive, untouched], [goaway(PROTOCOL_ERROR)], lint=False),
    row_of("a key of the client is not taken for the origin's", "8441 §5", (headers(1, [*ASK, ("sec-websocket-key",
        "Zm9yZ2VkLWJ5LWNsaWVudA==")], end=False), Offered(1)), [stream_status(1, 200), lambda s: None
        if len(s.requests[0].all("sec-websocket-key")) == 1 else "%s" % s.requests[0].all("sec-websocket-key")],
        [stream_status(1, 400)], answers=[accept((Pause(0.1),))], lint=False),
])
