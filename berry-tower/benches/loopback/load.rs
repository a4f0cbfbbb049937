//! A closed-loop load: each connection sends its next request when the previous response has ended.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use crate::{Thread, proxies::TOKEN};

/// The requests of a load and its number of connections.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// The body of each request.
    pub(crate) body: &'static str,
    /// The number of events in a response. CPU time is given per event.
    pub(crate) events: u32,
}

/// The measurements of a run, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// CPU time of the proxy per event of a response.
    pub(crate) cpu: f64,
    /// Median latency, measured to the last byte.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Figures {
    pub(crate) fn median(turns: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut all: Vec<_> = turns.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self { cpu: middle(|f| f.cpu), p50: middle(|f| f.p50), p99: middle(|f| f.p99) }
    }
}

impl Load {
    pub(crate) fn run(&self, proxy: &Thread, time: Duration) -> Figures {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (addr, payload, before) = (proxy.addr, self.body, proxy.cpu());
            let until = Instant::now() + time;
            let mut connections = JoinSet::new();
            for _ in 0..self.connections {
                connections.spawn(async move { connection(addr, payload, until).await.expect("successful responses") });
            }
            let mut times = connections.join_all().await.concat();
            let cpu = (proxy.cpu() - before).as_secs_f64();
            times.sort_unstable();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
            Figures { cpu: cpu * 1e6 / times.len() as f64 / f64::from(self.events), p50: at(0.5), p99: at(0.99) }
        })
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    addr: std::net::SocketAddr,
    payload: &'static str,
    until: Instant,
) -> Result<Vec<Duration>, Failed> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < until {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Full::new(Bytes::from_static(payload.as_bytes())))?;
        let start = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the proxy answered {}", response.status()).into());
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        times.push(start.elapsed());
    }
    drop(sender);
    let _ = driver.await;
    Ok(times)
}
