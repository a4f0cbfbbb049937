"""Anthropic's SDK, whoever stands behind the gateway."""

import json

import anthropic
import pytest
from conftest import PICTURE, PICTURE_SEEN, POOLS, QUESTION, Pool
from pydantic import BaseModel

TOOLS = [
    {
        "name": name,
        "description": f"The {name} of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    for name in ("weather", "time")
]

THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}


class City(BaseModel):
    """The form of an answer."""

    name: str
    people: int


@pytest.fixture
def sdk(messages_sdk):
    return messages_sdk


def asked(model, more):
    return {"model": model, "max_tokens": 500, "messages": QUESTION} | more


def ask(model, **more):
    """Asks for a message."""
    return lambda client: client.messages.create(**asked(model, more))


def stream(model, **more):
    """Asks by the SDK's helper for streams."""
    return lambda client: client.messages.stream(**asked(model, more))


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def uses(message):
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def results(message, words="Sunny."):
    """The conversation with each of the message's calls answered."""
    blocks = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"{words} {number}"}
        for number, block in enumerate(block for block in message.content if block.type == "tool_use")
    ]
    return [*QUESTION, {"role": "assistant", "content": message.content}, {"role": "user", "content": blocks}]


def test_plain_and_streamed_answers_are_the_same(sdk, pool):
    # The SDK has no argument for it any more.
    more = {"system": "Be brief.", "extra_body": {"temperature": 0.5}}
    plain = sdk.call(ask(pool.model(), **more))
    assert (plain.type, plain.role, plain.stop_reason) == ("message", "assistant", "end_turn")
    assert QUESTION[0]["content"] in text(plain)
    assert plain.id.startswith("msg_") and plain._request_id

    events = sdk.collect(ask(pool.model(), stream=True, **more))
    kinds = [event.type for event in events if event.type != "ping"]
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"} and len(deltas) > 10
    assert "".join(deltas) == text(plain)

    _, whole = sdk.gather(stream(pool.model(), **more))
    assert text(whole) == text(plain)
    assert whole.stop_reason == "end_turn"
    assert sdk.served


def test_the_systems_words_may_come_in_blocks(sdk, pool):
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    blocks = [{"type": "text", "text": "One?"}, {"type": "text", "text": "Two?"}]
    messages = [
        {"role": "user", "content": blocks},
        {"role": "assistant", "content": "Yes."},
        *QUESTION,
    ]
    answer = sdk.call(ask(pool.model(), system=system, messages=messages))
    assert QUESTION[0]["content"] in text(answer)


def test_the_tokens_are_told(sdk, pool):
    plain = sdk.call(ask(pool.model("cached"))).usage
    _, whole = sdk.gather(stream(pool.model("cached")))
    for usage in (plain, whole.usage):
        assert usage.cache_read_input_tokens == 3
        assert usage.input_tokens > 0 < usage.output_tokens
    # The pool of all kinds counts as each of its providers does.
    if pool.kind != "mixed":
        assert (whole.usage.input_tokens, whole.usage.output_tokens) == (plain.input_tokens, plain.output_tokens)


@pytest.mark.parametrize("way", ["tools", "thinking_tools"])
def test_a_tool_is_called_and_its_result_answered(sdk, pool, way):
    model = pool.model(way)
    more = {"tools": TOOLS[:1]} | (THINKING if way == "thinking_tools" else {})
    plain = sdk.call(ask(model, **more))
    _, streamed = sdk.gather(stream(model, **more))
    for message in (plain, streamed):
        assert message.stop_reason == "tool_use"
        assert uses(message) == [("weather", {"city": QUESTION[0]["content"]})]
        answer = sdk.call(ask(model, messages=results(message), **more))
        assert answer.stop_reason == "end_turn"
        assert "Sunny." in text(answer)


def test_several_tools_are_called_at_once(sdk, pool):
    model, more = pool.model("two_tools"), {"tools": TOOLS}
    plain = sdk.call(ask(model, **more))
    events, streamed = sdk.gather(stream(model, **more))
    assert text(streamed) == text(plain) != ""
    assert [name for name, _ in uses(plain)] == ["weather", "time"]
    assert uses(streamed) == uses(plain)
    # The input comes as text, in pieces.
    starts = {e.index for e in events if e.type == "content_block_start" and e.content_block.type == "tool_use"}
    for index in starts:
        parts = [
            e.delta.partial_json
            for e in events
            if e.type == "content_block_delta" and e.index == index and e.delta.type == "input_json_delta"
        ]
        assert json.loads("".join(parts)) == streamed.content[index].input
    assert len(starts) == 2
    for message in (plain, streamed):
        assert message.stop_reason == "tool_use"
        answer = sdk.call(ask(model, messages=results(message, "Result"), **more))
        assert "Result 0" in text(answer) and "Result 1" in text(answer)


