//! Observers: each attempt, retry and state change is reported exactly once, however it ends.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use berry_tower::{
    backend::{Backend, BackendId, Catalog, HealthChange, Model, Provider, Stage, Tuning, strategy::RoundRobin},
    body::Buffered,
    breaker::{BreakerPolicy, CircuitBreakerLayer, Transition},
    classify::{Class, ModelApiVerdict},
    client::BackendClient,
    commit::CommitLayer,
    inspect::Requested,
    observe::{AttemptEnd, BackendObserver, Cause, Observer},
    progress::Usage,
    retry::{BackoffPolicy, RetryLayer},
    select::{SelectLayer, SelectedBreaker},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::sleep;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// An observer that sends each event as text.
#[derive(Clone, Debug)]
struct RecordingObserver(mpsc::Sender<String>);

#[derive(Debug)]
struct RecordingBackendObserver(RecordingObserver, BackendId);

impl RecordingBackendObserver {
    fn record(&self, text: &str) {
        self.0.0.send(format!("{} {text}", self.1.model)).unwrap();
    }
}

impl Observer for RecordingObserver {
    fn backend(&self, id: &BackendId) -> Arc<dyn BackendObserver> {
        Arc::new(RecordingBackendObserver(self.clone(), id.clone()))
    }
}

impl BackendObserver for RecordingBackendObserver {
    fn attempt_ended(&self, attempt: &AttemptEnd<'_>) {
        let AttemptEnd { number, model, class, status, head_after, first_token_after, elapsed, usage, .. } = attempt;
        assert_eq!((attempt.backend, attempt.request_id.unwrap().as_bytes()), (&self.1, &b"r1"[..]));
        let status = status.map_or(0, |status| status.as_u16());
        let seconds = |time: &Option<Duration>| time.map_or(-1, |time| i64::try_from(time.as_secs()).unwrap());
        let times = [seconds(head_after), seconds(first_token_after), seconds(&Some(*elapsed))];
        let output = usage.map_or(0, |Usage { output, .. }| output);
        self.record(&format!("{model}#{number} {} {status} {times:?} {output}", class.name()));
    }

    fn retried(&self, model: &Arc<str>, reason: Class) {
        self.record(&format!("retries {model} after {}", reason.name()));
    }

    fn health_changed(&self, HealthChange { from, to }: HealthChange, cause: Cause) {
        self.record(&format!("{} -> {} by {cause:?}", from.name(), to.name()));
    }

    fn breaker_changed(&self, Transition { from, to }: Transition) {
        self.record(&format!("{} -> {}", from.name(), to.name()));
    }
}

/// Returns the status and media type of a response. The model `bad` responds with a 500.
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
        (200, _) => &[r#"{"choices":[{"text":""}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#],
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

/// Returns the core of a gateway over backends of one provider, its recorded events and its catalog.
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
    let (sender, recorded) = mpsc::channel();
    let observers: Vec<Arc<dyn Observer>> = vec![Arc::new(RecordingObserver(sender)), Arc::new(Vec::new())];
    let policy = BreakerPolicy::new().with_failure_threshold(1);
    let tuning = Tuning { breaker: policy, ..Tuning::default() };
    let catalog = Catalog::new([model]).unwrap().observed_by(Arc::new(observers));
    catalog.retune(&tuning);
    let breaker = CircuitBreakerLayer::new(policy).find(SelectedBreaker).classify(ModelApiVerdict);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(BackoffPolicy::new()).classify(ModelApiVerdict))
        .layer(CommitLayer)
        .layer(SelectLayer::new(catalog.clone()))
        .layer(breaker)
        .service(BackendClient::new(service_fn(|request| network(&request))));
    (service, move || recorded.try_iter().collect(), catalog)
}

fn inspected_request(body: &'static str) -> Request<Buffered> {
    let body = Buffered::from(body);
    let requested = Requested::read(body.bytes()).unwrap().with_path("/v1/chat/completions");
    Request::post("/v1/chat/completions").header("x-request-id", "r1").extension(requested).body(body).unwrap()
}

const PLAIN: &str = r#"{"model":"m","stream":false}"#;
const STREAM: &str = r#"{"model":"m","stream":true}"#;

#[tokio::test(start_paused = true)]
async fn attempt_is_reported_once_at_the_end_of_its_body() {
    let (service, recorded, _) = observed(&["good"]);
    let answer = service.clone().oneshot(inspected_request(PLAIN)).await.unwrap();
    answer.into_body().collect().await.unwrap();
    assert_eq!(recorded(), ["good m#1 success 200 [1, -1, 2] 3"]);

    let mut body = service.clone().oneshot(inspected_request(STREAM)).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        if frame.unwrap().into_data().unwrap().ends_with(b"null}]}\n\n") {
            assert_eq!(recorded(), [""; 0], "an event before the end of the body");
        }
    }
    assert_eq!(recorded(), ["good m#1 success 200 [1, 2, 3] 1"]);
    drop(body);

    // The response is dropped in the middle of its body, before its head, and before the first poll.
    drop(service.clone().oneshot(inspected_request(STREAM)).await.unwrap());
    assert_eq!(recorded(), ["good m#1 cancelled 200 [1, 2, 2] 0"]);
    let early =
        tokio::time::timeout(Duration::from_millis(500), service.clone().oneshot(inspected_request(STREAM))).await;
    assert!(early.is_err(), "no head yet");
    assert_eq!(recorded(), ["good m#1 cancelled 0 [-1, -1, 0] 0"]);
    drop(service.oneshot(inspected_request(STREAM)));
    assert_eq!(recorded(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn retry_reports_model_and_reason_and_changes_are_reported_once() {
    let (service, recorded, catalog) = observed(&["bad", "good"]);
    service.clone().oneshot(inspected_request(PLAIN)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(
        recorded(),
        [
            "bad closed -> open",
            "bad m#1 server 500 [2, -1, 2] 0",
            "bad healthy -> unhealthy by Request",
            "good retries m after server",
            "good m#2 success 200 [1, -1, 2] 3",
        ]
    );
    // The backend gets no request while the breaker is open.
    service.oneshot(inspected_request(PLAIN)).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(recorded(), ["good m#1 success 200 [1, -1, 2] 3"]);

    // Backends of replaced models are observed, and existing ones keep their observer.
    let provider = Arc::new(Provider::new("p", "http://127.0.0.1:9").unwrap());
    let backends = ["bad", "new"].map(|model| Backend::new(provider.clone(), model));
    catalog.replace([Model::new("m", Arc::new(RoundRobin::default()), backends)]).unwrap();
    let live = |i: usize| catalog.load().models()[0].backends()[i].state().clone();
    let now = tokio::time::Instant::now();
    live(0).probed(berry_tower::backend::ProbeOutcome::Chatted, now);
    live(1).record(Class::Server, now);
    assert_eq!(live(1).view(now).stage, Stage::Unhealthy);
    assert_eq!(
        recorded(),
        ["bad open -> half_open", "bad unhealthy -> recovering_30 by Probe", "new healthy -> unhealthy by Request"]
    );
}
