// What can be done on the dashboard: a chat, a reload of the configuration.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, models, open, origin, tokens, visit } from "./support.js";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const on = (options, use) => async () => {
  const { page, close } = await open(browser, options);
  await visit(page);
  await use(page);
  await close();
};

async function ask(page, model, token = tokens.plain) {
  await page.locator("#token").fill(token);
  await page.locator("#model").selectOption(model);
  await page.locator("#send").click();
}

const said = (page, words) => page.locator("#outcome", { hasText: words }).waitFor();
const fact = (page, name) => page.locator("#facts div", { hasText: name }).locator("dd").innerText();

test("the playground streams an answer and names the backend", on({}, async (page) => {
  await page.locator("#message").fill("What is a gateway?");
  await ask(page, models.slow);
  await said(page, "Answering by left:sim-t200-d20");
  // It grows while it comes.
  const length = () => page.locator("#answer").innerText().then((text) => text.length);
  await page.waitForFunction(() => document.getElementById("answer").textContent.length > 0);
  const first = await length();
  await page.waitForFunction((first) => document.getElementById("answer").textContent.length > first, first);
  assert.ok(await page.locator("#send").isDisabled());
  await said(page, /Answered by left:sim-t200-d20/);
  assert.equal(await fact(page, "Backend"), "left:sim-t200-d20");
  assert.equal(await fact(page, "Attempts"), "1");
  assert.match(await fact(page, "Tokens"), /200 out/);
}));

test("it tells after how many attempts", on({}, async (page) => {
  // The first backend's stream begins with an error.
  await ask(page, models.error_first);
  await said(page, /Answered by right:sim after 2 attempts/);
  assert.equal(await fact(page, "Attempts"), "2");
}));

test("a stream can be stopped", on({}, async (page) => {
  await ask(page, models.stalled);
  await page.waitForFunction(() => document.getElementById("answer").textContent.length > 0);
  await page.locator("#stop").click();
  await said(page, "Stopped");
  assert.ok(await page.locator("#send").isEnabled());
}));

test("an error is told with its code", on({ errors: [/status of 50\d/] }, async (page) => {
  await ask(page, models.all_dead);
  await said(page, /50\d/);
  assert.match(await fact(page, "Request id"), /\S+/);
}));

// After the event that tells of it the gateway breaks the connection.
test("a stream that breaks off is no answer", on({ errors: [/ERR_INCOMPLETE_CHUNKED_ENCODING/] }, async (page) => {
  await ask(page, models.cut);
  await said(page, "upstream_stream_interrupted");
}));

test("without a token nothing is sent", on({}, async (page) => {
  await page.locator("#send").click();
  await said(page, "Paste a token first");
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
}));

test("the token stays in the page's memory", on({ errors: [/status of/] }, async (page) => {
  await ask(page, models.healthy);
  await said(page, "Answered");
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, document.documentElement.outerHTML]));
  assert.ok(!kept.includes(tokens.plain));
  await page.reload();
  assert.equal(await page.locator("#token").inputValue(), "");
}));

test("an admin reloads the configuration", on({}, async (page) => {
  await page.locator("#token").fill(tokens.admin);
  await page.locator("#reload").click();
  await page.locator("#reloaded", { hasText: "Reloaded" }).waitFor();
  assert.equal(await page.locator("#reloaded").getAttribute("data-tone"), "ok");
}));

test("nobody else does", on({ errors: [/status of 40[13]/] }, async (page) => {
  for (const [token, words] of [[tokens.plain, "not an admin's"], ["no-such-token-at-all", "does not know this token"]]) {
    await page.locator("#token").fill(token);
    await page.locator("#reload").click();
    await page.locator("#reloaded", { hasText: words }).waitFor();
  }
}));

test("a file with errors is told of, and the configuration stays", on({ errors: [/status of 422/] }, async (page) => {
  const message = "the new configuration is refused:\nline 3: models.pool: unknown provider `opnai`; did you mean `openai`?";
  const error = { message, type: "invalid_request_error", param: null, code: "invalid_config" };
  await page.route(`${origin}/admin/reload-config`, (route) => route.fulfill({ status: 422, json: { error } }));
  await page.locator("#token").fill(tokens.admin);
  await page.locator("#reload").click();
  await page.locator("#reloaded", { hasText: "stays" }).waitFor();
  assert.match(await page.locator("#reload-result").innerText(), /did you mean/);
}));
