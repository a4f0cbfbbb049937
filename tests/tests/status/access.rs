//! Who may see which path.

use crate::gateway::{ADMIN, Gateway, USER, model};

const FOR_ADMINS: [&str; 5] = [
    "/admin/model-weights",
    "/admin/backend-health",
    "/admin/system-stats",
    "/admin/rate-limit-usage?user_id=some",
    "/admin/explain?model=pool",
];
const FOR_ALL: [&str; 4] = ["/metrics", "/dashboard/data", "/smart-ai/weights", "/smart-ai/models/pool/weights"];

async fn gateway(settings: &str) -> Gateway {
    Gateway::start(settings, &["one"], &model("pool", "smart_ai", &[("one", "")])).await
}

async fn assert_for_admins(gateway: &Gateway, path: &str) {
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
async fn admin_paths_are_for_admins() {
    let gateway = gateway("").await;
    for path in FOR_ADMINS {
        assert_for_admins(&gateway, path).await;
    }
}

#[tokio::test]
async fn status_pages_are_public_unless_disabled() {
    let open = gateway("").await;
    for path in FOR_ALL {
        assert_eq!(open.get(path, None).await.status(), 200, "{path}");
    }
    let closed = gateway("public_status = false").await;
    for path in FOR_ALL.into_iter().chain(FOR_ADMINS) {
        assert_for_admins(&closed, path).await;
    }
    assert_eq!(closed.get("/health", None).await.status(), 200);
    assert_eq!(closed.get("/livez", None).await.status(), 200);
}

#[tokio::test]
async fn no_response_reveals_a_token_or_key() {
    let gateway = gateway("").await;
    let key = gateway.providers[0].key().to_owned();
    for path in FOR_ADMINS.into_iter().chain(FOR_ALL) {
        let text = gateway.get(path, Some(ADMIN)).await.text().await.unwrap();
        for secret in [ADMIN, USER, &key] {
            assert!(!text.contains(secret), "{path}");
        }
    }
}
