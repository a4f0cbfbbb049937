// What is wrong now, at the top of the page.

import { $, fill, h, icon, say, text } from "./dom.js";
import * as format from "./format.js";
import { waits } from "./models.js";
import { gravity, idOf, standing, state } from "./states.js";

/** More than these would push everything else off the screen. */
const MOST = 6;

const OVERALL = {
  healthy: ["ok", "Healthy"],
  degraded: ["warn", "Degraded"],
  unhealthy: ["bad", "Unavailable"],
};

export function showAttention({ status, draining, models }) {
  const [tone, word] = draining ? ["warn", "Draining"] : (OVERALL[status] ?? ["warn", status]);
  say($("status"), tone, word);
  const backends = unique(models);
  const well = [...backends.values()].filter(({ backend }) => backend.usable).length;
  const enabled = models.filter((model) => model.enabled);
  text($("summary"), `${format.plural(enabled.length, "model")}, ${well} of ${format.plural(backends.size, "backend")} can serve`);
  document.title = tone === "ok" ? "Berry" : `${word}: ${well}/${backends.size} · Berry`;

  const troubles = [...dead(enabled), ...troubled(backends)];
  const list = $("troubles");
  fill(list, JSON.stringify(troubles), () => {
    if (troubles.length === 0) {
      const all = backends.size ? `All ${format.plural(backends.size, "backend")} are healthy.` : "No backend is enabled.";
      return h("li", { class: "calm" }, h("span", { class: "state", "data-tone": "ok" }, icon("ok"), all));
    }
    const left = troubles.length - MOST;
    return [...troubles.slice(0, MOST).map(line), ...(left > 0 ? [h("li", { class: "muted" }, `and ${left} more in the table below`)] : [])];
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

function dead(models) {
  const none = models.filter((model) => standing(model).tone === "bad");
  return none.map(({ name }) => ({ tone: "bad", icon: "bad", label: "Not served", name, more: "none of its backends can take a request now" }));
}

function troubled(backends) {
  const all = [...backends.values()].map(({ backend, models }) => ({ backend, models, ...state(backend.state) }));
  const some = all.filter(({ tone }) => tone !== "ok").sort((a, b) => gravity(a.tone) - gravity(b.tone));
  return some.map(({ backend, models, tone, icon, label }) => {
    const last = backend.last_error && tone === "bad" ? `last failure: ${backend.last_error.replaceAll("_", " ")}` : null;
    const more = [waits(backend), last, `used by ${models.join(", ")}`].filter(Boolean).join(" · ");
    return { tone, icon, label, name: idOf(backend), more };
  });
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
