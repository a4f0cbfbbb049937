//! Many requests at once.

use std::sync::atomic::Ordering::SeqCst;

use futures_util::future::{FutureExt, join_all};
use proptest::{collection::vec, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::yield_now,
};

use super::*;

/// How a request ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Read,
    /// Its response is not read to the end.
    Dropped,
    /// It is dropped after this many polls.
    GivenUp(u8),
}

fn fates() -> impl Strategy<Value = Vec<Vec<Fate>>> {
    let fate = prop_oneof![3 => Just(Fate::Read), 1 => Just(Fate::Dropped), 1 => (0..6_u8).prop_map(Fate::GivenUp)];
    vec(vec(fate, 1..20), 1..24)
}

/// An upstream that echoes request bodies in two pieces. It announces and closes a connection after a
/// number of requests, and counts requests that came before the previous one was answered.
struct Echo {
    uri: String,
    overlaps: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl Echo {
    async fn new(most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let echo = Self { uri, overlaps: Arc::default(), made: Arc::default() };
        let (overlaps, made) = (echo.overlaps.clone(), echo.made.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                made.fetch_add(1, SeqCst);
                tokio::spawn(serve(stream, most, overlaps.clone()));
            }
        });
        echo
    }
}

/// A body's length.
const LENGTH: usize = 8;

async fn serve(mut stream: TcpStream, most: usize, overlaps: Arc<AtomicUsize>) -> Option<()> {
    for left in (0..most).rev() {
        let mut request = Vec::new();
        let end = loop {
            if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n")
                && request.len() >= end + 4 + LENGTH
            {
                break end + 4 + LENGTH;
            }
            if stream.read_buf(&mut request).await.ok()? == 0 {
                return None;
            }
        };
        let (body, behind) = request.split_at(end);
        let body = &body[end - LENGTH..];
        for _ in 0..body[LENGTH - 1] % 5 {
            yield_now().await;
        }
        if !behind.is_empty() || stream.try_read(&mut [0]).is_ok_and(|read| read > 0) {
            overlaps.fetch_add(1, SeqCst);
        }
        let close = if left == 0 { "connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n{close}\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&body[..3]).await.ok()?;
        yield_now().await;
        stream.write_all(&body[3..]).await.ok()?;
    }
    None
}

async fn meet(pools: &Arc<Pools>, uri: &str, fate: Fate, id: usize) {
    let body = format!("{id:0LENGTH$}");
    let request = http::Request::post(uri).body(Buffered::from(body.clone())).unwrap();
    let mut answer = Exchange::new(pools.find(request.uri(), LONG).unwrap(), request);
    match fate {
        Fate::Read => assert_eq!(text(answer.await.unwrap()).await, body),
        Fate::Dropped => drop(answer.await.unwrap().into_body().frame().await),
        Fate::GivenUp(polls) => {
            for _ in 0..polls {
                if (&mut answer).now_or_never().is_some() {
                    break;
                }
                yield_now().await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_has_one_request_at_a_time_and_its_own_response(all in fates(), most in 1..8_usize) {
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
        let overlaps = runtime.block_on(async {
            let (echo, pools) = (Echo::new(most).await, Arc::new(Pools::default()));
            let tasks = all.into_iter().enumerate().map(|(task, fates)| {
                let (pools, uri) = (pools.clone(), echo.uri.clone());
                tokio::spawn(async move {
                    for (number, fate) in fates.into_iter().enumerate() {
                        meet(&pools, &uri, fate, task * 1000 + number).await;
                    }
                })
            });
            for task in join_all(tasks).await {
                task.unwrap();
            }
            echo.overlaps.load(SeqCst)
        });
        prop_assert_eq!(overlaps, 0);
    }
}

#[tokio::test]
async fn a_response_in_pieces_returns_its_connection_at_its_end() {
    let (echo, pools) = (Echo::new(usize::MAX).await, Arc::new(Pools::default()));
    for id in 0..50 {
        meet(&pools, &echo.uri, Fate::Read, id).await;
    }
    assert_eq!(echo.made.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_at_once_are_answered() {
    let (echo, pools) = (Echo::new(usize::MAX).await, Arc::new(Pools::default()));
    for round in 0..3 {
        let tasks = (0..1000).map(|id| {
            let (pools, uri) = (pools.clone(), echo.uri.clone());
            tokio::spawn(async move { meet(&pools, &uri, Fate::Read, round * 1000 + id).await })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
    }
    // Later rounds reuse connections. How many depends on when hyper sees the end of each response.
    assert!(echo.made.load(SeqCst) < 3000);
    assert_eq!(echo.overlaps.load(SeqCst), 0);
    let free = pools.find(&echo.uri.parse().unwrap(), LONG).unwrap();
    assert!(free.idle.take().is_some());
}
