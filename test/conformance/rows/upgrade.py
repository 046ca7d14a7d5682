"""Upgrades and the tunnels behind them: RFC 9110 §7.8, RFC 6455, RFC 9113 §3.1."""
from case import (END, FIN, OK, RESET, Answers, Pause, Until, area, bad_gateway, client_has, closed, forwarded, get,
                  no_answer, opened, origin_body, origin_has, origin_lacks, origin_only, origin_raw_has,
                  origin_value_lacks, post, raw_has, reached, refused, reply, row, status)

ASK = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
YES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def tunnel(name, section, send, answer, *checks, **rest):
    rest.setdefault("probe", False)
    return row(name, section, (get(ASK), Until(b"\r\n\r\n")) + send, [status(101), *checks], answer=(YES,) + answer, **rest)


def no_upgrade(name, section, request, *more, **rest):
    """Treated as a request without Upgrade."""
    return row(name, section, request, forwarded(origin_lacks("upgrade")), *more, **rest)


ROWS = area("upgrade", "h1", [
    tunnel("the origin is asked to upgrade", "9110 §7.8", (), (), origin_only("upgrade", "websocket"),
        origin_has("connection", "(?i)upgrade"), origin_has("sec-websocket-key", ".+")),
    tunnel("101 comes with Connection and Upgrade", "9110 §7.8", (), (), client_has("connection", "(?i)upgrade"),
        client_has("upgrade", "websocket"), client_has("sec-websocket-accept", ".+")),
    tunnel("bytes from the client", "6455 §4", (b"\x81\x02hi", Until(b"seen")), (Until(b"\x81\x02hi"), b"seen"),
        origin_raw_has(b"\x81\x02hi"), raw_has(b"seen")),
    tunnel("bytes from the origin in one piece with its 101", "9110 §7.8", (Until(b"first"),), (b"first",),
        raw_has(b"first")),
    tunnel("bytes both ways, several times", "6455 §5", (b"a1", Until(b"b1"), b"a2", Until(b"b2")), (Until(b"a1"),
        b"b1", Until(b"a2"), b"b2"), raw_has(b"b1b2"), origin_raw_has(b"a1a2")),
    tunnel("bytes that look like requests are bytes", "9110 §7.8", (get(target="/in-tunnel"), Until(b"seen")),
        (Until(b"/in-tunnel"), b"seen"), origin_raw_has(get(target="/in-tunnel"))),
    tunnel("bytes that look like responses are bytes", "9110 §7.8", (Until(b"okok"),), (OK + b"ok",),
        raw_has(OK + b"ok")),
    tunnel("every byte value passes", "6455 §5", (bytes(range(256)) * 4, Until(b"seen")), (Until(bytes(range(256)) * 4),
        b"seen"), origin_raw_has(bytes(range(256)) * 4)),
    tunnel("a half-close of the client reaches the origin", "9112 §9.6", (b"last", FIN, END), (Until(b"last"), END),
        origin_raw_has(b"last"), closed),
    tunnel("a close of the origin reaches the client", "9112 §9.6", (Until(b"last"), END), (b"last", FIN),
        raw_has(b"last"), closed),
    tunnel("a reset of the origin ends the client's", "9112 §9.6", (END,), (Pause(0.05), RESET), closed),
    tunnel("a large flow to the client", "6455 §5", (Until(b"end!"),), (b"x" * 500000 + b"end!",), lambda s: None
        if len(s.raw) > 500000 else "%d bytes" % len(s.raw)),
    tunnel("a large flow to the origin", "6455 §5", (b"x" * 500000 + b"end!", Until(b"seen")), (Until(b"end!"),
        b"seen"), raw_has(b"seen")),
    row("bytes behind the request, before 101", "9110 §7.8", (get(ASK) + b"\x81\x02hi", Until(b"seen")), [status(101),
        origin_raw_has(b"\x81\x02hi"), raw_has(b"seen")], [status(400), closed], answer=(YES, Until(b"\x81\x02hi"),
        b"seen"), probe=False),
    row("an answer that is not 101 is an answer", "9110 §7.8", get(ASK), [status(403), opened], [status(403), closed],
        answer=reply("Content-Length: 2\r\n", b"no", "403 Forbidden")),
    row("200 to an upgrade is an answer, and the next request a request", "9110 §7.8", (get(ASK), Answers(1),
        get(target="/2")), [status(200), reached("/", "/2")], [status(200), closed], finals=2, probe=False),
    row("103 before 101", "9110 §15.2", (get(ASK), Until(b"HTTP/1.1 101"), Until(b"\r\n\r\n"), b"hi", Until(b"seen")),
        [status(101), raw_has(b"seen")], answer=(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + YES, Until(b"hi"),
        b"seen"), probe=False),
    row("101 without Upgrade", "9110 §15.2.2", get(ASK), *bad_gateway(400, 500, 502, 503, 504),
        answer=b"HTTP/1.1 101 Switching Protocols\r\n\r\n", probe=False, lint=False),
    row("101 with a body length has none", "9110 §15.2.2", (get(ASK), Until(b"\r\n\r\n"), b"hi", Until(b"seen")),
        [status(101), raw_has(b"seen"), lambda s: None if not s.finals[0].all("content-length")
        else "Content-Length in a 101"], *bad_gateway(), answer=(YES[:-2] + b"Content-Length: 5\r\n\r\n", Until(b"hi"),
        b"seen"), probe=False, lint=False),
    no_upgrade("Upgrade in HTTP/1.0 is ignored", "9110 §7.8", get(ASK, version="1.0"), *refused(400)),
    no_upgrade("h2c is not passed on", "9113 §3.1",
        get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
        [status(101), lambda s: None if not s.requests or not s.requests[0].all("upgrade") else "h2c at the origin"],
        probe=False),
    no_upgrade("h2c without its settings is not passed on", "9113 §3.1", get("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        [status(101), lambda s: None if not s.requests or not s.requests[0].all("upgrade") else "h2c at the origin"],
        probe=False),
    no_upgrade("h2c in a list is not passed on", "9113 §3.1", get("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"),
        forwarded(origin_value_lacks("upgrade", "h2c")), *refused(400), probe=False),
    no_upgrade("h2 is not passed on", "9113 §3.3", get("Connection: Upgrade\r\nUpgrade: h2\r\n"), probe=False),
    no_upgrade("TLS is not passed on", "2817 §3", get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), probe=False),
    no_upgrade("an Upgrade that Connection does not name", "9110 §7.8", get("Upgrade: websocket\r\n")),
    row("a forged 101 cannot open a tunnel", "9110 §7.8", (get(), Until(b"\r\n\r\n"), get(target="/in-tunnel")),
        [status(500, 502, 503, 504)], [no_answer, closed], answer=(YES, Pause(0.1), OK), probe=False),
    row("a POST cannot upgrade with a body in the way", "6455 §4.1", post(ASK + "Content-Length: 3\r\n", b"abc"),
        forwarded(origin_body(b"abc")), [status(101)], *refused(400, 405), probe=False),
    row("HTTP/2 bytes cannot follow a refused h2c", "9113 §3.1",
        get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        [lambda s: "the preface came to the origin" if b"PRI" in s.origin_bytes else None], probe=False),
])
