"""The Responses API, whoever stands behind the gateway: every answer and every event has the published form."""

import base64
import itertools
import json

import openai
import pytest
import requests
from conftest import PICTURE, PICTURE_SEEN, POOLS, Pool
from openresponses_types import types as published
from pydantic import BaseModel

KINDS = ["chat", *POOLS]
LOOKUP = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
PATCH = {"type": "custom", "name": "patch", "description": "Applies a patch."}
CITY = {
    "type": "json_schema",
    "name": "city",
    "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["name", "people"],
        "additionalProperties": False,
    },
}
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4").decode()
REASONING = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}


def user(*parts):
    return {"type": "message", "role": "user", "content": list(parts)}


def text(words):
    return {"type": "input_text", "text": words}


PICTURE_PART = {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"}
ROUND_TRIP = [
    user(text("How is it in Rome?")),
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Rome"}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "Sunny."},
]
CUSTOM_TRIP = [
    user(text("Mend it.")),
    {"type": "custom_tool_call", "call_id": "call_1", "name": "patch", "input": "*** text"},
    {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done."},
]
TURNS = [
    user(text("One")),
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Two"}]},
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Three"},
]

# What is asked: the end of the pool's name, and the request.
CASES = {
    "text": ("", {"input": "Hello!"}),
    "system": ("", {"input": "Hello!", "instructions": "Be brief."}),
    "tool": ("tools", {"input": "How is it in Rome?", "tools": [LOOKUP]}),
    "two tools": ("two_tools", {"input": "How is it in Rome?", "tools": [LOOKUP]}),
    "round trip": ("tools", {"input": ROUND_TRIP, "tools": [LOOKUP]}),
    "picture": ("", {"input": [user(text("What is it?"), PICTURE_PART)]}),
    "file": ("", {"input": [user(text("What is it?"), {"type": "input_file", "filename": "a.pdf", "file_data": PDF})]}),
    "turns": ("", {"input": TURNS}),
    "reasoning": ("thinking", {"input": "Hello!"} | REASONING),
    "reasoning and tools": ("thinking_tools", {"input": "How is it in Rome?", "tools": [LOOKUP]} | REASONING),
    "structured": ("", {"input": "Name a city as json.", "text": {"format": CITY}}),
    "custom tool": ("tools", {"input": "Mend it.", "tools": [PATCH]}),
    "custom round trip": ("tools", {"input": CUSTOM_TRIP, "tools": [PATCH]}),
    "namespace": (
        "tools",
        {
            "input": "How is it?",
            "tools": [{"type": "namespace", "name": "sky", "description": "The sky.", "tools": [LOOKUP]}],
        },
    ),
    "refusal": ("refusing", {"input": "Hello!"}),
    "short": ("", {"input": "Hello!", "max_output_tokens": 16}),
}


class Front:
    """Asks as a client without an SDK does."""

    def __init__(self, gateway, kind):
        self.gateway, self.pool = gateway, Pool(gateway, kind)

    def post(self, way, stream=False, **more):
        response = requests.post(
            f"{self.gateway.base_url}/responses",
            json={"model": self.pool.model(way), "stream": stream, "store": False} | more,
            headers={"authorization": f"Bearer {self.gateway.tokens.plain}"},
            timeout=30,
        )
        response.encoding = "utf-8"
        return response


@pytest.fixture(params=KINDS)
def front(request, gateway):
    return Front(gateway, request.param)


def known(resource):
    """The resource without what the published types have no form for: custom tools, namespaces, and JSON schemas."""
    resource = json.loads(json.dumps(resource))
    if "schema" in resource["text"]["format"]:
        resource["text"]["format"]["schema"] = None
    resource["tools"] = [tool for tool in resource["tools"] if tool["type"] == "function"]
    resource["output"] = [item for item in resource["output"] if item["type"] != "custom_tool_call"]
    return resource


def check_resource(resource):
    published.ResponseResource.model_validate(known(resource))
    if resource["usage"]:
        assert resource["usage"]["total_tokens"] == resource["usage"]["input_tokens"] + resource["usage"]["output_tokens"]


def event_types():
    found = {}
    for model in vars(published).values():
        if isinstance(model, type) and model.__name__.endswith("StreamingEvent"):
            for kind in model.model_fields["type"].annotation:
                found[kind.value] = model
    return found


EVENTS = event_types()


def events_of(response):
    """The events of a stream, each with its name, and the end mark."""
    out = []
    for block in response.text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines.get("data") == "[DONE]":
            out.append(None)
        elif lines:
            event = json.loads(lines["data"])
            assert lines["event"] == event["type"]
            out.append(event)
    return out


# What may follow what inside an item, by the item's type.
PARTS = {
    "message": ["content_part.added", "delta*", "text.done", "content_part.done"],
    "reasoning": ["reasoning_summary_part.added", "delta*", "text.done", "reasoning_summary_part.done"],
    "function_call": ["delta*", "arguments.done"],
    "custom_tool_call": ["delta*", "input.done"],
}


def check_events(events, whole=True):
    """The stream keeps to the grammar; returns the last response."""
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    open_item, deltas, items = None, "", []
    for event in events:
        kind = event["type"]
        if model := EVENTS.get(kind):
            event_known = dict(event)
            if "response" in event:
                event_known["response"] = known(event["response"])
            if event.get("item", {}).get("type") != "custom_tool_call":
                model.model_validate(event_known)
        else:
            assert kind.startswith("response.custom_tool_call_input."), kind
        if kind == "response.output_item.added":
            assert open_item is None and event["output_index"] == len(items)
            open_item, deltas = event["item"], ""
        elif kind == "response.output_item.done":
            item = event["item"]
            assert (item["id"], item["type"]) == (open_item["id"], open_item["type"])
            said = {
                "message": lambda: "".join(part.get("text") or part.get("refusal") or "" for part in item["content"]),
                "reasoning": lambda: "".join(part["text"] for part in item["summary"]),
                "function_call": lambda: item["arguments"],
                "custom_tool_call": lambda: item["input"],
            }[item["type"]]()
            assert said == deltas, item
            items.append(item)
            open_item = None
        elif "item_id" in event:
            assert event["item_id"] == open_item["id"] and event["output_index"] == len(items)
            deltas += event.get("delta", "")
    last = events[-1]
    if whole:
        assert last["type"] in ("response.completed", "response.incomplete") and open_item is None
        assert last["response"]["output"] == items
    check_resource(last["response"])
    return last["response"]


def kinds(resource):
    return [item["type"] for item in resource["output"]]


def said(resource):
    parts = [part for item in resource["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part.get("text") or part.get("refusal") or "" for part in parts)


def calls(resource):
    fields = ("type", "name", "namespace", "arguments", "input")
    return [{f: item[f] for f in fields if item.get(f) is not None} for item in resource["output"] if "call_id" in item]


@pytest.mark.parametrize("case", CASES)
def test_plain_and_streamed_have_the_published_form(front, case):
    way, request = CASES[case]
    response = front.post(way, **request)
    assert response.status_code == 200, response.text
    plain = response.json()
    check_resource(plain)
    response = front.post(way, stream=True, **request)
    assert response.status_code == 200, response.text
    events = events_of(response)
    if events[-1] is None:
        events.pop()
    streamed = check_events(events)
    assert kinds(streamed) == kinds(plain)
    if front.pool.kind != "mixed":
        assert said(streamed) == said(plain)
    assert calls(streamed) == calls(plain)
    assert streamed["status"] == plain["status"]
    if case == "tool":
        assert calls(plain) == [{"type": "function_call", "name": "weather", "arguments": calls(plain)[0]["arguments"]}]
        assert json.loads(calls(plain)[0]["arguments"])["city"]
    if case == "namespace":
        assert [(call["name"], call["namespace"]) for call in calls(plain)] == [("weather", "sky")]
    if case == "custom tool":
        assert [(call["type"], call["name"], call["input"]) for call in calls(plain)] == [
            ("custom_tool_call", "patch", "Mend it.")
        ]
    if case == "round trip":
        assert "Sunny." in said(plain)
    if case == "custom round trip":
        assert "Done." in said(plain)
    if case == "picture":
        assert PICTURE_SEEN in said(plain)
    if case == "file":
        assert "application/pdf of 8 bytes" in said(plain)
    if case.startswith("reasoning"):
        assert kinds(plain)[0] == "reasoning" and plain["output"][0]["summary"]
    if case == "structured":
        assert set(json.loads(said(plain))) == {"name", "people"}
    if case == "short":
        assert plain["status"] == "incomplete" and plain["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("way", ["cut", "error_midway"])
def test_an_interrupted_stream_fails_in_the_published_form(front, way):
    try:
        response = front.post(way, stream=True, input="Hello!")
        content = response.text
    except requests.exceptions.ChunkedEncodingError:
        return
    assert response.status_code == 200, content
    events = [event for event in events_of(response) if event]
    assert events[-1]["type"] in ("response.failed", "response.completed"), events[-1]


def test_errors_have_the_form_of_the_api(front):
    for way, more, status in [
        ("", {"input": [{"type": "message", "role": "alien", "content": "x"}]}, 400),
        ("", {"input": "Hi", "previous_response_id": "resp_unknown"}, 400),
        ("busy", {"input": "Hi"}, 503),
    ]:
        response = front.post(way, **more)
        error = response.json()["error"]
        assert response.status_code == status, response.text
        assert set(error) == {"message", "type", "param", "code"}
    assert front.post("", input="Hi", previous_response_id="resp_unknown").json()["error"]["code"] == (
        "previous_response_not_found"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_sdk_creates_streams_and_parses(sdk, gateway, kind):
    pool = Pool(gateway, kind)
    answer = sdk.call(lambda client: client.responses.create(model=pool.model(), input="Hello!"))
    assert answer.output_text and answer.usage.output_tokens

    class City(BaseModel):
        name: str
        people: int

    ask = {"model": pool.model(), "input": "Name a city as json.", "text_format": City}
    assert isinstance(sdk.call(lambda client: client.responses.parse(**ask)).output_parsed, City)
    events = sdk.collect(lambda client: client.responses.create(model=pool.model(), input="Hello!", stream=True))
    assert events[-1].type == "response.completed"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text != ""


@pytest.mark.parametrize("way", ["", "thinking"])
def test_five_turns_with_tools_survive_a_change_of_provider(gateway, way):
    """Reasoning goes back and forth, and no provider refuses what another has said."""
    # A pool would stay with the account that made the ids in the history, so each step asks another one.
    fronts = itertools.cycle(Front(gateway, kind) for kind in ["openai", "claude", "gemini", "azure", "mixed"])
    input, providers = [], set()
    for turn in range(5):
        input.append(user(text(f"Turn {turn}: how is it in Rome?")))
        for expected in ("function_call", "message"):
            response = next(fronts).post(f"{way}_tools" if way else "tools", input=input, tools=[LOOKUP], **REASONING)
            assert response.status_code == 200, response.text
            providers.add(response.headers["x-berry-backend"].partition(":")[0])
            output = response.json()["output"]
            # The signature of a text stands after it.
            said = [item for item in output if item["type"] != "reasoning"]
            assert said[-1]["type"] == expected
            input += output
            if expected == "function_call":
                input.append({"type": "function_call_output", "call_id": said[-1]["call_id"], "output": "Sunny."})
    assert providers == POOLS["mixed"]


def test_five_turns_of_messages_survive_a_change_of_provider(messages_sdk, gateway):
    sdk, messages = messages_sdk, []
    tool = {"name": "weather", "input_schema": LOOKUP["parameters"]}
    for turn in range(5):
        messages.append({"role": "user", "content": f"Turn {turn}: how is it in Rome?"})
        for expected in ("tool_use", "text"):
            ask = {
                "model": gateway.models.mixed_thinking_tools,
                "messages": list(messages),
                "tools": [tool],
                "max_tokens": 4000,
                "thinking": {"type": "enabled", "budget_tokens": 1024},
            }
            answer = sdk.call(lambda client: client.messages.create(**ask))
            assert answer.content[-1].type == expected
            messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in answer.content]})
            if expected == "tool_use":
                result = {"type": "tool_result", "tool_use_id": answer.content[-1].id, "content": "Sunny."}
                messages.append({"role": "user", "content": [result]})
    assert sdk.served == POOLS["mixed"]


def test_a_websocket_is_sent_to_http(gateway):
    response = requests.get(
        f"{gateway.base_url}/responses",
        headers={
            "authorization": f"Bearer {gateway.tokens.plain}",
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
        timeout=10,
    )
    assert response.status_code == 426 and response.json()["error"]["code"] == "websocket_not_supported"


def test_tokens_are_counted_or_estimated(front):
    headers = {"authorization": f"Bearer {front.gateway.tokens.plain}"}
    ask = {"model": front.pool.model(), "input": "How many tokens is this?", "tools": [LOOKUP]}
    response = requests.post(f"{front.gateway.base_url}/responses/input_tokens", json=ask, headers=headers, timeout=10)
    assert response.status_code == 200, response.text
    assert response.json()["object"] == "response.input_tokens" and response.json()["input_tokens"] > 5
    ask = {"model": front.pool.model(), "messages": [{"role": "user", "content": "How many tokens is this?"}]}
    response = requests.post(f"{front.gateway.base_url}/messages/count_tokens", json=ask, headers=headers, timeout=10)
    assert response.status_code == 200 and response.json()["input_tokens"] > 5, response.text


def test_the_sdks_error_is_of_its_class(sdk, front):
    with pytest.raises(openai.NotFoundError):
        sdk.call(lambda client: client.responses.create(model="no-such-model", input="Hi"))
