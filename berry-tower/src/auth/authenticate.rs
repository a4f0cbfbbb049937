//! The trait that identifies callers, and the reading of tokens from headers.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts};

use super::{Deferred, Immediate};
use crate::render::Refusal;

/// Identifies the caller of a request.
///
/// Implement it for a look-up that waits, such as a database or token introspection. It sees the
/// whole head: method, path, headers, and in the extensions whatever the server put there, such as
/// the client's certificate. [`ApiKeys`](super::ApiKeys) is an implementation that does not wait.
///
/// Two kinds of closure are authenticators, too: `Fn(&Parts) -> Result<I, Rejection>`, and a
/// closure that returns a future of that result. Such a future cannot borrow from the head, so an
/// `async` closure does not fit: read what is needed first, then return an `async move` block.
///
/// ```
/// use berry_tower::auth::{Authenticate, Rejection, bearer};
/// use http::request::Parts;
///
/// # #[derive(Clone)] struct User;
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { async fn user_of(&self, _: &[u8]) -> Option<User> { Some(User) } }
/// #[derive(Clone)]
/// struct Sessions(Pool);
///
/// impl Authenticate for Sessions {
///     type Identity = User;
///
///     async fn authenticate(&self, head: &Parts) -> Result<User, Rejection> {
///         let token = bearer(&head.headers).ok_or(Rejection::InvalidToken)?;
///         self.0.user_of(token).await.ok_or(Rejection::InvalidToken)
///     }
/// }
/// ```
///
/// [`AuthLayer`](super::AuthLayer) clones it for each service that it makes: what cannot be cloned goes into an `Arc` inside.
///
/// The type parameter says whether the future may wait. An implementation of
/// `Authenticate<Immediate>` promises that its future is ready at the first poll; a request for
/// which it is not is refused with a 500. In return [`Auth`](super::Auth) needs no `Clone` of the
/// inner service and allocates nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not identify callers",
    note = "implement `Authenticate`, or pass a closure `|head: &http::request::Parts| -> Result<Identity, Rejection>`"
)]
pub trait Authenticate<M = Deferred> {
    /// The caller's identity, which is put into the request's extensions.
    type Identity: Clone + Send + Sync + 'static;

    /// Returns the caller's identity, or the reason why the request is rejected.
    fn authenticate(&self, head: &Parts) -> impl Future<Output = Result<Self::Identity, Rejection>> + Send;

    /// Returns the headers that hold secrets. They are removed from an accepted request, so that a
    /// token cannot travel on. Default: `authorization`.
    fn secret_headers(&self) -> &[HeaderName] {
        static AUTHORIZATION_ONLY: [HeaderName; 1] = [AUTHORIZATION];
        &AUTHORIZATION_ONLY
    }
}

impl<F, I> Authenticate<Immediate> for F
where
    F: Fn(&Parts) -> Result<I, Rejection>,
    I: Clone + Send + Sync + 'static,
{
    type Identity = I;

    fn authenticate(&self, head: &Parts) -> impl Future<Output = Result<I, Rejection>> + Send {
        std::future::ready(self(head))
    }
}

impl<F, I, T> Authenticate<Deferred> for F
where
    F: Fn(&Parts) -> T,
    T: Future<Output = Result<I, Rejection>> + Send,
    I: Clone + Send + Sync + 'static,
{
    type Identity = I;

    fn authenticate(&self, head: &Parts) -> impl Future<Output = Result<I, Rejection>> + Send {
        self(head)
    }
}

/// The reason why a request is rejected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// The token is missing, unknown, disabled or expired. The client receives the same words in
    /// each case, so that a caller cannot probe which tokens exist.
    InvalidToken,
    /// Another refusal, sent as it is. For example, a look-up that failed should be a 503 rather
    /// than a 401.
    Refused(Box<Refusal>),
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// Returns the token of an `Authorization: Bearer` header, or `None` if the header is missing,
/// repeated or of another scheme.
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

/// Returns the value of a header that occurs exactly once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}
