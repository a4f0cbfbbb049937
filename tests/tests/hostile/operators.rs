//! Bad luck of operators.

use std::{fs, process::Command, time::Duration};

use berry_tests::Ask;
use tokio::time::{sleep, timeout};

use crate::{
    process::{ADMIN, ALICE, Gateway, PATIENCE, configuration, program},
    upstream::{Http1, good},
};

#[tokio::test]
async fn a_pipe_as_configuration_ends_the_start_with_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = tokio::process::Command::new(program());
    command.arg("--config").arg(&pipe).args(["--bind", "127.0.0.1:0"]).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("is not a regular file"), "{message}");
}

#[tokio::test]
async fn a_pipe_at_a_reload_changes_nothing_and_the_next_reload_works() {
    let provider = Http1::start(|_| good()).await;
    let text = configuration("", "", &[("a", provider.url(), "")]);
    let mut gateway = Gateway::start(&text).await;
    let config = gateway.config();
    fs::remove_file(&config).unwrap();
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    gateway.signal("HUP");
    sleep(Duration::from_millis(500)).await;
    assert!(gateway.is_running());
    assert_eq!(gateway.chat(ALICE).await.unwrap().status, 200);

    fs::remove_file(&config).unwrap();
    fs::write(&config, format!("{text}[users.carol]\ntoken = \"token-of-carol-0123456789\"\n")).unwrap();
    gateway.signal("HUP");
    let carol = Ask::chat("m", false).token("token-of-carol-0123456789");
    let mut status = 0;
    for _ in 0..1000 {
        status = gateway.ask(&carol).await.status.as_u16();
        if status == 200 {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status, 200, "the reload took place");
    assert_eq!(gateway.ask(&Ask::get("/admin/backend-health").token(ADMIN)).await.status, 200);
}

#[tokio::test]
async fn a_second_signal_ends_a_process_that_waits_for_a_stream() {
    let provider = Http1::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        (format!("{head}{}", crate::upstream::event("a")).into_bytes(), crate::upstream::Then::Silence)
    })
    .await;
    let mut gateway = Gateway::start(&configuration("", "", &[("a", provider.url(), "")])).await;
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("m", true).token(ALICE).bytes()).await.unwrap();
    assert_eq!(connection.head().await.unwrap().status, 200);
    gateway.signal("TERM");
    sleep(Duration::from_millis(300)).await;
    assert!(gateway.is_running(), "the stream may end");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await, Some(0));
}
