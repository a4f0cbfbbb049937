//! Traces and metrics by OTLP over HTTP, received and decoded with OTLP's own types.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use berry_simulated::Fault;
use berry_tests::{Ask, Builder, Gateway};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{builder, until};

/// A collector that decodes what it receives.
struct Collector {
    addr: SocketAddr,
    traces: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    metrics: mpsc::UnboundedReceiver<ExportMetricsServiceRequest>,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Sinks {
    traces: mpsc::UnboundedSender<ExportTraceServiceRequest>,
    metrics: mpsc::UnboundedSender<ExportMetricsServiceRequest>,
    requests: Arc<AtomicUsize>,
    /// The number of requests that are refused at first.
    refused: usize,
}

impl Collector {
    async fn start(refused: usize) -> Self {
        let (traces, received_traces) = mpsc::unbounded_channel();
        let (metrics, received_metrics) = mpsc::unbounded_channel();
        let requests = Arc::<AtomicUsize>::default();
        let sinks = Sinks { traces, metrics, requests: requests.clone(), refused };
        let take_traces = async |State(sinks): State<Sinks>, headers: HeaderMap, body: Bytes| {
            sinks.take(&headers, || sinks.traces.send(ExportTraceServiceRequest::decode(body).unwrap()).unwrap())
        };
        let take_metrics = async |State(sinks): State<Sinks>, headers: HeaderMap, body: Bytes| {
            sinks.take(&headers, || sinks.metrics.send(ExportMetricsServiceRequest::decode(body).unwrap()).unwrap())
        };
        let routes = Router::new()
            .route("/otlp/v1/traces", post(take_traces))
            .route("/otlp/v1/metrics", post(take_metrics))
            .with_state(sinks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { addr, traces: received_traces, metrics: received_metrics, requests }
    }

    /// Returns the table that exports here.
    fn table(&self, lines: &str) -> String {
        format!(
            "[telemetry]\notlp_endpoint = \"http://{}/otlp\"\notlp_headers = {{ api-key = \"secret-of-the-collector\" }}\n{lines}",
            self.addr
        )
    }

    fn gateway(&self, lines: &str) -> Builder {
        builder().tables(&self.table(lines))
    }

    /// Stops the gateway and returns all spans that it has sent.
    async fn spans_of(mut self, gateway: Gateway) -> Vec<Span> {
        gateway.server.shutdown().await;
        let mut spans = Vec::new();
        while let Ok(request) = self.traces.try_recv() {
            for resource_spans in request.resource_spans {
                let resource = resource_spans.resource.unwrap().attributes;
                assert_eq!(text(&resource, "service.name"), "berry");
                assert_eq!(resource_spans.schema_url, "https://opentelemetry.io/schemas/1.42.0");
                for scope_spans in resource_spans.scope_spans {
                    assert_eq!(scope_spans.scope.unwrap().name, "berry-server");
                    spans.extend(scope_spans.spans);
                }
            }
        }
        spans
    }
}

impl Sinks {
    fn take(&self, headers: &HeaderMap, keep: impl FnOnce()) -> StatusCode {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(headers["api-key"], "secret-of-the-collector");
        if self.requests.fetch_add(1, Relaxed) < self.refused {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        keep();
        StatusCode::OK
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

fn int(attributes: &[KeyValue], key: &str) -> i64 {
    match value(attributes, key) {
        Some(Value::IntValue(int)) => *int,
        other => panic!("{key}: {other:?}"),
    }
}

fn model_requests(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    let is_model_request = |span: &&Span| value(&span.attributes, "gen_ai.operation.name").is_some();
    spans.iter().filter(|span| span.kind() == kind).filter(is_model_request).collect()
}

fn events(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error)
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn stream_that_fails_over_has_a_span_for_each_attempt() {
    let collector = Collector::start(0).await;
    let gateway = collector
        .gateway("")
        .provider("a")
        .with("propagate_trace = true")
        .provider("b")
        .backend("priority = 1")
        .strategy("failover")
        .settings("max_internal_retries = 0\ncircuit_breaker_failure_threshold = 1")
        .start()
        .await;
    gateway.providers[0].set(Fault::Status(500));
    let reply = gateway.ask(&Ask::chat("pool", true).header("traceparent", PARENT)).await;
    assert!(reply.is_good_chat());
    let sent = |provider: usize| gateway.providers[provider].calls()[0].headers["traceparent"].clone();
    let (to_a, to_b) = (sent(0), sent(1));
    let request_id = reply.header("x-request-id").to_owned();
    let port = i64::from(gateway.providers[0].addr().port());
    let prompt_free = |span: &Span| !format!("{span:?}").contains("How are you?");

    let spans = collector.spans_of(gateway).await;
    let (servers, clients) = (model_requests(&spans, SpanKind::Server), model_requests(&spans, SpanKind::Client));
    assert_eq!((servers.len(), clients.len()), (1, 2), "{spans:#?}");
    let server = servers[0];
    assert_eq!(server.name, "POST /v1/chat/completions");
    assert_eq!(server.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(server.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    let attributes = &server.attributes;
    assert_eq!(text(attributes, "http.request.method"), "POST");
    assert_eq!(text(attributes, "http.route"), "/v1/chat/completions");
    assert_eq!(int(attributes, "http.response.status_code"), 200);
    assert_eq!(text(attributes, "gen_ai.operation.name"), "chat");
    assert_eq!(text(attributes, "gen_ai.request.model"), "pool");
    assert_eq!(text(attributes, "gen_ai.response.model"), "sim");
    assert_eq!(text(attributes, "berry.provider"), "b");
    assert_eq!(text(attributes, "berry.request_id"), request_id);
    assert_eq!(text(attributes, "berry.outcome"), "complete");
    assert_eq!(text(attributes, "enduser.id"), "alice");
    assert_eq!(int(attributes, "berry.attempts"), 2);
    assert!(int(attributes, "gen_ai.usage.input_tokens") > 0);
    assert_eq!(int(attributes, "gen_ai.usage.output_tokens"), 4);
    assert_eq!(events(server), ["first_token", "failover"]);
    assert!(!is_error(server) && spans.iter().all(prompt_free));

    let client = |provider: &str| *clients.iter().find(|s| text(&s.attributes, "berry.provider") == provider).unwrap();
    let (a, b) = (client("a"), client("b"));
    for span in [a, b] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&server.trace_id, &server.span_id));
        assert_eq!(span.name, "chat sim");
        assert_eq!(text(&span.attributes, "server.address"), "127.0.0.1");
        assert!(server.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= server.end_time_unix_nano);
    }
    assert_eq!(int(&a.attributes, "server.port"), port);
    assert_eq!((int(&a.attributes, "http.response.status_code"), text(&a.attributes, "error.type")), (500, "server"));
    assert!(is_error(a) && !is_error(b));
    assert_eq!((events(a), events(b)), (vec!["breaker"], vec!["first_token"]));
    assert_eq!(text(&a.events[0].attributes, "berry.breaker.state"), "open");

    // The provider that may know the trace gets the span of its attempt; the other one what the client sent.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(to_a, format!("00-{}-{}-01", hex(&a.trace_id), hex(&a.span_id)));
    assert_eq!(to_b, PARENT);
}

#[tokio::test]
async fn resumed_and_interrupted_streams_are_told_apart() {
    let collector = Collector::start(0).await;
    let gateway = collector
        .gateway("")
        .provider("a")
        .provider("b")
        .backend("priority = 1")
        .strategy("failover")
        .pool("stream_recovery = \"replay\"")
        .settings("max_internal_retries = 0")
        .start()
        .await;
    gateway.providers[0].set(Fault::CutAfter(2));
    assert!(gateway.stream().await.is_good_chat());
    gateway.providers[1].set(Fault::CutAfter(2));
    let _ = gateway.stream().await;
    let spans = collector.spans_of(gateway).await;
    let servers = model_requests(&spans, SpanKind::Server);
    let outcomes: Vec<&str> = servers.iter().map(|span| text(&span.attributes, "berry.outcome")).collect();
    assert_eq!(outcomes, ["complete", "interrupted"]);
    assert!(events(servers[0]).contains(&"resumed") && !is_error(servers[0]), "{:?}", servers[0]);
    assert!(is_error(servers[1]));
    assert_eq!(text(&servers[1].attributes, "error.type"), "interrupted");
}

#[tokio::test]
async fn exports_failed_requests_whatever_the_ratio() {
    let collector = Collector::start(0).await;
    let gateway = collector.gateway("sample_ratio = 0.0").provider("a").settings("max_retries = 0").start().await;
    assert_eq!(gateway.plain().await.status, 200);
    gateway.providers[0].set(Fault::Status(500));
    assert!(gateway.plain().await.status.is_server_error());
    gateway.providers[0].heal();
    // The client has decided to record this one.
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let chat = |parent| Ask::chat("pool", false).header("traceparent", parent);
    assert_eq!(gateway.ask(&chat(sampled)).await.status, 200);
    assert_eq!(gateway.ask(&chat("00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00")).await.status, 200);
    let spans = collector.spans_of(gateway).await;
    let servers = model_requests(&spans, SpanKind::Server);
    let outcomes: Vec<&str> = servers.iter().map(|span| text(&span.attributes, "berry.outcome")).collect();
    assert_eq!(outcomes, ["failed", "complete"], "{spans:#?}");
}

#[tokio::test]
async fn metrics_have_the_names_of_the_conventions() {
    let mut collector = Collector::start(0).await;
    let gateway = collector.gateway("metrics_interval_seconds = 1").provider("a").start().await;
    assert!(gateway.stream().await.is_good_chat());
    assert_eq!(gateway.plain().await.status, 200);
    gateway.server.shutdown().await;
    let mut latest = None;
    while let Ok(request) = collector.metrics.try_recv() {
        latest = Some(request);
    }
    let scopes = latest.unwrap().resource_metrics.into_iter().flat_map(|metrics| metrics.scope_metrics);
    let metrics: Vec<Metric> = scopes.flat_map(|scope| scope.metrics).collect();
    let metric = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}"));

    let Some(Data::Histogram(duration)) = &metric("gen_ai.client.operation.duration").data else { panic!() };
    assert_eq!(metric("gen_ai.client.operation.duration").unit, "s");
    let point = &duration.data_points[0];
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (2, 2));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert!(point.sum.unwrap() > 0.0 && point.start_time_unix_nano < point.time_unix_nano);
    assert_eq!(text(&point.attributes, "gen_ai.request.model"), "sim");
    assert_eq!(text(&point.attributes, "berry.provider"), "a");

