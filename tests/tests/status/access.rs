//! Access control of the status paths.

use crate::gateway::{ADMIN, Gateway, USER, model};

const ADMIN_PATHS: [&str; 5] = [
    "/admin/model-weights",
    "/admin/backend-health",
    "/admin/system-stats",
    "/admin/rate-limit-usage?user_id=some",
    "/admin/explain?model=pool",
];
const PUBLIC_PATHS: [&str; 4] = ["/metrics", "/dashboard/data", "/smart-ai/weights", "/smart-ai/models/pool/weights"];

async fn gateway(settings: &str) -> Gateway {
    Gateway::start(settings, &["one"], &model("pool", "smart_ai", &[("one", "")])).await
}

async fn assert_admin_only(gateway: &Gateway, path: &str) {
    let response = gateway.get(path, None).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
    for token in [None, Some("no-such-token-at-all")] {
        assert_eq!(gateway.refusal(path, token, 401).await["code"], "invalid_api_key", "{path}");
    }
    let error = gateway.refusal(path, Some(USER), 403).await;
    assert_eq!(error["type"], "permission_error", "{path}");
    gateway.status(path).await;
}

#[tokio::test]
async fn admin_paths_need_an_admin() {
    let gateway = gateway("").await;
    for path in ADMIN_PATHS {
        assert_admin_only(&gateway, path).await;
    }
}

#[tokio::test]
async fn status_pages_are_public_unless_disabled() {
    let open = gateway("").await;
    for path in PUBLIC_PATHS {
        assert_eq!(open.get(path, None).await.status(), 200, "{path}");
    }
    let closed = gateway("public_status = false").await;
    for path in PUBLIC_PATHS.into_iter().chain(ADMIN_PATHS) {
        assert_admin_only(&closed, path).await;
    }
    assert_eq!(closed.get("/health", None).await.status(), 200);
    assert_eq!(closed.get("/livez", None).await.status(), 200);
}

#[tokio::test]
async fn no_response_reveals_a_token_or_key() {
    let gateway = gateway("").await;
    let key = gateway.providers[0].key().to_owned();
    for path in ADMIN_PATHS.into_iter().chain(PUBLIC_PATHS) {
        let text = gateway.get(path, Some(ADMIN)).await.text().await.unwrap();
        for secret in [ADMIN, USER, &key] {
            assert!(!text.contains(secret), "{path}");
        }
    }
}
