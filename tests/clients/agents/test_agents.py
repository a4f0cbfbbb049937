"""Each agent does the task over each kind of provider, also when one fails midway, and no provider has to refuse what
it is sent."""

import pytest
from conftest import AFTER, AGENTS, FILE

POOLS = ["on-chat", "on-responses", "on-claude", "on-gemini", "on-mixed"]
FAULTS = ["429", "cut"]
DEAD = ["dead-then-chat", "dead-then-responses", "dead-then-claude", "dead-then-gemini"]

def does_the_task(agent, pool, gateway, work, fault=None):
    gateway.fault(fault)
    done = AGENTS[agent](gateway, work, pool)
    assert FILE.read_text() == AFTER, done.stdout[-4000:]
    assert done.returncode == 0, done.stdout[-4000:]
    report = gateway.accepted()
    if fault != "429":
        struck = [r for requests in report.values() for r in requests if r["status"] == 429]
        assert not struck, struck
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
