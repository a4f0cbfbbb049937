// Requests to this gateway, and to nobody else. The token is in its field, and nowhere else.

import { $ } from "./dom.js";

const field = $("token");

/** The token that was pasted. */
export const token = () => field.value.trim();

/** Calls back when another token has been pasted. */
export function onToken(then) {
  let last = token();
  field.addEventListener("input", () => {
    if (token() === last) return;
    last = token();
    then();
  });
}

/** Puts the cursor where a token goes. */
export const askForToken = () => field.focus();

/** An answer of the gateway that is an error. */
export class Refused extends Error {
  constructor(status, error, requestId) {
    super(error?.message ?? `the gateway answered ${status}`);
    Object.assign(this, { status, code: error?.code ?? error?.type ?? null, requestId });
  }
}

/** Whether a token may be sent at all: a header takes visible ASCII only. */
const sendable = (token) => /^[\x21-\x7e]+$/.test(token);

/** Sends a request; an answer that is no success is thrown as `Refused`. */
export async function ask(path, { headers = {}, ...options } = {}) {
  const bearer = token();
  const authorization = sendable(bearer) ? { authorization: `Bearer ${bearer}` } : {};
  const response = await fetch(path, {
    cache: "no-store",
    credentials: "omit",
    headers: { ...authorization, ...headers },
    ...options,
  });
  if (response.ok) return response;
  throw await refused(response);
}

async function refused(response) {
  const answer = await response.json().catch(() => null);
  const thrown = new Refused(response.status, answer?.error, response.headers.get("x-request-id"));
  thrown.answer = answer;
  thrown.headers = response.headers;
  return thrown;
}
