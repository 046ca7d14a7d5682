"""Sends a case and reads the answers: what the edge's client saw."""
import re
import select
import socket
import time

from generate import Case
from judge import describe_http1, fault_of_http1
from reference import MARKER, read_stream

ANSWER_S = 10  # for what must be answered
QUIET_S = 0.04  # after that, what need not be answered is not waited for


class Answer:
    """A final response. `marker` is what the origin understood; None when the edge answered by itself."""

    def __init__(self, status, fields):
        self.status, self.fields = status, fields
        seen = {marker for value in self.all("x-seen") for marker in MARKER.findall(value)}
        self.has_seen = bool(self.all("x-seen"))
        self.marker = seen.pop() if len(seen) == 1 else None
        self.is_edges = not self.has_seen and not self.all("server")
        self.request_id = (self.all("x-request-id") or [""])[0]
        self.is_last = any("close" in value.lower() for value in self.all("connection"))
        self.body = b""
        self.is_whole = True

    def all(self, name):
        return [value for field, value in self.fields if field == name]

    def __repr__(self):
        return "%d%s %s" % (self.status, " by the edge" if self.is_edges else "", self.marker)


class Disorder(Exception):
    """The edge sent what is no response."""


def head_of(data):
    lines = data.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 ([1-5]\d\d) .*", lines[0])
    if not match:
        raise Disorder("status line %r" % lines[0][:80])
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise Disorder("field %r" % line[:80])
        fields.append((name.lower(), value.strip()))
    return int(match[1]), fields


class Session:
    """One connection through the edge, driven to its end."""

    def __init__(self, edge, seed, number, name):
        self.case = Case(seed, number, name)
        self.requests, self.begun, self.verdict = read_stream(self.case.bytes)
        self.answers, self.buffer, self.trouble = [], b"", None
        self.is_ended = self.is_tunnel = self.is_done_sending = False
        self.socket = socket.create_connection(("127.0.0.1", edge.port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.drive()
        except Disorder as error:
            self.trouble = str(error)
        finally:
            self.socket.close()

    def drive(self):
        for at, piece in enumerate(self.case.pieces):
            if at:
                self.collect(0.002)
            self.send(piece)
        deadline = time.monotonic() + ANSWER_S
        while not self.is_ended:
            if time.monotonic() > deadline:
                self.trouble = "%d of %d requests answered" % (len(self.answers), len(self.requests))
                return
            owed = len(self.answers) < len(self.requests) and not self.is_tunnel
            got = self.collect(0.5 if owed or self.is_done_sending else QUIET_S)
            if not got and not owed and not self.is_done_sending:
                # Everything that must be answered is; the rest, if there is any, is cut off.
                self.socket.shutdown(socket.SHUT_WR)
                self.is_done_sending = True

    def send(self, data):
        """All of it, reading what comes meanwhile, so that nobody waits for the other."""
        self.socket.setblocking(False)
        while data and not self.is_ended:
            readable, writable, _ = select.select([self.socket], [self.socket], [], 10)
            if not readable and not writable:
                raise Disorder("the edge does not read")
            if readable:
                self.collect(0)
            if writable and not self.is_ended:
                try:
                    data = data[self.socket.send(data):]
                except BlockingIOError:
                    pass
                except OSError:
                    return  # what it has answered is still to be read
        self.socket.setblocking(True)

    def collect(self, seconds):
        """True when something came."""
        if self.is_ended or not select.select([self.socket], [], [], seconds)[0]:
            return False
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.buffer += data
        if not data:
            self.is_ended = True
        while not self.is_tunnel and self.read_answer():
            pass
        if self.is_ended and self.buffer and not self.is_tunnel:
            raise Disorder("cut off: %r" % self.buffer[:80])
        return True

    def read_answer(self):
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return False
        status, fields = head_of(head)
        if 100 <= status < 200 and status != 101:
            self.buffer = rest
            return True
        answer, at = Answer(status, fields), len(self.answers)
        asked = self.requests + [self.begun] * bool(self.begun)
        is_head = at < len(asked) and asked[at].method == "HEAD"
        if status == 101:
            self.is_tunnel = True
        elif answer.is_edges and answer.is_last and (is_head or at >= len(self.requests)):
            # Refused: whether the edge had read that it was HEAD is its affair.
            if not self.is_ended:
                return False
            if rest and len(rest) != int((answer.all("content-length") or ["-1"])[0]):
                raise Disorder("a body of another length")
            rest = b""
        elif status not in (204, 304) and not is_head:
            rest = self.read_body(answer, rest)
            if rest is None:
                return False
        self.answers.append(answer)
        self.buffer = rest
        return True

    def read_body(self, answer, rest):
        """What follows the body; None while it is not whole."""
        length = answer.all("content-length")
        if answer.all("transfer-encoding"):
            while True:
                line, mark, after = rest.partition(b"\r\n")
                if not mark:
                    return None
                size = int(line, 16)
                if len(after) < size + 2:
                    return None
                answer.body += after[:size]
                rest = after[size + 2:]
                if size == 0:
                    return rest
        if length:
            if len(rest) < int(length[0]):
                return None
            answer.body = rest[:int(length[0])]
            return rest[int(length[0]):]
        answer.is_last = True
        if not self.is_ended:
            return None
        answer.body = rest
        return b""

    @property
    def refusals(self):
        return sum(answer.is_edges and answer.status >= 400 for answer in self.answers)

    def fault_of(self, records):
        return fault_of_http1(self, records)

    def describe(self, records):
        return describe_http1(self, records)
