// How it looks and who can use it: phones, keyboards, dark rooms, screen readers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, allDown, allWell, changed, launch, open, shoot, visit } from "./support.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** What axe finds wrong, in short. */
async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`));
}

function oneFailing(data) {
  allWell(data);
  data.status = "degraded";
  const bad = { state: "open", usable: false, retry_in_seconds: 41, effective_weight: 0.01, last_error: "server", errors: 12, errors_by_class: { server: 9, timeout: 3 } };
  Object.assign(data.models[0].backends[0], bad);
  Object.assign(data.models[0].backends[1], { state: "recovering_30" });
  Object.assign(data.models[1].backends[1], { state: "cooling_down", usable: false, retry_in_seconds: 12 });
  Object.assign(data.models[2].backends[0], { state: "disabled", usable: false });
}

const SCENES = { well: allWell, failing: oneFailing, down: allDown };

for (const [form, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [scene, change] of Object.entries(SCENES)) {
      test(`${form}, ${colorScheme}, ${scene}`, async () => {
        const { page, close } = await open(browser, { viewport, colorScheme, hasTouch: form === "phone" });
        await changed(page, change);
        await visit(page);
        const [wide, ground] = await page.evaluate(() => [
          document.documentElement.scrollWidth - document.documentElement.clientWidth,
          getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number),
        ]);
        assert.equal(wide, 0, "it scrolls sideways");
        assert.equal(ground[0] < 128, colorScheme === "dark", `the ground is ${ground}`);
        await shoot(page, `${form}-${colorScheme}-${scene}`);
        // The one with every tone in it.
        if (change === oneFailing) assert.deepEqual(await faults(page), []);
        await close();
      });
    }
  }
}

test("the theme can be chosen, and stays chosen", async () => {
  const { page, close } = await open(browser, { colorScheme: "light" });
  await visit(page);
  const dark = () => page.evaluate(() => Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0]) < 128);
  assert.equal(await dark(), false);
  await page.locator("#theme").click();
  await page.locator("#theme").click();
  assert.equal(await page.locator("#theme").innerText(), "Dark");
  assert.equal(await dark(), true);
  await page.reload();
  assert.equal(await dark(), true);
  await close();
});

/** Everything that can be done has a place in the order of the keys, and is seen to have it. */
test("the keyboard reaches everything", async () => {
  const { page, close } = await open(browser);
  await visit(page);
  const wanted = await page.evaluate(() => {
    const all = document.querySelectorAll("a[href], button:not([disabled]), input, select, textarea, [tabindex='0']");
    const visible = [...all].filter((element) => element.checkVisibility());
    return visible.map((element, i) => (element.dataset.wanted = String(i)));
  });
  const reached = new Set();
  for (let i = 0; i < wanted.length + 5; i++) {
    await page.keyboard.press("Tab");
    const [which, outline] = await page.evaluate(() => {
      const element = document.activeElement;
      return [element.dataset.wanted, getComputedStyle(element).outlineStyle];
    });
    if (which !== undefined) {
      reached.add(which);
      assert.equal(outline, "solid", `nobody sees that ${which} has the focus`);
    }
  }
  assert.deepEqual([...reached].sort(), [...wanted].sort());
  await page.locator("#theme").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#theme").innerText(), "Light");
  await page.locator("#event-filter button").nth(1).focus();
  await page.keyboard.press("Space");
  assert.equal(await page.locator("#event-filter button").nth(1).getAttribute("aria-pressed"), "true");
  await close();
});

test("who wants less motion gets none", async () => {
  const { page, close } = await open(browser, { reducedMotion: "reduce" });
  await visit(page);
  const moving = await page.evaluate(() => [...document.querySelectorAll("*")].filter((element) => {
    const { transitionDuration, animationName } = getComputedStyle(element);
    return transitionDuration !== "0s" || animationName !== "none";
  }).length);
  assert.equal(moving, 0);
  await close();
});
