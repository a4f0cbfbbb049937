//! The trace that a request belongs to, as W3C Trace Context carries it in `traceparent`.
//!
//! The application puts a [`TraceContext`] into a request's extensions: the trace, and the span that stands for the
//! request. [`BackendClient`](https://docs.rs/berry-tower) writes it to `traceparent` for providers with
//! `with_propagate_trace`, with the span of the attempt in place of the request's.
//!
//! ```
//! use berry_tower::trace_context::TraceContext;
//! use http::HeaderValue;
//!
//! let header = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
//! let parent = TraceContext::parse(&header).unwrap();
//! assert!(parent.is_sampled());
//! assert_eq!(parent.header_value(), header);
//!
//! let request = parent.child(7).unwrap();
//! assert_eq!(request.header_value(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000007-01");
//! assert_ne!(request.of_attempt(1).span_id(), request.of_attempt(2).span_id());
//! ```

use http::HeaderValue;

/// The bit of `trace-flags` that says that the caller records the trace.
const SAMPLED: u8 = 1;
/// The length of a version 00 header.
const LENGTH: usize = 55;

/// A trace and one of its spans; an extension of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// Returns the context of a span; `None` if an id is 0, which the standard forbids.
    #[must_use]
    pub const fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        if trace_id == 0 || span_id == 0 { None } else { Some(Self { trace_id, span_id, sampled }) }
    }

    /// Reads a `traceparent` header. Versions after 00 are read by the fields that they share with it.
    #[must_use]
    pub fn parse(header: &HeaderValue) -> Option<Self> {
        let text = header.to_str().ok()?;
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let version = text.get(..2).filter(|version| is_hex(version) && *version != "ff")?;
        let may_be_longer = version != "00" && text.as_bytes().get(LENGTH) == Some(&b'-');
        if text.len() != LENGTH && !may_be_longer {
            return None;
        }
        let mut fields = text.get(3..LENGTH)?.split('-');
        let mut field = |length| fields.next().filter(|field| field.len() == length && is_hex(field));
        let (trace_id, span_id, flags) = (field(32)?, field(16)?, field(2)?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let is_separated = text.as_bytes().get(2) == Some(&b'-');
        let ids = (u128::from_str_radix(trace_id, 16).ok()?, u64::from_str_radix(span_id, 16).ok()?);
        Self::new(ids.0, ids.1, flags & SAMPLED != 0).filter(|_| is_separated)
    }

    /// Returns the context of another span of the same trace; `None` if the id is 0.
    #[must_use]
    pub const fn child(self, span_id: u64) -> Option<Self> {
        Self::new(self.trace_id, span_id, self.sampled)
    }

    /// Returns the context of the span of an attempt, counted from 1.
    ///
    /// Its id follows from the request's span and the number, so that whoever sends the attempt and whoever records it
    /// need not tell each other.
    #[must_use]
    pub const fn of_attempt(self, number: u32) -> Self {
        // The finalizer of SplitMix64, which has no two inputs with the same output.
        let mut id = self.span_id.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        id ^= id >> 31;
        Self { span_id: if id == 0 { 1 } else { id }, ..self }
    }

    /// The id of the trace.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the span.
    #[must_use]
    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.sampled
    }

    /// Returns the value of `traceparent`.
    #[must_use]
    pub fn header_value(self) -> HeaderValue {
        let flags = u8::from(self.sampled) * SAMPLED;
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id);
        // Hex digits and dashes are valid in a header.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<TraceContext> {
        TraceContext::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn reads_valid_headers() {
        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert_eq!(
            (context.trace_id(), context.span_id()),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
        );
        assert!(!context.is_sampled());
        // Other flags are ignored, and a later version may have more fields.
        assert!(parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03").unwrap().is_sampled());
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").unwrap().is_sampled());
    }

    #[test]
    fn rejects_invalid_headers() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c1-7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn attempts_have_different_spans_of_one_trace() {
        let request = TraceContext::new(1, 2, true).unwrap();
        let spans: std::collections::BTreeSet<u64> = (1..=100).map(|n| request.of_attempt(n).span_id()).collect();
        assert_eq!(spans.len(), 100);
        assert_eq!(request.of_attempt(3).trace_id(), 1);
        assert_eq!(request.of_attempt(3), request.of_attempt(3));
    }
}
