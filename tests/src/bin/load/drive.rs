//! Drives a load against a proxy and measures it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use crate::{Failed, TOKEN, process::Process};

/// A closed-loop load: each connection sends its next request when the previous response has ended.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) model: &'static str,
    pub(crate) payload: Payload,
    pub(crate) connections: usize,
    pub(crate) stream: bool,
}

/// The size of a request.
#[derive(Clone, Copy)]
pub(crate) enum Payload {
    Small,
    /// 256 KiB.
    Large,
}

impl Payload {
    fn text(self) -> String {
        match self {
            Self::Small => "Hello! How are you?".to_owned(),
            Self::Large => "x".repeat(256 * 1024),
        }
    }
}

/// The measurements of one run; times are in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    per_second: f64,
    /// Median latency, measured to the last byte.
    p50: f64,
    p99: f64,
    /// CPU time of the proxy per request.
    pub(crate) cpu: f64,
}

impl Figures {
    pub(crate) fn median(turns: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut all: Vec<_> = turns.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Self {
            per_second: middle(|f| f.per_second),
            p50: middle(|f| f.p50),
            p99: middle(|f| f.p99),
            cpu: middle(|f| f.cpu),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_second, p50, p99, cpu } = self;
        write!(f, "{per_second:.0} | {:.2} / {:.2} ms | {cpu:.1} µs", p50 / 1e3, p99 / 1e3)
    }
}

impl Load {
    /// Drives a proxy for the given time.
    pub(crate) async fn run(self, proxy: &Process, time: Duration) -> Result<Figures, Failed> {
        let mut senders = Vec::new();
        for _ in 0..self.connections {
            senders.push(connect(&proxy.address).await?);
        }
        let (before, start) = (proxy.cpu()?, Instant::now());
        let mut running = JoinSet::new();
        for sender in senders {
            running.spawn(self.send_until(sender, start + time));
        }
        let mut times = Vec::<Duration>::new();
        for measured in running.join_all().await {
            times.extend(measured?);
        }
        let (cpu, took) = ((proxy.cpu()? - before).as_secs_f64(), start.elapsed().as_secs_f64());
        times.sort_unstable();
        let count = times.len() as f64;
        let at = |part: f64| times[((count - 1.0) * part) as usize].as_secs_f64() * 1e6;
        Ok(Figures { per_second: count / took, p50: at(0.5), p99: at(0.99), cpu: cpu * 1e6 / count })
    }

    /// Sends requests over one connection until the given instant, at least one.
    async fn send_until(
        self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        until: Instant,
    ) -> Result<Vec<Duration>, Failed> {
        let Self { model, payload, stream, .. } = self;
        let text = payload.text();
        let payload =
            format!(r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let (payload, mut times) = (Bytes::from(payload), Vec::new());
        while times.is_empty() || Instant::now() < until {
            let request = Request::post("/v1/chat/completions")
                .header(header::HOST, "127.0.0.1")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
                .body(Full::new(payload.clone()))?;
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
        Ok(times)
    }
}

async fn connect(address: &str) -> Result<http1::SendRequest<Full<Bytes>>, Failed> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}
