"""HTTP/2 of the edge: clients that write frames by hand, real ones, upstreams over HTTP/2, gRPC.

usage: test_http2.py HARNESS [PART OF A NAME...]
"""
import base64
import hashlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import h2.config
import h2.connection
import h2.events
import hpack

import edge_world
from edge_world import Closed, Edge, Upstream, answering, free_port, read_message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11
HELLO = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def plain(**settings):
    return dict(settings, accepts_h2c=1)


class Frames:
    """A client that writes frames by hand."""

    def __init__(self, edge, settings=b"", wire=None):
        self.wire = wire or edge.connect()
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.encoder.huffman = False
        self.seen = []
        self.wire.send(PREFACE)
        self.send(SETTINGS, 0, 0, settings)

    def send(self, kind, flags, stream, payload=b""):
        self.wire.send(frame(kind, flags, stream, payload))

    def request(self, stream, *fields, end=True, method="GET", path="/", authority="a.test", scheme="http"):
        self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream,
                  self.encoder.encode([(":method", method), (":scheme", scheme), (":authority", authority),
                                       (":path", path)] + list(fields)))

    def next(self):
        head = self.wire.read_exactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = self.wire.read_exactly(length)
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        fields = self.decoder.decode(payload) if kind == HEADERS else None
        if kind == SETTINGS and not flags & ACK:
            self.send(SETTINGS, ACK, 0)
        return kind, flags, stream, fields if kind == HEADERS else payload

    def until(self, kind, stream=None):
        """The first frame of that kind (of that stream); others are passed over."""
        while True:
            got = self.next()
            if got[0] == kind and (stream is None or got[2] == stream):
                return got

    def answer(self, stream):
        """Fields, body, trailers of an answer; or raises Reset."""
        fields, body, trailers = None, b"", None
        while True:
            kind, flags, at, payload = self.next()
            if at != stream:
                continue
            if kind == RST_STREAM:
                raise Reset(struct.unpack(">I", payload)[0])
            if kind == HEADERS and fields is None and dict(payload)[":status"][0] != "1":
                fields = dict(payload)
            elif kind == HEADERS and fields is not None:
                trailers = dict(payload)
            if kind == DATA:
                body += payload
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return fields, body, trailers

    def code_of_end(self):
        """The error code of the GOAWAY before the connection ends; None: it just ended."""
        code = None
        try:
            while True:
                kind, _, _, payload = self.next()
                if kind == GOAWAY:
                    code = struct.unpack(">I", payload[4:8])[0]
        except (Closed, TimeoutError, OSError):
            return code


class Reset(Exception):
    pass


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def window(stream, size):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def curl(edge, *arguments):
    run = subprocess.run(["curl", "-sS", "-m", "10", "--http2-prior-knowledge", *arguments], capture_output=True)
    assert run.returncode == 0, (run.returncode, run.stderr)
    return run.stdout


# ---- requests and answers

def a_request_over_http2_reaches_an_http1_upstream_as_one():
    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1, ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"), path="/x/../y?q=1")
        fields, body, _ = client.answer(1)
        assert fields[":status"] == "200" and body == b"hello" and "connection" not in fields, fields
        seen = edge.upstreams[0].got()
        assert seen.start == "GET /y?q=1 HTTP/1.1", seen.start
        assert seen.get("host") == "a.test" and seen.get("cookie") == "a=1; b=2"
        assert seen.get("via") == "2.0 slipway" and seen.get("te") is None
        record = edge.records()[0][1]
        assert '"protocol":"HTTP/2.0"' in record, record


def bodies_of_all_kinds_reach_the_upstream_whole():
    def script(wire, upstream):
        while True:
            message = upstream.next(wire)
            body = message.body
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    body = os.urandom(300000)
    with Edge(Upstream(script), settings=plain()) as edge, tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        url = "http://127.0.0.1:%d/" % edge.port
        for arguments in (("--data-binary", "@" + file.name), ("-T", file.name),
                          ("--data-binary", "@" + file.name, "-H", "Content-Length:")):
            assert curl(edge, *arguments, url) == body, arguments
        assert curl(edge, "-d", "", url) == b""


def static_files_are_served_in_frames():
    folder = tempfile.mkdtemp()
    try:
        with open(os.path.join(folder, "index.html"), "w") as file:
            file.write("<p>home</p>")
        with open(os.path.join(folder, "big.bin"), "wb") as file:
            file.write(bytes(range(256)) * 8000)
        with Edge(site=folder, settings=plain()) as edge:
            url = "http://127.0.0.1:%d" % edge.port
            assert curl(edge, url + "/") == b"<p>home</p>"
            assert curl(edge, url + "/big.bin") == bytes(range(256)) * 8000
            assert curl(edge, "-r", "5-9", url + "/big.bin") == bytes(range(5, 10))
            assert b"HTTP/2 404" in curl(edge, "-i", url + "/none.txt")
            assert b"content-length: 2048000" in curl(edge, "-I", url + "/big.bin")
    finally:
        shutil.rmtree(folder)


def errors_of_ours_are_answers_on_the_stream_and_the_connection_goes_on():
    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1, path="/%zz")
        assert client.answer(1)[0][":status"] == "400"
        client.request(3, method="CONNECT", path="/", authority="a.test:443")
        try:
            client.answer(3)
            raise AssertionError("a CONNECT with a path is malformed")
        except Reset as reset:
            assert reset.args[0] == PROTOCOL_ERROR
        client.request(5)
        assert client.answer(5)[1] == b"hello"


