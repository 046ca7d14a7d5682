"""A case is one row of a table: what is sent, what the origin answers, what must be seen where.

    row(name, section, send, alternative, alternative…, answer=…, …)

`send` and `answer` are bytes, or a sequence of bytes and steps (below). Each alternative is a list of checks; the row
holds when every check of one of them does. Where an RFC leaves several conforming behaviours, each is an alternative.
Checks look at a `Seen` (what the client and the origin saw) and return None, or what is wrong in words.
"""
from dataclasses import dataclass, field
import re

# ---- steps of a client or of an origin; anything that is bytes is sent


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Until:
    """Wait until these bytes have come on this connection (since the last Until)."""
    mark: bytes


@dataclass(frozen=True)
class Answers:
    """Wait until so many final responses have come (client), in all."""
    count: int


@dataclass(frozen=True)
class OriginSaw:
    """Wait until the origin has these bytes (client)."""
    mark: bytes


@dataclass(frozen=True)
class At:
    """How an answer of the origin is given: at the end of the request (the default), or when its head is there."""
    moment: str
    steps: tuple


class Signal(str):
    """FIN: no more is sent. RESET: the connection is reset. CLOSE: closed. END: wait for the peer's end."""


FIN, RESET, CLOSE, END = Signal("fin"), Signal("reset"), Signal("close"), Signal("end")


def early(*steps):
    """An answer that does not wait for the request's body."""
    return At("head", steps)


def steps_of(value):
    if isinstance(value, (bytes, Signal, Pause, Until, Answers, OriginSaw)):
        return (value,)
    return tuple(value)


# ---- rows

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PROBE = "/conformance-probe"


@dataclass
class Row:
    name: str
    section: str
    send: tuple
    alternatives: tuple
    answers: tuple = ()  # one for each request, in the order of their arrival; then OK
    methods: tuple = ("GET",)  # of the requests, as far as answers depend on it
    finals: int = 1  # final responses to wait for
    probe: bool = True  # afterwards, ask once more on the same connection when it is open
    lint: bool = True  # what reaches origin and client is checked for soundness by itself
    wait: float = 0  # seconds to wait for the finals when the subject's default is wrong for the row
    protocol: str = "h1"
    area: str = ""
    options: dict = field(default_factory=dict)


def row(name, section, send, *alternatives, answer=None, answers=None, methods=None, **rest):
    send = steps_of(send)
    if answers is None:
        answers = () if answer is None else (answer,)
    answers = tuple(a if isinstance(a, At) else At("end", steps_of(a)) for a in answers)
    if methods is None:
        first = next((s for s in send if isinstance(s, bytes)), b"GET ")
        methods = (first.lstrip().split(b" ", 1)[0].decode("latin-1"),)
    return Row(name, section, send, tuple(flatten(a) for a in alternatives), answers, tuple(methods), **rest)


def flatten(checks):
    if callable(checks):
        return (checks,)
    return tuple(check for part in checks for check in flatten(part))


def area(name, protocol, rows):
    for each in rows:
        each.area, each.protocol = name, protocol
    names = [each.name for each in rows]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return rows


# ---- requests in short


def get(fields="", target="/", host="a.test", method="GET", version="1.1"):
    text = "%s %s HTTP/%s\r\nHost: %s\r\n%s\r\n" % (method, target, version, host, fields)
    return text.encode("latin-1")


def post(fields="", body=b"", target="/", method="POST", version="1.1"):
    return get(fields, target, method=method, version=version) + body


def chunked(body, fields="", target="/"):
    return post("Transfer-Encoding: chunked\r\n" + fields, body, target)


def reply(fields="", body=b"", status="200 OK", version="1.1"):
    return ("HTTP/%s %s\r\n%s\r\n" % (version, status, fields)).encode("latin-1") + body


# ---- checks of the client's side


def status(*codes):
    def check(seen):
        if not seen.finals:
            return "no final response; the client saw %r" % seen.raw[-120:]
        if seen.finals[0].status not in codes:
            return "status %d, not %s" % (seen.finals[0].status, "/".join(map(str, codes)))
    return check


def statuses(*codes):
    """The statuses of all final responses, in order; an item may be a tuple of several that are right."""
    def check(seen):
        got = [m.status for m in seen.finals]
        if len(got) != len(codes) or any(g not in (c if isinstance(c, tuple) else (c,)) for g, c in zip(got, codes)):
            return "statuses %s, not %s" % (got, list(codes))
    return check


def no_answer(seen):
    if seen.finals:
        return "answered with %d" % seen.finals[0].status


def body(data):
    def check(seen):
        if not seen.finals or not seen.finals[0].complete:
            return "no complete response"
        if seen.finals[0].body != data:
            return "body %r, not %r" % (seen.finals[0].body[:80], data[:80])
    return check


def cut(seen):
    """The client can tell that the response is not whole (or got an error instead of it)."""
    if not seen.finals or seen.finals[0].status >= 500:
        return None
    if seen.finals[0].complete:
        return "a response that is not whole looks complete"


def client_has(name, pattern=None):
    def check(seen):
        values = seen.finals[0].all(name) if seen.finals else []
        if not values:
            return "no %s in the response" % name
        if pattern is not None and not any(re.fullmatch(pattern, v, re.I) for v in values):
            return "response has %s: %s, not %s" % (name, values, pattern)
    return check


def client_lacks(*names):
    def check(seen):
        for message in seen.finals:
            for name in names:
                if message.all(name):
                    return "response has %s: %s" % (name, message.all(name))
    return check


def client_value(name, value):
    return client_has(name, re.escape(value))


