//! Media inside a URL: `data:image/png;base64,…`.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A `data:` URL in base64, with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataUrl<'a> {
    /// `image/png`, without parameters.
    pub(crate) mime_type: &'a str,
    /// Base64, as it stands there.
    pub(crate) data: &'a str,
}

impl<'a> DataUrl<'a> {
    /// Reads one; none for any other URL, and for one in another encoding or without a type.
    pub(crate) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_at_checked(5)?;
        let (head, data) = rest.split_once(',')?;
        let (kind, encoding) = head.rsplit_once(';')?;
        let mime_type = kind.split(';').next()?.trim();
        let good = scheme.eq_ignore_ascii_case("data:")
            && encoding.trim().eq_ignore_ascii_case("base64")
            && mime_type.contains('/');
        good.then_some(Self { mime_type, data })
    }

    /// Returns the text of a file whose type is one of text; `None` for any other.
    pub(crate) fn text(&self) -> Option<String> {
        const LENIENT: GeneralPurpose = GeneralPurpose::new(
            &alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let kind = self.mime_type.to_ascii_lowercase();
        let is_text = kind.starts_with("text/")
            || matches!(&*kind, "application/json" | "application/xml" | "application/yaml" | "application/javascript");
        if !is_text {
            return None;
        }
        String::from_utf8(LENIENT.decode(self.data).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::DataUrl;

    #[test]
    fn only_text_is_read_as_text() {
        let text = |url: &str| DataUrl::parse(url).unwrap().text();
        for url in ["data:text/plain;base64,aGVsbG8=", "data:TEXT/csv;charset=utf-8;base64,aGVsbG8"] {
            assert_eq!(text(url).as_deref(), Some("hello"));
        }
        for not in ["data:image/png;base64,aGVsbG8=", "data:text/plain;base64,/w==", "data:text/plain;base64,!"] {
            assert_eq!(text(not), None, "{not}");
        }
    }

    #[test]
    fn only_typed_base64_is_read() {
        let png = Some(DataUrl { mime_type: "image/png", data: "AAAA" });
        assert_eq!(DataUrl::parse("data:image/png;base64,AAAA"), png);
        assert_eq!(DataUrl::parse("DATA:image/png;name=a;BASE64,AAAA"), png);
        for not in
            ["", "data:", "datä:x", "data:,x", "data:image/png,AAAA", "data:;base64,AAAA", "https://a/b;base64,c"]
        {
            assert_eq!(DataUrl::parse(not), None, "{not}");
        }
    }
}
