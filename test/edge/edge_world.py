"""The world around an edge under test: the harness that plays keeper and control, scripted upstreams, raw clients.

Loopback only, free ports, every wait bounded; everything that is started here is ended here.

TLS: Edge(..., tls=True) adds a TLS listener (edge.tls_port), whose certificates come from an authority
that the harness makes (edge.ca, a file) and whose keys the real signer role holds. Any name gets one
certificate unless hosts=["a.test,redirect", ...] says otherwise; the options of a host stand at the top of
test/support/edge_harness.c. edge.connect_tls("x.test") is a Wire over TLS with that server name,
edge.client_certificate() what a client may show. With EDGE_TEST_TLS=1 in the environment (or
edge_world.OVER_TLS set) every Edge that does not say otherwise has a TLS listener and edge.connect() speaks TLS:
the whole of test_edge.py, or of a suite that is built on this file, over TLS. Without this file: edge_harness --listen A:P --listen-tls A:P --tls-directory DIR --upstream A:P.
"""
import os
import queue
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import traceback

HARNESS = None  # path of the edge_harness binary, see run()
WAIT_S = float(os.environ.get("EDGE_TEST_WAIT_S", "10"))
OVER_TLS = os.environ.get("EDGE_TEST_TLS") == "1"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Closed(Exception):
    """The other side ended the connection (cleanly or not)."""


