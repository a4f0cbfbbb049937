"""Most of the requests that schemathesis makes name what exists, or they would all end with a 404."""

import json
import os
import urllib.request
from itertools import count

import schemathesis

FIXTURE = json.loads(os.environ["BERRY_FIXTURE"])
URL = FIXTURE["base_url"].removesuffix("/v1")
MODEL = FIXTURE["models"]["healthy"]
NAMES = {"model": MODEL, "user_id": "plain"}
# A key, user or team that is made of one that does not exist is always refused.
OWNERS = {"user": "plain", "team": "crew", "parent": "crew"}

CHATS = ("/chat/completions", "/messages")
numbers = count()


def post(path, body):
    """Posts as the admin, and returns the id of what was made."""
    headers = {"Authorization": f"Bearer {FIXTURE['tokens']['admin']}", "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["id"]


# What makes a thing of each kind, by the paths that hold its id.
MAKERS = {
    "/admin/keys/{id}": lambda: post("/admin/keys", {"user": "plain"}),
    "/admin/users/{id}": lambda: post("/admin/users", {"id": f"made-{next(numbers)}"}),
    "/admin/teams/{id}": lambda: post("/admin/teams", {"id": f"made-{next(numbers)}"}),
    "/v1/responses/{id}": lambda: post("/v1/responses", {"model": MODEL, "input": "Hello!"}),
}
made = {}


def id_for(operation):
    """Returns the id of a thing that exists, which is a new one where the last may be gone."""
    path = operation.path.removesuffix("/rotate")
    if path not in made:
        made[path] = MAKERS[path]()
    return made.pop(path) if operation.method.upper() == "DELETE" else made[path]


def known(fields, names):
    """The same with names that exist, but for some, which are found by their length."""
    if isinstance(fields, dict):
        for field, name in names.items():
            if isinstance(fields.get(field), str) and fields[field] and len(fields[field]) % 4:
                fields[field] = name
    return fields


def owned(body, path):
    """The same with owners and models that exist, and ids that are free."""
    body |= {field: name for field, name in OWNERS.items() if isinstance(body.get(field), str)}
    # A key belongs either to a user or to a team, which the document cannot say.
    if path == "/admin/keys" and body.get("user") is None and body.get("team") is None:
        body["team"] = OWNERS["team"]
    elif path == "/admin/keys" and body.get("user") == OWNERS["user"] and body.get("team") == OWNERS["team"]:
        del body["team"]
    if isinstance(body.get("id"), str) and len(body["id"]) in (4, 5):
        body["id"] = f"made-{next(numbers)}"
    limits = body.get("limits")
    if isinstance(limits, dict) and isinstance(limits.get("models"), dict):
        limits["models"] = {MODEL: of_model for of_model in limits["models"].values()}
    return body


@schemathesis.hook
def map_body(context, body):
    body = known(body, NAMES)
    # A conversation that was made up is refused by any provider; what comes after that is to be seen too.
    if context.operation.path.endswith(CHATS) and isinstance(body, dict) and body.get("model") == MODEL:
        kept = {"stream": True} if body.get("stream") is True else {}
        return kept | {"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello!"}]}
    return body


@schemathesis.hook
def map_query(context, query):
    return known(query, NAMES | OWNERS)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if isinstance(path_parameters, dict) and len(str(path_parameters.get("id", ""))) % 4:
        return path_parameters | {"id": id_for(context.operation)}
    return known(path_parameters, NAMES)


@schemathesis.hook
def before_call(context, case, kwargs):
    # Not all that is sent has come through the hooks above.
    if case.operation.path.startswith("/admin/") and isinstance(case.body, dict):
        case.body = owned(case.body, case.operation.path)
