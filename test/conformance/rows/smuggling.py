"""Requests inside requests: every family of request smuggling and desynchronisation.

Each row carries a second request, /smuggled, that must never come to the origin by itself, or only as the request that
a client openly sent; and the connection must be closed or in step afterwards.
"""
from case import (OK, Answers, Pause, area, chunked, closed, early, forwarded, get, in_sync, no_answer, origin_body,
                  origin_lacks, post, reached, refused, reply, row, status, statuses, unfinished, untouched)

INNER = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nX: "
WHOLE = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def never(seen):
    """The inner request is nowhere at the origin as a request of its own."""
    for request in seen.requests:
        if "smuggled" in request.start:
            return "the origin was asked for /smuggled"
    return None


def only_outer(seen):
    targets = [r.target for r in seen.requests if r.complete]
    if targets not in ([], ["/"]):
        return "requests at the origin: %s" % targets


def desync(name, section, send, *more, **rest):
    """Refused and closed with nothing at the origin; or read as RFC 9112 says, then also closed."""
    rest.setdefault("methods", ("POST", "GET", "GET"))
    return row(name, section, send, *refused(400, 413, 414, 431, 501, 505), *more, **rest)


def te_hidden(name, line):
    """A Transfer-Encoding that one side sees and the other does not, beside a Content-Length: TE.TE."""
    body = b"0\r\n\r\n" + WHOLE
    text = "Content-Length: %d\r\n%s\r\n" % (len(body), line)
    return row("TE.TE: " + name, "9112 §11.2", post(text, body), *refused(400, 422, 500, 501),
               # a name that is no Transfer-Encoding at all is an ordinary field: then the length counts, and it is dropped or harmless
               [status(200), in_sync, never, origin_body(body), origin_lacks("transfer-encoding"), reached("/")],
               [status(200), closed, only_outer, origin_lacks("content-length")], methods=("POST",))


CHUNKED_INNER = b"0\r\n\r\n" + WHOLE
ZERO = b"0\r\n\r\n"

