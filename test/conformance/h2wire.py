"""HTTP/2 by hand: frames are bytes, header blocks are literals without indexing, so that a row can be wrong on purpose."""
import re
import socket
import struct
import time

from hpack import Decoder

from case import CLOSE, END, FIN, PROBE, RESET, OriginSaw, Pause
from client import Seen, is_pending, tls_context
from message import is_readable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, CONNECT_PROTOCOL = 1, 2, 3, 4, 5, 6, 8


# ---- composing


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, prefix_bits, first=0):
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def literal(name, value):
    name, value = (t if isinstance(t, bytes) else t.encode("latin-1") for t in (name, value))
    return b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(fields):
    return b"".join(literal(n, v) for n, v in fields)


def headers(stream, fields, end=True, flags=END_HEADERS, extra=b""):
    """HEADERS; `fields` is a list of pairs, or the bytes of a block."""
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, payload + extra)


def data(stream, payload=b"", end=False):
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def request(method="GET", path="/", *fields, authority="a.test", scheme="https"):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path), *fields]


# ---- the client


class Stream:
    def __init__(self):
        self.blocks = []  # header blocks: lists of pairs
        self.body = b""
        self.is_ended = False
        self.reset = None  # code of RST_STREAM

    @property
    def status(self):
        finals = [b for b in self.blocks if b and b[0][0] == ":status" and not b[0][1].startswith("1")]
        return int(finals[0][0][1]) if finals else 0

    @property
    def interims(self):
        return [int(b[0][1]) for b in self.blocks if b and b[0][0] == ":status" and b[0][1].startswith("1")]

    @property
    def is_over(self):
        return self.is_ended or self.reset is not None


