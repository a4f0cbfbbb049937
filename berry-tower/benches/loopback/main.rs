//! The overhead of the standard stack against a minimal proxy, over real connections.
//!
//! Run with `cargo bench -p berry-tower --features full --bench loopback` on Linux and an otherwise
//! idle machine. An upstream, a minimal proxy of axum and reqwest, and the standard stack behind the
//! same axum and over the same reqwest run in separate threads. The same load drives both proxies in
//! several turns, and the medians are printed. The most stable figure is the CPU time of a proxy's
//! thread per request. The minimal proxy also reads each request body completely before it forwards
//! it.

#![expect(clippy::print_stdout, reason = "the table is the program's output")]

mod load;
mod proxies;
mod upstream;

use std::{net::SocketAddr, time::Duration};

use load::{Figures, Load};

/// The number of turns of each proxy.
const TURNS: usize = 7;
const TURN: Duration = Duration::from_millis(1_500);

fn main() {
    // `cargo test --benches` only checks that the program works.
    let (turns, turn) = match std::env::args().any(|arg| arg == "--bench") {
        true => (TURNS, TURN),
        false => (1, Duration::from_millis(50)),
    };
    let upstream = upstream::start();
    let (bare, berry) = (proxies::bare(upstream.addr), proxies::berry(upstream.addr));
    let loads = [
        Load { name: "plain, 1 connection", connections: 1, body: upstream::PLAIN, events: 1 },
        Load { name: "plain, 64 connections", connections: 64, body: upstream::PLAIN, events: 1 },
        Load { name: "stream, burst, per event", connections: 64, body: upstream::BURST, events: upstream::EVENTS },
        Load {
            name: "stream, 5 ms apart, per event",
            connections: 64,
            body: upstream::PACED,
            events: upstream::EVENTS,
        },
    ];
    println!("{:31} {:>9} {:>9} {:>6}   {:>17} {:>17}", "", "bare", "berry", "ratio", "bare p50/p99", "berry p50/p99");
    for load in loads {
        // The first turn is a warm-up.
        let mut figures = [Vec::new(), Vec::new()];
        for turn_no in 0..=turns {
            for (thread, figures) in [&bare, &berry].into_iter().zip(&mut figures) {
                let measured = load.run(thread, turn);
                if turn_no > 0 {
                    figures.push(measured);
                }
            }
        }
        let [bare, berry] = figures.map(|turns| Figures::median(&turns));
        let ratio = berry.cpu / bare.cpu;
        let row = |f: &Figures| format!("{:.0}/{:.0} us", f.p50, f.p99);
        let (of_bare, of_berry) = (row(&bare), row(&berry));
        println!(
            "{:31} {:>6.2} us {:>6.2} us {ratio:>5.2}x   {of_bare:>17} {of_berry:>17}",
            load.name, bare.cpu, berry.cpu
        );
    }
}

/// A server in a separate thread.
pub(crate) struct Thread {
    pub(crate) addr: SocketAddr,
    /// The file that reports the CPU time of the thread.
    stat: std::path::PathBuf,
}

impl Thread {
    /// Runs `serve` on a new thread.
    pub(crate) fn start<F>(serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
                let addr = listener.local_addr().expect("an address");
                let _ = send.send(Self { addr, stat: std::path::Path::new("/proc").join(thread).join("schedstat") });
                serve(listener).await;
            });
        });
        receive.recv().expect("a running thread")
    }

    /// Returns the CPU time that the thread has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(&self.stat).unwrap_or_default();
        Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
    }
}
