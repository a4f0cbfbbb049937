// Anthropic's SDK, whoever stands behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { PICTURE, PICTURE_SEEN, forEachPool, noting } from "./pools.js";
import { QUESTION, collect, gateway, models, tokens } from "./support.js";

const TOOLS = ["weather", "time"].map((name) => ({
  name,
  description: `The ${name} of a city.`,
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
}));
const THINKING = { thinking: { type: "enabled", budget_tokens: 1024 }, max_tokens: 2000 };
const City = z.object({ name: z.string(), people: z.number() });

// The SDK adds the version to the address itself.
const baseURL = gateway.base_url.replace(/\/v1$/, "");
const connect = (options = {}) =>
  new Anthropic({ baseURL, apiKey: tokens.plain, authToken: null, maxRetries: 0, timeout: 20_000, ...options });
const each = (name, run) => forEachPool(name, connect, run);

const asked = (model, more) => ({ model, max_tokens: 500, messages: QUESTION, ...more });
const ask = (client, model, more) => client.messages.create(asked(model, more));
const stream = (client, model, more) => client.messages.stream(asked(model, more));
const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const usesOf = (message) => message.content.filter((block) => block.type === "tool_use");
const inputsOf = (message) => usesOf(message).map(({ name, input }) => [name, input]);
const deltasOf = (events) => events.filter((event) => event.type === "content_block_delta");

/** The conversation with each of the message's calls answered. */
function results(message) {
  const content = usesOf(message).map(({ id }, n) => ({
    type: "tool_result",
    tool_use_id: id,
    content: `Result ${n}.`,
  }));
  return [...QUESTION, { role: "assistant", content: message.content }, { role: "user", content }];
}

/** The error, once it has been found to be of this class and of Anthropic's shape. */
async function refused(asked, kind, status, name) {
  const error = await asked.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
  assert.equal(error.constructor, kind, error.message);
  assert.equal(error.status, status);
  assert.equal(error.error.type, "error");
  assert.equal(error.error.error.type, name);
  assert.ok(error.error.error.message && error.requestID);
  return error;
}

each("plain and streamed answers are the same", async (client, kind, model) => {
  const plain = await ask(client, model(), { system: "Be brief." });
  assert.deepEqual([plain.type, plain.role, plain.stop_reason], ["message", "assistant", "end_turn"]);
  assert.ok(textOf(plain).includes(QUESTION[0].content));
  const events = await collect(ask(client, model(), { system: "Be brief.", stream: true }));
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-1).type, "message_stop");
  assert.equal(deltasOf(events).map((event) => event.delta.text).join(""), textOf(plain));
  const helper = stream(client, model(), { system: "Be brief." });
  let heard = "";
  helper.on("text", (text) => (heard += text));
  const whole = await helper.finalMessage();
  assert.equal(whole.stop_reason, "end_turn");
  assert.deepEqual([textOf(whole), heard], [textOf(plain), textOf(plain)]);
});

each("usage is told, plain and streamed", async (client, kind, model) => {
  const plain = await ask(client, model("cached"));
  const whole = await stream(client, model("cached")).finalMessage();
  for (const { usage } of [plain, whole]) {
    assert.equal(usage.cache_read_input_tokens, 3);
    assert.ok(usage.input_tokens > 0 && usage.output_tokens > 0);
  }
});

each("tools are called and their results answered", async (client, kind, model) => {
  const more = { tools: TOOLS };
  const plain = await ask(client, model("two_tools"), more);
  const helper = stream(client, model("two_tools"), more);
  const pieces = [];
  helper.on("inputJson", (piece) => pieces.push(piece));
  const streamed = await helper.finalMessage();
  assert.ok(pieces.length >= 2);
  assert.deepEqual(inputsOf(plain).map(([name]) => name), ["weather", "time"]);
  assert.deepEqual(inputsOf(streamed), inputsOf(plain));
  assert.equal(textOf(streamed), textOf(plain));
  for (const message of [plain, streamed]) {
    assert.equal(message.stop_reason, "tool_use");
    const answer = await ask(client, model("two_tools"), { ...more, messages: results(message) });
    assert.equal(answer.stop_reason, "end_turn");
    assert.ok(textOf(answer).includes("Result 0.") && textOf(answer).includes("Result 1."));
  }
});