ROWS = area("smuggling", "h1", [
    desync("CL.TE: length covers an inner request", "9112 §11.2",
        post("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(CHUNKED_INNER), CHUNKED_INNER), [status(200),
        closed, origin_lacks("content-length"), only_outer]),
    desync("CL.TE: inner request without end", "9112 §11.2",
        post("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(ZERO + INNER),
        ZERO + INNER) + get(target="/next"), [status(200), closed, origin_lacks("content-length"), only_outer]),
    desync("TE.CL: a short length before a chunk", "9112 §11.2",
        post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)),
        [status(200), closed, origin_lacks("content-length"), only_outer, never]),
    desync("TE.CL: coding first", "9112 §11.2", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)), [status(200), closed, origin_lacks("content-length"),
        only_outer, never]),
    desync("TE.0: OPTIONS with a coding", "9112 §11.2", get("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        method="OPTIONS") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE), [status(200), closed,
        origin_lacks("content-length"), only_outer, never], methods=("OPTIONS", "GET")),
    row("CL.0: a GET whose body is a request", "9112 §11.2", get("Content-Length: %d\r\n" % len(WHOLE)) + WHOLE,
        *refused(400), forwarded(origin_body(WHOLE), reached("/"), never)),
    row("CL.0: a HEAD whose body is a request", "9112 §11.2", get("Content-Length: %d\r\n" % len(WHOLE),
        method="HEAD") + WHOLE, *refused(400), forwarded(reached("/"), never), answer=reply("Content-Length: 2\r\n")),
    row("CL.0: an OPTIONS whose body is a request", "9112 §11.2", get("Content-Length: %d\r\n" % len(WHOLE),
        method="OPTIONS") + WHOLE, *refused(400), forwarded(origin_body(WHOLE), reached("/"), never)),
    row("CL.0: a DELETE whose body is a request", "9112 §11.2", get("Content-Length: %d\r\n" % len(WHOLE),
        method="DELETE") + WHOLE, *refused(400), forwarded(origin_body(WHOLE), reached("/"), never)),
    row("0.CL: an early answer to an upload leaves no request behind", "9112 §9.3",
        (post("Content-Length: %d\r\n" % len(WHOLE)), Answers(1), Pause(0.05), WHOLE), [never, in_sync],
        answer=early(reply("Content-Length: 2\r\n", b"ok", "403 Forbidden")), probe=False, lint=False),
    row("0.CL: an early answer to a chunked upload leaves no request behind", "9112 §9.3", (chunked(b""), Answers(1),
        Pause(0.05), b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)), [never, in_sync],
        answer=early(reply("Content-Length: 2\r\n", b"ok", "403 Forbidden")), probe=False, lint=False),
    row("an early answer, then the rest and a next request", "9112 §9.3", (post("Content-Length: 100\r\n"), Answers(1),
        b"x" * 100 + get(target="/next")), [status(403), closed], [status(403), in_sync, reached("/next")],
        [status(403), in_sync, reached("/", "/next")], answer=early(reply("Content-Length: 2\r\n", b"ok",
        "403 Forbidden")), probe=False, lint=False, methods=("POST", "GET")),
    row("a refused request's rest is not a request", "9112 §9.3", post("Content-Length: abc\r\n", WHOLE),
        *refused(400)),
    row("a refused chunk's rest is not a request", "9112 §7.1", chunked(b"zz\r\n" + WHOLE), [status(400, 413, 500, 502,
        503), closed, never, unfinished], [no_answer, closed, never, unfinished], lint=False),
    row("a refused head's rest is not a request", "9112 §2.2",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nBad Name: x\r\n\r\n" + WHOLE, *refused(400)),
    row("a request with an unknown version and one behind", "9112 §2.3",
        b"GET / HTTP/3.0\r\nHost: a.test\r\n\r\n" + WHOLE, *refused(400, 505)),
    row("a 417 and one behind", "9110 §10.1.1", post("Expect: tea\r\nContent-Length: %d\r\n" % len(WHOLE), WHOLE),
        [status(417), closed, untouched], [status(417), in_sync, never], forwarded(never, origin_body(WHOLE))),
    row("a 413 or a body of an announced length is not a request", "9110 §15.5.14",
        post("Content-Length: %d\r\n" % (len(WHOLE) + 3), b"ab\n" + WHOLE), forwarded(never,
        origin_body(b"ab\n" + WHOLE))),
    te_hidden("a space before the colon", "Transfer-Encoding : chunked"),
    te_hidden("a tab before the colon", "Transfer-Encoding\t: chunked"),
    te_hidden("a leading space", " Transfer-Encoding: chunked"),
    te_hidden("a folded value", "Transfer-Encoding:\r\n chunked"),
    te_hidden("a folded value with a tab", "Transfer-Encoding:\r\n\tchunked"),
    te_hidden("a folded line in the field before", "X: y\r\n Transfer-Encoding: chunked"),
    te_hidden("x behind CR", "X: y\rTransfer-Encoding: chunked"),
    te_hidden("x behind LF", "X: y\nTransfer-Encoding: chunked"),
    te_hidden("x behind NUL", "X: y\x00Transfer-Encoding: chunked"),
    te_hidden("underscore", "Transfer_Encoding: chunked"),
    te_hidden("NUL in the name", "Transfer-\x00Encoding: chunked"),
    te_hidden("high byte in the name", "Transfer-Encoding\xa0: chunked"),
    te_hidden("vertical tab before the value", "Transfer-Encoding:\x0bchunked"),
    te_hidden("a comma before", "Transfer-Encoding: ,chunked"),
    te_hidden("identity before", "Transfer-Encoding: identity, chunked"),
    te_hidden("a second line that is not chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    te_hidden("a first line that is not chunked", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
    te_hidden("a parameter", "Transfer-Encoding: chunked;x"),
    te_hidden("CR behind", "Transfer-Encoding: chunked\r"),
    te_hidden("quotes", "Transfer-Encoding: 'chunked'"),
    te_hidden("upper case and a bracket", "Transfer-Encoding: [CHUNKED]"),
    te_hidden("unicode k", "Transfer-Encoding: chun\xe2\x84\xaaed"),
    te_hidden("named by Connection", "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding"),
    row("length named by Connection", "9110 §7.6.1",
        post("Content-Length: %d\r\nConnection: content-length\r\n" % len(WHOLE), WHOLE), forwarded(origin_body(WHOLE),
        reached("/"), never), *refused(400)),
    row("host named by Connection", "9110 §7.6.1", get("Connection: host\r\n"), forwarded(lambda seen: None
        if seen.requests[0].all("host") == ["a.test"] or len(seen.requests[0].all("host")) == 1 else "no Host"),
        *refused(400)),
    row("underscore twin of the length", "9112 §6.2",
        post("Content_Length: %d\r\nContent-Length: 0\r\n" % len(WHOLE)) + get(target="/next"), [statuses(200, 200),
        reached("/", "/next"), in_sync], *refused(400), finals=2, methods=("POST", "GET")),
    row("length with a space before its colon", "9112 §5.1", post("Content-Length : %d\r\n" % len(WHOLE), WHOLE),
        *refused(400)),
    row("length behind a bare CR", "9112 §2.2", post("X: y\rContent-Length: %d\r\n" % len(WHOLE), WHOLE), *refused(400),
        [status(200, 400), never, in_sync]),
    row("length behind a bare LF", "9112 §2.2", post("X: y\nContent-Length: %d\r\n" % len(WHOLE), WHOLE), *refused(400),
        forwarded(never, origin_body(WHOLE))),
    row("a chunk extension that hides a chunk (TERM.EXT)", "9112 §7.1.1",
        chunked(b"2;\nxx\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)), [status(400, 500, 502, 503), in_sync, never,
        unfinished], [no_answer, closed, never, unfinished], lint=False, probe=False),
    row("a chunk extension that hides a chunk (EXT.TERM)", "9112 §7.1.1",
        chunked(b"2\nx;\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE)), [status(400, 500, 502, 503), in_sync, never,
        unfinished], [no_answer, closed, never, unfinished], lint=False, probe=False),
    row("chunk data that one side ends too early (SPILL.TERM)", "9112 §7.1",
        chunked(b"5\r\nAAAAAxx\r\n0\r\n\r\n" + WHOLE), [status(400, 500, 502, 503), in_sync, never, unfinished],
        [no_answer, closed, never, unfinished], lint=False, probe=False),
    row("chunk data that one side ends by one byte (ONE.TWO)", "9112 §7.1", chunked(b"2\r\nxx\n0\r\n\r\n" + WHOLE),
        [status(400, 500, 502, 503), in_sync, never, unfinished], [no_answer, closed, never, unfinished], lint=False,
        probe=False),
    row("a size that overflows to the inner request", "9112 §7.1",
        chunked(b"10000000000000002\r\nxx\r\n0\r\n\r\n" + WHOLE), [status(400, 413, 500, 502, 503), in_sync, never,
        unfinished], [no_answer, closed, never, unfinished], lint=False, probe=False),
    row("a folded Content-Length", "9112 §5.2", post("Content-Length:\r\n %d\r\n" % len(WHOLE), WHOLE), *refused(400),
        forwarded(never, origin_body(WHOLE))),
    row("a request line inside a header name", "9112 §5.1",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nGET /smuggled HTTP/1.1: x\r\n\r\n", *refused(400)),
    row("bytes of a second request in the target", "9112 §3.2",
        b"GET /?x=\x0d\x0aGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", *refused(400, 505)),
    row("an encoded CRLF in the target stays encoded", "9112 §3.2",
        get(target="/%0d%0aHost:%20b%0d%0a%0d%0aGET%20/inner%20HTTP/1.1"),
        forwarded(reached("/%0D%0AHost:%20b%0D%0A%0D%0AGET%20/inner%20HTTP/1.1")),
        forwarded(reached("/%0d%0aHost:%20b%0d%0a%0d%0aGET%20/inner%20HTTP/1.1")), *refused(400)),
    row("CRLF in a header by a lone LF", "9112 §2.2",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\n\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n", *refused(400),
        [status(200), in_sync, reached("/", "/smuggled")], finals=1, probe=False),
    row("two requests, the second is bad", "9112 §9.3.2",
        get(target="/first") + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", [statuses(200, 400), closed,
        reached("/first")], [statuses(200), closed, reached("/first")], finals=2),
    row("two requests, the first is bad", "9112 §9.3.2",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + get(target="/second"), *refused(400)),
    row("an HTTP/2 preface on a plain connection", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", *refused(400, 405,
        501, 505), [lambda seen: None if seen.raw[3:5] in (b"\x00\x04", b"\x04\x00") or b"\x00\x00" in seen.raw[:4]
        else "not SETTINGS: %r" % seen.raw[:30], untouched]),
    row("pipelined requests are answered in order", "9112 §9.3.2",
        get(target="/1") + get(target="/2") + get(target="/3"), [statuses(200, 201, 202), reached("/1", "/2", "/3"),
        in_sync], answers=[OK, reply("Content-Length: 1\r\n", b"b", "201 Created"), reply("Content-Length: 1\r\n", b"c",
        "202 Accepted")], finals=3),
    row("a pipelined HEAD keeps its place", "9112 §9.3.2", get(target="/1", method="HEAD") + get(target="/2"),
        [statuses(200, 200), reached("/1", "/2"), in_sync], answers=[reply("Content-Length: 10\r\n"), OK], finals=2,
        methods=("HEAD", "GET")),
    row("nothing is pipelined behind a close", "9112 §9.6", get("Connection: close\r\n",
        target="/1") + get(target="/2"), [statuses(200), closed, reached("/1")]),
    row("a response that holds a second one is not believed", "9112 §6.3", (get(target="/1"),), [status(200), in_sync,
        lambda seen: None if b"poison" not in seen.raw else "the poison reached the client"],
        answer=OK + reply("Content-Length: 6\r\n", b"poison")),
    row("a response to HEAD with a body is not believed", "9110 §9.3.2", (get(target="/1", method="HEAD"),),
        [status(200), in_sync, lambda seen: None if b"poison" not in seen.raw else "the poison reached the client"],
        answer=reply("Content-Length: 47\r\n", reply("Content-Length: 6\r\n", b"poison"))),
    row("a 204 with a body is not believed", "9110 §15.3.5", (get(target="/1"),), [status(204), in_sync,
        lambda seen: None if b"poison" not in seen.raw else "the poison reached the client"], answer=reply("",
        reply("Content-Length: 6\r\n", b"poison"), "204 No Content")),
    row("a 304 with a body is not believed", "9110 §15.4.5", (get(target="/1"),), [status(304), in_sync,
        lambda seen: None if b"poison" not in seen.raw else "the poison reached the client"],
        answer=reply("Content-Length: 44\r\n", reply("Content-Length: 6\r\n", b"poison"), "304 Not Modified")),
])
