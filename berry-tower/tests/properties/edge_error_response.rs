//! `ErrorResponse`: every failure has a correct status, and no secret reaches the client.

use berry_tower::{
    classify::{Class, ErrorBody},
    error::Exhausted,
    error_response::refusal_for,
};
use http::StatusCode;
use proptest::{option, prelude::*};
use std::time::Duration;

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![
        Class::ClientError,
        Class::TooLong,
        Class::EndpointNotServed,
        Class::Auth,
        Class::RateLimited { retry_after: None },
        Class::Model,
        Class::Server,
        Class::Timeout,
        Class::Network,
        Class::Cancelled,
    ])
}

fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        any::<String>(),
        "[a-z]{1,8}".prop_map(|w| format!("https://{w}.example/v1?key={w}")),
        "[A-Za-z0-9]{16,40}".prop_map(|w| format!("sk-{w}")),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn errors_have_a_correct_status_and_no_secret(
        class in class(),
        status in option::of(300..600_u16),
        message in option::of(text()),
        reason in text(),
        attempts in 0..9_u32,
        seconds in 0..20_u64,
    ) {
        let error = message.map(|message| ErrorBody::default().with_message(message));
        let status = status.map(|s| StatusCode::from_u16(s).unwrap());
        let refusal = refusal_for(
            &Exhausted::new(class, reason, attempts)
                .with_status(status)
                .with_error(error)
                .with_elapsed(Duration::from_secs(seconds)),
        );
        prop_assert!(refusal.status.is_client_error() || refusal.status.is_server_error());
        prop_assert!(!refusal.message.contains("://") && !refusal.message.contains(" sk-"), "{}", refusal.message);
        prop_assert!(!refusal.message.starts_with("sk-"));
        prop_assert!(refusal.message.len() < 1_200);
        // A rejected key of the gateway must not look like a rejected key of the caller.
        prop_assert!(class != Class::Auth || refusal.status == 502);
        let is_gateway_error = matches!(refusal.status.as_u16(), 502 | 504);
        prop_assert_eq!(refusal.headers.contains_key("x-should-retry"), is_gateway_error && seconds >= 10);
        prop_assert!(!is_gateway_error || seconds >= 10 || refusal.headers.contains_key("retry-after"));
    }
}
