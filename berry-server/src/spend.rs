//! The layer that applies the limits of a configuration.

use std::sync::Arc;

use berry_tower::spend::{Estimate, Prices, SpendLayer};

use crate::{
    config::{EstimateBy, build::Caller},
    observability::metrics::Metrics,
    state::Snapshot,
};

/// Returns the layer that applies the limits and feeds the ledger. With neither it passes requests on.
pub(crate) fn layer(snapshot: &Snapshot, metrics: &Arc<Metrics>) -> SpendLayer {
    let Snapshot { config, callers, store, .. } = snapshot;
    // Keys that are made at run time may have limits.
    let may_limit = has_database(snapshot) || callers.values().any(|caller| caller.account.has_limits());
    if !may_limit {
        return SpendLayer::off();
    }
    let settings = &config.settings;
    let estimate = settings.estimate.map(|by| match by {
        EstimateBy::Bound => Estimate::Bound,
        EstimateBy::Likely => Estimate::Likely,
    });
    let account = |extensions: &http::Extensions| Some(extensions.get::<Arc<Caller>>()?.account.clone());
    // A request may name a model by its id.
    let models = snapshot.catalog.clone();
    let names = move |model: &str| Some(models.load().find(model)?.name().clone());
    let metrics = metrics.clone();
    let layer = SpendLayer::new(store.clone(), account)
        .on_overshoot(move |tokens| metrics.limit_overshoot(tokens))
        .names(names)
        .cost(Prices::clone(&snapshot.prices))
        .estimate_tokens(estimate.unwrap_or(Estimate::Likely))
        .estimate_cost(estimate.unwrap_or(Estimate::Bound))
        .assume_output_tokens(settings.assume_output_tokens)
        .cap_output(settings.cap_output);
    observed(layer, snapshot)
}

#[cfg(feature = "database")]
fn has_database(snapshot: &Snapshot) -> bool {
    snapshot.process.ledger.is_some()
}

#[cfg(not(feature = "database"))]
fn has_database(_: &Snapshot) -> bool {
    false
}

/// Lets the ledger observe the layer.
#[cfg(feature = "database")]
fn observed(layer: SpendLayer, snapshot: &Snapshot) -> SpendLayer {
    let Some(ledger) = snapshot.process.ledger.clone() else { return layer };
    let observer: Arc<dyn berry_tower::spend::SpendObserver> = Arc::new(ledger.clone());
    layer.observer(observer).context(move |request| {
        let caller = request.extensions().get::<Arc<Caller>>()?.clone();
        Some(ledger.context(caller, request.body().bytes()))
    })
}

#[cfg(not(feature = "database"))]
fn observed(layer: SpendLayer, _: &Snapshot) -> SpendLayer {
    layer
}
