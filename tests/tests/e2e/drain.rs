//! Graceful shutdown: streams finish or get an error event, and load balancers are warned first.

use berry_server::Server;
use berry_simulated::Fault;
use berry_tests::{Ask, Connection, Gateway, HeldClock, Reply, settle, soon};
use futures_util::FutureExt;

/// Opens a stream that stalls after two tokens, and reads its head.
async fn stalled_stream(gateway: &Gateway) -> (Connection, Reply) {
    gateway.providers[0].set(Fault::StallAfter(2).once());
    let mut connection = gateway.connect().await;
    connection.send(&Ask::chat("pool", true).bytes()).await.expect("sent");
    let mut reply = soon(connection.head()).await.expect("a head");
    assert!(soon(connection.until(&mut reply, "content")).await);
    (connection, reply)
}

async fn until_port_closes(addr: std::net::SocketAddr) {
    let closed = async {
        while Connection::open(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(closed).await;
}

/// Lets the shutdown begin. Its initial delay, even one of zero, ends at the next tick of the clock.
async fn let_shutdown_begin(clock: &HeldClock) {
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
    until_port_closes(addr).await;
    soon(connection.rest(&mut reply)).await;
    assert!(reply.is_good_chat(), "{reply:?}");
    soon(shutdown).await.expect("the server has stopped");
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
    until_port_closes(gateway.addr).await;
    let mut reply = soon(connection.head()).await.expect("an answer");
    soon(connection.rest(&mut reply)).await;
    assert!(reply.is_good_chat(), "{reply:?}");
    soon(shutdown).await.expect("the server has stopped");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_drain() {
    let gateway = Gateway::single().await;
    let mut used = gateway.connect().await;
    assert!(used.ask(&Ask::chat("pool", false)).await.expect("an answer").is_good_chat());
    let mut unused = gateway.connect().await;
    let clock = HeldClock::new();
    let shutdown = tokio::spawn(gateway.server.shutdown());
    let_shutdown_begin(&clock).await;
    soon(shutdown).await.expect("the server has stopped");
    soon(used.closed()).await;
    soon(unused.closed()).await;
}

#[tokio::test]
async fn stream_beyond_the_grace_period_gets_an_error_event() {
    let clock = HeldClock::new();
    let gateway = Gateway::builder().provider("a").settings("shutdown_grace_seconds = 30").start().await;
    let (mut connection, mut reply) = stalled_stream(&gateway).await;
    let shutdown = tokio::spawn(gateway.server.shutdown());
    let_shutdown_begin(&clock).await;
    until_port_closes(gateway.addr).await;
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
    // The event is sent. The connection closes shortly after.
    clock.seconds(1).await;
    soon(connection.rest(&mut reply)).await;
    assert!(!reply.whole, "{reply:?}");
    let last = reply.events().pop().expect("an event");
    assert_eq!(last["error"]["code"], "shutting_down", "{last}");
    assert!(!reply.data().contains(&"[DONE]"));
    soon(shutdown).await.expect("the server has stopped");
    soon(gateway.providers[0].wait_idle()).await;
}

#[tokio::test]
async fn readyz_fails_before_the_listener_closes() {
    let clock = HeldClock::new();
    let gateway = Gateway::builder().provider("a").settings("shutdown_delay_seconds = 5").start().await;
    let addr = gateway.addr;
    let ask = async |path: &str| {
        let mut connection = soon(Connection::open(addr)).await.expect("the server still listens");
        soon(connection.ask(&Ask::get(path))).await.expect("an answer")
    };
    let until_status = async |status: u16| {
        while ask("/readyz").await.status != status {
            clock.advance(std::time::Duration::from_millis(1)).await;
        }
    };
    soon(until_status(200)).await;
    let shutdown = tokio::spawn(Server::shutdown(gateway.server));
    soon(until_status(503)).await;
    assert_eq!(ask("/livez").await.status, 200);
    let mut connection = soon(Connection::open(addr)).await.expect("the server still listens");
    assert!(soon(connection.ask(&Ask::chat("pool", false))).await.expect("an answer").is_good_chat());
    clock.seconds(6).await;
    until_port_closes(addr).await;
    soon(shutdown).await.expect("the server has stopped");
}
