// The models, their strategies, and the state of each backend.

import { $, fill, h, icon, text } from "./dom.js";
import * as format from "./format.js";
import { gravity, idOf, standing, state } from "./states.js";

const table = $("backends");
const find = $("find");
const onlyTroubled = $("only-troubled");
const COLUMNS = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);

/** By name; each with the rows of its backends. They stay the same elements while they are told of. */
const groups = new Map();
let latest = [];

find.addEventListener("input", filter);
onlyTroubled.addEventListener("change", filter);

export function showModels(models) {
  latest = models;
  const names = new Set(models.map((model) => model.name));
  for (const [name, group] of groups) {
    if (!names.has(name)) {
      group.body.remove();
      groups.delete(name);
    }
  }
  models.forEach((model, i) => {
    const group = groups.get(model.name) ?? newGroup(model.name);
    if (table.tBodies[i] !== group.body) table.insertBefore(group.body, table.tBodies[i] ?? null);
    updateGroup(group, model);
  });
  filter();
}

function newGroup(name) {
  const cell = h("th", { role: "rowheader", scope: "rowgroup", colspan: COLUMNS.length });
  const body = h("tbody", { role: "rowgroup" }, h("tr", { role: "row", class: "model" }, cell));
  const group = { body, cell, rows: new Map() };
  groups.set(name, group);
  return group;
}

function updateGroup(group, model) {
  const { tone, available, enabled } = standing(model);
  group.body.dataset.tone = tone;
  const key = JSON.stringify([model.name, model.strategy, model.enabled, model.fallbacks, tone, available, enabled]);
  fill(group.cell, key, () => {
    const words = model.enabled ? `${available} of ${format.plural(enabled, "backend")} available` : "Disabled";
    const mark = h("span", { class: "state", "data-tone": tone }, icon(tone), words);
    const fallbacks = model.fallbacks.length ? h("span", { class: "muted" }, `falls back to ${model.fallbacks.join(", ")}`) : null;
    return h("div", { class: "model-line" }, h("span", { class: "name" }, model.name), h("span", { class: "chip" }, model.strategy), mark, fallbacks);
  });
  const ids = new Set(model.backends.map(idOf));
  for (const [id, row] of group.rows) {
    if (!ids.has(id)) {
      row.remove();
      group.rows.delete(id);
    }
  }
  model.backends.forEach((backend, i) => {
    const row = group.rows.get(idOf(backend)) ?? newRow(group, idOf(backend));
    if (group.body.rows[i + 1] !== row) group.body.insertBefore(row, group.body.rows[i + 1] ?? null);
    updateRow(row, backend, model);
  });
}

function newRow(group, id) {
  const cells = COLUMNS.map((label, i) =>
    h("td", { role: "cell", "data-label": label, class: [2, 3, 4, 5, 7, 8].includes(i) ? "n" : "" }),
  );
  const row = h("tr", { role: "row", "data-backend": id }, cells);
  group.rows.set(id, row);
  return row;
}

function updateRow(row, backend, { strategy }) {
  const [mark, name, weight, confidence, inFlight, requests, errors, latency, firstToken] = row.cells;
  const { tone, icon: shown, label } = state(backend.state);
  row.dataset.tone = tone;
  row.dataset.state = backend.state;
  const wait = waits(backend);
  fill(mark, `${backend.state} ${wait}`, () =>
    h("span", { class: "state", "data-tone": tone }, icon(shown), h("span", {}, label, wait ? [" ", h("small", {}, wait)] : null)),
  );
  // Who comes first matters where somebody does.
  const rank = strategy === "failover" ? `priority ${backend.priority}` : null;
  fill(name, `${idOf(backend)} ${backend.premium} ${rank}`, () => [
    h("span", { class: "name" }, h("b", {}, backend.provider), `:${backend.model}`),
    ...(backend.premium ? [h("span", { class: "chip", title: "Dear: the smart strategies keep it as the reserve" }, "premium")] : []),
    ...(rank ? [h("span", { class: "chip", title: "Lower is preferred" }, rank)] : []),
  ]);
  showWeight(weight, backend);
  showConfidence(confidence, backend.confidence);
  const bound = backend.max_in_flight ? ` / ${backend.max_in_flight}` : "";
  text(inFlight, `${backend.in_flight}${bound}`);
  text(requests, format.count(backend.requests));
  showErrors(errors, backend);
  text(latency, format.millis(backend.latency_ms));
  text(firstToken, format.millis(backend.first_token_ms));
}

/** When it comes back, where that is known. */
export function waits({ retry_in_seconds: wait }) {
  return wait ? `${format.duration(Math.ceil(wait))} left` : "";
}

function showWeight(cell, { weight, effective_weight: effective }) {
  const [given, used] = [format.number(weight), format.number(effective)];
  fill(cell, `${given} ${used}`, () =>
    given === used ? h("span", {}, given) : h("span", { title: `configured ${given}, used ${used}` }, h("span", { class: "muted" }, `${given} → `), used),
  );
}

function showConfidence(cell, confidence) {
  const shown = confidence.toFixed(2);
  fill(cell, shown, () => {
    const bar = h("span", { class: "gauge", "aria-hidden": "true" }, h("i", {}));
    bar.firstChild.style.width = `${Math.round(confidence * 100)}%`;
    return h("span", { class: "gauged" }, bar, shown);
  });
}

function showErrors(cell, { errors, errors_by_class: classes, requests }) {
  const some = Object.entries(classes).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  fill(cell, `${requests} ${some}`, () => {
    if (errors === 0) return h("span", { class: "muted" }, "0");
    const share = requests ? h("span", { class: "muted" }, `${format.percent(errors / requests)}`) : null;
    return h("span", { class: "errors" }, h("b", {}, format.count(errors)), share, some.map(([name, n]) => h("span", { class: "chip" }, `${name.replaceAll("_", " ")} ${format.count(n)}`)));
  });
}

/** Shows what was asked for, and says so when that is nothing. */
function filter() {
  const wanted = find.value.trim().toLowerCase();
  let shown = 0;
  for (const model of latest) {
    const { body, rows } = groups.get(model.name);
    const named = model.name.toLowerCase().includes(wanted);
    let some = 0;
    for (const backend of model.backends) {
      const tone = state(backend.state).tone;
      const fits = (named || idOf(backend).toLowerCase().includes(wanted)) && (!onlyTroubled.checked || gravity(tone) < gravity("ok"));
      rows.get(idOf(backend)).hidden = !fits;
      some += fits;
    }
    body.hidden = some === 0;
    shown += some;
  }
  const none = $("none-found");
  none.hidden = shown > 0;
  const all = wanted === "" && onlyTroubled.checked;
  text(none, all ? "Every backend is healthy." : "No model or backend matches. Clear the filter to see all of them.");
}
