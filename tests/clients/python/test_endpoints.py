"""Every endpoint, as a client uses it when nothing goes wrong."""

import json

import pytest
from conftest import QUESTION, chat, text_of
from openai import OpenAI

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def test_a_plain_answer(sdk, gateway):
    answer = sdk.call(chat(gateway.models.healthy))
    assert answer.object == "chat.completion"
    assert QUESTION[0]["content"] in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_streamed_answer_says_what_the_plain_one_says(sdk, gateway):
    plain = sdk.call(chat(gateway.models.healthy)).choices[0].message.content
    chunks = sdk.collect(chat(gateway.models.healthy, stream=True))
    assert text_of(chunks) == plain
    assert len(chunks) > 10
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_is_in_a_stream_when_it_is_asked_for(sdk, gateway):
    chunks = sdk.collect(chat(gateway.models.healthy, stream=True, stream_options={"include_usage": True}))
    *rest, last = chunks
    assert last.choices == []
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0
    assert all(chunk.usage is None and chunk.choices for chunk in rest)


def test_usage_is_not_in_a_stream_when_it_is_not_asked_for(sdk, gateway):
    chunks = sdk.collect(chat(gateway.models.healthy, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_several_choices(sdk, gateway):
    plain = sdk.call(chat(gateway.models.healthy, n=2))
    chunks = sdk.collect(chat(gateway.models.healthy, n=2, stream=True))
    assert len(plain.choices) == 2
    for choice in plain.choices:
        of_this = [c.choices[0] for c in chunks if c.choices[0].index == choice.index]
        assert "".join(c.delta.content or "" for c in of_this) == choice.message.content
        assert of_this[-1].finish_reason == "stop"


def test_a_limit_of_tokens_is_passed_on(sdk, gateway):
    answer = sdk.call(chat(gateway.models.healthy, max_tokens=3))
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_a_tool_is_called_and_its_result_answered(sdk, gateway):
    model = gateway.models.tools
    asked = sdk.call(chat(model, tools=TOOLS))
    assert asked.choices[0].finish_reason == "tool_calls"
    (call,) = asked.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert isinstance(json.loads(call.function.arguments), dict)
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}
    messages = [*QUESTION, asked.choices[0].message.model_dump(exclude_none=True), result]
    answer = sdk.call(chat(model, messages=messages, tools=TOOLS))
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content


def test_a_streamed_tool_call_is_the_plain_one(sdk, gateway):
    plain = sdk.call(chat(gateway.models.tools, tools=TOOLS)).choices[0].message.tool_calls[0]
    chunks = sdk.collect(chat(gateway.models.tools, tools=TOOLS, stream=True))
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    assert parts[0].id and parts[0].function.name == plain.function.name
    assert "".join(part.function.arguments or "" for part in parts) == plain.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_the_list_of_models(sdk, gateway):
    names = [model.id for model in sdk.collect(lambda client: client.models.list())]
    assert names == sorted(names)
    assert gateway.models.healthy in names
    assert gateway.models.members_only not in names
    members = sdk.collect(lambda client: client.models.list(), token=gateway.tokens.member)
    assert gateway.models.members_only in [model.id for model in members]
    narrow = sdk.collect(lambda client: client.models.list(), token=gateway.tokens.narrow)
    assert [model.id for model in narrow] == [gateway.models.healthy]


def test_one_model(sdk, gateway):
    model = sdk.call(lambda client: client.models.retrieve(gateway.models.healthy))
    assert (model.id, model.object, model.owned_by) == (gateway.models.healthy, "model", "berry-api")
    assert model.created > 1_600_000_000


def test_embeddings(sdk, gateway):
    def embed(**more):
        return sdk.call(lambda client: client.embeddings.create(model=gateway.models.healthy, **more))

    # The SDK asks for base64 unless it is told otherwise.
    packed = embed(input=["one", "two"])
    plain = embed(input=["one", "two"], encoding_format="float")
    assert [item.index for item in packed.data] == [0, 1]
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
    assert packed.data[0].embedding != packed.data[1].embedding
    assert len(embed(input="one", dimensions=8).data[0].embedding) == 8
    assert packed.usage.total_tokens > 0


def test_older_completions(sdk, gateway):
    def complete(**more):
        return lambda client: client.completions.create(model=gateway.models.healthy, prompt="Once", **more)

    plain = sdk.call(complete())
    chunks = sdk.collect(complete(stream=True))
    assert plain.object == "text_completion" and plain.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text
    assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason == "stop"


def test_responses(sdk, gateway):
    def respond(**more):
        return lambda client: client.responses.create(model=gateway.models.healthy, input="What is this?", **more)

    plain = sdk.call(respond())
    assert plain.status == "completed" and plain.output_text and plain.usage.total_tokens > 0
    events = sdk.collect(respond(stream=True))
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == plain.output_text == events[-1].response.output_text


def test_moderations(sdk, gateway):
    answer = sdk.call(lambda client: client.moderations.create(model=gateway.models.healthy, input=["one", "two"]))
    assert [result.flagged for result in answer.results] == [False, False]
    assert answer.results[0].categories.violence is False


def test_images(sdk, gateway):
    answer = sdk.call(lambda client: client.images.generate(model=gateway.models.healthy, prompt="A berry", n=2))
    assert len(answer.data) == 2
    assert answer.data[0].b64_json.startswith("iVBOR")


def test_speech(sdk, gateway):
    def speak(**more):
        arguments = {"model": gateway.models.healthy, "voice": "alloy", "input": "A few words to say."} | more
        return sdk.call(lambda client: client.audio.speech.create(**arguments))

    sound = speak()
    assert sound.content.startswith(b"ID3") and len(sound.content) > 1024
    assert sound.response.headers["content-type"] == "audio/mpeg"
    assert speak(response_format="wav").response.headers["content-type"] == "audio/wav"


def test_the_headers_tell_where_an_answer_came_from(sdk, gateway):
    def ask(client):
        return client.chat.completions.with_raw_response.create(
            model=gateway.models.one_dead, messages=QUESTION, extra_headers={"x-request-id": "from-the-client"}
        )

    raw = sdk.call(ask)
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id == "from-the-client"
    assert raw.headers["x-berry-backend"] == "right:sim"
    assert int(raw.headers["x-berry-attempts"]) >= 1
    assert raw.parse().choices[0].message.content


def test_every_answer_has_a_request_id_of_its_own(sdk, gateway):
    ids = {sdk.call(chat(gateway.models.healthy))._request_id for _ in range(3)}
    assert len(ids) == 3 and None not in ids


def test_a_pool_takes_turns(sdk, gateway):
    def ask(client):
        return client.chat.completions.with_raw_response.create(model=gateway.models.healthy, messages=QUESTION)

    served = {sdk.call(ask).headers["x-berry-backend"] for _ in range(4)}
    assert served == {"left:sim", "right:sim"}


@pytest.fixture
def client(gateway):
    with OpenAI(base_url=gateway.base_url, api_key=gateway.tokens.plain, max_retries=0, timeout=20) as client:
        yield client


def test_the_helper_that_gathers_a_chat_stream(client, gateway):
    plain = client.chat.completions.create(model=gateway.models.healthy, messages=QUESTION)
    with client.chat.completions.stream(model=gateway.models.healthy, messages=QUESTION) as stream:
        kinds = {event.type for event in stream}
        gathered = stream.get_final_completion()
    assert {"content.delta", "content.done"} <= kinds
    assert gathered.choices[0].message.content == plain.choices[0].message.content


def test_the_helper_that_gathers_a_response_stream(client, gateway):
    with client.responses.stream(model=gateway.models.healthy, input="What is this?") as stream:
        gathered = stream.get_final_response()
    assert gathered.status == "completed" and gathered.output_text


def test_speech_as_it_comes(client, gateway):
    with client.audio.speech.with_streaming_response.create(
        model=gateway.models.healthy, voice="alloy", input="A few words to say."
    ) as sound:
        pieces = list(sound.iter_bytes(512))
    assert len(pieces) > 1 and pieces[0].startswith(b"ID3")


def test_a_transcript(sdk, gateway):
    ask = lambda client: client.audio.transcriptions.create(model=gateway.models.healthy, file=("a.wav", b"RIFF\r\n--"))
    assert sdk.call(ask).text == "a.wav has 8 bytes."


def test_an_edited_image(sdk, gateway):
    ask = lambda client: client.images.edit(model=gateway.models.healthy, image=("a.png", b"PNG"), prompt="a gate")
    assert sdk.call(ask).data[0].b64_json
