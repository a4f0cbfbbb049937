//! `GET /openapi.json`: the OpenAPI document, made from the code that serves the endpoints.
//!
//! Handlers are described beside their code; model requests are described from the list that makes their routes. This
//! module adds the rest, such as the errors that all endpoints of a kind share.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use berry_tower::endpoint::Endpoint;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        ContentBuilder, HeaderBuilder, HttpMethod, Object, ObjectBuilder, PathItem, Ref, RefOr, Required,
        ResponseBuilder, ResponsesBuilder, Schema, Type,
        path::{Operation, OperationBuilder},
        request_body::RequestBodyBuilder,
        response,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    admin,
    context::Context,
    endpoints::{COUNT_TOKENS, INPUT_TOKENS, MESSAGES, routed},
    health, metrics, models, smart_ai, tags,
};

/// The descriptions of the handlers.
#[derive(OpenApi)]
#[openapi(
    info(title = "Berry", description = "An AI gateway: OpenAI's API in front of many providers."),
    paths(
        health::health,
        health::v1_health,
        health::livez,
        health::readyz,
        models::list,
        models::one,
        metrics::metrics,
        smart_ai::weights,
        smart_ai::model_weights,
        admin::explain::explain,
        admin::health::backend_health,
        admin::reload::reload_config,
        admin::system::system_stats,
        admin::usage::rate_limit_usage,
        admin::weights::model_weights,
    ),
    tags(
        (name = tags::HEALTH, description = "For load balancers and people."),
        (name = tags::MODELS, description = "The models that the caller may use."),
        (name = tags::INFERENCE, description = "Routed by the body's `model` to one of its backends."),
        (name = tags::USAGE, description = "What the caller itself has spent, and what is left."),
        (name = tags::STATUS, description = "Public unless `settings.public_status` is false."),
        (name = tags::ADMIN, description = "For users with the tag `admin`."),
    ),
)]
struct Described;

/// The descriptions of the handlers that need a database.
#[cfg(feature = "database")]
#[derive(OpenApi)]
#[openapi(paths(
    admin::keys::create_key,
    admin::keys::list_keys,
    admin::keys::show_key,
    admin::keys::update_key,
    admin::keys::rotate_key,
    admin::keys::revoke_key,
    admin::people::list_users,
    admin::people::create_user,
    admin::people::show_user,
    admin::people::update_user,
    admin::people::delete_user,
    admin::people::list_teams,
    admin::people::create_team,
    admin::people::show_team,
    admin::people::update_team,
    admin::people::delete_team,
    admin::spending::usage,
    super::own_usage::own_usage,
    super::stored::one,
    super::stored::remove,
))]
struct DescribedDatabase;

/// The errors of handlers that need a database.
#[cfg(feature = "database")]
const DATABASE_ERRORS: [(&str, &str); 5] = [
    ("400", "A value is wrong; the message names it."),
    ("404", "There is nothing with this id, or the gateway has no database."),
    ("409", "The change contradicts what is there."),
    ("413", "The body is too long."),
    ("503", "The database is not available; nothing was changed."),
];

/// The errors of each kind of endpoint.
const UNKNOWN: (&str, &str) = ("401", "The token is missing or invalid.");
const NO_ADMIN: (&str, &str) = ("403", "The user does not have the tag `admin`.");
const ROUTED_ERRORS: [(&str, &str); 9] = [
    ("400", "The request is invalid, or no backend can express it."),
    ("403", "The user may not use this model, or has no backend for it."),
    ("404", "There is no such model."),
    ("408", "The request body did not arrive in time."),
    ("413", "The request is too large."),
    ("429", "A limit of the user, or of every remaining provider."),
    ("4XX", "The provider rejected the request."),
    ("502", "All attempts failed."),
    ("504", "No backend answered in time."),
];
const UNAVAILABLE: (&str, &str) = ("503", "Every backend is out of service or overloaded.");
const BUG: (&str, &str) = ("500", "Internal error.");

