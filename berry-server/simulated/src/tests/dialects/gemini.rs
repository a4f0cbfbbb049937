//! Gemini's rules, errors and events.

use super::{PNG, client, plain, question, refusal, refuses, request, set, soon, start, stream};
use crate::Dialect;
use serde_json::{Value, json};

const GEMINI: Dialect = Dialect::Gemini;

async fn send(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = soon(request.send()).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn accepts_the_key_only_in_its_header() {
    let provider = start(GEMINI).await;
    let client = client();
    let (base, key) = (provider.base_url(), provider.key().to_owned());
    let get = |path: &str| client.get(format!("{base}{path}"));
    let (status, body) = send(get("/models").header("x-goog-api-key", "other")).await;
    assert_eq!((status, &body["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
    assert_eq!(body["error"]["details"][0]["reason"], "API_KEY_INVALID");
    let (status, body) = send(get("/models").bearer_auth(&key)).await;
    assert_eq!((status, &body["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    for with_header in [false, true] {
        let mut request = get(&format!("/models?key={key}"));
        if with_header {
            request = request.header("x-goog-api-key", &key);
        }
        let (status, body) = send(request).await;
        assert!(status == 400 && body["error"]["message"].as_str().unwrap().contains("URL"), "{body}");
    }
    let (status, list) = send(get("/models").header("x-goog-api-key", &key)).await;
    assert_eq!((status, &list["models"][0]["name"]), (200, &json!("models/sim")));
    assert_eq!(send(get("/models/sim").header("x-goog-api-key", &key)).await.0, 200);
    let (status, error) = send(get("/models/other").header("x-goog-api-key", &key)).await;
    assert_eq!((status, &error["error"]["code"], &error["error"]["status"]), (404, &json!(404), &json!("NOT_FOUND")));
}

#[tokio::test]
async fn urls_contain_model_and_verb() {
    let provider = start(GEMINI).await;
    let post = async |path: &str| {
        let url = format!("{}{path}", provider.base_url());
        let request = client().post(url).header("x-goog-api-key", provider.key());
        send(request.json(&question(GEMINI))).await
    };
    assert_eq!(post("/models/sim:generateContent").await.0, 200);
    assert_eq!(post("/models/other:generateContent").await.0, 404);
    assert_eq!(post("/models/sim:dream").await.0, 404);
    assert_eq!(post("/models/sim").await.0, 404);
    let (status, error) = post("/models/sim:streamGenerateContent").await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("alt"));
    let calls = provider.calls();
    assert_eq!(calls[0].path, "/v1beta/models/sim:generateContent");
}

fn user(parts: impl Into<Value>) -> Value {
    json!({"role": "user", "parts": parts.into()})
}

fn model(parts: impl Into<Value>) -> Value {
    json!({"role": "model", "parts": parts.into()})
}

#[tokio::test]
async fn checks_fields_at_every_level() {
    let good = json!({
        "contents": [
            user(json!([{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}])),
            model(json!([{"text": "hm", "thought": true}, {"text": "A pixel."}])),
            user(json!([{"text": "Sure?"}])),
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "temperature": 1.5, "topP": 0.9, "topK": 5, "candidateCount": 1, "maxOutputTokens": 50,
            "stopSequences": ["END"], "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": 0.5,
            "responseLogprobs": true, "logprobs": 2, "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 1024},
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
        },
        "tools": [{"functionDeclarations": [
            {"name": "look", "description": "d", "parametersJsonSchema": {"type": "object"}},
            {"name": "see", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    });
    let call = json!({"functionCall": {"name": "look", "args": {}}});
    refuses(
        GEMINI,
        &good,
        &[
            ("/contents", Value::Null, "contents"),
            ("/contents", json!([]), "contents"),
            ("/messages", json!([]), "Unknown name \"messages\""),
            ("/contents/0/role", json!("assistant"), "contents[0].role"),
            ("/contents/1/role", Value::Null, "contents[1].role"),
            ("/contents/2/parts", json!([]), "contents[2].parts"),
            ("/contents/2/parts/0", json!({}), "contents[2].parts[0].data"),
            ("/contents/2/parts/0", json!({"text": ""}), "contents[2].parts[0].data"),
            ("/contents/0/parts/1/text", json!("both"), "contents[0].parts[1].data"),
            ("/contents/2/parts/0/type", json!("text"), "Unknown name \"type\" at 'contents[2].parts[0]'"),
            ("/contents/2/parts/0", call, "contents[2].parts[0]"),
            ("/contents/0/parts/1/inlineData/mimeType", json!("x/y"), "contents[0].parts[1].inlineData.mimeType"),
            ("/contents/0/parts/1/inlineData/data", json!("%"), "contents[0].parts[1].inlineData.data"),
            ("/systemInstruction/parts/0", json!({"text": ""}), "systemInstruction.parts[0]"),
            ("/generationConfig/max_tokens", json!(5), "Unknown name \"max_tokens\" at 'generationConfig'"),
            ("/generationConfig/temperature", json!(2.1), "generationConfig.temperature"),
            ("/generationConfig/candidateCount", json!(9), "generationConfig.candidateCount"),
            ("/generationConfig/maxOutputTokens", json!(0), "generationConfig.maxOutputTokens"),
            ("/generationConfig/seed", json!(3_000_000_000_u64), "generationConfig.seed"),
            (
                "/generationConfig/stopSequences",
                json!(["a", "b", "c", "d", "e", "f"]),
                "generationConfig.stopSequences",
            ),
            ("/generationConfig/responseMimeType", json!("text/plain"), "generationConfig.responseJsonSchema"),
            ("/generationConfig/responseSchema", json!({"type": "OBJECT"}), "generationConfig.responseJsonSchema"),
            ("/generationConfig/responseLogprobs", json!(false), "generationConfig.logprobs"),
            ("/generationConfig/thinkingConfig/thinkingLevel", json!("LOW"), "generationConfig.thinkingConfig"),
            ("/generationConfig/thinkingConfig/effort", json!("low"), "generationConfig.thinkingConfig"),
            ("/tools/0/functionDeclarations/0/name", json!("1st"), "tools[0].functionDeclarations[0].name"),
            ("/tools/0/functionDeclarations/0/name", json!("see"), "tools[0].functionDeclarations[1].name"),
            ("/tools/0/functionDeclarations/0/strict", json!(true), "Unknown name \"strict\""),
            ("/tools/0/functionDeclarations/0/parameters", json!({"type": "OBJECT"}), "parametersJsonSchema"),
            (
                "/tools/0/functionDeclarations/1/parameters/additionalProperties",
                json!(false),
                "Unknown name \"additionalProperties\"",
            ),
            ("/toolConfig/functionCallingConfig/mode", json!("auto"), "toolConfig.functionCallingConfig.mode"),
            ("/toolConfig/functionCallingConfig/allowedFunctionNames", json!(["look"]), "allowedFunctionNames"),
            ("/toolConfig", json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}}), "'x'"),
        ],
    )
    .await;
}

#[tokio::test]
async fn each_call_needs_a_response_of_the_same_name() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {"a": 1}}, "thoughtSignature": "skip_thought_signature_validator"});
    let response = |name: &str| json!({"functionResponse": {"name": name, "response": {"output": "x"}}});
    let with_id = |part: Value, field: &str, id: &str| {
        let mut part = part;
        part[field]["id"] = json!(id);
        part
    };
    let good = json!({
        "contents": [user(json!([{"text": "Look."}])), model(json!([call("look"), call("see")])), user(json!([response("see"), response("look")]))],
    });
    refuses(
        GEMINI,
        &good,
        &[
            ("/contents/2/parts", json!([response("look")]), "contents[2].parts"),
            ("/contents/2/parts", json!([response("look"), response("other")]), "functionResponse.name"),
            ("/contents/0", model(json!([call("look"), call("see")])), "contents[0].parts"),
            ("/contents/2/parts/0/functionResponse/response", json!("x"), "functionResponse.response"),
            ("/contents/0/parts/0", response("look"), "contents[0].parts"),
            ("/contents/1/parts/0", response("look"), "contents[1].parts[0]"),
        ],
    )
    .await;
    let mut other = good.clone();
    set(&mut other, "/contents/1/parts/0", with_id(call("look"), "functionCall", "1"));
    set(&mut other, "/contents/2/parts/1", with_id(response("look"), "functionResponse", "1"));
    plain(GEMINI, "sim", &other).await;
    set(&mut other, "/contents/2/parts/1", with_id(response("look"), "functionResponse", "2"));
    assert_eq!(refusal(GEMINI, &other).await.0, 400);
    let mut open = good.clone();
    open["contents"].as_array_mut().unwrap().pop();
    let (status, error, message) = refusal(GEMINI, &open).await;
    assert!(status == 400 && message.contains("contents[2]"), "{message}");
    assert_eq!(error["error"]["details"][0]["fieldViolations"][0]["field"], "contents[2]");
}

#[tokio::test]
async fn returns_requested_candidates_and_log_probabilities() {
    let mut body = question(GEMINI);
    body["generationConfig"] = json!({"candidateCount": 2, "responseLogprobs": true, "maxOutputTokens": 2});
    let answer = plain(GEMINI, "sim", &body).await;
    let candidates = answer["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2);
    assert_ne!(candidates[0]["content"], candidates[1]["content"]);
    assert_eq!(candidates[1]["logprobsResult"]["chosenCandidates"].as_array().unwrap().len(), 2);
    let events = stream(GEMINI, "sim", &body).await.events();
    let indices: Vec<_> = events.iter().map(|event| event["candidates"][0]["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 0, 1, 1, 0, 1]);
}

#[tokio::test]
async fn thinking_models_sign_the_first_call() {
    let mut body = question(GEMINI);
    body["tools"] = json!([{"functionDeclarations": [{"name": "look", "description": "d"}]}]);
    let answer = plain(GEMINI, "sim-tools2-think", &body).await;
    let parts = answer["candidates"][0]["content"]["parts"].as_array().unwrap();
    let signed: Vec<_> = parts.iter().map(|part| part["thoughtSignature"].is_string()).collect();
    assert_eq!(signed, [false, true, false]);
    assert_eq!(parts[0]["thought"], true);
}

#[tokio::test]
async fn accepts_only_signatures_of_the_account_and_misses_none_in_the_current_turn() {
    let provider = start(GEMINI).await;
    let mut body = question(GEMINI);
    body["tools"] = json!([{"functionDeclarations": [{"name": "look", "description": "d"}]}]);
    body["generationConfig"] = json!({"thinkingConfig": {"includeThoughts": true}});
    let (_, answer) = send(request(&provider, GEMINI, "sim-tools-think", false, &body)).await;
    let said = answer["candidates"][0]["content"].clone();
    let result = user(json!([{"functionResponse": {"name": "look", "response": {"result": "x"}}}]));
    body["contents"].as_array_mut().unwrap().extend([said, result]);
    let (status, answer) = send(request(&provider, GEMINI, "sim-tools-think", false, &body)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["candidates"][0]["content"]["parts"][1]["thoughtSignature"].is_string());
    let at = "/contents/1/parts/1/thoughtSignature";
    for (signature, expected) in [
        (json!("skip_thought_signature_validator"), None),
        (json!("c2lnbmVkIGJ5IGFub3RoZXI="), Some("Corrupted thought signature.")),
        (Value::Null, Some("missing a thought_signature")),
    ] {
        set(&mut body, at, signature);
        let (status, answer) = send(request(&provider, GEMINI, "sim-tools-think", false, &body)).await;
        match expected {
            None => assert_eq!(status, 200, "{answer}"),
            Some(words) => {
                let message = answer["error"]["message"].as_str().unwrap();
                assert!(status == 400 && message.contains(words), "{message}");
            }
        }
    }
    body["contents"]
        .as_array_mut()
        .unwrap()
        .extend([model(json!([{"text": "Yes."}])), user(json!([{"text": "And?"}]))]);
    let (status, answer) = send(request(&provider, GEMINI, "sim-tools-think", false, &body)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn rejected_fields_have_google_names() {
    let provider = start(GEMINI).await;
    for (model, field) in [("sim-nomax", "maxOutputTokens"), ("sim-nosampling", "temperature"), ("sim-noboth", "topP")]
    {
        let mut body = question(GEMINI);
        set(&mut body, "/generationConfig", json!({"maxOutputTokens": 5, "temperature": 1, "topP": 1}));
        let (status, error) = send(request(&provider, GEMINI, model, false, &body)).await;
        let message = error["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(&format!("generationConfig.{field}")), "{message}");
    }
}
