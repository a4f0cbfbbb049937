//! Providers that close, reset, fall silent, go away, or refuse.

use futures_util::future::join_all;

use crate::{
    process::{ALICE, BOB, Gateway, Start, configuration},
    upstream::{ANSWER, Exchange, Http1, Http2, Then, Tls, good, response},
};

/// Sends requests one after another and several at once; all must be served.
async fn all_served(gateway: &Gateway, requests: usize) {
    for round in 0..requests / 5 {
        let user = |n: usize| if (round + n).is_multiple_of(2) { ALICE } else { BOB };
        for reply in join_all((0..5).map(|n| gateway.chat(user(n)))).await {
            let reply = reply.expect("a response");
            assert!(reply.is_good_chat(), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_breaks_connections_is_replaced_by_another() {
    let cut = || {
        let whole = response("200 OK", "", ANSWER);
        whole[..whole.len() - 40].to_vec()
    };
    type Fault = fn() -> (Vec<u8>, Then);
    let faults: [Fault; 4] = [
        || (Vec::new(), Then::Close),
        || (Vec::new(), Then::Reset),
        || (Vec::new(), Then::Silence),
        || (b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), Then::Reset),
    ];
    for fault in faults {
        let (bad, other) = (Http1::start(move |_| fault()).await, Http1::start(|_| good()).await);
        let providers = [("a", bad.url(), "plain_timeout_seconds = 1"), ("b", other.url(), "")];
        let gateway = Gateway::start(&configuration("", "strategy = \"round_robin\"", &providers)).await;
        all_served(&gateway, 20).await;
        assert!(bad.requests() > 0);
    }
    let (bad, other) = (Http1::start(move |_| (cut(), Then::Close)).await, Http1::start(|_| good()).await);
    let gateway = Gateway::start(&configuration("", "", &[("a", bad.url(), ""), ("b", other.url(), "")])).await;
    all_served(&gateway, 20).await;
}

#[tokio::test]
async fn a_provider_that_closes_each_connection_after_its_response_serves_all() {
    let provider = Http1::start(|_| (response("200 OK", "", ANSWER), Then::Close)).await;
    let gateway = Gateway::start(&configuration("", "", &[("a", provider.url(), "")])).await;
    all_served(&gateway, 50).await;
}

async fn over_http2(provider: &Tls) -> Gateway {
    let text = configuration("", "", &[("a", provider.url(), "plain_timeout_seconds = 10\nmax_retries = 3")]);
    let trusted = provider.certificate();
    Gateway::start_as(&text, Start { trusted: Some(&trusted), ..Start::default() }).await
}

#[tokio::test]
async fn connections_that_go_away_cost_no_request() {
    let after = |number: usize| if number.is_multiple_of(7) { Http2::GoAway } else { Http2::Serve };
    let provider = Tls::start(100, Exchange::answer, after).await;
    let gateway = over_http2(&provider).await;
    all_served(&gateway, 50).await;
    let health = gateway.backend("a").await;
    assert!(provider.connections() > 1);
    assert_eq!(health["circuit_state"], "closed", "{health}");
}

#[tokio::test]
async fn streams_that_are_refused_are_sent_again() {
    let serve = |exchange: Exchange| async move {
        if exchange.number.is_multiple_of(3) {
            exchange.refuse();
        } else {
            exchange.answer().await;
        }
    };
    let provider = Tls::start(100, serve, |_| Http2::Serve).await;
    let gateway = over_http2(&provider).await;
    all_served(&gateway, 50).await;
    let health = gateway.backend("a").await;
    assert_eq!(health["circuit_state"], "closed", "{health}");
}

#[tokio::test]
async fn a_connection_that_goes_deaf_is_replaced() {
    // Only the first connection: the seventh request is its last.
    let after = |number: usize| if number == 7 { Http2::Deaf } else { Http2::Serve };
    let provider = Tls::start(100, Exchange::answer, after).await;
    let gateway = over_http2(&provider).await;
    all_served(&gateway, 5).await;
    // The connection goes deaf among these requests: more than open the breaker, if each of them counted.
    let replies = join_all((0..12).map(|n| gateway.chat(if n % 2 == 0 { ALICE } else { BOB }))).await;
    let failed: Vec<_> = replies.into_iter().flatten().filter(|reply| reply.status != 200).collect();
    assert!(failed.iter().all(|reply| reply.status == 504), "{failed:?}");
    all_served(&gateway, 20).await;
    assert!(provider.connections() > 1);
    assert_eq!(gateway.backend("a").await["circuit_state"], "closed");
}
