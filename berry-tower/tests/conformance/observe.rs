//! Observers: each attempt, retry and change is told exactly once, however it ends.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use berry_tower::{
    backend::{Backend, BackendId, Catalog, HealthChange, Model, Provider, Stage, Tuning},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer, Transition},
    classify::{Class, ModelApiVerdict},
    client::BackendClient,
    commit::CommitLayer,
    inspect::Requested,
    observe::{AttemptEnd, BackendObserver, Cause, Observer},
    progress::Usage,
    retry::{BackoffPolicy, RetryLayer},
    select::{SelectLayer, SelectedBreaker, strategy::RoundRobin},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::sleep;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// What an observer was told, in words.
#[derive(Clone, Debug)]
struct Notes(mpsc::Sender<String>);

#[derive(Debug)]
struct Of(Notes, BackendId);

impl Of {
    fn note(&self, text: &str) {
        self.0.0.send(format!("{} {text}", self.1.model)).unwrap();
    }
}

impl Observer for Notes {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(Of(self.clone(), id.clone()))
    }
}

impl BackendObserver for Of {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        let AttemptEnd { number, model, class, status, head_after, first_token_after, elapsed, usage, .. } = attempt;
        assert_eq!((attempt.backend, attempt.request_id.unwrap().as_bytes()), (&self.1, &b"r1"[..]));
        let status = status.map_or(0, |status| status.as_u16());
        let seconds = |time: &Option<Duration>| time.map_or(-1, |time| i64::try_from(time.as_secs()).unwrap());
        let times = [seconds(head_after), seconds(first_token_after), seconds(&Some(*elapsed))];
        let output = usage.map_or(0, |Usage { output, .. }| output);
        self.note(&format!("{model}#{number} {} {status} {times:?} {output}", class.name()));
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        self.note(&format!("retries {model} after {}", reason.name()));
    }

    fn health_changed(&self, HealthChange { from, to }: HealthChange, cause: Cause) {
        self.note(&format!("{} -> {} by {cause:?}", from.name(), to.name()));
    }

    fn breaker_changed(&self, Transition { from, to }: Transition) {
        self.note(&format!("{} -> {}", from.name(), to.name()));
    }
}

