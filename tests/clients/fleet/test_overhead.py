"""What a shared store and a ledger cost: processor time for each request, against the same server without them.

The servers answer in turns, so that what else the machine does falls on all of them alike. The bounds hold for an
optimised build, `BERRY_SERVER=target/release/berry-server`; of others the numbers are printed."""

from pathlib import Path

import pytest
from load import run
from support import SERVER
from test_limits import PRICES, USER, store, user

ROUNDS, REQUESTS = 8, 1500
BODY = {
    "model": "sim",
    "max_tokens": 16,
    "messages": [{"role": "system", "content": "Answer in one line. " * 40}, {"role": "user", "content": "hello " * 200}],
}


def cpu(replica):
    """The processor time of all threads, in nanoseconds."""
    threads = Path(f"/proc/{replica.process.running.pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def compare(fleet, kinds):
    """Returns the processor time of each kind of server for one request, in microseconds."""
    provider = fleet.provider()
    replicas = {name: fleet.replica(fleet.config(provider, tables)) for name, tables in kinds.items()}
    spent = dict.fromkeys(replicas, 0)
    for round in range(ROUNDS + 1):
        # Each comes first as often as the others.
        turn = round % len(replicas)
        for name, replica in [*replicas.items()][turn:] + [*replicas.items()][:turn]:
            before = cpu(replica)
            load = run([replica.port], USER, REQUESTS if round else 300, body=BODY, connections=16)
            assert set(load.statuses) == {200}
            # The first round is for warming up.
            spent[name] += cpu(replica) - before if round else 0
    return {name: nanos / ROUNDS / REQUESTS / 1000 for name, nanos in spent.items()}


def test_a_lease_and_a_ledger_cost_less_than_a_tenth(fleet, redis, tmp_path):
    limits = PRICES + user('requests_per_minute = 100000000\ntokens_per_minute = 4000000000000\ncost_per_day = "1000000"')
    database = f'[database]\nurl = "sqlite://{tmp_path}/berry.db"\n'
    kinds = {
        "limits": limits,
        "strict": limits + store(redis),
        "leased": limits + store(redis, mode="leased"),
        "ledger": limits + database,
    }
    spent = compare(fleet, kinds)
    ratios = {name: micros / spent["limits"] for name, micros in spent.items()}
    print({name: f"{micros:.1f} µs, {ratios[name]:.3f}" for name, micros in spent.items()})
    if "release" not in SERVER.parts:
        pytest.skip(f"{SERVER} may not be optimised")
    assert ratios["leased"] <= 1.1 and ratios["ledger"] <= 1.1, spent
