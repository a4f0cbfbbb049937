// Asks the gateway how it is, again and again while somebody looks, and shows it.

import { $, text } from "./dom.js";
import { Refused, ask, askForToken, onToken, token } from "./api.js";
import { showAttention } from "./attention.js";
import { showCharts } from "./charts.js";
import { showEvents } from "./events.js";
import * as format from "./format.js";
import { showModels } from "./models.js";
import { offerModels } from "./playground.js";
import { showConfiguration } from "./reload.js";
import "./keys.js";
import { start, view } from "./views.js";

/** From one answer to the next question. */
const PAUSE = 1500;
/** A gateway that takes longer than this is not well. */
const PATIENCE = 5000;

const page = document.documentElement;
let closed = page.dataset.status === "closed";
let timer = null;
let asking = null;
/** The time of the last answer, as told by the gateway. */
let last = null;

async function refresh() {
  clearTimeout(timer);
  if (asking) return;
  if (closed && !token()) return showClosed("");
  let goOn = true;
  asking = new AbortController();
  const patience = setTimeout(() => asking.abort(), PATIENCE);
  try {
    const response = await ask("/dashboard/data", { signal: asking.signal });
    show(await response.json());
    online();
  } catch (error) {
    // A closed status waits for another token.
    goOn = !(error instanceof Refused && [401, 403].includes(error.status));
    if (goOn) offline(error);
    else showClosed(error.status);
  } finally {
    clearTimeout(patience);
    asking = null;
  }
  if (goOn && !document.hidden) timer = setTimeout(refresh, PAUSE);
}

function show(data) {
  last = new Date(data.timestamp);
  $("closed").hidden = true;
  $("content").hidden = false;
  showAttention(data);
  showModels(data.models);
  showCharts(data);
  showEvents(data.events);
  offerModels(data.models);
  showConfiguration(data);
  text($("uptime"), `up ${format.duration(data.uptime_seconds)}`);
}

function showClosed(status) {
  closed = true;
  $("content").hidden = true;
  $("closed").hidden = false;
  const words = {
    401: "The gateway does not know this token. Paste the token of a user with the tag admin.",
    403: "This token is not an admin's. Paste the token of a user with the tag admin.",
  }[status];
  if (words) text($("closed-text"), words);
  else if (view() === "overview") askForToken();
}

function online() {
  $("offline").hidden = true;
  page.classList.remove("stale");
}

/** What was known stays, marked as old. */
function offline(error) {
  const notice = $("offline");
  const why = error instanceof Refused ? `It answered ${error.status}: ${error.message}.` : "It cannot be reached.";
  const since = last ? ` What you see is from ${format.time(last)}.` : "";
  text(notice, `The gateway does not tell its state. ${why}${since} The page goes on asking.`);
  notice.hidden = false;
  page.classList.add("stale");
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));

/** While a token is typed there is nothing to ask with it yet. */
let typed = null;
onToken(() => {
  if (!closed) return;
  clearTimeout(typed);
  typed = setTimeout(refresh, 300);
});

start();
refresh();