    let Some(Data::Histogram(tokens)) = &metric("gen_ai.client.token.usage").data else { panic!() };
    let output = |point: &&opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint| {
        text(&point.attributes, "gen_ai.token.type") == "output"
    };
    assert_eq!(tokens.data_points.iter().find(output).unwrap().sum, Some(8.0));

    let Some(Data::Sum(requests)) = &metric("http_requests_total").data else { panic!() };
    assert!(requests.is_monotonic && requests.aggregation_temporality == 2);
    assert_eq!(int(&requests.data_points[0].attributes, "http.response.status_code"), 200);
    let Some(Data::Gauge(_)) = &metric("backend_health_status").data else { panic!() };
    metric("gen_ai.client.operation.time_to_first_chunk");
    metric("http.server.request.duration");
}

#[tokio::test]
async fn slowest_traces_are_exemplars_of_durations() {
    let mut collector = Collector::start(0).await;
    let gateway = collector.gateway("metrics_interval_seconds = 3600").provider("a").start().await;
    assert_eq!(gateway.plain().await.status, 200);
    gateway.providers[0].set(Fault::LateHead(Duration::from_millis(300)).times(1));
    assert_eq!(gateway.plain().await.status, 200);
    gateway.server.shutdown().await;
    let exported = collector.metrics.try_recv().unwrap().resource_metrics;
    let metrics: Vec<Metric> =
        exported.into_iter().flat_map(|all| all.scope_metrics).flat_map(|scope| scope.metrics).collect();
    let mut traces = Vec::new();
    while let Ok(request) = collector.traces.try_recv() {
        let scopes = request.resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
        traces.extend(scopes.flat_map(|scope| scope.spans));
    }
    for (name, kind) in
        [("http.server.request.duration", SpanKind::Server), ("gen_ai.client.operation.duration", SpanKind::Client)]
    {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        let Some(Data::Histogram(durations)) = &metric.data else { panic!() };
        let exemplars: Vec<_> = durations.data_points.iter().flat_map(|point| &point.exemplars).collect();
        let took = |span: &&Span| span.end_time_unix_nano - span.start_time_unix_nano;
        let slowest = model_requests(&traces, kind).into_iter().max_by_key(took).unwrap();
        assert_eq!(exemplars.len(), 1, "{name}");
        assert_eq!((&exemplars[0].trace_id, &exemplars[0].span_id), (&slowest.trace_id, &slowest.span_id), "{name}");
        assert!(exemplars[0].time_unix_nano > 0, "{name}");
    }
}

#[tokio::test]
async fn collector_that_refuses_gets_the_spans_again() {
    let collector = Collector::start(1).await;
    let requests = collector.requests.clone();
    let gateway = collector.gateway("metrics_interval_seconds = 0").provider("a").start().await;
    assert_eq!(gateway.plain().await.status, 200);
    until("the spans were sent twice", async || requests.load(Relaxed) >= 2).await;
    let spans = collector.spans_of(gateway).await;
    assert_eq!(model_requests(&spans, SpanKind::Server).len(), 1);
}

#[tokio::test]
async fn export_begins_and_ends_with_a_reload() {
    let collector = Collector::start(0).await;
    let gateway = builder().provider("a").start().await;
    assert_eq!(gateway.plain().await.status, 200);
    let loaded =
        |tables: &str| berry_server::config::parse(&format!("{}\n{tables}", &*gateway.toml), &|_| None).unwrap();
    let changes = gateway.server.reload(loaded(&collector.table(""))).await.unwrap();
    assert!(changes.to_string().contains("telemetry.otlp_endpoint"), "{changes}");
    assert!(!format!("{changes:?}").contains("secret-of-the-collector"));
    assert_eq!(gateway.plain().await.status, 200);
    gateway.server.reload(loaded("")).await.unwrap();
    assert_eq!(gateway.plain().await.status, 200);
    let requests = collector.requests.clone();
    until("the spans of the old configuration were sent", async || requests.load(Relaxed) >= 1).await;
    let spans = collector.spans_of(gateway).await;
    assert_eq!(model_requests(&spans, SpanKind::Server).len(), 1);
}
