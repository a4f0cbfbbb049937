"""Limits that four replicas share: 10,000 requests by 64 connections against a limit of N.

`BERRY_FLEET_REQUESTS` sets another number of requests."""

import os
import threading
import time

import pytest
from load import run
from support import Redis, wait_for

REQUESTS = int(os.environ.get("BERRY_FLEET_REQUESTS", 10_000))
REPLICAS = 4
USER = "token-of-the-counted-user-0123456789"
# A message of 5 bytes has 8 tokens at the provider, which answers with 8 words.
TOKENS = 16
PRICES = '[prices.sim]\ninput = "1.00"\noutput = "1.00"\n'


def store(redis, mode="strict", on_error="share", timeout_ms=5000):
    """The timeout is long: a machine under load is no outage."""
    return f'[store]\nurl = "{redis.url}"\nmode = "{mode}"\non_error = "{on_error}"\ntimeout_ms = {timeout_ms}\n'


def user(limits):
    return f'[users.counted]\ntoken = "{USER}"\nteam = "t"\n[teams.t]\n[teams.t.limits]\n{limits}\n'


def start(fleet, redis, limits, **rest):
    provider = fleet.provider()
    tables = store(redis, **rest) + PRICES + user(limits)
    replicas = [fleet.replica(fleet.config(provider, tables)) for _ in range(REPLICAS)]
    # Each has seen all others.
    for replica in replicas:
        wait_for(lambda: metric(replica, "berry_store_replicas") == REPLICAS)
    return provider, replicas


def metric(replica, name):
    _, _, text = replica.client().send("GET", "/prometheus")
    lines = [line for line in text.decode().splitlines() if line.startswith(name + " ")]
    return float(lines[0].split()[1]) if lines else None


# A fifth of what is asked for, in each measure; the reservation is what is used, so that the sums are exact.
LIMIT = REQUESTS // 5
LIMITS = {
    "requests": f"requests_per_day = {LIMIT}",
    "tokens": f'tokens_per_day = {LIMIT * TOKENS}',
    "cost": f'cost_per_month = "{LIMIT * TOKENS / 1e6:.6f}"',
}


def within(measure, mode, provider, load):
    """The bounds of what may be admitted, in the limit's own units."""
    counts = provider.counts()
    used = counts["requests"] if measure == "requests" else counts["input"] + counts["output"]
    limit = LIMIT if measure == "requests" else LIMIT * TOKENS
    # What is reserved is more than what is used, so that the last requests may find too little left.
    reservation = 1 if measure == "requests" else 110
    lease = limit // 20 if mode == "leased" else 0
    in_flight = 64 if measure != "requests" else 0
    assert used <= limit, (used, limit)
    assert used > limit - REPLICAS * lease - max(reservation, in_flight * reservation), (used, limit, load.statuses)


@pytest.mark.parametrize("mode", ["strict", "leased"])
@pytest.mark.parametrize("measure", ["requests", "tokens", "cost"])
def test_replicas_admit_what_one_would(fleet, redis, measure, mode):
    # By bound, no limit is ever exceeded.
    provider, replicas = start(fleet, redis, LIMITS[measure], mode=mode)
    for replica in replicas:
        replica.config.write_text(replica.config.read_text().replace("[settings]", '[settings]\nestimate = "bound"', 1))
        replica.cli("reload")
    load = run([replica.port for replica in replicas], USER, REQUESTS)
    assert load.statuses["failed"] == 0
    assert set(load.statuses) <= {200, 429}
    assert provider.counts()["requests"] == load.statuses[200]
    if measure == "requests" and mode == "strict":
        assert load.statuses[200] == LIMIT
    within(measure, mode, provider, load)
    code = "insufficient_quota" if measure == "cost" else "rate_limit_exceeded"
    assert set(load.codes) <= {code}


