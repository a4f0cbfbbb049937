// Reading the configuration anew, for admins.

import { $, h, say, text } from "./dom.js";
import { Refused, ask, askForToken, onToken, token } from "./api.js";
import * as format from "./format.js";

const button = $("reload");
const said = $("reloaded");
const result = $("reload-result");

/** Tells of the configuration in force. */
export function showConfiguration({ loaded_at: at }) {
  text($("loaded"), `In force since ${format.date(new Date(at))}.`);
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
    const lines = told(await response.json());
    say(said, "ok", lines.length ? "Reloaded. What has changed:" : "Reloaded. Nothing has changed.");
    show(lines);
  } catch (error) {
    say(said, "bad", explain(error));
    show(error.status === 422 ? told(error.answer) : []);
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

/** What an answer tells, one line for each thing. */
function told(value, path = []) {
  if (value === null || value === undefined || value === false || value === "") return [];
  if (Array.isArray(value)) return value.flatMap((item) => told(item, path));
  if (typeof value === "object") return Object.entries(value).flatMap(([name, item]) => told(item, [...path, name]));
  return [[path.join(" "), value].filter(Boolean).join(": ").replaceAll("_", " ")];
}
