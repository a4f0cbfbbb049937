"""Both SDKs against a provider with each preset, which refuses and answers as the real one does."""

import json
import os

import anthropic
import openai
import pytest
from conftest import NO_TLS, PICTURE
from pydantic import BaseModel

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ANTHROPIC_TOOL = {"name": "weather", "input_schema": TOOL["function"]["parameters"]}
MESSAGES = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "name": "ann", "content": [{"type": "text", "text": "The weather?"}]},
]


class Answer(BaseModel):
    answer: str


def pytest_generate_tests(metafunc):
    """A test for each preset; the names are in the fixture's line."""
    line = json.loads(os.environ.get("BERRY_FIXTURE", '{"models": {"presets": []}}'))
    metafunc.parametrize("preset", line["models"]["presets"])


@pytest.fixture
def chat(gateway):
    http = openai.DefaultHttpxClient(verify=NO_TLS)
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=gateway.tokens.plain, max_retries=0, timeout=20, http_client=http
    ) as client:
        yield client.chat.completions


@pytest.fixture
def messages(gateway):
    http = anthropic.DefaultHttpxClient(verify=NO_TLS)
    with anthropic.Anthropic(
        base_url=gateway.base_url.removesuffix("/v1"),
        api_key=gateway.tokens.plain,
        max_retries=0,
        timeout=20,
        http_client=http,
    ) as client:
        yield client.messages


def test_tools_twice_round(chat, preset):
    ask = {"model": f"preset-{preset}-tools", "tools": [TOOL], "max_tokens": 64, "reasoning_effort": "max"}
    first = chat.create(messages=MESSAGES, **ask).choices[0]
    assert first.finish_reason == "tool_calls"
    call = first.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    history = [*MESSAGES, first.message.model_dump(exclude_none=True), result]
    text = ""
    for chunk in chat.create(messages=history, stream=True, stream_options={"include_usage": True}, **ask):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert "rain" in text


def test_tools_twice_round_in_messages(messages, preset):
    ask = {"model": f"preset-{preset}-tools", "tools": [ANTHROPIC_TOOL], "max_tokens": 64}
    question = {"role": "user", "content": [{"type": "text", "text": "The weather?"}]}
    first = messages.create(messages=[question], **ask)
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
    history = [question, {"role": "assistant", "content": first.content}, result]
    with messages.stream(messages=history, **ask) as stream:
        assert "rain" in stream.get_final_text()


def test_thinking(chat, messages, preset):
    model = f"preset-{preset}-think"
    message = chat.create(model=model, messages=MESSAGES, reasoning_effort="high").choices[0].message
    assert message.content
    question = [{"role": "user", "content": "Why?"}]
    with messages.stream(
        model=model, max_tokens=4096, thinking={"type": "enabled", "budget_tokens": 1024}, messages=question
    ) as stream:
        blocks = [block.type for block in stream.get_final_message().content]
    assert blocks[0] == "thinking" and "text" in blocks


def test_structured_output_and_a_picture(chat, preset):
    model = f"preset-{preset}"
    parsed = chat.parse(model=model, messages=MESSAGES, response_format=Answer).choices[0].message.parsed
    assert parsed.answer
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}
    question = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]
    assert "image/png" in chat.create(model=model, messages=question).choices[0].message.content


def test_structured_output_and_a_picture_in_messages(messages, preset):
    model = f"preset-{preset}"
    schema = {**Answer.model_json_schema(), "additionalProperties": False}
    form = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    question = {"role": "user", "content": "The weather?"}
    answer = messages.create(model=model, max_tokens=256, messages=[question], extra_body=form)
    text = next(block.text for block in answer.content if block.type == "text")
    assert Answer.model_validate_json(text).answer
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    seen = messages.create(model=model, max_tokens=256, messages=[{"role": "user", "content": parts}])
    assert "image/png" in next(block.text for block in seen.content if block.type == "text")