def test_a_tool_may_be_forced_or_forbidden(sdk, pool):
    forced = sdk.call(ask(pool.model(), tools=TOOLS, tool_choice={"type": "tool", "name": "time"}))
    assert [name for name, _ in uses(forced)] == ["time"]
    required = sdk.call(ask(pool.model("two_tools"), tools=TOOLS, tool_choice={"type": "any"}))
    assert len(uses(required)) == 2 and required.stop_reason == "tool_use"
    none = sdk.call(ask(pool.model("tools"), tools=TOOLS, tool_choice={"type": "none"}))
    assert none.stop_reason == "end_turn" and not uses(none)


def test_a_tool_that_fails(sdk, pool):
    message = sdk.call(ask(pool.model("tools"), tools=TOOLS[:1]))
    messages = results(message)
    messages[-1]["content"][0] |= {"is_error": True, "content": [{"type": "text", "text": "No such city."}]}
    answer = sdk.call(ask(pool.model("tools"), tools=TOOLS[:1], messages=messages))
    assert "No such city." in text(answer)


@pytest.mark.parametrize("kind", POOLS)
def test_thoughts_of_any_provider_may_come_back_to_a_pool_of_all(sdk, gateway, kind):
    more = {"tools": TOOLS[:1]} | THINKING
    message = sdk.call(ask(Pool(gateway, kind).model("thinking_tools"), **more))
    assert message.content[0].type == "thinking"
    # Each of its providers has its turn.
    sdk.served.clear()
    for _ in POOLS["mixed"]:
        answer = sdk.call(ask(gateway.models.mixed_thinking_tools, messages=results(message), **more))
        assert answer.stop_reason == "end_turn" and "Sunny." in text(answer)
    assert sdk.served == POOLS["mixed"]


@pytest.mark.parametrize("kind", POOLS)
def test_a_conversation_may_go_on_with_any_other_provider(sdk, gateway, kind):
    more = {"tools": TOOLS[:1]}
    message = sdk.call(ask(Pool(gateway, kind).model("tools"), **more))
    for other in POOLS:
        answer = sdk.call(ask(Pool(gateway, other).model("tools"), messages=results(message), **more))
        assert answer.stop_reason == "end_turn" and "Sunny." in text(answer), other


def test_pictures(sdk, pool):
    def see(source):
        blocks = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
        return text(sdk.call(ask(pool.model(), messages=[{"role": "user", "content": blocks}])))

    assert PICTURE_SEEN in see({"type": "base64", "media_type": "image/png", "data": PICTURE})
    assert "https://example.org/a.png" in see({"type": "url", "url": "https://example.org/a.png"})


def test_answers_of_a_form(sdk, pool):
    plain = sdk.call(lambda client: client.messages.parse(**asked(pool.model(), {"output_format": City})))
    assert isinstance(plain.parsed_output, City)
    assert plain.stop_reason == "end_turn" and not uses(plain)
    _, streamed = sdk.gather(stream(pool.model(), output_format=City))
    assert streamed.parsed_output == plain.parsed_output


def test_answers_stop_where_they_are_told_to(sdk, pool):
    whole = text(sdk.call(ask(pool.model())))
    word = whole.split()[-3]
    answer = sdk.call(ask(pool.model(), stop_sequences=[word, "never said"]))
    assert text(answer).rstrip() == whole[: whole.index(word)].rstrip()
    # OpenAI's and Google's formats do not say that it was one of these.
    assert (answer.stop_reason, answer.stop_sequence) in [("stop_sequence", word), ("end_turn", None)]
    assert answer.stop_reason == "stop_sequence" or pool.kind != "claude"
    short = sdk.call(ask(pool.model(), max_tokens=3))
    _, streamed = sdk.gather(stream(pool.model(), max_tokens=3))
    for answer in (short, streamed):
        assert answer.stop_reason == "max_tokens"
        assert whole.startswith(text(answer)) and text(answer)
        assert answer.usage.output_tokens == 3


