"""From HTTP/2 to an origin of HTTP/1.1 and back: RFC 9113 §8, RFC 9110 §7.6."""
from case import (CLOSE, OK, RESET, OriginSaw, Pause, area, early, origin_body, origin_has, origin_lacks, origin_list,
                  origin_only, origin_start, origin_value_lacks, reached, reply, row, untouched)
from h2wire import *

GET = headers(1, request())
FINE = [stream_status(1, 200), stream_whole(1), alive]
CHUNKED = "Transfer-Encoding: chunked\r\n"
ERROR = [stream_status(1, 500, 502, 503, 504), alive]
CUT = [stream_cut(1), lambda s: None if 1 in s.h2.streams and s.h2.streams[1].is_over or s.state != "silent" else "nothing tells"]


def asks(name, section, fields, *checks, **rest):
    return row(name, section, headers(1, fields), [*FINE, *checks], **rest)


def posts(name, section, extra, payload, *checks, **rest):
    return row(name, section, headers(1, request("POST", "/", *extra), end=False) + data(1, payload, True), [*FINE, *checks], **rest)


def answers(name, section, answer, *checks, method="GET", **rest):
    return row(name, section, headers(1, request(method)), [stream_whole(1), alive, *checks], answer=answer, **rest)


def broken(name, section, answer, **rest):
    """An error of the gateway, or a stream that is visibly cut."""
    rest.setdefault("answer", (answer, CLOSE) if isinstance(answer, bytes) else answer)
    return row(name, section, GET, ERROR, CUT, lint=False, **rest)


def no_field(*names):
    return stream_lacks(1, *names)


