"""Each refusal is the exception that a program written for OpenAI's API expects."""

import openai
import pytest
from conftest import QUESTION, chat

BAD_TOKENS = ["never-issued-to-anybody", "x", "disabled", "expired"]

# Model, exception, status, code.
UPSTREAM = [
    ("context_length", openai.BadRequestError, 400, "context_length_exceeded"),
    ("content_policy", openai.BadRequestError, 400, "content_policy_violation"),
    ("all_dead", openai.InternalServerError, 502, "upstream_error"),
    ("failing", openai.InternalServerError, 502, "upstream_error"),
    ("key_refused", openai.InternalServerError, 502, "upstream_auth"),
    ("overloaded", openai.InternalServerError, 503, "overloaded"),
    ("silent", openai.InternalServerError, 504, "upstream_timeout"),
]


def refused(sdk, ask, kind, status, code, **options):
    """The error, once it has been found to be of this kind and whole."""
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.call(ask, **options)
    error = caught.value
    assert type(error) is kind, error
    assert (error.status_code, error.code) == (status, code)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["message"] and error.type
    assert error.request_id
    assert error.response.headers["content-type"].startswith("application/json")
    return error


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_tokens_that_are_not_good(sdk, gateway, token):
    token = getattr(gateway.tokens, token, token)
    ask = chat(gateway.models.healthy)
    error = refused(sdk, ask, openai.AuthenticationError, 401, "invalid_api_key", token=token)
    assert error.response.headers["www-authenticate"].startswith("Bearer")
    assert token == "x" or token not in str(error)


def test_all_bad_tokens_are_refused_in_the_same_words(sdk, gateway):
    tokens = [getattr(gateway.tokens, token, token) for token in BAD_TOKENS]
    ask = chat(gateway.models.healthy)
    errors = [refused(sdk, ask, openai.AuthenticationError, 401, "invalid_api_key", token=token) for token in tokens]
    assert len({str(error) for error in errors}) == 1


def test_the_list_of_models_wants_a_token_too(sdk, gateway):
    list_models = lambda client: client.models.list()
    with pytest.raises(openai.AuthenticationError):
        sdk.collect(list_models, token=gateway.tokens.expired)


def test_a_model_that_is_not_on_the_users_list(sdk, gateway):
    ask = chat(gateway.models.one_dead)
    error = refused(
        sdk, ask, openai.PermissionDeniedError, 403, "model_not_allowed", token=gateway.tokens.narrow
    )
    assert error.param == "model"
    assert sdk.call(chat(gateway.models.healthy), token=gateway.tokens.narrow).choices


def test_a_model_that_the_users_tags_do_not_open(sdk, gateway):
    ask = chat(gateway.models.members_only)
    refused(sdk, ask, openai.PermissionDeniedError, 403, "no_backend_for_user")
    assert sdk.call(ask, token=gateway.tokens.member).choices


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(sdk, gateway, stream):
    ask = chat("no-such-model", stream=stream)
    for token in (gateway.tokens.plain, gateway.tokens.narrow):
        error = refused(sdk, ask, openai.NotFoundError, 404, "model_not_found", token=token)
        assert error.param == "model"


def test_an_unknown_model_is_not_retrieved(sdk, gateway):
    ask = lambda client: client.models.retrieve("no-such-model")
    refused(sdk, ask, openai.NotFoundError, 404, "model_not_found")


def test_an_unknown_path(sdk):
    ask = lambda client: client.post("/no/such/path", body={}, cast_to=object)
    refused(sdk, ask, openai.NotFoundError, 404, "not_found")


def test_a_request_that_names_no_model(sdk):
    ask = lambda client: client.post("/chat/completions", body={"messages": QUESTION}, cast_to=object)
    error = refused(sdk, ask, openai.BadRequestError, 400, None)
    assert error.param == "model"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "kind", "status", "code"), UPSTREAM)
def test_what_the_providers_refuse(sdk, gateway, model, kind, status, code, stream):
    refused(sdk, chat(getattr(gateway.models, model), stream=stream), kind, status, code)


def test_a_question_too_long_goes_to_the_fallback(sdk, gateway):
    ask = chat(gateway.models.context_fallback)
    assert sdk.call(ask).choices[0].message.content == sdk.call(chat(gateway.models.healthy)).choices[0].message.content


def test_the_users_rate_limit(sdk, gateway, spare):
    ask, token = chat(gateway.models.healthy), spare("user")
    for left in ("1", "0"):
        raw = sdk.call(
            lambda client: client.chat.completions.with_raw_response.create(
                model=gateway.models.healthy, messages=QUESTION
            ),
            token=token,
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == left
    error = refused(sdk, ask, openai.RateLimitError, 429, "rate_limit_exceeded", token=token)
    headers = error.response.headers
    assert 1 <= int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    # Lists cost nothing, so they still come.
    assert sdk.collect(lambda client: client.models.list(), token=token)


def test_the_providers_rate_limit(sdk, spare):
    ask = chat(spare("model"))
    error = refused(sdk, ask, openai.RateLimitError, 429, "upstream_rate_limited")
    assert int(error.response.headers["retry-after"]) == 30
    # The provider is left alone for as long as it said.
    error = refused(sdk, ask, openai.InternalServerError, 503, "no_backend_available")
    assert 1 <= int(error.response.headers["retry-after"]) <= 30


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["all_dead", "failing", "key_refused", "silent"])
def test_the_sdk_repeats_what_failed_quickly(sdk, gateway, model, stream):
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.call(chat(getattr(gateway.models, model), stream=stream), max_retries=1)
    headers = caught.value.response.headers
    assert "x-should-retry" not in headers
    assert headers["retry-after"] == "1"
    assert int(headers["x-berry-attempts"]) == (1 if model == "silent" else 2)
    assert retries(caught.value) == 1


def test_the_sdk_repeats_what_may_be_better_next_time(sdk, gateway):
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.call(chat(gateway.models.overloaded), max_retries=1)
    assert retries(caught.value) == 1


def retries(error):
    """How often the SDK had asked before; it counts that in a header of its own."""
    return int(error.request.headers["x-stainless-retry-count"])
