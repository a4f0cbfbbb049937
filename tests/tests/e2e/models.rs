//! The model list as each user sees it.

use berry_tests::{Ask, Gateway};
use http::Method;
use serde_json::Value;

const BOB: &str = "token-of-bob-0123456789ab";
const EVE: &str = "token-of-eve-0123456789ab";

async fn gateway() -> Gateway {
    let mut tables = format!(
        "[users.bob]\ntoken = \"{BOB}\"\nallowed_models = [\"zeta\", \"org/deep/model:v1\"]\n\
         [users.eve]\ntoken = \"{EVE}\"\ntags = [\"vip\"]\n"
    );
    for (id, name, tags) in [("z", "zeta", ""), ("slash", "org/deep/model:v1", ""), ("vip", "Vip", "\"vip\"")] {
        tables.push_str(&format!(
            "[models.{id}]\nname = \"{name}\"\n[[models.{id}.backends]]\nprovider = \"a\"\nmodel = \"sim\"\ntags = [{tags}]\n"
        ));
    }
    tables.push_str(
        "[models.off]\nname = \"off\"\nenabled = false\n[[models.off.backends]]\nprovider = \"a\"\nmodel = \"sim\"\n",
    );
    Gateway::builder().provider("a").tables(&tables).start().await
}

async fn names(gateway: &Gateway, path: &str, token: &str) -> Vec<String> {
    let reply = gateway.ask(&Ask::get(path).token(token)).await;
    assert_eq!(reply.status, 200);
    let list = reply.json();
    assert_eq!(list["object"], "list");
    let name = |model: &Value| {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
        model["id"].as_str().expect("a name").to_owned()
    };
    list["data"].as_array().expect("a list").iter().map(name).collect()
}

#[tokio::test]
async fn each_user_sees_their_own_models_sorted() {
    let gateway = gateway().await;
    for path in ["/v1/models", "/models"] {
        assert_eq!(names(&gateway, path, berry_tests::TOKEN).await, ["org/deep/model:v1", "pool", "zeta"]);
        assert_eq!(names(&gateway, path, BOB).await, ["org/deep/model:v1", "zeta"]);
        assert_eq!(names(&gateway, path, EVE).await, ["Vip", "org/deep/model:v1", "pool", "zeta"]);
    }
}

#[tokio::test]
async fn finds_a_model_whose_name_has_slashes() {
    let gateway = gateway().await;
    for path in ["/v1/models/org/deep/model:v1", "/v1/models/org%2Fdeep%2Fmodel%3Av1"] {
        let reply = gateway.ask(&Ask::get(path)).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["id"]), (200, &"org/deep/model:v1".into()), "{path}");
    }
    for path in ["/v1/models/Vip", "/v1/models/off", "/v1/models/org/deep", "/v1/models/POOL"] {
        let reply = gateway.ask(&Ask::get(path)).await;
        assert_eq!(reply.verdict(), (404, "invalid_request_error".into(), Some("model_not_found".into())), "{path}");
    }
    assert_eq!(gateway.ask(&Ask::get("/v1/models/Vip").token(EVE)).await.status, 200);
}

#[tokio::test]
async fn accepts_a_model_by_name_or_table_id() {
    let gateway = gateway().await;
    for name in ["org/deep/model:v1", "slash", "zeta", "z", "pool"] {
        for stream in [false, true] {
            let reply = gateway.ask(&Ask::chat(name, stream)).await;
            assert!(reply.is_good_chat(), "{name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn head_requests_match_get_requests() {
    let gateway = gateway().await;
    let ready = async { while gateway.ask(&Ask::get("/readyz")).await.status != 200 {} };
    berry_tests::soon(ready).await;
    for path in ["/", "/health", "/v1/health", "/livez", "/readyz", "/models", "/v1/models", "/v1/models/pool"] {
        let get = gateway.ask(&Ask::get(path)).await;
        let mut connection = gateway.connect().await;
        let ask = Ask::new(Method::HEAD, path).token(berry_tests::TOKEN);
        let head = connection.ask(&ask).await.expect("an answer");
        assert_eq!((get.status, head.status), (http::StatusCode::OK, http::StatusCode::OK), "{path}");
        assert_eq!(get.header("content-type"), head.header("content-type"), "{path}");
        assert!(!head.header("content-length").is_empty(), "{path}");
        let next = connection.ask(&Ask::chat("pool", false)).await.expect("the connection stays open");
        assert!(next.is_good_chat(), "{path}");
    }
}

#[tokio::test]
async fn anthropic_clients_get_the_anthropic_shape() {
    let gateway = gateway().await;
    let get = |path| Ask::get(path).header("anthropic-version", "2023-06-01");
    let list = gateway.ask(&get("/v1/models")).await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["org/deep/model:v1", "pool", "zeta"]);
    assert_eq!(
        (&list["first_id"], &list["last_id"], &list["has_more"]),
        (&ids[0].into(), &"zeta".into(), &false.into())
    );
    let model = gateway.ask(&get("/v1/models/zeta")).await.json();
    assert_eq!((&model["type"], &model["display_name"]), (&"model".into(), &"zeta".into()));
    assert!(model["created_at"].as_str().unwrap().ends_with('Z'), "{model}");
    let missing = gateway.ask(&get("/v1/models/none")).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["error"]["type"]), (404, &"not_found_error".into()));
    let with_key = get("/v1/models").without("authorization").header("x-api-key", BOB);
    assert_eq!(gateway.ask(&with_key).await.status, 200);
}
