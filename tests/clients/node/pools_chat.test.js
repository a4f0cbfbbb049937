// OpenAI's SDK, whoever stands behind the gateway. The providers refuse what their published rules
// do not allow, so an answer says that they were asked as they want to be.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { PICTURE, PICTURE_SEEN, forEachPool, noting } from "./pools.js";
import { QUESTION, chat, collect, connect, models, refused, textOf, tokens } from "./support.js";

const TOOLS = ["weather", "time"].map((name) => ({
  type: "function",
  function: {
    name,
    description: `The ${name} of a city.`,
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}));
const City = z.object({ name: z.string(), people: z.number() });

const each = (name, run) => forEachPool(name, (options) => connect(tokens.plain, options), run);
const stream = (client, model, more = {}) => client.chat.completions.stream({ model, messages: QUESTION, ...more });
const callsOf = (message) => message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
// Azure's first chunk is about the prompt and has no choices.
const ends = (chunks) => chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean);

each("plain and streamed answers are the same", async (client, kind, model) => {
  const more = { messages: [{ role: "system", content: "Be brief." }, ...QUESTION], temperature: 0.5 };
  const plain = await chat(client, model(), more);
  const said = plain.choices[0].message.content;
  assert.ok(said.includes(QUESTION[0].content));
  assert.equal(plain.choices[0].finish_reason, "stop");
  const chunks = await collect(chat(client, model(), { ...more, stream: true }));
  assert.equal(textOf(chunks), said);
  assert.deepEqual(ends(chunks), ["stop"]);
  assert.equal(await stream(client, model(), more).finalContent(), said);
});

each("usage is told, plain and streamed", async (client, kind, model) => {
  const plain = (await chat(client, model("cached"))).usage;
  const options = { stream: true, stream_options: { include_usage: true } };
  const last = (await collect(chat(client, model("cached"), options))).pop();
  assert.deepEqual(last.choices, []);
  for (const usage of [plain, last.usage]) {
    assert.equal(usage.prompt_tokens_details.cached_tokens, 3);
    assert.ok(usage.completion_tokens > 0);
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  }
});

each("tools are called and their results answered", async (client, kind, model) => {
  const asked = await chat(client, model("two_tools"), { tools: TOOLS });
  const plain = asked.choices[0].message;
  const whole = await stream(client, model("two_tools"), { tools: TOOLS }).finalChatCompletion();
  const streamed = whole.choices[0].message;
  assert.equal(asked.choices[0].finish_reason, "tool_calls");
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(callsOf(plain).map(([name]) => name), ["weather", "time"]);
  assert.deepEqual(callsOf(streamed), callsOf(plain));
  assert.equal(streamed.content, plain.content);
  const results = plain.tool_calls.map(({ id }, n) => ({ role: "tool", tool_call_id: id, content: `Result ${n}.` }));
  const messages = [...QUESTION, plain, ...results];
  const { message, finish_reason } = (await chat(client, model("two_tools"), { tools: TOOLS, messages })).choices[0];
  assert.equal(finish_reason, "stop");
  assert.ok(message.content.includes("Result 0.") && message.content.includes("Result 1."));
});

each("the SDK runs a tool by itself, in a stream", async (client, kind, model) => {
  let called = 0;
  const weather = { ...TOOLS[0].function, parse: JSON.parse, function: () => (called++, "Sunny.") };
  const tools = [{ type: "function", function: weather }];
  const runner = client.chat.completions.runTools({ model: model("tools"), messages: QUESTION, tools, stream: true });
  assert.ok((await runner.finalContent()).includes("Sunny."));
  assert.equal(called, 1);
});

each("pictures", async (client, kind, model) => {
  const see = async (url) => {
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
    return (await chat(client, model(), { messages: [{ role: "user", content }] })).choices[0].message.content;
  };
  assert.ok((await see(`data:image/png;base64,${PICTURE}`)).includes(PICTURE_SEEN));
  assert.ok((await see("https://example.org/a.png")).includes("https://example.org/a.png"));
});

each("JSON", async (client, kind, model) => {
  const messages = [{ role: "user", content: "Describe Rome as JSON." }];
  const loose = { messages, response_format: { type: "json_object" } };
  const plain = JSON.parse((await chat(client, model(), loose)).choices[0].message.content);
  const chunks = await collect(chat(client, model(), { ...loose, stream: true }));
  for (const value of [plain, JSON.parse(textOf(chunks))]) assert.equal(typeof value, "object");
  const strict = { model: model(), messages, response_format: zodResponseFormat(City, "city") };
  const { parsed } = (await client.chat.completions.parse(strict)).choices[0].message;
  City.parse(parsed);
  const whole = await client.chat.completions.stream(strict).finalChatCompletion();
  assert.deepEqual(whole.choices[0].message.parsed, parsed);
});

each("answers stop where they are told to", async (client, kind, model) => {
  const whole = (await chat(client, model())).choices[0].message.content;
  const word = whole.split(" ").at(-3);
  const stopped = (await chat(client, model(), { stop: [word] })).choices[0];
  assert.deepEqual([stopped.finish_reason, stopped.message.content], ["stop", whole.slice(0, whole.indexOf(word))]);
  const short = await chat(client, model(), { max_completion_tokens: 3 });
  assert.equal(short.choices[0].finish_reason, "length");
  assert.equal(short.usage.completion_tokens, 3);
});

each("thoughts", async (client, kind, model) => {
  const more = { reasoning_effort: "low" };
  const { message } = (await chat(client, model("thinking"), more)).choices[0];
  assert.equal(message.reasoning_content, "Let me think.");
  const chunks = await collect(chat(client, model("thinking"), { ...more, stream: true }));
  const thoughts = chunks.map((chunk) => chunk.choices[0]?.delta.reasoning_content ?? "").join("");
  assert.equal(thoughts, message.reasoning_content);
  assert.equal(textOf(chunks), message.content);
});

each("a broken stream is an error", async (client, kind, model) => {
  const whole = (await chat(client, model())).choices[0].message.content;
  for (const way of ["cut", "error_midway"]) {
    const chunks = [];
    const asked = collect(chat(client, model(way), { stream: true }), chunks);
    await assert.rejects(asked, { code: "upstream_stream_interrupted" });
    assert.ok(textOf(chunks) && whole.startsWith(textOf(chunks)));
    assert.deepEqual(ends(chunks), []);
    await assert.rejects(stream(client, model(way)).finalChatCompletion(), OpenAI.APIError);
  }
});

each("what the providers refuse", async (client, kind, model) => {
  for (const stream of [false, true]) {
    await refused(chat(client, model("busy"), { stream }), OpenAI.InternalServerError, 503, "overloaded");
    await refused(chat(client, model("key_refused"), { stream }), OpenAI.InternalServerError, 502, "upstream_auth");
  }
});

test("a request that nobody can serve names the field", async () => {
  const asked = chat(connect(), models.claude, { n: 2 });
  const error = await refused(asked, OpenAI.BadRequestError, 400, "unsupported_parameter");
  assert.equal(error.param, "n");
});

test("a provider of another kind steps in", async () => {
  for (const [model, provider] of [[models.from_claude, "right"], [models.to_claude, "claude"]]) {
    const served = new Set();
    const client = connect(tokens.plain, { fetch: noting(served) });
    const plain = (await chat(client, model)).choices[0].message.content;
    assert.equal(textOf(await collect(chat(client, model, { stream: true }))), plain);
    assert.deepEqual([...served], [provider]);
  }
});
