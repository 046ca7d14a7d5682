"""What an upstream says, and what may be passed on of it: RFC 9112 §4, RFC 9110 §15."""
from case import (CLOSE, OK, RESET, Answers, area, bad_gateway, body, client_has, closed, get, in_sync, no_answer,
                  opened, raw_lacks, reached, reply, row, status, statuses)


def broken(name, answer, section="9112 §4", *more, **rest):
    return row(name, section, get(), *bad_gateway(), *more, answer=(answer, CLOSE) if isinstance(answer, bytes) else answer, lint=False, **rest)


def field(line):
    return b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 2\r\n\r\nok"


def without(*names):
    """Mended: the response came without these bytes."""
    return [status(200), body(b"ok"), *[raw_lacks(n) for n in names]]


ROWS = area("responses", "h1", [
    *[row("status %s is passed on" % s.split()[0], "9110 §15", get(), [status(int(s[:3])), opened],
        answer=reply("Content-Length: 2\r\n", b"ok", s)) for s in ("200 OK", "201 Created", "301 Moved",
        "400 Bad Request", "404 Not Found", "418 I'm a teapot", "429 Slow down", "500 Oh", "503 Later")],
    row("an unknown status of a known class is passed on", "9110 §15", get(), [status(299, 200), opened],
        answer=reply("Content-Length: 2\r\n", b"ok", "299 Odd")),
    row("an empty reason", "9112 §4", get(), [status(200), opened],
        answer=b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    row("no space behind the status", "9112 §4", get(), [status(200), opened], *bad_gateway(),
        answer=b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    row("HTTP/1.0 of the upstream is not the client's version", "9110 §2.5", get(), [status(200), lambda s: None
        if s.finals[0].start.startswith("HTTP/1.1") else s.finals[0].start], answer=reply("Content-Length: 2\r\n",
        b"ok", version="1.0")),
    row("HTTP/1.9 of the upstream is not the client's version", "9110 §2.5", get(), [status(200), lambda s: None
        if s.finals[0].start.startswith("HTTP/1.1") else s.finals[0].start], *bad_gateway(),
        answer=reply("Content-Length: 2\r\n", b"ok", version="1.9")),
    broken("HTTP/2.0 on a status line", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "9112 §2.3"),
    broken("nothing like HTTP", b"SSH-2.0-OpenSSH_9\r\n\r\n"),
    row("nothing at all", "9110 §15.6.3", get(), *bad_gateway(), answers=[(CLOSE,)] * 9),
    row("a reset before an answer", "9110 §15.6.3", get(), *bad_gateway(), answers=[(RESET,)] * 9),
    broken("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("a status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("status 099", b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("a status with a sign", b"HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok"),
    row("status 999", "9110 §15", get(), *bad_gateway(), [status(999), in_sync],
        answer=b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("no version", b"200 OK\r\nContent-Length: 2\r\n\r\nok"),
    broken("a NUL in the reason", b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok", "9112 §4", without(b"\x00")),
    broken("a head that never ends", b"HTTP/1.1 200 OK\r\nX: y\r\n", "9112 §8"),
    broken("a head that is cut in a name", b"HTTP/1.1 200 OK\r\nContent-Le", "9112 §8"),
    broken("a space before a colon", field(b"X : y"), "9112 §5.1 (MUST remove)", without(b"x : y")),
    broken("no colon", field(b"abc"), "9112 §5", without(b"abc")),
    broken("an empty name", field(b": y"), "9110 §5.1", without(b"\n: y")),
    broken("a name with a space", field(b"X Y: z"), "9110 §5.1", without(b"x y:")),
    broken("a NUL in a value", field(b"X: a\x00b"), "9110 §5.5", without(b"\x00")),
    broken("a bare CR in a value", field(b"X: a\rb"), "9110 §5.5", without(b"a\rb")),
    broken("a bare CR and a field behind it", field(b"X: a\rSet-Cookie: evil=1"), "9110 §5.5",
        without(b"\rset-cookie")),
    broken("a high byte in a name", field(b"X\xe9: y"), "9110 §5.1", without(b"\xe9")),
    broken("white space before the first field", b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 2\r\n\r\nok",
        "9112 §2.2", without(b" x: y")),
    row("a folded line becomes one", "9112 §5.2", get(), [status(200), client_has("x", "a +b"), raw_lacks(b"\r\n b")],
        *bad_gateway(), answer=field(b"X: a\r\n b")),
    row("a folded line with a tab becomes one", "9112 §5.2", get(), [status(200), client_has("x", "a[ \t]+b"),
        raw_lacks(b"\r\n\tb")], *bad_gateway(), answer=field(b"X: a\r\n\tb")),
    row("a large head is passed on or an error", "9110 §5.4", get(), [status(200), body(b"ok"), in_sync],
        *bad_gateway(), answer=field(b"X: " + b"y" * 30000)),
    row("a head without end is an error", "9110 §5.4", get(), *bad_gateway(),
        answer=(b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 40000, CLOSE),
        lint=False),
    row("an error of the gateway has a length or ends", "9112 §6.3", get(), [status(500, 502, 503, 504), in_sync,
        lambda s: None if s.finals[0].complete else "not complete"], [no_answer, closed], answers=[(CLOSE,)] * 9),
    row("the next request after an error is answered", "9112 §9.3", (get(target="/1"), Answers(1), get(target="/2")),
        [statuses((500, 502, 503, 504), 200)], [lambda s: None if len(s.finals) <= 1 and s.state in ("end", "reset")
        else "neither closed nor answered"], answers=[(b"nonsense\r\n\r\n", CLOSE), OK], finals=2, probe=False),
    row("101 that nobody asked for", "9110 §15.2.2", get(), *bad_gateway(),
        answer=b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", probe=False),
    row("421 is passed on", "9110 §15.5.20", get(), [status(421), opened], answer=reply("Content-Length: 0\r\n", b"",
        "421 Misdirected Request")),
    row("205 has no content", "9110 §15.3.6", get(), [status(205), opened, body(b"")],
        answer=reply("Content-Length: 0\r\n", b"", "205 Reset Content")),
    row("Location is passed on as it came", "9110 §10.2.2", get(), [status(302), client_has("location",
        "http://other\\.test/x")], answer=reply("Location: http://other.test/x\r\nContent-Length: 0\r\n", b"",
        "302 Found")),
    row("a redirect is not followed", "9110 §15.4", get(), [status(302), reached("/")],
        answer=reply("Location: /next\r\nContent-Length: 0\r\n", b"", "302 Found")),
    row("Retry-After is passed on", "9110 §10.2.3", get(), [status(503), client_has("retry-after", "7")],
        answer=reply("Retry-After: 7\r\nContent-Length: 0\r\n", b"", "503 Later")),
    row("Age of the origin is passed on", "9111 §5.1", get(), [status(200), client_has("age", "[0-9]+")],
        answer=reply("Age: 5\r\nContent-Length: 2\r\n", b"ok")),
    row("Alt-Svc and others are passed on", "9110 §5.1", get(), [status(200), client_has("x-a", "1")],
        answer=reply('X-A: 1\r\nContent-Length: 2\r\n', b"ok")),
])
