// What is wrong now, at the top of the page.

import { $, fill, h, icon, say, text } from "./dom.js";
import * as format from "./format.js";
import { waits } from "./models.js";
import { gravity, idOf, standing, state } from "./states.js";

/** More than these would push everything else off the screen. */
const MOST = 6;
/** And more names than these, everything else off the line. */
const NAMES = 5;

const OVERALL = {
  healthy: ["ok", "Healthy"],
  degraded: ["warn", "Degraded"],
  unhealthy: ["bad", "Unavailable"],
};

export function showAttention({ status, draining, models, last_reload: reload }) {
  const [tone, word] = draining ? ["warn", "Draining"] : (OVERALL[status] ?? ["warn", status]);
  say($("status"), tone, word);
  const backends = unique(models);
  const well = [...backends.values()].filter(({ backend }) => backend.usable).length;
  const enabled = models.filter((model) => model.enabled);
  text($("summary"), `${format.plural(enabled.length, "model")}, ${well} of ${format.plural(backends.size, "backend")} available`);
  document.title = tone === "ok" ? "Berry" : `${word}: ${well}/${backends.size} · Berry`;

  const troubles = [...dead(enabled), ...refused(reload), ...troubled(backends)];
  const list = $("troubles");
  fill(list, JSON.stringify(troubles), () => {
    if (troubles.length === 0) {
      const all = backends.size ? `All ${format.plural(backends.size, "backend")} are healthy.` : "No backend is enabled.";
      return h("li", { class: "calm" }, h("span", { class: "state", "data-tone": "ok" }, icon("ok"), all));
    }
    const shown = troubles.length > MOST + 1 ? troubles.slice(0, MOST) : troubles;
    const left = troubles.length - shown.length;
    return [...shown.map(line), ...(left ? [h("li", { class: "muted" }, `and ${left} more in the table below`)] : [])];
  });
}

/** The enabled backends, each once, with the models that use it. */
function unique(models) {
  const found = new Map();
  for (const model of models.filter((model) => model.enabled)) {
    for (const backend of model.backends.filter((backend) => backend.state !== "disabled")) {
      const known = found.get(idOf(backend));
      if (known) known.models.push(model.name);
      else found.set(idOf(backend), { backend, models: [model.name] });
    }
  }
  return found;
}

/** A new configuration that is not in force. */
function refused(reload) {
  if (!reload || reload.ok) return [];
  const more = `${format.plural(reload.errors, "error")}; the one before stays in force. Reload it to see them.`;
  return [{ tone: "warn", icon: "warn", label: "File refused", name: `Configuration of ${format.time(new Date(reload.at))}`, more }];
}

/** The models that no healthy backend serves, in one line. */
function dead(models) {
  const names = models.filter((model) => standing(model).tone === "bad").map(({ name }) => name);
  if (names.length === 0) return [];
  const one = names.length === 1;
  const name = one ? names[0] : format.plural(names.length, "model");
  const more = "no healthy backend is free, so requests may fail";
  return [{ tone: "bad", icon: "bad", label: "Unavailable", name, more: one ? more : `${some(names)}: ${more}` }];
}

/** The backends that are not well, those of one provider that fare alike in one line. */
function troubled(backends) {
  const groups = new Map();
  for (const { backend, models } of backends.values()) {
    if (state(backend.state).tone === "ok") continue;
    const key = JSON.stringify([backend.provider, backend.state]);
    groups.set(key, [...(groups.get(key) ?? []), { backend, models }]);
  }
  const lines = [...groups.values()].map((group) => ({ ...state(group[0].backend.state), group }));
  lines.sort((a, b) => gravity(a.tone) - gravity(b.tone) || b.group.length - a.group.length);
  return lines.map(({ group, ...shown }) => ({ ...shown, ...(group.length === 1 ? alone(group[0], shown.tone) : alike(group)) }));
}

function alone({ backend, models }, tone) {
  const last = backend.last_error && tone === "bad" ? `last failure: ${backend.last_error.replaceAll("_", " ")}` : null;
  const more = [waits(backend), last, `used by ${some(models)}`].filter(Boolean).join(" · ");
  return { name: idOf(backend), more };
}

function alike(group) {
  const name = `${group[0].backend.provider}: ${format.plural(group.length, "backend")}`;
  return { name, more: some(group.map(({ backend }) => backend.model)) };
}

/** The first few of many names. */
function some(names) {
  const left = names.length - NAMES;
  return left > 0 ? `${names.slice(0, NAMES).join(", ")} and ${left} more` : names.join(", ");
}

function line({ tone, icon: shown, label, name, more }) {
  return h(
    "li",
    {},
    h("span", { class: "state", "data-tone": tone }, icon(shown), label),
    h("span", { class: "name" }, h("b", {}, name)),
    h("span", { class: "muted" }, more),
  );
}
