"""Notices between replicas over the store, and stores that are clusters or need TLS."""

import json
import os
import socket
import subprocess
import time

import pytest
from load import run
from support import ADMIN, SERVER, Process, Redis, cluster_port, free_port, program, wait_for
from test_limits import PRICES, USER, metric, store, user


def listen(redis):
    """Subscribes to the replicas' channel and returns a function that waits for a message with a text."""
    connection = socket.create_connection(("127.0.0.1", redis.port), timeout=30)
    connection.sendall(b"SUBSCRIBE berry:0:notices\r\n")
    heard = connection.makefile("rb")
    assert b"subscribe" in b"".join(heard.readline() for _ in range(6))

    def until(text):
        while text not in (line := heard.readline()):
            assert line, "the channel is closed"

    return until


def pair(fleet, redis, rest="", provider=None):
    """Two replicas that have seen each other, and hear each other."""
    provider = provider or fleet.provider()
    replicas = [fleet.replica(fleet.config(provider, store(redis) + rest)) for _ in range(2)]
    for replica in replicas:
        wait_for(lambda: metric(replica, "berry_store_replicas") == 2)
    wait_for(lambda: redis.call("PUBSUB", "NUMSUB", "berry:0:notices") and subscribers(redis) >= 2)
    return provider, replicas


def subscribers(redis):
    with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as connection:
        connection.sendall(b"PUBSUB NUMSUB berry:0:notices\r\n")
        lines = connection.makefile("rb")
        return int([lines.readline() for _ in range(4)][3].strip().lstrip(b":"))


def backend(replica):
    """The state of the only backend, as a replica sees it."""
    shown = replica.client().json("GET", "/admin/explain?model=sim")
    return str(shown)


def test_a_change_of_keys_is_told_at_once(fleet, redis, postgres):
    _, (here, there) = pair(fleet, redis, f'[database]\nurl = "{postgres.url}"\n')
    until = listen(redis)
    made = here.cli("key", "create", "--user", "admin")
    until(b" keys ")
    wait_for(lambda: there.client().chat(token=made["key"])[0] == 200, within=2)
    delays = []
    for _ in range(5):
        key = here.cli("key", "create", "--user", "admin")
        wait_for(lambda: there.client().chat(token=key["key"])[0] == 200, within=2, every=0.005)
        status, _, _ = here.client().send("DELETE", f"/admin/keys/{key['id']}")
        started = time.monotonic()
        assert status in (200, 204)
        wait_for(lambda: there.client().chat(token=key["key"])[0] == 401, within=2, every=0.005)
        delays.append(time.monotonic() - started)
    print("revocations elsewhere after", [f"{1000 * delay:.0f} ms" for delay in delays])


def test_a_pause_that_one_replica_hears_of_is_a_doubt_of_the_others(fleet, redis):
    provider, (here, there) = pair(fleet, redis)
    until = listen(redis)
    assert here.client().chat()[0] == there.client().chat()[0] == 200
    assert here.client().chat(user="limited", stream=False)[0] == 429
    until(b" paused ")
    assert "cool" in backend(here)
    wait_for(lambda: "unhealthy" in backend(there))
    # It believes its own trial, while the replica that was asked to wait does so.
    assert there.client().chat()[0] == 200
    assert "unhealthy" not in backend(there)
    assert here.client().chat()[0] in (429, 503)


@pytest.fixture
def accounts(tmp_path):
    """Two accounts of one vendor, each of which stores its own responses."""
    started = {}
    for name in ("a", "b"):
        log = tmp_path / f"account-{name}.json"
        started[name] = Process([SERVER.with_name("berry-simulated"), "--name", name], log).start(), log
    wait_for(lambda: all(log.read_text().endswith("\n") for _, log in started.values()))
    yield {name: json.loads(log.read_text()) for name, (_, log) in started.items()}
    for process, _ in started.values():
        process.stop()


def test_a_conversation_stays_with_its_account_whichever_replica_is_asked(fleet, redis, accounts):
    lines = [f'[users.admin]\ntoken = "{ADMIN}"\ntags = ["admin"]', store(redis)]
    lines.append('[models.sim]\nname = "sim"\nstrategy = "round_robin"')
    for name, account in accounts.items():
        lines.append(f'[[models.sim.backends]]\nprovider = "{name}"\nmodel = "sim"\nprobe = "none"')
    for name, account in accounts.items():
        address, key = account["base_url"], account["key"]
        lines.append(f'[providers.{name}]\nbase_url = "{address}"\napi_key = "{key}"\nmodels = ["sim"]')
    replicas = [fleet.replica("\n".join(lines) + "\n") for _ in range(2)]
    wait_for(lambda: subscribers(redis) >= 2)
    until, previous, makers = listen(redis), None, set()
    for turn in range(6):
        body = {"model": "sim", "input": f"turn {turn}", "previous_response_id": previous}
        status, headers, answer = replicas[turn % 2].client().send("POST", "/v1/responses", body)
        assert (status, headers["x-berry-attempts"]) == (200, "1"), (turn, answer)
        makers.add(headers["x-berry-backend"])
        previous = json.loads(answer)["id"]
        until(b" ids ")
        # The other replica reads the notice at the same time.
        time.sleep(0.1)
    assert len(makers) == 1, makers


