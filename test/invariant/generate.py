"""Composes what clients send over an HTTP/1.1 connection: mostly sound requests, and in most streams something that two
parsers could read in two ways. Everything follows from the seed of the case.

Each place where some parser might see a request carries a marker of its own, which nobody could guess: the targets of the
requests, and requests hidden in bodies, in values, behind line ends, in chunk extensions and in trailers.
"""
import hashlib
import random
import re

METHODS = ["GET"] * 8 + ["POST"] * 6 + ["PUT", "PUT", "DELETE", "HEAD", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get"]
BYTES = [b"\r", b"\n", b"\0", b"\t", b" ", b":", b";", b",", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", b"\xff", b"\r\n", b"\n\n",
         b"\r\n\r\n", b"\r\r\n", b"\x1f", b'"', b"0", b"1", b"#", b"\\", b"_", b"-", b"+", b"%0d%0a", b"\xc4\x8d\xc4\x8a"]

# Every family of framing conflicts: N stands for the body's length.
CODINGS = [
    "Transfer-Encoding: chunked", "transfer-encoding: CHUNKED", "Transfer-Encoding:chunked", "Transfer-Encoding: \tchunked \t",
    "Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "Transfer-Encoding\t: chunked", "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: , chunked", "Transfer-Encoding: chunked,", "Transfer-Encoding: chunked;q=1", "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\x0b", "Transfer-Encoding: \x0cchunked", "Transfer-Encoding: \x00chunked",
    "Transfer-Encoding: chunked\x00", "Transfer-Encoding: \xffchunked", "Transfer-Encoding: \xa0chunked", "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: x\r\n\tchunked", "Transfer-Encoding:\n chunked", "Transfer-Encoding:\rchunked", "Transfer-Encoding: chunked\r",
    "X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "X: y\r\n\nTransfer-Encoding: chunked",
    "Transfer_Encoding: chunked", "Transfer-Encoding\x00: chunked", "Transfer-Encoding\xff: chunked", "\xefTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding:", "Transfer-Encoding", "Transfer-Encoding; chunked",
    "TE: chunked", "Transfer-Encoding: cow", "Transfer-Encoding: chunk", "Transfer-Encoding: ch\xfcnked", "Content-Encoding: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding, close",
]
LENGTHS = [
    "Content-Length: N", "content-length:N", "Content-Length: \t N\t ", "Content-Length: +N", "Content-Length: -N", "Content-Length: 0xN",
    "Content-Length: 0N", "Content-Length: 00000000000000000000000N", "Content-Length: N_0", "Content-Length: N 0", "Content-Length: N.0",
    "Content-Length: N, N", "Content-Length: N,0", "Content-Length: 0, N", "Content-Length: N\r\nContent-Length: N",
    "Content-Length: N\r\nContent-Length: 0", "Content-Length: 0\r\nContent-Length: N", "Content-Length: \"N\"", "Content-Length:",
    "Content-Length: ", "Content-Length : N", " Content-Length: N", "Content-Length:\r\n N", "Content-Length: N\r\n 0",
    "Content-Length: \x0bN", "Content-Length: N\x0b", "Content-Length: N\x00", "Content-Length: \xb2", "Content-Length: Ne0",
    "Content-Length: 18446744073709551616", "Content-Length: 9223372036854775808", "Content-Length: 4294967296",
    "Content-Length: 18446744073709551615", "Content_Length: N", "Content-Length\x00: N", "X: y\nContent-Length: N",
    "Content-Length: 0", "Connection: Content-Length\r\nContent-Length: N", "Content-Length: N;", "Content-Length: N\r",
    "Content-Length", "Content-Length: \xd9\xa1", "Content-Length: N\r\ncontent-length: N", "Content-Length: -0",
]
SIZES = ["N", "0N", "00000000N", "000000000000000N", "0000000000000000000N", "+N", "-N", "0xN", " N", "N ", "N\t", "N;a", "N;a=b", "N ;a=b",
         "N;a=\"b;c\"", "N;\"\r\n\"", "N;a\rb", "N;a\nb", "N;a\x00", "N_", "1000000000000000N", "FFFFFFFFFFFFFFFF", "N\x0b", "", "g", "N,N",
         "N;" + "e" * 300, "N\r", "N\n", "\r\nN", "N\xb2", "0\r\n\r\nN"]
TARGETS = [
    "/%s", "/%s?a=b", "/%s?", "//%s", "/a/../%s", "/./%s", "/a/%%2e%%2e/%s", "/%%2e/%s", "/a%%2f%s", "/%s;a=b", "/%s/", "/%s/.", "/?q=%s",
    "http://x.test/%s", "HTTP://X.test/%s", "http://x.test?%s", "https://x.test/%s", "http://x.test:80/%s", "/%s%%20HTTP/1.1", "/%s%%0d%%0aX:%%20y",
    "/%s%%00", "/%s\\a", "/%s#a", "/%s\xe9", "/ %s", "/%s HTTP/1.1", "%s", "*%s", "http:/%s", "ftp://x/%s", "http://u@x/%s", "http:///%s",
    "x.test/%s", "/%s%%", "/%s%%4", "/../%s", "/%s?a b", "/%s?a#b", "/%s\t", "/%s{}|^`\"<>", "///%s", "/%s/..;/x", "http://[::1]/%s", "?%s",
    "/%s?x=http://x.test/", "/%s?/../..", "http://x.test\\@y/%s", "/%s%%5c..",
]
STARTS = ["%s %s HTTP/1.1", "%s %s HTTP/1.0", "%s %s HTTP/1.2", "%s %s HTTP/2.0", "%s %s HTTP/0.9", "%s %s", "%s %s HTTP/1.1 ", " %s %s HTTP/1.1",
          "%s  %s HTTP/1.1", "%s %s  HTTP/1.1", "%s\t%s HTTP/1.1", "%s %s http/1.1", "%s %s HTTP/1.10", "%s %s HTTP/01.1", "%s %s HTTP/1,1",
          "\r\n%s %s HTTP/1.1", "\r\n\r\n%s %s HTTP/1.1", "\n%s %s HTTP/1.1", "%s %s HTTP/1.1\r", "\x00%s %s HTTP/1.1", "%s %s HTTP/1.1\x00",
          "%s: %s HTTP/1.1", "%s/%s HTTP/1.1", "%s %s HTTP/1.1, HTTP/1.1", "\xef\xbb\xbf%s %s HTTP/1.1", "%s %s\x0bHTTP/1.1",
          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%s %s HTTP/1.1"]
# %s stands for a hidden request, %m for a marker alone.
FIELDS = [
    "X-A: b", "Cookie: a=b; c=d", "X-Hidden: GET /%m HTTP/1.1", "X-Original-URL: /%m", "X-Rewrite-URL: /%m", "Referer: http://x.test/%m",
    "X-HTTP-Method-Override: PUT", "X-Fold: a\r\n b", "X-Fold: a\r\n\tGET /%m HTTP/1.1", "X-Lf: a\n%s", "X-Cr: a\r%s", "X-Nul: a\x00%s",
    "X-Latin: \xe9\xff", "X-Empty:", "X-Empty: \t", ": no name", "X Space: b", "X-Tab\t: b", "no colon", "X-Utf\xc4\x8d\xc4\x8aGET: /%m",
    "Host: x.test", "Host: /%m", "Host: x.test, y.test", "Host: x.test:80@y", "Host : x.test", "host: y.test", "Ho\x00st: x", "Host:",
    "Connection: close", "Connection: keep-alive", "Connection: close, x-a", "Connection: host, cookie", "Connection: keep-alive, upgrade",
    "Keep-Alive: timeout=1", "Proxy-Connection: keep-alive", "TE: trailers", "TE: trailers, deflate", "Trailer: X-T", "Via: 1.0 a",
    "Expect: 100-continue", "expect: 100-Continue", "Expect: 200-ok", "Expect: 100-continue, x", "Expect:", "Max-Forwards: 3", "Max-Forwards: 0",
    "X-Forwarded-For: 1.2.3.4", "X-Request-ID: abc", "X-Request-ID: a\x0bb", "X-Request-ID: /%m", "Content-Type: a/b\r\nX-B: c", "Range: bytes=0-1",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Upgrade: TLS/1.3\r\nConnection: upgrade",
    "Upgrade: websocket", "Connection: upgrade", "Upgrade: x, websocket\r\nConnection: upgrade", "X_Forwarded_For: a", "Content_Length: 5",
    "X-Long: " + "a" * 9000, "Date: x\r\n\r\n%s", "X-Q: \"a\r\nGET: b\"", "X-Paren(: b", "X-A: b\r\n\r\n", "\r\n", "Connection: x\r\nX: /%m",
]


class Case:
    """One connection: the bytes, where they are cut into pieces, and what was asked for."""

    def __init__(self, seed, number, origin):
        self.number, self.origin = number, origin
        # The same stream for each origin, but for the markers.
        self.random = random.Random("%s/%d" % (seed, number))
        self.secret = "%s/%d/%s" % (seed, number, origin)
        self.markers = []
        self.is_plain = self.random.random() < 0.12
        count = self.random.choice([1, 1, 2, 2, 3, 4, 6])
        strange = {self.random.randrange(count) for _ in range(self.random.choice([1, 1, 1, 2, 3]))}
        parts = [self.request(not self.is_plain and at in strange) for at in range(count)]
        self.bytes = b"".join(parts)
        if not self.is_plain and self.random.random() < 0.15:
            self.bytes = self.mutated(self.bytes, self.random.choice([1, 1, 2, 5]))
        if not self.is_plain and self.bytes and self.random.random() < 0.05:
            self.bytes = self.bytes[:self.random.randrange(1, len(self.bytes) + 1)]
        self.pieces = self.cut()

    def marker(self):
        text = "m" + hashlib.sha256(("%s/%d" % (self.secret, len(self.markers))).encode()).hexdigest()[:20]
        self.markers.append(text)
        return text

    def chance(self, share):
        return self.random.random() < share

    def hidden(self):
        """A request that must never be taken for one."""
        return self.random.choice([
            "GET /%s HTTP/1.1\r\nHost: x.test\r\n\r\n", "POST /%s HTTP/1.1\r\nHost: x.test\r\nContent-Length: 3\r\n\r\nabc",
            "GET /%s HTTP/1.1\r\nHost: x.test\r\nX-Rest: ", "0\r\n\r\nGET /%s HTTP/1.1\r\nHost: x.test\r\n\r\n",
            "\r\nGET /%s HTTP/1.1\r\nHost: x.test\r\nFoo: x", "GET /%s HTTP/1.0\r\n\r\n", "GET http://x.test/%s HTTP/1.1\r\nHost: x.test\r\n\r\n",
        ]) % self.marker()

    def filled(self, text):
        text = re.sub("%s", lambda _: self.hidden(), text)
        return re.sub("%m", lambda _: self.marker(), text)

    def chunked(self, body, strange):
        out, at = "", 0
        while at < len(body):
            size = min(len(body) - at, self.random.choice([1, 3, 16, 100, 5000]))
            form = self.random.choice(SIZES) if strange and self.chance(0.4) else self.random.choice(["N"] * 4 + ["0N", "N;a=b"])
            out += form.replace("N", "%x" % size) + "\r\n" + body[at:at + size] + ("\r\n" if not strange or self.chance(0.85) else
                                                                              self.random.choice(["", "\n", "\r", "a\r\n", "\r\n\r\n", "\n\r"]))
            at += size
        out += "0" if not strange or self.chance(0.8) else self.random.choice(["00", "0;a", "0 ", "-0", "0x0", "", "0\n", "+0"])
        out += "\r\n"
        if self.chance(0.3):
            out += self.filled(self.random.choice(["X-T: a\r\n", "X-T: /%m\r\n", "X-T: a\r\nX-U: b\r\n"]))
        if strange and self.chance(0.4):
            out += self.filled(self.random.choice(["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Host: y\r\n", " x: y\r\n", "x\r\n", "x : y\r\n",
                                                   "%s", "X-T: a\nX-U: b\r\n", "GET /%m HTTP/1.1\r\nHost: x\r\n", "Authorization: x\r\n"]))
        return out + "\r\n"

    def body(self):
        return self.filled(self.random.choice(["", "a", "abc=def", "%s", "%s%s", "x" * 700 + "%s", "0\r\n\r\n%s", "x" * 20000, "\r\n%s", "%s" + "y" * 66000]))

    def request(self, strange):
        method, target = self.random.choice(METHODS), self.random.choice(TARGETS[:13]) % self.marker()
        start, fields, body = STARTS[0], ["Host: x.test"], ""
        if method in ("POST", "PUT", "PATCH") or self.chance(0.08):
            body = self.body()
        which = self.random.choice(["framing"] * 6 + ["chunks"] * 3 + ["field"] * 5 + ["target", "start", "bytes", "bytes", "ends"]) if strange else ""
        for _ in range(self.random.choice([0, 0, 1, 2])):
            fields.append(self.filled(self.random.choice(FIELDS[:6])))
        if which == "target":
            target = self.random.choice(TARGETS) % self.marker()
        elif which == "start":
            start = self.random.choice(STARTS)
        elif which == "field":
            for _ in range(self.random.choice([1, 1, 2, 3])):
                fields.insert(self.random.randrange(len(fields) + 1), self.filled(self.random.choice(FIELDS)))
        if which == "framing":
            fields, body = self.framing(fields)
        elif which == "chunks" or (body and self.chance(0.4)):
            body = self.chunked(body or self.body(), which == "chunks")
            fields.append(CODINGS[0])
        elif body:
            fields.append("Content-Length: %d" % len(body))
        end = "\r\n" if which != "ends" else self.random.choice(["\n", "\r", "\r\r\n", "\n\r", "\r\n "])
        head = start % (method, target) + end + "".join(field + (end if self.chance(0.5) else "\r\n") for field in fields) + "\r\n"
        data = (head + body).encode("latin-1")
        return self.mutated(data, self.random.choice([1, 1, 2, 4]), len(head)) if which == "bytes" else data

    def framing(self, fields):
        """Lengths and codings that contradict each other, before a body that means something else under each of them."""
        plain, kinds = self.hidden(), self.random.choice([(LENGTHS,), (CODINGS,), (LENGTHS, CODINGS), (CODINGS, LENGTHS), (LENGTHS, LENGTHS)])
        chunks = self.chunked(self.random.choice(["", "a", "abc"]) or plain, False) if self.chance(0.6) else "0\r\n\r\n"
        body = self.random.choice([chunks + plain, chunks, plain, "", plain + chunks])
        length = self.random.choice([len(body), len(body), len(chunks), 0, 1, 5, len(body) - 1, len(body) + 1])
        for kind in kinds:
            form = self.random.choice(kind[:1] * 4 + kind if len(kinds) > 1 else kind)
            fields.insert(self.random.randrange(len(fields) + 1), form.replace("N", str(max(length, 0))))
        return fields, body

    def mutated(self, data, times, reach=None):
        for _ in range(times):
            at = self.random.randrange(min(reach or len(data), len(data)) or 1)
            what, end = self.random.choice(["insert", "insert", "delete", "replace", "double", "move"]), at + self.random.choice([1, 1, 2, 8, 30])
            if what == "insert":
                data = data[:at] + self.random.choice(BYTES) + data[at:]
            elif what == "delete":
                data = data[:at] + data[end:]
            elif what == "replace":
                data = data[:at] + self.random.choice(BYTES) + data[at + 1:]
            elif what == "double":
                data = data[:end] + data[at:end] + data[end:]
            else:
                to = self.random.randrange(len(data) or 1)
                piece, data = data[at:end], data[:at] + data[end:]
                data = data[:to] + piece + data[to:]
        return data

    def cut(self):
        """Mostly in one piece; else cut at a few places, or where lines end."""
        how, size = self.random.random(), len(self.bytes)
        if how < 0.7 or size < 2:
            return [self.bytes]
        if how < 0.9:
            cuts = sorted(self.random.randrange(1, size) for _ in range(self.random.choice([1, 1, 2, 5])))
        else:
            cuts = [match.end() - self.random.choice([0, 1, 2]) for match in re.finditer(rb"\r\n", self.bytes)][:12]
        cuts = [0] + sorted(cuts) + [size]
        return [self.bytes[a:b] for a, b in zip(cuts, cuts[1:]) if b > a]
