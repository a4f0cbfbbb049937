//! The program `berry-simulated`, as its user runs it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// Kills the program when the test ends, also by a panic.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program and returns it with the line that it prints.
fn start(options: &[&str]) -> (Program, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berry-simulated"));
    let mut child = command.args(options).stdout(Stdio::piped()).spawn().expect("the program answers");
    let output = child.stdout.take().expect("the program answers");
    let program = Program(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("the program answers");
    (program, serde_json::from_str(&line).expect("the program answers"))
}

async fn chat(line: &Value) -> reqwest::Response {
    let url = format!("{}/chat/completions", line["base_url"].as_str().expect("the program answers"));
    let body = json!({"model": line["models"][0], "messages": [{"role": "user", "content": "Hello"}]});
    let client = reqwest::Client::builder().no_proxy().build().expect("the program answers");
    client
        .post(url)
        .bearer_auth(line["key"].as_str().expect("the program answers"))
        .json(&body)
        .send()
        .await
        .expect("the program answers")
}

#[tokio::test]
async fn prints_its_address_and_serves() {
    let (_program, line) = start(&["--name", "one", "--model", "small", "--tokens", "3"]);
    assert_eq!((&line["key"], &line["models"]), (&json!("sk-simulated-one"), &json!(["small"])));
    let response = chat(&line).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn applies_the_fault_that_is_named() {
    let (_program, line) = start(&["--fault", "e503-ra2"]);
    let response = chat(&line).await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"2".parse().unwrap()));
}

#[test]
fn rejects_an_unknown_fault() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berry-simulated"));
    let output = command.args(["--fault", "nonsense"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown token"));
}