def refuse_early(wire, upstream):
    wire.read_until(b"\r\n\r\n")
    wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    try:
        while True:
            wire.fill()
    except Closed:
        pass


def an_early_answer_leaves_the_upload_some_time():
    """Clients that read an answer together with a reset lose it: the rest is read and dropped, then the stream is reset."""
    with Edge(Upstream(refuse_early), settings=plain()) as edge:
        client = Frames(edge)
        for stream in (1, 3):
            client.request(stream, end=False, method="POST")
            client.send(DATA, 0, stream, b"x" * 1000)
            fields, body, _ = client.answer(stream)
            assert fields[":status"] == "403" and body == b"no"
        answered = time.monotonic()
        for _ in range(10):  # more than the window was: it opens though nobody wants the bytes
            for _ in range(2):
                client.send(DATA, 0, 1, b"x" * 16384)
            client.until(WINDOW_UPDATE, 1)
        client.send(DATA, END_STREAM, 1, b"x")
        client.request(5, method="GET")
        client.answer(5)
        assert struct.unpack(">I", client.until(RST_STREAM, 3)[3])[0] == NO_ERROR
        assert 2 < time.monotonic() - answered < 8


def curl_gets_an_early_answer_to_its_upload():
    with Edge(Upstream(refuse_early), tls=True, hosts=["x.test"]) as edge, tempfile.NamedTemporaryFile() as file:
        file.truncate(3 << 20)
        for _ in range(5):
            done = subprocess.run(["curl", "-sS", "--http2", "--cacert", edge.ca, "--resolve", f"x.test:{edge.tls_port}:127.0.0.1",
                                   "-m", "10", "-w", " %{http_code} %{http_version}", "-T", file.name,
                                   f"https://x.test:{edge.tls_port}/"], capture_output=True, text=True, timeout=20)
            assert done.stdout == "no 403 2", (done.stdout, done.stderr)


def a_length_that_is_not_kept_makes_no_whole_request_upstream():
    """The last byte waits for the end of the stream, however long that takes to come."""
    def script(wire, upstream):
        head, _, body = wire.read_end()[0].partition(b"\r\n\r\n")
        upstream.seen.put((head.split(b" ")[1].decode(), body))

    upper_case = hpack.Encoder().encode([("X-T", "a")], huffman=False)
    cases = {"/%d/%s/%d" % (length, kind, late): (length, kind, late)
             for length in (0, 1, 3, 40000) for kind in ("data", "trailers", "reset") for late in (0, 1)}
    with Edge(Upstream(script), settings=plain()) as edge:
        for path, (length, kind, late) in cases.items():
            client = Frames(edge)
            client.request(1, ("content-length", str(length)), end=False, method="POST", path=path)
            for at in range(0, length, 16000):
                client.send(DATA, 0, 1, b"x" * min(length - at, 16000))
            time.sleep(0.1 * late)
            if kind == "data":
                client.send(DATA, END_STREAM, 1, b"GET /b HTTP/1.1\r\nHost: b\r\n\r\n")
            elif kind == "trailers":
                client.send(HEADERS, END_HEADERS | END_STREAM, 1, upper_case)
            else:
                client.send(RST_STREAM, 0, 1, struct.pack(">I", CANCEL))
            if kind != "reset":
                try:
                    raise AssertionError((path, client.answer(1)))
                except Reset as reset:
                    assert reset.args[0] == PROTOCOL_ERROR, (path, reset)
            client.wire.close()
        missing = {path for path, (_, _, late) in cases.items() if late}
        while missing or not edge.upstreams[0].seen.empty():
            path, body = edge.upstreams[0].got()
            missing.discard(path)
            length = cases[path][0]
            assert body == b"x" * len(body) and len(body) < max(length, 1), (path, body)


def an_end_that_comes_after_the_length_is_one():
    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        client = Frames(edge)
        for number, length in enumerate((0, 1, 3, 16384, 40000)):
            stream = 1 + 2 * number
            client.request(stream, ("content-length", str(length)), end=False, method="POST")
            for at in range(0, length, 16000):
                client.send(DATA, 0, stream, b"x" * min(length - at, 16000))
            time.sleep(0.1)
            assert edge.upstreams[0].seen.empty()
            client.send(DATA, END_STREAM, stream)
            assert client.answer(stream)[1] == b"hello"
            request = edge.upstreams[0].got()
            assert request.body == b"x" * length
            assert request.get("content-length") == (str(length) if length else None)
        assert edge.upstreams[0].connections == 1


def an_upstream_that_went_does_not_wait_for_the_last_byte():
    """It answers and closes while that is held back; the end comes later, and ends nothing but the stream."""
    def script(wire, upstream):
        wire.read_until(b"\r\n\r\nx")
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe")
        time.sleep(0.3)
        wire.send("llo")

    with Edge(Upstream(script), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1, ("content-length", "3"), end=False, method="POST")
        client.send(DATA, 0, 1, b"xxx")
        time.sleep(0.1)
        client.send(DATA, END_STREAM, 1)
        fields, body, _ = client.answer(1)
        assert fields[":status"] == "200" and body == b"hello"


