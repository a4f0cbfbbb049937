"""OpenAI's SDK, whoever stands behind the gateway. The providers refuse what their published rules
do not allow, so an answer says that they were asked as they want to be."""

import json

import openai
import pytest
from conftest import PICTURE, PICTURE_SEEN, POOLS, QUESTION, Pool, chat, text_of
from pydantic import BaseModel

SYSTEM = {"role": "system", "content": "Be brief."}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The {name} of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("weather", "time")
]


class City(BaseModel):
    """The form of an answer."""

    name: str
    people: int


def stream(model, **more):
    """Asks by the SDK's helper for streams."""
    return lambda client: client.chat.completions.stream(**({"model": model, "messages": QUESTION} | more))


def ends(chunks):
    """Why a streamed answer ended; Azure's first chunk is about the prompt and has no choices."""
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    return [reason for reason in reasons if reason]


def calls_of(message):
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


def test_plain_and_streamed_answers_are_the_same(sdk, pool):
    ask = {"messages": [SYSTEM, *QUESTION], "temperature": 0.5, "max_tokens": 500}
    plain = sdk.call(chat(pool.model(), **ask))
    text = plain.choices[0].message.content
    assert plain.object == "chat.completion" and plain.choices[0].message.role == "assistant"
    assert QUESTION[0]["content"] in text
    assert plain.choices[0].finish_reason == "stop"
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
    assert plain.usage.prompt_tokens > 0 < plain.usage.completion_tokens

    chunks = sdk.collect(chat(pool.model(), stream=True, **ask))
    assert text_of(chunks) == text
    assert ends(chunks) == ["stop"]
    assert len({chunk.id for chunk in chunks if chunk.choices}) == 1
    assert all(chunk.usage is None for chunk in chunks)

    _, whole = sdk.gather(stream(pool.model(), **ask))
    assert whole.choices[0].message.content == text
    assert whole.choices[0].finish_reason == "stop"
    assert sdk.served


def test_usage_is_in_a_stream_when_it_is_asked_for(sdk, pool):
    plain = sdk.call(chat(pool.model("cached"))).usage
    *rest, last = sdk.collect(chat(pool.model("cached"), stream=True, stream_options={"include_usage": True}))
    assert last.choices == [] and all(chunk.usage is None for chunk in rest)
    # The pool of all kinds counts as each of its providers does.
    if pool.kind != "mixed":
        assert last.usage.prompt_tokens == plain.prompt_tokens
        assert last.usage.completion_tokens == plain.completion_tokens
    for usage in (plain, last.usage):
        assert usage.prompt_tokens_details.cached_tokens == 3
        assert usage.prompt_tokens > 3
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("thinking", [False, True])
def test_a_tool_is_called_and_its_result_answered(sdk, pool, thinking):
    model = pool.model("tools")
    more = {"tools": TOOLS[:1]} | ({"reasoning_effort": "low"} if thinking else {})
    asked = sdk.call(chat(model, **more))
    assert asked.choices[0].finish_reason == "tool_calls"
    (call,) = asked.choices[0].message.tool_calls
    assert calls_of(asked.choices[0].message) == [("weather", {"city": QUESTION[0]["content"]})]
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    messages = [*QUESTION, asked.choices[0].message.model_dump(exclude_none=True), result]
    answer = sdk.call(chat(model, messages=messages, **more))
    assert answer.choices[0].finish_reason == "stop"
    assert "Sunny." in answer.choices[0].message.content
    # What comes after it is a conversation like any other.
    messages += [{"role": "assistant", "content": answer.choices[0].message.content}, *QUESTION]
    assert sdk.call(chat(model, messages=messages, **more)).choices[0].finish_reason == "tool_calls"