/// The route. The document is made for the first request, since making it takes several megabytes.
pub(super) fn routes(public_status: bool) -> Router<Context> {
    let document = Arc::new(OnceLock::new());
    let make = move || serde_json::to_vec(&self::document(public_status)).map(Bytes::from).unwrap_or_default();
    let answer = move || std::future::ready(json_response(document.get_or_init(make).clone()));
    Router::new().route("/openapi.json", get(answer))
}

fn json_response(document: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], document).into_response()
}

/// Returns the document of a server whose status pages are public, or not.
pub(super) fn document(public_status: bool) -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    #[cfg(feature = "database")]
    document.merge(described_database());
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let paths = &mut document.paths.paths;
    for (path, endpoint) in routed().chain([(MESSAGES.to_owned(), Endpoint::Messages)]) {
        let operation = model_request(&path, endpoint);
        paths.insert(path, PathItem::new(HttpMethod::Post, operation));
    }
    for path in [COUNT_TOKENS, INPUT_TOKENS] {
        paths.insert(path.to_owned(), PathItem::new(HttpMethod::Post, count(path)));
    }
    #[cfg(feature = "observability")]
    {
        let operation = <super::prometheus::__path_prometheus as utoipa::Path>::operation();
        paths.insert("/prometheus".to_owned(), PathItem::new(HttpMethod::Get, operation));
    }
    // The path of the list in earlier versions.
    let mut alias = paths["/v1/models"].clone();
    if let Some(operation) = &mut alias.get {
        operation.operation_id = Some("list_models_unversioned".to_owned());
    }
    paths.insert("/models".to_owned(), alias);
    paths.insert("/".to_owned(), PathItem::new(HttpMethod::Get, page()));
    paths.insert("/openapi.json".to_owned(), PathItem::new(HttpMethod::Get, itself()));
    for (path, item) in paths.iter_mut() {
        let shape = if path.starts_with(MESSAGES) { "AnthropicError" } else { "Error" };
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
            finish(operation, shape, public_status);
        }
    }
    let components = document.components.get_or_insert_default();
    components.schemas.insert("Error".to_owned(), error());
    components.schemas.insert("AnthropicError".to_owned(), anthropic_error());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A user's token.")).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let header = ApiKeyValue::with_description("x-api-key", "A user's token, as Anthropic's clients send it.");
    components.add_security_scheme("x-api-key", SecurityScheme::ApiKey(ApiKey::Header(header)));
    document
}

/// Describes the handlers that need a database, with the errors that they share.
#[cfg(feature = "database")]
fn described_database() -> utoipa::openapi::OpenApi {
    let mut document = DescribedDatabase::openapi();
    for (path, item) in &mut document.paths.paths {
        // No body is an empty one, which changes nothing and has no grace.
        let rotate = item.post.as_mut().filter(|_| path.ends_with("/rotate"));
        for operation in item.patch.as_mut().into_iter().chain(rotate) {
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.required = Some(Required::False);
            }
        }
        for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten() {
            for (status, description) in DATABASE_ERRORS {
                let response = || RefOr::T(ResponseBuilder::new().description(description).build());
                operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
            }
        }
    }
    document
}

/// Adds what all operations of one kind share.
fn finish(operation: &mut Operation, shape: &str, public_status: bool) {
    let kind = operation.tags.iter().flatten().next().map_or("", String::as_str);
    let closed = kind == tags::ADMIN || (kind == tags::STATUS && !public_status);
    let needs_token = closed || matches!(kind, tags::MODELS | tags::INFERENCE | tags::USAGE);
    if needs_token {
        let mut security = vec![SecurityRequirement::new("token", [""; 0])];
        if shape == "AnthropicError" {
            security.push(SecurityRequirement::new("x-api-key", [""; 0]));
        }
        operation.security = Some(security);
    }
    let routed = if kind == tags::INFERENCE { &ROUTED_ERRORS[..] } else { &[] };
    let mut shared = vec![BUG];
    shared.extend(needs_token.then_some(UNKNOWN));
    shared.extend(closed.then_some(NO_ADMIN));
    shared.extend(routed.iter().chain((kind == tags::INFERENCE).then_some(&UNAVAILABLE)).copied());
    let responses = &mut operation.responses.responses;
    for (status, description) in shared {
        let response = || RefOr::T(ResponseBuilder::new().description(description).build());
        responses.entry(status.to_owned()).or_insert_with(response);
    }
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        if response.content.is_empty() && status.starts_with(['4', '5']) {
            let refusal = ContentBuilder::new().schema(Some(Ref::from_schema_name(shape))).build();
            response.content.insert("application/json".to_owned(), RefOr::T(refusal));
        }
        add_header(response, "x-request-id", "The id of the request, which the log has too.");
        if kind == tags::INFERENCE && status == "200" {
            add_header(response, "x-berry-backend", "The backend that answered, as `provider:model`.");
            add_header(response, "x-berry-attempts", "The number of attempts.");
        }
    }
}

