"""Many requests over many connections to several replicas at once: one loop, no framework.

`run(ports, token, requests)` sends requests by 64 connections, spread over the ports, and returns how often each status
came, and how many connections failed. A connection that fails is opened again; its request counts as failed."""

import asyncio
import json
import time
from collections import Counter


class Load:
    def __init__(self, ports, token, body, requests, connections=64, on_progress=None):
        self.ports, self.token, self.left = ports, token, requests
        self.connections, self.on_progress = connections, on_progress
        text = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: b\r\nauthorization: Bearer {token}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        self.request = head.encode() + text
        self.statuses, self.codes, self.answered, self.slowest = Counter(), Counter(), [], 0.0

    async def one(self, reader, writer):
        started = time.monotonic()
        writer.write(self.request)
        status = int((await reader.readline()).split(b" ")[1])
        length, chunked = 0, False
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.lower().partition(b":")
            length = int(value) if name == b"content-length" else length
            chunked |= name == b"transfer-encoding"
        if chunked:
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(length)
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.statuses[status] += 1
        self.answered.append((time.monotonic(), status))
        if status >= 400:
            self.codes[json.loads(body)["error"]["code"]] += 1

    async def connection(self, port):
        reader = writer = None
        while self.left > 0:
            self.left -= 1
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await self.one(reader, writer)
            except (OSError, asyncio.IncompleteReadError, IndexError, ValueError):
                self.statuses["failed"] += 1
                writer = writer and writer.close()
                await asyncio.sleep(0.02)
            if self.on_progress:
                self.on_progress(self)
        if writer:
            writer.close()

    async def all(self):
        await asyncio.gather(*(self.connection(self.ports[i % len(self.ports)]) for i in range(self.connections)))


def run(ports, token, requests, body=None, **rest):
    body = body or {"model": "sim", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    load = Load(ports, token, body, requests, **rest)
    asyncio.run(load.all())
    return load
