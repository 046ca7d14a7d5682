"""One kind of misbehaviour towards one port, as much of it as this machine gives, until SIGTERM.

    flood.py KIND PORT

connections: opens connections and says nothing. handshakes: begins TLS handshakes and leaves, from an address of its own: of one
address nobody can tell who is good, and their handshakes stand in one line. garbage: sends bytes that are no TLS.
"requests": a request per connection, reset before the answer. Prints "ready" once it is at full strength, at the end a JSON object
with what it did.
"""
import asyncio
import json
import os
import signal
import socket
import ssl
import struct
import sys

KIND, PORT = sys.argv[1], int(sys.argv[2])
HELD_MAX = int(os.environ.get("FLOOD_CONNECTIONS", "3000"))
AT_ONCE = 100
SOURCE = ("127.0.0.66", 0) if KIND == "handshakes" else None

stopping = asyncio.Event()
done = {"kind": KIND, "count": 0, "refused": 0, "closed_by_peer": 0}
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def client_hello():
    """The first flight of a real client, made once."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="app.test")
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


HELLO = client_hello()


async def open_one():
    try:
        return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", PORT, local_addr=SOURCE), 10)
    except (OSError, asyncio.TimeoutError):
        done["refused"] += 1
        await asyncio.sleep(0.05)
        return None, None


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def hold():
    """A connection that stays until the other side has had enough; then the next one."""
    while not stopping.is_set():
        reader, writer = await open_one()
        if not writer:
            continue
        done["count"] += 1
        wait = asyncio.create_task(stopping.wait())
        end = asyncio.create_task(reader.read(1))
        await asyncio.wait({wait, end}, return_when=asyncio.FIRST_COMPLETED)
        done["closed_by_peer"] += end.done()
        for task in (wait, end):
            task.cancel()
        writer.close()


async def burst(payload, is_answer_awaited):
    while not stopping.is_set():
        reader, writer = await open_one()
        if not writer:
            continue
        done["count"] += 1
        try:
            writer.write(payload)
            await writer.drain()
            if is_answer_awaited:
                await asyncio.wait_for(reader.read(1), 5)
        except (OSError, asyncio.TimeoutError):
            pass
        reset(writer)


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    os.nice(10)
    if KIND == "connections":
        tasks = [asyncio.create_task(hold()) for _ in range(HELD_MAX)]
    else:
        payload, is_answer_awaited = {
            "handshakes": (HELLO, True), "garbage": (os.urandom(600), True),
            "requests": (b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", False)}[KIND]
        tasks = [asyncio.create_task(burst(payload, is_answer_awaited)) for _ in range(AT_ONCE)]
    await asyncio.sleep(2)
    print("ready", flush=True)
    await stopping.wait()
    await asyncio.gather(*tasks)
    print(json.dumps(done))


asyncio.run(main())
