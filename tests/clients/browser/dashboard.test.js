// The dashboard as someone sees it who runs the gateway.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PATIENCE, SOON, allDown, allWell, changed, chat, launch, models, open, origin, tokens, visit } from "./support.js";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Runs `use` on a page; the page must have done nothing that it must not. */
const on = (options, use) => async () => {
  const { page, close } = await open(browser, options);
  await use(page);
  await close();
};

test("the page loads and shows every model with its backends", on({}, async (page) => {
  await visit(page);
  const data = await (await fetch(`${origin}/dashboard/data`)).json();
  const told = data.models.flatMap((model) => model.backends).length;
  assert.equal(await page.locator("#backends tr[data-backend]").count(), told);
  assert.equal(await page.locator("#backends tr.model").count(), data.models.length);
  assert.equal(await page.locator("#charts canvas").count(), 4);
  assert.match(await page.locator("#status").innerText(), /Healthy|Degraded|Unavailable/);
  const named = page.locator(".model-line .name").getByText(models.healthy, { exact: true });
  const row = page.locator("#backends tbody").filter({ has: named }).locator("tr[data-backend]").first();
  assert.match(await row.innerText(), /left:sim/);
}));

test("a backend that fails turns red within three seconds, and the failure is told of", on({}, async (page) => {
  // Well until the very request: what went before is not seen.
  await visit(page);
  // Every model that has it shows it.
  const row = page.locator('#backends tr[data-backend="left:sim-e500"]').first();
  if ((await row.getAttribute("data-tone")) === "bad") return assert.fail("another test has broken it already");
  await chat(models.failing);
  await page.waitForFunction((id) => document.querySelector(`tr[data-backend="${id}"]`).dataset.tone === "bad", "left:sim-e500", { timeout: SOON });
  assert.match(await row.innerText(), /Unhealthy/);
  const colour = await row.locator(".state").evaluate((element) => getComputedStyle(element).color);
  const [red, green, blue] = colour.match(/\d+/g).map(Number);
  assert.ok(red > 150 && green < 110 && blue < 110, colour);
  assert.match(await page.locator("#troubles").innerText(), /sim-e500/);
  const event = page.locator("#events li", { hasText: "left:sim-e500" });
  await event.filter({ hasText: "Server error" }).first().waitFor();
  assert.match(await event.filter({ hasText: "Server error" }).first().innerText(), /answered 500/);
  await page.locator("#event-filter button", { hasText: "Changes" }).click();
  await event.filter({ hasText: "was healthy" }).first().waitFor();
  assert.equal(await page.locator('#events li[data-kind="attempt"]').count(), 0);
}));

test("a page that is opened now shows the past", on({}, async (page) => {
  await chat(models.healthy);
  await visit(page);
  await page.waitForFunction(() => !/^(–|0)$/.test(document.querySelector(".chart .number").textContent), null, { timeout: PATIENCE });
  const label = await page.locator(".chart .plot").first().getAttribute("aria-label");
  assert.match(label, /Requests per second over the last 15 minutes/);
  await page.reload();
  await page.locator("#charts canvas").first().waitFor();
  assert.doesNotMatch(await page.locator(".chart .number").first().innerText(), /^(–|0)$/);
}));

test("only what has trouble is shown where that is asked for", on({}, async (page) => {
  await changed(page, (data) => {
    allWell(data);
    Object.assign(data.models[0].backends[0], { state: "cooling_down", usable: false, retry_in_seconds: 12 });
  });
  await visit(page);
  await page.locator("#only-troubled").check();
  assert.equal(await page.locator("#backends tr[data-backend]:visible").count(), 1);
  assert.match(await page.locator("#backends tr[data-backend]:visible").innerText(), /Cooling down\s+12 s left/);
  await page.locator("#only-troubled").uncheck();
  await page.locator("#find").fill("no such name");
  await page.locator("#none-found").waitFor();
  await page.locator("#find").fill(models.healthy);
  assert.ok((await page.locator("#backends tr[data-backend]:visible").count()) >= 2);
}));

test("when everything is down the page says so", on({}, async (page) => {
  await changed(page, allDown);
  await visit(page);
  assert.equal(await page.locator("#status").innerText(), "Unavailable");
  assert.match(await page.locator("#troubles").innerText(), /Unavailable\s+\d+ models/);
  assert.match(await page.title(), /Unavailable/);
  assert.equal(await page.locator('#backends tr[data-backend]:not([data-tone="bad"])').count(), 0);
}));

const LOST = [/Failed to load resource/];
test("when the gateway does not answer, what was known stays and is marked as old", on({ errors: LOST }, async (page) => {
  await visit(page);
  await page.route("**/dashboard/data", (route) => route.abort());
  await page.locator("#offline").waitFor();
  assert.match(await page.locator("#offline").innerText(), /cannot be reached.*What you see is from/s);
  assert.ok(await page.locator("#backends tr[data-backend]").first().isVisible());
  await page.unroute("**/dashboard/data");
  await page.locator("#offline").waitFor({ state: "hidden" });
}));

const REFUSED = [/status of 40[13]/];
test("a status that is not public asks for an admin's token", on({ errors: REFUSED }, async (page) => {
  let asked = 0;
  await page.route(`${origin}/`, async (route) => {
    const response = await route.fetch();
    const html = (await response.text()).replace('data-status="open"', 'data-status="closed"');
    await route.fulfill({ response, body: html });
  });
  await page.route("**/dashboard/data", async (route) => {
    asked += 1;
    const bearer = route.request().headers().authorization;
    if (bearer === `Bearer ${tokens.admin}`) return route.continue();
    const status = bearer ? 403 : 401;
    return route.fulfill({ status, json: { error: { message: "no", type: "permission_error", param: null, code: null } } });
  });
  await page.goto(`${origin}/`);
  await page.locator("#closed").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
  assert.equal(asked, 0, "without a token there is nothing to ask with");
  await page.locator("#token").fill(tokens.plain);
  await page.locator("#closed-text", { hasText: "not an admin's" }).waitFor();
  await page.locator("#token").fill(tokens.admin);
  await page.locator("#backends tr[data-backend]").first().waitFor();
  assert.ok(await page.locator("#closed").isHidden());
}));

test("what comes from data is text", on({}, async (page) => {
  const markup = "<img src=x onerror=alert(1)>";
  await changed(page, (data) => {
    Object.assign(data.models[0], { name: markup, fallbacks: [markup], strategy: markup });
    Object.assign(data.models[0].backends[0], { provider: markup, model: markup, errors: 1, errors_by_class: { [markup]: 1 }, state: markup });
    data.events = [{ at: data.timestamp, provider: markup, model: markup, kind: "attempt", class: markup, status: 500, reason: markup }];
  });
  await visit(page);
  assert.equal(await page.locator("main img").count(), 0);
  assert.match(await page.locator("#events").innerText(), /<img/);
}));
