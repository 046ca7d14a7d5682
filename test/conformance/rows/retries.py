"""What is asked again, and what never: RFC 9110 §9.2.2, RFC 9112 §9.3.1."""
from case import (CLOSE, OK, RESET, Answers, Pause, area, chunked, closed, cut, early, get, no_answer, post, reply,
                  row, status, statuses)

GATEWAY = (500, 502, 503, 504)


def never_twice(name, section, request, **rest):
    """Asked on a reused connection that ends without an answer: an error, and the origin saw it once."""
    return row(name, section, (get(target="/warm"), Answers(1), Pause(0.03), request), [statuses(200, GATEWAY), once("/it")], [statuses(200), closed, once("/it")],
               answers=[OK, (CLOSE,), OK], finals=2, probe=False, methods=("GET", "POST"), lint=False, **rest)


def once(target):
    def check(seen):
        count = len([r for r in seen.requests if r.target == target])
        if count != 1:
            return "%s came %d times to the origin" % (target, count)
    return check


def at_most(target, limit):
    def check(seen):
        count = len([r for r in seen.requests if r.target == target])
        if not 1 <= count <= limit:
            return "%s came %d times to the origin" % (target, count)
    return check


def may_retry(name, section, request, **rest):
    return row(name, section, (get(target="/warm"), Answers(1), Pause(0.03), request), [statuses(200, 200), at_most("/it", 3)], [statuses(200, GATEWAY), at_most("/it", 3)], [statuses(200), closed],
               answers=[OK, (CLOSE,), OK, OK], finals=2, probe=False, methods=("GET", "GET"), lint=False, **rest)


ROWS = area("retries", "h1", [
    never_twice("a POST on a connection that ends", "9110 §9.2.2", post("Content-Length: 3\r\n", b"abc", "/it")),
    never_twice("a POST without a body on a connection that ends", "9110 §9.2.2", post("Content-Length: 0\r\n", b"",
        "/it")),
    never_twice("a chunked POST on a connection that ends", "9110 §9.2.2", chunked(b"3\r\nabc\r\n0\r\n\r\n", "",
        "/it")),
    never_twice("a PATCH on a connection that ends", "9110 §9.2.2", get("Content-Length: 3\r\n", "/it",
        method="PATCH") + b"abc"),
    never_twice("an unknown method on a connection that ends", "9110 §9.2.2", get("", "/it", method="BREW")),
    may_retry("a GET on a connection that ends", "9112 §9.3.1", get(target="/it")),
    may_retry("a PUT on a connection that ends", "9112 §9.3.1", get("Content-Length: 3\r\n", "/it",
        method="PUT") + b"abc"),
    may_retry("a DELETE on a connection that ends", "9112 §9.3.1", get("", "/it", method="DELETE")),
    row("a POST on a fresh connection that ends", "9110 §9.2.2", post("Content-Length: 3\r\n", b"abc", "/it"),
        [status(*GATEWAY), once("/it")], [no_answer, closed, once("/it")], answers=[(CLOSE,), OK], probe=False,
        lint=False),
    row("a POST on a fresh connection that is reset", "9110 §9.2.2", post("Content-Length: 3\r\n", b"abc", "/it"),
        [status(*GATEWAY), once("/it")], [no_answer, closed, once("/it")], answers=[(RESET,), OK], probe=False,
        lint=False),
    row("a GET that always meets an end is not asked for ever", "9112 §9.3.1", get(target="/it"), [status(*GATEWAY),
        at_most("/it", 6)], [no_answer, closed, at_most("/it", 6)], answers=[(CLOSE,)] * 20, probe=False, lint=False),
    row("nothing is asked again after a part of the answer", "9112 §9.3.1", get(target="/it"), [cut, once("/it")],
        answers=[(reply("Content-Length: 10\r\n", b"abc"), CLOSE), OK], probe=False, lint=False),
    row("nothing is asked again after a status line", "9112 §9.3.1", get(target="/it"), [status(*GATEWAY), once("/it")],
        [cut, once("/it")], [no_answer, closed, once("/it")], answers=[(b"HTTP/1.1 200 OK\r\nCont", CLOSE), OK],
        probe=False, lint=False),
    row("a 503 of the origin is an answer", "9110 §15.6.4", get(target="/it"), [status(503), once("/it")],
        answers=[reply("Content-Length: 0\r\n", b"", "503 Later"), OK]),
    row("a POST that got a 503 is not asked again", "9110 §9.2.2", post("Content-Length: 3\r\n", b"abc", "/it"),
        [status(503), once("/it")], answers=[reply("Content-Length: 0\r\n", b"", "503 Later"), OK]),
    row("a POST that waited for 100 and met an end", "9110 §9.2.2",
        (post("Content-Length: 3\r\nExpect: 100-continue\r\n", b"", "/it"), Pause(0.1), b"abc"), [status(*GATEWAY, 417),
        at_most("/it", 1)], [no_answer, closed, at_most("/it", 1)], answers=[early(CLOSE), OK], probe=False,
        lint=False),
])
