// What a backend's state is called, and how grave it is.

const STATES = {
  healthy: ["ok", "ok", "Healthy"],
  recovering_30: ["warn", "half", "Recovering 30 %"],
  recovering_50: ["warn", "half", "Recovering 50 %"],
  half_open: ["warn", "half", "Breaker half-open"],
  cooling_down: ["warn", "clock", "Cooling down"],
  full: ["warn", "warn", "Full"],
  unhealthy: ["bad", "bad", "Unhealthy"],
  open: ["bad", "bad", "Breaker open"],
  disabled: ["off", "off", "Disabled"],
};

/** Its tone, icon and name. */
export function state(name) {
  const [tone, icon, label] = STATES[name] ?? ["warn", "warn", name];
  return { tone, icon, label };
}

const GRAVITY = { bad: 0, warn: 1, ok: 2, off: 3 };

/** For sorting: the gravest first. */
export const gravity = (tone) => GRAVITY[tone];

/** The name of a backend. */
export const idOf = ({ provider, model }) => `${provider}:${model}`;

/** How a model is, judged by its backends. */
export function standing(model) {
  const enabled = model.backends.filter((backend) => backend.state !== "disabled");
  const available = enabled.filter((backend) => backend.usable);
  const troubled = enabled.some((backend) => state(backend.state).tone !== "ok");
  const tone = !model.enabled ? "off" : available.length === 0 ? "bad" : troubled ? "warn" : "ok";
  return { tone, available: available.length, enabled: enabled.length };
}
