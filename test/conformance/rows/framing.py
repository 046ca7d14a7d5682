"""Where a request's body ends: RFC 9112 §6."""
from case import (OK, area, chunked, forwarded, get, origin_body, origin_lacks, origin_only, post, reached, refused, row,
                  status, in_sync, closed, untouched)

BAD = (400,)


def bad_length(name, value, section="9112 §6.3(5)"):
    return row("length: " + name, section, post("Content-Length: %s\r\n" % value, b"a"), *refused(400))


def bad_coding(name, line, codes=(400, 422, 500, 501), section="9112 §6.1"):
    return row("coding: " + name, section, post(line + "\r\n", b"1\r\na\r\n0\r\n\r\n"), *refused(*codes))


def coding_as_chunked(name, line, section="9112 §6.1"):
    """Some read it as chunked, and may when they write it anew; others refuse."""
    return row("coding: " + name, section, post(line + "\r\n", b"1\r\na\r\n0\r\n\r\n"), *refused(400, 422, 500, 501),
               forwarded(origin_body(b"a"), reached("/")))


ROWS = area("framing", "h1", [
    row("length: a body of that many bytes", "9112 §6.2", post("Content-Length: 3\r\n", b"abc"), forwarded(origin_body(b"abc"))),
    row("length: 0 has no body", "9112 §6.2", post("Content-Length: 0\r\n"), forwarded(origin_body(b""), reached("/"))),
    row("length: leading zeros are digits", "9110 §8.6", post("Content-Length: 003\r\n", b"abc"),
        forwarded(origin_body(b"abc")), *refused(400)),
    row("length: white space around the value", "9110 §5.5", post("Content-Length: \t 3 \t\r\n", b"abc"), forwarded(origin_body(b"abc"))),
    row("length: any case of the name", "9110 §5.1", post("cOnTeNt-LeNgTh: 3\r\n", b"abc"), forwarded(origin_body(b"abc"))),
    row("length: on a GET", "9110 §9.3.1", get("Content-Length: 3\r\n") + b"abc", forwarded(origin_body(b"abc"), reached("/")), *refused(400)),
    row("length: on a HEAD", "9110 §9.3.2", get("Content-Length: 3\r\n", method="HEAD") + b"abc",
        forwarded(reached("/")), *refused(400), answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    row("no length, no coding: no body", "9112 §6.3(7)", post(""), forwarded(origin_body(b""), reached("/")), [status(411), in_sync, untouched]),
    bad_length("a plus", "+1"), bad_length("a minus", "-1"), bad_length("hexadecimal", "0x1"),
    bad_length("underscore", "1_0"), bad_length("a space inside", "1 0"), bad_length("a point", "1.0"),
    bad_length("an exponent", "1e0"), bad_length("empty", ""), bad_length("a letter", "a"), bad_length("behind digits", "1a"),
    bad_length("quoted", '"1"'), bad_length("semicolon", "1;"), bad_length("list of different", "1, 2"),
    bad_length("list with an empty item", "1,"), bad_length("65 bits", "18446744073709551616"),
    bad_length("65 bits that wrap to one", "18446744073709551617"), bad_length("very long", "1" + "0" * 40),
    bad_length("a vertical tab", "\x0b1"), bad_length("a form feed", "1\x0c"), bad_length("a NUL", "1\x00"),
    bad_length("non-ASCII digits", "\xc2\xb9"),
    row("length: 64 bits, which some count as negative", "9110 §8.6", post("Content-Length: 9223372036854775808\r\n", b"a"),
        *refused(400, 413)),
    row("length: two that differ", "9112 §6.3(5)", post("Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"), *refused(400)),
    row("length: two that differ, apart", "9112 §6.3(5)", post("Content-Length: 1\r\nX: y\r\ncontent-length: 2\r\n", b"ab"), *refused(400)),
    row("length: two that are equal", "9110 §8.6", post("Content-Length: 1\r\nContent-Length: 1\r\n", b"a"), *refused(400),
        forwarded(origin_body(b"a"), origin_only("content-length", "1"))),
    row("length: a list of equal ones", "9110 §8.6", post("Content-Length: 1, 1\r\n", b"a"), *refused(400),
        forwarded(origin_body(b"a"), origin_only("content-length", "1"))),
    row("length: 1 and 01", "9112 §6.3(5)", post("Content-Length: 1\r\nContent-Length: 01\r\n", b"a"), *refused(400),
        forwarded(origin_body(b"a"), origin_only("content-length", "0?1"))),

    row("chunked: decoded and passed on", "9112 §7.1", chunked(b"3\r\nabc\r\n0\r\n\r\n"), forwarded(origin_body(b"abc"))),
    row("chunked: any case", "9112 §7", post("Transfer-Encoding: CHUNKED\r\n", b"3\r\nabc\r\n0\r\n\r\n"), forwarded(origin_body(b"abc"))),
    row("chunked: several chunks", "9112 §7.1", chunked(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), forwarded(origin_body(b"abc"))),
    row("chunked: empty body", "9112 §7.1", chunked(b"0\r\n\r\n"), forwarded(origin_body(b""))),
    bad_coding("unknown, then chunked", "Transfer-Encoding: tea, chunked"),
    bad_coding("unknown alone", "Transfer-Encoding: tea"),
    bad_coding("gzip alone", "Transfer-Encoding: gzip", section="9112 §6.3(4)"),
    bad_coding("chunked is not last", "Transfer-Encoding: chunked, gzip", section="9112 §6.3(4)"),
    bad_coding("chunked twice", "Transfer-Encoding: chunked, chunked"),
    bad_coding("chunked twice, two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    bad_coding("identity", "Transfer-Encoding: identity"),
    bad_coding("chunked, identity", "Transfer-Encoding: chunked, identity", section="9112 §6.3(4)"),
    bad_coding("two lines, chunked first", "Transfer-Encoding: chunked\r\nTransfer-Encoding: tea", section="9112 §6.3(4)"),
    bad_coding("xchunked", "Transfer-Encoding: xchunked"),
    bad_coding("chunkedx", "Transfer-Encoding: chunkedx"),
    bad_coding("chunk", "Transfer-Encoding: chunk"),
    bad_coding("quoted", 'Transfer-Encoding: "chunked"'),
    bad_coding("vertical tab before", "Transfer-Encoding: \x0bchunked"),
    bad_coding("form feed behind", "Transfer-Encoding: chunked\x0c"),
    bad_coding("NUL behind", "Transfer-Encoding: chunked\x00"),
    bad_coding("non-breaking space", "Transfer-Encoding: \xa0chunked"),
    bad_coding("a space inside", "Transfer-Encoding: chun ked"),
    bad_coding("semicolon parameter", "Transfer-Encoding: chunked;q=0.5"),
    bad_coding("space and parameter", "Transfer-Encoding: chunked ;q"),
    coding_as_chunked("leading comma", "Transfer-Encoding: , chunked"),
    coding_as_chunked("trailing comma", "Transfer-Encoding: chunked,"),
    coding_as_chunked("a tab before", "Transfer-Encoding:\tchunked", "9110 §5.5"),
    row("coding: empty", "9112 §6.1", post("Transfer-Encoding:\r\n"), *refused(400, 501), forwarded(origin_body(b""), origin_lacks("transfer-encoding"))),
    row("coding in HTTP/1.0", "9112 §6.1", post("Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n", version="1.0"),
        *refused(400, 501, 505), [status(200), closed, origin_body(b"a")]),
    row("length and coding", "9112 §6.3(3)", post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n"),
        *refused(400), [status(200), closed, origin_body(b"a"), origin_lacks("content-length"), reached("/")]),
    row("coding and length", "9112 §6.3(3)", post("Transfer-Encoding: chunked\r\nContent-Length: 11\r\n", b"1\r\na\r\n0\r\n\r\n"),
        *refused(400), [status(200), closed, origin_body(b"a"), origin_lacks("content-length"), reached("/")]),
    row("length and an unknown coding", "9112 §6.3(3)", post("Content-Length: 1\r\nTransfer-Encoding: tea\r\n", b"a"), *refused(400, 501)),
])
