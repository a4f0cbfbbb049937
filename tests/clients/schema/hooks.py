"""Most of the requests that schemathesis makes name what exists, or they would all end with a 404."""

import json
import os

import schemathesis

MODEL = json.loads(os.environ["BERRY_FIXTURE"])["models"]["healthy"]
NAMES = {"model": MODEL, "user": "plain", "user_id": "plain"}

CHATS = ("/chat/completions", "/messages")


def known(fields):
    """The same with names that exist, but for some, which are found by their length."""
    if isinstance(fields, dict):
        for field, name in NAMES.items():
            if isinstance(fields.get(field), str) and fields[field] and len(fields[field]) % 4:
                fields[field] = name
    return fields


@schemathesis.hook
def map_body(context, body):
    body = known(body)
    # A conversation that was made up is refused by any provider; what comes after that is to be seen too.
    if context.operation.path.endswith(CHATS) and isinstance(body, dict) and body.get("model") == MODEL:
        kept = {"stream": True} if body.get("stream") is True else {}
        return kept | {"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello!"}]}
    return body


@schemathesis.hook
def map_query(context, query):
    return known(query)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return known(path_parameters)