def test_several_tools_are_called_at_once(sdk, pool):
    model, more = pool.model("two_tools"), {"tools": TOOLS}
    plain = sdk.call(chat(model, **more)).choices[0]
    assert plain.finish_reason == "tool_calls" and plain.message.content
    assert [name for name, _ in calls_of(plain.message)] == ["weather", "time"]
    assert len({call.id for call in plain.message.tool_calls}) == 2

    _, streamed = sdk.gather(stream(model, **more))
    message = streamed.choices[0].message
    assert streamed.choices[0].finish_reason == "tool_calls"
    assert message.content == plain.message.content
    assert calls_of(message) == calls_of(plain.message)
    raw = sdk.collect(chat(model, stream=True, **more))
    parts = [part for chunk in raw if chunk.choices for part in chunk.choices[0].delta.tool_calls or []]
    for index, call in enumerate(plain.message.tool_calls):
        mine = [part for part in parts if part.index == index]
        assert mine[0].id and mine[0].function.name == call.function.name
        assert json.loads("".join(p.function.arguments or "" for p in mine)) == json.loads(call.function.arguments)

    for message in (plain.message, message):
        ids = [call.id for call in message.tool_calls]
        results = [{"role": "tool", "tool_call_id": id, "content": f"Result {n}."} for n, id in enumerate(ids)]
        said = {"role": "assistant", "content": message.content}
        said["tool_calls"] = [call.model_dump(include={"id", "type"}) for call in message.tool_calls]
        for given, call in zip(said["tool_calls"], message.tool_calls):
            given["function"] = {"name": call.function.name, "arguments": call.function.arguments}
        answer = sdk.call(chat(model, messages=[*QUESTION, said, *results], **more)).choices[0]
        assert answer.finish_reason == "stop"
        assert "Result 0." in answer.message.content and "Result 1." in answer.message.content


def test_a_tool_may_be_forced_or_forbidden(sdk, pool):
    forced = {"type": "function", "function": {"name": "time"}}
    answer = sdk.call(chat(pool.model(), tools=TOOLS, tool_choice=forced)).choices[0]
    assert [name for name, _ in calls_of(answer.message)] == ["time"]
    required = sdk.call(chat(pool.model("two_tools"), tools=TOOLS, tool_choice="required")).choices[0]
    assert len(required.message.tool_calls) == 2
    none = sdk.call(chat(pool.model("tools"), tools=TOOLS, tool_choice="none")).choices[0]
    assert none.finish_reason == "stop" and not none.message.tool_calls


def test_one_tool_at_a_time(sdk, pool):
    ask = chat(pool.model("two_tools"), tools=TOOLS, parallel_tool_calls=False)
    calls = sdk.call(ask).choices[0].message.tool_calls
    # Gemini cannot be told, so the wish is dropped; a mixed pool prefers a backend that heeds it.
    assert len(calls) == (2 if pool.kind == "gemini" else 1)


@pytest.mark.parametrize("kind", POOLS)
def test_thoughts_of_any_provider_may_come_back_to_a_pool_of_all(sdk, gateway, kind):
    more = {"tools": TOOLS[:1], "reasoning_effort": "low"}
    message = sdk.call(chat(Pool(gateway, kind).model("thinking_tools"), **more)).choices[0].message
    assert message.reasoning_content
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny."}
    messages = [*QUESTION, message.model_dump(exclude_none=True), result]
    # Each of its providers has its turn.
    sdk.served.clear()
    for _ in POOLS["mixed"]:
        answer = sdk.call(chat(gateway.models.mixed_thinking_tools, messages=messages, **more)).choices[0]
        assert answer.finish_reason == "stop" and "Sunny." in answer.message.content
    assert sdk.served == POOLS["mixed"]


@pytest.mark.parametrize("kind", POOLS)
def test_a_conversation_may_go_on_with_any_other_provider(sdk, gateway, kind):
    more = {"tools": TOOLS[:1]}
    message = sdk.call(chat(Pool(gateway, kind).model("tools"), **more)).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny."}
    messages = [*QUESTION, message.model_dump(exclude_none=True), result]
    for other in POOLS:
        answer = sdk.call(chat(Pool(gateway, other).model("tools"), messages=messages, **more)).choices[0]
        assert answer.finish_reason == "stop" and "Sunny." in answer.message.content, other


def test_pictures(sdk, pool):
    def see(url):
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        return sdk.call(chat(pool.model(), messages=[{"role": "user", "content": parts}])).choices[0].message.content

    assert PICTURE_SEEN in see(f"data:image/png;base64,{PICTURE}")
    assert "https://example.org/a.png" in see("https://example.org/a.png")


