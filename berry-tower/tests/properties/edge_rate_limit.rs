//! `RateLimit`: the guarantees of a quota, for any limits and any times of requests.

use std::time::Duration;

use berry_tower::rate_limit::{LimitKind, Limits, Quota, Window};
use proptest::{option, prelude::*};
use tokio::time::{Instant, advance};

fn paused<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn limits() -> impl Strategy<Value = Limits> {
    (option::of(1..20_u32), option::of(1..40_u32), option::of(1..60_u32))
        .prop_map(|(m, h, d)| Limits::new().per_minute(m).per_hour(h).per_day(d))
}

/// Generates waits in milliseconds, short and long, each followed by some requests.
fn visits() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let wait = prop_oneof![Just(0), 0..2_000_u64, 0..120_000_u64, 0..7_200_000_u64];
    prop::collection::vec((wait, 1..8_usize), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// At most 2N − 1 requests pass in any window, and at most N at any moment.
    #[test]
    fn no_window_admits_too_many_requests(limits in limits(), visits in visits()) {
        let passed = paused(async {
            let (quota, start) = (Quota::new(limits.clone()), Instant::now());
            let mut passed = Vec::new();
            for (wait, requests) in visits {
                advance(Duration::from_millis(wait)).await;
                passed.extend((0..requests).filter(|_| quota.acquire().is_ok()).map(|_| start.elapsed()));
            }
            passed
        });
        for (n, length) in [Window::MINUTE, Window::HOUR, Window::DAY].map(|window| (limits.get(window), window.length())) {
            let Some(n) = n else { continue };
            for (i, from) in passed.iter().enumerate() {
                let until = *from + length;
                let in_window = passed[i..].iter().filter(|at| **at < until).count();
                prop_assert!(in_window < 2 * n as usize, "{in_window} of {n} in {length:?}");
                let at_once = passed[i..].iter().filter(|at| *at == from).count();
                prop_assert!(at_once <= n as usize);
            }
        }
    }

    /// A rejection consumes nothing, and a request passes that window after the suggested wait.
    #[test]
    fn rejection_consumes_nothing_and_suggests_a_sufficient_wait(limits in limits(), visits in visits()) {
        paused(async {
            let quota = Quota::new(limits);
            for (wait, requests) in visits {
                advance(Duration::from_millis(wait)).await;
                for _ in 0..requests {
                    let before = quota.usage();
                    let Err(rejected) = quota.acquire() else { continue };
                    prop_assert_eq!(quota.usage(), before);
                    let retry_after = rejected.retry_after().unwrap();
                    prop_assert_eq!(rejected.usage().unwrap().remaining, 0);
                    prop_assert!(retry_after > Duration::ZERO);
                    // Tokio's paused clock advances by whole milliseconds.
                    advance(retry_after + Duration::from_millis(1)).await;
                    let again = quota.acquire().err().and_then(|rejected| rejected.kind());
                    prop_assert_ne!(again, rejected.kind());
                    prop_assert!(again != Some(LimitKind::Concurrency));
                }
            }
            Ok(())
        })?;
    }

    /// The remaining requests never exceed the limit, and only time increases them.
    #[test]
    fn remaining_requests_follow_from_consumption(n in 1..50_u32, takes in 0..60_u32, wait in 0..120_000_u64) {
        paused(async {
            let quota = Quota::new(Limits::new().per_minute(n));
            let taken = (0..takes).filter(|_| quota.acquire().is_ok()).count();
            let remaining = || quota.usage().get(Window::MINUTE).unwrap().remaining;
            prop_assert_eq!(remaining(), n - takes.min(n));
            prop_assert_eq!(taken, takes.min(n) as usize);
            let before = remaining();
            advance(Duration::from_millis(wait)).await;
            prop_assert!(remaining() >= before && remaining() <= n);
            let takes_now = std::iter::from_fn(|| quota.acquire().ok()).take(60).count();
            prop_assert!(takes_now >= before as usize);
            Ok(())
        })?;
    }
}
