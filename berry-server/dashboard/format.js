// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** What is not known. */
export const NONE = "–";

const known = (value) => value !== null && value !== undefined;

/** A count; long ones are shortened. */
export const count = (n) => (n < 100_000 ? whole.format(n) : short.format(n));

/** A number of no more digits than matter. */
export function number(n) {
  if (!known(n)) return NONE;
  if (n === 0) return "0";
  if (n < 0.01) return "<0.01";
  if (n < 10) return String(Number(n.toFixed(2)));
  return n < 100 ? String(Number(n.toFixed(1))) : count(n);
}

/** How much a second. */
export function rate(n) {
  if (!known(n)) return NONE;
  if (n === 0) return "0";
  if (n < 0.1) return n < 0.01 ? "<0.01" : n.toFixed(2);
  return n < 10 ? n.toFixed(1) : count(n);
}

/** A share of 1, in percent. */
export function percent(share) {
  if (!known(share)) return NONE;
  const hundredths = share * 100;
  if (hundredths > 0 && hundredths < 0.1) return "<0.1 %";
  return `${Number(hundredths.toFixed(hundredths < 10 ? 1 : 0))} %`;
}

/** A duration, given in milliseconds. */
export function millis(ms) {
  if (!known(ms)) return NONE;
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return duration(ms / 1000);
}

/** The same for the marks of an axis, which are round. */
export const ticks = {
  rate: (n) => (Number.isInteger(n) ? count(n) : rate(n)),
  percent: (share) => (share === 0 ? "0" : percent(share)),
  millis: (ms) => (ms >= 1000 && ms < 60_000 ? `${Number((ms / 1000).toFixed(1))} s` : ms === 0 ? "0" : millis(ms)),
};

/** A duration, given in seconds, by its two largest units. */
export function duration(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A time of today. */
export const time = (at) => clock.format(at);
/** The same to the minute. */
export const hour = (at) => minute.format(at);
/** A time of any day. */
export const date = (at) => day.format(at);

/** How many there are of something. */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
