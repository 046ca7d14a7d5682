"""How long a connection lives: RFC 9112 §9, and who may learn of its end."""
from case import (CLOSE, FIN, OK, RESET, Answers, OriginSaw, Pause, area, body, chunked, client_has, client_lacks,
                  closed, connections, early, forwarded, get, in_sync, no_answer, opened, origin_body, origin_end,
                  post, reached, reply, row, status, statuses, unfinished, untouched)

BODY3 = "Content-Length: 3\r\n"


def says_close(seen):
    if "close" not in ",".join(seen.finals[-1].all("connection")).lower():
        return "the last response does not say close"


ROWS = area("connection", "h1", [
    row("HTTP/1.1 goes on", "9112 §9.3", get(), [status(200), opened]),
    row("HTTP/1.1 and close", "9112 §9.6", get("Connection: close\r\n"), [status(200), closed, says_close]),
    row("HTTP/1.1 and Close", "9112 §9.6", get("Connection: Close\r\n"), [status(200), closed]),
    row("HTTP/1.1, close and keep-alive: close wins", "9112 §9.3", get("Connection: keep-alive, close\r\n"),
        [status(200), closed]),
    row("close in a second line", "9112 §9.3", get("Connection: keep-alive\r\nConnection: close\r\n"), [status(200),
        closed]),
    row("HTTP/1.0 ends", "9112 §9.3", get(version="1.0"), [status(200), closed]),
    row("HTTP/1.0 and keep-alive goes on, or ends", "9112 §9.3", get("Connection: keep-alive\r\n", version="1.0"),
        [status(200), opened, client_has("connection", "keep-alive")], [status(200), closed]),
    row("HTTP/1.0 never gets a coding", "9112 §6.1", get(version="1.0"), [status(200), closed,
        client_lacks("transfer-encoding"), lambda s: None if s.raw.endswith(b"\r\n\r\nabc")
        else "body %r" % s.raw[-20:]], answer=reply("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")),
    row("HTTP/1.0 and keep-alive never gets a coding", "9112 §6.1", get("Connection: keep-alive\r\n", version="1.0"),
        [status(200), in_sync, client_lacks("transfer-encoding"), lambda s: None if s.raw.endswith(b"abc")
        else "body %r" % s.raw[-20:]], answer=reply("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")),
    row("two requests, one behind the other", "9112 §9.3", (get(target="/1"), Answers(1), get(target="/2")),
        [statuses(200, 200), reached("/1", "/2"), opened], finals=2),
    row("a request in two pieces", "9112 §2.2", (get()[:20], Pause(0.03), get()[20:]), forwarded(reached("/"))),
    row("a request byte by byte", "9112 §2.2", sum([[bytes([b]), Pause(0.001)] for b in get()], []),
        forwarded(reached("/"))),
    row("a body in pieces", "9112 §6.3", (post(BODY3), Pause(0.02), b"a", Pause(0.02), b"b", Pause(0.02), b"c"),
        forwarded(origin_body(b"abc"))),
    row("a body and the next request in one piece", "9112 §9.3.2", post(BODY3, b"abc", "/1") + get(target="/2"),
        [statuses(200, 200), reached("/1", "/2"), origin_body(b"abc")], finals=2, methods=("POST", "GET")),
    row("half-closed behind a request", "9112 §9.6", (get(), FIN), [status(200), closed], [no_answer, closed],
        probe=False),
    row("a head that ends in the middle", "9112 §8", (get()[:-4], FIN), [no_answer, closed, untouched], [status(400,
        408), closed, untouched]),
    row("a request line that ends in the middle", "9112 §8", (b"GET / HT", FIN), [no_answer, closed, untouched],
        [status(400, 408), closed, untouched]),
    row("nothing at all", "9112 §8", (FIN,), [no_answer, closed, untouched], [status(400, 408), closed, untouched],
        methods=("GET",)),
    row("a body that ends in the middle", "9112 §8", (post("Content-Length: 10\r\n", b"abc"), FIN), [no_answer, closed,
        unfinished], [status(400, 408, 499, 500, 502), closed, unfinished], lint=False),
    row("a client that is gone is not answered by another", "9112 §9.5", (post("Content-Length: 10\r\n", b"abc"),
        OriginSaw(b"abc"), RESET), [unfinished, origin_end("end", "reset", "open")], finals=0, lint=False),
    row("the upstream's connection is reused or not, in step", "9112 §9.3", (get(target="/1"), Answers(1),
        get(target="/2"), Answers(2), get(target="/3")), [statuses(200, 200, 200), reached("/1", "/2", "/3"), in_sync],
        finals=3),
    row("an upstream that says close is not asked again on that connection", "9112 §9.6", (get(target="/1"), Answers(1),
        get(target="/2")), [statuses(200, 200), reached("/1", "/2"), connections(2)],
        answers=[reply("Connection: close\r\nContent-Length: 2\r\n", b"ok"), OK], finals=2, probe=False),
    row("an HTTP/1.0 upstream is not asked again on that connection", "9112 §9.3", (get(target="/1"), Answers(1),
        get(target="/2")), [statuses(200, 200), reached("/1", "/2"), connections(2)],
        answers=[reply("Content-Length: 2\r\n", b"ok", version="1.0"), OK], finals=2, probe=False),
    row("an upstream that closes is not the client's end", "9112 §9.5", (get(target="/1"), Answers(1), Pause(0.05),
        get(target="/2")), [statuses(200, 200), reached("/1", "/2")], answers=[(OK, CLOSE), OK], finals=2, probe=False),
    row("bytes behind a response end that connection", "9112 §9.2", (get(target="/1"), Answers(1), Pause(0.05),
        get(target="/2")), [lambda s: None if [m.body for m in s.finals] == [b"ok", b"22"] else "bodies %s" % [m.body
        for m in s.finals]], answers=[OK + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        reply("Content-Length: 2\r\n", b"22")], finals=2, probe=False),
    row("a response that nobody asked for is nobody's", "9112 §9.2", (get(target="/1"), Answers(1), Pause(0.12),
        get(target="/2")), [lambda s: None if [m.body for m in s.finals] == [b"ok", b"22"] else "bodies %s" % [m.body
        for m in s.finals]], answers=[(OK, Pause(0.04), reply("Content-Length: 2\r\n", b"no")),
        reply("Content-Length: 2\r\n", b"22")], finals=2, probe=False),
    row("a 408 that nobody asked for is nobody's", "9110 §15.5.9", (get(target="/1"), Answers(1), Pause(0.12),
        get(target="/2")), [lambda s: None if [m.status for m in s.finals] == [200, 200] else "statuses %s" % [m.status
        for m in s.finals]], answers=[(OK, Pause(0.04), reply("Connection: close\r\nContent-Length: 0\r\n", b"",
        "408 Request Timeout"), CLOSE), OK], finals=2, probe=False),
    row("an early answer comes while the body is on its way", "9112 §9.3", (post("Content-Length: 1000000\r\n",
        b"x" * 1000), Answers(1)), [status(403), body(b"no")], answer=early(reply("Content-Length: 2\r\n", b"no",
        "403 Forbidden")), probe=False, lint=False),
    row("an early answer and a close: the answer is not lost", "9112 §9.6", (post("Content-Length: 3000000\r\n",
        b"x" * 3000000), Answers(1)), [status(403), body(b"no")],
        answer=early(reply("Connection: close\r\nContent-Length: 2\r\n", b"no", "403 Forbidden"), CLOSE), probe=False,
        lint=False),
    row("an early answer that does not ask for the rest", "9112 §9.3", (chunked(b"3\r\nabc\r\n"), Answers(1),
        b"0\r\n\r\n"), [status(200), in_sync], answer=early(OK), probe=False, lint=False),
    row("requests of one client do not wait for another's", "9112 §9.3.2", (get(target="/1") + get(target="/2"),),
        [statuses(200, 200), reached("/1", "/2")], answers=[(Pause(0.1), OK), OK], finals=2),
    row("the answer to a request before it was sent is not taken", "9112 §9.2", (get(target="/1"),), [status(200),
        body(b"ok")]),
    row("a GET with Connection: Upgrade, nothing named", "9110 §7.8", get("Connection: upgrade\r\n"),
        forwarded(lambda s: None if not s.requests[0].all("upgrade") else "Upgrade")),
])
