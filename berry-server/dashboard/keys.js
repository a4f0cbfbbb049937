// Keys that are made at run time, for admins.

import { $, h, icon, say } from "./dom.js";
import { ask, onToken, token } from "./api.js";
import * as format from "./format.js";
import { explain } from "./usage.js";
import { onView, view } from "./views.js";

const said = $("keys-said");
const body = $("keys-rows");
const secret = $("new-key");
let turn = 0;

onView("keys", load);
$("keys-refresh").addEventListener("click", load);
$("keys-revoked").addEventListener("change", load);
let typed = null;
onToken(() => {
  clearTimeout(typed);
  clear();
  if (view() === "keys") typed = setTimeout(load, 300);
});

function clear() {
  body.replaceChildren();
  $("keys-table").hidden = true;
  secret.textContent = "";
  $("new-key-box").hidden = true;
}

async function load() {
  const mine = ++turn;
  if (!token()) {
    clear();
    return say(said, "warn", "Paste an admin's token at the top of the page.");
  }
  try {
    const keys = [];
    let after = "";
    do {
      const query = new URLSearchParams({ limit: "500", after, revoked: String($("keys-revoked").checked) });
      const page = await (await ask(`/admin/keys?${query}`)).json();
      keys.push(...page.data);
      after = page.next;
    } while (after && keys.length < 5000);
    if (mine !== turn) return;
    keys.sort((a, b) => b.created_at.localeCompare(a.created_at));
    body.replaceChildren(...keys.map(row));
    $("keys-table").hidden = keys.length === 0;
    say(said, "ok", keys.length ? format.plural(keys.length, "key") : "There are no keys yet.");
  } catch (error) {
    if (mine !== turn) return;
    clear();
    say(said, "bad", explain(error));
  }
}

/** What a key is now, with the name of its icon and tone. */
function standing({ enabled, expires_at: expires, revoked_at: revoked }) {
  if (revoked) return ["bad", "bad", "Revoked"];
  if (expires && new Date(expires) <= new Date()) return ["warn", "warn", "Expired"];
  return enabled ? ["ok", "ok", "Accepted"] : ["off", "off", "Disabled"];
}

function row(key) {
  const [tone, shown, label] = standing(key);
  const owner = key.user ?? `team ${key.team}`;
  const day = (at) => (at ? at.slice(0, 10) : "–");
  const cell = (label, ...children) => h("td", { "data-label": label }, children);
  const limits = Object.keys(key.limits).length ? h("span", { class: "chip", title: JSON.stringify(key.limits) }, "limits") : null;
  const models = key.models.length ? h("span", { class: "chip" }, key.models.join(", ")) : null;
  return h(
    "tr",
    { "data-key": key.id },
    cell("State", h("span", { class: "state", "data-tone": tone }, icon(shown), h("span", {}, label))),
    h("th", { scope: "row" }, h("code", {}, key.hint), key.name ? ` ${key.name}` : null, models, limits),
    cell("Belongs to", owner),
    cell("Made", day(key.created_at)),
    cell("Expires", day(key.expires_at)),
    cell("Actions", key.revoked_at ? "–" : actions(key)),
  );
}

function actions(key) {
  const name = key.name || key.hint;
  const flip = h("button", { type: "button", "aria-label": `${key.enabled ? "Disable" : "Enable"} ${name}` }, key.enabled ? "Disable" : "Enable");
  flip.addEventListener("click", () => change(key.id, "PATCH", { enabled: !key.enabled }));
  const revoke = h("button", { type: "button", "aria-label": `Revoke ${name}` }, "Revoke");
  // The second click is the decision: a key is revoked for ever.
  revoke.addEventListener("click", () => {
    if (revoke.dataset.sure) return change(key.id, "DELETE");
    revoke.dataset.sure = "1";
    revoke.textContent = "Revoke for ever?";
    revoke.setAttribute("aria-label", `Revoke ${name} for ever`);
    setTimeout(() => {
      delete revoke.dataset.sure;
      revoke.textContent = "Revoke";
      revoke.setAttribute("aria-label", `Revoke ${name}`);
    }, 5000);
  });
  return h("span", { class: "row" }, flip, revoke);
}

async function change(id, method, members) {
  try {
    const options = members ? { headers: { "content-type": "application/json" }, body: JSON.stringify(members) } : {};
    await ask(`/admin/keys/${encodeURIComponent(id)}`, { method, ...options });
    await load();
  } catch (error) {
    say(said, "bad", explain(error));
  }
}

const list = (value) => value.split(",").map((item) => item.trim()).filter(Boolean);

$("create-key").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!token()) return say(said, "warn", "Paste an admin's token at the top of the page.");
  const members = { [$("key-kind").value]: $("key-owner").value.trim(), name: $("key-name").value.trim(), models: list($("key-models").value) };
  const days = Number($("key-days").value);
  if (days > 0) members.expires_at = new Date(Date.now() + days * 86_400_000).toISOString();
  $("key-create").disabled = true;
  try {
    const made = await (await ask("/admin/keys", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(members) })).json();
    await load();
    secret.textContent = made.key;
    $("new-key-box").hidden = false;
    $("new-key-box").focus();
  } catch (error) {
    say(said, "bad", explain(error));
  } finally {
    $("key-create").disabled = false;
  }
});

$("copy-key").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(secret.textContent);
    say(said, "ok", "Copied.");
  } catch {
    // Not allowed on plain HTTP: the text can be selected.
    getSelection().selectAllChildren(secret);
    say(said, "warn", "Copy the marked text.");
  }
});

$("forget-key").addEventListener("click", () => {
  secret.textContent = "";
  $("new-key-box").hidden = true;
  $("key-owner").focus();
});
