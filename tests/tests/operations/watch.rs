//! The watcher detects every kind of change to the configuration file.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use berry_server::{
    Options, Server,
    config::{self, Loaded},
};
use berry_tests::{Ask, Gateway, Toml};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{ADMIN, builder, status, until};

/// Adds a user to a configuration.
fn with_user(text: &str, id: &str) -> String {
    format!("{text}\n[users.{id}]\ntoken = \"token-of-{id}-0123456789\"\n")
}

async fn until_user_exists(gateway: &Gateway, id: &str) {
    let path = format!("/admin/rate-limit-usage?user_id={id}");
    until(id, async || gateway.ask(&Ask::get(&path).token(ADMIN)).await.status == 200).await;
}

async fn gateway(file: &Path) -> Gateway {
    builder().file(file).provider("a").start().await
}

/// Starts a gateway with a loaded configuration.
async fn start_with(loaded: Loaded, toml: Toml) -> Gateway {
    let server = Server::start(loaded.clone(), Options::loopback()).await.unwrap();
    Gateway { addr: server.addr(), server, providers: Vec::new(), loaded, toml }
}

#[tokio::test]
async fn reloads_a_file_that_is_written_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let gateway = gateway(&file).await;
    fs::write(&file, with_user(&gateway.toml, "written")).unwrap();
    until_user_exists(&gateway, "written").await;
    // Editors replace the file. The second replacement must not be missed by a watch on the first inode.
    for id in ["replaced", "again"] {
        let other = folder.path().join("berry.toml.tmp");
        fs::write(&other, with_user(&gateway.toml, id)).unwrap();
        fs::rename(&other, &file).unwrap();
        until_user_exists(&gateway, id).await;
    }
    // With a backup, so that the file is absent for a moment.
    fs::rename(&file, folder.path().join("berry.toml~")).unwrap();
    fs::write(&file, with_user(&gateway.toml, "edited")).unwrap();
    until_user_exists(&gateway, "edited").await;
    // An invalid file is reported, and a valid one is loaded again.
    fs::write(&file, "[settings").unwrap();
    let is_reported =
        async || status(&gateway, "/admin/system-stats").await["config"]["last_reload"]["ok"] == json!(false);
    until("the invalid file is reported", is_reported).await;
    fs::write(&file, with_user(&gateway.toml, "repaired")).unwrap();
    until_user_exists(&gateway, "repaired").await;
}

#[tokio::test]
async fn follows_a_changed_symlink() {
    // Kubernetes: berry.toml -> ..data/berry.toml, ..data -> ..one, which a rename replaces.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mount = |version: &str, text: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("berry.toml"), text).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    let seed = tempfile::tempdir().unwrap();
    let text = gateway(&seed.path().join("seed.toml")).await.toml;
    mount("..one", &text);
    symlink("..data/berry.toml", at("berry.toml")).unwrap();
    let gateway = start_with(config::load(&at("berry.toml")).unwrap(), text.clone()).await;
    for (version, id, old) in [("..two", "second", "..one"), ("..three", "third", "..two")] {
        mount(version, &with_user(&text, id));
        fs::remove_dir_all(at(old)).unwrap();
        until_user_exists(&gateway, id).await;
    }
}

#[tokio::test]
async fn detects_a_change_between_load_and_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let text = gateway(&file).await.toml;
    let loaded = config::load(&file).unwrap();
    fs::write(&file, with_user(&text, "meanwhile")).unwrap();
    until_user_exists(&start_with(loaded, text).await, "meanwhile").await;
}

#[tokio::test]
async fn other_files_in_the_folder_reload_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berry.toml");
    let gateway = gateway(&file).await;
    let other = folder.path().join("other.log");
    for i in 0..20 {
        fs::write(&other, format!("{i}")).unwrap();
        let _ = fs::read(&file).unwrap();
    }
    // Longer than the watcher needs to notice a change of the file itself.
    sleep(Duration::from_millis(900)).await;
    let stats = gateway.ask(&Ask::get("/admin/system-stats").token(ADMIN)).await.json();
    assert!(stats["config"]["last_reload"].is_null(), "{stats}");
    // A change of the file is noticed while the other file keeps changing.
    fs::write(&file, with_user(&gateway.toml, "seen")).unwrap();
    let path = "/admin/rate-limit-usage?user_id=seen";
    until("a change in a busy folder", async || {
        fs::write(&other, "more").unwrap();
        gateway.ask(&Ask::get(path).token(ADMIN)).await.status == 200
    })
    .await;
}
