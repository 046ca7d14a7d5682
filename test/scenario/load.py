"""Constant mixed load on one platform: GET, slow GET, POST, upload and WebSocket clients, each on connections of its own.

    load.py PORT HOST [SECONDS]

Prints "ready", runs until SIGTERM or SECONDS have passed, lets every client finish what it began, and prints one JSON object. Every
answer is checked; nothing is retried, so each failure that a client can see is counted.
"""
import asyncio
import base64
import hashlib
import json
import os
import random
import signal
import sys
import time

PORT, HOST = int(sys.argv[1]), sys.argv[2]
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 3600
TIMEOUT = 20
PAUSE = float(os.environ.get("LOAD_PAUSE", "0.01"))
COUNT = int(os.environ.get("LOAD_CLIENTS", "2"))

report = {"requests": 0, "gets": 0, "posts": 0, "uploads": 0, "failures": [], "posted": [],
          "websockets": 0, "echoes": 0, "closes": {}, "lifetimes": [], "releases": [], "slowest_ms": 0}
stopping = asyncio.Event()


def fail(what):
    if len(report["failures"]) < 50:
        report["failures"].append(f"{time.time():.3f} {what}")
    report["failed"] = report.get("failed", 0) + 1


async def read_response(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    status = int(lines[0].split()[1])
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            chunk = await reader.readexactly(size + 2)
            if size == 0:
                break
            body += chunk[:-2]
    else:
        body = b""
    return status, headers, body


class Client:
    """One keep-alive connection that opens anew only after the server announced its close."""

    def __init__(self):
        self.reader = self.writer = None

    async def request(self, method, path, body=b""):
        if not self.writer:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await self.writer.drain()
        status, headers, answer = await read_response(self.reader)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, answer

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


async def run(name, step):
    client = Client()
    while not stopping.is_set():
        began = time.monotonic()
        try:
            await asyncio.wait_for(step(client), TIMEOUT)
            report["requests"] += 1
        except Exception as error:  # every kind of failure counts
            fail(f"{name}: {type(error).__name__}: {error} after {(time.monotonic() - began) * 1000:.0f} ms")
            client.close()
        report["slowest_ms"] = max(report["slowest_ms"], round((time.monotonic() - began) * 1000))
        await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
    client.close()


def expect(condition, what):
    if not condition:
        raise ValueError(what)


async def get(client):
    status, body = await client.request("GET", "/")
    expect(status == 200, f"status {status} {body[:200]}")
    release = json.loads(body)["release"]
    if not report["releases"] or report["releases"][-1] != release:
        report["releases"].append(release)
        del report["releases"][:-2000]
    report["gets"] += 1


async def slow(client):
    status, body = await client.request("GET", f"/slow?ms={random.randrange(20, 400)}")
    expect(status == 200, f"status {status} {body[:200]}")


async def big(client):
    status, body = await client.request("GET", "/big?bytes=300000")
    expect(status == 200 and len(body) == 300000, f"status {status}, {len(body)} bytes")


async def post(client):
    token = f"{os.getpid()}-{len(report['posted'])}-{random.getrandbits(40)}"
    report["posted"].append(token)
    status, body = await client.request("POST", "/post", token.encode())
    expect(status == 201 and json.loads(body)["echo"] == token, f"status {status} {body[:200]}")
    report["posts"] += 1


async def upload(client):
    data = os.urandom(random.randrange(1, 400_000))
    status, body = await client.request("PUT", "/upload", data)
    expect(status == 200, f"status {status} {body[:200]}")
    expect(json.loads(body)["sha256"] == hashlib.sha256(data).hexdigest(), "another checksum")
    report["uploads"] += 1


def frame(opcode, payload):
    mask = os.urandom(4)
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


async def websocket():
    """Echo every 50 ms until the server closes with a close frame; anything else is a failure."""
    while not stopping.is_set():
        began, stage = time.monotonic(), "handshake"
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", PORT), TIMEOUT)
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write((f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                          f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
            status, _, _ = await asyncio.wait_for(read_response(reader), TIMEOUT)
            expect(status == 101, f"status {status}")
            report["websockets"] += 1
            stage = "echo"
            while not stopping.is_set():
                text = str(random.getrandbits(64)).encode()
                writer.write(frame(1, text))
                opcode, length = await asyncio.wait_for(reader.readexactly(2), TIMEOUT)
                payload = await asyncio.wait_for(reader.readexactly(length), TIMEOUT)
                if opcode & 15 == 8:
                    code = str(int.from_bytes(payload[:2], "big"))
                    report["closes"][code] = report["closes"].get(code, 0) + 1
                    report["lifetimes"].append(round(time.monotonic() - began, 2))
                    break
                expect(payload == text, "another echo")
                report["echoes"] += 1
                await asyncio.sleep(0.05)
        except Exception as error:
            fail(f"websocket {stage}: {type(error).__name__}: {error} after {(time.monotonic() - began) * 1000:.0f} ms")
            await asyncio.sleep(0.05)
        if writer:
            writer.close()


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print("ready", flush=True)
    steps = [("get", get), ("slow", slow), ("big", big), ("post", post), ("upload", upload)]
    tasks = [asyncio.create_task(run(name, step)) for name, step in steps for _ in range(COUNT)]
    tasks += [asyncio.create_task(websocket()) for _ in range(COUNT)]
    try:
        await asyncio.wait_for(stopping.wait(), SECONDS)
    except asyncio.TimeoutError:
        stopping.set()
    await asyncio.gather(*tasks)
    report.setdefault("failed", 0)
    print(json.dumps(report))


asyncio.run(main())