def a_truncated_answer_is_a_reset_and_never_an_end():
    def script(wire, upstream):
        upstream.next(wire)
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    with Edge(Upstream(script), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1)
        try:
            raise AssertionError(client.answer(1))
        except Reset as reset:
            assert reset.args[0] == INTERNAL_ERROR


def a_client_that_resets_cancels_the_upstreams_work():
    gone = threading.Event()

    def script(wire, upstream):
        upstream.next(wire)
        try:
            wire.fill()
        except Closed:
            gone.set()

    with Edge(Upstream(script), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1)
        edge.upstreams[0].got()
        client.send(RST_STREAM, 0, 1, struct.pack(">I", CANCEL))
        assert gone.wait(5)


def trailers_of_a_chunked_answer_are_passed_on_and_filtered():
    answer = ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
              "X-Sum: 9\r\nContent-Length: 3\r\nSet-Cookie: a=b\r\n\r\n")
    with Edge(Upstream(answering(answer)), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1)
        _, body, trailers = client.answer(1)
        assert body == b"hello" and trailers == {"x-sum": "9"}, trailers
        wire = edge.connect()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").endswith(b"0\r\nX-Sum: 9\r\n\r\n")
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.read_until(b"\r\n\r\n")
        assert wire.read_until(b"\r\n\r\n").endswith(b"0\r\n\r\n")


def interim_answers_are_relayed():
    answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO
    with Edge(Upstream(answering(answer)), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1)
        assert dict(client.until(HEADERS, 1)[3])[":status"] == "103"
        assert client.answer(1)[1] == b"hello"


def over_tls(edge, name):
    context = edge.tls_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    wire = edge.connect_tls(name, context=context)
    assert wire.socket.selected_alpn_protocol() == "h2"
    return Frames(edge, wire=wire)


def streams_over_tls_have_its_rules():
    with Edge(Upstream(answering(HELLO)), tls=True, hosts=["a.test,hsts=max-age=9", "b.test"]) as edge:
        client = over_tls(edge, "a.test")
        client.request(1, scheme="https")
        fields, body, _ = client.answer(1)
        assert body == b"hello" and fields["strict-transport-security"] == "max-age=9", fields
        client.request(3, scheme="https", authority="b.test")
        assert client.answer(3)[0][":status"] == "421"
        client.request(5, scheme="https")
        assert client.answer(5)[1] == b"hello"
        seen = edge.upstreams[0].got()
        assert seen.get("x-forwarded-proto") == "https"


# ---- streams beside each other

def a_stream_that_takes_nothing_does_not_stall_its_neighbours():
    body = b"x" * 300000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + body
    with Edge(Upstream(answering(answer)), settings=plain()) as edge:
        client = Frames(edge)
        client.wire.send(window(0, 10000000))
        for stream in range(1, 21, 2):  # these stop at their windows
            client.request(stream)
        client.request(21)
        client.wire.send(window(21, 1000000))
        assert client.answer(21)[1] == body
        for stream in range(1, 21, 2):
            client.wire.send(window(stream, 1000000))


def a_stalled_upload_does_not_stall_its_neighbours():
    def script(wire, upstream):
        head = wire.read_until(b"\r\n\r\n")
        if b"/stall" in head:
            time.sleep(4)
        else:
            wire.send(HELLO)

    with Edge(Upstream(script), settings=plain()) as edge:
        client = Frames(edge)
        for stream in range(1, 9, 2):
            client.request(stream, end=False, method="POST", path="/stall")
            for _ in range(3):
                client.send(DATA, 0, stream, b"x" * 16384)
        client.request(9)
        started = time.monotonic()
        assert client.answer(9)[1] == b"hello" and time.monotonic() - started < 3


def windows_grow_for_a_fast_upload():
    size = 8 << 20

    def script(wire, upstream):
        wire.read_until(b"\r\n\r\n")
        left = size - len(wire.buffer)
        while left > 0:
            left -= len(wire.socket.recv(1 << 20))
        wire.send(HELLO)

    with Edge(Upstream(script), settings=plain()) as edge:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        wire = edge.connect()
        connection.initiate_connection()
        connection.send_headers(1, [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/"),
                                    ("content-length", str(size))])
        left, widest = size, 0
        while left:
            widest = max(widest, connection.local_flow_control_window(1))
            room = min(connection.local_flow_control_window(1), left)
            while room:
                part = min(room, connection.max_outbound_frame_size)
                connection.send_data(1, b"x" * part)
                room, left = room - part, left - part
            wire.send(connection.data_to_send())
            if left:
                connection.receive_data(wire.socket.recv(65536))
        assert widest > 500000, widest


def many_streams_at_once_are_all_answered():
    with Edge(Upstream(answering(HELLO)), Upstream(answering(HELLO)), settings=plain()) as edge:
        client = Frames(edge)
        for stream in range(1, 201, 2):
            client.request(stream)
        done, bodies = set(), {}
        while len(done) < 100:
            kind, flags, stream, payload = client.next()
            if kind == DATA:
                bodies[stream] = bodies.get(stream, b"") + payload
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                done.add(stream)
        assert all(body == b"hello" for body in bodies.values()) and len(bodies) == 100


# ---- floods: each ends with the connection, and costs the edge no memory

def flooded(edge, make, code=ENHANCE_YOUR_CALM, settings=b""):
    before = edge.memory_kib()
    client = Frames(edge, settings=settings)
    client.wire.socket.settimeout(5)
    try:
        for part in make(client):
            client.wire.send(part)
    except OSError:
        pass
    try:
        ended = client.code_of_end()
    finally:
        client.wire.close()
    assert ended in (code, None), ended
    grown = edge.memory_kib() - before
    assert grown < 30000, grown
    assert edge.get().status == 200


