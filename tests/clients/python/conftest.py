"""What the tests share: where the gateway is, and one way to ask for both kinds of client."""

import asyncio
import json
import os
from types import SimpleNamespace

import pytest
from openai import AsyncOpenAI, OpenAI

QUESTION = [{"role": "user", "content": "What is a gateway?"}]


@pytest.fixture(scope="session")
def gateway():
    """The line that the fixture printed."""
    line = os.environ.get("BERRY_FIXTURE")
    if not line:
        pytest.exit("BERRY_FIXTURE is not set; start these tests by tests/clients/run", returncode=2)
    line = json.loads(line)
    return SimpleNamespace(
        base_url=line["base_url"],
        tokens=SimpleNamespace(**line["tokens"]),
        models=SimpleNamespace(**line["models"]),
    )


@pytest.fixture(scope="session")
def spare(gateway):
    """Takes one of what a test spends: a user with a rate limit, a model with a rate limit."""
    left = {"user": list(gateway.tokens.limited), "model": list(gateway.models.rate_limited)}
    return lambda kind: left[kind].pop()


class Sdk:
    """OpenAI's SDK, so that one test does for the sync client and for the async one."""

    def __init__(self, gateway, is_async):
        self.gateway = gateway
        self.is_async = is_async

    def _options(self, token, options):
        token = self.gateway.tokens.plain if token is None else token
        return {"base_url": self.gateway.base_url, "api_key": token, "max_retries": 0, "timeout": 20} | options

    def call(self, ask, token=None, **options):
        """What `ask(client)` answers."""
        return self._run(ask, self._options(token, options), into=None)

    def collect(self, ask, into=None, token=None, **options):
        """The items of the stream or page that `ask(client)` answers. Those that came before an
        error are in `into`."""
        return self._run(ask, self._options(token, options), [] if into is None else into)

    def _run(self, ask, options, into):
        if self.is_async:
            return asyncio.run(_run_async(ask, options, into))
        with OpenAI(**options) as client:
            answer = ask(client)
            if into is None:
                return answer
            for item in answer:
                into.append(item)
            return into


async def _run_async(ask, options, into):
    async with AsyncOpenAI(**options) as client:
        answer = ask(client)
        # A list is a page that can be iterated without being awaited.
        if into is None or not hasattr(answer, "__aiter__"):
            answer = await answer
        if into is None:
            return answer
        async for item in answer:
            into.append(item)
        return into


@pytest.fixture(params=["sync", "async"])
def sdk(request, gateway):
    return Sdk(gateway, request.param == "async")


def chat(model, **more):
    """Asks for a chat completion."""
    return lambda client: client.chat.completions.create(**({"model": model, "messages": QUESTION} | more))


def text_of(chunks):
    """The content of a streamed chat completion."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
