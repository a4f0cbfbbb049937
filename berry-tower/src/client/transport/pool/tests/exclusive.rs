//! HTTP/1 connections.

use std::{io, sync::mpsc, thread};

use futures_util::future::{join, join_all};
use http_body::Body as _;

use super::*;
use crate::client::transport::Unprocessed;

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    for _ in 0..50 {
        assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    }
    let counts = upstream.counts();
    assert_eq!((counts.made, counts.requests), (1, 50));
}

#[tokio::test]
async fn takes_the_connection_that_became_free_last() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    let held = async |held: &'static str| read(&pools, &upstream.uri(held)).await.unwrap();
    let let_go = async {
        upstream.wait_for(|counts| counts.requests == 3).await;
        upstream.gates().held.add_permits(3);
    };
    let (mut all, ()) = join(join_all(["/held"; 3].map(held)), let_go).await;
    let last = read(&pools, &upstream.uri("/")).await.unwrap();
    for _ in 0..10 {
        assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), last);
    }
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "3"]);
}

#[tokio::test]
async fn reuses_a_connection_only_after_the_end_of_its_response() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    let mut long = ask(&pools, &upstream.uri("/long")).await.unwrap();
    assert_eq!(long.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
    // A connection whose response is dropped is closed.
    drop(long);
    upstream.wait_for(|counts| counts.open == 1).await;
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
}

#[tokio::test]
async fn a_dropped_request_closes_its_connection() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    let held = ask(&pools, &upstream.uri("/held"));
    tokio::select! {
        _ = held => unreachable!("the gate is closed"),
        () = upstream.wait_for(|counts| counts.requests == 2) => {}
    }
    upstream.wait_for(|counts| counts.open == 0).await;
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
}

#[tokio::test]
async fn does_not_reuse_a_connection_that_the_upstream_closes() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let pools = trusting(&upstream);
    for number in ["1", "2", "3"] {
        assert_eq!(read(&pools, &upstream.uri("/close")).await.unwrap(), number);
    }
}

/// An upstream outside of this runtime, which learns of its actions only by polling.
struct Apart {
    uri: String,
    close: mpsc::Sender<()>,
    closed: mpsc::Receiver<usize>,
}

/// Starts an upstream that on each connection answers some requests, reads some more, and then waits
/// for a signal to close it.
fn apart(connections: Vec<(usize, usize)>) -> Apart {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    let ((tell, closed), (close, told)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        for (number, (answers, reads)) in connections.into_iter().enumerate() {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..answers {
                request(&mut stream).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}", number + 1);
                io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
            }
            for _ in 0..reads {
                request(&mut stream).unwrap();
            }
            if told.recv().is_err() {
                return;
            }
            drop(stream);
            tell.send(number + 1).unwrap();
        }
    });
    Apart { uri, close, closed }
}

/// Reads a request to its end.
fn request(stream: &mut std::net::TcpStream) -> io::Result<()> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n{}") {
        let mut some = [0; 1024];
        match io::Read::read(stream, &mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => read.extend_from_slice(&some[..n]),
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unwritten_request_moves_to_another_connection() {
    let upstream = apart(vec![(1, 0), (1, 0), (2, 0)]);
    let pools = Arc::new(Pools::default());
    for number in 1..=2 {
        assert_eq!(read(&pools, &upstream.uri).await.unwrap(), number.to_string());
        free(&pools, &upstream.uri).await;
        upstream.close.send(()).unwrap();
        assert_eq!(upstream.closed.recv().unwrap(), number);
        // The runtime has the event now, and polls this task before the connection's.
        yield_now().await;
    }
    for _ in 0..2 {
        assert_eq!(read(&pools, &upstream.uri).await.unwrap(), "3");
    }
}

#[tokio::test]
async fn a_written_request_without_a_response_byte_is_reported_as_unprocessed() {
    let upstream = apart(vec![(1, 1), (1, 0)]);
    let pools = Arc::new(Pools::default());
    assert_eq!(read(&pools, &upstream.uri).await.unwrap(), "1");
    upstream.close.send(()).unwrap();
    let broken = read(&pools, &upstream.uri).await;
    let Err(failure) = &broken else { unreachable!("{broken:?}") };
    assert!(crate::error::find::<Unprocessed>(failure).is_some(), "{broken:?}");
    assert_eq!(upstream.closed.recv().unwrap(), 1);
    assert_eq!(read(&pools, &upstream.uri).await.unwrap(), "2");
}

#[tokio::test]
async fn a_new_connection_that_breaks_is_a_failure() {
    let upstream = apart(vec![(0, 0); 100]);
    let pools = Arc::new(Pools::default());
    for number in 1..=100 {
        upstream.close.send(()).unwrap();
        let broken = timeout(LONG, read(&pools, &upstream.uri)).await.unwrap();
        assert!(matches!(broken, Err(Failure::ConnectionLost(_))), "{broken:?}");
        assert_eq!(upstream.closed.recv().unwrap(), number);
    }
    assert!(upstream.closed.try_recv().is_err());
}

#[tokio::test]
async fn a_waiter_takes_a_connection_that_becomes_free() {
    let upstream = Upstream::new(Speaks::Http1).await;
    let pools = trusting(&upstream);
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "1");
    let handshakes = upstream.gates().handshakes.forget_permits(usize::MAX);
    let held = tokio::spawn(ask(&pools, &upstream.uri("/held")));
    upstream.wait_for(|counts| counts.requests == 2).await;
    let second = tokio::spawn(read(&pools, &upstream.uri("/")));
    upstream.wait_for(|counts| counts.made == 2).await;
    upstream.gates().held.add_permits(1);
    assert_eq!(text(held.await.unwrap().unwrap()).await, "1");
    assert_eq!(timeout(LONG, second).await.unwrap().unwrap().unwrap(), "1");

    // The connection that was being made serves the next request.
    upstream.gates().handshakes.add_permits(handshakes);
    let held = tokio::spawn(ask(&pools, &upstream.uri("/held")));
    upstream.wait_for(|counts| counts.requests == 4).await;
    free(&pools, &upstream.uri("/")).await;
    assert_eq!(read(&pools, &upstream.uri("/")).await.unwrap(), "2");
    assert_eq!(upstream.counts().made, 2);
    held.abort();
}

#[tokio::test]
async fn http1_over_tls_has_a_connection_for_each_request() {
    let upstream = Upstream::new(Speaks::Http1).await;
    let pools = trusting(&upstream);
    let let_go = async {
        upstream.wait_for(|counts| counts.requests == 20).await;
        upstream.gates().held.add_permits(20);
    };
    let (answers, ()) = join(join_all((0..20).map(|_| read(&pools, &upstream.uri("/held")))), let_go).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(upstream.counts().made, 20);
}

#[tokio::test]
async fn a_body_reports_its_size_and_its_end() {
    let upstream = Upstream::new(Speaks::Plain).await;
    let mut body = ask(&trusting(&upstream), &upstream.uri("/")).await.unwrap().into_body();
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(1)));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "1");
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
    assert!(body.frame().await.is_none());
}
