mod exclusive;
mod idle;
mod shared;
mod stress;
mod upstream;

use std::{future::Future, time::Duration};

use http_body_util::BodyExt;
use tokio::{task::yield_now, time::timeout};

use self::upstream::{Gates, Speaks, Upstream};
use super::*;
use crate::{body::Buffered, error::Deadline};

/// A connect timeout that does not pass.
const LONG: Duration = Duration::from_secs(20);

/// Sends a request.
fn ask(pools: &Arc<Pools>, uri: &str) -> impl Future<Output = Result<http::Response<Pooled>, Failure>> + use<> {
    let request = http::Request::post(uri).body(Buffered::from("{}")).unwrap();
    let pool = pools.find(request.uri(), LONG);
    async { Exchange::new(pool?, request).await }
}

/// Reads the text of a response: the number of its connection.
async fn text(answer: http::Response<Pooled>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

fn read(pools: &Arc<Pools>, uri: &str) -> impl Future<Output = Result<String, Failure>> + use<> {
    let answer = ask(pools, uri);
    async { Ok(text(answer.await?).await) }
}

/// Waits until a connection is free.
async fn free(pools: &Arc<Pools>, uri: &str) {
    let pool = pools.find(&uri.parse().unwrap(), LONG).unwrap();
    let free = async {
        loop {
            match pool.idle.take() {
                Some(free) => return free,
                None => yield_now().await,
            }
        }
    };
    pool.put(timeout(LONG, free).await.expect("no connection becomes free"));
}

/// Returns pools that trust an upstream.
fn trusting(upstream: &Upstream) -> Arc<Pools> {
    let pools = Pools::default();
    if let Some(trust) = upstream.trust() {
        pools.tls.set(trust).unwrap();
    }
    Arc::new(pools)
}

#[test]
fn a_destination_with_a_connect_timeout_has_one_pool() {
    let pools = Arc::new(Pools::default());
    let find = |uri: &str, secs| pools.find(&uri.parse().unwrap(), Duration::from_secs(secs)).map(|p| Arc::as_ptr(&p));
    let first = find("http://b.example/v1", 5).unwrap();
    for (uri, secs) in [("http://b.example/v1", 6), ("http://b.example:81/v1", 5), ("https://b.example/v1", 5)] {
        assert_ne!(find(uri, secs).unwrap(), first, "{uri}");
    }
    for host in ["a", "c", "b.example.org"] {
        assert_ne!(find(&format!("http://{host}"), 5).unwrap(), first, "{host}");
    }
    assert_eq!(find("http://b.example/v2", 5).unwrap(), first);
    assert_eq!(pools.list.load().len(), 7);
    assert!(matches!(find("ftp://b.example/", 5), Err(Failure::Connect(_))));
    assert!(matches!(find("/v1", 5), Err(Failure::ConnectionLost(_))));
    assert_eq!(pools.list.load().len(), 7);
}
