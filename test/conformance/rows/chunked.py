"""The chunked coding, byte by byte: RFC 9112 §7.1 and its errata."""
from case import (FIN, Pause, area, chunked, closed, forwarded, get, in_sync, no_answer, origin_body,
                  origin_raw_lacks, reached, row, status, unfinished)

BAD_END = ([status(400, 408, 413, 431, 500, 501, 502, 503), in_sync, unfinished], [no_answer, closed, unfinished])


def bad(name, body, section="9112 §7.1", more=()):
    """Refused, and never complete at the origin (parts may have gone there before the fault was seen)."""
    return row(name, section, chunked(body), *BAD_END, *more, lint=False, probe=False)


def good(name, body, data, *checks, section="9112 §7.1"):
    return row(name, section, chunked(body), forwarded(origin_body(data), reached("/"), *checks))


A = "a" * 10

ROWS = area("chunked", "h1", [
    good("lower-case hexadecimal", b"a\r\n" + A.encode() + b"\r\n0\r\n\r\n", b"a" * 10),
    good("upper-case hexadecimal", b"A\r\n" + A.encode() + b"\r\n0\r\n\r\n", b"a" * 10),
    good("leading zeros in the size", b"0003\r\nabc\r\n0\r\n\r\n", b"abc"),
    good("several zeros end it", b"3\r\nabc\r\n000\r\n\r\n", b"abc"),
    good("data that looks like a chunk", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    good("an extension without value", b"3;a\r\nabc\r\n0\r\n\r\n", b"abc", section="9112 §7.1.1"),
    good("an extension with value", b"3;a=b\r\nabc\r\n0;c=d\r\n\r\n", b"abc", section="9112 §7.1.1"),
    good("a quoted extension", b'3;a="b;c"\r\nabc\r\n0\r\n\r\n', b"abc", section="9112 §7.1.1"),
    good("extensions are for one hop", b"3;secret=1\r\nabc\r\n0\r\n\r\n", b"abc", origin_raw_lacks(b"secret"),
        section="9112 §7.1.1"),
    row("one byte at a time", "9112 §7.1", sum(([chunked(b"3\r\nabc\r\n0\r\n\r\n")[i:i + 1], Pause(0.002)]
        for i in range(len(chunked(b"3\r\nabc\r\n0\r\n\r\n")))), []), forwarded(origin_body(b"abc"), reached("/")),
        methods=("POST",)),
    row("the next request begins right behind", "9112 §9.3", chunked(b"3\r\nabc\r\n0\r\n\r\n") + get(target="/next"),
        [reached("/", "/next"), in_sync], finals=2, methods=("POST", "GET")),
    bad("a plus", b"+1\r\na\r\n0\r\n\r\n"),
    bad("a minus", b"-1\r\na\r\n0\r\n\r\n"),
    bad("0x", b"0x1\r\na\r\n0\r\n\r\n"),
    bad("underscore", b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    bad("not hexadecimal", b"g\r\na\r\n0\r\n\r\n"),
    bad("a space before", b" 1\r\na\r\n0\r\n\r\n"),
    bad("a tab before", b"\t1\r\na\r\n0\r\n\r\n"),
    bad("a space inside", b"1 0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n"),
    bad("empty size", b"\r\na\r\n0\r\n\r\n"),
    bad("only an extension", b";a\r\nb\r\n0\r\n\r\n"),
    bad("quoted", b'"1"\r\na\r\n0\r\n\r\n'),
    bad("a comma", b"1,1\r\na\r\n0\r\n\r\n"),
    bad("a point", b"1.0\r\na\r\n0\r\n\r\n"),
    bad("a NUL", b"1\x00\r\na\r\n0\r\n\r\n"),
    bad("65 bits", b"10000000000000001\r\na\r\n0\r\n\r\n", "9112 §7.1 (overflow)"),
    bad("65 bits with zeros behind", b"10000000000000000\r\n\r\n0\r\n\r\n", "9112 §7.1 (overflow)"),
    bad("40 digits", b"f" * 40 + b"\r\na\r\n0\r\n\r\n", "9112 §7.1 (overflow)"),
    bad("33 bits that wrap to one", b"100000001\r\na\r\n0\r\n\r\n", "9112 §7.1 (overflow)", more=([no_answer,
        unfinished],)),
    bad("LF ends the size", b"1\na\r\n0\r\n\r\n", "9112 §7.1, erratum 7633"),
    bad("LF ends the data", b"1\r\na\n0\r\n\r\n", "9112 §7.1, erratum 7633"),
    bad("LF everywhere", b"1\na\n0\n\n", "9112 §7.1, erratum 7633"),
    bad("CR ends the size", b"1\ra\r\n0\r\n\r\n"),
    bad("CR CR LF ends the size", b"1\r\r\na\r\n0\r\n\r\n"),
    bad("no CRLF behind the data", b"1\r\nab\r\n0\r\n\r\n"),
    bad("too little data", b"3\r\nab\r\n0\r\n\r\n"),
    bad("nothing between data and size", b"1\r\na0\r\n\r\n"),
    bad("two bytes that are not CRLF", b"1\r\naxx0\r\n\r\n"),
    bad("CR in an extension", b"1;a\rb\r\na\r\n0\r\n\r\n", "9112 §7.1.1"),
    bad("LF in an extension", b"1;a\nb\r\na\r\n0\r\n\r\n", "9112 §7.1.1, erratum 7633"),
    bad("NUL in an extension", b"1;a\x00b\r\na\r\n0\r\n\r\n", "9112 §7.1.1"),
    bad("LF ends the last chunk", b"1\r\na\r\n0\n\r\n", "9112 §7.1, erratum 7633"),
    bad("LF ends the body", b"1\r\na\r\n0\r\n\n", "9112 §7.1, erratum 7633"),
    bad("a trailer without colon", b"1\r\na\r\n0\r\nabc\r\n\r\n", "9112 §7.1.2"),
    bad("a trailer with a space before its colon", b"1\r\na\r\n0\r\na : b\r\n\r\n", "9112 §5.1"),
    bad("an endless extension", b"1;" + b"a" * 200000 + b"\r\na\r\n0\r\n\r\n", "9112 §7.1.1 (bounded)"),
    bad("endless trailers", b"1\r\na\r\n0\r\n" + b"".join(b"x%d: %s\r\n" % (i, b"y" * 1000)
        for i in range(300)) + b"\r\n", "9112 §7.1.2 (bounded)"),
    row("cut in a size", "9112 §8", (chunked(b"1"), FIN), *BAD_END, probe=False, lint=False),
    row("cut in the data", "9112 §8", (chunked(b"5\r\nab"), FIN), *BAD_END, probe=False, lint=False),
    row("cut before the last chunk", "9112 §8", (chunked(b"1\r\na\r\n"), FIN), *BAD_END, probe=False, lint=False),
    row("cut before the last CRLF", "9112 §8", (chunked(b"1\r\na\r\n0\r\n"), FIN), *BAD_END, probe=False, lint=False),
    row("a size with spaces behind", "9112 §7.1.1 (BWS)", chunked(b"1 \r\na\r\n0\r\n\r\n"), *BAD_END,
        forwarded(origin_body(b"a")), lint=False),
    row("a size with spaces before its extension", "9112 §7.1.1 (BWS)", chunked(b"1 ; a=b\r\na\r\n0\r\n\r\n"), *BAD_END,
        forwarded(origin_body(b"a")), lint=False),
])