class H2Client:
    """Acknowledges settings and pings; gives the windows back unless the row says otherwise (options: auto=False)."""

    def __init__(self, address, origin, row, wait_s, is_tls=True):
        self.origin, self.row = origin, row
        self.wait_s = row.wait or wait_s
        self.socket = self.connect(address, wait_s, is_tls)
        self.raw, self.at = b"", 0
        self.end = None
        self.decoder = Decoder(max_header_list_size=1 << 20)
        self.streams, self.frames, self.settings, self.pongs = {}, [], {}, []
        self.goaway = None
        self.settings_acks = 0
        self.pending = None  # (stream, flags, block) of a block that goes on
        self.fault = None  # what the proxy sent that is not HTTP/2
        self.window, self.windows = 65535, {}  # what may still be sent: on the connection, and the streams' updates
        self.notes = {}  # of steps, for checks

    @staticmethod
    def connect(address, wait_s, is_tls):
        plain = socket.create_connection(address, wait_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not is_tls:
            return plain
        secure = tls_context("h2").wrap_socket(plain, server_hostname="a.test")
        if secure.selected_alpn_protocol() != "h2":
            secure.close()
            raise OSError("no h2 by ALPN")
        return secure

    def send(self, payload):
        try:
            self.socket.sendall(payload)
        except OSError:
            pass

    def fill(self, until):
        if self.end:
            return False
        if not is_pending(self.socket):
            if not is_readable(self.socket, until - time.monotonic()):
                return False
        try:
            got = self.socket.recv(65536)
        except OSError:
            self.end = "reset"
            return False
        if not got:
            self.end = "end"
            return False
        self.raw += got
        self.read_frames()
        return True

    def read_frames(self):
        while len(self.raw) - self.at >= 9:
            size = int.from_bytes(self.raw[self.at:self.at + 3], "big")
            if len(self.raw) - self.at < 9 + size:
                return
            kind, flags, stream = struct.unpack(">BBI", self.raw[self.at + 3:self.at + 9])
            payload = self.raw[self.at + 9:self.at + 9 + size]
            self.at += 9 + size
            self.frames.append((kind, flags, stream & 0x7fffffff, payload))
            try:
                self.take(kind, flags, stream & 0x7fffffff, payload)
            except Exception as error:  # whatever a broken peer makes of the decoder
                self.fault = "%s in a frame of type %d" % (error, kind)

    def take(self, kind, flags, number, payload):
        auto = self.row.options.get("auto", True)
        stream = self.streams.setdefault(number, Stream()) if number else None
        if self.pending and kind != CONTINUATION:
            self.fault = "a block is interrupted by a frame of type %d" % kind
        if kind == SETTINGS:
            if flags & ACK:
                self.settings_acks += 1
                return
            for i in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[i:i + 6])
                self.settings[key] = value
            if auto:
                self.send(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE:
            increment = struct.unpack(">I", payload)[0]
            if number:
                self.windows[number] = self.windows.get(number, 0) + increment
            else:
                self.window += increment
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            elif auto:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        elif kind == RST_STREAM:
            stream.reset = struct.unpack(">I", payload)[0]
        elif kind == DATA:
            size = len(payload)
            if flags & PADDED:
                payload = payload[1:size - payload[0]]
            stream.body += payload
            stream.is_ended |= bool(flags & END_STREAM)
            if size and auto:
                self.send(window_update(0, size) + (b"" if stream.is_ended else window_update(number, size)))
        elif kind in (HEADERS, CONTINUATION):
            if kind == HEADERS:
                if flags & PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                if flags & PRIORITIZED:
                    payload = payload[5:]
                self.pending = (number, flags, payload)
            else:
                first, first_flags, text = self.pending
                self.pending = (first, first_flags, text + payload)
            if flags & END_HEADERS:
                _, first_flags, text = self.pending
                self.pending = None
                stream.blocks.append([(str_of(n), str_of(v)) for n, v in self.decoder.decode(text, raw=True)])
                stream.is_ended |= bool(first_flags & END_STREAM)

    def wait(self, condition, seconds=None):
        until = time.monotonic() + (seconds or self.wait_s)
        while not condition():
            if not self.fill(until):
                return condition()
        return True

    def is_over(self):
        return self.goaway is not None and self.goaway[1] != NO_ERROR or self.end is not None

    def run(self):
        row = self.row
        if row.options.get("preface", True):
            self.send(PREFACE + settings(*row.options.get("settings", ())))
            if row.options.get("meet", True):
                self.wait(lambda: self.settings and self.settings_acks)
        for step in row.send:
            if callable(step):  # made from what is known by now
                step = step(self)
                if step is None:
                    continue
            if isinstance(step, bytes):
                self.send(step)
            elif isinstance(step, Pause):
                until = time.monotonic() + step.seconds
                while self.fill(until):
                    pass
            elif isinstance(step, OriginSaw):
                until = time.monotonic() + self.wait_s
                while not self.origin.wait_for(step.mark, time.monotonic() + 0.01) and time.monotonic() < until:
                    self.fill(time.monotonic() + 0.005)
            elif isinstance(step, StreamHas):
                self.wait(lambda: step.holds(self) or self.is_over())
            elif step == FIN or step == CLOSE or step == RESET:
                self.socket.close()
                self.end = "own"
                break
            elif step == END:
                self.wait(lambda: False)
        streams = row.options.get("streams", (1,))
        if self.end != "own":
            self.wait(lambda: self.is_over() or all(s in self.streams and self.streams[s].is_over for s in streams))
        seen = Seen()
        seen.h2, seen.raw = self, self.raw
        if self.end == "own":
            seen.state = "own"
        else:
            seen.state = self.find_state()
            self.socket.close()
        return seen

    def find_state(self):
        """'open' when a ping and one more request are answered; 'goaway', 'end' or 'reset' when the connection is over."""
        if self.goaway is None and self.end is None:
            if not self.row.probe:
                self.send(frame(PING, 0, 0, b"probe!!!"))
                self.wait(lambda: b"probe!!!" in self.pongs or self.is_over())
            else:
                number = self.row.options.get("probe_stream", 2147483645)
                self.send(headers(number, request("GET", PROBE)))
                self.wait(lambda: self.is_over() or (number in self.streams and self.streams[number].is_over))
                if number in self.streams and self.streams[number].status == 200:
                    return "open"
            if not self.is_over() and b"probe!!!" in self.pongs:
                return "open"
        if self.goaway is not None and self.end is None:
            until = time.monotonic() + 0.5
            while self.fill(until):
                pass
        if self.goaway is not None:
            return "goaway"
        return self.end or "silent"


def upload(number, size, piece=16384, padding=0, end=True):
    """A step: a body of that size within the windows that the server gives."""
    def step(client):
        left, sent = size, 0
        while left > 0:
            cost = min(piece, left) + (padding + 1 if padding else 0)

            def may_send():
                room = client.settings.get(INITIAL_WINDOW, 65535) + client.windows.get(number, 0) - sent
                return min(client.window, room) >= cost or client.is_over() or client.streams.get(number, Stream()).is_over
            if not client.wait(may_send) or client.is_over() or client.streams.get(number, Stream()).is_over:
                client.notes["stuck"] = left
                return None
            take = min(piece, left)
            left -= take
            payload = b"u" * take
            if padding:
                payload = bytes([padding]) + payload + b"\x00" * padding
            client.send(frame(DATA, (PADDED if padding else 0) | (END_STREAM if end and not left else 0), number, payload))
            client.window -= cost
            sent += cost
        return None
    return step


def note(name, look):
    """A step: remember what is seen now."""
    def step(client):
        client.notes[name] = look(client)
    return step


class StreamHas:
    """Wait until the stream has a response's head, is over, or has so many bytes."""

    def __init__(self, number, what="head", size=0):
        self.number, self.what, self.size = number, what, size

    def holds(self, client):
        stream = client.streams.get(self.number)
        if not stream:
            return False
        if self.what == "head":
            return bool(stream.blocks) or stream.is_over
        if self.what == "bytes":
            return len(stream.body) >= self.size or stream.is_over
        return stream.is_over


def str_of(text):
    return text.decode("latin-1") if isinstance(text, (bytes, memoryview)) else text


# ---- checks


def stream_status(number, *codes):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or not stream.status:
            return "no response on stream %d (%s)" % (number, ended(seen))
        if stream.status not in codes:
            return "status %d on stream %d" % (stream.status, number)
    return check


def stream_body(number, payload):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or stream.body != payload or not stream.is_ended:
            return "stream %d has %r (%s)" % (number, stream and stream.body[:60], ended(seen))
    return check


def stream_has(number, name, pattern=None):
    def check(seen):
        stream = seen.h2.streams.get(number)
        values = [v for n, v in (stream.blocks[0] if stream and stream.blocks else []) if n == name]
        if not values or (pattern and not any(re.fullmatch(pattern, v) for v in values)):
            return "stream %d has %s: %s" % (number, name, values)
    return check


def stream_lacks(number, *names):
    def check(seen):
        stream = seen.h2.streams.get(number)
        for b in stream.blocks if stream else []:
            for n, v in b:
                if n in names:
                    return "stream %d has %s: %s" % (number, n, v)
    return check


def stream_interims(number, *codes):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or tuple(stream.interims) != codes:
            return "interim responses %s" % (stream and stream.interims)
    return check


def stream_trailer(number, name, value):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or len(stream.blocks) < 2 or (name, value) not in stream.blocks[-1]:
            return "no trailer %s on stream %d: %s" % (name, number, stream and stream.blocks)
    return check


def stream_reset(number, *codes):
    """RST_STREAM of one of these codes (any when none is given)."""
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or stream.reset is None or (codes and stream.reset not in codes):
            return "stream %d: reset %s (%s)" % (number, stream and stream.reset, ended(seen))
    return check


def stream_whole(number):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if not stream or not stream.is_ended or stream.reset not in (None, NO_ERROR):
            return "stream %d did not end well (%s)" % (number, ended(seen))
    return check


def stream_cut(number):
    def check(seen):
        stream = seen.h2.streams.get(number)
        if stream and stream.is_ended and stream.status < 500 and stream.reset is None:
            return "a response that is not whole looks complete"
    return check


def ended(seen):
    h2 = seen.h2
    return "state %s, goaway %s, resets %s, statuses %s%s" % (
        seen.state, h2.goaway, {n: s.reset for n, s in h2.streams.items() if s.reset is not None},
        {n: s.status for n, s in h2.streams.items() if s.status}, ", fault " + h2.fault if h2.fault else "")


def goaway(*codes):
    """The connection ends: GOAWAY with one of these codes; one that just ends is right too (RFC 9113 §5.4.1 SHOULD)."""
    def check(seen):
        h2 = seen.h2
        if h2.goaway and h2.goaway[1] in codes:
            return None
        if h2.goaway is None and h2.end in ("end", "reset"):
            return None
        return "no connection error (%s)" % ended(seen)
    return check


def alive(seen):
    if seen.state != "open":
        return "the connection is not open (%s)" % ended(seen)


def pong(payload):
    def check(seen):
        if payload not in seen.h2.pongs:
            return "no answer to the ping"
    return check


def setting(key, test):
    def check(seen):
        if not test(seen.h2.settings.get(key)):
            return "setting %d is %s" % (key, seen.h2.settings.get(key))
    return check


def over(seen):
    """The connection was ended for it, with whatever code."""
    if seen.state == "open" or seen.state == "silent":
        return "the connection is not ended (%s)" % ended(seen)


def connection_error(*codes):
    return ([goaway(*codes)],)


def stream_error(number, *codes):
    """A stream error: reset, or a response that refuses (RFC 9113 §8.1.1); a connection error of the code is right
    too (§5.4.2 leaves it open)."""
    return ([stream_reset(number, *codes), alive], [stream_status(number, 400, 404, 405, 408, 411, 413, 414, 417, 421, 431, 501, 505), alive],
            [goaway(*codes)])