def control_frames_in_a_flood():
    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        for one in (frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0),
                    frame(PRIORITY, 0, 1, b"\0\0\0\0\1")):
            flooded(edge, lambda client: [one * 5000] * 200)
        flooded(edge, lambda client: [window(0, 1) * 5000] * 200)


def empty_data_in_a_flood():
    def make(client):
        client.request(1, end=False, method="POST")
        return [frame(DATA, 0, 1) * 5000] * 100

    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        flooded(edge, make)


def rapid_resets_are_ended_and_reach_no_upstream_in_numbers():
    def make(client):
        for stream in range(1, 40001, 2):
            client.request(stream)
            yield frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))

    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        flooded(edge, make)
        assert edge.upstreams[0].seen.qsize() < 400


def resets_that_are_provoked_are_ended_too():
    def make(client):
        for stream in range(1, 40001, 2):
            client.request(stream, end=False, method="POST")
            yield window(stream, 0x7FFFFFFF)

    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        flooded(edge, make)


def continuations_without_end():
    def make(client):
        yield frame(HEADERS, 0, 1, client.encoder.encode([(":method", "GET")]))
        for _ in range(100000):
            yield frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 10)

    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        flooded(edge, make, code=PROTOCOL_ERROR)


def a_header_bomb_is_bounded_by_what_it_expands_to():
    def make(client):
        block = b"\x40\x01a\x7f\x81\x1e" + b"v" * 4000 + b"\xbe" * 12000
        yield frame(HEADERS, END_HEADERS | END_STREAM, 1, block)

    with Edge(Upstream(answering(HELLO)), settings=plain()) as edge:
        flooded(edge, make)


def streams_with_zero_windows_end_with_the_send_timeout():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000000
    with Edge(Upstream(answering(answer)), settings=plain(send_timeout_ms=700)) as edge:
        client = Frames(edge, settings=struct.pack(">HI", 4, 0))
        before = edge.memory_kib()
        for stream in range(1, 201, 2):
            client.request(stream)
        resets = 0
        while resets < 100:
            kind, _, _, payload = client.next()
            resets += kind == RST_STREAM
        assert edge.memory_kib() - before < 40000
        client.request(201)
        client.until(HEADERS, 201)


