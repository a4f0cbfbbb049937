"""What the suites of agents share: a gateway over models that do a task, and one way to run each agent."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORK = HERE.parent / "output" / "agents"
FILE = WORK / "work" / "greeting.txt"
BEFORE, AFTER = "Hello, World!\n", "Hello, Berry!\n"
PROMPT = "Read greeting.txt in this folder, then change the word World in it to Berry."
PATCH = "*** Begin Patch\n*** Update File: greeting.txt\n@@\n-Hello, World!\n+Hello, Berry!\n*** End Patch"
SHELL = f"sed -i s/World/Berry/ {FILE}"

# The task in the tools of each agent: read the file, edit it, read it again.
READ = [
    ["Read", {"file_path": str(FILE)}],
    ["read", {"filePath": str(FILE)}],
    ["exec_command", {"cmd": f"cat {FILE}"}],
    ["shell_command", {"command": f"cat {FILE}"}],
    ["shell", {"command": ["cat", str(FILE)]}],
]
EDIT = [
    ["Edit", {"file_path": str(FILE), "old_string": "World", "new_string": "Berry"}],
    ["edit", {"filePath": str(FILE), "oldString": "World", "newString": "Berry"}],
    ["apply_patch", PATCH],
    ["exec_command", {"cmd": SHELL}],
    ["shell_command", {"command": SHELL}],
    ["shell", {"command": ["sh", "-c", SHELL]}],
]
TASK = [READ, EDIT, READ]

# What a provider answers to teach the gateway in which format it is to be asked.
LESSONS = {"chat": ("/v1/responses", 404), "responses": ("/v1/chat/completions", 400)}


class Gateway:
    """The program `agents`: a gateway, and the providers behind it."""

    def __init__(self, program):
        environment = os.environ | {"BERRY_TASK": json.dumps(TASK)}
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        line = json.loads(self.process.stdout.readline())
        self.base_url, self.token, self.pools = line["base_url"], line["token"], line["pools"]

    def command(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def fault(self, kind):
        self.command(fault=kind)

    def report(self):
        """The requests that each provider has seen since the fault was set."""
        return self.command(report=True)

    def accepted(self):
        """The report, once it is clear that no provider refused a request but to teach its format, each at most once."""
        report = self.report()
        for name, requests in report.items():
            refused = [request for request in requests if request["status"] and 400 <= request["status"] < 500]
            lesson = [r for r in refused if (r["path"], r["status"]) == LESSONS.get(name)]
            assert len(lesson) <= 1, f"{name} taught the same twice"
            refused = [request for request in refused if request not in lesson and request["status"] != 429]
            assert not refused, f"{name} refused {[(r['path'], r['status']) for r in refused]}"
        return report

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def gateway():
    programs = os.environ.get("BERRY_PROGRAMS")
    if not programs:
        pytest.exit("BERRY_PROGRAMS is not set; start these tests by tests/clients/run agents", returncode=2)
    gateway = Gateway(Path(programs) / "agents")
    yield gateway
    gateway.close()


@pytest.fixture
def work(gateway):
    """A folder with the file, and a home that no agent has seen."""
    shutil.rmtree(WORK, ignore_errors=True)
    FILE.parent.mkdir(parents=True)
    (WORK / "home").mkdir()
    FILE.write_text(BEFORE)
    subprocess.run(["git", "init", "--quiet"], cwd=FILE.parent, check=True)
    return FILE.parent


def environment(**more):
    """Nothing of the caller's own accounts, no proxy that leads out, and no talk with the vendors."""
    home = str(WORK / "home")
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    nowhere = "http://127.0.0.1:9"
    return kept | {
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/.config",
        "XDG_DATA_HOME": f"{home}/.local/share",
        "XDG_CACHE_HOME": f"{home}/.cache",
        "XDG_STATE_HOME": f"{home}/.local/state",
        "HTTPS_PROXY": nowhere,
        "HTTP_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "DO_NOT_TRACK": "1",
        "CI": "1",
    } | more


def run(command, work, env, log):
    """Runs an agent to its end; what it said is in the log."""
    done = subprocess.run(
        command, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=180,
    )
    (WORK.parent / f"agent-{log}.log").write_text(done.stdout)
    return done


def bin_of(name):
    return str(HERE / "node_modules" / ".bin" / name)


def claude_code(gateway, work, pool, *arguments, prompt=PROMPT, **more):
    settings = {
        "ANTHROPIC_BASE_URL": gateway.base_url.removesuffix("/v1"),
        "ANTHROPIC_AUTH_TOKEN": gateway.token,
        "ANTHROPIC_MODEL": pool,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": pool,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
    }
    env = environment(**settings | more)
    tools = "Read,Edit"
    command = [bin_of("claude"), "--print", prompt, "--allowedTools", tools, "--permission-mode", "acceptEdits"]
    command += ["--output-format", "stream-json", "--verbose", *arguments]
    return run(command, work, env, f"claude-{pool}")


def opencode(gateway, work, pool, package="@ai-sdk/openai-compatible"):
    settings = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": f"berry/{pool}",
        "small_model": f"berry/{pool}",
        "permission": {"edit": "allow", "read": "allow", "bash": "allow"},
        "provider": {
            "berry": {
                "npm": package,
                "options": {"baseURL": gateway.base_url, "apiKey": gateway.token},
                "models": {pool: {"name": pool, "reasoning": True, "tool_call": True}},
            }
        },
    }
    env = environment(
        OPENCODE_CONFIG_CONTENT=json.dumps(settings),
        OPENCODE_DISABLE_AUTOUPDATE="1",
        OPENCODE_DISABLE_MODELS_FETCH="1",
        OPENCODE_DISABLE_LSP_DOWNLOAD="1",
        OPENCODE_DISABLE_DEFAULT_PLUGINS="1",
    )
    command = [bin_of("opencode"), "run", "--print-logs", "--model", f"berry/{pool}", PROMPT]
    return run(command, work, env, f"opencode-{pool}")


def codex(gateway, work, pool, *arguments, prompt=PROMPT, settings=""):
    home = WORK / "home" / ".codex"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'model = "gpt-5.5-{pool}"\n'
        'model_provider = "berry"\n'
        'model_reasoning_summary = "auto"\n'
        f"{settings}\n"
        "check_for_update_on_startup = false\n"
        "[analytics]\nenabled = false\n"
        "[feedback]\nenabled = false\n"
        '[otel]\nexporter = "none"\n'
        "[model_providers.berry]\n"
        'name = "Berry"\n'
        f'base_url = "{gateway.base_url}"\n'
        'env_key = "BERRY_TOKEN"\n'
        'wire_api = "responses"\n'
    )
    env = environment(CODEX_HOME=str(home), BERRY_TOKEN=gateway.token)
    command = [bin_of("codex"), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    command += [*arguments, prompt]
    return run(command, work, env, f"codex-{pool}")


AGENTS = {"claude-code": claude_code, "opencode": opencode, "codex": codex}