def test_json(sdk, pool):
    words = [{"role": "user", "content": "Describe Rome as JSON."}]
    for more in ({"response_format": {"type": "json_object"}}, {"response_format": City}):
        ask = {"model": pool.model(), "messages": words} | more
        if more["response_format"] is City:
            plain = sdk.call(lambda client: client.chat.completions.parse(**ask)).choices[0]
            assert isinstance(plain.message.parsed, City)
            _, streamed = sdk.gather(stream(**ask))
            assert streamed.choices[0].message.parsed == plain.message.parsed
        else:
            plain = sdk.call(chat(**ask)).choices[0]
            streamed = text_of(sdk.collect(chat(stream=True, **ask)))
            assert isinstance(json.loads(streamed), dict)
            assert pool.kind == "mixed" or json.loads(streamed) == json.loads(plain.message.content)
        assert plain.finish_reason == "stop" and not plain.message.tool_calls
        assert isinstance(json.loads(plain.message.content), dict)


def test_answers_stop_where_they_are_told_to(sdk, pool):
    whole = sdk.call(chat(pool.model())).choices[0].message.content
    word = whole.split()[-3]
    for stop in (word, [word, "never said"]):
        answer = sdk.call(chat(pool.model(), stop=stop)).choices[0]
        assert answer.finish_reason == "stop"
        assert answer.message.content == whole[: whole.index(word)]
    answer = sdk.call(chat(pool.model(), max_completion_tokens=3))
    assert answer.choices[0].finish_reason == "length" and whole.startswith(answer.choices[0].message.content)
    assert answer.usage.completion_tokens == 3
    chunks = sdk.collect(chat(pool.model(), max_tokens=3, stream=True))
    assert text_of(chunks) == answer.choices[0].message.content
    assert ends(chunks) == ["length"]


def test_thoughts(sdk, pool):
    ask = {"reasoning_effort": "low"}
    plain = sdk.call(chat(pool.model("thinking"), **ask))
    message = plain.choices[0].message
    assert message.reasoning_content == "Let me think."
    assert "think" not in message.content
    chunks = sdk.collect(chat(pool.model("thinking"), stream=True, **ask))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Let me think."
    assert text_of(chunks) == message.content


def test_a_model_that_declines(sdk, pool):
    message = sdk.call(chat(pool.model("refusing"))).choices[0]
    assert message.message.refusal or message.finish_reason == "content_filter"
    assert not message.message.tool_calls


@pytest.mark.parametrize("way", ["cut", "error_midway"])
def test_a_broken_stream_is_an_error(sdk, pool, way):
    whole = sdk.call(chat(pool.model())).choices[0].message.content
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        sdk.collect(chat(pool.model(way), stream=True), into=chunks)
    assert caught.value.code == "upstream_stream_interrupted"
    assert text_of(chunks) and whole.startswith(text_of(chunks))
    assert ends(chunks) == []
    with pytest.raises(openai.APIError):
        sdk.gather(stream(pool.model(way)))


REFUSED = [("busy", 503, "overloaded"), ("key_refused", 502, "upstream_auth")]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("way", "status", "code"), REFUSED)
def test_what_the_providers_refuse(sdk, pool, way, status, code, streamed):
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.call(chat(pool.model(way), stream=streamed))
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert set(error.body) == {"message", "type", "param", "code"}


def test_a_request_that_nobody_can_serve_names_the_field(sdk, gateway):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.call(chat(gateway.models.claude, n=2))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "n")
    # In the pool of all kinds others can.
    for _ in range(4):
        assert len(sdk.call(chat(gateway.models.mixed, n=2)).choices) == 2
    assert "claude" not in sdk.served


def test_a_provider_of_another_kind_steps_in(sdk, gateway):
    for model, provider in (("from_claude", "right"), ("to_claude", "claude")):
        text = sdk.call(chat(getattr(gateway.models, model))).choices[0].message.content
        assert text_of(sdk.collect(chat(getattr(gateway.models, model), stream=True))) == text
        assert sdk.served == {provider}
        sdk.served.clear()