def test_thoughts(sdk, pool):
    plain = sdk.call(ask(pool.model("thinking"), **THINKING))
    events, streamed = sdk.gather(stream(pool.model("thinking"), **THINKING))
    for message in (plain, streamed):
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert message.content[0].thinking == "Let me think."
    assert text(streamed) == text(plain)
    assert "".join(event.thinking for event in events if event.type == "thinking") == "Let me think."


def test_a_model_that_declines(sdk, pool):
    plain = sdk.call(ask(pool.model("refusing")))
    assert plain.stop_reason in ("refusal", "end_turn")
    assert pool.kind not in ("claude", "gemini") or plain.stop_reason == "refusal"


@pytest.mark.parametrize("way", ["cut", "error_midway"])
def test_a_broken_stream_is_an_error(sdk, pool, way):
    whole = text(sdk.call(ask(pool.model())))
    for read in (sdk.collect, sdk.gather):
        asks = ask(pool.model(way), stream=True) if read == sdk.collect else stream(pool.model(way))
        events = []
        with pytest.raises(anthropic.APIError):
            read(asks, into=events)
        said = "".join(event.delta.text for event in events if event.type == "content_block_delta")
        assert said and whole.startswith(said)
        assert not any(event.type in ("message_delta", "message_stop") for event in events)


REFUSED = [
    ("busy", anthropic.ServiceUnavailableError, 503, "overloaded_error"),
    ("key_refused", anthropic.InternalServerError, 502, "api_error"),
]


def refused(sdk, asks, kind, status, name, **options):
    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk.call(asks, **options)
    error = caught.value
    assert type(error) is kind, error
    assert error.status_code == status
    assert set(error.body) == {"type", "error", "request_id"} and error.body["type"] == "error"
    assert error.body["error"]["type"] == name and error.body["error"]["message"]
    assert error.request_id == error.body["request_id"]
    return error


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("way", "kind", "status", "name"), REFUSED)
def test_what_the_providers_refuse(sdk, pool, way, kind, status, name, streamed):
    refused(sdk, ask(pool.model(way), stream=streamed), kind, status, name)


def test_what_the_gateway_refuses(sdk, gateway, spare):
    good = ask(gateway.models.openai)
    for token in ("never-issued-to-anybody", gateway.tokens.expired):
        error = refused(sdk, good, anthropic.AuthenticationError, 401, "authentication_error", token=token)
        assert token not in str(error)
    refused(sdk, ask("no-such-model"), anthropic.NotFoundError, 404, "not_found_error")
    refused(sdk, good, anthropic.PermissionDeniedError, 403, "permission_error", token=gateway.tokens.narrow)
    limited = spare("user")
    for _ in range(2):
        sdk.call(good, token=limited)
    error = refused(sdk, good, anthropic.RateLimitError, 429, "rate_limit_error", token=limited)
    assert 1 <= int(error.response.headers["retry-after"]) <= 60


def test_the_token_may_come_as_a_bearer(sdk, gateway):
    answer = sdk.call(ask(gateway.models.openai), token="", api_key=None, auth_token=gateway.tokens.plain)
    assert text(answer)


def test_a_request_that_nobody_can_serve_names_the_field(sdk, gateway):
    more = {"extra_body": {"top_k": 5}}
    error = refused(
        sdk, ask(gateway.models.openai, **more), anthropic.BadRequestError, 400, "invalid_request_error"
    )
    assert "top_k" in error.body["error"]["message"]
    # In the pool of all kinds others can.
    sdk.served.clear()
    for _ in range(4):
        assert text(sdk.call(ask(gateway.models.mixed, **more)))
    assert sdk.served == {"claude", "gemini"}
    no_limit = lambda client: client.post(
        "/v1/messages", body={"model": "openai", "messages": QUESTION}, cast_to=object
    )
    error = refused(sdk, no_limit, anthropic.BadRequestError, 400, "invalid_request_error")
    assert "max_tokens" in error.body["error"]["message"]


def test_a_provider_of_another_kind_steps_in(sdk, gateway):
    for model, provider in (("from_claude", "right"), ("to_claude", "claude")):
        plain = text(sdk.call(ask(getattr(gateway.models, model))))
        assert text(sdk.gather(stream(getattr(gateway.models, model)))[1]) == plain
        assert sdk.served == {provider}
        sdk.served.clear()