fn add_header(response: &mut response::Response, name: &str, description: &str) {
    let header = HeaderBuilder::new().schema(Some(text(""))).description(Some(description)).build();
    response.headers.insert(name.to_owned(), RefOr::T(header));
}

/// Describes an endpoint of model requests. The gateway requires `model` alone; the rest is between the caller and the
/// provider.
fn model_request(path: &str, endpoint: Endpoint) -> Operation {
    let mut body = ObjectBuilder::new()
        .property("model", text("The model's public name or table id."))
        .required("model")
        .description(Some("The body of the provider's API; unknown fields pass."));
    if endpoint.streams() {
        body = body.property("stream", any().description(Some("`true` makes the response a stream of events.")));
    }
    if endpoint.is_chat() {
        body = body.property("messages", any().description(Some("The conversation.")));
    }
    let content = ContentBuilder::new().schema(Some(body)).example(Some(example(endpoint))).build();
    let mut request = RequestBodyBuilder::new().required(Some(Required::True));
    if endpoint.takes_form() {
        request = request.content("multipart/form-data", form(endpoint));
    } else {
        request = request.content("application/json", content);
    }
    let schema = |schema: Object| ContentBuilder::new().schema(Some(schema)).build();
    let mut good = ResponseBuilder::new().description("The response of the provider.");
    if endpoint.answers_json() {
        good = good.content("application/json", schema(Object::with_type(Type::Object)));
    } else {
        let text = if endpoint.answers_audio() { "audio/*" } else { "text/plain" };
        for media in [text, "application/octet-stream"] {
            good = good.content(media, schema(Object::with_type(Type::String)));
        }
        if !endpoint.answers_audio() {
            good = good.content("application/json", schema(Object::with_type(Type::Object)));
        }
    }
    if endpoint.streams() {
        good = good.content("text/event-stream", ContentBuilder::new().build());
    }
    OperationBuilder::new()
        .tag(tags::INFERENCE)
        .operation_id(Some(path.trim_start_matches("/v1").trim_start_matches('/').replace('/', "_")))
        .summary(Some(format!("{path}, answered by a backend of the model")))
        .request_body(Some(request.build()))
        .responses(ResponsesBuilder::new().response("200", good))
        .build()
}

/// Describes an endpoint that counts the tokens of a prompt.
fn count(path: &str) -> Operation {
    let (field, example) = match path {
        COUNT_TOKENS => ("messages", json!({ "model": "fast", "messages": [{ "role": "user", "content": "Hello!" }] })),
        _ => ("input", json!({ "model": "fast", "input": "Hello" })),
    };
    let body = ObjectBuilder::new()
        .property("model", text("The model's public name or table id."))
        .property(field, any().description(Some("The prompt.")))
        .required("model");
    let body = ContentBuilder::new().schema(Some(body)).example(Some(example)).build();
    let number = ObjectBuilder::new().schema_type(Type::Integer).description(Some("The number of tokens."));
    let good = ObjectBuilder::new().property("input_tokens", number).required("input_tokens");
    let mut good = ResponseBuilder::new()
        .description("The count of a backend, or an estimate.")
        .content("application/json", ContentBuilder::new().schema(Some(good)).build())
        .build();
    add_header(&mut good, "x-berry-estimated", "`true` if no backend counted.");
    OperationBuilder::new()
        .tag(tags::INFERENCE)
        .operation_id(Some(path.trim_start_matches("/v1/").replace('/', "_")))
        .summary(Some(format!("{path}, the number of tokens of a prompt")))
        .request_body(Some(
            RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", body).build(),
        ))
        .responses(ResponsesBuilder::new().response("200", good))
        .build()
}

