//! Who is calling: the trait, and how a token is read from headers.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use crate::render::Refusal;

/// Finds out who is calling.
///
/// Implement it for a look-up that waits (a database, a token introspection), or hand
/// [`AuthLayer`](super::AuthLayer) a closure from headers to identity for one that does not.
pub trait Authenticate {
    /// Who is calling; it is put into the request's extensions.
    type Identity: Clone + Send + Sync + 'static;

    /// The caller's identity, or why there is none.
    fn authenticate(&self, headers: &HeaderMap) -> impl Future<Output = Result<Self::Identity, Rejection>> + Send;

    /// The same answer where it needs no waiting; this spares the request a boxed future.
    fn authenticate_now(&self, _headers: &HeaderMap) -> Option<Result<Self::Identity, Rejection>> {
        None
    }

    /// The headers that hold secrets. They are taken out of a request once it is accepted, so that
    /// a token cannot travel on.
    fn secret_headers(&self) -> &[HeaderName] {
        static AUTHORIZATION_ALONE: [HeaderName; 1] = [AUTHORIZATION];
        &AUTHORIZATION_ALONE
    }
}

impl<F, I> Authenticate for F
where
    F: Fn(&HeaderMap) -> Result<I, Rejection> + Sync,
    I: Clone + Send + Sync + 'static,
{
    type Identity = I;

    fn authenticate(&self, headers: &HeaderMap) -> impl Future<Output = Result<I, Rejection>> + Send {
        std::future::ready(self(headers))
    }

    fn authenticate_now(&self, headers: &HeaderMap) -> Option<Result<I, Rejection>> {
        Some(self(headers))
    }
}

/// Why a caller was not let in.
#[derive(Clone, Debug)]
pub enum Rejection {
    /// No token, an unknown one, or one that no longer counts. The client is told the same words
    /// in each case, so that nobody can probe which tokens exist.
    InvalidToken,
    /// Something else, told as it is: a look-up that failed is better a 503 than a 401.
    Other(Box<Refusal>),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Other(Box::new(refusal))
    }
}

/// The token of an `Authorization: Bearer` header; none if the header is missing, doubled or of
/// another scheme.
///
/// ```
/// use berry_tower::auth::bearer;
/// use http::{HeaderMap, header::AUTHORIZATION};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, "bearer abc".parse().unwrap());
/// assert_eq!(bearer(&headers), Some(&b"abc"[..]));
/// headers.append(AUTHORIZATION, "Bearer def".parse().unwrap());
/// assert_eq!(bearer(&headers), None);
/// ```
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = single(headers, &AUTHORIZATION)?;
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}

/// The value of a header that occurs exactly once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}
