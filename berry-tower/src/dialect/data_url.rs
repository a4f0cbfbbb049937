//! Media inside a URL: `data:image/png;base64,…`.

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
}

#[cfg(test)]
mod tests {
    use super::DataUrl;

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
