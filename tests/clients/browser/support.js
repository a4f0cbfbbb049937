// What the tests share: a browser, and pages that are watched for what they must not do.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

if (!process.env.BERRY_FIXTURE) {
  throw new Error("BERRY_FIXTURE is not set; start these tests by tests/clients/run");
}

/** The line that the fixture printed. */
export const gateway = JSON.parse(process.env.BERRY_FIXTURE);
export const { models, tokens } = gateway;
export const origin = new URL(gateway.base_url).origin;

/** What a person would wait for a page to do something at the very most. */
export const PATIENCE = 15_000;
/** Within this time a backend that fails must be seen to. */
export const SOON = 3_000;

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

const shots = fileURLToPath(new URL("../output/browser/", import.meta.url));
mkdirSync(shots, { recursive: true });

/** Chromium asks its maker's hosts nothing. */
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });

/** A page of its own; `close` finds what it has done that it must not. */
export async function open(browser, { viewport = DESKTOP, errors = [], home = origin, ...options } = {}) {
  const context = await browser.newContext({ viewport, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  const hosts = new Set();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:")) hosts.add(new URL(request.url()).origin);
  });
  const close = async () => {
    // An answer on its way through the test finds the page gone.
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
    const unexpected = complaints.filter((text) => !errors.some((error) => error.test(text)));
    assert.deepEqual(unexpected, [], "the console has errors");
    assert.deepEqual([...hosts], [home], "another host was asked");
  };
  return { page, close };
}

/** Opens the dashboard and waits until it tells of the models. */
export async function visit(page) {
  await page.goto(`${origin}/`);
  await page.locator("#backends tr[data-backend]").first().waitFor();
}

/** Keeps what the page looks like. */
export const shoot = (page, name) => page.screenshot({ path: `${shots}${name}.png`, fullPage: true });

/** A chat beside the page's own requests. */
export async function chat(model) {
  const response = await fetch(`${gateway.base_url}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${tokens.plain}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content: "Hello." }] }),
  });
  await response.text();
  return response;
}

/** The data that the page is told, changed by `change` on its way. */
export async function changed(page, change) {
  await page.route("**/dashboard/data", async (route) => {
    const response = await route.fetch();
    const data = await response.json();
    change(data);
    await route.fulfill({ response, json: data });
  });
}

/** Every backend is out of service. */
export function allDown(data) {
  data.status = "unhealthy";
  for (const backend of data.models.flatMap((model) => model.backends)) {
    Object.assign(backend, { state: "open", usable: false, retry_in_seconds: 41, effective_weight: 0.01, last_error: "server" });
  }
}

/** Every backend is well. */
export function allWell(data) {
  data.status = "healthy";
  for (const backend of data.models.flatMap((model) => model.backends)) {
    Object.assign(backend, { state: "healthy", usable: true, retry_in_seconds: null });
  }
}
