"""rows.py - what bench/edge measures: each row is a load on one proxy for some seconds, and what comes out of it.

The load comes from wrk, h2load and load.c, all pinned to the core of the origins. A row gives the number of requests (or of bytes), the
99th percentile of the latency, and how many requests failed.
"""
import json
import os
import re
import subprocess
import time

from peers import NAMES, descriptors, pss_kib, raise_descriptors

CIPHER = "TLS_AES_128_GCM_SHA256"
MEGABYTE = 1 << 20
TRANSFER_BYTES = 16 * MEGABYTE
# An edge takes two fifths of its descriptors: an idle connection may need an upstream at any moment.
IDLE_CONNECTIONS = min(10000, descriptors() * 3 // 10)
SETTLE_S = 6


def on_core(core):
    return ["taskset", "-c", str(core)] if os.cpu_count() > 1 else []


class Row:
    """`needs`: the ability that a peer must have. `per`: what is counted."""

    def __init__(self, group, name, needs, per="request"):
        self.group, self.name, self.needs, self.per = group, name, needs, per
        self.is_memory = False

    def prepare(self, bench, peer):
        """Once a peer, before the clock runs."""

    def run(self, bench, peer, seconds):
        raise NotImplementedError


class Wrk(Row):
    def __init__(self, kind, name, connections):
        super().__init__(kind, f"{name}, {connections} connections", "static" if kind == "static" else "plain")
        self.kind, self.connections = kind, connections

    def argv(self, bench, peer, seconds):
        return on_core(bench.load_core) + ["wrk", "--latency", "-t1", f"-c{self.connections}", "--timeout", "10s", f"-d{seconds}",
                                           f"http://127.0.0.1:{peer.port}{peer.path(self.kind)}"]

    def prepare(self, bench, peer):
        subprocess.run(self.argv(bench, peer, 1), capture_output=True)

    def run(self, bench, peer, seconds):
        text = subprocess.run(self.argv(bench, peer, seconds), capture_output=True, text=True, check=True).stdout
        value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        broken = re.search(r"Socket errors: (.*)", text)
        return {"count": int(re.search(r"(\d+) requests in", text).group(1)), "p99_ms": float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
                "errors": (failed and failed.group(1)) or (broken and broken.group(1)) or 0}


class H2load(Row):
    """Over TLS, HTTP/1.1 or HTTP/2."""

    def __init__(self, group, name, needs, path, clients, streams=0, body=None, fields=(), bytes_each=0):
        super().__init__(group, name, needs, "MB" if bytes_each else "request")
        self.path, self.clients, self.streams, self.body, self.fields, self.bytes_each = path, clients, streams, body, fields, bytes_each

    def argv(self, bench, peer, seconds, log):
        argv = on_core(bench.load_core) + ["h2load", f"--tls13-ciphers={CIPHER}", f"--connect-to=127.0.0.1:{peer.tls_port}", "-c", str(self.clients),
                                           "-D", str(seconds), f"--log-file={log}"]
        argv += ["-m", str(self.streams), "-w", "24", "-W", "26"] if self.streams else ["--h1"]
        if self.body:
            argv += ["-d", os.path.join(bench.folder, self.body)]
        for field in self.fields:
            argv += ["-H", field]
        return argv + [f"https://{NAMES[0]}:{peer.tls_port}{peer.path(self.path)}"]

    def prepare(self, bench, peer):
        try:
            subprocess.run(self.argv(bench, peer, 1, "/dev/null"), capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            pass  # the round that counts will tell

    def run(self, bench, peer, seconds):
        log = os.path.join(bench.folder, "h2load.log")
        if os.path.exists(log):
            os.unlink(log)
        try:
            text = subprocess.run(self.argv(bench, peer, seconds, log), capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
        except subprocess.SubprocessError as error:
            return {"count": 0, "p99_ms": float("nan"), "errors": str(error)}
        total, failed = re.search(r"requests: \d+ total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed", text).groups()
        good = int(re.search(r"status codes: (\d+) 2xx", text).group(1))
        with open(log) as file:
            times = sorted(int(line.rsplit("\t", 1)[1]) for line in file)
        count = int(total)
        if self.bytes_each:
            # A round ends amid transfers: what was transferred counts, not what was finished.
            down = int(re.search(r"traffic: .*? \((\d+)\) total", text).group(1))
            count = count * self.bytes_each / MEGABYTE if self.body else down / MEGABYTE
        return {"count": count, "p99_ms": times[len(times) * 99 // 100] / 1000 if times else float("nan"),
                "errors": int(failed) if good >= int(total) else int(total) - good}


class Load(Row):
    """By load.c: handshakes and WebSocket messages."""

    def __init__(self, group, name, needs, mode, server_name, connections, path):
        super().__init__(group, name, needs, {"echo": "message"}.get(mode, "handshake"))
        self.mode, self.server_name, self.connections, self.request_path = mode, server_name, connections, path

    def run(self, bench, peer, seconds):
        port = peer.port if self.server_name == "-" else peer.tls_port
        argv = on_core(bench.load_core) + [os.path.join(bench.folder, "load"), self.mode, str(port), self.server_name, str(self.connections),
                                           str(seconds), peer.path(self.request_path)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            return {"count": 0, "p99_ms": float("nan"), "errors": done.stderr.strip()}
        result = json.loads(done.stdout.splitlines()[-1])
        errors = result["errors"]
        if self.mode == "resume" and result["resumed"] < result["count"] * 0.99:
            errors = f"only {result['resumed']} of {result['count']} resumed"
        return {"count": result["count"], "p99_ms": result["p99_us"] / 1000, "errors": errors}


class Idle(Row):
    """Memory of 10,000 connections (fewer where descriptors are short) that have asked once: PSS with them less PSS without, in a process that has served
    nothing before, for each connection."""

    def __init__(self, name, server_name):
        super().__init__("idle", name, "idle", "connection")
        self.server_name, self.is_memory = server_name, True

    def run(self, bench, peer, seconds):
        port = peer.port if self.server_name == "-" else peer.tls_port
        before = pss_kib(peer.pids)
        argv = on_core(bench.load_core) + [os.path.join(bench.folder, "load"), "idle", str(port), self.server_name, str(IDLE_CONNECTIONS), "0", "/small"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=raise_descriptors) as load:
            line = load.stdout.readline()
            time.sleep(SETTLE_S)
            kib = (pss_kib(peer.pids) - before) / IDLE_CONNECTIONS
            load.stdin.close()
            load.wait(30)
        time.sleep(1)
        return {"count": IDLE_CONNECTIONS, "p99_ms": float("nan"), "kib_each": kib,
                "errors": 0 if line.startswith("ready") else "not all connections came to rest"}


def rows(counts):
    ecdsa, rsa = NAMES
    out = []
    for kind, name in (("small", "proxy, 100 B"), ("large", "proxy, 64 KiB"), ("static", "static file, 4 KiB")):
        out += [Wrk(kind, name, count) for count in counts]
    out += [
        Load("handshake", "TLS 1.3 full handshakes, P-256", "tls", "handshake", ecdsa, 64, "small"),
        Load("handshake", "TLS 1.3 full handshakes, RSA 2048", "tls", "handshake", rsa, 64, "small"),
        Load("handshake", "TLS 1.3 resumed handshakes, P-256", "tls", "resume", ecdsa, 64, "small"),
        Load("handshake", "TLS 1.3 resumed handshakes, RSA 2048", "tls", "resume", rsa, 64, "small"),
        H2load("tls", "TLS keep-alive, 100 B, 64 connections", "tls", "small", 64),
        H2load("tls", "TLS keep-alive, 64 KiB, 64 connections", "tls", "large", 64),
        H2load("h2", "HTTP/2, 100 B, 16 × 32 streams", "h2", "small", 16, 32),
        H2load("h2", "HTTP/2, 64 KiB, 16 × 8 streams", "h2", "large", 16, 8),
        H2load("h2", "HTTP/2, 100 B, 64 × 1 stream", "h2", "small", 64, 1),
        Load("ws", "WebSocket echo, 64 B, 64 connections", "ws", "echo", "-", 64, "/echo"),
        Load("ws", "WebSocket echo over TLS, 64 B, 64 connections", "ws", "echo", ecdsa, 64, "/echo"),
        H2load("grpc", "gRPC unary, 64 B, 16 × 32 streams", "grpc", "/bench.Echo/Unary", 16, 32, "message", ("content-type: application/grpc", "te: trailers")),
        H2load("transfer", "download over TLS, 16 MiB, 8 connections", "tls", "/download", 8, bytes_each=TRANSFER_BYTES),
        H2load("transfer", "download over HTTP/2, 16 MiB, 8 × 1 stream", "h2", "/download", 8, 1, bytes_each=TRANSFER_BYTES),
        H2load("transfer", "upload over TLS, 16 MiB, 8 connections", "tls", "/upload", 8, body="upload", bytes_each=TRANSFER_BYTES),
        H2load("transfer", "upload over HTTP/2, 16 MiB, 8 × 1 stream", "h2", "/upload", 8, 1, body="upload", bytes_each=TRANSFER_BYTES),
        Idle(f"{IDLE_CONNECTIONS:,} idle connections, plain", "-"),
        Idle(f"{IDLE_CONNECTIONS:,} idle connections, TLS", ecdsa),
    ]
    return out


IDLE_GOALS_KIB = {"-": 12, NAMES[0]: 35}
