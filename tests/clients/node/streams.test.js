// Streams from providers that misbehave: whole, or an error; never cut short in silence.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { answer, chat, collect, connect, models, refused, textOf } from "./support.js";

const client = connect();

for (const model of ["cut", "error_midway", "no_finish"]) {
  test(`a broken stream is an error: ${model}`, async () => {
    const whole = await answer(client, models.healthy);
    const chunks = [];
    await assert.rejects(collect(chat(client, models[model], { stream: true }), chunks), (error) => {
      assert.ok(error instanceof OpenAI.APIError);
      assert.equal(error.code, "upstream_stream_interrupted");
      return true;
    });
    const text = textOf(chunks);
    assert.ok(text && whole.startsWith(text));
    assert.ok(!chunks.some((chunk) => chunk.choices[0].finish_reason));
  });
}

test("a broken stream of older completions is an error", async () => {
  const asked = client.completions.create({ model: models.cut, prompt: "Once", stream: true });
  const chunks = [];
  await assert.rejects(collect(asked, chunks), { code: "upstream_stream_interrupted" });
  assert.ok(chunks.length);
});

test("a broken stream of the Responses API is an error", async () => {
  const asked = client.responses.create({ model: models.cut, input: "What is this?", stream: true });
  const events = [];
  // That API's errors are events for the program to read; what throws is the broken connection.
  await assert.rejects(collect(asked, events));
  assert.equal(events.at(-1).type, "response.failed");
  assert.equal(events.at(-1).response.error.code, "upstream_stream_interrupted");
  assert.ok(!events.some((event) => event.type === "response.completed"));
});

for (const model of ["error_first", "no_done", "malformed", "odd_bytes", "one_dead"]) {
  test(`what the gateway can mend is whole: ${model}`, async () => {
    const chunks = await collect(chat(client, models[model], { stream: true }));
    assert.equal(textOf(chunks), await answer(client, models.healthy));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  });
}

test("a plain answer that breaks off is an error", async () => {
  await refused(chat(client, models.cut), OpenAI.InternalServerError, 502, "upstream_error");
});

test("chunks come as soon as they are there", async () => {
  // The provider falls silent after 20 tokens: a gateway that held any back would hold it for good.
  let seen = 0;
  for await (const chunk of await chat(client, models.stalled, { stream: true })) {
    if (textOf([chunk]) && ++seen === 20) break;
  }
  assert.equal(seen, 20);
});

test("a client may leave a stream", async () => {
  for (let i = 0; i < 5; i++) {
    const stream = await chat(client, models.slow, { stream: true });
    for await (const chunk of stream) {
      if (textOf([chunk])) break;
    }
    assert.ok(stream.controller.signal.aborted);
  }
  assert.ok(await answer(client, models.healthy));
});

test("a client may abort a request that waits", async () => {
  const controller = new AbortController();
  const asked = client.chat.completions.create(
    { model: models.slow, messages: [{ role: "user", content: "Wait." }] },
    { signal: controller.signal },
  );
  setTimeout(() => controller.abort(), 100);
  await assert.rejects(asked, OpenAI.APIUserAbortError);
  assert.ok(await answer(client, models.healthy));
});
