// The last failed attempts and changes of state.

import { $, fill, h, icon, text } from "./dom.js";
import * as format from "./format.js";
import { state } from "./states.js";

const list = $("events");
const buttons = [...$("event-filter").querySelectorAll("button")];
let latest = [];
let shown = "all";

for (const button of buttons) {
  button.addEventListener("click", () => {
    shown = button.dataset.kind;
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    show();
  });
}

export function showEvents(events) {
  latest = events;
  show();
}

function show() {
  const wanted = latest.filter((event) => shown === "all" || (event.kind === "attempt") === (shown === "failed"));
  fill(list, JSON.stringify(wanted), () => together(wanted).map(row));
  list.hidden = wanted.length === 0;
  const none = $("no-events");
  none.hidden = wanted.length > 0;
  const what = { all: "Failed attempts and state changes", failed: "Failed attempts", changed: "State changes" }[shown];
  text(none, `Nothing since the gateway started. ${what} will stand here, the latest first.`);
}

/** The same thing several times in a row is one line. */
function together(events) {
  const rows = [];
  for (const event of events) {
    const { at, ...same } = event;
    const key = JSON.stringify(same);
    const before = rows.at(-1);
    if (before?.key === key) before.times += 1;
    else rows.push({ key, event, times: 1 });
  }
  return rows;
}

function row({ event, times }) {
  const told = { attempt, health: change, breaker: change }[event.kind](event);
  return h(
    "li",
    { "data-kind": event.kind },
    h("time", { datetime: event.at }, format.time(new Date(event.at))),
    h("span", { class: "state", "data-tone": told.tone }, icon(told.icon), told.what),
    h("span", { class: "name" }, h("b", {}, event.provider), `:${event.model}`),
    times > 1 ? h("span", { class: "chip", title: "this often in a row" }, `× ${times}`) : null,
    told.more ? h("span", { class: "reason" }, told.more) : null,
  );
}

const CLASSES = {
  auth: "Key refused",
  rate_limit: "Rate limited",
  model: "Unknown model",
  server: "Server error",
  timeout: "Timeout",
  network: "Network error",
  unserved: "Path not served",
};

function attempt({ class: name, status, reason }) {
  const tone = name === "rate_limit" ? "warn" : "bad";
  const answered = status ? `answered ${status}` : null;
  return { tone, icon: tone, what: CLASSES[name] ?? name, more: [answered, reason].filter(Boolean).join(" · ") };
}

const BREAKER = { closed: ["ok", "ok", "Breaker closed"], half_open: ["warn", "half", "Breaker half-open"], open: ["bad", "bad", "Breaker open"] };

function change({ kind, from, to }) {
  if (kind === "breaker") {
    const [tone, shown, what] = BREAKER[to] ?? ["warn", "warn", `Breaker ${to}`];
    return { tone, icon: shown, what, more: `was ${from.replaceAll("_", "-")}` };
  }
  const { tone, icon: shown, label } = state(to);
  return { tone, icon: shown, what: label, more: `was ${state(from).label.toLowerCase()}` };
}