@pytest.mark.parametrize("mode", ["strict", "leased"])
def test_a_killed_replica_admits_nothing_twice(fleet, redis, mode):
    provider, replicas = start(fleet, redis, LIMITS["requests"], mode=mode)
    killed = threading.Event()

    def kill(load):
        if load.statuses[200] > LIMIT // 4 and not killed.is_set():
            killed.set()
            replicas[0].process.kill()
            threading.Thread(target=replicas[0].process.start).start()

    load = run([replica.port for replica in replicas], USER, REQUESTS, on_progress=kill)
    assert killed.is_set()
    admitted = provider.counts()["requests"]
    lease = LIMIT // 20 if mode == "leased" else 0
    # Requests that the killed replica had admitted may not have reached the provider.
    assert LIMIT - (REPLICAS + 1) * lease - 16 <= admitted <= LIMIT
    assert set(load.statuses) <= {200, 429, "failed"}


@pytest.fixture
def durable(tmp_path):
    """A server that keeps every write over its death."""
    redis = Redis(tmp_path / "durable")
    command = redis.process.command
    command[command.index("--appendonly") + 1] = "yes"
    command += ["--appendfsync", "always"]
    redis.start()
    yield redis
    redis.process.stop()


def outage(provider, replicas, begin, end, seconds=1.5):
    """Sends requests before, during and after an outage, and returns the load and when it ended."""
    ended = []

    def disturb():
        time.sleep(0.5)
        begin()
        time.sleep(seconds)
        end()
        ended.append(time.monotonic())

    thread = threading.Thread(target=disturb)
    thread.start()
    stop = time.monotonic() + seconds + 3

    def go_on(load):
        load.left = 64 if time.monotonic() < stop else 0

    load = run([replica.port for replica in replicas], USER, 64, on_progress=go_on)
    thread.join()
    return load, ended[0]


def restarted(redis):
    redis.process.start()
    wait_for(lambda: redis.call("PING") == "PONG")


@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.parametrize("on_error", ["share", "local", "deny"])
def test_traffic_goes_on_without_the_store(fleet, durable, how, on_error):
    # More than is asked for in all of the test, so that no request is refused by its limit.
    limits = "requests_per_day = 4000000"
    # Long enough for a machine under load.
    provider, replicas = start(fleet, durable, limits, on_error=on_error, timeout_ms=250)
    begin = durable.process.kill if how == "killed" else durable.process.pause
    end = (lambda: restarted(durable)) if how == "killed" else durable.process.resume
    load, back = outage(provider, replicas, begin, end)
    allowed = {200, 503} if on_error == "deny" else {200}
    assert set(load.statuses) <= allowed, load.statuses
    if on_error == "deny":
        assert set(load.codes) == {"limits_unavailable"}
        late = [at for at, status in load.answered if status == 503]
        assert max(late) < back + 1, "traffic is back within a second"
    for replica in replicas:
        wait_for(lambda: metric(replica, "berry_store_up") == 1)
        assert metric(replica, "berry_store_outages_total") >= 1
        assert metric(replica, "berry_store_errors_total") >= 1
    told = sum("the store of the limits is away" in replica.log.read_text() for replica in replicas)
    assert told == REPLICAS


@pytest.mark.parametrize("how", ["killed", "paused"])
@pytest.mark.parametrize("mode", ["strict", "leased"])
def test_an_outage_admits_no_more_than_was_left(fleet, durable, how, mode):
    provider, replicas = start(fleet, durable, LIMITS["requests"], mode=mode, timeout_ms=50)
    begin = durable.process.kill if how == "killed" else durable.process.pause
    end = (lambda: restarted(durable)) if how == "killed" else durable.process.resume
    load, _ = outage(provider, replicas, begin, end)
    assert set(load.statuses) <= {200, 429}, load.statuses
    # What the store had, and what was left of it once more while it was away.
    assert provider.counts()["requests"] <= 2 * LIMIT


def test_health_tells_of_the_outage(fleet, durable):
    _, replicas = start(fleet, durable, LIMITS["requests"], timeout_ms=50)
    client = replicas[0].client()
    assert client.json("GET", "/health")["status"] == "healthy"
    durable.process.kill()
    wait_for(lambda: client.json("GET", "/health")["status"] == "degraded")
    restarted(durable)
    wait_for(lambda: client.json("GET", "/health")["status"] == "healthy")
