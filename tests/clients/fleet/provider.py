"""A provider of OpenAI's chat completions that counts what it bills: one process, one loop, no framework.

Standard output gets one line with the port. `GET /counts` returns the sums, by model and in all. A request may say in
its `user` what happens to it: `cut` ends a stream in the middle, `fail` is answered with a 500 that bills nothing, and
`limited` with a 429 that asks for a pause."""

import asyncio
import json
import sys

COUNTS = {"requests": 0, "input": 0, "output": 0, "cached": 0, "reasoning": 0, "failed": 0}
DELAY = float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0.0


def usage_of(body, words):
    """The same numbers for the same request, and different ones for different requests."""
    text = "".join(str(message.get("content", "")) for message in body.get("messages", []))
    return {
        "prompt_tokens": len(text) + 3,
        "completion_tokens": words,
        "total_tokens": len(text) + 3 + words,
        "prompt_tokens_details": {"cached_tokens": len(text) // 2},
        "completion_tokens_details": {"reasoning_tokens": words // 3},
    }


def bill(usage):
    COUNTS["requests"] += 1
    COUNTS["input"] += usage["prompt_tokens"]
    COUNTS["output"] += usage["completion_tokens"]
    COUNTS["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
    COUNTS["reasoning"] += usage["completion_tokens_details"]["reasoning_tokens"]


def head(status, kind, length=None):
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}"]
    lines.append(f"content-length: {length}" if length is not None else "transfer-encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(event):
    data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(body, **rest):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], **rest}


async def answer(body, writer):
    if body.get("user") == "fail":
        COUNTS["failed"] += 1
        text = b'{"error":{"message":"broken","type":"server_error","param":null,"code":null}}'
        writer.write(head(500, "application/json", len(text)) + text)
        return True
    if body.get("user") == "limited":
        text = b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}'
        writer.write(head(429, "application/json", len(text)).replace(b"\r\n", b"\r\nretry-after: 60\r\n", 1) + text)
        return True
    words = min(int(body.get("max_tokens") or 12), 64)
    usage = usage_of(body, words)
    await asyncio.sleep(DELAY)
    if not body.get("stream"):
        bill(usage)
        message = {"role": "assistant", "content": "word " * words}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        text = json.dumps({**event(body), "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        writer.write(head(200, "application/json", len(text)) + text)
        return True
    writer.write(head(200, "text/event-stream"))
    for index in range(words):
        delta = {"role": "assistant", "content": "word "} if index == 0 else {"content": "word "}
        writer.write(chunk(event(body, choices=[{"index": 0, "delta": delta, "finish_reason": None}])))
        if body.get("user") == "cut" and index == words // 2:
            await writer.drain()
            writer.transport.abort()
            return False
    bill(usage)
    writer.write(chunk(event(body, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])))
    writer.write(chunk(event(body, choices=[], usage=usage)) + chunk("[DONE]") + b"0\r\n\r\n")
    return True


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            method, path, _ = line.split(b" ", 2)
            length = 0
            while (header := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = await reader.readexactly(length) if length else b""
            if method == b"POST":
                if not await answer(json.loads(body), writer):
                    return
            else:
                known = {"object": "list", "data": [{"id": "sim", "object": "model"}]}
                text = json.dumps(COUNTS if path == b"/counts" else known).encode()
                writer.write(head(200, "application/json", len(text)) + text)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
