//! What a verdict or a policy may depend on.

use http::{Extensions, Method, Request, Uri, request};

use crate::endpoint::Endpoint;

/// The facts of a request that a verdict or a policy may depend on.
///
/// It is cheap to make and to clone: nothing of the request is copied.
///
/// ```
/// use berry_tower::{classify::RequestFacts, endpoint::Endpoint};
/// use http::{Method, Request};
///
/// let request = Request::post("/v1/embeddings").body(()).unwrap();
/// let facts = RequestFacts::from_request(&request);
/// assert_eq!((facts.method(), facts.path()), (&Method::POST, "/v1/embeddings"));
/// assert_eq!((facts.endpoint(), facts.is_stream()), (Some(Endpoint::Embeddings), false));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestFacts {
    method: Method,
    uri: Uri,
    endpoint: Option<Endpoint>,
    is_stream: bool,
}

impl RequestFacts {
    /// Returns the facts of a request with this method and URI whose response is not a stream.
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Self {
        let endpoint = Endpoint::from_path(uri.path());
        Self { method, uri, endpoint, is_stream: false }
    }

    /// Returns the facts of `request`.
    ///
    /// With the feature `inspect`, the endpoint and whether a stream is asked for come from the
    /// `Requested` in its extensions.
    #[must_use]
    pub fn from_request<B>(request: &Request<B>) -> Self {
        Self::read(request.method(), request.uri(), request.extensions())
    }

    /// Returns the facts of the request with this head; see [`from_request`](Self::from_request).
    #[must_use]
    pub fn from_parts(head: &request::Parts) -> Self {
        Self::read(&head.method, &head.uri, &head.extensions)
    }

    #[cfg(feature = "inspect")]
    fn read(method: &Method, uri: &Uri, extensions: &Extensions) -> Self {
        let (method, uri) = (method.clone(), uri.clone());
        let Some(requested) = extensions.get::<crate::inspect::Requested>() else { return Self::new(method, uri) };
        let endpoint = requested.endpoint;
        let is_stream = requested.stream && endpoint.is_some_and(Endpoint::streams);
        Self { method, uri, endpoint, is_stream }
    }

    #[cfg(not(feature = "inspect"))]
    fn read(method: &Method, uri: &Uri, _: &Extensions) -> Self {
        Self::new(method.clone(), uri.clone())
    }

    /// Sets the endpoint.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: Option<Endpoint>) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// Sets whether the response is to be a stream.
    #[must_use]
    pub fn with_stream(mut self, is_stream: bool) -> Self {
        self.is_stream = is_stream;
        self
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The URI, as the layer that made these facts received it.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The path of the URI.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The endpoint of a model API that the path names, if it names one.
    #[must_use]
    pub const fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Whether the response is to be a stream of events.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        self.is_stream
    }
}