def a_client_that_takes_single_bytes_has_a_deadline():
    """Of a file, and of what an instance says."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000
    with tempfile.TemporaryDirectory() as site:
        os.chmod(site, 0o755)
        with open(os.path.join(site, "file"), "wb") as file:
            file.write(b"x" * 100000)
        for upstreams, options in (((), {"site": site}), ((Upstream(answering(answer)),), {})):
            with Edge(*upstreams, settings=plain(send_timeout_ms=700), **options) as edge:
                client = Frames(edge, settings=struct.pack(">HI", 4, 1))
                client.request(1, path="/file")
                begun = time.monotonic()
                while client.next()[0] != RST_STREAM:
                    assert time.monotonic() - begun < 4
                    client.wire.send(window(1, 1))
                    time.sleep(0.1)


def an_incomplete_header_block_has_a_deadline():
    with Edge(Upstream(answering(HELLO)), settings=plain(header_timeout_ms=500)) as edge:
        client = Frames(edge)
        client.until(SETTINGS)  # and its acknowledgement is out: none may stand within a block
        client.send(HEADERS, 0, 1, client.encoder.encode([(":method", "GET")]))
        code = client.code_of_end()
        assert code == ENHANCE_YOUR_CALM, code


def an_idle_connection_is_closed_with_a_goaway():
    with Edge(Upstream(answering(HELLO)), settings=plain(keepalive_timeout_ms=300)) as edge:
        client = Frames(edge)
        client.request(1)
        client.answer(1)
        assert client.code_of_end() == NO_ERROR


def a_connection_that_was_served_outlives_silent_ones():
    with Edge(Upstream(answering(HELLO)), settings=plain(connection_limit=40)) as edge:
        client = Frames(edge)
        client.request(1)
        client.answer(1)
        time.sleep(0.1)  # it is the one that has been idle the longest
        silent = [edge.open_socket(edge.port) for _ in range(80)]
        time.sleep(0.3)
        client.request(3)
        assert client.answer(3)[0][":status"] == "200"
        for one in silent:
            one.close()


def a_header_block_that_is_refused_starts_no_clock():
    def script(wire, upstream):
        upstream.next(wire)
        time.sleep(1.5)
        wire.send(HELLO)

    for wrong in (("host", "b.test"), ("x-y", "a\rb")):
        with Edge(Upstream(script), settings=plain(header_timeout_ms=400)) as edge:
            client = Frames(edge)
            client.request(1)
            client.request(3, wrong)
            assert struct.unpack(">I", client.until(RST_STREAM, 3)[3])[0] == PROTOCOL_ERROR
            assert client.answer(1)[1] == b"hello", wrong


# ---- the end

def a_drain_says_goaway_twice_and_finishes_what_runs():
    release = threading.Event()

    def script(wire, upstream):
        upstream.next(wire)
        release.wait(5)
        wire.send(HELLO)

    with Edge(Upstream(script), settings=plain()) as edge:
        client = Frames(edge)
        client.request(1)
        edge.upstreams[0].got()
        edge.command("quit 5000")
        first = {}
        while PING not in first or GOAWAY not in first:
            kind, _, _, payload = client.next()
            first.setdefault(kind, payload)
        assert first[GOAWAY][:4] == b"\x7f\xff\xff\xff"
        client.send(PING, ACK, 0, first[PING])
        assert client.until(GOAWAY)[3][:4] == b"\0\0\0\1"
        release.set()
        assert client.answer(1)[1] == b"hello"
        assert client.code_of_end() is None


def an_edge_that_ends_with_streams_under_way_ends_clean():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with Edge("127.0.0.1:%d" % silent.getsockname()[1], settings=plain()) as edge:
            client = Frames(edge)
            for stream in (1, 3, 5):
                client.request(stream)
            edge.command("quit 200")
            edge.expect(r"exited edge 1 status 0 signal 0")


def an_edge_ends_clean_before_an_upstream_has_ended_its_stream():
    def script(connection, event, number):
        connection.send_headers(event.stream_id, [(":status", "200"), ("content-length", "5")])
        connection.send_data(event.stream_id, b"hello")

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2()) as edge:
        assert edge.get().body == b"hello"
        edge.command("quit 200")
        edge.expect(r"exited edge 1 status 0 signal 0")
    upstream.stop()


def a_cut_connection_takes_hundreds_of_streams_with_it():
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        with Edge("127.0.0.1:%d" % silent.getsockname()[1], settings=plain(http2_streams=600)) as edge:
            client = Frames(edge)
            for stream in range(1, 1201, 2):
                client.request(stream)
            time.sleep(0.5)
            client.wire.close()
            deadline = time.monotonic() + 5
            while "connections 0" not in edge.counters() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "connections 0" in edge.counters()


# ---- WebSockets

class WebSocketUpstream(Upstream):
    """Echoes bytes in upper case after a proper handshake."""

    def __init__(self, is_wrong=False):
        self.is_wrong = is_wrong
        super().__init__(self.handshake)

    def handshake(self, wire, upstream):
        head = wire.read_until(b"\r\n\r\n").decode()
        if "sec-websocket-key:" not in head.lower():
            wire.send(HELLO)
            return
        self.head = head
        key = [line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:")][0]
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        accept = "wrong" if self.is_wrong else base64.b64encode(digest).decode()
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst" % accept)
        try:
            while True:
                if not wire.buffer:
                    wire.fill()
                data, wire.buffer = wire.buffer, b""
                wire.send(data.upper())
        except Closed:
            wire.send(b"BYE")


def extended_connect(client, stream):
    client.send(HEADERS, END_HEADERS, stream, client.encoder.encode(
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a.test"),
         (":path", "/chat"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")]))


def a_websocket_over_http2_is_a_tunnel():
    upstream = WebSocketUpstream()
    with Edge(upstream, settings=plain()) as edge:
        client = Frames(edge)
        settings = client.until(SETTINGS)[3]
        assert struct.pack(">HI", 8, 1) in settings
        extended_connect(client, 1)
        fields = dict(client.until(HEADERS, 1)[3])
        assert fields[":status"] == "200" and fields["sec-websocket-protocol"] == "chat"
        assert "sec-websocket-accept" not in fields and "upgrade" not in fields, fields
        assert "upgrade: websocket" in upstream.head.lower() and upstream.head.startswith("GET /chat HTTP/1.1")
        got = b""
        while got != b"first":
            got += client.until(DATA, 1)[3]
        client.send(DATA, 0, 1, b"abc")
        assert client.until(DATA, 1)[3] == b"ABC"
        client.request(3)  # the connection has other streams
        client.send(DATA, END_STREAM, 1, b"z")
        got, flags = b"", 0
        while not flags & END_STREAM:
            _, flags, _, data = client.until(DATA, 1)
            got += data
        assert got == b"ZBYE", got


def a_wrong_accept_value_is_a_bad_gateway():
    with Edge(WebSocketUpstream(is_wrong=True), settings=plain()) as edge:
        client = Frames(edge)
        extended_connect(client, 1)
        assert client.answer(1)[0][":status"] == "502"


# ---- HTTP/2 to upstreams

class H2Upstream:
    """An upstream that speaks HTTP/2 with prior knowledge. script(connection, event, number) answers a request."""

    def __init__(self, script, streams=100):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.script, self.streams, self.connections, self.requests = script, streams, 0, []
        self.resets, self.is_stopped = [], False
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(wire)
            threading.Thread(target=self.serve, args=(wire,), daemon=True).start()

    def serve(self, wire):
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=True))
        connection.initiate_connection()
        connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.streams})
        wire.sendall(connection.data_to_send())
        try:
            while True:
                data = wire.recv(65536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.requests.append(dict(event.headers))
                        self.script(connection, event, len(self.requests))
                    if isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if isinstance(event, h2.events.StreamReset):
                        self.resets.append(event.error_code)
                wire.sendall(connection.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            wire.close()

    def stop(self):
        self.listener.close()
        for wire in self.sockets:
            wire.close()


def hello2(connection, event, number):
    connection.send_headers(event.stream_id, [(":status", "200"), ("x-number", str(number))])
    connection.send_data(event.stream_id, b"hello", end_stream=True)


def over_http2(**settings):
    return plain(upstream_protocol=1, **settings)


def an_answer_that_is_no_tunnel_opens_none():
    """2xx opens what an extended CONNECT asks for: an instance that says 200, and a site, do not mean that."""
    with tempfile.TemporaryDirectory() as site:
        os.chmod(site, 0o755)
        for upstreams, options, status in (((Upstream(answering(HELLO)),), {}, "502"), ((), {"site": site}, "501")):
            with Edge(*upstreams, settings=plain(), **options) as edge:
                client = Frames(edge)
                extended_connect(client, 1)
                assert client.answer(1)[0][":status"] == status


def requests_share_a_connection_to_an_http2_upstream():
    upstream = H2Upstream(hello2)
    with Edge(upstream.address, settings=over_http2()) as edge:
        for _ in range(5):
            answer = edge.get()
            assert answer.status == 200 and answer.body == b"hello"
        client = Frames(edge)
        for stream in range(1, 41, 2):
            client.request(stream, ("te", "trailers"))
        done = 0
        while done < 20:
            kind, flags, _, _ = client.next()
            done += kind == DATA and flags & END_STREAM
        assert upstream.connections == 1 and len(upstream.requests) == 25
        assert upstream.requests[0][":scheme"] == "http" and "connection" not in upstream.requests[0]
        assert "te" not in upstream.requests[0] and upstream.requests[-1]["te"] == "trailers"
    upstream.stop()


def a_refused_stream_is_sent_again_whatever_its_method():
    def script(connection, event, number):
        if number == 1:
            connection.reset_stream(event.stream_id, REFUSED_STREAM)
        else:
            hello2(connection, event, number)

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2()) as edge:
        client = Frames(edge)
        client.request(1, ("content-length", "3"), end=False, method="POST")
        client.send(DATA, END_STREAM, 1, b"abc")
        fields, body, _ = client.answer(1)
        assert fields[":status"] == "200" and fields["x-number"] == "2" and body == b"hello", fields
    upstream.stop()


def a_goaway_sends_what_was_not_looked_at_elsewhere():
    def script(connection, event, number):
        if number == 1:
            connection.close_connection(last_stream_id=0)
        else:
            hello2(connection, event, number)

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2()) as edge:
        answer = edge.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert answer.status == 200, answer.status
        assert upstream.connections == 2
    upstream.stop()


def a_reset_in_the_middle_of_an_answer_is_no_end():
    def script(connection, event, number):
        connection.send_headers(event.stream_id, [(":status", "200")])
        connection.send_data(event.stream_id, b"part")
        connection.reset_stream(event.stream_id, CANCEL)

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2()) as edge:
        wire = edge.connect()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        data, _ = wire.read_end()
        assert data.endswith(b"4\r\npart\r\n"), data
        client = Frames(edge)
        client.request(1)
        try:
            raise AssertionError(client.answer(1))
        except Reset:
            pass
    upstream.stop()


def the_upstreams_limit_on_streams_is_kept():
    held = []

    def script(connection, event, number):
        held.append((connection, event.stream_id))

    upstream = H2Upstream(script, streams=2)
    with Edge(upstream.address, settings=over_http2()) as edge:
        first = Frames(edge)
        deadline = time.monotonic() + 10
        for number in range(1, 7):  # one after the other: each connection's settings are known by then
            first.request(2 * number - 1)
            while len(upstream.requests) < number and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
        assert len(upstream.requests) == 6 and upstream.connections == 3, upstream.connections
    upstream.stop()


def a_client_that_leaves_cancels_the_stream_of_its_request():
    upstream = H2Upstream(lambda connection, event, number: None)
    with Edge(upstream.address, settings=over_http2()) as edge:
        wire = edge.connect()
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        deadline = time.monotonic() + 5
        while not upstream.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        client = Frames(edge)
        client.request(1)
        while len(upstream.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        client.send(RST_STREAM, 0, 1, struct.pack(">I", CANCEL))
        while not upstream.resets and time.monotonic() < deadline:
            time.sleep(0.01)
        assert upstream.resets == [CANCEL], upstream.resets
    upstream.stop()


def an_answer_may_take_longer_than_connecting():
    def script(connection, event, number):
        time.sleep(1)
        hello2(connection, event, number)

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2(connect_timeout_ms=300)) as edge:
        assert edge.get().status == 200
    upstream.stop()


def trailers_go_on_whole_or_not_at_all():
    def script(connection, event, number):
        count, len_each = ((120, 10), (80, 300))[number - 1]
        connection.send_headers(event.stream_id, [(":status", "200")])
        connection.send_data(event.stream_id, b"hello")
        connection.send_headers(event.stream_id, [("x-%d" % i, "v" * len_each) for i in range(count)], end_stream=True)

    upstream = H2Upstream(script)
    with Edge(upstream.address, settings=over_http2()) as edge:
        client = Frames(edge)
        client.request(1)
        _, body, trailers = client.answer(1)
        assert body == b"hello" and len(trailers) == 120, len(trailers)
        client.request(3)  # 24 KiB of them
        _, body, trailers = client.answer(3)
        assert body == b"hello" and not trailers, len(trailers)
    upstream.stop()


def another_instance_is_asked_when_one_takes_no_more_streams():
    held = H2Upstream(lambda connection, event, number: None, streams=1)
    held2 = H2Upstream(lambda connection, event, number: None)
    with Edge(held.address, held2.address, settings=over_http2()) as edge:
        client = Frames(edge)
        for number in range(1, 31):
            client.request(2 * number - 1)
            deadline = time.monotonic() + 5
            while len(held.requests) + len(held2.requests) < number and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.02)
        assert (len(held.requests), len(held2.requests)) == (8, 22), (len(held.requests), len(held2.requests))
    held.stop()
    held2.stop()


class SecureH2Upstream(H2Upstream):
    def __init__(self, script, protocols=("h2",)):
        self.context, self.protocols = None, list(protocols)
        super().__init__(script)

    def certify(self, edge):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*edge.client_certificate())
        self.context.set_alpn_protocols(self.protocols)

    def serve(self, wire):
        try:
            super().serve(self.context.wrap_socket(wire, server_side=True))
        except OSError:
            pass


def http2_to_upstreams_goes_over_tls_too():
    upstream = SecureH2Upstream(hello2)
    with Edge(upstream.address, settings=over_http2(), tls=True, options=["--upstream-tls", "client.test"]) as edge:
        upstream.certify(edge)
        for _ in range(3):
            client = Frames(edge)
            client.request(1)
            assert client.answer(1)[1] == b"hello"
        assert upstream.connections == 1 and upstream.requests[0][":scheme"] == "https"
    upstream.stop()
    upstream = SecureH2Upstream(hello2, protocols=("http/1.1",))
    with Edge(upstream.address, settings=over_http2(), tls=True, options=["--upstream-tls", "client.test"]) as edge:
        upstream.certify(edge)
        client = Frames(edge)
        client.request(1)
        fields, body, _ = client.answer(1)
        assert fields[":status"] == "502" and b"upstream" in body, (fields, body)
        assert not upstream.requests
    upstream.stop()


def a_connection_that_does_not_come_up_is_left_for_another():
    class Upstream(SecureH2Upstream):
        def serve(self, wire):
            if self.connections > 1:  # the first one hears nothing
                super().serve(wire)

    upstream = Upstream(hello2)
    with Edge(upstream.address, settings=over_http2(connect_timeout_ms=600), tls=True,
              options=["--upstream-tls", "client.test"]) as edge:
        upstream.certify(edge)
        deadline = time.monotonic() + 12
        while edge.get().status == 504 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert edge.get().status == 200 and upstream.connections == 2
    upstream.stop()


# ---- WebSockets to instances over HTTP/2 (RFC 8441), a server of Node's

NODE_SERVER = """
const server = require("http2").createServer({settings: {enableConnectProtocol: process.argv[1] === "yes"}});
server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  if (headers[":method"] !== "CONNECT") return stream.respond({":status": 200}), stream.end("hello");
  if (headers[":path"] === "/no") return stream.respond({":status": 403}), stream.end("no");
  stream.respond({":status": 200, "sec-websocket-protocol": headers["sec-websocket-protocol"],
                  "x-seen": [headers[":protocol"], headers[":path"], headers[":authority"], headers["upgrade"],
                             headers["sec-websocket-key"], headers["sec-websocket-version"]].join()});
  stream.write("first");
  stream.on("data", data => stream.write(data.toString().toUpperCase()));
  stream.on("end", () => stream.end("BYE"));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