each("pictures", async (client, kind, model) => {
  const see = async (source) => {
    const content = [{ type: "image", source }, { type: "text", text: "What is this?" }];
    return textOf(await ask(client, model(), { messages: [{ role: "user", content }] }));
  };
  assert.ok((await see({ type: "base64", media_type: "image/png", data: PICTURE })).includes(PICTURE_SEEN));
  const url = "https://example.org/a.png";
  assert.ok((await see({ type: "url", url })).includes(url));
});

each("answers of a form", async (client, kind, model) => {
  const form = asked(model(), { output_config: { format: zodOutputFormat(City) } });
  const plain = await client.messages.parse(form);
  City.parse(plain.parsed_output);
  assert.equal(plain.stop_reason, "end_turn");
  const streamed = await client.messages.stream(form).finalMessage();
  assert.deepEqual(JSON.parse(textOf(streamed)), plain.parsed_output);
});

each("answers end at the limit of tokens", async (client, kind, model) => {
  const plain = await ask(client, model(), { max_tokens: 3 });
  const streamed = await stream(client, model(), { max_tokens: 3 }).finalMessage();
  for (const message of [plain, streamed]) {
    assert.equal(message.stop_reason, "max_tokens");
    assert.equal(message.usage.output_tokens, 3);
    assert.ok(textOf(message));
  }
});

each("thoughts", async (client, kind, model) => {
  const plain = await ask(client, model("thinking"), THINKING);
  const streamed = await stream(client, model("thinking"), THINKING).finalMessage();
  for (const message of [plain, streamed]) {
    assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text"]);
    assert.equal(message.content[0].thinking, "Let me think.");
  }
  assert.equal(textOf(streamed), textOf(plain));
});

each("a broken stream is an error", async (client, kind, model) => {
  for (const way of ["cut", "error_midway"]) {
    const events = [];
    const read = async () => {
      for await (const event of await ask(client, model(way), { stream: true })) events.push(event);
    };
    await assert.rejects(read(), Anthropic.APIError);
    assert.ok(deltasOf(events).length);
    assert.ok(!events.some((event) => ["message_delta", "message_stop"].includes(event.type)));
    await assert.rejects(stream(client, model(way)).finalMessage(), Anthropic.AnthropicError);
  }
});

each("what the providers refuse", async (client, kind, model) => {
  for (const stream of [false, true]) {
    const busy = ask(client, model("busy"), { stream });
    await refused(busy, Anthropic.ServiceUnavailableError, 503, "overloaded_error");
    const key = ask(client, model("key_refused"), { stream });
    await refused(key, Anthropic.InternalServerError, 502, "api_error");
  }
});

test("what the gateway refuses", async () => {
  const model = models.openai;
  for (const apiKey of ["never-issued-to-anybody", tokens.expired]) {
    await refused(ask(connect({ apiKey }), model), Anthropic.AuthenticationError, 401, "authentication_error");
  }
  await refused(ask(connect(), "no-such-model"), Anthropic.NotFoundError, 404, "not_found_error");
  const narrow = connect({ apiKey: tokens.narrow });
  await refused(ask(narrow, model), Anthropic.PermissionDeniedError, 403, "permission_error");
  const limited = connect({ apiKey: tokens.limited[1] });
  for (let i = 0; i < 2; i++) await ask(limited, model);
  const error = await refused(ask(limited, model), Anthropic.RateLimitError, 429, "rate_limit_error");
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
});

test("a request that nobody can serve names the field", async () => {
  const asked = ask(connect(), models.openai, { top_k: 5 });
  const error = await refused(asked, Anthropic.BadRequestError, 400, "invalid_request_error");
  assert.match(error.message, /top_k/);
});

test("the token may come as a bearer", async () => {
  assert.ok(textOf(await ask(connect({ apiKey: null, authToken: tokens.plain }), models.claude)));
});

test("a provider of another kind steps in", async () => {
  for (const [model, provider] of [[models.from_claude, "right"], [models.to_claude, "claude"]]) {
    const served = new Set();
    const client = connect({ fetch: noting(served) });
    const plain = textOf(await ask(client, model));
    assert.equal(textOf(await stream(client, model).finalMessage()), plain);
    assert.deepEqual([...served], [provider]);
  }
});
