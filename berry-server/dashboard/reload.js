// Reading the configuration anew, for admins.

import { $, h, say, text } from "./dom.js";
import { Refused, ask, askForToken, onToken, token } from "./api.js";
import * as format from "./format.js";

const button = $("reload");
const said = $("reloaded");
const result = $("reload-result");

/** Tells of the configuration in force. */
export function showConfiguration({ loaded_at: at, last_reload: last }) {
  const refused = last && !last.ok ? ` What was read on ${format.date(new Date(last.at))} was refused.` : "";
  text($("loaded"), `In force since ${format.date(new Date(at))}.${refused}`);
}

button.addEventListener("click", async () => {
  if (!token()) {
    say(said, "warn", "Paste an admin's token first.");
    askForToken();
    return;
  }
  button.disabled = true;
  say(said, null, "Reading the file…");
  try {
    const response = await ask("/admin/reload-config", { method: "POST" });
    const { changes, warnings } = await response.json();
    const lines = changed(changes);
    say(said, "ok", lines.length ? "Reloaded. What has changed:" : "Reloaded. Nothing has changed.");
    show([...lines, ...warnings.map(({ path, message }) => `Warning: ${path}: ${message}`)]);
  } catch (error) {
    say(said, "bad", explain(error));
    // The first line says what the others are.
    show(error.status === 422 ? error.message.split("\n").slice(1) : []);
  } finally {
    button.disabled = false;
    button.focus();
  }
});
onToken(() => {
  say(said, null, "");
  show([]);
});

function explain(error) {
  if (!(error instanceof Refused)) return `The gateway did not answer: ${error.message}.`;
  switch (error.status) {
    case 401:
      return "The gateway does not know this token.";
    case 403:
      return "This token is not an admin's; its user needs the tag admin.";
    case 404:
    case 405:
      return "This gateway cannot be reloaded.";
    case 422:
      return "The file has errors. The configuration in force stays:";
    default:
      return `${error.status} – ${error.message}`;
  }
}

function show(lines) {
  result.replaceChildren(...lines.map((line) => h("li", {}, line)));
  result.hidden = lines.length === 0;
}

/** What a reload has changed, one line for each kind of thing and change. */
function changed({ settings, tables: others = [], ...tables }) {
  const lines = settings.length ? [`Settings: ${settings.join(", ")}`] : [];
  if (others.length) lines.push(`Other tables: ${others.join(", ")}`);
  for (const [kind, ways] of Object.entries(tables)) {
    for (const [way, ids] of Object.entries(ways)) {
      if (ids.length) lines.push(`${kind[0].toUpperCase()}${kind.slice(1)} ${way}: ${ids.join(", ")}`);
    }
  }
  return lines;
}