X_SEEN = "websocket,/chat,a.test,,,13"


class NodeUpstream:
    def __init__(self, takes_websockets=True):
        self.process = subprocess.Popen(["node", "-e", NODE_SERVER, "yes" if takes_websockets else "no"],
                                        stdout=subprocess.PIPE)
        self.address = "127.0.0.1:%d" % int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def websocket_request(path="/chat"):
    return ("GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: chat\r\n\r\n" % path)


def a_websocket_of_http1_goes_to_an_instance_over_http2():
    with NodeUpstream() as upstream, Edge(upstream.address, settings=over_http2()) as edge:
        for _ in range(2):  # the first one waits for the instance's SETTINGS
            wire = edge.connect()
            wire.send(websocket_request())
            answer = read_message(wire)
            assert answer.status == 101 and answer.get("upgrade") == "websocket", answer.raw
            assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer.raw
            assert answer.get("sec-websocket-protocol") == "chat" and answer.get("x-seen") == X_SEEN, answer.raw
            assert wire.read_exactly(5) == b"first"
            wire.send("abc")
            assert wire.read_exactly(3) == b"ABC"
            assert edge.get().body == b"hello"  # beside it
            wire.send("z")
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.read_end() == (b"ZBYE", "end")
        assert '"status":101' in edge.records()[1][1]
        answer = edge.ask(websocket_request("/no"))
        assert answer.status == 403 and answer.body == b"no"


