"""The ledger: its sums are what the providers have billed, to the token."""

import csv
import io
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import ADMIN, CLI, Client, wait_for

PRICES = '[prices.sim]\ninput = "2.00"\noutput = "8.00"\ncached_input = "0.50"'


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/berry.db"
    return request.getfixturevalue("postgres").url


def config(fleet, provider, url):
    return fleet.config(provider, f'[database]\nurl = "{url}"\n{PRICES}')


def total(replica, query="from=2020-01-01"):
    return replica.client().json("GET", f"/admin/usage?{query}")["total"]


def billed(provider):
    counts = provider.counts()
    return {
        "input_tokens": counts["input"], "cached_tokens": counts["cached"], "output_tokens": counts["output"],
        "reasoning_tokens": counts["reasoning"],
    }


def sums(replica):
    told = total(replica)
    return {name: told[name] for name in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")}


def cost(counts):
    plain = counts["input"] - counts["cached"]
    return f"{(2000 * plain + 500 * counts['cached'] + 8000 * counts['output']) / 1e9:.9f}".rstrip("0")


def traffic(replicas, requests, keys):
    """Plain and streamed requests of several keys over all replicas, some of which fail."""

    def one(index):
        client = Client(replicas[index % len(replicas)].port, keys[index % len(keys)])
        user = {"user": "fail"} if index % 17 == 0 else {}
        return client.chat("x" * (index % 40), stream=index % 2 == 0, max_tokens=1 + index % 30, **user)[0]

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, range(requests)))


def test_sums_are_what_the_provider_billed(fleet, url):
    provider = fleet.provider()
    text = config(fleet, provider, url)
    replicas = [fleet.replica(text), fleet.replica(text)]
    replicas[0].cli("team", "create", "web")
    replicas[0].cli("user", "create", "ann", "--team", "web")
    keys = [ADMIN, replicas[0].cli("key", "create", "--user", "ann")["key"]]
    wait_for(lambda: replicas[1].client().chat(token=keys[1])[0] == 200)
    statuses = traffic(replicas, 300, keys)
    assert statuses.count(200) > 250
    wait_for(lambda: sums(replicas[0]) == billed(provider))
    wait_for(lambda: total(replicas[1])["requests"] >= 301)
    assert float(total(replicas[0])["cost"]) == pytest.approx(float(cost(provider.counts())), abs=1e-12)

    by_user = replicas[0].client().json("GET", "/admin/usage?from=2020-01-01&by=user,team,model")["data"]
    assert [(entry["user"], entry["team"]) for entry in by_user if entry["model"] == "sim"] == [("admin", None), ("ann", "web")]
    _, headers, body = replicas[0].client().send("GET", "/admin/usage?from=2020-01-01&by=day,user&format=csv")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert headers["content-type"].startswith("text/csv")
    assert sum(int(row["input_tokens"]) for row in rows) == provider.counts()["input"]
    own = Client(replicas[0].port, keys[1]).json("GET", "/v1/usage")
    assert own["user"] == "ann" and own["team"] == "web"
    assert own["usage"]["total"]["output_tokens"] == sum(int(r["output_tokens"]) for r in rows if r["user"] == "ann")
    # Single rows and sums of hours agree.
    assert replicas[0].client().json("GET", "/admin/usage?from=2020-01-01T00:30:00Z")["total"]["requests"] == total(replicas[0])["requests"]
    command = [CLI, "--url", f"http://127.0.0.1:{replicas[0].port}", "--token", ADMIN, "usage", "--by", "user"]
    shown = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "ann" in shown.stdout and "total" in shown.stdout


def test_sigterm_writes_what_waits(fleet, url):
    provider = fleet.provider()
    replica = fleet.replica(config(fleet, provider, url))
    traffic([replica], 120, [ADMIN])
    replica.process.signal(signal.SIGTERM)
    replica.process.running.wait(15)
    replica.start()
    assert sums(replica) == billed(provider)


def test_rows_wait_while_the_database_is_away(fleet, postgres):
    provider = fleet.provider()
    replica = fleet.replica(config(fleet, provider, postgres.url))
    traffic([replica], 50, [ADMIN])
    postgres.process.stop()
    try:
        assert 200 in traffic([replica], 150, [ADMIN])
        assert replica.client().send("GET", "/admin/usage")[0] == 503
        metrics = replica.client().send("GET", "/prometheus")[2].decode()
        assert "berry_database_up 0" in metrics
    finally:
        postgres.start()
    traffic([replica], 50, [ADMIN])
    wait_for(lambda: sums(replica) == billed(provider), within=30)
    metrics = replica.client().send("GET", "/prometheus")[2].decode()
    assert 'berry_ledger_rows_total{result="dropped"} 0' in metrics


def test_nothing_of_a_request_is_in_the_database(fleet, tmp_path):
    provider = fleet.provider()
    replica = fleet.replica(config(fleet, provider, f"sqlite://{tmp_path}/berry.db"))
    assert replica.client().chat("a-secret-question", user="end-user-name")[0] == 200
    replica.process.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("berry.db*"))
    for text in (b"a-secret-question", b"end-user-name", b"word word", ADMIN.encode()):
        assert text not in kept
