//! What the whole stack adds to a bare proxy, over real connections in one run.
//!
//! Run with `cargo bench -p berry-tower --features full --bench loopback`, on Linux and on a
//! machine that does nothing else. An upstream, a bare axum and reqwest proxy, and the standard
//! stack behind the same axum and over the same reqwest run in threads of their own; both proxies
//! are driven by the same load in turns, several times. What counts is the processor time that a
//! proxy's thread spends on a request, which moves least from run to run; the medians are told.
//! The bare proxy reads a request's body whole too, and does nothing else.

#![expect(clippy::print_stdout, reason = "a table for whoever measures")]

mod load;
mod proxies;
mod upstream;

use std::{net::SocketAddr, time::Duration};

use load::{Figures, Load};

/// How often both proxies take their turn.
const TURNS: usize = 7;
const TURN: Duration = Duration::from_millis(1_500);

fn main() {
    // `cargo test --benches` wants to know only that it runs.
    let (turns, turn) = match std::env::args().any(|arg| arg == "--bench") {
        true => (TURNS, TURN),
        false => (1, Duration::from_millis(50)),
    };
    let upstream = upstream::start();
    let (bare, berry) = (proxies::bare(upstream.addr), proxies::berry(upstream.addr));
    let loads = [
        Load { name: "plain, 1 connection", connections: 1, ask: upstream::PLAIN, events: 1 },
        Load { name: "plain, 64 connections", connections: 64, ask: upstream::PLAIN, events: 1 },
        Load { name: "stream, burst, per event", connections: 64, ask: upstream::BURST, events: upstream::EVENTS },
        Load { name: "stream, 5 ms apart, per event", connections: 64, ask: upstream::PACED, events: upstream::EVENTS },
    ];
    println!("{:31} {:>9} {:>9} {:>6}   {:>17} {:>17}", "", "bare", "berry", "ratio", "bare p50/p99", "berry p50/p99");
    for load in loads {
        // The first turn warms both up.
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

/// A server in a thread of its own.
pub(crate) struct Thread {
    pub(crate) addr: SocketAddr,
    /// Where the system tells of the thread's processor time.
    stat: std::path::PathBuf,
}

impl Thread {
    /// Runs `serve` on one thread.
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

    /// The processor time that the thread has used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(&self.stat).unwrap_or_default();
        Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
    }
}
