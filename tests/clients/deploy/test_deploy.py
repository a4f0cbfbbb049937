"""The deployment files, each by the tool that it is for. What no tool here can check is skipped, and says so."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "berry-server" / "deploy"


@pytest.fixture(scope="session")
def gateway():
    """The line that the fixture printed."""
    return json.loads(os.environ["BERRY_FIXTURE"])


def tool(name):
    """The path of a program; without it the test is skipped."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, **options)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# --------------------------------------------------------------------------------------- nginx


@pytest.fixture
def nginx(gateway, tmp_path):
    """The program with its configuration, before the fixture's gateway and on a free port."""
    program = tool("nginx")
    run(
        tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
        "-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem",
    )
    text = (DEPLOY / "nginx.conf").read_text()
    address = gateway["base_url"].removeprefix("http://").removesuffix("/v1")
    port = free_port()
    for old, new in [
        ("/etc/nginx/tls", str(tmp_path)),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("server 127.0.0.1:3000;", f"server {address};"),
    ]:
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "nginx.conf").write_text(text)
    outside = f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr;"
    return [program, "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-g", outside], port


def test_nginx_takes_its_configuration(nginx):
    command, _ = nginx
    said = run(*command, "-t")
    assert "[warn]" not in said and "[emerg]" not in said, said


def test_nginx_passes_every_event_at_once(nginx, gateway):
    command, port = nginx
    server = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE)
    try:
        answer, connection = ask(port, gateway, gateway["models"]["slow"])
        waits, last = 0, time.monotonic()
        while answer.read1(65536):
            now = time.monotonic()
            waits, last = waits + (now - last > 0.005), now
        connection.close()
    finally:
        server.terminate()
        server.wait(10)
    # The upstream sends 200 tokens over four seconds; kept in buffers they would come in a few pieces.
    assert answer.status == 200 and answer.headers["x-berry-backend"]
    assert waits > 50, waits


def ask(port, gateway, model):
    """A streamed chat; nginx may take a moment to listen."""
    unverified = ssl._create_unverified_context()
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    headers = {"Authorization": f"Bearer {gateway['tokens']['plain']}", "Content-Type": "application/json"}
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=unverified)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
            continue
        return connection.getresponse(), connection


# ---------------------------------------------------------------------------------- prometheus


def test_prometheus_takes_its_configuration():
    run(tool("promtool"), "check", "config", DEPLOY / "prometheus.yml")


def test_prometheus_takes_the_alerts():
    rules = DEPLOY / "alerts.yml"
    said = run(tool("promtool"), "check", "rules", rules)
    assert f"{rules.read_text().count('- alert:')} rules found" in said, said


def test_the_dashboard_is_json_without_two_panels_in_one_place():
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))
        assert all(target["expr"] for target in panel["targets"])


# ------------------------------------------------------------------------------------- systemd


@pytest.fixture
def unit(tmp_path):
    """The unit, with the program that was built in the place of the installed one."""
    target = Path(os.environ["BERRY_TARGET"])
    text = (DEPLOY / "berry-server.service").read_text()
    path = tmp_path / "berry-server.service"
    path.write_text(text.replace("/usr/local/bin/berry-server", str(target / "debug" / "berry-server")))
    return path


def test_systemd_finds_no_fault_with_the_unit(unit):
    said = run(tool("systemd-analyze"), "verify", unit)
    assert unit.name not in said, said


def test_the_unit_is_hardened(unit):
    # From 0, shut in wholly, to 100.
    run(tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager", unit)


# ------------------------------------------------------------------------------------ containers


def test_compose_takes_its_file():
    file = DEPLOY / "docker-compose.yml"
    for command in [["docker", "compose"], ["docker-compose"]]:
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            run(*command, "--file", file, "config", "--quiet", cwd=DEPLOY)
            return
    # Without the tool, at least what it names is there.
    service = yaml.safe_load(file.read_text())["services"]["berry"]
    context = DEPLOY / service["build"]["context"]
    assert (context / service["build"]["dockerfile"]).is_file() and (context / "Cargo.toml").is_file()
    assert service["healthcheck"]["test"][1:] == ["/usr/local/bin/berry-cli", "metrics", "--live"]
    pytest.skip("docker compose is not on this machine: the file is YAML, and no more is known of it")


def test_the_images_are_built():
    docker = tool("docker")
    if subprocess.run([docker, "info"], capture_output=True, timeout=60).returncode != 0:
        pytest.skip("no Docker engine runs on this machine: the Dockerfiles are not tried")
    run(docker, "build", "--check", "-f", DEPLOY / "Dockerfile", ROOT)
    run(docker, "build", "--check", "-f", DEPLOY / "Dockerfile.prebuilt", ROOT)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.prebuilt"])
def test_a_healthy_container_is_one_whose_server_answers(name, gateway, tmp_path):
    """The command of the health check, with the image's environment."""
    line = next(line for line in (DEPLOY / name).read_text().splitlines() if line.strip().startswith("CMD"))
    program, *arguments = json.loads(line.strip().removeprefix("CMD"))
    program = Path(os.environ["BERRY_TARGET"]) / "debug" / Path(program).name
    address = gateway["base_url"].removeprefix("http://").removesuffix("/v1")
    good = {"BIND_ADDRESS": address, "PATH": os.environ["PATH"]}
    run(program, *arguments, env=good, cwd=tmp_path)
    bad = subprocess.run([program, *arguments], env=good | {"BIND_ADDRESS": f"127.0.0.1:{free_port()}"}, cwd=tmp_path,
                         capture_output=True, timeout=60)
    assert bad.returncode == 1
