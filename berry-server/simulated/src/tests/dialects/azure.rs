//! Azure's URLs, versions, keys and errors.

use super::{client, plain, question, refusal, send, soon, start, stream};
use crate::Dialect;
use serde_json::{Value, json};

const AZURE: Dialect = Dialect::Azure;

#[tokio::test]
async fn version_and_deployment_are_in_the_url() {
    let provider = start(AZURE).await;
    assert_eq!(provider.base_url(), format!("http://{}", provider.addr()));
    let post = async |path: &str| {
        let url = format!("{}{path}", provider.base_url());
        let request = client().post(url).header("api-key", provider.key());
        let response = soon(request.json(&question(AZURE)).send()).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let chat = "/openai/deployments/sim/chat/completions";
    assert_eq!(post(&format!("{chat}?api-version=2024-10-21")).await.0, 200);
    assert_eq!(post(&format!("{chat}?api-version=2025-04-01-preview")).await.0, 200);
    for (path, status, code) in [
        (chat.to_owned(), 404, "404"),
        (format!("{chat}?api-version=newest"), 400, "BadRequest"),
        ("/openai/deployments/other/chat/completions?api-version=2024-10-21".to_owned(), 404, "DeploymentNotFound"),
        ("/openai/deployments/sim/responses?api-version=2024-10-21".to_owned(), 404, "404"),
        ("/v1/chat/completions?api-version=2024-10-21".to_owned(), 404, "404"),
    ] {
        let (seen, error) = post(&path).await;
        assert_eq!((seen, &error["error"]["code"]), (status, &json!(code)), "{path}");
    }
    let embeddings = json!({"input": "a"});
    let url = format!("{}/openai/deployments/sim/embeddings?api-version=2024-10-21", provider.base_url());
    let request = client().post(url).header("api-key", provider.key()).json(&embeddings);
    assert_eq!(soon(request.send()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn accepts_the_key_header_and_lists_models() {
    let provider = start(AZURE).await;
    let url = format!("{}/openai/models?api-version=2024-10-21", provider.base_url());
    let get = async |name: &str, value: &str| {
        let response = soon(client().get(&url).header(name, value).send()).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, error) = get("authorization", &format!("Bearer {}", provider.key())).await;
    assert_eq!((status, &error["error"]["code"]), (401, &json!("401")));
    let (status, list) = get("api-key", provider.key()).await;
    assert_eq!((status, &list["data"][0]["id"]), (200, &json!("sim")));
}

#[tokio::test]
async fn bodies_follow_the_openai_rules() {
    let mut body = question(AZURE);
    body["extra"] = json!(1);
    let (status, error, _) = refusal(AZURE, &body).await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("extra")));
    let answer = plain(AZURE, "sim", &question(AZURE)).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["prompt_filter_results"][0]["prompt_index"], 0);
    let read = stream(AZURE, "sim", &question(AZURE)).await;
    assert_eq!(read.events()[0]["choices"], json!([]));
    assert!(read.events()[0]["prompt_filter_results"].is_array());
    assert!(read.done());
}

#[tokio::test]
async fn content_filter_results_are_included() {
    let (_provider, response) = send(AZURE, "sim-policy", false, &question(AZURE)).await;
    assert_eq!(response.status(), 400);
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["innererror"]["code"]),
        (&json!("content_filter"), &json!("ResponsibleAIPolicyViolation"))
    );
}
