// The Responses API by OpenAI's SDK, the Agents SDK and the Vercel AI SDK, whoever stands behind the gateway.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { Agent, OpenAIProvider, Runner, setTracingDisabled, tool } from "@openai/agents";
import { generateText, Output, stepCountIs, streamText, tool as aiTool } from "ai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { POOLS } from "./pools.js";
import { collect, connect, gateway, models, tokens } from "./support.js";

setTracingDisabled(true);

const City = z.object({ name: z.string(), people: z.number().int() });
const QUESTION = "How is it in Rome?";

for (const kind of ["chat", ...Object.keys(POOLS)]) {
  const model = (way) => models[way ? `${kind}_${way}` : kind];

  test(`${kind}: the SDK creates, streams and parses responses`, async () => {
    const client = connect();
    const plain = await client.responses.create({ model: model(), input: "Hello!" });
    assert.ok(plain.output_text && plain.usage.output_tokens);
    const events = await collect(client.responses.create({ model: model(), input: "Hello!", stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(events.at(-1).type, "response.completed");
    assert.ok(deltas.length > 1);
    const helper = client.responses.stream({ model: model(), input: "Hello!" });
    assert.ok((await helper.finalResponse()).output_text);
    const text = { format: zodTextFormat(City, "city") };
    const parsed = await client.responses.parse({ model: model(), input: "Name a city as json.", text });
    assert.ok(City.parse(parsed.output_parsed));
  });

  for (const way of ["tools", "thinking_tools"]) {
    test(`${kind}: an agent calls its tool (${way})`, async () => {
      const asked = [];
      const weather = tool({
        name: "weather",
        description: "The weather of a city.",
        parameters: z.object({ city: z.string() }),
        execute: async ({ city }) => {
          asked.push(city);
          return "Sunny.";
        },
      });
      const modelProvider = new OpenAIProvider({
        apiKey: tokens.plain,
        baseURL: gateway.base_url,
        useResponses: true,
      });
      const runner = new Runner({ modelProvider, tracingDisabled: true });
      const agent = new Agent({ name: "clerk", instructions: "Be brief.", model: model(way), tools: [weather] });
      const result = await runner.run(agent, QUESTION);
      assert.equal(asked.length, 1);
      assert.match(result.finalOutput, /Sunny\./);
      const streamed = await runner.run(agent, QUESTION, { stream: true });
      await streamed.completed;
      assert.match(streamed.finalOutput, /Sunny\./);
    });

    test(`${kind}: the Vercel AI SDK calls its tool (${way})`, async () => {
      const provider = createOpenAI({ baseURL: gateway.base_url, apiKey: tokens.plain });
      const ask = {
        model: provider(model(way)),
        prompt: QUESTION,
        maxRetries: 0,
        stopWhen: stepCountIs(3),
        tools: {
          weather: aiTool({
            description: "The weather of a city.",
            inputSchema: z.object({ city: z.string() }),
            execute: async () => "Sunny.",
          }),
        },
      };
      const plain = await generateText(ask);
      assert.equal(plain.steps.length, 2);
      assert.match(plain.text, /Sunny\./);
      const streamed = streamText(ask);
      assert.match(await collectText(streamed.textStream), /Sunny\./);
    });
  }

  test(`${kind}: the Vercel AI SDK gets an object`, async () => {
    const provider = createOpenAI({ baseURL: gateway.base_url, apiKey: tokens.plain });
    const ask = { model: provider(model()), prompt: "Name a city as json.", maxRetries: 0 };
    const { output } = await generateText({ ...ask, output: Output.object({ schema: City }) });
    assert.ok(City.parse(output));
  });
}

async function collectText(stream) {
  let text = "";
  for await (const piece of stream) text += piece;
  return text;
}
