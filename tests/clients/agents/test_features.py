"""What users of the agents turn on beside the task: tools of the vendor, efforts, resumed sessions, other SDKs."""

import pytest
from conftest import AFTER, FILE, claude_code, codex, opencode

POOLS = ["on-chat", "on-responses", "on-claude", "on-gemini", "on-mixed"]

# Those that a request of Messages is translated for. What passes to Claude as it is can hold what the simulated provider does
# not take: an effort of one turn, turns that the provider would join, a budget of -1.
TRANSLATED = pytest.mark.parametrize("pool", ["on-chat", "on-responses", "on-gemini"], indirect=True)


@pytest.fixture(params=POOLS)
def pool(request, gateway):
    gateway.fault(None)
    yield request.param
    gateway.accepted()


def finished(done):
    assert done.returncode == 0, done.stdout[-4000:]
    assert FILE.read_text() == AFTER, done.stdout[-4000:]


def bodies(gateway):
    return [request["body"] for requests in gateway.report().values() for request in requests if request["body"]]


@pytest.mark.parametrize("effort", ["minimal", "high", "xhigh"])
def test_codex_with_web_search_and_an_effort(gateway, work, pool, effort):
    settings = f'model_reasoning_effort = "{effort}"\nmodel_verbosity = "high"\nweb_search = "live"'
    finished(codex(gateway, work, pool, settings=settings))
    if pool == "on-responses":
        offered = [tool["type"] for body in bodies(gateway) for tool in body.get("tools", [])]
        assert "web_search" in offered, offered


def test_codex_resumes_a_session(gateway, work, pool):
    finished(codex(gateway, work, pool))
    again = codex(gateway, work, pool, "resume", "--last", prompt="What have you changed?")
    assert again.returncode == 0, again.stdout[-4000:]
    assert any("What have you changed?" in str(body) and "World" in str(body) for body in bodies(gateway))


def test_claude_code_by_an_alias_with_an_effort(gateway, work, pool):
    names = {"ANTHROPIC_MODEL": "", "ANTHROPIC_DEFAULT_SONNET_MODEL": pool}
    finished(claude_code(gateway, work, pool, "--model", "sonnet", "--effort", "high", **names))


@TRANSLATED
@pytest.mark.parametrize("family", ["claude-opus-5-5", "claude-sonnet-4-5"])
def test_claude_code_takes_it_for_a_model_that_it_knows(gateway, work, pool, family):
    names = {"ANTHROPIC_MODEL": f"{family}-{pool}", "MAX_THINKING_TOKENS": "4000"}
    finished(claude_code(gateway, work, pool, **names))


@TRANSLATED
def test_claude_code_continues_compacts_and_counts(gateway, work, pool):
    finished(claude_code(gateway, work, pool))
    for prompt in ["What have you changed?", "/context", "/compact", "And now?"]:
        again = claude_code(gateway, work, pool, "--continue", prompt=prompt)
        assert again.returncode == 0, (prompt, again.stdout[-4000:])


def test_opencode_by_the_sdk_of_responses(gateway, work, pool):
    finished(opencode(gateway, work, pool, "@ai-sdk/openai"))


@TRANSLATED
def test_opencode_by_the_sdk_of_messages(gateway, work, pool):
    finished(opencode(gateway, work, pool, "@ai-sdk/anthropic"))
