//! Reads `[models.<id>]` and `[[models.<id>.backends]]`.

use super::file::{Backend, Model};
use berry_tower::backend::{
    AnswerModel, Billing, ClaudeThinking, FallbackPermission, OnUnsupported, OpenAiApi, Probe, Sampling, StreamRecovery,
};

use super::options::Strategy;
use super::reader::{Table, fields};
use super::users;

pub(super) fn read(id: &str, mut t: Table<'_>) -> Model {
    let mut model = Model {
        name: t.required("name", &format!("{id:?}")),
        strategy: Strategy::default(),
        enabled: true,
        backends: Vec::new(),
        fallbacks: t.strings("fallbacks", |_| None),
        default_for: t.strings("default_for", |_| None),
        stream_recovery: StreamRecovery::default(),
        on_unsupported: OnUnsupported::default(),
        answer_model: AnswerModel::default(),
        fallback_permission: None,
    };
    if model.name.is_empty() || model.name.contains(char::is_whitespace) {
        t.error("name", "must not be empty nor hold white space");
    }
    fields!(t => model, word: strategy, stream_recovery, on_unsupported, answer_model);
    fields!(t => model, flag: enabled);
    if t.has("fallback_permission") {
        t.word("fallback_permission", model.fallback_permission.insert(FallbackPermission::Inherit));
    }
    let backends = t.list_of_tables("backends", "models.*.backends[]");
    model.backends = backends.into_iter().map(read_backend).collect();
    if model.backends.is_empty() {
        let header = t.at("backends");
        t.error("backends", format_args!("a model needs one at least: add `[[{header}]]`"));
    }
    t.finish();
    model
}

fn read_backend(mut t: Table<'_>) -> Backend {
    let mut backend = Backend {
        provider: t.required("provider", "\"openai\""),
        model: t.required("model", "\"gpt-4o\""),
        weight: 1.0,
        priority: 0,
        enabled: true,
        tags: users::tags(&mut t),
        billing_mode: Billing::default(),
        probe: Probe::default(),
        max_in_flight: 0,
        supports_prefill: false,
        sampling: Sampling::default(),
        thinking: ClaudeThinking::default(),
        think_tags: false,
        openai_api: OpenAiApi::default(),
        price: t.has("price").then(|| super::prices::read(t.table("price", "prices.*"))).flatten(),
    };
    t.real("weight", |weight| weight > 0.0 && weight <= 100.0, "above 0 and at most 100", &mut backend.weight);
    fields!(t => backend, whole(0..=10): priority);
    fields!(t => backend, whole(0..=u64::from(u32::MAX)): max_in_flight);
    fields!(t => backend, flag: enabled, supports_prefill, think_tags);
    fields!(t => backend, word: billing_mode, sampling, thinking, openai_api);
    if backend.billing_mode == Billing::PerRequest {
        // Each probe would cost as much as a request.
        backend.probe = Probe::None;
    }
    fields!(t => backend, word: probe);
    t.finish();
    backend
}
