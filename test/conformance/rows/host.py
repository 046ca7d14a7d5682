"""Host and the authority of a request: RFC 9112 §3.2, RFC 9110 §7.2."""
from case import area, forwarded, get, origin_only, origin_start, reached, refused, row


def bad(name, line, section="9112 §3.2", version="1.1", *more):
    return row(name, section, ("GET / HTTP/%s\r\n%s\r\n" % (version, line)).encode("latin-1"), *refused(400), *more)


def good(name, host, pattern, section="9110 §7.2"):
    return row(name, section, get(host=host), forwarded(origin_only("host", pattern)))


ROWS = area("host", "h1", [
    good("a name", "a.test", r"a\.test"),
    good("a name and a port", "a.test:8080", r"a\.test(:8080)?"),
    good("upper case is the same", "A.Test", r"a\.test"),
    good("IPv4", "127.0.0.1", r"127\.0\.0\.1"),
    good("IPv6", "[::1]", r"\[::1\]"),
    good("IPv6 and a port", "[::1]:81", r"\[::1\](:81)?"),
    good("an underscore", "a_b.test", r"a_b\.test"),
    good("an empty port", "a.test:", r"a\.test:?"),
    good("a final dot", "a.test.", r"a\.test\.?"),
    good("a hyphen at both ends", "-a-.test", "-a-\\.test"),
    bad("none in HTTP/1.1", ""),
    bad("two", "Host: a.test\r\nHost: b.test\r\n"),
    bad("two that are equal", "Host: a.test\r\nHost: a.test\r\n"),
    bad("two, apart", "Host: a.test\r\nX: y\r\nhost: b.test\r\n"),
    bad("a space inside", "Host: a test\r\n"),
    bad("a slash", "Host: a.test/b\r\n"),
    bad("a comma", "Host: a.test,b.test\r\n", "9112 §3.2"),
    bad("user information", "Host: u@a.test\r\n"),
    bad("a port of letters", "Host: a.test:http\r\n"),
    bad("a port too high", "Host: a.test:99999\r\n"),
    bad("two ports", "Host: a.test:80:80\r\n"),
    bad("an open bracket", "Host: [::1\r\n"),
    bad("bytes behind a bracket", "Host: [::1]a\r\n"),
    bad("a question mark", "Host: a.test?b\r\n"),
    bad("a number sign", "Host: a.test#b\r\n"),
    bad("a backslash", "Host: a.test\\b\r\n"),
    bad("a high byte", "Host: \xe9.test\r\n"),
    bad("a quote", 'Host: "a.test"\r\n'),
    bad("an angle", "Host: <a>\r\n"),
    bad("a NUL", "Host: a\x00.test\r\n"),
    bad("a tab inside", "Host: a\t.test\r\n"),
    bad("a whole URI", "Host: http://a.test/\r\n"),
    bad("folded", "Host:\r\n a.test\r\n", "9112 §5.2", "1.1", forwarded(origin_only("host", r"a\.test"))),
    bad("a space before its colon", "Host : a.test\r\n", "9112 §5.1"),
    bad("a second one that is indented", "Host: a.test\r\n Host: b.test\r\n", "9112 §5.2"),
    row("empty", "9112 §3.2", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", *refused(400), forwarded(origin_only("host", ".*"))),
    row("none in HTTP/1.0", "9112 §3.2", b"GET / HTTP/1.0\r\n\r\n", forwarded(reached("/")), *refused(400, 404)),
    row("two in HTTP/1.0", "9112 §3.2", b"GET / HTTP/1.0\r\nHost: a.test\r\nHost: b.test\r\n\r\n", *refused(400)),
    row("an absolute target replaces it", "9112 §3.2.2", get(target="http://b.test/p"), forwarded(origin_only("host",
        r"b\.test"), origin_start(r"GET (http://b\.test)?/p HTTP/1\.1")), ),
    row("an absolute target with a port replaces it", "9112 §3.2.2", get(target="http://b.test:81/p"),
        forwarded(origin_only("host", r"b\.test(:81)?"))),
    row("an absolute target, and no Host", "9112 §3.2", b"GET http://b.test/ HTTP/1.1\r\n\r\n", *refused(400)),
    row("an absolute target, and two Hosts", "9112 §3.2",
        b"GET http://b.test/ HTTP/1.1\r\nHost: b.test\r\nHost: c.test\r\n\r\n", *refused(400)),
    row("an absolute target, and a Host that is no host", "9112 §3.2",
        b"GET http://b.test/ HTTP/1.1\r\nHost: c/d\r\n\r\n", *refused(400)),
    row("X-Forwarded-Host does not become Host", "9110 §7.2", get("X-Forwarded-Host: evil.test\r\n"),
        forwarded(origin_only("host", r"a\.test"))),
])
