use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode};
use http_body_util::Full;
use tokio::time::sleep;
use tower::util::BoxCloneSyncService;

use super::*;
use crate::{
    backend::{Billing, Model, Probe, Provider, SmartAi, View, strategy::by_name},
    breaker::State,
};

/// What a provider at the other end does.
#[derive(Clone, Copy)]
struct Does {
    list: u16,
    chat: u16,
    hangs: bool,
}

const WELL: Does = Does { list: 200, chat: 200, hangs: false };

/// Providers by their hosts, and what they were asked.
#[derive(Clone, Default)]
struct World {
    does: watch::Sender<BTreeMap<String, Does>>,
    asked: watch::Sender<Vec<Asked>>,
}

#[derive(Clone, Debug)]
struct Asked {
    host: String,
    method: Method,
    headers: http::HeaderMap,
    body: String,
}

impl World {
    fn set(&self, host: &str, does: Does) {
        self.does.send_modify(|all| _ = all.insert(host.to_owned(), does));
    }

    fn asked(&self, host: &str) -> Vec<Asked> {
        self.asked.borrow().iter().filter(|asked| asked.host == host).cloned().collect()
    }

    fn chats(&self, host: &str) -> usize {
        self.asked(host).iter().filter(|asked| asked.method == Method::POST).count()
    }

    fn transport(&self) -> BoxCloneSyncService<Request<Buffered>, Response<Full<Bytes>>, Infallible> {
        let world = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Buffered>| {
            let world = world.clone();
            async move {
                let host = request.uri().host().unwrap().to_owned();
                let body = String::from_utf8(request.body().bytes().to_vec()).unwrap();
                let (method, headers) = (request.method().clone(), request.headers().clone());
                let does = world.does.borrow().get(&host).copied().unwrap_or(WELL);
                let bounded = body.contains("\"max_tokens\"");
                let asked = Asked { host, method: method.clone(), headers, body };
                world.asked.send_modify(|all| all.push(asked));
                if does.hangs {
                    std::future::pending::<()>().await;
                }
                let status = if method == Method::GET { does.list } else { does.chat };
                let (status, text) = match status {
                    // A provider that knows the bound by its other name alone.
                    299 if bounded => (400, r#"{"error":{"message":"use the other one","param":"max_tokens"}}"#),
                    299 | 200 => (200, r#"{"object":"chat.completion","choices":[{"text":""}]}"#),
                    other => (other, "{}"),
                };
                let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                let response = response.header("content-type", "application/json");
                Ok(response.body(Full::new(Bytes::from(text))).unwrap())
            }
        }))
    }

    fn prober(
        &self,
        catalog: &Catalog,
    ) -> Prober<BoxCloneSyncService<Request<Buffered>, Response<Full<Bytes>>, Infallible>> {
        let interval = Duration::from_secs(1);
        Prober::new(catalog.clone(), self.transport(), Settings { interval, ..Settings::default() })
    }
}

fn provider(host: &str) -> Arc<Provider> {
    Arc::new(Provider::new(host, &format!("http://{host}")).unwrap())
}

fn model(name: &str, strategy: &str, backends: impl IntoIterator<Item = Backend>) -> Model {
    Model::new(name, by_name(strategy, &SmartAi::default()).unwrap(), backends)
}

fn catalog(backends: impl IntoIterator<Item = Backend>) -> Catalog {
    Catalog::new([model("m", "random", backends)]).unwrap()
}

fn view(catalog: &Catalog, i: usize) -> View {
    catalog.load().find("m").unwrap().backends()[i].state().view(Instant::now())
}

