// What was spent: by everyone for an admin, by the caller itself for anyone else.

import { $, h, say, text } from "./dom.js";
import { Refused, ask, onToken, token } from "./api.js";
import * as format from "./format.js";
import { onView, view } from "./views.js";

/** The rows of a list. */
const TOP = 10;

const said = $("usage-said");
const period = $("usage-period");
let turn = 0;

onView("usage", load);
period.addEventListener("change", load);
$("usage-refresh").addEventListener("click", load);
let typed = null;
onToken(() => {
  clearTimeout(typed);
  $("usage-result").hidden = true;
  if (view() === "usage") typed = setTimeout(load, 300);
});

/** The first day of the period that is chosen, in UTC. */
function from() {
  const now = new Date();
  if (period.value === "month") return `${now.toISOString().slice(0, 7)}-01`;
  return new Date(now - (Number(period.value) - 1) * 86_400_000).toISOString().slice(0, 10);
}

async function load() {
  const mine = ++turn;
  if (!token()) return say(said, "warn", "Paste a token at the top of the page: an admin's shows everyone, any other one its own user.");
  say(said, null, "Adding up…");
  try {
    const shown = await everyone().catch((error) => {
      if (error instanceof Refused && error.status === 403) return own();
      throw error;
    });
    if (mine !== turn) return;
    show(shown);
    say(said, "ok", shown.about);
  } catch (error) {
    if (mine !== turn) return;
    $("usage-result").hidden = true;
    say(said, "bad", explain(error));
  }
}

async function everyone() {
  const get = async (by) => (await ask(`/admin/usage?from=${from()}&by=${by}`)).json();
  const [days, users, teams, models, keys] = await Promise.all(["day", "user", "team", "model", "key"].map(get));
  const lists = { User: users, Team: teams, Model: models, Key: keys };
  const named = Object.entries(lists).map(([name, { by, data }]) => [name, data.map((entry) => ({ ...entry, name: entry[by[0]] }))]);
  return { about: "All users.", total: days.total, days: days.data, lists: named, limits: null };
}

async function own() {
  const { user, team, usage, limits } = await (await ask(`/v1/usage?from=${from()}`)).json();
  const sum = (by) => {
    const sums = new Map();
    for (const entry of usage.data) {
      const name = entry[by];
      const all = sums.get(name) ?? { [by]: name, name, requests: 0, input_tokens: 0, output_tokens: 0, cost: 0 };
      for (const key of ["requests", "input_tokens", "output_tokens"]) all[key] += entry[key];
      all.cost += Number(entry.cost);
      sums.set(name, all);
    }
    return [...sums.values()];
  };
  const whose = user ?? `the team ${team}`;
  return { about: `What ${whose} has spent.`, total: usage.total, days: sum("day"), lists: [["Model", sum("model")]], limits: limits ?? [] };
}

const tokens = ({ input_tokens: input, output_tokens: output }) => input + output;
const dollars = (cost) => `$${Number(cost).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: Number(cost) < 1 ? 6 : 2 })}`;

function show({ total, days, lists, limits }) {
  const facts = {
    Cost: dollars(total.cost),
    Requests: format.count(total.requests),
    "Without an answer": format.count(total.failed),
    "Input tokens": format.count(total.input_tokens),
    "Of these cached": format.count(total.cached_tokens),
    "Output tokens": format.count(total.output_tokens),
    Wasted: dollars(total.wasted_cost),
  };
  $("usage-total").replaceChildren(...Object.entries(facts).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  const parts = [table("By day", "Day", days.map((entry) => ({ ...entry, name: entry.day })).reverse())];
  for (const [name, entries] of lists) {
    const top = [...entries].sort((a, b) => Number(b.cost) - Number(a.cost) || tokens(b) - tokens(a)).slice(0, TOP);
    parts.push(table(entries.length > TOP ? `Top ${TOP} of ${entries.length}: ${name.toLowerCase()}s` : `By ${name.toLowerCase()}`, name, top));
  }
  if (limits) parts.unshift(limitTable(limits));
  $("usage-lists").replaceChildren(...parts);
  $("usage-result").hidden = false;
}

/** A table with a bar for the share of the largest. */
function table(title, head, entries) {
  const weight = (entry) => Number(entry.cost) || tokens(entry) / 1e12;
  const most = Math.max(...entries.map(weight), Number.MIN_VALUE);
  const columns = [head, "Cost", "Requests", "Tokens in", "Tokens out"];
  const row = (entry) => {
    const bar = h("span", { class: "gauge", "aria-hidden": "true" }, h("i", {}));
    bar.firstChild.style.width = `${Math.round((weight(entry) / most) * 100)}%`;
    const cells = [dollars(entry.cost), format.count(entry.requests), format.count(entry.input_tokens), format.count(entry.output_tokens)];
    return h("tr", {}, h("th", { scope: "row" }, entry.name ?? "–"), cells.map((cell, i) => h("td", { class: "n", "data-label": columns[i + 1] }, i === 0 ? h("span", { class: "gauged" }, bar, cell) : cell)));
  };
  return panel(title, columns, entries.map(row));
}

function limitTable(limits) {
  const columns = ["Limit", "Of", "Left", "Allowed"];
  const row = ({ of, id, model, measure, window, limit, remaining }) => {
    const amount = (value) => (measure === "cost" ? dollars(value) : format.count(Number(value)));
    const name = measure === "concurrency" ? "requests in flight" : `${measure} per ${window}`;
    return h("tr", {}, h("th", { scope: "row" }, model ? `${name}, ${model}` : name), [`${of} ${id}`, amount(remaining), amount(limit)].map((cell, i) => h("td", { class: i ? "n" : "", "data-label": columns[i + 1] }, cell)));
  };
  return panel("Limits", columns, limits.map(row));
}

function panel(title, columns, rows) {
  const head = h("tr", {}, columns.map((column, i) => h("th", { scope: "col", class: i && column !== "Of" ? "n" : "" }, column)));
  const body = rows.length ? h("table", { class: "plain" }, h("caption", { class: "hidden" }, title), h("thead", {}, head), h("tbody", {}, rows)) : h("p", { class: "empty" }, "Nothing.");
  return h("section", { class: "panel" }, h("div", { class: "bar" }, h("h3", {}, title)), body);
}

export function explain(error) {
  if (!(error instanceof Refused)) return `The gateway did not answer: ${error.message}.`;
  if (error.code === "no_database") return "This gateway records nothing: its configuration has no [database].";
  switch (error.status) {
    case 401:
      return "The gateway does not know this token.";
    case 403:
      return "This token is not an admin's; its user needs the tag admin.";
    default:
      return `${error.status} – ${error.message}`;
  }
}

text($("usage-hint"), "Times are UTC. Requests under way count when they have ended.");