def interims(*codes):
    def check(seen):
        got = tuple(m.status for m in seen.interims)
        if got != codes:
            return "interim responses %s, not %s" % (list(got), list(codes))
    return check


def interims_among(*codes):
    def check(seen):
        got = [m.status for m in seen.interims if m.status not in codes]
        if got:
            return "interim responses %s" % got
    return check


def raw_has(data):
    def check(seen):
        if data not in seen.raw:
            return "the client did not get %r" % data[:60]
    return check


def raw_lacks(data):
    def check(seen):
        if data.lower() in seen.raw.lower():
            return "the client got %r" % data
    return check


def trailer(name, value=None):
    def check(seen):
        got = seen.finals[0].trailers if seen.finals else []
        if not any(n.lower() == name and (value is None or v == value) for n, v in got):
            return "no trailer %s at the client" % name
    return check


def no_trailer(name):
    def check(seen):
        if seen.finals and any(n.lower() == name for n, v in seen.finals[0].trailers):
            return "trailer %s reached the client" % name
    return check


# ---- checks of the connection afterwards


def closed(seen):
    if seen.state not in ("end", "reset"):
        return "the connection is %s, not closed" % seen.state


def opened(seen):
    if seen.state != "open":
        return "the connection is %s, not open" % seen.state


def in_sync(seen):
    """Open and in step, or closed: never answering something that was not asked."""
    if seen.state == "desync":
        return "the connection is out of step: %r" % seen.raw[-160:]


# ---- checks of the origin's side


def untouched(seen):
    """Not a byte of the message came to the origin."""
    if seen.origin_bytes:
        return "the origin got %r" % seen.origin_bytes[:160]


def unfinished(seen):
    """No message is complete at the origin."""
    done = [r.target for r in seen.requests if r.complete]
    if done:
        return "complete requests at the origin: %s" % done


def reached(*targets):
    """Exactly these requests are complete at the origin."""
    def check(seen):
        got = [r.target for r in seen.requests if r.complete]
        if got != list(targets):
            return "requests at the origin: %s, not %s" % (got, list(targets))
    return check


def reached_times(low, high):
    def check(seen):
        if not low <= len(seen.requests) <= high:
            return "%d requests at the origin" % len(seen.requests)
    return check


def origin_has(name, pattern=None):
    def check(seen):
        if not seen.requests:
            return "nothing at the origin"
        values = seen.requests[0].all(name)
        if not values:
            return "no %s at the origin" % name
        if pattern is not None and not any(re.fullmatch(pattern, v, re.I) for v in values):
            return "origin has %s: %s, not %s" % (name, values, pattern)
    return check


def origin_only(name, pattern):
    """One field of that name, with that value."""
    def check(seen):
        values = seen.requests[0].all(name) if seen.requests else []
        if len(values) != 1 or not re.fullmatch(pattern, values[0], re.I):
            return "origin has %s: %s, not %s" % (name, values, pattern)
    return check


def origin_list(name, *items):
    """The items of a list field, over all its lines, in order."""
    def check(seen):
        values = seen.requests[0].all(name) if seen.requests else []
        got = [item.strip() for value in values for item in value.split(",")]
        if got != list(items):
            return "origin has %s: %s, not %s" % (name, got, list(items))
    return check


def origin_lacks(*names):
    def check(seen):
        for request in seen.requests:
            for name in names:
                if request.all(name):
                    return "origin has %s: %s" % (name, request.all(name))
    return check


def origin_value_lacks(name, pattern):
    """No field of that name has a value that matches."""
    def check(seen):
        for request in seen.requests:
            for value in request.all(name):
                if re.search(pattern, value, re.I):
                    return "origin has %s: %s" % (name, value)
    return check


def origin_body(data):
    def check(seen):
        if not seen.requests or not seen.requests[0].complete:
            return "no complete request at the origin"
        if seen.requests[0].body != data:
            return "origin got the body %r, not %r" % (seen.requests[0].body[:80], data[:80])
    return check


def origin_start(pattern):
    def check(seen):
        if not seen.requests:
            return "nothing at the origin"
        if not re.fullmatch(pattern, seen.requests[0].start):
            return "origin got %r, not %r" % (seen.requests[0].start, pattern)
    return check


def origin_raw_lacks(*parts):
    def check(seen):
        for part in parts:
            if part.lower() in seen.origin_bytes.lower():
                return "the origin got %r" % part
    return check


def origin_raw_has(part):
    def check(seen):
        if part not in seen.origin_bytes:
            return "the origin did not get %r, but %r" % (part[:60], seen.origin_bytes[-160:])
    return check


def origin_end(*how):
    """How the proxy's connections to the origin ended: 'end', 'reset', 'open'."""
    def check(seen):
        got = [c.end for c in seen.connections]
        if not all(e in how for e in got):
            return "connections to the origin: %s" % got
    return check


def connections(count):
    def check(seen):
        if len(seen.connections) != count:
            return "%d connections to the origin, not %d" % (len(seen.connections), count)
    return check


# ---- the usual alternatives


def refused(*codes):
    """An error, nothing at the origin, and the connection ends; or the connection just ends."""
    return [status(*codes), closed, untouched], [no_answer, closed, untouched]


def rejected(*codes):
    """An error before anything came to the origin; the connection may go on when it stays in step."""
    return [status(*codes), in_sync, untouched], [no_answer, closed, untouched]


def forwarded(*checks):
    return [status(200), in_sync, reached_times(1, 1), *checks]


def bad_gateway(*codes):
    """What the upstream said cannot be passed on: an error of the gateway, or a response that is visibly cut."""
    codes = codes or (500, 502, 503, 504)
    return [status(*codes), in_sync], [no_answer, closed], [cut, closed]
