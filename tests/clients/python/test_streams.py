"""Streams from providers that misbehave: whole, or an error; never cut short in silence."""

import asyncio

import openai
import pytest
from conftest import QUESTION, chat, text_of
from openai import AsyncOpenAI, OpenAI


@pytest.fixture
def whole(sdk, gateway):
    """The answer as it should be."""
    return sdk.call(chat(gateway.models.healthy)).choices[0].message.content


@pytest.mark.parametrize("model", ["cut", "error_midway", "no_finish"])
def test_a_broken_stream_is_an_error(sdk, gateway, whole, model):
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        sdk.collect(chat(getattr(gateway.models, model), stream=True), into=chunks)
    assert caught.value.code == "upstream_stream_interrupted"
    assert text_of(chunks) and whole.startswith(text_of(chunks))
    assert not any(chunk.choices[0].finish_reason for chunk in chunks)


def test_a_broken_stream_of_older_completions_is_an_error(sdk, gateway):
    chunks = []
    ask = lambda client: client.completions.create(model=gateway.models.cut, prompt="Once", stream=True)
    with pytest.raises(openai.APIError) as caught:
        sdk.collect(ask, into=chunks)
    assert caught.value.code == "upstream_stream_interrupted"
    assert chunks


def test_a_broken_stream_of_the_responses_api_is_an_error(sdk, gateway):
    events = []
    ask = lambda client: client.responses.create(model=gateway.models.cut, input="What is this?", stream=True)
    # That API's errors are events for the program to read; the SDK raises for the broken connection.
    with pytest.raises(openai.APIError):
        sdk.collect(ask, into=events)
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "upstream_stream_interrupted"
    assert "response.completed" not in {event.type for event in events}


@pytest.mark.parametrize("model", ["error_first", "no_done", "malformed", "odd_bytes", "one_dead"])
def test_what_the_gateway_can_mend_is_whole(sdk, gateway, whole, model):
    chunks = sdk.collect(chat(getattr(gateway.models, model), stream=True))
    assert text_of(chunks) == whole
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_plain_answer_that_breaks_off_is_an_error(sdk, gateway):
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.call(chat(gateway.models.cut))
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")


def test_chunks_come_as_soon_as_they_are_there(gateway):
    with OpenAI(base_url=gateway.base_url, api_key=gateway.tokens.plain, max_retries=0, timeout=20) as client:
        # The provider falls silent after 20 tokens: a gateway that held any back would hold it for good.
        with chat(gateway.models.stalled, stream=True)(client) as stream:
            tokens = (chunk for chunk in stream if text_of([chunk]))
            assert len([token for _, token in zip(range(20), tokens)]) == 20


def test_a_client_may_leave_a_stream(gateway):
    async def leave():
        options = {"base_url": gateway.base_url, "api_key": gateway.tokens.plain, "max_retries": 0, "timeout": 20}
        async with AsyncOpenAI(**options) as client:
            for _ in range(5):
                stream = await client.chat.completions.create(
                    model=gateway.models.slow, messages=QUESTION, stream=True
                )
                async for chunk in stream:
                    if text_of([chunk]):
                        break
                await stream.close()
            answer = await client.chat.completions.create(model=gateway.models.healthy, messages=QUESTION)
            return answer.choices[0].finish_reason

    assert asyncio.run(leave()) == "stop"
