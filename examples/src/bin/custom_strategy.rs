//! A custom strategy, which picks the backend with the fewest requests in flight.
//!
//! `cargo run --bin custom_strategy`

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::sync::Arc;

use berry_tower::backend::{
    Backend, Catalog, Model, Provider,
    strategy::{Candidate, Strategy},
};

#[derive(Debug)]
struct LeastBusy;

impl Strategy for LeastBusy {
    fn name(&self) -> &'static str {
        "least_busy"
    }

    fn pick(&self, candidates: &[Candidate<'_>], _: &mut dyn FnMut() -> f64) -> usize {
        let load = |i: &usize| candidates[*i].view.in_flight;
        (0..candidates.len()).min_by_key(load).unwrap_or(0)
    }

    fn probabilities(&self, candidates: &[Candidate<'_>]) -> Vec<f64> {
        // The pick is deterministic.
        let picked = self.pick(candidates, &mut || 0.0);
        (0..candidates.len()).map(|i| if i == picked { 1.0 } else { 0.0 }).collect()
    }

    fn effective_weight(&self, candidate: &Candidate<'_>) -> f64 {
        1.0 / f64::from(1 + candidate.view.in_flight)
    }
}

fn catalog() -> Result<Catalog, Box<dyn std::error::Error>> {
    let provider = Arc::new(Provider::new("local", "http://127.0.0.1:8080")?);
    let backends = ["small", "large"].map(|model| Backend::new(provider.clone(), model));
    Ok(Catalog::new([Model::new("llama", Arc::new(LeastBusy), backends)])?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catalog = catalog()?;
    let snapshot = catalog.load();
    for backend in snapshot.models().iter().flat_map(|model| model.backends()) {
        println!("{}", backend.id());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use berry_tower::select::candidates::{SelectionContext, candidates};
    use tokio::time::Instant;

    #[test]
    fn picks_the_backend_with_the_fewest_requests() {
        let catalog = super::catalog().unwrap();
        let model = catalog.load().find("llama").unwrap().clone();
        assert!(model.backends()[0].state().try_enter(0));
        let chosen = candidates(&model, &SelectionContext::default(), Instant::now()).unwrap().list;
        assert_eq!(model.strategy().pick(&chosen, &mut || 0.0), 1);
        assert_eq!(model.strategy().probabilities(&chosen), [0.0, 1.0]);
    }
}