class Wire:
    """A connection that speaks bytes, with just enough HTTP to read whole messages."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(WAIT_S)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            raise Closed("reset")
        except ssl.SSLEOFError:
            raise Closed("cut")  # an end of file without close_notify
        except ssl.SSLZeroReturnError:
            raise Closed("end")
        if not data:
            raise Closed("end")
        self.buffer += data

    def read_until(self, mark):
        while mark not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(mark, 1)
        return head + mark

    def read_exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_end(self):
        """Everything up to the end; 'end', 'reset' or (TLS) 'cut'."""
        try:
            while True:
                self.fill()
        except Closed as closed:
            data, self.buffer = self.buffer, b""
            return data, str(closed)

    def is_closed(self, within=WAIT_S):
        deadline = time.monotonic() + within
        before = len(self.buffer)
        try:
            while len(self.buffer) == before:
                left = deadline - time.monotonic()
                self.socket.settimeout(max(left, 0.001))
                self.fill()
        except Closed:
            return True
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(WAIT_S)
        return False

    def read_chunks(self):
        """The raw chunks of a chunked body, and the trailer section."""
        chunks = []
        while True:
            size_line = self.read_until(b"\r\n")
            size = int(size_line[:-2], 16)
            assert re.fullmatch(rb"[0-9a-f]+\r\n", size_line), size_line
            if size == 0:
                trailer = b""
                while True:
                    line = self.read_until(b"\r\n")
                    if line == b"\r\n":
                        return chunks, trailer
                    trailer += line
            chunks.append(self.read_exactly(size))
            assert self.read_exactly(2) == b"\r\n"

    def close(self):
        self.socket.close()


class Message:
    def __init__(self, head):
        lines = head[:-4].decode("latin-1").split("\r\n")
        self.raw = head
        self.start = lines[0]
        self.fields = [tuple(line.split(":", 1)) for line in lines[1:]]
        self.fields = [(name, value.strip()) for name, value in self.fields]
        self.body = b""

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    @property
    def status(self):
        return int(self.start.split(" ")[1])


def read_message(wire, is_head_answer=False):
    message = Message(wire.read_until(b"\r\n\r\n"))
    is_response = message.start.startswith("HTTP/")
    if is_response and (is_head_answer or message.status in (204, 304) or message.status < 200):
        return message
    if message.get("transfer-encoding"):
        chunks, message.trailer = wire.read_chunks()
        message.body = b"".join(chunks)
    elif message.get("content-length"):
        message.body = wire.read_exactly(int(message.get("content-length")))
    elif is_response:
        message.body, message.end = wire.read_end()
    return message


class Upstream:
    """A server whose every connection runs `script(wire, upstream)` in a thread."""

    def __init__(self, script=None):
        self.script = script or Upstream.hello
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.address = "127.0.0.1:%d" % self.port
        self.connections = 0
        self.seen = queue.Queue()
        self.wires = []
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(connection)
            with self.lock:
                self.connections += 1
                self.wires.append(wire)
            threading.Thread(target=self.run, args=(wire,), daemon=True).start()

    def run(self, wire):
        try:
            self.script(wire, self)
        except (Closed, OSError, AssertionError):
            pass
        finally:
            wire.close()

    def next(self, wire):
        """The next request on this connection, also put on record."""
        request = read_message(wire)
        self.seen.put(request)
        return request

    def got(self, within=WAIT_S):
        return self.seen.get(timeout=within)

    def stop(self):
        self.listener.close()
        for wire in self.wires:
            try:
                wire.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def hello(wire, upstream):
        while True:
            upstream.next(wire)
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def answering(text):
    """A script that answers every request with these bytes and keeps the connection."""

    def script(wire, upstream):
        while True:
            upstream.next(wire)
            wire.send(text)

    return script


def answering_once(text):
    def script(wire, upstream):
        upstream.next(wire)
        wire.send(text)

    return script


class Edge:
    def __init__(self, *upstreams, options=(), settings=None, site=None, edges=1, snapshot=True, access=None,
                 tls=None, hosts=()):
        self.is_over_tls = OVER_TLS and tls is None
        tls = OVER_TLS if tls is None else tls
        self.directory = tempfile.mkdtemp(prefix="slipway-edge-")
        self.port = free_port()
        self.access_path = access or os.path.join(self.directory, "access")
        arguments = [HARNESS, "--listen", "127.0.0.1:%d" % self.port, "--edges", str(edges),
                     "--access", self.access_path]
        if tls:
            self.tls_port = free_port()
            self.ca = os.path.join(self.directory, "ca.pem")
            arguments += ["--listen-tls", "127.0.0.1:%d" % self.tls_port, "--tls-directory", self.directory]
        for host in hosts:
            arguments += ["--host", host]
        for upstream in upstreams:
            arguments += ["--upstream", upstream if isinstance(upstream, str) else upstream.address]
        for name, value in (settings or {}).items():
            arguments += ["--set", "%s=%d" % (name, value)]
        if site:
            arguments += ["--static", site]
        if not snapshot:
            arguments += ["--no-snapshot"]
        self.errors = open(os.path.join(self.directory, "stderr"), "w+")
        self.process = subprocess.Popen(arguments + list(options), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.lines = queue.Queue()
        threading.Thread(target=self.read_lines, daemon=True).start()
        self.upstreams = [u for u in upstreams if isinstance(u, Upstream)]
        self.clients = []
        self.pids = {}
        waiting = edges * (2 if snapshot else 1)
        try:
            while waiting:
                match = self.expect(r"(ready|ack) edge (\d+)(?: pid (\d+))?", 3 * WAIT_S)
                if match.group(1) == "ready":
                    self.pids[int(match.group(2))] = int(match.group(3))
                waiting -= 1
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise

    def read_lines(self):
        for line in self.process.stdout:
            self.lines.put(line.decode().rstrip("\n"))

    def command(self, text):
        self.process.stdin.write((text + "\n").encode())
        self.process.stdin.flush()

    def expect(self, pattern, within=WAIT_S):
        deadline = time.monotonic() + within
        passed = []
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                self.errors.seek(0)
                raise AssertionError("no line like %r; there were %r; stderr: %s" %
                                     (pattern, passed, self.errors.read()))
            match = re.search(pattern, line)
            if match:
                return match
            passed.append(line)

    def expect_none(self, pattern, within=0.3):
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                return
            assert not re.search(pattern, line), line

    def counters(self):
        self.command("counters")
        return self.expect(r"counters edge 1 (.*)").group(1)

    def connect(self, receive_buffer=None):
        return self.connect_tls(receive_buffer=receive_buffer) if self.is_over_tls else self.connect_plain(receive_buffer)

    def tls_context(self, protocols=("http/1.1",), certificate=None, version=None):
        context = ssl.create_default_context(cafile=self.ca)
        context.check_hostname = False
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if certificate:
            context.load_cert_chain(*certificate)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def client_certificate(self):
        """Chain and key of CN=client.test, for clients and for upstreams that speak TLS; by the harness's authority."""
        chain, key, request = (os.path.join(self.directory, "client." + kind) for kind in ("pem", "key", "csr"))
        if not os.path.exists(chain):
            run = lambda *arguments, **more: subprocess.run(["openssl", *arguments], check=True, timeout=WAIT_S,
                                                            capture_output=True, **more)
            run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=client.test", "-keyout", key, "-out", request)
            extensions = os.path.join(self.directory, "client.extensions")
            with open(extensions, "w") as file:
                file.write("subjectAltName=DNS:client.test\nextendedKeyUsage=clientAuth,serverAuth\n")
            run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", os.path.join(self.directory, "ca.key"),
                "-days", "2", "-extfile", extensions, "-out", chain)
        return chain, key

    def connect_tls(self, name="x.test", context=None, receive_buffer=None, session=None, before=b""):
        """A connection over TLS; `before` goes out in the clear first (a PROXY header)."""
        plain = self.open_socket(self.tls_port, receive_buffer)
        if before:
            plain.sendall(before)
        connection = (context or self.tls_context()).wrap_socket(
            plain, server_hostname=name, session=session, suppress_ragged_eofs=False)
        wire = Wire(connection)
        self.clients.append(wire)
        return wire

    def open_socket(self, port, receive_buffer=None, source=None):
        connection = socket.socket()
        if source:
            connection.bind((source, 0))
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(WAIT_S)
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def connect_plain(self, receive_buffer=None):
        wire = Wire(self.open_socket(self.port, receive_buffer))
        self.clients.append(wire)
        return wire

    def ask(self, request, is_head_answer=False):
        """One request on a connection of its own."""
        wire = self.connect()
        wire.send(request)
        answer = read_message(wire, is_head_answer)
        answer.wire = wire
        return answer

    def get(self, path="/", extra=""):
        return self.ask("GET %s HTTP/1.1\r\nHost: x.test\r\n%s\r\n" % (path, extra))

    def records(self):
        """The access records so far, as (label, json) pairs of text."""
        time.sleep(0.3)
        with open(self.access_path, encoding="latin-1") as file:
            return [line.rstrip("\n").split("\x1e", 1) for line in file if line != "\n"]

    def memory_kib(self):
        with open("/proc/%d/status" % self.pids[1]) as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def stop(self):
        for wire in self.clients:
            wire.close()
        for upstream in self.upstreams:
            upstream.stop()
        clean = True
        if self.process.poll() is None:
            try:
                self.command("quit 500")
            except OSError:
                pass
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                clean = False
        self.errors.seek(0)
        text = self.errors.read()
        self.errors.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert "Sanitizer" not in text and "runtime error" not in text and "Assertion" not in text, text
        while not self.lines.empty():
            line = self.lines.get()
            if line.startswith("exited"):
                assert "status 0 signal 0" in line or "signal 9" in line, line + text
        assert clean, "the edge did not quit: " + text

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            try:
                self.stop()
            except AssertionError as error:
                print("# also: %s" % error)
        else:
            self.stop()


# ---- the runner

def run(tests, harness, names):
    """Run the functions, or those with one of the names in theirs, and tell in TAP. The exit status."""
    global HARNESS
    HARNESS = harness
    wanted = [test for test in tests if not names or any(name in test.__name__ for name in names)]
    print("1..%d" % len(wanted))
    failed = 0
    for number, test in enumerate(wanted, 1):
        try:
            test()
            print("ok %d - %s" % (number, test.__name__), flush=True)
        except Exception:
            failed += 1
            print("not ok %d - %s" % (number, test.__name__))
            for line in traceback.format_exc().splitlines():
                print("# " + line, flush=True)
    return 1 if failed else 0
