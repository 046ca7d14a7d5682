"""A crowd on one platform: many WebSockets that echo now and then, and requests at a constant rate, plain and over TLS.

    crowd.py HOST PLAIN-PORT TLS-PORT SOCKETS RATE

Half of everything goes over TLS when TLS-PORT is not 0; the certificate may change at any time and is not verified. Prints "ready"
once all sockets are open, runs until SIGTERM, and prints one JSON object. Nothing is retried and a socket that closes for any reason
is a failure: whoever changes routes, certificates or binaries meanwhile must not be noticed.
"""
import asyncio
import base64
import collections
import json
import os
import random
import signal
import ssl
import sys
import time

HOST, PLAIN, TLS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SOCKETS, RATE = int(sys.argv[4]), float(sys.argv[5])
TIMEOUT = 20
CONNECTIONS = 50
OPENING = 40  # handshakes at once
ECHO_EVERY = 2.0

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

report = {"requests": 0, "sockets": 0, "echoes": 0, "failed": 0, "failures": [], "statuses": {}, "reconnects": 0}
latencies = []
stopping = asyncio.Event()


def fail(what):
    report["failed"] += 1
    if len(report["failures"]) < 50:
        report["failures"].append(f"{time.time():.3f} {what}")


async def connect(is_tls):
    if is_tls and TLS:
        return await asyncio.open_connection("127.0.0.1", TLS, ssl=context, server_hostname=HOST)
    return await asyncio.open_connection("127.0.0.1", PLAIN)


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    return int(lines[0].split()[1]), fields


# -- requests: taken from a queue by keep-alive connections, so that the rate does not depend on the answers


async def worker(queue, is_tls):
    reader = writer = None
    while True:
        due = await queue.get()
        if due is None:
            break
        try:
            async with asyncio.timeout(TIMEOUT):
                if not writer:
                    reader, writer = await connect(is_tls)
                writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                status, fields = await read_head(reader)
                await reader.readexactly(int(fields.get("content-length", 0)))
        except Exception as error:  # every kind of failure counts
            fail(f"request over {'TLS' if is_tls else 'TCP'}: {type(error).__name__}: {error}")
            if writer:
                writer.close()
            writer = None
            continue
        report["requests"] += 1
        report["statuses"][str(status)] = report["statuses"].get(str(status), 0) + 1
        latencies.append(time.monotonic() - due)
        if status != 200:
            fail(f"status {status}")
        if fields.get("connection", "").lower() == "close":
            writer.close()
            writer = None
            report["reconnects"] += 1
    if writer:
        writer.close()


async def clock(queue):
    due = time.monotonic()
    while not stopping.is_set():
        now = time.monotonic()
        while due <= now:
            queue.put_nowait(due)
            due += 1 / RATE
        await asyncio.sleep(0.005)
    for _ in range(CONNECTIONS):
        queue.put_nowait(None)


# -- WebSockets


def frame(opcode, payload):
    mask = os.urandom(4)
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


async def open_socket(is_tls):
    reader, writer = await connect(is_tls)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write((f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
    status, _ = await read_head(reader)
    if status != 101:
        raise ValueError(f"status {status}")
    return reader, writer


async def socket(is_tls, gate, opened):
    began = time.monotonic()
    try:
        async with gate:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await open_socket(is_tls)
        report["sockets"] += 1
        opened()
        while not stopping.is_set():
            text = str(random.getrandbits(64)).encode()
            writer.write(frame(1, text))
            async with asyncio.timeout(TIMEOUT):
                opcode, length = await reader.readexactly(2)
                payload = await reader.readexactly(length)
            if payload != text:
                raise ValueError(f"opcode {opcode & 15} instead of an echo")
            report["echoes"] += 1
            try:
                await asyncio.wait_for(stopping.wait(), ECHO_EVERY * random.uniform(0.5, 1.5))
            except asyncio.TimeoutError:
                pass
        writer.close()
    except Exception as error:
        fail(f"WebSocket over {'TLS' if is_tls else 'TCP'}: {type(error).__name__}: {error} "
             f"after {time.monotonic() - began:.1f} s")
        opened()


def percentile(values, share):
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 2) if values else None


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    gate, all_open, waiting = asyncio.Semaphore(OPENING), asyncio.Event(), collections.Counter(left=SOCKETS)

    def opened():
        waiting["left"] -= 1
        if waiting["left"] <= 0:
            all_open.set()

    queue = asyncio.Queue()
    tasks = [asyncio.create_task(socket(i % 2 == 0, gate, opened)) for i in range(SOCKETS)]
    if SOCKETS:
        await all_open.wait()
    tasks += [asyncio.create_task(worker(queue, i % 2 == 0)) for i in range(CONNECTIONS)]
    tasks.append(asyncio.create_task(clock(queue)))
    print("ready", flush=True)
    await stopping.wait()
    await asyncio.gather(*tasks)
    report["p50_ms"], report["p99_ms"] = percentile(latencies, 0.5), percentile(latencies, 0.99)
    report["slowest_ms"] = percentile(latencies, 1)
    print(json.dumps(report))


asyncio.run(main())
