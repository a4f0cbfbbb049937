//! `RateLimit`: the promises of a quota, for any limits and any times of asking.

use std::{sync::Arc, time::Duration};

use berry_tower::rate_limit::{Exceeded, LimitKind, Limits, Quota};
use proptest::prelude::*;
use tokio::time::{Instant, advance};

fn paused<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn limits() -> impl Strategy<Value = Limits> {
    (0..20_u32, 0..40_u32, 0..60_u32).prop_map(|(m, h, d)| Limits::new().per_minute(m).per_hour(h).per_day(d))
}

/// Waits in milliseconds, short and long ones mixed, each followed by some requests.
fn visits() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let wait = prop_oneof![Just(0), 0..2_000_u64, 0..120_000_u64, 0..7_200_000_u64];
    prop::collection::vec((wait, 1..8_usize), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// No window, wherever it is laid, lets more than 2N − 1 pass, and no moment more than N.
    #[test]
    fn no_window_lets_too_many_pass(limits in limits(), visits in visits()) {
        let passed = paused(async {
            let (quota, start) = (Arc::new(Quota::new(limits)), Instant::now());
            let mut passed = Vec::new();
            for (wait, requests) in visits {
                advance(Duration::from_millis(wait)).await;
                passed.extend((0..requests).filter(|_| quota.take().is_ok()).map(|_| start.elapsed()));
            }
            passed
        });
        for (n, seconds) in [(limits.per_minute, 60), (limits.per_hour, 3_600), (limits.per_day, 86_400)] {
            if n == 0 { continue }
            for (i, from) in passed.iter().enumerate() {
                let until = *from + Duration::from_secs(seconds);
                let in_window = passed[i..].iter().filter(|at| **at < until).count();
                prop_assert!(in_window < 2 * n as usize, "{in_window} of {n} in {seconds} s");
                let at_once = passed[i..].iter().filter(|at| *at == from).count();
                prop_assert!(at_once <= n as usize);
            }
        }
    }

    /// A refusal spends nothing; who waits as long as it says, passes that window.
    #[test]
    fn a_refusal_is_free_and_its_wait_is_true(limits in limits(), visits in visits()) {
        paused(async {
            let quota = Arc::new(Quota::new(limits));
            for (wait, requests) in visits {
                advance(Duration::from_millis(wait)).await;
                for _ in 0..requests {
                    let before = quota.snapshot(Instant::now());
                    let Err(refused) = quota.take() else { continue };
                    prop_assert_eq!(quota.snapshot(Instant::now()), before);
                    let Exceeded::Limit { limited, retry_after, usage } = refused else { unreachable!() };
                    prop_assert_eq!(usage.unwrap().remaining, 0);
                    prop_assert!(retry_after > Duration::ZERO);
                    // Tokio's paused clock moves by whole milliseconds.
                    advance(retry_after + Duration::from_millis(1)).await;
                    let again = match quota.take() {
                        Err(Exceeded::Limit { limited, .. }) => Some(limited),
                        _ => None,
                    };
                    prop_assert_ne!(again, Some(limited));
                    prop_assert!(again != Some(LimitKind::Concurrency));
                }
            }
            Ok(())
        })?;
    }

    /// What is left never exceeds the limit, and only time makes it grow.
    #[test]
    fn what_is_left_follows_from_what_was_taken(n in 1..50_u32, takes in 0..60_u32, wait in 0..120_000_u64) {
        paused(async {
            let quota = Arc::new(Quota::new(Limits::new().per_minute(n)));
            let taken = (0..takes).filter(|_| quota.take().is_ok()).count();
            let left = || quota.snapshot(Instant::now()).minute.unwrap().remaining;
            prop_assert_eq!(left(), n - takes.min(n));
            prop_assert_eq!(taken, takes.min(n) as usize);
            let before = left();
            advance(Duration::from_millis(wait)).await;
            prop_assert!(left() >= before && left() <= n);
            let takes_now = std::iter::from_fn(|| quota.take().ok()).take(60).count();
            prop_assert!(takes_now >= before as usize);
            Ok(())
        })?;
    }
}
