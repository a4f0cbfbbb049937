//! An axum application that looks tokens up in a database, with a layer of tower-http inside.

use std::{collections::HashMap, sync::Arc};

use axum::{Extension, Router, routing::post};
use berry_tower::{
    auth::{AuthLayer, Authenticate, Rejection, bearer},
    render::Refusal,
};
use http::{StatusCode, request::Parts};
use tokio::sync::RwLock;
use tower::ServiceBuilder;
use tower_http::trace::TraceLayer;

use crate::support::{axum, post as send};

#[derive(Clone)]
struct User {
    name: &'static str,
}

/// Stands in for a database.
#[derive(Clone, Default)]
struct Users(Arc<RwLock<HashMap<&'static str, User>>>);

impl Authenticate for Users {
    type Identity = User;

    async fn authenticate(&self, head: &Parts) -> Result<User, Rejection> {
        if head.uri.path().starts_with("/down") {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "no database").into());
        }
        let token = bearer(&head.headers).and_then(|token| std::str::from_utf8(token).ok());
        let users = self.0.read().await;
        token.and_then(|token| users.get(token).cloned()).ok_or(Rejection::InvalidToken)
    }
}

#[tokio::test]
async fn identifies_users_by_an_asynchronous_look_up() {
    let users = Users::default();
    let hello = |Extension(user): Extension<User>| async move { format!("hello {}", user.name) };
    let layers = ServiceBuilder::new().layer(AuthLayer::new(users.clone())).layer(TraceLayer::new_for_http());
    let app = Router::new().route("/", post(hello)).layer(layers);
    let address = axum(app).await;

    assert_eq!(send(address, "authorization: Bearer a1\r\n", "").await.0, 401);
    users.0.write().await.insert("a1", User { name: "alice" });
    let (status, text) = send(address, "authorization: Bearer a1\r\n", "").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("hello alice"), "{text}");
}
