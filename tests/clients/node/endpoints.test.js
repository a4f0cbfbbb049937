// Every endpoint, as a client uses it when nothing goes wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import { QUESTION, answer, chat, collect, connect, models, textOf, tokens } from "./support.js";

const client = connect();
const model = models.healthy;

const TOOLS = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

test("a plain answer", async () => {
  const whole = await chat(client, model);
  assert.equal(whole.object, "chat.completion");
  assert.ok(whole.choices[0].message.content.includes(QUESTION[0].content));
  assert.equal(whole.choices[0].finish_reason, "stop");
  const { prompt_tokens, completion_tokens, total_tokens } = whole.usage;
  assert.ok(completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
});

test("a streamed answer says what the plain one says", async () => {
  const chunks = await collect(chat(client, model, { stream: true }));
  assert.equal(textOf(chunks), await answer(client, model));
  assert.ok(chunks.length > 10);
  const ends = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
  assert.deepEqual(ends, ["stop"]);
});

test("usage is in a stream when it is asked for", async () => {
  const chunks = await collect(chat(client, model, { stream: true, stream_options: { include_usage: true } }));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.total_tokens > 0);
  assert.ok(chunks.every((chunk) => !chunk.usage && chunk.choices.length === 1));
});

test("usage is not in a stream when it is not asked for", async () => {
  const chunks = await collect(chat(client, model, { stream: true }));
  assert.ok(chunks.every((chunk) => !chunk.usage && chunk.choices.length === 1));
});

test("several choices", async () => {
  const chunks = await collect(chat(client, model, { stream: true, n: 2 }));
  const plain = await chat(client, model, { n: 2 });
  assert.equal(plain.choices.length, 2);
  for (const choice of plain.choices) {
    const ofThis = chunks.filter((chunk) => chunk.choices[0].index === choice.index);
    assert.equal(textOf(ofThis), choice.message.content);
    assert.equal(ofThis.at(-1).choices[0].finish_reason, "stop");
  }
});

test("a tool is called and its result answered", async () => {
  const asked = await chat(client, models.tools, { tools: TOOLS });
  assert.equal(asked.choices[0].finish_reason, "tool_calls");
  const { message } = asked.choices[0];
  const [call] = message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert.equal(typeof JSON.parse(call.function.arguments), "object");
  const result = { role: "tool", tool_call_id: call.id, content: "Sunny." };
  const last = await chat(client, models.tools, { tools: TOOLS, messages: [...QUESTION, message, result] });
  assert.equal(last.choices[0].finish_reason, "stop");
  assert.ok(last.choices[0].message.content);
});

test("a streamed tool call is the plain one", async () => {
  const plain = (await chat(client, models.tools, { tools: TOOLS })).choices[0].message.tool_calls[0];
  const gathered = await client.chat.completions
    .stream({ model: models.tools, messages: QUESTION, tools: TOOLS })
    .finalChatCompletion();
  const [call] = gathered.choices[0].message.tool_calls;
  assert.equal(gathered.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(
    [call.function.name, call.function.arguments],
    [plain.function.name, plain.function.arguments],
  );
});

test("the SDK runs a tool by itself", async () => {
  let called = 0;
  const weather = { ...TOOLS[0].function, parse: JSON.parse, function: () => (called++, "Sunny.") };
  const runner = client.chat.completions.runTools({
    model: models.tools,
    messages: QUESTION,
    tools: [{ type: "function", function: weather }],
  });
  assert.ok(await runner.finalContent());
  assert.equal(called, 1);
});

test("the list of models", async () => {
  const names = async (token) => (await collect(connect(token).models.list())).map((model) => model.id);
  const plain = await names(tokens.plain);
  assert.deepEqual(plain, [...plain].sort());
  assert.ok(plain.includes(model) && !plain.includes(models.members_only));
  assert.ok((await names(tokens.member)).includes(models.members_only));
  assert.deepEqual(await names(tokens.narrow), [model]);
});

test("one model", async () => {
  const { id, object, owned_by } = await client.models.retrieve(model);
  assert.deepEqual([id, object, owned_by], [model, "model", "berry-api"]);
});

test("embeddings", async () => {
  // The SDK asks for base64 unless it is told otherwise.
  const input = ["one", "two"];
  const packed = await client.embeddings.create({ model, input });
  const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
  assert.deepEqual(packed.data.map((item) => item.index), [0, 1]);
  packed.data.forEach((item, i) => assert.deepEqual([...item.embedding], plain.data[i].embedding));
  assert.notDeepEqual(plain.data[0].embedding, plain.data[1].embedding);
});

test("older completions", async () => {
  const prompt = "Once";
  const plain = await client.completions.create({ model, prompt });
  const chunks = await collect(client.completions.create({ model, prompt, stream: true }));
  assert.ok(plain.choices[0].text);
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), plain.choices[0].text);
});

test("responses", async () => {
  const input = "What is this?";
  const plain = await client.responses.create({ model, input });
  assert.equal(plain.status, "completed");
  assert.ok(plain.output_text);
  const events = await collect(client.responses.create({ model, input, stream: true }));
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), plain.output_text);
  const gathered = await client.responses.stream({ model, input }).finalResponse();
  assert.equal(gathered.output_text, plain.output_text);
});

test("moderations", async () => {
  const { results } = await client.moderations.create({ model, input: ["one", "two"] });
  assert.deepEqual(results.map((result) => result.flagged), [false, false]);
});

test("images", async () => {
  const { data } = await client.images.generate({ model, prompt: "A berry", n: 2 });
  assert.equal(data.length, 2);
  assert.ok(data[0].b64_json.startsWith("iVBOR"));
});

test("speech", async () => {
  const sound = await client.audio.speech.create({ model, voice: "alloy", input: "A few words to say." });
  assert.equal(sound.headers.get("content-type"), "audio/mpeg");
  const bytes = Buffer.from(await sound.arrayBuffer());
  assert.equal(bytes.subarray(0, 3).toString(), "ID3");
  assert.ok(bytes.length > 1024);
});

test("the headers tell where an answer came from", async () => {
  const headers = { "x-request-id": "from-the-client" };
  const asked = client.chat.completions.create({ model: models.one_dead, messages: QUESTION }, { headers });
  const { data, response, request_id } = await asked.withResponse();
  assert.equal(request_id, "from-the-client");
  assert.equal(response.headers.get("x-request-id"), "from-the-client");
  assert.equal(response.headers.get("x-berry-backend"), "right:sim");
  assert.ok(Number(response.headers.get("x-berry-attempts")) >= 1);
  assert.ok(data.choices[0].message.content);
});

test("every answer has a request id of its own", async () => {
  const ids = new Set();
  for (let i = 0; i < 3; i++) ids.add((await chat(client, model))._request_id);
  assert.equal(ids.size, 3);
  assert.ok(!ids.has(undefined) && !ids.has(null));
});