async fn some(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn hanging_provider_delays_no_other() {
    let world = World::default();
    world.set("hung", Does { hangs: true, ..WELL });
    world.set("dead", Does { list: 503, chat: 503, hangs: false });
    let catalog = catalog(["hung", "dead"].map(|host| Backend::new(provider(host), "x")));
    let prober = world.prober(&catalog);
    let (first, started) = (prober.first_round(), Instant::now());
    let probes = tokio::spawn(prober.run());
    some(10).await;
    assert!(!view(&catalog, 1).is_healthy(), "known at once");
    world.set("dead", WELL);
    some(1000).await;
    assert!(view(&catalog, 1).is_healthy() && view(&catalog, 0).is_healthy());
    first.await;
    assert_eq!(started.elapsed(), Duration::from_secs(10), "the timeout bounds the first round");
    some(1).await;
    assert!(!view(&catalog, 0).is_healthy());
    assert_eq!(world.asked("hung").len(), 1, "who hangs is not asked again meanwhile");
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn never_probes_disabled_backends_or_those_billed_per_request() {
    let world = World::default();
    let by_request = |host: &str| Backend::new(provider(host), "x").with_billing(Billing::PerRequest);
    let off = Backend::new(provider("off"), "x").with_enabled(false);
    let none = Backend::new(provider("none"), "x").with_probe(Probe::None);
    let disabled = Provider::new("disabled", "http://disabled").unwrap().with_enabled(false);
    let disabled = Backend::new(Arc::new(disabled), "x");
    let shared = Backend::new(provider("shared"), "x");
    let smart = model("smart", "smart_ai", [by_request("shared"), by_request("dear"), disabled, off, none]);
    let catalog =
        Catalog::new([model("m", "smart_ai", [shared, Backend::new(provider("asked"), "x")]), smart]).unwrap();
    for m in catalog.load().models() {
        for backend in m.backends() {
            backend.state().record(Class::Server, Instant::now());
        }
    }
    let probes = tokio::spawn(world.prober(&catalog).run());
    some(5_500).await;
    for host in ["shared", "dear", "disabled", "off", "none"] {
        assert!(world.asked(host).is_empty(), "{host}");
    }
    assert_eq!(world.asked("asked").len(), 6 + 5, "a list in each round, a chat until it is healthy");
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn missing_model_list_is_no_failure_and_a_refused_one_leaves_the_verdict_to_the_chat() {
    let world = World::default();
    for (host, list, chat) in
        [("404", 404, 500), ("405", 405, 500), ("403", 403, 200), ("401", 401, 401), ("400", 400, 1)]
    {
        world.set(&format!("h{host}"), Does { list, chat, hangs: false });
    }
    let hosts = ["h404", "h405", "h403", "h401", "h400"];
    let catalog = catalog(hosts.map(|host| Backend::new(provider(host), "x")));
    let prober = world.prober(&catalog);
    let first = prober.first_round();
    let probes = tokio::spawn(prober.run());
    first.await;
    let healthy: Vec<bool> = (0..hosts.len()).map(|i| view(&catalog, i).is_healthy()).collect();
    assert_eq!(healthy, [true, true, true, false, true]);
    let chats: Vec<usize> = hosts.iter().map(|host| world.chats(host)).collect();
    assert_eq!(chats, [0, 0, 1, 1, 0]);
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn chat_probes_restore_health_and_count_as_no_request() {
    let world = World::default();
    world.set("p", Does { chat: 299, ..WELL });
    let key = Provider::new("p", "http://p").unwrap().with_key("sk-key").unwrap();
    let p = Arc::new(key.with_header(HeaderName::from_static("x-team"), "berries").unwrap());
    let catalog = catalog([Backend::new(p, "the-model")]);
    let backend = catalog.load().find("m").unwrap().backends()[0].clone();
    let now = Instant::now();
    for _ in 0..5 {
        backend.state().breaker().try_acquire(now).unwrap().settle(Class::Server, now);
        backend.state().record(Class::Server, now);
    }
    let before = backend.state().snapshot(now).outcomes;
    let probes = tokio::spawn(world.prober(&catalog).run());
    some(10).await;
    assert_eq!(backend.state().breaker().state(Instant::now()), State::HalfOpen { trial: false });
    assert_eq!(view(&catalog, 0).stage, Stage::Returning);
    assert_eq!(backend.state().snapshot(Instant::now()).outcomes, before);
    for asked in world.asked("p") {
        assert_eq!(
            (&asked.headers["authorization"], &asked.headers["x-team"]),
            (&"Bearer sk-key".parse().unwrap(), &"berries".parse().unwrap())
        );
    }
    let bodies: Vec<String> = world.asked("p").into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies[0], "");
    assert!(bodies[1].contains(r#""model":"the-model""#) && bodies[1].contains(r#""max_tokens":1"#));
    assert!(bodies[2].contains(r#""max_completion_tokens":1"#) && bodies.len() == 3);
    some(10_000).await;
    assert_eq!(view(&catalog, 0).stage, Stage::Healthy);
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn failed_probes_open_no_breaker_and_a_429_starts_a_cool_down() {
    let world = World::default();
    world.set("dead", Does { list: 500, chat: 500, hangs: false });
    world.set("busy", Does { list: 429, chat: 200, hangs: false });
    let catalog = catalog(["dead", "busy"].map(|host| Backend::new(provider(host), "x")));
    let probes = tokio::spawn(world.prober(&catalog).run());
    some(20_000).await;
    let (dead, busy) = (view(&catalog, 0), view(&catalog, 1));
    assert!(!dead.is_healthy() && dead.breaker_available());
    assert!(busy.is_healthy() && busy.cooling.is_some());
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn checks_connectivity_of_smart_ai_models_at_its_own_interval() {
    let world = World::default();
    world.set("dead", Does { list: 500, chat: 200, hangs: false });
    let backends = || [Backend::new(provider("dead"), "x")];
    let smart = Catalog::new([model("m", "smart_ai", backends())]).unwrap();
    let settings = Settings {
        interval: Duration::from_secs(1),
        connectivity_interval: Duration::from_secs(3),
        ..Settings::default()
    };
    let probes = tokio::spawn(Prober::new(smart.clone(), world.transport(), settings).run());
    some(2_900).await;
    assert_eq!(view(&smart, 0).confidence, 0.4);
    some(1_000).await;
    assert_eq!(view(&smart, 0).confidence, 0.2);
    probes.abort();
    let plain = catalog(backends());
    let probes = tokio::spawn(Prober::new(plain.clone(), world.transport(), settings).run());
    some(5_000).await;
    assert_eq!(view(&plain, 0).confidence, 0.8);
    probes.abort();
}

#[tokio::test(start_paused = true)]
async fn reads_the_catalogue_in_each_round() {
    let world = World::default();
    let catalog = catalog([Backend::new(provider("old"), "x")]);
    let probes = tokio::spawn(world.prober(&catalog).run());
    some(500).await;
    catalog.replace([model("m", "random", [Backend::new(provider("new"), "x")])]).unwrap();
    some(3_000).await;
    assert_eq!((world.asked("old").len(), world.asked("new").len()), (1, 3));
    probes.abort();
}

#[test]
fn due_probes_depend_on_the_state_alone() {
    let listed_only = Backend::new(provider("a"), "listed").with_probe(Probe::Models);
    let claude = Provider::new("c", "http://c").unwrap().with_dialect(crate::backend::Dialect::Claude);
    let claude = Backend::new(Arc::new(claude), "y");
    let catalog = catalog([Backend::new(provider("a"), "x"), listed_only, claude]);
    let now = Instant::now();
    let checks = due(&catalog.load(), Duration::from_secs(1), now);
    let seen: Vec<_> =
        checks.iter().map(|c| (&**c.provider.id(), c.targets.iter().map(|t| t.may_chat).collect())).collect();
    assert_eq!(seen, [("a", vec![true, false]), ("c", vec![true])], "a chat can be had in every dialect");
    let target = &checks[0].targets[0];
    assert_eq!(target.after(ModelListResult::Alive, now), NextStep::Done(ProbeOutcome::Listed { decides: false }));
    assert_eq!(
        target.after(ModelListResult::Silent(Class::Network), now),
        NextStep::Done(ProbeOutcome::Failed(Class::Network))
    );
    target.backend.state().record(Class::Server, now);
    assert_eq!(target.after(ModelListResult::Alive, now), NextStep::Chat);
    target.backend.state().record(Class::RateLimited { retry_after: None }, now);
    assert_ne!(target.after(ModelListResult::Alive, now), NextStep::Chat, "it asked to be left alone");
    assert_eq!(
        checks[0].targets[1].after(ModelListResult::Alive, now),
        NextStep::Done(ProbeOutcome::Listed { decides: true })
    );
}

#[tokio::test(start_paused = true)]
async fn extreme_times_do_not_overflow() {
    for time in [Duration::ZERO, Duration::MAX] {
        let catalog = catalog([Backend::new(provider("a"), "x")]);
        let settings = Settings { interval: time, timeout: time, connectivity_interval: time };
        let prober = Prober::new(catalog, World::default().transport(), settings);
        let first = prober.first_round();
        let running = tokio::spawn(prober.run());
        first.await;
        some(10).await;
        assert!(!running.is_finished(), "{time:?}");
        running.abort();
    }
}