def a_websocket_of_http2_goes_to_an_instance_over_http2():
    with NodeUpstream() as upstream, Edge(upstream.address, settings=over_http2()) as edge:
        client = Frames(edge)
        for stream in (1, 3):
            extended_connect(client, stream)
            fields = dict(client.until(HEADERS, stream)[3])
            assert fields[":status"] == "200" and fields["sec-websocket-protocol"] == "chat", fields
            assert fields["x-seen"] == X_SEEN and "sec-websocket-accept" not in fields, fields
            got = b""
            while got != b"first":
                got += client.until(DATA, stream)[3]
            client.send(DATA, 0, stream, b"abc")
            assert client.until(DATA, stream)[3] == b"ABC"
            client.send(DATA, END_STREAM, stream, b"z")
            got, flags = b"", 0
            while not flags & END_STREAM:
                _, flags, _, data = client.until(DATA, stream)
                got += data
            assert got == b"ZBYE", got
        extended_connect(client, 5)
        client.until(HEADERS, 5)
        client.send(RST_STREAM, 0, 5, struct.pack(">I", CANCEL))
        client.request(7)
        assert client.answer(7)[1] == b"hello"


def a_tunnel_of_an_instance_that_dies_is_cut():
    with NodeUpstream() as upstream, Edge(upstream.address, settings=over_http2()) as edge:
        wire = edge.connect()
        wire.send(websocket_request())
        assert read_message(wire).status == 101
        upstream.process.kill()
        wire.read_end()


