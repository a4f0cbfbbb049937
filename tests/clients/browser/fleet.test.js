// The views "Usage" and "Keys", over a gateway of its own with a database.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, launch, open, shoot } from "./support.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ADMIN = "token-of-the-admin-0123456789abcdef";
const target = process.env.BERRY_TARGET ?? join(import.meta.dirname, "../../../target");

let browser, provider, server, folder, home;

/** Answers every chat with the same numbers. */
const answer = JSON.stringify({
  id: "c",
  object: "chat.completion",
  created: 1,
  model: "sim",
  choices: [{ index: 0, message: { role: "assistant", content: "Hello." }, finish_reason: "stop" }],
  usage: { prompt_tokens: 1000, completion_tokens: 500, total_tokens: 1500 },
});

const listen = async (made) => {
  made.listen(0, "127.0.0.1");
  await once(made, "listening");
  return made.address().port;
};

before(async () => {
  browser = await launch();
  provider = createServer((request, response) => {
    request.resume().on("end", () => response.writeHead(200, { "content-type": "application/json" }).end(answer));
  });
  const upstream = await listen(provider);
  const probe = createServer();
  const port = await listen(probe);
  probe.close();
  folder = mkdtempSync(join(tmpdir(), "berry-"));
  const config = `
    [database]
    url = "sqlite://${folder}/berry.db"
    [prices.sim]
    input = "2.00"
    output = "8.00"
    [users.admin]
    token = "${ADMIN}"
    tags = ["admin"]
    [users.ann]
    token = "token-of-ann-0123456789abcdef"
    [users.ann.limits]
    cost_per_day = "5.00"
    [providers.p]
    base_url = "http://127.0.0.1:${upstream}/v1"
    api_key = "k"
    models = ["sim"]
    [models.sim]
    name = "sim"
    [[models.sim.backends]]
    provider = "p"
    model = "sim"
    probe = "none"
  `;
  writeFileSync(join(folder, "config.toml"), config, { mode: 0o600 });
  server = spawn(join(target, "debug/berry-server"), ["--config", join(folder, "config.toml")], { env: { ...process.env, BIND_ADDRESS: `127.0.0.1:${port}` }, stdio: "ignore" });
  home = `http://127.0.0.1:${port}`;
  for (let i = 0; i < 100; i++) {
    if (await fetch(`${home}/readyz`).then((response) => response.ok, () => false)) break;
    await new Promise((then) => setTimeout(then, 100));
  }
  for (const token of [ADMIN, ADMIN, "token-of-ann-0123456789abcdef"]) assert.equal((await chat(token)).status, 200);
  // The ledger is written in batches.
  await new Promise((then) => setTimeout(then, 1000));
});

after(async () => {
  await browser.close();
  server.kill();
  provider.close();
  await once(server, "exit");
  rmSync(folder, { recursive: true });
});

const chat = (token) =>
  fetch(`${home}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "sim", messages: [{ role: "user", content: "Hello." }] }),
  });

const on = (options, use) => async () => {
  const { page, close } = await open(browser, { home, ...options });
  await page.goto(`${home}/`);
  await page.locator("#backends tr[data-backend]").first().waitFor();
  await use(page);
  await close();
};

const enter = async (page, name, token = ADMIN) => {
  await page.locator("#token").fill(token);
  await page.locator(`#to-${name}`).click();
};

test("an admin sees what everyone has spent", on({}, async (page) => {
  await enter(page, "usage");
  const total = page.locator("#usage-total");
  await total.waitFor();
  // Three times 1000 × $2 + 500 × $8 for a million.
  await total.getByText("$0.018").waitFor();
  const users = page.locator("#usage-lists section", { hasText: "By user" });
  assert.match(await users.locator("tr", { hasText: "ann" }).innerText(), /\$0\.006/);
  assert.ok(await page.locator("#content").isHidden());
  await page.locator("#to-overview").click();
  assert.ok(await page.locator("#content").isVisible());
}));

test("anyone else sees what its own user has spent, and what is left", on({ errors: [/status of 403/] }, async (page) => {
  await enter(page, "usage", "token-of-ann-0123456789abcdef");
  await page.locator("#usage-total").getByText("$0.006").waitFor();
  const limits = page.locator("#usage-lists section", { hasText: "Limits" });
  assert.match(await limits.innerText(), /cost per day[^]*\$4\.99/);
  assert.ok(!(await page.locator("#usage-lists").innerText()).includes("admin"));
}));

test("a key is made by keyboard, shown once, disabled and revoked", on({ errors: [/status of 401/] }, async (page) => {
  await page.locator("#token").fill(ADMIN);
  await page.locator("#to-keys").focus();
  await page.keyboard.press("Enter");
  await page.locator("#key-owner").focus();
  await page.keyboard.type("ann");
  await page.keyboard.press("Tab");
  await page.keyboard.type("laptop");
  await page.keyboard.press("Enter");
  await page.locator("#new-key-box").waitFor();
  const key = await page.locator("#new-key").innerText();
  assert.match(key, /^berry-[0-9A-Za-z]{49}$/);
  assert.equal((await chat(key)).status, 200);
  await page.locator("#forget-key").click();
  assert.ok(!(await page.content()).includes(key));
  const row = page.locator("#keys-rows tr", { hasText: "laptop" });
  await row.getByRole("button", { name: "Disable laptop" }).click();
  await row.getByText("Disabled").waitFor();
  assert.equal((await chat(key)).status, 401);
  await row.getByRole("button", { name: "Enable laptop" }).click();
  await row.getByText("Accepted").waitFor();
  await row.getByRole("button", { name: "Revoke laptop" }).click();
  await row.getByRole("button", { name: "Revoke laptop for ever" }).click();
  await row.waitFor({ state: "detached" });
  assert.equal((await chat(key)).status, 401);
  await page.locator("#keys-revoked").check();
  await row.getByText("Revoked").waitFor();
}));

test("the admin's token stays in the page's memory", on({}, async (page) => {
  await enter(page, "keys");
  await page.locator("#keys-said", { hasText: /key/ }).waitFor();
  await page.locator("#to-usage").click();
  await page.locator("#usage-total").waitFor();
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, history.state, document.documentElement.outerHTML]));
  assert.ok(!kept.includes(ADMIN));
  await page.reload();
  assert.equal(await page.locator("#token").inputValue(), "");
}));

test("who is no admin makes no keys", on({ errors: [/status of 403/] }, async (page) => {
  await enter(page, "keys", "token-of-ann-0123456789abcdef");
  await page.locator("#keys-said", { hasText: "not an admin's" }).waitFor();
  assert.ok(await page.locator("#keys-table").isHidden());
}));

for (const [form, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${form}, ${colorScheme}`, on({ viewport, colorScheme, hasTouch: form === "phone" }, async (page) => {
      for (const [name, shown] of [["usage", "#usage-total"], ["keys", "#keys-said span"]]) {
        await enter(page, name);
        await page.locator(shown).first().waitFor();
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${name} scrolls sideways`);
        await shoot(page, `${form}-${colorScheme}-${name}`);
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
        const faults = violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`));
        assert.deepEqual(faults, [], name);
      }
    }));
  }
}
