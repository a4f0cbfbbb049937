// Each refusal is the error class that a program written for OpenAI's API expects.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { QUESTION, answer, chat, collect, connect, models, refused, tokens } from "./support.js";

const client = connect();

test("tokens that are not good", async () => {
  const words = new Set();
  for (const token of ["never-issued-to-anybody", "x", tokens.disabled, tokens.expired]) {
    const asked = chat(connect(token), models.healthy);
    const error = await refused(asked, OpenAI.AuthenticationError, 401, "invalid_api_key");
    assert.match(error.headers.get("www-authenticate"), /^Bearer/);
    words.add(error.message);
    await assert.rejects(collect(connect(token).models.list()), OpenAI.AuthenticationError);
  }
  assert.equal(words.size, 1, "which token it was can be told from the message");
});

test("a model that is not on the user's list", async () => {
  const narrow = connect(tokens.narrow);
  const asked = chat(narrow, models.one_dead);
  const error = await refused(asked, OpenAI.PermissionDeniedError, 403, "model_not_allowed");
  assert.equal(error.param, "model");
  assert.ok(await answer(narrow, models.healthy));
});

test("a model that the user's tags do not open", async () => {
  const asked = chat(client, models.members_only);
  await refused(asked, OpenAI.PermissionDeniedError, 403, "no_backend_for_user");
  assert.ok(await answer(connect(tokens.member), models.members_only));
});

test("an unknown model", async () => {
  for (const stream of [false, true]) {
    const asked = chat(client, "no-such-model", { stream });
    const error = await refused(asked, OpenAI.NotFoundError, 404, "model_not_found");
    assert.equal(error.param, "model");
  }
  await refused(client.models.retrieve("no-such-model"), OpenAI.NotFoundError, 404, "model_not_found");
});

test("an unknown path", async () => {
  await refused(client.post("/no/such/path", { body: {} }), OpenAI.NotFoundError, 404, "not_found");
});

test("a request that names no model", async () => {
  const asked = client.post("/chat/completions", { body: { messages: QUESTION } });
  const error = await refused(asked, OpenAI.BadRequestError, 400, null);
  assert.equal(error.param, "model");
});

const UPSTREAM = [
  ["context_length", OpenAI.BadRequestError, 400, "context_length_exceeded"],
  ["content_policy", OpenAI.BadRequestError, 400, "content_policy_violation"],
  ["all_dead", OpenAI.InternalServerError, 502, "upstream_error"],
  ["failing", OpenAI.InternalServerError, 502, "upstream_error"],
  ["key_refused", OpenAI.InternalServerError, 502, "upstream_auth"],
  ["overloaded", OpenAI.InternalServerError, 503, "overloaded"],
  ["silent", OpenAI.InternalServerError, 504, "upstream_timeout"],
];

for (const [model, kind, status, code] of UPSTREAM) {
  for (const stream of [false, true]) {
    test(`what the providers refuse: ${model}, ${stream ? "streamed" : "plain"}`, async () => {
      await refused(chat(client, models[model], { stream }), kind, status, code);
    });
  }
}

test("a question too long goes to the fallback", async () => {
  assert.equal(await answer(client, models.context_fallback), await answer(client, models.healthy));
});

test("the user's rate limit", async () => {
  const limited = connect(tokens.limited[0]);
  for (const left of ["1", "0"]) {
    const { response } = await chat(limited, models.healthy).withResponse();
    assert.equal(response.headers.get("x-ratelimit-limit-requests"), "2");
    assert.equal(response.headers.get("x-ratelimit-remaining-requests"), left);
  }
  const asked = chat(limited, models.healthy);
  const error = await refused(asked, OpenAI.RateLimitError, 429, "rate_limit_exceeded");
  const wait = Number(error.headers.get("retry-after"));
  assert.ok(Number.isInteger(wait) && wait >= 1 && wait <= 60);
  assert.ok(Number(error.headers.get("retry-after-ms")) > 0);
  // Lists cost nothing, so they still come.
  assert.ok((await collect(limited.models.list())).length);
});

test("the provider's rate limit", async () => {
  const [model] = models.rate_limited;
  const first = await refused(chat(client, model), OpenAI.RateLimitError, 429, "upstream_rate_limited");
  assert.equal(first.headers.get("retry-after"), "30");
  // The provider is left alone for as long as it said.
  const second = await refused(chat(client, model), OpenAI.InternalServerError, 503, "no_backend_available");
  const wait = Number(second.headers.get("retry-after"));
  assert.ok(wait >= 1 && wait <= 30);
});

for (const model of ["all_dead", "failing", "key_refused", "silent"]) {
  test(`the SDK repeats what failed quickly, after the wait that it is given: ${model}`, async () => {
    const eager = connect(tokens.plain, { maxRetries: 1 });
    const error = await chat(eager, models[model]).catch((error) => error);
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.equal(error.headers.get("x-should-retry"), null);
    assert.equal(error.headers.get("retry-after"), "1");
    assert.equal(error.headers.get("x-berry-attempts"), model === "silent" ? "1" : "2");
    assert.equal(eager.sent, 2);
  });
}

test("the SDK repeats what may be better next time", async () => {
  const eager = connect(tokens.plain, { maxRetries: 1 });
  await assert.rejects(chat(eager, models.overloaded), OpenAI.InternalServerError);
  assert.equal(eager.sent, 2);
});
