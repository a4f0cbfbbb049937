//! Which codings of a body are supported.

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

/// The value of `Accept-Encoding` on a rejection.
pub(super) const SUPPORTED: HeaderValue =
    HeaderValue::from_static(if cfg!(feature = "decompress") { "gzip, deflate, br, zstd" } else { "identity" });

/// A coding that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "decompress"), allow(dead_code, reason = "without a decoder none is ever made"))]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// A coding, or a list of codings, that is not supported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported;

impl Coding {
    /// Returns the coding that a body has; `None` if it has none.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Unsupported> {
        let mut coding = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                // Nobody compresses twice, but each step could multiply the size.
                if coding.replace(Self::parse(name).ok_or(Unsupported)?).is_some() {
                    return Err(Unsupported);
                }
            }
        }
        Ok(coding)
    }

    fn parse(name: &[u8]) -> Option<Self> {
        if !cfg!(feature = "decompress") {
            return None;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        Some(match () {
            () if is("gzip") || is("x-gzip") => Self::Gzip,
            () if is("deflate") => Self::Deflate,
            () if is("br") => Self::Brotli,
            () if is("zstd") => Self::Zstd,
            () => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&'static str]) -> Result<Option<Coding>, Unsupported> {
        let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
        Coding::of(&values.collect())
    }

    #[test]
    fn reads_the_header() {
        for plain in [&[][..], &[""], &["identity"], &["Identity, identity", ""]] {
            assert_eq!(of(plain), Ok(None), "{plain:?}");
        }
        for unsupported in [&["compress"][..], &["gzip, br"], &["gzip", "gzip"]] {
            assert_eq!(of(unsupported), Err(Unsupported), "{unsupported:?}");
        }
        if cfg!(feature = "decompress") {
            assert_eq!(of(&["GZip, identity"]), Ok(Some(Coding::Gzip)));
            assert_eq!(of(&["br"]), Ok(Some(Coding::Brotli)));
        }
    }
}