/// Describes the form of an endpoint that takes files.
fn form(endpoint: Endpoint) -> utoipa::openapi::Content {
    let file = if endpoint.path().starts_with("/images") { "image" } else { "file" };
    let binary = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/octet-stream");
    let body = ObjectBuilder::new()
        .property("model", text("The model's public name or table id."))
        .property(file, binary)
        .required("model")
        .description(Some("Other parts pass as they are; the part `model` may stand anywhere."));
    ContentBuilder::new().schema(Some(body)).build()
}

/// Returns a request that any provider accepts.
fn example(endpoint: Endpoint) -> serde_json::Value {
    let messages = json!([{ "role": "user", "content": "Hello!" }]);
    match endpoint {
        Endpoint::ChatCompletions => json!({ "model": "fast", "messages": messages }),
        Endpoint::Messages => json!({ "model": "fast", "max_tokens": 64, "messages": messages }),
        Endpoint::Completions => json!({ "model": "fast", "prompt": "Hello" }),
        Endpoint::Embeddings | Endpoint::Moderations | Endpoint::Responses => {
            json!({ "model": "fast", "input": "Hello" })
        }
        Endpoint::ImagesGenerations => json!({ "model": "fast", "prompt": "a gateway" }),
        Endpoint::AudioSpeech => json!({ "model": "fast", "input": "Hello", "voice": "alloy" }),
        Endpoint::Rerank => json!({ "model": "fast", "query": "gateways", "documents": ["a gateway", "a gate"] }),
        _ => json!({ "model": "fast" }),
    }
}

fn page() -> Operation {
    let html = ContentBuilder::new().schema(Some(Object::with_type(Type::String))).build();
    let page = ResponseBuilder::new().description("The dashboard.").content("text/html", html);
    let responses = ResponsesBuilder::new().response("200", page);
    OperationBuilder::new()
        .tag(tags::HEALTH)
        .operation_id(Some("page"))
        .summary(Some("The dashboard."))
        .responses(responses)
        .build()
}

fn itself() -> Operation {
    let document = ContentBuilder::new().schema(Some(Object::with_type(Type::Object))).build();
    let this = ResponseBuilder::new().description("An OpenAPI 3.1 document.").content("application/json", document);
    let responses = ResponsesBuilder::new().response("200", this);
    OperationBuilder::new()
        .tag(tags::STATUS)
        .operation_id(Some("openapi"))
        .summary(Some("This document."))
        .responses(responses)
        .build()
}

/// The shape of errors, which always has all four keys.
fn error() -> RefOr<Schema> {
    let nullable = |about: &str| {
        let types = utoipa::openapi::schema::SchemaType::from_iter([Type::String, Type::Null]);
        ObjectBuilder::new().schema_type(types).description(Some(about))
    };
    let inner = ObjectBuilder::new()
        .property("message", text("What is wrong, as text."))
        .property("type", text("Its kind."))
        .property("param", nullable("The field that is wrong."))
        .property("code", nullable("What is wrong, for programs."));
    let inner = ["message", "type", "param", "code"].into_iter().fold(inner, ObjectBuilder::required);
    ObjectBuilder::new().property("error", inner).required("error").into()
}

/// The shape of errors on `/v1/messages`.
fn anthropic_error() -> RefOr<Schema> {
    let inner = ObjectBuilder::new()
        .property("type", text("Its kind."))
        .property("message", text("What is wrong, as text."))
        .required("type")
        .required("message");
    ObjectBuilder::new()
        .property("type", text("`error`"))
        .property("error", inner)
        .required("type")
        .required("error")
        .into()
}

fn any() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue)
}

fn text(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description((!about.is_empty()).then_some(about))
}