def an_instance_that_takes_no_websockets_over_http2_gets_none():
    with NodeUpstream(takes_websockets=False) as upstream, Edge(upstream.address, settings=over_http2()) as edge:
        assert edge.ask(websocket_request()).status == 501
        client = Frames(edge)
        extended_connect(client, 1)
        assert client.answer(1)[0][":status"] == "501"
        answer = edge.ask(websocket_request().replace("Upgrade: websocket", "Upgrade: other"))
        assert answer.status == 501
        assert edge.get().body == b"hello"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it never says what it takes
        with Edge("127.0.0.1:%d" % silent.getsockname()[1], settings=over_http2(connect_timeout_ms=300)) as edge:
            assert edge.ask(websocket_request()).status == 504


# ---- gRPC, client and server of its own makers

class Grpc:
    """A server with one method of each kind, an edge before it, a client over TLS."""

    def __init__(self):
        import grpc
        self.grpc, self.cancelled = grpc, threading.Event()
        sizes = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        same = lambda data: data
        outer = self

        def unary(request, context):
            context.set_trailing_metadata((("x-trailer", "t"),))
            return request[::-1]

        def failing(request, context):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

        def slow(request, context):
            context.add_callback(outer.cancelled.set)
            outer.cancelled.wait(5)
            return b""

        handlers = {
            "/t/unary": grpc.unary_unary_rpc_method_handler(unary, same, same),
            "/t/out": grpc.unary_stream_rpc_method_handler(
                lambda request, context: (request + b"%d" % i for i in range(100)), same, same),
            "/t/in": grpc.stream_unary_rpc_method_handler(lambda parts, context: b"".join(parts), same, same),
            "/t/both": grpc.stream_stream_rpc_method_handler(
                lambda parts, context: (part.upper() for part in parts), same, same),
            "/t/failing": grpc.unary_unary_rpc_method_handler(failing, same, same),
            "/t/slow": grpc.unary_unary_rpc_method_handler(slow, same, same),
        }

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                return handlers.get(details.method)

        self.server = grpc.server(futures.ThreadPoolExecutor(8), options=sizes)
        self.server.add_generic_rpc_handlers((Handler(),))
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.edge = Edge("127.0.0.1:%d" % port, settings={"upstream_protocol": 1}, tls=True)
        with open(self.edge.ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        self.channel = grpc.secure_channel("127.0.0.1:%d" % self.edge.tls_port, credentials, options=sizes + [
            ("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_http_proxy", 0)])

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.channel.close()
        self.server.stop(0)
        self.edge.stop()


def grpc_of_all_kinds_works_end_to_end():
    with Grpc() as world:
        channel, grpc = world.channel, world.grpc
        answer, call = channel.unary_unary("/t/unary").with_call(b"hello", timeout=10)
        assert answer == b"olleh" and ("x-trailer", "t") in [tuple(pair) for pair in call.trailing_metadata()]
        assert call.code() == grpc.StatusCode.OK
        assert list(channel.unary_stream("/t/out")(b"a", timeout=10)) == [b"a%d" % i for i in range(100)]
        assert channel.stream_unary("/t/in")(iter([b"1", b"2", b"3"] * 100), timeout=10) == b"123" * 100
        talk = channel.stream_stream("/t/both")
        asked = threading.Semaphore(1)

        def questions():
            for i in range(20):  # each one waits for the answer to the one before
                assert asked.acquire(timeout=10)
                yield b"q%d" % i

        answers = []
        for reply in talk(questions(), timeout=10):
            answers.append(reply)
            asked.release()
        assert answers == [b"Q%d" % i for i in range(20)]


def grpc_errors_deadlines_and_large_messages():
    with Grpc() as world:
        channel, grpc = world.channel, world.grpc
        try:
            channel.unary_unary("/t/failing")(b"", timeout=10)
            raise AssertionError("it fails")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing"
        try:
            channel.unary_unary("/t/slow")(b"", timeout=0.5)
            raise AssertionError("it is slow")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert world.cancelled.wait(5)
        world.cancelled.clear()
        call = channel.unary_unary("/t/slow").future(b"", timeout=10)
        time.sleep(0.2)
        call.cancel()
        assert world.cancelled.wait(5)
        big = os.urandom(16 << 20)
        assert channel.unary_unary("/t/unary")(big, timeout=30) == big[::-1]


TESTS = [value for name, value in list(globals().items())
         if getattr(value, "__code__", None) and value.__module__ == "__main__" and value.__code__.co_argcount == 0
         and not isinstance(value, type) and name not in ("main", "plain", "over_http2")]


if __name__ == "__main__":
    sys.exit(edge_world.run(TESTS, sys.argv[1], sys.argv[2:]))
