//! The destination of a pool, and how requests address it.

use std::mem;

use http::{
    HeaderValue, Request, Uri,
    header::HOST,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};

use crate::{body::Buffered, error::Failure};

/// A scheme, a host and a port.
pub(super) struct Destination {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Destination {
    /// # Errors
    ///
    /// The host cannot be a header value.
    pub(super) fn new(scheme: &Scheme, authority: &Authority) -> Result<Self, Failure> {
        let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        let host = match authority.port_u16() {
            Some(port) if port != default => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        let host = HeaderValue::try_from(host).map_err(|error| Failure::Connect(error.into()))?;
        Ok(Self { scheme: scheme.clone(), authority: authority.clone(), host })
    }

    /// Whether it uses TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns an address at this destination.
    pub(super) fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// Addresses a request as HTTP/1 does: by the path alone, and the host in a header.
    pub(super) fn address_http1(&self, request: &mut Request<Buffered>) {
        let path = mem::take(request.uri_mut()).into_parts().path_and_query;
        // The default URI is a slash, which an empty path becomes in HTTP/1.
        *request.uri_mut() = path.filter(|path| path.as_str() != "/").map_or_else(Uri::default, Uri::from);
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
    }

    /// Addresses a request as HTTP/2 does: by the whole address, which a request that was addressed
    /// for HTTP/1 has lost.
    pub(super) fn address_http2(&self, request: &mut Request<Buffered>) {
        if request.uri().authority().is_none() {
            let path = mem::take(request.uri_mut()).into_parts().path_and_query;
            *request.uri_mut() = self.uri(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressed(uri: &str, address: impl Fn(&Destination, &mut Request<Buffered>)) -> Request<Buffered> {
        let uri: Uri = uri.parse().unwrap();
        let destination = Destination::new(uri.scheme().unwrap(), uri.authority().unwrap()).unwrap();
        let mut request = Request::new(Buffered::default());
        *request.uri_mut() = uri;
        address(&destination, &mut request);
        request
    }

    #[test]
    fn http1_gets_the_path_and_a_host_header() {
        for (uri, path, host) in [
            ("http://a.example", "/", "a.example"),
            ("http://a.example/", "/", "a.example"),
            ("http://a.example:80/v1?x=1", "/v1?x=1", "a.example"),
            ("http://a.example:443/v1", "/v1", "a.example:443"),
            ("https://a.example:443/v1", "/v1", "a.example"),
            ("https://a.example:80?x=1", "/?x=1", "a.example:80"),
            ("https://user:password@[::1]:8443/v1", "/v1", "[::1]:8443"),
        ] {
            let request = addressed(uri, Destination::address_http1);
            assert_eq!(
                (&*request.uri().to_string(), &request.headers()[HOST]),
                (path, &HeaderValue::from_static(host))
            );
        }
        let named = addressed("http://a.example/", |destination, request| {
            request.headers_mut().insert(HOST, HeaderValue::from_static("b.example"));
            destination.address_http1(request);
        });
        assert_eq!(named.headers()[HOST], "b.example", "an explicit host is kept");
    }

    #[test]
    fn http2_gets_the_whole_address_also_after_http1() {
        for uri in ["https://a.example/", "https://a.example:8443/v1?x=1"] {
            assert_eq!(addressed(uri, Destination::address_http2).uri(), uri);
            let both = addressed(uri, |destination, request| {
                destination.address_http1(request);
                destination.address_http2(request);
            });
            assert_eq!(both.uri(), uri);
        }
    }
}
