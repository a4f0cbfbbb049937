"""What is built on the Responses API by default: the Agents SDK and LangChain, whoever stands behind the gateway."""

import asyncio

import pytest
from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from conftest import POOLS, Pool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
KINDS = ["chat", *POOLS]


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture(params=KINDS)
def pool(request, gateway):
    return Pool(gateway, request.param)


def agent(pool, way, **more):
    gateway = pool.gateway
    client = AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.tokens.plain, max_retries=0)
    model = OpenAIResponsesModel(model=pool.model(way), openai_client=client)
    return Agent(name="clerk", instructions="Be brief.", model=model, **more)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("way", ["tools", "thinking_tools"])
def test_an_agent_calls_its_tool(pool, way, streamed):
    asked = []

    @function_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "Sunny."

    async def run():
        if not streamed:
            return await Runner.run(agent(pool, way, tools=[weather]), "How is it in Rome?")
        result = Runner.run_streamed(agent(pool, way, tools=[weather]), "How is it in Rome?")
        async for _ in result.stream_events():
            pass
        return result

    result = asyncio.run(run())
    assert len(asked) == 1
    assert "Sunny." in result.final_output


def test_an_agent_has_a_form_for_its_output(pool):
    result = asyncio.run(Runner.run(agent(pool, "", output_type=City), "Name a city as json."))
    assert isinstance(result.final_output, City)


def langchain(pool, way=""):
    gateway = pool.gateway
    return ChatOpenAI(
        model=pool.model(way), base_url=gateway.base_url, api_key=gateway.tokens.plain, use_responses_api=True, max_retries=0
    )


def test_langchain_asks_streams_and_calls(pool):
    model = langchain(pool)
    assert model.invoke("Hello!").text
    assert "".join(chunk.text for chunk in model.stream("Hello!"))
    assert isinstance(model.with_structured_output(City).invoke("Name a city as json."), City)
    called = langchain(pool, "thinking_tools").bind_tools([City]).invoke("Name a city.")
    assert [call["name"] for call in called.tool_calls] == ["City"]
    history = [("user", "Name a city."), called, {"role": "tool", "tool_call_id": called.tool_calls[0]["id"], "content": "Rome"}]
    assert "Rome" in langchain(pool, "thinking_tools").bind_tools([City]).invoke(history).text
