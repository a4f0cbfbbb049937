// What the tests share: where the gateway is, clients for it, and what an error must be like.

import assert from "node:assert/strict";
import OpenAI from "openai";

if (!process.env.BERRY_FIXTURE) {
  throw new Error("BERRY_FIXTURE is not set; start these tests by tests/clients/run");
}

/** The line that the fixture printed. */
export const gateway = JSON.parse(process.env.BERRY_FIXTURE);
export const { models, tokens } = gateway;

export const QUESTION = [{ role: "user", content: "What is a gateway?" }];

/** A client; `sent` on it counts the requests that went out. */
export function connect(token = tokens.plain, options = {}) {
  const counted = async (url, init) => {
    client.sent += 1;
    return fetch(url, init);
  };
  const client = new OpenAI({
    baseURL: gateway.base_url,
    apiKey: token,
    maxRetries: 0,
    timeout: 20_000,
    fetch: counted,
    ...options,
  });
  client.sent = 0;
  return client;
}

/** Asks for a chat completion. */
export function chat(client, model, more = {}) {
  return client.chat.completions.create({ model, messages: QUESTION, ...more });
}

/** What a chat completion says. */
export async function answer(client, model) {
  return (await chat(client, model)).choices[0].message.content;
}

/** All items of a stream or page; those that came before an error are in `into`. */
export async function collect(asked, into = []) {
  for await (const item of await asked) into.push(item);
  return into;
}

/** The content of a streamed chat completion. */
export function textOf(chunks) {
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
}

/** The error, once it has been found to be of this class and whole. */
export async function refused(asked, kind, status, code) {
  const error = await asked.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
  assert.equal(error.constructor, kind, error.message);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
  assert.ok(error.error.message && error.type);
  assert.ok(error.requestID);
  assert.match(error.headers.get("content-type"), /^application\/json/);
  return error;
}
