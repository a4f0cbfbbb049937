//! The document matches the router.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use super::*;
use crate::{app::tests::app, http::routes::IncomingBody};

/// The path that axum cannot express, because a model's name may contain slashes.
const REWRITTEN: [(&str, &str); 1] = [("/smart-ai/models/{model}", "/smart-ai/models/{model}/weights")];

fn none() -> IncomingBody {
    IncomingBody::Right(Body::empty())
}

/// The dashboard's files and data are not part of the API.
const DASHBOARD: &str = "/dashboard/";

/// Returns the router's paths from its `Debug`; axum has no other list of them.
fn served() -> BTreeSet<String> {
    let shown = format!("{:?}", app(""));
    let paths = shown.split("): \"").skip(1).filter_map(|rest| rest.split('"').next());
    let told = paths.map(|path| path.replace("{*", "{"));
    let by_hand =
        |path: String| REWRITTEN.iter().find(|(from, _)| *from == path).map_or(path, |(_, to)| (*to).to_owned());
    let api =
        |path: &String| path.starts_with('/') && !path.starts_with(DASHBOARD) && !path.contains("__private__axum");
    told.filter(api).map(by_hand).collect()
}

fn described() -> Value {
    serde_json::to_value(document(true)).unwrap()
}

#[tokio::test]
async fn describes_exactly_the_routes() {
    let (served, document) = (served(), described());
    assert!(served.len() > 15, "{served:?}");
    let told: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(served, told);
}

#[tokio::test]
async fn describes_exactly_the_methods_of_each_route() {
    let app = app("");
    for (path, item) in described()["paths"].as_object().unwrap() {
        for method in ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
            let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
            let request = request.uri(path.replace("{model}", "m")).body(none()).unwrap();
            let response = app.serve(request).await.unwrap();
            let taken = response.status() != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(taken, item.get(method.to_lowercase()).is_some(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn answers_without_a_token_are_described() {
    let app = app("");
    for (path, item) in described()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let request = Request::builder().method(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap());
            let request = request.uri(path.replace("{model}", "m")).body(none()).unwrap();
            let status = app.serve(request).await.unwrap().status();
            assert!(operation["responses"][status.as_str()].is_object(), "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn document_is_public_only_if_status_is() {
    let ask = async |settings: &str, token: Option<&str>| {
        let mut request = Request::get("/openapi.json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = app(settings).serve(request.body(none()).unwrap()).await.unwrap();
        let (status, body) =
            (response.status(), axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap());
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, open) = ask("", None).await;
    assert_eq!((status, &open["openapi"]), (StatusCode::OK, &"3.1.0".into()));
    assert!(open["paths"]["/metrics"]["get"].get("security").is_none());
    assert_eq!(ask("public_status = false", None).await.0, StatusCode::UNAUTHORIZED);
    let (status, closed) = ask("public_status = false", Some("token-of-root-0123456789")).await;
    assert_eq!(status, StatusCode::OK);
    for answer in ["401", "403"] {
        assert!(closed["paths"]["/metrics"]["get"]["responses"][answer].is_object(), "{answer}");
    }
}

#[test]
fn operations_have_unique_ids_and_errors_their_shape() {
    let document = described();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                if status.starts_with('4') {
                    let shape = &response["content"]["application/json"]["schema"]["$ref"];
                    assert!(shape.as_str().is_some_and(|shape| shape.ends_with("Error")), "{status} {method} {path}");
                }
            }
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

#[cfg(feature = "database")]
#[test]
fn limits_are_described_as_they_are_read() {
    let document = described();
    let schemas = &document["components"]["schemas"];
    let limits = &schemas["Keys.Limits"];
    assert_eq!(limits["additionalProperties"], false);
    assert_eq!(limits["properties"]["requests_per_day"]["maximum"], 4_503_599_627_370_496_u64);
    assert_eq!(limits["properties"]["models"]["additionalProperties"]["additionalProperties"], false);
    for schema in ["NewKey", "KeyChange", "NewUser", "UserChange", "NewTeam", "TeamChange", "Key", "User", "Team"] {
        let described = schemas[format!("Keys.{schema}")]["properties"]["limits"].to_string();
        assert!(described.contains("#/components/schemas/Keys.Limits"), "{schema}: {described}");
    }
    let is_required = |path: &str, method: &str| &document["paths"][path][method]["requestBody"]["required"];
    assert_eq!(is_required("/admin/keys", "post"), true);
    assert_eq!(is_required("/admin/keys/{id}", "patch"), false);
    assert_eq!(is_required("/admin/keys/{id}/rotate", "post"), false);
}
