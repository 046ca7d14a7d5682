"""Fields: their syntax (RFC 9112 §5, RFC 9110 §5) and what an intermediary does with them (RFC 9110 §7.6)."""
from case import (area, client_has, client_lacks, closed, forwarded, get, opened, origin_has, origin_lacks,
                  origin_list, origin_only, origin_raw_lacks, reached, refused, reply, row, status, statuses,
                  untouched)


def bad(name, line, section="9112 §5", *more):
    return row(name, section, b"GET / HTTP/1.1\r\nHost: a.test\r\n" + line.encode("latin-1") + b"\r\n\r\n", *refused(400), *more)


def passes(name, line, field, value, section):
    return row(name, section, get(line + "\r\n"), forwarded(origin_has(field, value)))


def clean(*names):
    """The message was mended on its way: no byte of the bad sort reaches the origin."""
    return forwarded(origin_raw_lacks(*names))


ROWS = area("fields", "h1", [
    bad("a space before the colon", "X : y", "9112 §5.1"),
    bad("a tab before the colon", "X\t: y", "9112 §5.1"),
    row("white space before the first field", "9112 §2.2", b"GET / HTTP/1.1\r\n X: y\r\nHost: a.test\r\n\r\n",
        *refused(400), clean(b"x: y")),
    bad("an empty name", ": y", "9110 §5.1"),
    bad("no colon", "abc", "9112 §5", clean(b"abc")),
    bad("a folded line", "X: a\r\n b", "9112 §5.2", forwarded(origin_has("x", "a +b"))),
    bad("a folded line with a tab", "X: a\r\n\tb", "9112 §5.2", forwarded(origin_has("x", "a[ \t]+b"))),
    bad("a folded empty line", "X: a\r\n \r\nY: b", "9112 §5.2", forwarded(origin_has("x", "a"))),
    *[bad("a name with " + what, "X%sY: z" % c, "9110 §5.1", clean(("X%sY" % c).encode("latin-1"))) for what,
        c in ( ("a space", " "), ("a slash", "/"), ("an at sign", "@"), ("a bracket", "["), ("a parenthesis", "("),
        ("a quote", '"'), ("a comma", ","), ("a semicolon", ";"), ("an equals sign", "="), ("a question mark", "?"),
        ("a brace", "{"), ("a backslash", "\\"), ("an angle", "<"), ("a high byte", "\xe9"), ("a NUL", "\x00"),
        ("a DEL", "\x7f"), ("a control character", "\x01"))],
    bad("a NUL in a value", "X: a\x00b", "9110 §5.5", clean(b"\x00")),
    bad("a bare CR in a value", "X: a\rb", "9110 §5.5", clean(b"a\rb")),
    bad("a bare CR at the end of a value", "X: a\r\r\nY: b", "9112 §2.2", clean(b"\r\r")),
    bad("a bare LF in a value", "X: a\nb", "9110 §5.5"),
    passes("a tab in a value", "X: a\tb", "x", "a\tb", "9110 §5.5"),
    passes("high bytes in a value", "X: caf\xc3\xa9", "x", "caf\xc3\xa9", "9110 §5.5"),
    passes("an empty value", "X:", "x", "", "9110 §5.5"),
    passes("no space behind the colon", "X:y", "x", "y", "9112 §5"),
    passes("white space around a value", "X: \t y \t", "x", "y", "9112 §5.1"),
    passes("every character of a token in a name", "X!#$%&'*+-.^_`|~9: y", "x!#$%&'*+-.^_`|~9", "y", "9110 §5.6.2"),
    passes("quotes and commas in a value", 'X: "a, b", c;d=e', "x", 'c;d=e|"a, b", c;d=e', "9110 §5.5"),
    passes("a colon in a value", "X: a:b", "x", "a:b", "9112 §5"),
    row("unknown fields are passed on", "9110 §5.1", get("Future-Field: 1\r\n"), forwarded(origin_only("future-field",
        "1"))),
    row("the order of values of one field is kept", "9110 §5.3",
        get("X-List: a\r\nX-Other: z\r\nX-List: b\r\nX-List: c\r\n"), forwarded(origin_list("x-list", "a", "b", "c"))),
    row("Set-Cookie is never joined", "9110 §5.3", get(), [status(200), lambda seen: None
        if seen.finals[0].all("set-cookie") == ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]
        else "Set-Cookie: %s" % seen.finals[0].all("set-cookie")],
        answer=reply("Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n",
        b"ok")),
    row("8000 bytes of one field are taken", "9110 §5.4", get("X: " + "y" * 8000 + "\r\n"), forwarded(origin_has("x",
        "y{8000}")), *refused(431, 400)),
    row("fields without end are refused", "9110 §5.4", get("X: " + "y" * 400000 + "\r\n"), *refused(400, 413, 431),
        probe=False),
    row("too many fields are refused", "9110 §5.4", get("X: y\r\n" * 20000), *refused(400, 413, 431), probe=False),
    row("the names of a hundred fields pass", "9110 §5.4", get("".join("X-%d: y\r\n" % i for i in range(60))),
        forwarded(origin_has("x-59", "y"))),
    row("empty lines before the request line", "9112 §2.2", b"\r\n" + get(), forwarded(), probe=True),
    row("an empty line between two requests", "9112 §2.2", get(target="/1") + b"\r\n" + get(target="/2"), [statuses(200,
        200), reached("/1", "/2")], finals=2),
    row("LF as a line end", "9112 §2.2 (MAY)", b"GET / HTTP/1.1\nHost: a.test\n\n", *refused(400),
        forwarded(origin_raw_lacks(b"\nHost: a.test\n\n"))),
    # ---- what is for one hop only
    *[row("not forwarded: " + name, "9110 §7.6.1", get("Connection: %s\r\n%s: %s\r\n" % (name, name, value)),
        forwarded(origin_lacks(name.lower()), extra)) for name, value, extra in (("Keep-Alive", "timeout=5",
        lambda seen: None), ("Proxy-Connection", "keep-alive", lambda seen: None), ("X-Hop", "1", lambda seen: None),
        ("x-ANY-case", "1", lambda seen: None))],
    row("not forwarded: Keep-Alive that Connection does not name", "9110 §7.6.1", get("Keep-Alive: timeout=5\r\n"),
        forwarded(origin_lacks("keep-alive"))),
    row("not forwarded: Proxy-Connection that Connection does not name", "9110 §7.6.1",
        get("Proxy-Connection: keep-alive\r\n"), forwarded(origin_lacks("proxy-connection"))),
    row("not forwarded: TE", "9110 §10.1.4", get("Connection: TE\r\nTE: trailers, gzip;q=0.5\r\n"),
        forwarded(lambda seen: None
        if all(v.lower() == "trailers" and "te" in ",".join(seen.requests[0].all("connection")).lower()
        for v in seen.requests[0].all("te")) else "TE at the origin")),
    row("not forwarded: Upgrade that is not asked by Connection", "9110 §7.8", get("Upgrade: websocket\r\n"),
        forwarded(origin_lacks("upgrade"))),
    row("not forwarded: several that Connection names", "9110 §7.6.1",
        get("Connection: x-a, X-B ,x-c\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\n"), forwarded(origin_lacks("x-a",
        "x-b", "x-c"), origin_only("x-d", "4"))),
    row("not forwarded: named by a second Connection line", "9110 §7.6.1",
        get("Connection: keep-alive\r\nConnection: x-a\r\nX-A: 1\r\n"), forwarded(origin_lacks("x-a"))),
    row("not forwarded: named by a Connection line that comes last", "9110 §7.6.1",
        get("X-A: 1\r\nConnection: x-a\r\n"), forwarded(origin_lacks("x-a"))),
    row("not forwarded: every line of a field that Connection names", "9110 §7.6.1",
        get("X-A: 1\r\nConnection: x-a\r\nX-A: 2\r\n"), forwarded(origin_lacks("x-a"))),
    row("empty items in Connection", "9110 §5.6.1.2", get("Connection: ,, x-a ,,\r\nX-A: 1\r\n"),
        forwarded(origin_lacks("x-a")), *refused(400)),
    row("close among other Connection options", "9112 §9.6", get("Connection: x-a, close\r\nX-A: 1\r\n"), [status(200),
        closed, origin_lacks("x-a")]),
    row("Connection: close is not passed on as the client's", "9110 §7.6.1", (get("Connection: close\r\n")),
        [status(200), closed, reached("/")]),
    row("Connection cannot name away Cookie", "9110 §7.6.1 (abuse)", get("Connection: cookie\r\nCookie: a=b\r\n"),
        forwarded(origin_only("cookie", "a=b")), *refused(400), lint=False),
    row("Connection cannot name away Authorization", "9110 §7.6.1 (abuse)",
        get("Connection: authorization\r\nAuthorization: Basic eA==\r\n"), forwarded(origin_only("authorization",
        "Basic eA==")), *refused(400), lint=False),
    row("Connection cannot name away X-Forwarded-For", "9110 §7.6.1 (abuse)", get("Connection: x-forwarded-for\r\n"),
        forwarded(origin_has("x-forwarded-for", ".*127.0.0.1")), *refused(400), lint=False),
    row("Proxy-Authorization is not for the origin", "9110 §11.7.2", get("Proxy-Authorization: Basic eA==\r\n"),
        forwarded(origin_lacks("proxy-authorization")), forwarded(origin_only("proxy-authorization", "Basic eA=="))),
    row("HTTP2-Settings is not forwarded", "9113 §3.1",
        get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
        forwarded(origin_lacks("http2-settings", "upgrade")), [lambda seen: None if b"101" in seen.raw[:20]
        else "not upgraded", untouched], [status(400), closed, untouched]),
    # ---- in responses
    row("response: fields that Connection names are dropped", "9110 §7.6.1", get(), [status(200), client_lacks("x-hop"),
        client_has("x-end", "2")], answer=reply("Connection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 2\r\n",
        b"ok")),
    row("response: Keep-Alive is dropped or its own", "9110 §7.6.1", get(), [status(200), lambda seen: None
        if "timeout=77" not in seen.finals[0].all("keep-alive") else "Keep-Alive of the origin"],
        answer=reply("Connection: keep-alive\r\nKeep-Alive: timeout=77\r\nContent-Length: 2\r\n", b"ok")),
    row("response: Proxy-Connection is dropped", "9110 §7.6.1", get(), [status(200), client_lacks("proxy-connection")],
        answer=reply("Proxy-Connection: keep-alive\r\nContent-Length: 2\r\n", b"ok")),
    row("response: the origin's close is not the client's", "9112 §9.6", get(), [status(200), opened], [status(200),
        closed], answer=(reply("Connection: close\r\nContent-Length: 2\r\n", b"ok"),)),
    row("response: unknown fields are passed on", "9110 §5.1", get(), [status(200), client_has("future-field", "1")],
        answer=reply("Future-Field: 1\r\nContent-Length: 2\r\n", b"ok")),
    row("response: high bytes in a value", "9110 §5.5", get(), [status(200), client_has("x", "caf\xc3\xa9")],
        answer=reply("X: caf\xc3\xa9\r\nContent-Length: 2\r\n", b"ok")),
])
