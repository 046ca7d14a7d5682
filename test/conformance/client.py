"""The client's side of a row over HTTP/1.1: send, watch, and ask once more to learn what became of the connection."""
import socket
import ssl
import time

from case import CLOSE, END, FIN, PROBE, RESET, Answers, OriginSaw, Pause, Until
from message import is_readable, read_responses
from origin import reset

PROBE_REQUEST = ("GET %s HTTP/1.1\r\nHost: a.test\r\nX-Probe: yes\r\n\r\n" % PROBE).encode()


class Seen:
    """What both sides saw of a row; what checks look at."""

    raw = b""
    interims = finals = requests = connections = ()
    rest = b""
    state = "open"
    h2 = None

    @property
    def origin_bytes(self):
        """All bytes at the origin, but the probe's."""
        parts = []
        for connection in self.connections:
            data = connection.raw
            for request in connection.requests:
                if request.target == PROBE:
                    data = data.replace(request.head, b"")
            parts.append(data)
        return b"".join(parts)


def tls_context(protocol):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def is_pending(connection):
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


class H1Client:
    def __init__(self, address, origin, row, wait_s, is_tls=False):
        self.origin, self.row, self.methods = origin, row, row.methods
        self.wait_s = row.wait or wait_s
        self.socket = socket.create_connection(address, wait_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_tls:
            self.socket = tls_context("http/1.1").wrap_socket(self.socket, server_hostname="a.test",
                                                                   suppress_ragged_eofs=False)
        self.raw = b""
        self.mark_at = 0
        self.end = None

    def fill(self, until):
        """More bytes. False: the end, or none in time."""
        if self.end:
            return False
        if not is_pending(self.socket) and not is_readable(self.socket, until - time.monotonic()):
            return False
        try:
            data = self.socket.recv(65536)
        except TimeoutError:  # a record that is no data
            return False
        except OSError:  # over TLS an end without close_notify too
            self.end = "reset"
            return False
        if not data:
            self.end = "end"
            return False
        self.raw += data
        return True

    def responses(self):
        return read_responses(self.raw, self.methods, self.end)

    def finals_complete(self, count):
        finals = self.responses()[1]
        return len(finals) >= count and all(m.complete for m in finals[:count])

    def wait_finals(self, count):
        until = time.monotonic() + self.wait_s
        while not self.finals_complete(count):
            if not self.fill(until):
                break

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # what the other side said before is read below

    def play(self):
        for step in self.row.send:
            if isinstance(step, bytes):
                self.send(step)
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
            elif isinstance(step, Until):
                until = time.monotonic() + self.wait_s
                while step.mark not in self.raw[self.mark_at:]:
                    if not self.fill(until):
                        return
                self.mark_at = self.raw.index(step.mark, self.mark_at) + len(step.mark)
            elif isinstance(step, Answers):
                self.wait_finals(step.count)
            elif isinstance(step, OriginSaw):
                self.origin.wait_for(step.mark, time.monotonic() + self.wait_s)
            elif step == FIN:
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            elif step == RESET:
                reset(self.socket)
                self.end = "own"
                return
            elif step == CLOSE:
                self.socket.close()
                self.end = "own"
                return
            elif step == END:
                until = time.monotonic() + self.wait_s
                while self.fill(until):
                    pass

    def run(self):
        """Returns what was seen at the client; its state is 'open', 'end', 'reset', 'desync' or 'silent'."""
        self.play()
        if self.end != "own":
            self.wait_finals(self.row.finals)
        seen = Seen()
        seen.state = self.end or self.find_state()
        seen.raw = self.raw if seen.state != "open" else self.raw[:self.before_probe]
        end = seen.state if seen.state in ("end", "reset") else None
        seen.interims, seen.finals, seen.rest = read_responses(seen.raw, self.methods, end)
        if self.end != "own":
            self.socket.close()
        return seen

    def find_state(self):
        finals = self.responses()[1]
        self.before_probe = len(self.raw)
        if len(finals) < self.row.finals or not all(m.complete for m in finals):
            return self.end or "silent"
        last = finals[-1]
        options = ",".join(last.all("connection")).lower()
        until = time.monotonic() + self.wait_s
        if "close" in options or (last.version == "1.0" and "keep-alive" not in options) or not self.row.probe:
            if not self.row.probe and "close" not in options:
                until = time.monotonic() + 0.05
            while self.fill(until):
                pass
            return self.end or ("idle" if not self.row.probe else "open")
        count = len(finals)
        self.send(PROBE_REQUEST)
        self.methods = self.methods[:count] + ("GET",) * (count + 1 - len(self.methods[:count]))
        while not self.finals_complete(count + 1):
            if not self.fill(until):
                return self.end or "silent"
        finals, rest = self.responses()[1:]
        if len(finals) != count + 1 or rest or finals[-1].status != 200:
            return "desync"
        if self.raw[self.before_probe:self.before_probe + 5] != b"HTTP/":
            return "desync"
        return "open"
