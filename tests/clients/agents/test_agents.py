"""Each agent does the task over each kind of provider, also when one fails midway, and no provider has to refuse what
it is sent."""

import pytest
from conftest import AFTER, AGENTS, FILE

POOLS = ["on-chat", "on-responses", "on-claude", "on-gemini", "on-mixed"]
FAULTS = ["429", "cut"]
DEAD = ["dead-then-chat", "dead-then-responses", "dead-then-claude", "dead-then-gemini"]

# What a provider answers to teach the gateway in which format it is to be asked; each at most once.
LESSONS = {"chat": ("/v1/responses", 404), "responses": ("/v1/chat/completions", 400)}


def does_the_task(agent, pool, gateway, work, fault=None):
    gateway.fault(fault)
    done = AGENTS[agent](gateway, work, pool)
    report = gateway.report()
    assert FILE.read_text() == AFTER, done.stdout[-4000:]
    assert done.returncode == 0, done.stdout[-4000:]
    for name, requests in report.items():
        refused = [request for request in requests if request["status"] and 400 <= request["status"] < 500]
        if fault == "429":
            refused = [request for request in refused if request["status"] != 429]
        lesson = [r for r in refused if (r["path"], r["status"]) == LESSONS.get(name)]
        assert len(lesson) <= 1, f"{name} taught the same twice"
        refused = [request for request in refused if request not in lesson]
        assert not refused, f"{name} refused {[(r['path'], r['status']) for r in refused]}"
    return report


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("agent", AGENTS)
def test_does_the_task(agent, pool, gateway, work):
    report = does_the_task(agent, pool, gateway, work)
    used = {name for name, requests in report.items() if requests}
    # A pool of several formats prefers the backends that need not drop a field of the agent's.
    assert used if pool == "on-mixed" else used == {pool.removeprefix("on-")}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("agent", AGENTS)
def test_does_the_task_when_a_provider_fails_midway(agent, pool, fault, gateway, work):
    report = does_the_task(agent, pool, gateway, work, fault)
    if pool != "on-mixed":
        requests = report[pool.removeprefix("on-")]
        struck = [r for r in requests if r["status"] == 429 or r["end"] == "Cut"]
        assert len(struck) == 1, [(r["path"], r["status"], r["end"]) for r in requests]


@pytest.mark.parametrize("pool", DEAD)
@pytest.mark.parametrize("agent", AGENTS)
def test_does_the_task_when_the_primary_is_dead(agent, pool, gateway, work):
    does_the_task(agent, pool, gateway, work)
