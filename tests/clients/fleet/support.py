"""Engines, providers and replicas as processes, and small clients for them."""

import glob
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGET = Path(os.environ.get("BERRY_TARGET", HERE.parents[2] / "target"))
SERVER = Path(os.environ.get("BERRY_SERVER", TARGET / "debug" / "berry-server"))
CLI = SERVER.with_name("berry-cli")
ADMIN = "token-of-the-admin-0123456789abcdef"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cluster_port():
    """A free port for a node of a cluster, which listens 10,000 ports above it too."""
    while True:
        port = free_port()
        with socket.socket() as bus:
            try:
                bus.bind(("127.0.0.1", port + 10_000))
                return port
            except (OSError, OverflowError):
                continue


def wait_for(what, within=20.0, every=0.05):
    """Calls `what` until it returns something true, and returns that; errors count as false."""
    deadline, last = time.monotonic() + within, None
    while time.monotonic() < deadline:
        try:
            if value := what():
                return value
        except (OSError, AssertionError, http.client.HTTPException, ValueError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"not within {within} s: {last!r}")


def program(name):
    """The path of an engine's program; without it the test is skipped."""
    # Debian's own `psql` is a wrapper that looks for clusters of Debian's.
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


class Process:
    """A process that ends with the test, whatever happens."""

    def __init__(self, command, log, **options):
        self.command = [str(part) for part in command]
        self.log = open(log, "ab")
        self.options = options
        self.running = None

    def start(self):
        self.running = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, **self.options)
        return self

    def signal(self, number):
        self.running.send_signal(number)

    def kill(self):
        """Ends it as a power failure of the process would."""
        self.running.kill()
        self.running.wait()

    def pause(self):
        self.running.send_signal(signal.SIGSTOP)

    def resume(self):
        self.running.send_signal(signal.SIGCONT)

    def stop(self, within=15):
        if self.running is None or self.running.poll() is not None:
            return
        self.running.send_signal(signal.SIGCONT)
        self.running.terminate()
        try:
            self.running.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()


class Engines:
    def __init__(self, folder):
        self.folder, self.started = folder, {}

    def postgres(self):
        return self.started.get("postgres") or self.add("postgres", Postgres)

    def redis(self):
        return self.started.get("redis") or self.add("redis", Redis)

    def add(self, name, kind):
        # Known before it starts, so that one that does not answer is ended all the same.
        self.started[name] = kind(self.folder / name)
        self.started[name].start()
        return self.started[name]

    def stop(self):
        for engine in self.started.values():
            engine.process.stop()