/// The head after a second; then tokens, a second apart. The model `bad` answers with a 500.
fn upstream(request: &Request<Buffered>) -> (u16, &'static str) {
    match std::str::from_utf8(request.body().bytes()).unwrap() {
        body if body.contains(r#""bad""#) => (500, "application/json"),
        body if body.contains("true") => (200, "text/event-stream"),
        _ => (200, "application/json"),
    }
}

fn network(
    request: &Request<Buffered>,
) -> impl Future<Output = Result<Response<impl Body<Data = Bytes, Error = BoxError> + Send + use<>>, BoxError>> + Send + use<>
{
    let (status, media) = upstream(request);
    let texts: &[&str] = match (status, media) {
        (200, "text/event-stream") => &[
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
        ],
        (200, _) => &[r#"{"choices":[{}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#],
        _ => &[r#"{"error":{"message":"no"}}"#],
    };
    let frames = stream::iter(texts).then(|text| async {
        sleep(Duration::from_secs(1)).await;
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    });
    async move {
        sleep(Duration::from_secs(1)).await;
        Ok(Response::builder().status(status).header("content-type", media).body(StreamBody::new(frames)).unwrap())
    }
}

/// A gateway's inner half over these backends of one provider, and what its observers are told.
fn observed(
    backends: &[&str],
) -> (
    impl Service<Request<Buffered>, Response = Response<impl Body<Data = Bytes, Error = BoxError>>, Error = BoxError>
    + Clone,
    impl Fn() -> Vec<String>,
    Catalog,
) {
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    let backends = backends.iter().map(|model| Backend::new(provider.clone(), *model));
    let model = Model::new("m", Arc::new(RoundRobin::default()), backends);
    let (notes, told) = mpsc::channel();
    let twice: Vec<Arc<dyn Observer>> = vec![Arc::new(Notes(notes)), Arc::new(Vec::new())];
    let policy = BreakerPolicy::new().with_failure_threshold(1);
    let tuning = Tuning { breaker: policy, ..Tuning::default() };
    let catalog = Catalog::tuned([model], &tuning).observed_by(Arc::new(twice));
    let breaker = CircuitBreakerLayer::new(policy).find(SelectedBreaker).classify(ModelApiVerdict);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(BackoffPolicy::new()).classify(ModelApiVerdict))
        .layer(CommitLayer)
        .layer(SelectLayer::new(catalog.clone()))
        .layer(breaker)
        .service(BackendClient::new(service_fn(|request| network(&request))));
    (service, move || told.try_iter().collect(), catalog)
}

fn asked(body: &'static str) -> Request<Buffered> {
    let body = Buffered::from(body);
    let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
    Request::post("/v1/chat/completions").header("x-request-id", "r1").extension(requested).body(body).unwrap()
}

const PLAIN: &str = r#"{"model":"m","stream":false}"#;
const STREAM: &str = r#"{"model":"m","stream":true}"#;

#[tokio::test(start_paused = true)]
async fn an_attempt_is_told_of_once_when_its_body_has_ended() {
    let (service, told, _) = observed(&["good"]);
    let answer = service.clone().oneshot(asked(PLAIN)).await.unwrap();
    answer.into_body().collect().await.unwrap();
    assert_eq!(told(), ["good m#1 success 200 [1, -1, 2] 3"]);

    let mut body = service.clone().oneshot(asked(STREAM)).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        if frame.unwrap().into_data().unwrap().ends_with(b"null}]}\n\n") {
            assert_eq!(told(), [""; 0], "before its end");
        }
    }
    assert_eq!(told(), ["good m#1 success 200 [1, 2, 3] 1"]);
    drop(body);

    // Dropped in the middle of the answer, before it, and before it was asked for at all.
    drop(service.clone().oneshot(asked(STREAM)).await.unwrap());
    assert_eq!(told(), ["good m#1 cancelled 200 [1, 2, 2] 0"]);
    let early = tokio::time::timeout(Duration::from_millis(500), service.clone().oneshot(asked(STREAM))).await;
    assert!(early.is_err(), "no head yet");
    assert_eq!(told(), ["good m#1 cancelled 0 [-1, -1, 0] 0"]);
    drop(service.oneshot(asked(STREAM)));
    assert_eq!(told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_names_its_model_and_reason_and_changes_are_told_once() {
    let (service, told, catalog) = observed(&["bad", "good"]);
    service.clone().oneshot(asked(PLAIN)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(
        told(),
        [
            "bad closed -> open",
            "bad m#1 server 500 [2, -1, 2] 0",
            "bad healthy -> unhealthy by Request",
            "good retries m after server",
            "good m#2 success 200 [1, -1, 2] 3",
        ]
    );
    // Nobody is asked while the breaker is open.
    service.oneshot(asked(PLAIN)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(told(), ["good m#1 success 200 [1, -1, 2] 3"]);

    // Those who replace the models are watched too, and those who were stay so, once.
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    let backends = ["bad", "new"].map(|model| Backend::new(provider.clone(), model));
    let catalog = catalog.successor([Model::new("m", Arc::new(RoundRobin::default()), backends)], &Tuning::default());
    let live = |i: usize| catalog.load().models()[0].backends[i].state.clone();
    let now = tokio::time::Instant::now();
    live(0).probed(berry_tower::backend::ProbeOutcome::Chatted, now);
    live(1).record(Class::Server, now);
    assert_eq!(live(1).view(now).stage, Stage::Unhealthy);
    assert_eq!(
        told(),
        ["bad open -> half_open", "bad unhealthy -> recovering_30 by Probe", "new healthy -> unhealthy by Request"]
    );
}
