"""What the tests share: where the gateway is, and one way to ask for both kinds of client."""

import asyncio
import base64
import json
import os
import ssl
from types import SimpleNamespace

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

QUESTION = [{"role": "user", "content": "What is a gateway?"}]

# Nothing here goes over TLS; a client that reads all the roots costs more than its request.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# A picture, in base64, and what the providers say of it.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE_SEEN = f"image/png of {len(base64.b64decode(PICTURE))} bytes"


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
    """A provider's SDK, so that one test does for the sync client and for the async one."""

    clients = (OpenAI, AsyncOpenAI)
    http = (openai.DefaultHttpxClient, openai.DefaultAsyncHttpxClient)
    final = "get_final_completion"

    def __init__(self, gateway, is_async):
        self.gateway = gateway
        self.is_async = is_async
        self.base_url = gateway.base_url
        # The providers that answered.
        self.served = set()

    def _note(self, response):
        if backend := response.headers.get("x-berry-backend"):
            self.served.add(backend.partition(":")[0])

    async def _note_async(self, response):
        self._note(response)

    def client(self, token=None, **options):
        """A client; what it is not given here is what every test uses."""
        token = self.gateway.tokens.plain if token is None else token
        hook = self._note_async if self.is_async else self._note
        http = self.http[self.is_async](event_hooks={"response": [hook]}, verify=NO_TLS)
        keys = {"base_url": self.base_url, "api_key": token, "max_retries": 0, "timeout": 20, "http_client": http}
        return self.clients[self.is_async](**keys | options)

    def call(self, ask, token=None, **options):
        """What `ask(client)` answers."""
        return self._run(ask, self.client(token, **options), into=None)

    def collect(self, ask, into=None, token=None, **options):
        """The items of the stream or page that `ask(client)` answers. Those that came before an
        error are in `into`."""
        return self._run(ask, self.client(token, **options), [] if into is None else into)

    def gather(self, ask, into=None):
        """The events of the SDK's own helper for streams, and what they come to in the end."""
        events = [] if into is None else into
        if self.is_async:
            return events, asyncio.run(self._gather_async(ask, events))
        with self.client() as client, ask(client) as stream:
            for event in stream:
                events.append(event)
            return events, getattr(stream, self.final)()

    async def _gather_async(self, ask, events):
        async with self.client() as client, ask(client) as stream:
            async for event in stream:
                events.append(event)
            return await getattr(stream, self.final)()

    def _run(self, ask, client, into):
        if self.is_async:
            return asyncio.run(_run_async(ask, client, into))
        with client:
            answer = ask(client)
            if into is None:
                return answer
            for item in answer:
                into.append(item)
            return into


async def _run_async(ask, client, into):
    async with client:
        answer = ask(client)
        # A list is a page that can be iterated without being awaited.
        if into is None or not hasattr(answer, "__aiter__"):
            answer = await answer
        if into is None:
            return answer
        async for item in answer:
            into.append(item)
        return into


class AnthropicSdk(Sdk):
    """Anthropic's SDK, which adds the version to the address itself."""

    clients = (Anthropic, AsyncAnthropic)
    http = (anthropic.DefaultHttpxClient, anthropic.DefaultAsyncHttpxClient)
    final = "get_final_message"

    def __init__(self, gateway, is_async):
        super().__init__(gateway, is_async)
        self.base_url = gateway.base_url.removesuffix("/v1")


@pytest.fixture(params=["sync", "async"])
def sdk(request, gateway):
    return Sdk(gateway, request.param == "async")


@pytest.fixture(params=["sync", "async"])
def messages_sdk(request, gateway):
    return AnthropicSdk(gateway, request.param == "async")


# The kinds of pools, with the providers that stand behind each.
POOLS = {
    "openai": {"left"},
    "azure": {"azure"},
    "claude": {"claude"},
    "gemini": {"gemini"},
    "mixed": {"left", "azure", "claude", "gemini"},
}


class Pool:
    """The pools of one kind: one for each thing that its providers can do."""

    def __init__(self, gateway, kind):
        self.gateway = gateway
        self.kind = kind
        self.providers = POOLS.get(kind, {"right"})

    def model(self, way=""):
        return getattr(self.gateway.models, f"{self.kind}_{way}" if way else self.kind)


@pytest.fixture(params=POOLS)
def pool(request, gateway):
    """Each kind of pool; whatever a test asked, no other provider may have answered."""
    pool = Pool(gateway, request.param)
    yield pool
    for name in {"sdk", "messages_sdk"} & set(request.fixturenames):
        served = request.getfixturevalue(name).served
        assert served <= pool.providers, served


def chat(model, **more):
    """Asks for a chat completion."""
    return lambda client: client.chat.completions.create(**({"model": model, "messages": QUESTION} | more))


def text_of(chunks):
    """The content of a streamed chat completion."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