class Postgres:
    """A server of its own cluster; it refuses to run as root, so it runs as another user."""

    def __init__(self, folder):
        initdb, server = program("initdb"), program("postgres")
        folder.mkdir(parents=True)
        self.port, self.count, options = free_port(), 0, {}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            name = "postgres" if "postgres" in names else "nobody"
            shutil.chown(folder, name)
            for parent in folder.parents:
                if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
            options = {"user": name, "group": pwd.getpwnam(name).pw_gid}
        data = folder / "data"
        create = [initdb, "-D", data, "-U", "berry", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        done = subprocess.run(create, capture_output=True, text=True, cwd=folder, timeout=120, **options)
        assert done.returncode == 0, done.stderr
        command = [server, "-D", data, "-p", self.port, "-c", "listen_addresses=127.0.0.1", "-k", folder]
        self.process = Process(command, folder.parent / "postgres.log", cwd=folder, **options)

    def start(self):
        self.process.start()
        wait_for(lambda: self.sql("SELECT 1", "postgres") == "1")

    def sql(self, text, database=None):
        command = [program("psql"), "-h", "127.0.0.1", "-p", self.port, "-U", "berry", "-d", database or self.name]
        command = [str(part) for part in [*command, "-Atc", text]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def database(self):
        self.count += 1
        self.name = f"berry{self.count}"
        self.sql(f"CREATE DATABASE {self.name}", "postgres")
        self.url = f"postgres://berry@127.0.0.1:{self.port}/{self.name}"
        return self


class Redis:
    def __init__(self, folder, port=None):
        server = program("redis-server")
        folder.mkdir(parents=True)
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [server, "--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"]
        self.process = Process(command, folder.parent / "redis.log")

    def start(self):
        self.process.start()
        wait_for(lambda: self.call("PING") == "PONG")

    def call(self, *words):
        """Sends one command and returns a simple answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [str(word).encode() for word in words]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            return connection.makefile("rb").readline().decode().strip().lstrip("+:")

    def flushed(self):
        self.call("FLUSHALL")
        return self


class Provider:
    """The process of provider.py."""

    def __init__(self, delay_ms=0):
        command = [sys.executable, str(HERE / "provider.py"), str(delay_ms)]
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.running.stdout.readline())

    def counts(self):
        return Client(self.port).json("GET", "/counts")

    def stop(self):
        self.running.kill()
        self.running.wait()
        self.running.stdout.close()


class Client:
    """One connection, opened again when it was closed."""

    def __init__(self, port, token=None):
        self.port, self.token, self.connection = port, token, None

    def send(self, method, path, body=None, token=None, headers=None):
        """Returns the status, the headers and the body."""
        headers = dict(headers or {})
        if token or self.token:
            headers["authorization"] = f"Bearer {token or self.token}"
        if body is not None:
            headers["content-type"] = "application/json"
        for attempt in (1, 2):
            try:
                self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.request(method, path, None if body is None else json.dumps(body), headers)
                response = self.connection.getresponse()
                return response.status, response.headers, response.read()
            except (ConnectionError, http.client.HTTPException):
                self.connection = None
                if attempt == 2:
                    raise

    def json(self, method, path, body=None, status=200, **rest):
        got, _, text = self.send(method, path, body, **rest)
        assert got == status, (got, text)
        return json.loads(text)

    def chat(self, text="hello", token=None, model="sim", **rest):
        """Sends a chat completion and returns its status and body."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **rest}
        status, _, answer = self.send("POST", "/v1/chat/completions", body, token)
        return status, answer


class Replica:
    """A process of the gateway."""

    def __init__(self, folder, name, config):
        self.port, self.folder = free_port(), folder
        self.config = folder / f"{name}.toml"
        self.config.write_text(config)
        self.config.chmod(0o600)
        self.log = folder / f"{name}.log"
        environment = {**os.environ, "BIND_ADDRESS": f"127.0.0.1:{self.port}"}
        self.process = Process([SERVER, "--config", self.config], self.log, env=environment, cwd=folder)

    def start(self):
        self.process.start()
        wait_for(lambda: Client(self.port).send("GET", "/readyz")[0] == 200)
        return self

    def client(self, token=ADMIN):
        return Client(self.port, token)

    def cli(self, *words, code=0):
        """Runs berry-cli against it and returns the value that it prints."""
        command = [CLI, "--json", "--url", f"http://127.0.0.1:{self.port}", "--token", ADMIN, *words]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout)


class Fleet:
    def __init__(self, folder):
        self.folder, self.replicas, self.providers = folder, [], []

    def provider(self, delay_ms=0):
        self.providers.append(Provider(delay_ms))
        return self.providers[-1]

    def config(self, provider, rest="", models="sim"):
        """A configuration with an admin and models of one provider; `rest` adds tables."""
        names = [models] if isinstance(models, str) else models
        text = [
            "[settings]\nhealth_check_interval_seconds = 3600\ncircuit_breaker_failure_threshold = 1000000",
            f'[users.admin]\ntoken = "{ADMIN}"\ntags = ["admin"]',
            f'[providers.p]\nbase_url = "http://127.0.0.1:{provider.port}/v1"\napi_key = "k"\nmodels = {json.dumps(names)}',
        ]
        for name in names:
            text.append(f'[models.{name}]\nname = "{name}"\n[[models.{name}.backends]]\nprovider = "p"\nmodel = "{name}"')
        return "\n".join([*text, rest]) + "\n"

    def replica(self, config):
        replica = Replica(self.folder, f"replica{len(self.replicas) + 1}", config)
        self.replicas.append(replica)
        return replica.start()

    def stop(self):
        for replica in self.replicas:
            replica.process.stop()
        for provider in self.providers:
            provider.stop()