ROWS = area("h2 to h1", "h2", [
    asks("the request line", "9113 §8.3.1", request("GET", "/a/b?c=d"), origin_start(r"GET /a/b\?c=d HTTP/1\.[01]")),
    asks("Host is :authority", "9113 §8.3.1", request(authority="b.test"), origin_only("host", r"b\.test")),
    asks("Host is :authority with its port", "9113 §8.3.1", request(authority="a.test:8443"), origin_only("host",
        r"a\.test(:8443)?")),
    asks("no pseudo-header field comes through", "9113 §8.3", request(), lambda s: None
        if b"\r\n:" not in s.origin_bytes else "a colon"),
    asks("cookie crumbs become one", "9113 §8.2.3", request("GET", "/", ("cookie", "a=b"), ("cookie", "c=d"), ("cookie",
        "e=f")), origin_only("cookie", "a=b; c=d; e=f")),
    asks("other fields are passed on", "9110 §5.1", request("GET", "/", ("x-a", "1"), ("accept", "*/*")),
        origin_only("x-a", "1"), origin_only("accept", r"\*/\*")),
    asks("lines of one field keep their order", "9110 §5.3", request("GET", "/", ("x", "1"), ("x", "2")),
        origin_list("x", "1", "2")),
    asks("a GET has no body", "9112 §6.3", request(), origin_lacks("transfer-encoding"),
        origin_value_lacks("content-length", "[1-9]")),
    asks("a POST that ends with its head", "9110 §8.6", request("POST"), origin_body(b"")),
    posts("a body with a length keeps it", "9110 §8.6", [("content-length", "3")], b"abc", origin_body(b"abc")),
    posts("a body without a length", "9112 §6.1", [], b"abc", origin_body(b"abc")),
    posts("an empty DATA ends a body", "9113 §8.1", [], b"", origin_body(b"")),
    asks("te: trailers is not passed on unmarked", "9110 §10.1.4", request("GET", "/", ("te", "trailers")),
        lambda s: None if not s.requests[0].all("te") or "te" in ",".join(s.requests[0].all("connection")).lower()
        else "TE without Connection: TE"),
    asks("Via is added", "9110 §7.6.3", request(), origin_has("via", r".*\b2(\.0)? \S+.*")),
    asks("X-Forwarded-For", "de facto", request("GET", "/", ("x-forwarded-for", "6.6.6.6")), lambda s: None
        if ",".join(s.requests[0].all("x-forwarded-for")).split(",")[-1].strip() == "127.0.0.1"
        else "X-Forwarded-For: %s" % s.requests[0].all("x-forwarded-for")),
    asks("Max-Forwards means nothing to a GET", "9110 §7.6.2", request("GET", "/", ("max-forwards", "0")),
        origin_start("GET / HTTP/1.1")),
    row("Max-Forwards: 0 of an OPTIONS", "9110 §7.6.2", headers(1, request("OPTIONS", "/", ("max-forwards", "0"))),
        [stream_status(1, 200, 204, 405, 501), untouched]),
    asks("an underscore twin of a framing field", "9112 §11.2", request("GET", "/", ("content_length", "5")),
        origin_lacks("content_length")),
    asks("an HTTP/2 request in a value stays a value", "9113 §8.2.1", request("GET", "/", ("x",
        "GET /smuggled HTTP/1.1")), reached("/")),
    asks("proxy-authorization", "9110 §11.7.2", request("GET", "/", ("proxy-authorization", "Basic eA=="))),
    row("a body that holds a request is a body", "9113 §10.3", headers(1, request("POST"), end=False) + data(1,
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", True), [*FINE, reached("/"),
        origin_body(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")]),
    row("H2.CL: a length that is shorter than the body", "9113 §8.1.1", headers(1, request("POST", "/",
        ("content-length", "0")), end=False) + data(1, b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", True),
        *[a + [lambda s: "smuggled" if any("smuggled" in r.start for r in s.requests) else None]
        for a in stream_error(1, PROTOCOL_ERROR)], lint=False),
    row("H2.TE: a coding beside the body", "9113 §8.2.2", headers(1, request("POST", "/", ("transfer-encoding",
        "chunked")), end=False) + data(1, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", True),
        *[a + [lambda s: "smuggled" if any("smuggled" in r.start for r in s.requests) else None]
        for a in stream_error(1, PROTOCOL_ERROR, STREAM_CLOSED)], lint=False),
    row("Expect: 100-continue", "9110 §10.1.1", (headers(1, request("POST", "/", ("expect", "100-continue"),
        ("content-length", "3")), end=False), Pause(0.15), data(1, b"abc", True)), [*FINE, origin_body(b"abc")]),
    row("a body comes in pieces as it was sent", "9113 §8.1", (headers(1, request("POST"), end=False), data(1, b"a"),
        OriginSaw(b"a"), Pause(0.02), data(1, b"b"), Pause(0.02), data(1, b"c", True)), [*FINE, origin_body(b"abc")]),
    # ---- and back
    *[answers("status %d is passed on" % code, "9113 §8.3.2", reply("Content-Length: 2\r\n", b"ok", "%d X" % code),
        stream_status(1, code), stream_body(1, b"ok")) for code in (200, 201, 404, 429, 503)],
    answers("names become lower case", "9113 §8.2.1", reply("X-Upper: 1\r\nContent-Length: 2\r\n", b"ok"),
        stream_status(1, 200), stream_has(1, "x-upper", "1")),
    answers("chunked becomes DATA", "9113 §8.1", reply(CHUNKED, b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), stream_status(1,
        200), stream_body(1, b"ok"), no_field("transfer-encoding")),
    answers("a body up to the close", "9112 §6.3", (reply("", b"ok"), CLOSE), stream_status(1, 200), stream_body(1,
        b"ok")),
    answers("connection-specific fields are gone", "9113 §8.2.2",
        reply("Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n",
        b"ok"), stream_status(1, 200), no_field("connection", "keep-alive", "x-hop", "proxy-connection",
        "transfer-encoding", "upgrade")),
    answers("the origin's close is not the client's", "9113 §8.2.2", reply("Connection: close\r\nContent-Length: 2\r\n",
        b"ok"), stream_status(1, 200), no_field("connection")),
    answers("Upgrade of a response is gone", "9113 §8.2.2",
        reply("Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n", b"ok"), stream_status(1, 200),
        no_field("upgrade", "connection")),
    answers("Set-Cookie is never joined", "9110 §5.3",
        reply("Set-Cookie: a=1, x\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n", b"ok"), stream_status(1, 200),
        lambda s: None if [v for n, v in s.h2.streams[1].blocks[0] if n == "set-cookie"] == ["a=1, x", "b=2"]
        else "%s" % s.h2.streams[1].blocks[0]),
    answers("high bytes in a value", "9110 §5.5", reply("X: caf\xc3\xa9\r\nContent-Length: 2\r\n", b"ok"),
        stream_status(1, 200), stream_has(1, "x", "caf\xc3\xa9")),
    answers("HEAD has no body", "9110 §9.3.2", reply("Content-Length: 9\r\n"), stream_status(1, 200), stream_body(1,
        b""), method="HEAD"),
    answers("204 has no body", "9110 §15.3.5", reply("", b"", "204 No Content"), stream_status(1, 204), stream_body(1,
        b"")),
    answers("304 has no body", "9110 §15.4.5", reply("Content-Length: 9\r\n", b"", "304 Not Modified"), stream_status(1,
        304), stream_body(1, b"")),
    answers("103 is relayed", "8297 §2", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, stream_status(1, 200),
        stream_interims(1, 103)),
    answers("several 1xx are relayed", "9110 §15.2", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2 + OK, stream_status(1,
        200), stream_interims(1, 103, 103)),
    answers("a 1xx has no connection-specific fields", "9113 §8.2.2",
        b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n" + OK, stream_status(1, 200),
        no_field("connection", "x-hop")),
    answers("an empty chunked body", "9113 §8.1", reply(CHUNKED, b"0\r\n\r\n"), stream_status(1, 200), stream_body(1,
        b"")),
    answers("trailers are passed on or dropped", "9110 §6.5.1", reply(CHUNKED, b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
        stream_status(1, 200), stream_body(1, b"ok"), lambda s: None if ("x-sum", "1") not in s.h2.streams[1].blocks[0]
        else "merged"),
    answers("trailers with connection-specific fields", "9113 §8.2.2", reply(CHUNKED,
        b"2\r\nok\r\n0\r\nConnection: close\r\nTransfer-Encoding: x\r\n\r\n"), stream_status(1, 200), stream_body(1,
        b"ok"), no_field("connection", "transfer-encoding")),
    answers("a folded line of the origin", "9112 §5.2", reply("X: a\r\n b\r\nContent-Length: 2\r\n", b"ok"),
        lambda s: None if s.h2.streams[1].status in (500, 502) or any(n == "x" and "\r" not in v and "\n" not in v
        for n, v in s.h2.streams[1].blocks[0]) else "%s" % s.h2.streams[1].blocks),
    broken("a length that is not reached", "9113 §8.1.1", reply("Content-Length: 10\r\n", b"abc")),
    broken("a chunk that is cut", "9112 §8", reply(CHUNKED, b"5\r\nab")),
    broken("chunks without an end", "9112 §8", reply(CHUNKED, b"2\r\nab\r\n")),
    broken("a reset in the body", "9112 §8", (reply("Content-Length: 10\r\n", b"abc"), Pause(0.05), RESET)),
    broken("a chunk that is none", "9112 §7.1", reply(CHUNKED, b"zz\r\n")),
    broken("two lengths", "9112 §6.3", reply("Content-Length: 2\r\nContent-Length: 3\r\n", b"ok")),
    broken("nothing like HTTP", "9112 §4", b"SSH-2.0\r\n\r\n"),
    row("no answer at all", "9110 §15.6.3", GET, ERROR, CUT, answers=[(CLOSE,)] * 9, lint=False),
    row("101 that nobody asked for", "9113 §8.6", GET, ERROR, CUT,
        answer=(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Pause(0.2))),
    answers("bytes behind a response are nobody's", "9112 §9.2", OK + reply("Content-Length: 6\r\n", b"poison"),
        stream_status(1, 200), stream_body(1, b"ok"), lambda s: None if b"poison" not in s.raw else "poison"),
    row("a reset of the client ends the request at the origin or lets it run", "9113 §8.1.1", (headers(1, request("GET",
        "/slow")), OriginSaw(b"/slow"), rst(1), Pause(0.05)), [alive], answers=[early(Pause(0.2), OK)],
        options={"streams": ()}),
    row("an answer in pieces comes in pieces", "9113 §8.1", (GET, StreamHas(1, "bytes", 1), note("early",
        lambda c: not c.streams[1].is_over)), [stream_body(1, b"abc"), lambda s: None if s.h2.notes.get("early")
        else "it was held back"], answer=(reply(CHUNKED, b"1\r\na\r\n"), Pause(0.3), b"2\r\nbc\r\n0\r\n\r\n")),
    row("date is in a response that had none", "9110 §6.6.1", GET, [*FINE, stream_has(1, "date")]),
])