def test_limits_hold_while_no_replica_hears_another(fleet, redis):
    """Messages are hints: without the channel all the rest works."""
    _, replicas = pair(fleet, redis, PRICES + user("requests_per_day = 50"))
    redis.call("CLIENT", "KILL", "TYPE", "pubsub")
    load = run([replica.port for replica in replicas], USER, 200)
    assert load.statuses[200] == 50 and load.statuses[429] == 150
    wait_for(lambda: subscribers(redis) >= 2)


class Cluster:
    """Three nodes that share the slots."""

    def __init__(self, folder):
        self.nodes = []
        for index in range(3):
            node = Redis(folder / f"node{index}", cluster_port())
            node.process.command += ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]
            self.nodes.append(node)
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{addresses}"

    def start(self):
        for node in self.nodes:
            node.start()
        command = [program("redis-cli"), "--cluster", "create", *(f"127.0.0.1:{node.port}" for node in self.nodes)]
        done = subprocess.run([*command, "--cluster-yes"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (done.stdout, done.stderr)
        wait_for(lambda: self.is_whole(), within=60)

    def is_whole(self):
        for node in self.nodes:
            command = [program("redis-cli"), "-p", str(node.port), "cluster", "info"]
            if "cluster_state:ok" not in subprocess.run(command, capture_output=True, text=True, timeout=30).stdout:
                return False
        return True

    def stop(self):
        for node in self.nodes:
            node.process.stop()


@pytest.fixture
def cluster(tmp_path):
    started = Cluster(tmp_path / "cluster")
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.mark.parametrize("mode", ["strict", "leased"])
def test_a_cluster_keeps_the_limits(fleet, cluster, mode):
    provider = fleet.provider()
    names = [f"user{index}" for index in range(4)]
    # Users without a team are groups of their own, which are on different nodes.
    people = "".join(
        f'[users.{name}]\ntoken = "token-of-{name}-0123456789"\n[users.{name}.limits]\nrequests_per_day = 200\n' for name in names
    )
    replicas = [fleet.replica(fleet.config(provider, store(cluster, mode=mode) + people)) for _ in range(2)]
    for replica in replicas:
        wait_for(lambda: metric(replica, "berry_store_replicas") == 2)
    for name in names:
        load = run([replica.port for replica in replicas], f"token-of-{name}-0123456789", 300, connections=8)
        assert set(load.statuses) <= {200, 429}
        assert 200 - (20 if mode == "leased" else 0) <= load.statuses[200] <= 200
    held = [int(node.call("DBSIZE").lstrip(":")) for node in cluster.nodes]
    assert sum(count > 0 for count in held) > 1, held
    # Any node passes messages on to the replicas at the others.
    assert here_is_heard(replicas)


def here_is_heard(replicas):
    here, there = replicas

    def told():
        here.client().chat(user="limited")
        return "unhealthy" in backend(there)

    # The channels may not be open yet, and a told pause is told again only when its end has moved.
    return wait_for(told, within=60, every=1.0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of the test's own, and a server's certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    openssl = program("openssl")

    def make(*words):
        done = subprocess.run([openssl, *words], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    make("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2")
    make("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\nbasicConstraints = CA:FALSE\n")
    make("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem",
         "-extfile", "names", "-days", "2")
    return folder


@pytest.fixture
def tls(tmp_path, certificates):
    """A server that speaks TLS alone and wants a password."""
    redis = Redis(tmp_path / "tls")
    secure, command = free_port(), redis.process.command
    command += ["--tls-port", str(secure), "--tls-cert-file", str(certificates / "server.pem")]
    command += ["--tls-key-file", str(certificates / "server.key"), "--tls-ca-cert-file", str(certificates / "ca.pem")]
    command += ["--tls-auth-clients", "no", "--requirepass", "a-password-of-the-store"]
    redis.process.start()

    def is_open():
        with socket.create_connection(("127.0.0.1", secure), timeout=5):
            return True

    wait_for(is_open)
    redis.url = f"rediss://:a-password-of-the-store@127.0.0.1:{secure}/0"
    yield redis
    redis.process.stop()


def test_a_store_is_reached_over_tls(fleet, tls, certificates):
    provider = fleet.provider()
    tables = store(tls) + PRICES + user("requests_per_day = 50")
    # The authority is not one of the system's.
    stranger = fleet.replica(fleet.config(provider, tables))
    stranger.client(USER).chat()
    wait_for(lambda: metric(stranger, "berry_store_up") == 0)
    assert "a-password" not in stranger.log.read_text()
    stranger.process.stop()
    os.environ["SSL_CERT_FILE"] = str(certificates / "ca.pem")
    try:
        replicas = [fleet.replica(fleet.config(provider, tables)) for _ in range(2)]
    finally:
        del os.environ["SSL_CERT_FILE"]
    for replica in replicas:
        wait_for(lambda: metric(replica, "berry_store_replicas") == 2)
    load = run([replica.port for replica in replicas], USER, 200)
    assert load.statuses[200] == 50 and load.statuses[429] == 150
    assert here_is_heard(replicas)
