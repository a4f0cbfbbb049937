// The pools of each kind, with the providers that stand behind them; all have the same models.

import assert from "node:assert/strict";
import { test } from "node:test";
import { models } from "./support.js";

export const POOLS = {
  openai: ["left"],
  azure: ["azure"],
  claude: ["claude"],
  gemini: ["gemini"],
  mixed: ["left", "azure", "claude", "gemini"],
};

// A picture, in base64, and what the providers say of it.
export const PICTURE =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const PICTURE_SEEN = `image/png of ${Buffer.from(PICTURE, "base64").length} bytes`;

/** A `fetch` that notes which providers answered. */
export function noting(served) {
  return async (url, init) => {
    const response = await fetch(url, init);
    const backend = response.headers.get("x-berry-backend");
    if (backend) served.add(backend.split(":")[0]);
    return response;
  };
}

/** One test for each kind of pool. It is given a client, the kind, and the models by what they do;
 * no provider of another kind may have answered. */
export function forEachPool(name, connect, run) {
  for (const [kind, providers] of Object.entries(POOLS)) {
    test(`${kind}: ${name}`, async () => {
      const served = new Set();
      const model = (way) => models[way ? `${kind}_${way}` : kind];
      await run(connect({ fetch: noting(served) }), kind, model);
      assert.ok([...served].every((provider) => providers.includes(provider)), [...served].join());
    });
  }
}
