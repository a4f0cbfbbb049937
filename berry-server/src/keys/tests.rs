//! Keys over SQLite.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::AUTHORIZATION};

use super::{token::Token, *};
use crate::{config::DatabaseUrl, database::Database};

fn open(folder: &tempfile::TempDir) -> Directory {
    Directory::new(Database::new(&DatabaseUrl::Sqlite(folder.path().join("berry.db"))))
}

fn accepts(directory: &Directory, token: &Token) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {}", token.text()).parse().unwrap());
    directory.identify(&headers).is_some()
}

async fn with_user(folder: &tempfile::TempDir) -> (Directory, Directory) {
    let (here, there) = (open(folder), open(folder));
    here.create_user(NewUser { id: "ann".to_owned(), ..NewUser::default() }).await.unwrap();
    (here, there)
}

fn of_ann() -> NewKey {
    NewKey { user: Some("ann".to_owned()), ..NewKey::default() }
}

#[tokio::test]
async fn a_change_is_in_force_here_at_once_and_there_after_a_refresh() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = with_user(&folder).await;
    let (token, key) = here.create_key(of_ann()).await.unwrap();
    assert!(accepts(&here, &token) && !accepts(&there, &token));
    there.refresh().await.unwrap();
    assert!(accepts(&there, &token));
    here.update_key(&key.id, &KeyChange { enabled: Some(false), ..KeyChange::default() }).await.unwrap();
    there.refresh().await.unwrap();
    assert!(!accepts(&here, &token) && !accepts(&there, &token));
    there.update_key(&key.id, &KeyChange { enabled: Some(true), ..KeyChange::default() }).await.unwrap();
    here.refresh().await.unwrap();
    assert!(accepts(&here, &token) && accepts(&there, &token));
    here.revoke_key(&key.id).await.unwrap();
    there.refresh().await.unwrap();
    assert!(!accepts(&here, &token) && !accepts(&there, &token));
    let again = there.update_key(&key.id, &KeyChange { enabled: Some(true), ..KeyChange::default() }).await;
    assert!(matches!(again, Err(ChangeError::Conflict(_))));
}

#[tokio::test]
async fn a_rotated_key_has_two_tokens_until_the_grace_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = with_user(&folder).await;
    let (old, key) = here.create_key(of_ann()).await.unwrap();
    let (new, _) = here.rotate_key(&key.id, 60_000).await.unwrap();
    there.refresh().await.unwrap();
    assert!(accepts(&there, &old) && accepts(&there, &new) && accepts(&here, &old));
    let (newest, _) = here.rotate_key(&key.id, 0).await.unwrap();
    there.refresh().await.unwrap();
    assert_eq!([&old, &new, &newest].map(|token| accepts(&there, token)), [false, false, true]);
    there.revoke_key(&key.id).await.unwrap();
    here.refresh().await.unwrap();
    assert!(!accepts(&here, &newest));
}

#[tokio::test]
async fn says_what_is_wrong_with_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let (here, _) = with_user(&folder).await;
    let invalid = async |new: NewKey| match here.create_key(new).await {
        Err(ChangeError::Invalid(param, _)) => param,
        other => panic!("{:?}", other.map(|(_, key)| key)),
    };
    assert_eq!(invalid(NewKey::default()).await, "user");
    assert_eq!(invalid(NewKey { user: Some("bob".to_owned()), ..NewKey::default() }).await, "user");
    assert_eq!(invalid(NewKey { team: Some("none".to_owned()), ..NewKey::default() }).await, "team");
    assert_eq!(invalid(NewKey { expires_at: Some("soon".to_owned()), ..of_ann() }).await, "expires_at");
    assert_eq!(invalid(NewKey { tags: vec!["a b".to_owned()], ..of_ann() }).await, "tags");
    assert_eq!(invalid(NewKey { limits: Some(serde_json::json!({ "x": 1 })), ..of_ann() }).await, "limits");
    let again = here.create_user(NewUser { id: "ann".to_owned(), ..NewUser::default() }).await;
    assert!(matches!(again, Err(ChangeError::Conflict(_))));
    let bad = here.create_user(NewUser { id: "a/b".to_owned(), ..NewUser::default() }).await;
    assert!(matches!(bad, Err(ChangeError::Invalid("id", _))));
    assert!(matches!(here.key("key_none").await, Err(ChangeError::NotFound)));
}

#[tokio::test]
async fn an_expired_key_is_refused_and_a_deleted_user_may_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (here, _) = with_user(&folder).await;
    let soon = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(2)).unwrap().to_string();
    let (token, _) = here.create_key(NewKey { expires_at: Some(soon), ..of_ann() }).await.unwrap();
    let (lasting, _) = here.create_key(of_ann()).await.unwrap();
    assert!(accepts(&here, &token));
    // The wall clock decides, so the test waits for what it brings about.
    for _ in 0..1_000 {
        if !accepts(&here, &token) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!accepts(&here, &token) && accepts(&here, &lasting));
    here.delete_user("ann").await.unwrap();
    assert!(!accepts(&here, &lasting));
    here.create_user(NewUser { id: "ann".to_owned(), ..NewUser::default() }).await.unwrap();
    assert!(!accepts(&here, &lasting));
    assert_eq!(here.keys(KeyFilter { limit: 10, ..KeyFilter::default() }).await.unwrap().len(), 0);
    let all = KeyFilter { with_revoked: true, limit: 10, ..KeyFilter::default() };
    assert_eq!(here.keys(all).await.unwrap().len(), 2);
}

#[tokio::test]
async fn many_keys_are_read_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = with_user(&folder).await;
    let insert = |table: &str, columns: &str| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO {table} \
             SELECT {columns} FROM n"
        )
    };
    let keys = "'key_' || i, '', '', 'ann', NULL, '[]', '[]', '{}', 1, 0, NULL, NULL, 1 + i % 3";
    let tokens = "CAST(printf('%032d', i) AS BLOB), 'key_' || i, NULL";
    let statements = vec![
        crate::database::Statement::new(insert("berry_keys", keys), Vec::new()),
        crate::database::Statement::new(insert("berry_tokens", tokens), Vec::new()),
        crate::database::Statement::new("UPDATE berry_state SET value = 4 WHERE name = 'version'", Vec::new()),
    ];
    here.database().transaction(statements).await.unwrap();
    there.refresh().await.unwrap();
    assert_eq!(there.len(), 5000);
}
