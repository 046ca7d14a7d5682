"""Where a response ends, and that one which is not whole never looks whole: RFC 9112 §6.3, §8."""
from case import (CLOSE, RESET, Pause, area, bad_gateway, body, client_has, client_lacks, closed, get, in_sync,
                  no_answer, opened, raw_lacks, reply, row, status)

CHUNKED = "Transfer-Encoding: chunked\r\n"


def whole(name, section, answer, data, *checks, **rest):
    return row(name, section, get(), [status(200), body(data), in_sync, *checks], answer=answer, **rest)


def broken(name, section, answer, *more, **rest):
    return row(name, section, get(), *bad_gateway(), *more, answer=answer if isinstance(answer, tuple) else (answer, CLOSE), lint=False, **rest)


def lengths(value):
    return reply("Content-Length: %s\r\n" % value, b"ok")


ROWS = area("response framing", "h1", [
    whole("a length", "9112 §6.3(6)", reply("Content-Length: 2\r\n", b"ok"), b"ok"),
    whole("a length of 0", "9112 §6.3(6)", reply("Content-Length: 0\r\n"), b""),
    whole("chunked", "9112 §6.3(4)", reply(CHUNKED, b"2\r\nok\r\n0\r\n\r\n"), b"ok"),
    whole("chunked and empty", "9112 §6.3(4)", reply(CHUNKED, b"0\r\n\r\n"), b""),
    whole("chunked, extensions", "9112 §7.1.1", reply(CHUNKED, b"2;a=b\r\nok\r\n0;c\r\n\r\n"), b"ok",
        raw_lacks(b"a=b")),
    whole("chunked in pieces", "9112 §7.1", (reply(CHUNKED, b"1\r"), Pause(0.02), b"\no\r\n1\r\n", Pause(0.02),
        b"k\r\n0\r", Pause(0.02), b"\n\r\n"), b"ok"),
    whole("a body that ends with the connection", "9112 §6.3(8)", (reply("", b"ok"), CLOSE), b"ok"),
    whole("a body that ends with an HTTP/1.0 connection", "9112 §6.3(8)", (reply("", b"ok", version="1.0"), CLOSE),
        b"ok"),
    whole("an empty body that ends with the connection", "9112 §6.3(8)", (reply("", b""), CLOSE), b""),
    row("equal lengths in two lines", "9112 §6.3(5)", get(), [status(200), body(b"ok"), in_sync], *bad_gateway(),
        answer=reply("Content-Length: 2\r\nContent-Length: 2\r\n", b"ok")),
    row("equal lengths in a list", "9112 §6.3(5)", get(), [status(200), body(b"ok"), in_sync], *bad_gateway(),
        answer=lengths("2, 2")),
    row("HEAD: the length is that of the other", "9110 §9.3.2", get(method="HEAD"), [status(200), opened,
        client_has("content-length", "7")], [status(200), opened, client_lacks("content-length")],
        answer=reply("Content-Length: 7\r\n")),
    row("HEAD and chunked", "9112 §6.1", get(method="HEAD"), [status(200), opened], answer=reply(CHUNKED)),
    row("HEAD without framing", "9112 §6.3(1)", get(method="HEAD"), [status(200), opened], answer=reply("")),
    row("204 has neither length nor coding", "9110 §8.6", get(), [status(204), opened, client_lacks("content-length",
        "transfer-encoding")], answer=reply("", b"", "204 No Content")),
    row("204 with a length: it is gone", "9110 §8.6", get(), [status(204), in_sync, client_lacks("content-length")],
        answer=reply("Content-Length: 0\r\n", b"", "204 No Content")),
    row("204 with a coding: it is gone", "9112 §6.1", get(), [status(204), in_sync, client_lacks("transfer-encoding")],
        *bad_gateway(), answer=reply(CHUNKED, b"0\r\n\r\n", "204 No Content")),
    row("304 with a length has no body", "9112 §6.3(1)", get(), [status(304), opened],
        answer=reply("Content-Length: 9\r\n", b"", "304 Not Modified")),
    row("304 with a coding has no body", "9112 §6.3(1)", get(), [status(304), opened], answer=reply(CHUNKED, b"",
        "304 Not Modified")),
    row("a length and a coding", "9112 §6.3(3)", get(), *bad_gateway(), [status(200), body(b"ok"),
        client_lacks("content-length"), in_sync], answer=(reply("Content-Length: 3\r\n" + CHUNKED,
        b"2\r\nok\r\n0\r\n\r\n"), CLOSE)),
    row("a coding and a length", "9112 §6.3(3)", get(), *bad_gateway(), [status(200), body(b"ok"),
        client_lacks("content-length"), in_sync], answer=(reply(CHUNKED + "Content-Length: 3\r\n",
        b"2\r\nok\r\n0\r\n\r\n"), CLOSE)),
    broken("two lengths that differ", "9112 §6.3(5)", reply("Content-Length: 2\r\nContent-Length: 3\r\n", b"ok")),
    broken("a list of different lengths", "9112 §6.3(5)", lengths("2, 3")),
    broken("a length with a plus", "9112 §6.3(5)", lengths("+2")),
    broken("a negative length", "9112 §6.3(5)", lengths("-2")),
    broken("a hexadecimal length", "9112 §6.3(5)", lengths("0x2")),
    broken("an empty length", "9112 §6.3(5)", lengths("")),
    broken("a length with letters", "9112 §6.3(5)", lengths("2a")),
    broken("a length with a space inside", "9112 §6.3(5)", lengths("2 0")),
    broken("a length beyond 64 bits", "9112 §6.3(5)", lengths("18446744073709551618")),
    row("an unknown coding before chunked", "9112 §6.1", get(), *bad_gateway(), [status(200),
        client_has("transfer-encoding", "tea, *chunked")], answer=(reply("Transfer-Encoding: tea, chunked\r\n",
        b"2\r\nok\r\n0\r\n\r\n"), CLOSE), lint=False),
    broken("chunked twice", "9112 §7.1", reply("Transfer-Encoding: chunked, chunked\r\n", b"2\r\nok\r\n0\r\n\r\n")),
    broken("chunked with a vertical tab", "9112 §6.1", reply("Transfer-Encoding: \x0bchunked\r\n",
        b"2\r\nok\r\n0\r\n\r\n")),
    row("a coding in HTTP/1.0", "9112 §6.1", get(), *bad_gateway(), [status(200), body(b"ok"), in_sync],
        answer=(reply(CHUNKED, b"2\r\nok\r\n0\r\n\r\n", version="1.0"), CLOSE)),
    *[broken("chunks: " + name, "9112 §7.1", reply(CHUNKED, text)) for name, text in ( ("a plus",
        b"+2\r\nok\r\n0\r\n\r\n"), ("0x", b"0x2\r\nok\r\n0\r\n\r\n"), ("not hexadecimal", b"zz\r\nok\r\n0\r\n\r\n"),
        ("an empty size", b"\r\nok\r\n0\r\n\r\n"), ("65 bits", b"10000000000000002\r\nok\r\n0\r\n\r\n"),
        ("no CRLF behind data", b"2\r\nokxx0\r\n\r\n"), ("a space before", b" 2\r\nok\r\n0\r\n\r\n"))],
    broken("truncated: a length", "9112 §8", reply("Content-Length: 10\r\n", b"abc")),
    broken("truncated: a chunk", "9112 §8", reply(CHUNKED, b"5\r\nab")),
    broken("truncated: between chunks", "9112 §8", reply(CHUNKED, b"2\r\nab\r\n")),
    broken("truncated: no last CRLF", "9112 §8", reply(CHUNKED, b"2\r\nab\r\n0\r\n")),
    broken("truncated: in a size", "9112 §8", reply(CHUNKED, b"2\r\nab\r\n1")),
    broken("truncated: in the trailers", "9112 §8", reply(CHUNKED, b"2\r\nab\r\n0\r\nX: y\r\n")),
    broken("reset: in a length", "9112 §8", (reply("Content-Length: 10\r\n", b"abc"), Pause(0.05), RESET)),
    broken("reset: in a chunk", "9112 §8", (reply(CHUNKED, b"5\r\nab"), Pause(0.05), RESET)),
    broken("reset: before the end of the connection was the end", "9112 §8", (reply("", b"abc"), Pause(0.05), RESET)),
    row("truncated for a client of HTTP/1.0: a length tells", "9112 §8", get(version="1.0"), *bad_gateway(),
        answer=(reply("Content-Length: 10\r\n", b"abc"), CLOSE), lint=False),
    row("truncated for a client of HTTP/1.0: chunks, a reset tells", "9112 §8 (no MUST)", get(version="1.0"),
        [status(500, 502, 503, 504)], [no_answer, closed], [lambda s: None if s.state == "reset"
        else "the connection is %s: the client cannot tell" % s.state], answer=(reply(CHUNKED, b"5\r\nab"), Pause(0.05),
        CLOSE), lint=False),
    row("a large body by length", "9112 §6.3", get(), [status(200), opened, lambda s: None
        if len(s.finals[0].body) == 1000000 else "%d bytes" % len(s.finals[0].body)],
        answer=reply("Content-Length: 1000000\r\n", b"x" * 1000000)),
    row("a large body by chunks", "9112 §6.3", get(), [status(200), opened, lambda s: None
        if s.finals[0].body == b"xyz" * 100000 else "%d bytes" % len(s.finals[0].body)], answer=reply(CHUNKED,
        b"3\r\nxyz\r\n" * 100000 + b"0\r\n\r\n")),
    row("a body byte by byte is passed on as it comes", "9110 §7.6 (streaming)", get(), [status(200), body(b"abc"),
        opened], answer=(reply(CHUNKED, b""), Pause(0.02), b"1\r\na\r\n", Pause(0.02), b"1\r\nb\r\n", Pause(0.02),
        b"1\r\nc\r\n", b"0\r\n\r\n")),
])
