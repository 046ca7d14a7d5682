"""Field blocks: HPACK (RFC 7541) and what makes a request malformed (RFC 9113 §8.2, §8.3)."""
from case import Pause, area, origin_body, origin_only, row, unfinished, untouched
from h2wire import *

FINE = [stream_status(1, 200), stream_whole(1), alive]
NONE = {"streams": ()}
BASE = request()
CONNECTION = ("connection", "close")


def block_of(text):
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, text)


def malformed(name, section, fields, codes=(PROTOCOL_ERROR,), **rest):
    """A stream error of PROTOCOL_ERROR or a refusal, and nothing at the origin."""
    return row(name, section, headers(1, fields), *[a + [untouched] for a in stream_error(1, *codes)], **rest)


def with_field(name, value):
    return [*BASE, (name, value)]


def without(name):
    return [f for f in BASE if f[0] != name]


def bad_name(what, name):
    return malformed("a name with " + what, "9113 §8.2.1", with_field(name, "y"))


def bad_value(what, value):
    return malformed("a value with " + what, "9113 §8.2.1", with_field("x", value))


def compression(name, section, text, **rest):
    return row(name, section, block_of(text), *connection_error(COMPRESSION_ERROR), options=NONE, **rest)


def trailers(name, fields, end=True):
    return row(name, "9113 §8.1", headers(1, request("POST"), end=False) + data(1, b"abc") + headers(1, fields, end=end), *stream_error(1, PROTOCOL_ERROR), lint=False)


def length(name, value, *frames_of):
    return row(name, "9113 §8.1.1", (headers(1, [*request("POST"), ("content-length", value)], end=not frames_of), *frames_of),
               *[a + [unfinished] for a in stream_error(1, PROTOCOL_ERROR)], lint=False)


