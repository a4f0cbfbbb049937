//! The way out: streams finish, or are told; load balancers see it coming.

use berry_server::Server;
use berry_simulated::Fault;
use berry_tests::{Ask, Connection, Gateway, HeldClock, Reply, settle, soon};
use futures_util::FutureExt;

/// A stream that stands still after two tokens, with its head read.
async fn standing(gateway: &Gateway) -> (Connection, Reply) {
    gateway.providers[0].set(Fault::StallAfter(2).once());
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
    let mut reply = soon(connection.head()).await.expect("a head");
    assert!(soon(connection.until(&mut reply, "content")).await);
    (connection, reply)
}

async fn refuses(addr: std::net::SocketAddr) {
    let closed = async {
        while Connection::open(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(closed).await;
}

/// The shutdown's first wait is over, even one of nothing, which ends at the clock's next tick.
async fn begun(clock: &HeldClock) {
    for _ in 0..3 {
        settle().await;
        clock.advance(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn stream_in_flight_finishes() {
    let gateway = Gateway::single().await;
    gateway.providers[0].set(berry_simulated::Behavior::healthy().per_token(std::time::Duration::from_millis(50)));
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
    let mut reply = soon(connection.head()).await.expect("a head");
    let Gateway { server, addr, .. } = gateway;
    let shutdown = tokio::spawn(server.shutdown());
    refuses(addr).await;
    soon(connection.rest(&mut reply)).await;
    assert!(reply.is_good_chat(), "{reply:?}");
    soon(shutdown).await.expect("it ends");
    soon(connection.closed()).await;
}

#[tokio::test]
async fn plain_request_in_flight_finishes() {
    let gateway = Gateway::single().await;
    gateway.providers[0].set(Fault::LateHead(std::time::Duration::from_millis(200)));
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", false).bytes()).await.expect("sent");
    soon(gateway.providers[0].wait_for(1)).await;
    let shutdown = tokio::spawn(gateway.server.shutdown());
    refuses(gateway.addr).await;
    let mut reply = soon(connection.head()).await.expect("an answer");
    soon(connection.rest(&mut reply)).await;
    assert!(reply.is_good_chat(), "{reply:?}");
    soon(shutdown).await.expect("it ends");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_drain() {
    let gateway = Gateway::single().await;
    let mut used = gateway.connect().await;
    assert!(used.ask(&Ask::chat("pool", false)).await.expect("an answer").is_good_chat());
    let mut unused = gateway.connect().await;
    let clock = HeldClock::new();
    let shutdown = tokio::spawn(gateway.server.shutdown());
    begun(&clock).await;
    soon(shutdown).await.expect("it ends");
    soon(used.closed()).await;
    soon(unused.closed()).await;
}

#[tokio::test]
async fn stream_beyond_the_grace_period_gets_an_error_event() {
    let clock = HeldClock::new();
    let gateway = Gateway::builder().provider("a").settings("shutdown_grace_seconds = 30").start().await;
    let (mut connection, mut reply) = standing(&gateway).await;
    let shutdown = tokio::spawn(gateway.server.shutdown());
    begun(&clock).await;
    refuses(gateway.addr).await;
    clock.seconds(29).await;
    settle().await;
    while connection.more(&mut reply).now_or_never().is_some() {}
    assert!(reply.text().contains(": keep-alive") && !reply.text().contains("error"), "{reply:?}");
    clock.seconds(2).await;
    soon(async {
        while !reply.text().contains("shutting_down") {
            connection.more(&mut reply).await;
        }
    })
    .await;
    // The event is out; the connection breaks a moment later.
    clock.seconds(1).await;
    soon(connection.rest(&mut reply)).await;
    assert!(!reply.whole, "{reply:?}");
    let last = reply.events().pop().expect("an event");
    assert_eq!(last["error"]["code"], "shutting_down", "{last}");
    assert!(!reply.data().contains(&"[DONE]"));
    soon(shutdown).await.expect("it ends");
    soon(gateway.providers[0].wait_idle()).await;
}

#[tokio::test]
async fn readyz_turns_before_the_listener_closes() {
    let clock = HeldClock::new();
    let gateway = Gateway::builder().provider("a").settings("shutdown_delay_seconds = 5").start().await;
    let addr = gateway.addr;
    let ask = async |path: &str| {
        let mut connection = soon(Connection::open(addr)).await.expect("it still listens");
        soon(connection.ask(&Ask::get(path))).await.expect("an answer")
    };
    let turns = async |status: u16| {
        while ask("/readyz").await.status != status {
            clock.advance(std::time::Duration::from_millis(1)).await;
        }
    };
    soon(turns(200)).await;
    let shutdown = tokio::spawn(Server::shutdown(gateway.server));
    soon(turns(503)).await;
    assert_eq!(ask("/livez").await.status, 200);
    let mut connection = soon(Connection::open(addr)).await.expect("it still listens");
    assert!(soon(connection.ask(&Ask::chat("pool", false))).await.expect("an answer").is_good_chat());
    clock.seconds(6).await;
    refuses(addr).await;
    soon(shutdown).await.expect("it ends");
}
