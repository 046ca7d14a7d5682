"""A scripted origin: it records every byte that reaches it, and answers as the row at hand says.

Between two rows it ends each connection and waits until the proxy has let go of it, so that no row meets a connection
of the one before.
"""
import socket
import struct
import threading
import time

from case import CLOSE, END, FIN, OK, PROBE, RESET, Pause, Signal, Until
from message import is_readable, read_message


CONNECTIONS_MAX = 400
QUIET_S = 0.08


class OriginConnection:
    def __init__(self, peer):
        self.socket = peer
        self.raw = b""
        self.mark_at = self.read_to = 0
        self.end = "open"
        self.requests = []
        self.is_idle = True  # between two requests


class Origin:
    def __init__(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.answers, self.connections, self.all = [], [], []
        self.default = OK
        self.is_finishing, self.late = False, 0  # late: connections that came while it finishes
        self.own_ports = set()  # of catch_up()
        threading.Thread(target=self.accept, daemon=True).start()

    # -- the row at hand

    def begin(self, answers):
        with self.changed:
            self.answers = list(answers)
            self.connections = []

    def finish(self, is_quiet):
        """End what is left, and wait for the proxy to do the same. is_quiet: nothing can be under way any more.

        Where a request was under way, the proxy may ask it again: that must not be seen by the next row, so nothing is
        over before it was quiet for a while. Whoever comes meanwhile is turned away."""
        self.catch_up()
        with self.changed:
            self.is_finishing = True
            alive = [c for c in self.all if c.end == "open"]
            is_quiet = is_quiet and all(c.is_idle and not c.raw[c.read_to:] for c in self.all)
        for connection in alive:
            shut(connection.socket, socket.SHUT_WR)
        deadline = time.monotonic() + 0.5
        with self.changed:
            while any(c.end == "open" for c in alive) and time.monotonic() < deadline:
                self.changed.wait(0.05)
        for connection in alive:
            if connection.end == "open":
                shut(connection.socket, socket.SHUT_RDWR)
        self.catch_up()
        deadline = time.monotonic() + 1.0
        with self.changed:
            while (self.late or not is_quiet) and time.monotonic() < deadline:
                self.late, is_quiet = 0, True
                self.changed.wait_for(lambda: self.late, QUIET_S)
            self.late = 0
            self.all = []
            self.is_finishing = False

    def wait_for(self, mark, until):
        with self.changed:
            while not any(mark in c.raw for c in self.connections):
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(left)
        return True

    def catch_up(self):
        """Accept what is waiting: a connection of our own comes behind all that were made before."""
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            port = own.getsockname()[1]
            with self.changed:
                self.own_ports.add(port)
            own.connect(("127.0.0.1", self.port))
            with self.changed:
                self.changed.wait_for(lambda: port not in self.own_ports, 5)

    def seen(self):
        """(connections, requests but the probe) so far."""
        self.catch_up()
        with self.changed:
            connections = list(self.connections)
        requests = []
        for connection in connections:
            requests += [r for r in connection.requests if r.target != PROBE]
        return connections, requests

    def stop(self):
        self.listener.close()

    # -- connections

    def accept(self):
        while True:
            try:
                peer, address = self.listener.accept()
            except OSError:
                return
            with self.changed:
                if address[1] in self.own_ports or self.is_finishing:
                    self.late += address[1] not in self.own_ports
                    self.own_ports.discard(address[1])
                    self.changed.notify_all()
                    peer.close()
                    continue
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = OriginConnection(peer)
            if len(self.connections) >= CONNECTIONS_MAX:  # of one row: a flood that came through
                peer.close()
                continue
            with self.changed:
                self.connections.append(connection)
                self.all.append(connection)
                self.changed.notify_all()
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        try:
            self.serve(connection)
        except (OSError, ValueError):  # ValueError: closed by finish() at that moment
            self.set_end(connection, "reset")
        finally:
            connection.socket.close()

    def set_end(self, connection, how):
        with self.changed:
            if connection.end == "open":
                connection.end = how
            self.changed.notify_all()

    def fill(self, connection, within=30.0):
        """More bytes. False: the end, or none in time."""
        if not is_readable(connection.socket, within):
            return False
        try:
            data = connection.socket.recv(65536)
        except OSError:
            self.set_end(connection, "reset")
            return False
        if not data:
            self.set_end(connection, "end")
            return False
        with self.changed:
            connection.raw += data
            self.changed.notify_all()
        return True

    def serve(self, connection):
        at = 0
        while True:
            request, after = read_message(connection.raw, at)
            while request is None:
                if not self.fill(connection):
                    return
                request, after = read_message(connection.raw, at)
            with self.changed:
                connection.requests.append(request)
                connection.is_idle = False
                if request.target == PROBE:
                    moment, steps = "end", (self.default,)
                elif self.answers:
                    answer = self.answers.pop(0)
                    moment, steps = answer.moment, answer.steps
                else:
                    moment, steps = "end", (self.default,)
            if moment == "head":
                connection.mark_at = at
                if not self.play(connection, steps):
                    return
            while after is None:
                if not self.fill(connection):
                    self.refresh(connection, at)
                    return
                after = self.refresh(connection, at)
            if after < 0:  # not a message: what comes now means nothing
                return
            at = connection.mark_at = after
            if moment == "end" and not self.play(connection, steps):
                return
            connection.read_to = at
            connection.is_idle = True

    def refresh(self, connection, at):
        request, after = read_message(connection.raw, at)
        with self.changed:
            connection.requests[-1] = request
        return after

    def play(self, connection, steps):
        """False: the connection is over."""
        for step in steps:
            if callable(step) and not isinstance(step, Signal):
                step = step(connection.requests[-1])
            if isinstance(step, bytes):
                connection.socket.sendall(step)
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
            elif isinstance(step, Until):
                deadline = time.monotonic() + 5
                while step.mark not in connection.raw[connection.mark_at:]:
                    if not self.fill(connection, max(0, deadline - time.monotonic())):
                        return False
                connection.mark_at = connection.raw.index(step.mark, connection.mark_at) + len(step.mark)
            elif step == FIN:
                connection.socket.shutdown(socket.SHUT_WR)
            elif step == RESET:
                reset(connection.socket)
                self.set_end(connection, "own")
                return False
            elif step == CLOSE:
                connection.socket.shutdown(socket.SHUT_WR)
                while self.fill(connection, 2.0):
                    pass
                self.set_end(connection, "own")
                return False
            elif step == END:
                while self.fill(connection, 5.0):
                    pass
                return False
        return True


def shut(peer, how):
    try:
        peer.shutdown(how)
    except OSError:
        pass


def reset(peer):
    try:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    except OSError:
        pass
