"""The request line and its target: RFC 9112 §3."""
from case import area, forwarded, get, in_sync, origin_start, reached, refused, rejected, row, status, untouched
import re


def line(text, fields="Host: a.test\r\n"):
    return (text + "\r\n" + fields + "\r\n").encode("latin-1")


def bad(name, text, codes=(400,), section="9112 §3", *more):
    return row(name, section, line(text), *refused(*codes), *more)


def kept(name, target, section="9110 §4.2.3", *others):
    """Passed on as it came, or in a form that RFC 3986 §6.2 calls the same."""
    return row(name, section, get(target=target), *[forwarded(origin_start("GET %s HTTP/1\\.1" % re.escape(t))) for t in (target, *others)])


ROWS = area("target", "h1", [
    bad("no version", "GET /", (400, 505), "9112 §2.3"),
    row("two spaces before the target", "9112 §3 (lenient MAY)", line("GET  / HTTP/1.1"), *refused(400),
        forwarded(origin_start("GET / HTTP/1\\.1"))),
    row("two spaces before the version", "9112 §3 (lenient MAY)", line("GET /  HTTP/1.1"), *refused(400),
        forwarded(origin_start("GET / HTTP/1\\.1"))),
    row("a tab for a space", "9112 §3 (lenient MAY)", line("GET\t/\tHTTP/1.1"), *refused(400),
        forwarded(origin_start("GET / HTTP/1\\.1"))),
    row("a space behind the version", "9112 §3 (lenient MAY)", line("GET / HTTP/1.1 "), *refused(400),
        forwarded(origin_start("GET / HTTP/1\\.1"))),
    bad("a space in the target", "GET /a b HTTP/1.1"),
    bad("a tab in the target", "GET /a\tb HTTP/1.1"),
    bad("a NUL in the target", "GET /a\x00b HTTP/1.1"),
    bad("a control character in the target", "GET /a\x01b HTTP/1.1"),
    bad("a DEL in the target", "GET /a\x7fb HTTP/1.1"),
    bad("a bare CR in the target", "GET /a\rb HTTP/1.1"),
    bad("a number sign in the target", "GET /a#b HTTP/1.1", (400,), "9112 §3.2",
        forwarded(origin_start("GET /a HTTP/1\\.1"))),
    bad("a high byte in the target", "GET /\xe9 HTTP/1.1", (400,), "9112 §3.2",
        forwarded(origin_start("GET /%[eE]9 HTTP/1\\.1"))),
    bad("no slash", "GET a HTTP/1.1", (400,), "9112 §3.2.1"),
    bad("an empty target", "GET HTTP/1.1", (400, 505), "9112 §3.2"),
    bad("* for a GET", "GET * HTTP/1.1", (400, 404), "9112 §3.2.4"),
    bad("authority form for a GET", "GET a.test:80 HTTP/1.1", (400,), "9112 §3.2.3"),
    bad("a method that is no token", "GE(T / HTTP/1.1", (400, 405, 501), "9110 §9.1"),
    bad("a method with a high byte", "G\xc9T / HTTP/1.1", (400, 405, 501), "9110 §9.1"),
    bad("an empty method", " / HTTP/1.1", (400,), "9112 §3.1"),
    bad("a quoted method", '"GET" / HTTP/1.1', (400, 405, 501), "9110 §9.1"),
    bad("HTTP/2.0 on a line", "GET / HTTP/2.0", (400, 505), "9112 §2.3"),
    bad("HTTP/0.9 on a line", "GET / HTTP/0.9", (400, 505), "9112 §2.3"),
    bad("HTTP/1.", "GET / HTTP/1.", (400, 505), "9112 §2.3"),
    bad("HTTP/1.10", "GET / HTTP/1.10", (400, 505), "9112 §2.3"),
    bad("HTTP/11.1", "GET / HTTP/11.1", (400, 505), "9112 §2.3"),
    bad("lower-case http/1.1", "GET / http/1.1", (400, 505), "9112 §2.3"),
    bad("HTTP 1.1", "GET / HTTP 1.1", (400, 505), "9112 §2.3"),
    bad("HTTPS/1.1", "GET / HTTPS/1.1", (400, 505), "9112 §2.3"),
    bad("HTTP/1.1x", "GET / HTTP/1.1x", (400, 505), "9112 §2.3"),
    bad("HTTP/1,1", "GET / HTTP/1,1", (400, 505), "9112 §2.3"),
    bad("HTTP/+1.1", "GET / HTTP/+1.1", (400, 505), "9112 §2.3"),
    row("HTTP/1.2 is taken as 1.1", "9110 §2.5", line("GET / HTTP/1.2"), forwarded(origin_start("GET / HTTP/1\\.[01]"),
        lambda seen: None if seen.finals[0].start.startswith("HTTP/1.1") else "answered as " + seen.finals[0].start),
        *refused(400, 505)),
    row("HTTP/1.0 is passed on with the version of the proxy", "9112 §2.3", line("GET / HTTP/1.0"), [status(200),
        origin_start("GET / HTTP/1\\.[01]"), reached("/")]),
    kept("a path", "/a/b"),
    kept("a query", "/a?b=c&d"),
    kept("an empty query", "/a?"),
    kept("two question marks", "/a?b?c"),
    kept("a semicolon", "/a;b=c"),
    kept("an encoded slash", "/a%2Fb", "9110 §4.2.3", "/a%2fb"),
    kept("an encoded percent sign", "/a%25b"),
    kept("a plus", "/a+b?c+d"),
    kept("sub-delimiters", "/!$&'()*+,;=:@"),
    kept("unreserved characters that are encoded", "/%7Ea", "9110 §4.2.3", "/~a"),
    kept("encoded UTF-8", "/%C3%A9"),
    kept("two slashes", "//a", "3986 §6.2", "/a"),
    kept("an empty segment", "/a//b", "3986 §6.2", "/a/b"),
    kept("dot segments in a query", "/a?b=../c"),
    kept("a colon in the first segment", "/a:b"),
    kept("encoded question mark", "/a%3Fb", "9110 §4.2.3", "/a%3fb"),
    row("dot segments are gone or kept, never half", "3986 §6.2.2.3", get(target="/a/../b"), forwarded(reached("/b")),
        forwarded(reached("/a/../b")), *rejected(400)),
    row("dot segments above the root do not escape", "3986 §5.2.4", get(target="/../../etc"), *rejected(400, 403, 404),
        forwarded(reached("/etc")), forwarded(reached("/../../etc"))),
    row("8000 bytes of target are taken", "9112 §3", get(target="/" + "a" * 7980),
        forwarded(origin_start("GET /a{7980} HTTP/1.1"))),
    row("a target without end", "9112 §3", get(target="/" + "a" * 300000), *refused(400, 414, 431), probe=False),
    row("absolute form is accepted", "9112 §3.2.2", get(target="http://a.test/x?y"),
        forwarded(origin_start("GET (http://a.test)?/x\\?y HTTP/1.1"))),
    row("absolute form without a path", "9112 §3.2.1", get(target="http://a.test"),
        forwarded(origin_start("GET (http://a.test)?/ HTTP/1.1"))),
    row("absolute form with only a query", "9112 §3.2.1", get(target="http://a.test?x"),
        forwarded(origin_start("GET (http://a.test)?/\\?x HTTP/1.1")), *rejected(400)),
    row("absolute form in any case", "9110 §4.2.3", get(target="HTTP://A.test/x"),
        forwarded(origin_start("GET ((?i:http://a.test))?/x HTTP/1.1"))),
    row("absolute form with user information", "9110 §4.2.4", get(target="http://u:p@a.test/"), *rejected(400),
        forwarded(lambda seen: "user information at the origin" if b"u:p" in seen.origin_bytes else None)),
    row("absolute form without a host", "9110 §4.2.1", get(target="http:///x"), *refused(400)),
    row("another scheme", "9110 §7.4", get(target="ftp://a.test/x"), *rejected(400, 404, 421, 501), ),
    row("OPTIONS *", "9112 §3.2.4", line("OPTIONS * HTTP/1.1"), forwarded(origin_start("OPTIONS \\* HTTP/1.1")),
        [status(200, 204), in_sync, untouched]),
    row("OPTIONS with an absolute target that has no path is OPTIONS *", "9112 §3.2.4",
        line("OPTIONS http://a.test HTTP/1.1"), forwarded(origin_start("OPTIONS (\\*|http://a.test) HTTP/1.1")),
        [status(200, 204), in_sync, untouched]),
])
