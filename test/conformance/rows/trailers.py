"""Trailer fields: RFC 9110 §6.5, RFC 9112 §7.1.2. They may be dropped or passed on, never made header fields."""
from case import (area, body, chunked, client_lacks, forwarded, get, in_sync, no_trailer, origin_body, origin_only,
                  raw_lacks, reached, reply, row, status)

CHUNKED = "Transfer-Encoding: chunked\r\n"


def request_trailer(name, *lines):
    text = b"".join(line + b"\r\n" for line in lines)
    return chunked(b"3\r\nabc\r\n0\r\n" + text + b"\r\n"), name


def not_merged(*names):
    def check(seen):
        for name in names:
            if seen.requests[0].all(name):
                return "the trailer %s became a header field" % name
    return check


def never_trailer(*names):
    def check(seen):
        for name in names:
            if any(n.lower() == name for n, v in seen.requests[0].trailers):
                return "the trailer %s is passed on" % name
    return check


ROWS = area("trailers", "h1", [
    row("a request's trailers are dropped or stay trailers", "9110 §6.5.1",
        chunked(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), forwarded(origin_body(b"abc"), not_merged("x-sum"))),
    row("a request's trailer does not end its body", "9112 §7.1.2",
        chunked(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n") + get(target="/next"), [status(200), reached("/", "/next"),
        in_sync], finals=2, methods=("POST", "GET")),
    row("a trailer is no Content-Length", "9110 §6.5.1", chunked(b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n"),
        forwarded(origin_body(b"abc"), not_merged("content-length"), never_trailer("content-length")), [status(400),
        in_sync]),
    row("a trailer is no Transfer-Encoding", "9110 §6.5.1", chunked(b"3\r\nabc\r\n0\r\nTransfer-Encoding: x\r\n\r\n"),
        forwarded(origin_body(b"abc"), never_trailer("transfer-encoding")), [status(400), in_sync]),
    row("a trailer is no Host", "9110 §6.5.1", chunked(b"3\r\nabc\r\n0\r\nHost: b.test\r\n\r\n"),
        forwarded(origin_only("host", "a.test"), never_trailer("host")), [status(400), in_sync]),
    row("a trailer is no Authorization", "9110 §6.5.1", chunked(b"3\r\nabc\r\n0\r\nAuthorization: x\r\n\r\n"),
        forwarded(not_merged("authorization"), never_trailer("authorization")), [status(400), in_sync]),
    row("a trailer is no X-Forwarded-For", "9110 §6.5.1", chunked(b"3\r\nabc\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"),
        forwarded(lambda s: None if "6.6.6.6" not in ",".join(s.requests[0].all("x-forwarded-for")) else "merged",
        never_trailer("x-forwarded-for")), [status(400), in_sync]),
    row("a response's trailers are dropped or stay trailers", "9110 §6.5.1", get("Connection: TE\r\nTE: trailers\r\n"),
        [status(200), body(b"ok"), client_lacks("x-sum"), in_sync], answer=reply(CHUNKED + "Trailer: X-Sum\r\n",
        b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")),
    row("a response's trailers do not come unasked", "9110 §6.5.1", get(), [status(200), body(b"ok"),
        client_lacks("x-sum"), in_sync], answer=reply(CHUNKED, b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")),
    row("a response's trailer is no Content-Length", "9110 §6.5.1", get(), [status(200), body(b"ok"),
        client_lacks("content-length"), no_trailer("content-length"), in_sync], answer=reply(CHUNKED,
        b"2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n")),
    row("a response's trailer is no Set-Cookie in its head", "9110 §6.5.1", get(), [status(200), body(b"ok"),
        client_lacks("set-cookie"), in_sync], answer=reply(CHUNKED, b"2\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\r\n")),
    row("a client of HTTP/1.0 gets no trailers", "9112 §7.1.2", get(version="1.0"), [status(200),
        raw_lacks(b"x-sum: 1"), lambda s: None if s.raw.endswith(b"ok") else "body %r" % s.raw[-20:]],
        answer=reply(CHUNKED, b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")),
    row("Trailer of the head is passed on only with trailers", "9110 §6.6.2", get(), [status(200), body(b"ok"),
        client_lacks("trailer")], [status(200), body(b"ok"), lambda s: None if s.finals[0].trailers
        else "Trailer without trailers"], answer=reply(CHUNKED + "Trailer: X-Sum\r\n",
        b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")),
])
