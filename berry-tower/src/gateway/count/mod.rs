//! Counts the tokens of a prompt without a model's answer to it.

mod question;

use std::{
    collections::HashSet,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::{Instant, timeout};
use tower_layer::Layer;
use tower_service::Service;

use self::question::{Front, Question};
use super::{
    edge::edge,
    settings::{FindTags, Settings, Values},
};
use crate::{
    auth::Authenticate,
    backend::{Backend, Catalog, Model},
    body::Buffered,
    client::{Upstream, upstream_headers},
    error::{BoxError, Unroutable},
    gate::Mode,
    inspect::{InspectLayer, Requested},
    offload::{is_large, offload},
    permission::{Allow, ModelPermissionLayer},
    rate_limit::Limit,
    render::Render,
    select::{
        TagPolicy,
        candidates::{SelectionContext, eligibility, shares_tags},
    },
};

/// The header of a count that is an estimate.
const ESTIMATED: HeaderName = HeaderName::from_static("x-berry-estimated");
/// The header with the backend that counted.
const BACKEND: HeaderName = HeaderName::from_static("x-berry-backend");
/// The time that a backend has for a count.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of backends that one request asks.
const MOST_ASKED: usize = 3;
/// The longest response with a count, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// Returns a service that counts the tokens of a prompt, for the paths that end in
/// `/messages/count_tokens` (Anthropic's) and `/responses/input_tokens` (OpenAI's).
///
/// It asks a backend of the model that has such an endpoint, in the backend's own format. Where none has,
/// or none answers, the count is an estimate: a third of the body's bytes, rounded up, which includes tools
/// and schemas, and the response has the header `x-berry-estimated: true`. A count uses one request of the
/// caller's limit, changes no backend's state, and is never repeated.
///
/// ```
/// use berry_tower::{
///     auth::{ApiKey, ApiKeys},
///     backend::{Backend, Catalog, Model, Provider, strategy::Random},
///     gateway::{Settings, counter},
///     rate_limit::{Limits, PerKey},
/// };
/// use http::{Request, request::Parts};
/// use http_body_util::{BodyExt, Full};
/// use std::sync::Arc;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let provider = Arc::new(Provider::new("local", "http://127.0.0.1:9").unwrap());
/// let catalog = Catalog::new([Model::new("llama", Arc::new(Random), [Backend::new(provider, "llama-70b")])]).unwrap();
/// let keys = ApiKeys::new([ApiKey::from_token("a-token-of-mine", "me")]);
/// let limit = PerKey::new(Limits::new().per_minute(60), |head: &Parts| head.extensions.get::<&str>().copied());
/// let service = counter(Settings::new(catalog), keys, limit, |_: &&str, _: &str| true);
///
/// let request = Request::post("/v1/messages/count_tokens").header("x-api-key", "a-token-of-mine");
/// let body = r#"{"model":"llama","messages":[{"role":"user","content":"hi"}]}"#;
/// let response = service.oneshot(request.body(Full::<bytes::Bytes>::from(body)).unwrap()).await.unwrap();
/// assert_eq!(response.headers()["x-berry-estimated"], "true");
/// let count = response.into_body().collect().await.map_err(drop).unwrap().to_bytes();
/// assert_eq!(count, r#"{"input_tokens":21}"#);
/// # }
/// ```
pub fn counter<A, L, M, R, T, P, C, B, U, MA, ML>(
    settings: Settings<R, T, P, C>,
    auth: A,
    limit: L,
    allow: M,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = Bytes, Error = BoxError> + Default + Send + 'static>,
    Error = Infallible,
    Future: Future<Output: Send> + Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static
where
    A: Authenticate<MA> + Clone + Send + Sync + 'static,
    L: Limit<ML> + Clone + Send + Sync + 'static,
    MA: Mode,
    ML: Mode,
    M: Allow<A::Identity> + Clone + Send + Sync + 'static,
    R: Render + Clone + Send + Sync + 'static,
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError> + Send,
{
    let Settings { transport, render, values, .. } = settings;
    let Values { catalog, collect, tags, tag_policy, .. } = values;
    let service = CountTokens { transport, catalog, tags, tag_policy, unable: Arc::default() };
    let service = ModelPermissionLayer::new(allow).render(render.clone()).layer(service);
    let service = InspectLayer::new().render(render.clone()).layer(service);
    let service = collect.render(render.clone()).layer(service);
    edge(service, auth, limit, render)
}

/// The providers that are known to have no endpoint that counts, by id.
type Unable = ArcSwap<HashSet<Arc<str>>>;

/// Asks the backends of a model for a count, or estimates it.
#[derive(Clone)]
struct CountTokens<T> {
    transport: T,
    catalog: Catalog,
    tags: Arc<FindTags>,
    tag_policy: TagPolicy,
    unable: Arc<Unable>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, BoxError>> + Send>>;

impl<T, U> Service<Request<Buffered>> for CountTokens<T>
where
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // A clone of the transport is made ready when it is used.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Buffered>) -> Answer {
        let service = self.clone();
        Box::pin(service.count(request))
    }
}

impl<T, U> CountTokens<T>
where
    T: Service<Request<Buffered>, Response = Response<U>, Error: Into<BoxError>, Future: Send>,
    T: Clone + Send + Sync + 'static,
    U: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn count(self, request: Request<Buffered>) -> Result<Response<Full<Bytes>>, BoxError> {
        let front = Front::from_path(request.uri().path()).ok_or(Unroutable::UnsupportedEndpoint)?;
        let model = request.extensions().get::<Requested>().map(|requested| requested.model.clone());
        let catalog = self.catalog.load();
        let model = model.and_then(|name| catalog.find(&name)).filter(|model| model.is_enabled()).cloned();
        let model = model.ok_or(Unroutable::UnknownModel)?;
        for backend in self.backends(&model, &request)?.into_iter().take(MOST_ASKED) {
            let Some(question) = question(front, &request, &backend).await else { continue };
            match timeout(PATIENCE, self.ask(&request, &backend, &question)).await {
                Ok(Asked::Counted(tokens)) => return Ok(response(front, tokens, Some(&backend))),
                Ok(Asked::Unknown) => {
                    self.unable.rcu(|unable| {
                        let mut unable = HashSet::clone(unable);
                        unable.insert(backend.provider().id().clone());
                        unable
                    });
                }
                Ok(Asked::Failed) | Err(_) => {}
            }
        }
        Ok(response(front, estimate(request.body().bytes()), None))
    }

    /// Returns the backends that the caller may use and that can be asked, the preferred first.
    fn backends(&self, model: &Model, request: &Request<Buffered>) -> Result<Vec<Arc<Backend>>, Unroutable> {
        let tags = (self.tags)(request.extensions());
        let context = SelectionContext::default().with_tags(tags).with_tag_policy(self.tag_policy);
        let allowed = |backend: &&Arc<Backend>| shares_tags(backend, &context);
        let allowed: Vec<_> = model.backends().iter().filter(allowed).collect();
        if allowed.is_empty() {
            return Err(Unroutable::NoBackendForUser);
        }
        let (now, unable) = (Instant::now(), self.unable.load());
        let can = |backend: &&&Arc<Backend>| {
            eligibility(backend, &backend.state().view(now), &context).is_eligible()
                && !unable.contains(backend.provider().id())
        };
        let mut all: Vec<_> = allowed.iter().filter(can).map(|backend| Arc::clone(backend)).collect();
        all.sort_by_key(|backend| (!backend.state().is_healthy(), backend.priority()));
        Ok(all)
    }

    async fn ask(&self, client: &Request<Buffered>, backend: &Backend, question: &Question) -> Asked {
        let mut transport = self.transport.clone();
        let provider = backend.provider();
        let mut request = Request::post(question.uri.clone());
        if let Some(headers) = request.headers_mut() {
            *headers = upstream_headers(client.headers(), provider);
        }
        let Ok(mut request) = request.body(client.body().replaced_by(question.body.clone())) else {
            return Asked::Failed;
        };
        let upstream = Upstream::new(provider.timeouts().connect()).with_max_connections(provider.max_connections());
        request.extensions_mut().insert(upstream.with_head_due(Instant::now() + PATIENCE));
        if poll_fn(|cx| transport.poll_ready(cx)).await.is_err() {
            return Asked::Failed;
        }
        let Ok(response) = transport.call(request).await else { return Asked::Failed };
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Asked::Unknown,
            status if status.is_success() => {
                let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
                let count = body.ok().and_then(|body| question::read(&body.to_bytes()));
                count.map_or(Asked::Failed, Asked::Counted)
            }
            _ => Asked::Failed,
        }
    }
}

/// What a backend said.
enum Asked {
    Counted(u64),
    /// There is no such endpoint.
    Unknown,
    Failed,
}

/// Returns the question for a backend. A large body is translated outside of the runtime's workers.
async fn question(front: Front, request: &Request<Buffered>, backend: &Arc<Backend>) -> Option<Question> {
    let requested = request.extensions().get::<Requested>()?.clone();
    let (body, backend) = (request.body().bytes().clone(), backend.clone());
    let is_large = is_large(body.len());
    let write = move || Question::new(front, &requested, &body, &backend);
    if is_large { offload(write).await } else { write() }
}

/// A third of the bytes: no tokenizer makes more tokens of text that people or programs write.
fn estimate(body: &[u8]) -> u64 {
    (body.len() as u64).div_ceil(3)
}

fn response(front: Front, tokens: u64, backend: Option<&Backend>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(front.body(tokens)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match backend {
        None => {
            headers.insert(ESTIMATED, HeaderValue::from_static("true"));
        }
        Some(backend) => {
            let id = backend.id();
            if let Ok(name) = HeaderValue::try_from(format!("{}:{}", id.provider, id.model)) {
                headers.insert(BACKEND, name);
            }
        }
    }
    response
}
