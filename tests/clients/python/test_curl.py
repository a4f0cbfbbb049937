"""What the wire looks like to a program that uses no SDK."""

import json
import subprocess

from conftest import QUESTION


def curl(gateway, path, body=None, token=None, *flags):
    """Status, headers in lower case, and body."""
    command = ["curl", "-sS", "-i", "-N", "--max-time", "20", *flags, f"{gateway.base_url}{path}"]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(body)]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    head, _, rest = done.stdout.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return done.returncode, int(first.split()[1]), headers, rest


def test_a_stream_ends_with_done(gateway):
    body = {"model": gateway.models.healthy, "messages": QUESTION, "stream": True}
    code, status, headers, text = curl(gateway, "/chat/completions", body, gateway.tokens.plain)
    assert (code, status) == (0, 200)
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    events = text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_a_broken_stream_has_no_done_and_breaks_the_connection(gateway):
    body = {"model": gateway.models.cut, "messages": QUESTION, "stream": True}
    code, status, _, text = curl(gateway, "/chat/completions", body, gateway.tokens.plain)
    assert status == 200
    assert code == 18, "curl takes the transfer for complete"
    assert "[DONE]" not in text
    assert json.loads(text.rstrip().rsplit("data: ", 1)[1])["error"]["code"] == "upstream_stream_interrupted"


def test_no_token(gateway):
    code, status, headers, text = curl(gateway, "/chat/completions", {"model": gateway.models.healthy})
    assert (code, status) == (0, 401)
    assert headers["www-authenticate"].startswith("Bearer")
    assert headers["x-request-id"]
    error = json.loads(text)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")


def test_no_json(gateway):
    token = f"Authorization: Bearer {gateway.tokens.plain}"
    flags = ("-H", token, "--data-binary", "{not json")
    code, status, _, text = curl(gateway, "/chat/completions", None, None, *flags)
    assert (code, status) == (0, 400)
    assert json.loads(text)["error"]["type"] == "invalid_request_error"


def test_a_wrong_method(gateway):
    code, status, _, text = curl(gateway, "/chat/completions", None, gateway.tokens.plain)
    assert (code, status) == (0, 405)
    assert json.loads(text)["error"]["code"] == "method_not_allowed"


def test_a_head_has_no_body(gateway):
    code, status, headers, text = curl(gateway, "/models", None, gateway.tokens.plain, "--head")
    assert (code, status, text) == (0, 200, "")
    assert headers["content-type"].startswith("application/json")
