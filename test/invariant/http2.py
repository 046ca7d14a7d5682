"""The same over HTTP/2: streams whose pseudo-fields, values, lengths, trailers and frames are strange, written frame by frame
so that nothing tidies them up. The reference is RFC 9113 §8 and §10.3."""
import hashlib
import random
import re
import select
import socket
import ssl
import struct
import time

from client import ANSWER_S, Answer
from reference import HOST, MARKER, Request, marker_of

try:
    import hpack
except ImportError:
    hpack = None

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\Z")
TARGET = re.compile(rb"/[!-\"$-\[\]-~]*\Z")
FRAMING_FIELDS = {b"content-length", b"host", b"te", b"trailer"}
CONNECTION_FIELDS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}

# %m: a marker that must never be a request's; %s: a whole hidden request.
FIELDS = [
    ("x-a", "b"), ("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers"), ("te", "trailers, gzip"), ("te", "chunked"), ("connection", "close"),
    ("connection", "x-a"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"),
    ("transfer-encoding", ""), ("transfer-encoding ", "chunked"), ("transfer-encoding\x00", "chunked"), ("upgrade", "websocket"), ("upgrade", "h2c"),
    ("Transfer-Encoding", "chunked"), ("X-Upper", "b"), ("x a", "b"), ("x:a", "b"), ("", "b"), ("x\r\ntransfer-encoding", "chunked"),
    ("x-a\r\n\r\n%s", "b"), ("x-crlf", "b\r\ntransfer-encoding: chunked"), ("x-crlf", "b\r\n\r\n%s"), ("x-lf", "b\n%s"), ("x-cr", "b\r%s"),
    ("x-nul", "b\x00c"), ("x-lead", " b"), ("x-trail", "b "), ("x-tab", "\tb"), ("x-ctl", "b\x0bc"), ("x-del", "b\x7fc"), ("x-high", "\xe9\xff"),
    ("host", "x.test"), ("host", "y.test"), ("host", ""), ("host", "x.test\r\n"), ("content-length", "N"), ("content-length", "0"), ("content-length", "+N"),
    ("content-length", "N\r\ntransfer-encoding: chunked"), ("content-length", "N, N"), ("content-length", "-1"), ("content-length", ""),
    ("content-length", "99999"), ("content-length", "1"), ("content-length", "0xN"), ("content-length", "18446744073709551617"), ("content_length", "0"),
    (":path", "/%m"), (":method", "POST"), (":scheme", "http"), (":authority", "y.test"), (":status", "200"), (":protocol", "websocket"), (":foo", "b"),
    (":", "b"), (":path ", "/%m"), ("expect", "100-continue"), ("expect", "x"), ("x-original-url", "/%m"), ("x-http-method-override", "PUT"),
    ("trailer", "x-t"), ("http2-settings", "AAMAAABk"), ("x-long", "y" * 9000), ("x-request-id", "/%m"), ("x_forwarded_for", "a"),
]
PSEUDO = {
    ":method": ["GET\r\nx: y", "GET /%m HTTP/1.1\r\nhost: x.test\r\n\r\nGET", "", "G ET", "GE\x00T", "get", "CONNECT", "G\xc4T", "GET ", "GET\t/%m"],
    ":scheme": ["http", "", "ftp", "https://x.test/%m?", "https\r\nx: y", "http/1.1 /%m"],
    ":authority": ["", "y.test", "x.test\r\nx: y", "u@x.test", "x.test/%m", "x.test:443", "x.test:99999", "x test", "x.test\x00", "[::1]", "x.test#"],
    ":path": ["", "*", "%M", "/%M HTTP/1.1\r\nhost: y\r\n\r\nGET /%m", "/%M HTTP/1.1", "/%M\r\n\r\n%s", "/ %M", "/%M#a", "/%M\x00", "/%M\xe9", "http://y.test/%M",
              "//y.test/%M", "/%M?a b", "/%M\\..", "/%M\n", "/%M\t", "/../%M", "/%%00%M", "/a/../%M", "?%M", "/%M%%0d%%0a"],
}
TRAILERS = [("x-t", "a"), ("x-t", "/%m"), (":path", "/%m"), ("content-length", "0"), ("transfer-encoding", "chunked"), ("X-T", "a"), ("x-t", "a\r\n\r\n%s"),
            ("host", "y"), ("connection", "close"), ("x t", "a")]


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Stream:
    """One request: its fields and body as sent, and whether it is one."""

    def __init__(self, number):
        self.number, self.fields, self.parts, self.trailers = number, [], [], None
        self.is_cancelled = self.is_unended = self.has_extra = False
        self.request = None  # set when the head is good
        self.is_good = self.is_late = False
        self.answer, self.is_over, self.is_reset = None, False, False

    def judge(self):
        pseudo = [(name, value) for name, value in self.fields if name.startswith(b":")]
        plain = [(name, value) for name, value in self.fields if not name.startswith(b":")]
        known, by_name = dict(pseudo), {}
        for name, value in plain:
            by_name.setdefault(name, []).append(value)
        method, path, authority = known.get(b":method", b""), known.get(b":path", b""), known.get(b":authority")
        lengths, hosts = by_name.get(b"content-length", []), by_name.get(b"host", [])
        if (self.fields[:len(pseudo)] != pseudo or len(known) != len(pseudo) or not set(known) <= {b":method", b":scheme", b":path", b":authority"}
                or not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", method) or method == b"CONNECT" or known.get(b":scheme") not in (b"http", b"https")
                or not (TARGET.match(path) or (path == b"*" and method == b"OPTIONS")) or not all(NAME.match(name) for name in by_name)
                or not all(VALUE.match(value) for _, value in plain) or CONNECTION_FIELDS & set(by_name)
                or any(value != b"trailers" for value in by_name.get(b"te", [])) or len(hosts) > 1 or (authority is None and not hosts)
                or (authority is not None and not HOST.match(authority)) or not all(HOST.match(host) for host in hosts)
                or (authority is not None and hosts and hosts[0].lower() != authority.lower()) or len(lengths) > 1
                or not all(re.fullmatch(rb"[0-9]+", value) for value in lengths)
                or any(value.lower() != b"100-continue" for value in by_name.get(b"expect", []))):
            return
        self.request = Request(method.decode(), path, marker_of(path))
        self.request.body = b"".join(self.parts)
        good_trailers = all(NAME.match(name) and VALUE.match(value) and name not in CONNECTION_FIELDS for name, value in self.trailers or [])
        # The last byte of a body of a known length waits for the end of its stream, so that nothing is complete upstream that
        # more DATA, bad trailers or a missing end spoil.
        is_full = bool(lengths) and int(lengths[0]) == len(self.request.body)
        # Fields in trailers that frame or route may be dropped, or the message refused.
        is_open = any(name in FRAMING_FIELDS for name, _ in self.trailers or [])
        self.is_late = is_open and good_trailers and not self.is_cancelled and not self.is_unended and (not lengths or is_full)
        self.is_good = (not self.is_late and not self.is_cancelled and not self.is_unended and not self.has_extra and good_trailers
                        and (not lengths or is_full))


class Case:
    def __init__(self, seed, number, origin):
        self.number, self.origin, self.markers = number, origin, []
        self.random = random.Random("h2/%s/%d" % (seed, number))
        self.secret = "h2/%s/%d/%s" % (seed, number, origin)
        self.is_plain = self.random.random() < 0.12
        self.is_fatal = False  # what ends the whole connection, by right
        self.encoder = hpack.Encoder()
        count = self.random.choice([1, 1, 2, 3, 5])
        strange = {self.random.randrange(count) for _ in range(self.random.choice([1, 1, 2]))}
        self.streams = [self.stream(1 + 2 * at, not self.is_plain and at in strange) for at in range(count)]
        for stream in self.streams:
            stream.judge()
        self.bytes = b"".join(self.interleaved([self.frames(stream) for stream in self.streams]))
        if not self.is_plain and self.chance(0.1):
            self.bytes += self.fatal()
            self.is_fatal = True

    def chance(self, share):
        return self.random.random() < share

    def marker(self):
        text = "m" + hashlib.sha256(("%s/%d" % (self.secret, len(self.markers))).encode()).hexdigest()[:20]
        self.markers.append(text)
        return text

    def filled(self, text, main=None):
        text = re.sub("%s", lambda _: "GET /%s HTTP/1.1\r\nhost: x.test\r\n\r\n" % self.marker(), text)
        return re.sub("%m", lambda _: self.marker(), text).replace("%M", main or "").replace("%%", "%")

    def stream(self, number, strange):
        stream, main = Stream(number), self.marker()
        method = self.random.choice(["GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"])
        text = self.filled(self.random.choice(["abc", "%s", "0\r\n\r\n%s", "x" * 3000 + "%s"])) if method in ("POST", "PUT") else ""
        body = text.encode("latin-1")
        pseudo = {":method": method, ":scheme": "https", ":authority": "x.test", ":path": "/%s" % main}
        fields = []
        which = self.random.choice(["field"] * 5 + ["pseudo"] * 4 + ["trailers"] * 2 + ["order", "missing", "frames", "frames"]) if strange else ""
        if which == "pseudo":
            name = self.random.choice(list(PSEUDO))
            pseudo[name] = self.filled(self.random.choice(PSEUDO[name]), main)
        elif which == "missing":
            del pseudo[self.random.choice(list(pseudo))]
        pairs = list(pseudo.items())
        self.random.shuffle(pairs)
        if which == "field":
            for name, value in self.random.sample(FIELDS, self.random.choice([1, 1, 2])):
                fields.append((self.filled(name), self.filled(value).replace("N", str(len(body)))))
        elif body and self.chance(0.5):
            fields.append(("content-length", str(len(body))))
        if self.chance(0.3):
            fields.append(("x-hidden", "GET /%s HTTP/1.1" % self.marker()))
        pairs = pairs + fields
        if which == "order":
            self.random.shuffle(pairs)
        stream.fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        at = sorted(self.random.randrange(len(body) + 1) for _ in range(self.random.choice([0, 0, 1, 3]))) if body else []
        stream.parts = [body[a:b] for a, b in zip([0] + at, at + [len(body)])] if body else []
        if which == "trailers":
            name, value = self.random.choice(TRAILERS)
            stream.trailers = [(self.filled(name).encode("latin-1"), self.filled(value).encode("latin-1"))]
        elif which == "frames":
            kind = self.random.choice(["is_cancelled", "is_unended", "has_extra", "excess"])
            if kind == "excess":
                stream.fields = [pair for pair in stream.fields if pair[0] != b"content-length"] + [(b"content-length", b"%d" % len(body))]
                stream.parts.append(self.filled("%s").encode())
            else:
                setattr(stream, kind, True)
        return stream

    def block(self, stream, fields, flags):
        """HEADERS, sometimes padded, sometimes cut into CONTINUATION frames."""
        block = self.encoder.encode([hpack.NeverIndexedHeaderTuple(name, value) if self.chance(0.3) else (name, value) for name, value in fields],
                                    huffman=self.chance(0.5))
        if self.chance(0.2) and len(block) > 2:
            at = self.random.randrange(len(block))
            return frame(HEADERS, flags, stream.number, block[:at]) + frame(CONTINUATION, END_HEADERS, stream.number, block[at:])
        if self.chance(0.1):
            pad = self.random.randrange(20)
            return frame(HEADERS, flags | END_HEADERS | PADDED, stream.number, bytes([pad]) + block + bytes(pad))
        return frame(HEADERS, flags | END_HEADERS, stream.number, block)

    def frames(self, stream):
        """The stream's frames; each entry stays in one piece."""
        ends_with_head = not stream.parts and stream.trailers is None and not stream.is_unended and not stream.is_cancelled
        out = [self.block(stream, stream.fields, END_STREAM if ends_with_head else 0)]
        for at, part in enumerate(stream.parts):
            is_end = at + 1 == len(stream.parts) and stream.trailers is None and not stream.is_unended and not stream.is_cancelled
            pad = self.random.randrange(9) if self.chance(0.1) else None
            flags = END_STREAM if is_end else 0
            out.append(frame(DATA, flags, stream.number, part) if pad is None
                       else frame(DATA, flags | PADDED, stream.number, bytes([pad]) + part + bytes(pad)))
        if stream.trailers is not None:
            out.append(self.block(stream, stream.trailers, END_STREAM))
        if stream.is_cancelled:
            out.append(frame(RST_STREAM, 0, stream.number, struct.pack(">I", 8)))
        if stream.has_extra:
            out.append(frame(DATA, END_STREAM, stream.number, ("GET /%s HTTP/1.1\r\nhost: x.test\r\n\r\n" % self.marker()).encode()))
            self.is_fatal = True  # a closed stream's DATA may cost the connection
        return out

    def interleaved(self, queues):
        """Heads in the order of their numbers, the rest anyhow: the encoder's state follows the order in which they were written."""
        for queue in queues:
            yield queue[0]
            while len(queue) > 1 and (self.chance(0.3) or (len(queue) and queue[-1][3] == HEADERS)):
                yield queue.pop(1)
        while any(len(queue) > 1 for queue in queues):
            yield self.random.choice([queue for queue in queues if len(queue) > 1]).pop(1)

    def fatal(self):
        number = self.streams[-1].number + 2
        hidden = ("GET /%s HTTP/1.1\r\nhost: x.test\r\n\r\n" % self.marker()).encode()
        return self.random.choice([
            frame(HEADERS, END_HEADERS | END_STREAM, number, b"\x80" + hidden), frame(HEADERS, END_HEADERS | END_STREAM, number + 1, b"\x82\x84\x87\x41\x01x"),
            frame(HEADERS, 0, number, b"\x82\x84") + frame(DATA, 0, number, hidden), frame(CONTINUATION, END_HEADERS, number, b"\x82"),
            frame(DATA, END_STREAM, number, hidden), hidden, frame(PING, 0, 0, b"123"), frame(WINDOW_UPDATE, 0, 0, bytes(4)),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x84\x87\x41\x01x"), frame(SETTINGS, 0, 0, b"12345"), frame(HEADERS, END_HEADERS, 0, b"\x82")])


def connect(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", port), 10)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname="x.test")
    except OSError:
        plain.close()
        raise


class Session:
    """One connection; what came back on each of its streams."""

    begun, is_tunnel = None, False

    def __init__(self, edge, seed, number, name):
        self.case = Case(seed, number, name)
        self.streams = {stream.number: stream for stream in self.case.streams}
        self.requests = [stream.request for stream in self.case.streams if stream.request]
        self.trouble, self.buffer, self.block = None, b"", b""
        self.is_ended = self.is_refused = False
        self.decoder = hpack.Decoder(65536)
        with connect(edge.tls_port) as self.socket:
            self.drive()

    @property
    def answers(self):
        return [stream.answer for stream in self.case.streams if stream.answer]

    @property
    def refusals(self):
        return sum(stream.is_reset or bool(stream.answer and stream.answer.is_edges and stream.answer.status >= 400) for stream in self.case.streams)

    def drive(self):
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + self.case.bytes)
        deadline = time.monotonic() + ANSWER_S
        while not self.is_ended and not self.is_all_over():
            left = deadline - time.monotonic()
            if left <= 0:
                waiting = [stream.number for stream in self.case.streams if not stream.is_over]
                self.trouble = "no answer on the streams %s" % waiting
                break
            if not self.socket.pending() and not select.select([self.socket], [], [], min(left, 1))[0]:
                continue
            try:
                data = self.socket.recv(65536)
            except (ssl.SSLError, ConnectionError):
                data = b""
            self.is_ended = not data
            self.buffer += data
            try:
                self.read_frames()
            except (hpack.HPACKError, ValueError, KeyError) as error:
                self.trouble = "the edge's frames: %r" % error
                break

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (ssl.SSLError, ConnectionError):
            pass  # what came before the end is still to be read

    def is_all_over(self):
        return all(stream.is_over or stream.is_cancelled or stream.is_unended for stream in self.case.streams)

    def read_frames(self):
        while len(self.buffer) >= 9:
            length = int.from_bytes(self.buffer[:3], "big")
            if len(self.buffer) < 9 + length:
                return
            kind, flags = self.buffer[3], self.buffer[4]
            number = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
            payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            self.on_frame(kind, flags, self.streams.get(number), payload)

    def on_frame(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                fields = self.decoder.decode(self.block, raw=True)
                self.block = b""
                self.on_head(stream, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields])
        elif kind == GOAWAY:
            self.is_refused = payload[4:8] != bytes(4)
        elif kind == RST_STREAM and stream:
            stream.is_reset = not stream.is_over
            stream.is_over = True
        if kind in (DATA, HEADERS) and flags & END_STREAM and stream:
            stream.is_over = True
            if not stream.answer:
                raise ValueError("a stream ends without an answer")

    def on_head(self, stream, fields):
        status = int(dict(fields).get(":status", 0))
        if not stream or stream.is_over:
            raise ValueError("a head on a stream that is not open")
        if status >= 200 and not stream.answer:
            stream.answer = Answer(status, fields)
        elif stream.answer and status:
            raise ValueError("two final answers")

    def fault_of(self, records):
        by_marker, unmarked = {}, []
        for stream in self.case.streams:
            if stream.request:
                if stream.request.marker:
                    by_marker[stream.request.marker] = stream
                else:
                    unmarked.append(stream)
        whole = {}
        for record in records:
            found = MARKER.findall(record.target)
            stream = by_marker.get(found[0]) if len(found) == 1 else None
            if not stream:
                stream = next((one for one in unmarked if one.answer and one.answer.request_id == record.request_id), None)
            if not stream and not unmarked:
                return "the origin saw what was no request: %s %s" % (record.method, record.target)
            if not stream or not record.is_whole:
                continue
            if not (stream.is_good or stream.is_cancelled or stream.has_extra or stream.is_late):
                return "the origin saw the whole of a request that was not: %s" % record.target
            if stream.number in whole:
                return "the origin saw %s twice" % record.target
            whole[stream.number] = record
            if record.method != stream.request.method:
                return "%s became %s" % (stream.request.method, record.method)
            if record.body not in ("-", stream.request.body_text):
                return "the body of %s is another: %s" % (record.target, record.body)
        return next(filter(None, (self.fault_of_stream(stream, whole.get(stream.number)) for stream in self.case.streams)), None)

    def fault_of_stream(self, stream, record):
        answer, where = stream.answer, "stream %d: " % stream.number
        is_excused = self.case.is_fatal or stream.is_late or (self.is_refused and not self.case.is_plain) or stream.is_cancelled or stream.is_unended
        if answer and not answer.is_edges:
            if not stream.request or (not stream.is_good and 200 <= answer.status < 300 and not stream.has_extra and not stream.is_late):
                return where + "an origin's answer to what was no request"
            if answer.has_seen and answer.marker != stream.request.marker:
                return where + "the answer belongs to another request"
            if answer.has_seen and answer.status < 300 and not record:
                return where + "an answer to what the origin never saw whole"
            if record and record.request_id and answer.request_id and record.request_id != answer.request_id:
                return where + "the answer is one to another request"
        elif answer and record:
            return where + "the edge answered %d, the origin saw the request" % answer.status
        elif answer and answer.status in (500, 502, 503, 504):
            return where + "the edge answered %d" % answer.status
        elif record and not is_excused:
            return where + "the origin saw the request, the client has no answer"
        if stream.is_good and self.case.is_plain and (not answer or answer.is_edges):
            return where + "a plain request was not answered by the origin"
        if stream.is_good and not answer and not is_excused and not stream.is_reset:
            return where + "no answer to a sound request"
        return None

    def describe(self, records):
        lines = ["stream %d %s: %r + %d bytes %r -> %s%s" % (
            stream.number, "good" if stream.is_good else "bad", stream.fields, sum(map(len, stream.parts)), stream.trailers or "", stream.answer,
            " reset" if stream.is_reset else "") for stream in self.case.streams]
        seen = ["%s %s %d %s" % (record.method, record.target[:100], record.status, record.body) for record in records]
        return "\n    ".join(lines) + "\n    seen %s" % seen