B = block(BASE)
ROWS = area("h2 headers", "h2", [
    # ---- HPACK
    row("indexed fields of the static table", "7541 §6.1", block_of(b"\x82\x87\x84" + literal(":authority", "a.test")),
        FINE),
    row("Huffman-coded strings", "7541 §5.2", block_of(b"\x82\x87\x84" + literal(":authority",
        "www.example.com") + b"\x00\x01x" + b"\x8c" + bytes.fromhex("f1e3c2e5f23a6ba0ab90f4ff")), [*FINE,
        origin_only("x", r"www\.example\.com")]),
    row("the dynamic table is kept", "7541 §2.3.2", (block_of(b"\x82\x87\x84" + literal(":authority",
        "a.test") + b"\x40\x01x\x01y"), frame(HEADERS, END_HEADERS | END_STREAM, 3,
        b"\x82\x87\x84" + literal(":authority", "a.test") + b"\xbe")), [stream_status(1, 200), stream_status(3, 200),
        alive, lambda s: None if all(r.all("x") == ["y"] for r in s.requests) else "x is %s" % [r.all("x")
        for r in s.requests]], options={"streams": (1, 3)}),
    row("fields that are never indexed", "7541 §6.2.3", block_of(B + b"\x10\x01x\x01y"), [*FINE, origin_only("x",
        "y")]),
    row("a table size update at the beginning", "7541 §4.2", block_of(b"\x20" + B), FINE),
    row("two size updates at the beginning", "7541 §4.2", block_of(b"\x20\x3f\xe1\x1f" + B), FINE),
    compression("a size update behind a field", "7541 §4.2", B + b"\x20"),
    compression("a size update above the limit", "7541 §6.3", b"\x3f\xff\xff\x07" + B),
    compression("index 0", "7541 §6.1", B + b"\x80"),
    compression("an index beyond both tables", "7541 §2.3.3", B + b"\xff\x80\x01"),
    compression("a name index beyond both tables", "7541 §2.3.3", B + b"\x7f\x80\x01\x01y"),
    compression("an index that overflows", "7541 §5.1", B + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
    compression("a string that is longer than the block", "7541 §5.2", B + b"\x00\x01x\x7e"),
    compression("a block that ends in an integer", "7541 §5.1", B + b"\x00\x7f"),
    compression("Huffman padding of more than 7 bits", "7541 §5.2", B + b"\x00\x01x\x82\x1f\xff"),
    compression("Huffman padding that is not of ones", "7541 §5.2", B + b"\x00\x01x\x81\x00"),
    compression("EOS in a Huffman string", "7541 §5.2", B + b"\x00\x01x\x84\xff\xff\xff\xff"),
    compression("garbage", "9113 §4.3", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    row("a block that is refused still counts for the table", "9113 §4.3",
        (block_of(b"\x82\x87\x84" + literal(":authority", "a.test") + literal("connection",
        "close") + b"\x40\x01x\x01y"), frame(HEADERS, END_HEADERS | END_STREAM, 3,
        b"\x82\x87\x84" + literal(":authority", "a.test") + b"\xbe")), [stream_status(3, 200), alive, origin_only("x",
        "y")], [goaway(PROTOCOL_ERROR)], options={"streams": (3,)}),
    row("a block of a stream that was reset still counts for the table", "9113 §4.3", (headers(1, request("POST"),
        end=False), rst(1), headers(3, b"\x82\x87\x84" + literal(":authority", "a.test") + b"\x40\x01x\x01y"),
        headers(5, b"\x82\x87\x84" + literal(":authority", "a.test") + b"\xbe")), [stream_status(5, 200), alive],
        options={"streams": (3, 5)}, lint=False),
    # ---- names and values
    bad_name("an upper-case letter", "X-Upper"),
    bad_name("a space", "x y"),
    bad_name("a colon inside", "x:y"),
    bad_name("a NUL", "x\x00"),
    bad_name("CR and LF", "x\r\nhost"),
    bad_name("a LF", "x\ny"),
    bad_name("a tab", "x\ty"),
    bad_name("a high byte", "x\xe9"),
    bad_name("a DEL", "x\x7f"),
    malformed("a name with nothing in it", "9113 §8.2.1", with_field("", "y"), codes=(PROTOCOL_ERROR,
        COMPRESSION_ERROR)),
    bad_value("CR and LF", "y\r\nhost: b.test"),
    bad_value("a CR", "y\rz"),
    bad_value("a LF", "y\nz"),
    bad_value("a NUL", "y\x00z"),
    bad_value("a space before", " y"),
    bad_value("a space behind", "y "),
    bad_value("a tab before", "\ty"),
    bad_value("a tab behind", "y\t"),
    bad_value("a request behind CRLF CRLF", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    row("high bytes in a value pass", "9110 §5.5", headers(1, with_field("x", "caf\xc3\xa9")), [*FINE, origin_only("x",
        "caf\xc3\xa9")]),
    row("an empty value passes", "9110 §5.5", headers(1, with_field("x", "")), [*FINE, origin_only("x", "")]),
    # ---- connection-specific fields
    *[malformed("the field " + n, "9113 §8.2.2", with_field(n, v)) for n, v in (("connection", "close"),
        ("proxy-connection", "keep-alive"), ("keep-alive", "timeout=5"), ("transfer-encoding", "chunked"), ("upgrade",
        "websocket"))],
    malformed("transfer-encoding: identity", "9113 §8.2.2", with_field("transfer-encoding", "identity")),
    malformed("connection naming a field", "9113 §8.2.2", [*BASE, ("connection", "x"), ("x", "y")]),
    malformed("te other than trailers", "9113 §8.2.2", with_field("te", "gzip")),
    malformed("te: trailers and more", "9113 §8.2.2", with_field("te", "trailers, deflate")),
    row("te: trailers", "9113 §8.2.2", headers(1, with_field("te", "trailers")), FINE),
    # ---- pseudo-header fields
    malformed("no :method", "9113 §8.3.1", without(":method")),
    malformed("no :scheme", "9113 §8.3.1", without(":scheme")),
    malformed("no :path", "9113 §8.3.1", without(":path")),
    malformed("an empty :path", "9113 §8.3.1", request("GET", "")),
    malformed("an empty :method", "9113 §8.3.1", request("", "/")),
    malformed("an empty :scheme", "9113 §8.3.1", request(scheme="")),
    *[malformed("%s twice" % n, "9113 §8.3.1", [*BASE, (n, v)]) for n, v in ((":method", "GET"), (":scheme", "https"),
        (":path", "/"), (":authority", "a.test"))],
    malformed(":path twice, different", "9113 §8.3.1", [*BASE[:4], (":path", "/other")]),
    malformed("an unknown pseudo-header field", "9113 §8.3", [(":unknown", "x"), *BASE]),
    malformed(":status in a request", "9113 §8.3", [*BASE, (":status", "200")]),
    malformed("a pseudo-header field behind a field", "9113 §8.3", [*BASE[:3], ("x", "y"), BASE[3]]),
    malformed(":authority behind a field", "9113 §8.3", [*without(":authority"), ("x", "y"), (":authority", "a.test")]),
    malformed(":protocol without CONNECT", "8441 §4", [*BASE, (":protocol", "websocket")]),
    malformed("neither :authority nor host", "9113 §8.3.1", without(":authority")),
    row("host instead of :authority", "9113 §8.3.1", headers(1, [*without(":authority"), ("host", "a.test")]), [*FINE,
        origin_only("host", r"a\.test")]),
    row("host equal to :authority", "9113 §8.3.1", headers(1, with_field("host", "a.test")), [*FINE, origin_only("host",
        r"a\.test")]),
    malformed("host that is not :authority", "9113 §8.3.1 (SHOULD)", with_field("host", "b.test")),
    malformed("two hosts", "9110 §7.2", [*BASE, ("host", "a.test"), ("host", "b.test")]),
    malformed("an empty :authority", "9113 §8.3.1", request(authority="")),
    malformed(":authority with user information", "9113 §8.3.1", request(authority="u@a.test")),
    malformed(":authority with a space", "9113 §8.3.1", request(authority="a test")),
    malformed(":authority with a slash", "9113 §8.3.1", request(authority="a.test/x")),
    malformed(":authority with CRLF", "9113 §8.2.1", request(authority="a.test\r\nx: y")),
    malformed(":path with a space", "9113 §8.3.1", request("GET", "/a b")),
    malformed(":path with a request line", "9113 §8.3.1", request("GET",
        "/ HTTP/1.1\r\nHost: b.test\r\n\r\nGET /smuggled")),
    malformed(":path with CRLF", "9113 §8.2.1", request("GET", "/\r\nx: y")),
    malformed(":path with a NUL", "9113 §8.2.1", request("GET", "/\x00")),
    malformed(":path without a slash", "9113 §8.3.1", request("GET", "a")),
    malformed(":path * for a GET", "9113 §8.3.1", request("GET", "*")),
    malformed(":path with a fragment", "9113 §8.3.1", request("GET", "/a#b")),
    malformed(":path with a high byte", "9113 §8.3.1", request("GET", "/\xe9")),
    malformed(":method with a space", "9113 §8.3.1", request("GET /smuggled HTTP/1.1\r\nx:", "/")),
    malformed(":method with CRLF", "9113 §8.2.1", request("GET\r\n", "/")),
    malformed(":method that is no token", "9110 §9.1", request("GE(T", "/")),
    malformed(":scheme with CRLF", "9113 §8.2.1", request(scheme="https\r\nx: y")),
    malformed(":scheme with a path", "9113 §8.3.1", request(scheme="http://b.test/x?")),
    malformed(":method in upper case is another name", "9113 §8.2.1", [(":Method", "GET"), *BASE[1:]]),
    malformed("a name that begins with a colon", "9113 §8.3", [*BASE, (":x", "y")]),
    row("OPTIONS *", "9113 §8.3.1", headers(1, request("OPTIONS", "*")), [*FINE, lambda s: None
        if not s.requests or s.requests[0].start == "OPTIONS * HTTP/1.1" else s.requests[0].start], [stream_status(1,
        204)]),
    row("CONNECT is refused", "9113 §8.5", headers(1, [(":method", "CONNECT"), (":authority", "b.test:443")]),
        *stream_error(1, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, CONNECT_ERROR), [stream_status(1, 403, 404, 405,
        501)]),
    malformed("CONNECT with :path and :scheme", "9113 §8.5", [(":method", "CONNECT"), (":scheme", "https"),
        (":authority", "b.test:443"), (":path", "/")]),
    malformed("CONNECT without :authority", "9113 §8.5", [(":method", "CONNECT")]),
    # ---- length
    length("a length and no body", "3"),
    length("a length above the body", "5", data(1, b"abc", True)),
    length("a length below the body", "1", data(1, b"abc", True)),
    length("a length below several frames", "3", data(1, b"ab"), data(1, b"cd", True)),
    length("a length of 0 and DATA later", "0", Pause(0.1), data(1, b"abc", True)),
    length("a length below the body, more later", "3", data(1, b"abc"), Pause(0.1), data(1, b"d", True)),
    length("a length and bad trailers later", "3", data(1, b"abc"), Pause(0.1), headers(1, [("X-Sum", "1")])),
    length("a length that is no number", "abc", data(1, b"abc", True)),
    length("a length with a plus", "+3", data(1, b"abc", True)),
    length("a list of lengths", "3, 4", data(1, b"abc", True)),
    length("an empty length", "", data(1, b"abc", True)),
    malformed("two lengths that differ", "9110 §8.6", [*request("POST"), ("content-length", "0"), ("content-length",
        "3")]),
    row("a length that is right", "9113 §8.1.1", headers(1, request("POST", "/", ("content-length", "3")),
        end=False) + data(1, b"abc", True), [*FINE, origin_body(b"abc")]),
    row("a length of 0 and no DATA", "9113 §8.1.1", headers(1, request("POST", "/", ("content-length", "0"))), [*FINE,
        origin_body(b"")]),
    # ---- trailers
    row("trailers", "9113 §8.1", headers(1, request("POST"), end=False) + data(1, b"abc") + headers(1, [("x-sum",
        "1")]), [*FINE, origin_body(b"abc"), lambda s: None if not s.requests[0].all("x-sum") else "merged"]),
    trailers("trailers without END_STREAM", [("x-sum", "1")], end=False),
    trailers("trailers with a pseudo-header field", [(":path", "/")]),
    trailers("trailers with an upper-case name", [("X-Sum", "1")]),
    trailers("trailers with CRLF", [("x", "y\r\nz: 1")]),
    trailers("trailers with :status", [(":status", "200")]),
    trailers("trailers with transfer-encoding", [("transfer-encoding", "chunked")]),
])
