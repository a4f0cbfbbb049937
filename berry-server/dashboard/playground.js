// A streamed chat with the pasted token: does it work, who answers, and how fast?

import { $, h, say } from "./dom.js";
import { Refused, ask, askForToken, onToken, token } from "./api.js";
import * as format from "./format.js";

const form = $("playground");
const models = $("model");
const answer = $("answer");
const facts = $("facts");
const outcome = $("outcome");
const [send, stop] = [$("send"), $("stop")];

/** Ends the request under way. */
let abort = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!abort) run();
});
stop.addEventListener("click", () => abort?.abort());
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
onToken(() => say(outcome, null, ""));

/** Offers the models that there are; the choice stays while it is one of them. */
export function offerModels(all) {
  const names = all.filter((model) => model.enabled).map((model) => model.name);
  if (models.dataset.names === JSON.stringify(names)) return;
  models.dataset.names = JSON.stringify(names);
  const chosen = models.value;
  models.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(chosen)) models.value = chosen;
}

async function run() {
  if (!token()) {
    say(outcome, "warn", "Paste a token first.");
    askForToken();
    return;
  }
  abort = new AbortController();
  begin();
  const chat = { model: models.value, started: performance.now(), first: null, usage: null, finished: null, response: null };
  try {
    await stream(chat);
    const took = format.millis(performance.now() - chat.started);
    if (chat.finished) say(outcome, "ok", `Answered ${by(chat)}in ${took}.`);
    else say(outcome, "bad", "The stream ended before the answer was whole.");
  } catch (error) {
    const words = error.name === "AbortError" ? `Stopped ${by(chat)}`.trim() + "." : explain(error);
    say(outcome, error.name === "AbortError" ? "warn" : "bad", words);
    if (error.headers) chat.response = error;
    chat.requestId = error.requestId;
  } finally {
    abort = null;
    show(chat);
    end();
  }
}

function begin() {
  send.disabled = true;
  stop.disabled = false;
  answer.replaceChildren();
  answer.hidden = false;
  answer.setAttribute("aria-busy", "true");
  facts.hidden = true;
  say(outcome, null, "Asking…");
}

function end() {
  const focused = document.activeElement === stop;
  send.disabled = false;
  stop.disabled = true;
  if (focused) send.focus();
  answer.setAttribute("aria-busy", "false");
  answer.hidden = answer.textContent === "";
}

/** Who answered, and at which attempt. */
function by({ response }) {
  const [backend, attempts] = served(response);
  if (!backend) return "";
  return attempts === 1 ? `by ${backend} ` : `by ${backend} after ${format.plural(attempts, "attempt")} `;
}

const served = (response) => [response?.headers.get("x-berry-backend"), Number(response?.headers.get("x-berry-attempts") ?? 0)];

async function stream(chat) {
  const question = { role: "user", content: $("message").value };
  chat.response = await ask("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: chat.model, stream: true, stream_options: { include_usage: true }, messages: [question] }),
    signal: abort.signal,
  });
  say(outcome, null, `Answering ${by(chat)}`.trim() + "…");
  show(chat);
  const written = answer.appendChild(document.createTextNode(""));
  for await (const data of events(chat.response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refused(chat.response.status, event.error, chat.response.headers.get("x-request-id"));
    take(chat, event, written);
  }
}

function take(chat, event, written) {
  chat.usage = event.usage ?? chat.usage;
  const choice = event.choices?.[0];
  chat.finished = choice?.finish_reason ?? chat.finished;
  const piece = choice?.delta?.content;
  if (!piece) return;
  chat.first ??= performance.now() - chat.started;
  const atEnd = answer.scrollHeight - answer.scrollTop - answer.clientHeight < 24;
  written.appendData(piece);
  if (atEnd) answer.scrollTop = answer.scrollHeight;
}

/** The data of each event of a stream. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).replaceAll("\r\n", "\n").split("\n\n");
    rest = parts.pop();
    for (const part of done ? [...parts, rest] : parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data) yield data;
    }
    if (done) return;
  }
}

function explain(error) {
  if (!(error instanceof Refused)) return `The connection broke: ${error.message}.`;
  const code = error.code ? ` ${error.code}` : "";
  return error.status === 200 ? `The stream reported an error:${code} – ${error.message}` : `${error.status}${code} – ${error.message}`;
}

function show({ response, requestId, started, first, usage }) {
  const [backend, attempts] = served(response);
  const seconds = (performance.now() - started - (first ?? 0)) / 1000;
  const speed = usage && first && seconds > 0 ? ` (${format.rate(usage.completion_tokens / seconds)} per second)` : "";
  const all = [
    ["Backend", backend],
    ["Attempts", attempts || null],
    ["First token", first && format.millis(first)],
    ["Tokens", usage && `${format.count(usage.prompt_tokens)} in, ${format.count(usage.completion_tokens)} out${speed}`],
    ["Request id", requestId ?? response?.headers.get("x-request-id")],
  ];
  const known = all.filter(([, value]) => value);
  facts.replaceChildren(...known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
  facts.hidden = known.length === 0;
}
