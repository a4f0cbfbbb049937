//! The layer around a whole request.

use std::{
    any::Any,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Account, Cost, Estimate, Measure, SpendGuard, SpendObserver, SpendOutcome,
    bill::RequestEnd,
    estimate::Estimates,
    future::{ResponseFuture, Tracked},
    guard::Pending,
    refusal,
    reservation::{Demand, Facts, Reservation},
    spender::Spender,
};
use crate::{
    body::{Buffered, GuardedBody, ResponseBody},
    error::BoxError,
    gate::Gate,
    inspect::Requested,
    render::{ApiErrors, REQUEST_ID, Refusal, Render, RequestSummary},
    store::{CounterUsage, Receipt, Store, TakeError},
};

/// [`Layer`] that applies [`Spend`].
#[derive(Clone, Debug)]
pub struct SpendLayer<R = ApiErrors> {
    spender: Option<Arc<Spender>>,
    render: R,
}

impl SpendLayer {
    /// Counts requests in `store`. `account` returns the account that a request is counted for, from what
    /// outer layers have put into its extensions; a request without an account is not limited.
    pub fn new(
        store: Arc<dyn Store>,
        account: impl Fn(&Extensions) -> Option<Account> + Send + Sync + 'static,
    ) -> Self {
        Self { spender: Some(Arc::new(Spender::new(store, Arc::new(account)))), render: ApiErrors }
    }

    /// Creates a layer that passes every request on.
    #[must_use]
    pub const fn off() -> Self {
        Self { spender: None, render: ApiErrors }
    }
}

impl<R> SpendLayer<R> {
    /// Sets the shape of refusals.
    pub fn render<T>(self, render: T) -> SpendLayer<T> {
        SpendLayer { spender: self.spender, render }
    }

    fn edit(mut self, edit: impl FnOnce(&mut Spender)) -> Self {
        self.spender = self.spender.map(|spender| {
            let mut spender = Arc::unwrap_or_clone(spender);
            edit(&mut spender);
            Arc::new(spender)
        });
        self
    }

    /// Sets what requests cost. By default nothing has a price, so that limits of cost allow everything.
    #[must_use]
    pub fn cost(self, cost: impl Cost + 'static) -> Self {
        self.edit(|spender| spender.cost = Arc::new(cost))
    }

    /// Sets how tokens are estimated before a request. Default: [`Estimate::Likely`].
    #[must_use]
    pub fn estimate_tokens(self, estimate: Estimate) -> Self {
        self.edit(|spender| spender.tokens_by = estimate)
    }

    /// Sets how the cost is estimated before a request. Default: [`Estimate::Bound`].
    #[must_use]
    pub fn estimate_cost(self, estimate: Estimate) -> Self {
        self.edit(|spender| spender.cost_by = estimate)
    }

    /// Sets the output that is assumed of a response which the caller has not limited, in tokens.
    /// Default: 4096.
    #[must_use]
    pub fn assume_output_tokens(self, tokens: u64) -> Self {
        self.edit(|spender| spender.assumed_output = tokens)
    }

    /// Sets whether the assumed output is sent to the backend as the limit of a response that the
    /// caller has not limited. Default: no.
    #[must_use]
    pub fn cap_output(self, cap: bool) -> Self {
        self.edit(|spender| spender.cap_output = cap)
    }

    /// Sets the observer, which is called once for each request that has ended.
    #[must_use]
    pub fn observer(self, observer: impl Into<Option<Arc<dyn SpendObserver>>>) -> Self {
        let observer = observer.into();
        self.edit(|spender| spender.observer = observer)
    }

    /// Sets a function that is called with the tokens which a request has used beyond those that its limits had reserved.
    /// With [`Estimate::Likely`] a limit can be exceeded by them.
    #[must_use]
    pub fn on_overshoot(self, report: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.edit(|spender| spender.overshoot = Some(Arc::new(report)))
    }

    /// Sets a function that returns the public name of a model which a request may name in other ways.
    /// Limits and prices go by public names.
    #[must_use]
    pub fn names(self, names: impl Fn(&str) -> Option<Arc<str>> + Send + Sync + 'static) -> Self {
        self.edit(|spender| spender.names = Some(Arc::new(names)))
    }

    /// Sets a function whose value for a request the observer is given.
    #[must_use]
    pub fn context<F>(self, context: F) -> Self
    where
        F: Fn(&Request<Buffered>) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync + 'static,
    {
        self.edit(|spender| spender.context = Some(Arc::new(context)))
    }
}

impl<S, R: Clone> Layer<S> for SpendLayer<R> {
    type Service = Spend<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Spend { inner, spender: self.spender.clone(), render: self.render.clone() }
    }
}

/// Limits requests, tokens and cost; see the [module](super).
#[derive(Clone, Debug)]
pub struct Spend<S, R = ApiErrors> {
    inner: S,
    spender: Option<Arc<Spender>>,
    render: R,
}

impl<S> Spend<S> {
    /// Wraps `inner` and counts requests in `store`, for the accounts that `account` returns. A [`SpendLayer`] has
    /// the other settings.
    pub fn new(
        inner: S,
        store: Arc<dyn Store>,
        account: impl Fn(&Extensions) -> Option<Account> + Send + Sync + 'static,
    ) -> Self {
        SpendLayer::new(store, account).layer(inner)
    }
}

impl<S, R> Spend<S, R> {
    /// Returns a reference to the inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, B> Service<Request<Buffered>> for Spend<S, R>
where
    S: Service<Request<Buffered>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: Render + Clone + Send + 'static,
    B: Body<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<GuardedBody<B, SpendGuard>>>;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Buffered>) -> Self::Future {
        let Some(spender) = &self.spender else { return ResponseFuture(pass(&mut self.inner, request, None)) };
        let account = (spender.account)(request.extensions());
        let has_limits = account.as_ref().is_some_and(Account::has_limits);
        if !has_limits && spender.observer.is_none() {
            return ResponseFuture(pass(&mut self.inner, request, None));
        }
        let reservation = match reserve(spender, account, &mut request) {
            Ok(reservation) => reservation,
            Err(refusal) => return ResponseFuture(Gate::refuse(&self.render, *refusal, &request.into_parts().0)),
        };
        let Some(group) = reservation.group().cloned() else {
            return ResponseFuture(pass(&mut self.inner, request, Some((reservation, Vec::new()))));
        };
        let demand = match reservation.demand() {
            Ok(demand) => demand,
            Err((limit, units)) => {
                return ResponseFuture(refuse(
                    &self.render,
                    &reservation,
                    &request,
                    refusal::never(&limit, units),
                    None,
                ));
            }
        };
        // Nothing of the request's model is limited.
        if demand.1.is_empty() {
            return ResponseFuture(pass(&mut self.inner, request, Some((reservation, Vec::new()))));
        }
        let mut taking = Box::pin(take(spender.store.clone(), group, demand));
        let polled = taking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready((demand, taken)) = polled {
            return ResponseFuture(admit(&mut self.inner, &self.render, request, reservation, demand, taken));
        }
        let mut inner = self.inner.clone();
        // The service that was made ready is dropped, as in `RateLimit`.
        self.inner = inner.clone();
        let render = self.render.clone();
        let (head, body) = request.into_parts();
        // A request that is dropped while it waits is refused nothing and has used nothing.
        let pending = Pending(Some(reservation.clone()));
        ResponseFuture(Gate::Deferred(Box::pin(async move {
            let mut pending = pending;
            let (demand, taken) = taking.await;
            let taken = match taken {
                Ok(receipt) => {
                    if let Err(error) = poll_fn(|cx| inner.poll_ready(cx)).await {
                        reservation.keep(receipt, demand.0, None);
                        return Err(error.into());
                    }
                    Ok(receipt)
                }
                Err(error) => Err(error),
            };
            pending.disarm();
            Ok(admit(&mut inner, &render, Request::from_parts(head, body), reservation, demand, taken))
        })))
    }
}

async fn take(store: Arc<dyn Store>, group: Arc<str>, demand: Demand) -> (Demand, Result<Receipt, TakeError>) {
    let taken = store.take(&group, &demand.1).await;
    (demand, taken)
}

/// Reads the request, and limits its output if that is wanted.
fn reserve(
    spender: &Arc<Spender>,
    account: Option<Account>,
    request: &mut Request<Buffered>,
) -> Result<Reservation, Box<Refusal>> {
    let missing = |missing: crate::error::MissingLayer| {
        let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", missing.to_string());
        Box::new(refusal.code("internal_error"))
    };
    Requested::of(request).map_err(missing)?;
    let context = spender.context.as_ref().and_then(|context| context(request));
    let requested = Requested::of(request).map_err(missing)?.clone();
    let public_name = spender.names.as_ref().and_then(|names| names(&requested.model));
    let model = public_name.unwrap_or_else(|| requested.model.clone());
    let has_limits = account.as_ref().is_some_and(Account::has_limits);
    let estimates = if has_limits {
        let usual = spender.usual.get(&model);
        Estimates::of(&requested, request.body().bytes(), spender.assumed_output, usual)
    } else {
        Estimates::none()
    };
    if let Some(missing) = estimates.missing_limit.filter(|_| spender.cap_output) {
        let bytes = missing.set(&requested, request.body().bytes(), spender.assumed_output);
        let edited = request.body().replaced_by(bytes);
        *request.body_mut() = edited;
    }
    let facts = Facts {
        account,
        context,
        request_id: request.headers().get(REQUEST_ID).cloned(),
        model,
        endpoint: requested.endpoint,
        is_stream: requested.stream,
        estimates,
    };
    Ok(Reservation::new(spender.clone(), facts))
}

fn admit<S, R, B>(
    inner: &mut S,
    render: &R,
    request: Request<Buffered>,
    reservation: Reservation,
    (limits, _): Demand,
    taken: Result<Receipt, TakeError>,
) -> Gate<Tracked<S::Future>, BoxError>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
    R: Render,
{
    match taken {
        Ok(receipt) => {
            let usages = limits.iter().zip(receipt.usages());
            let usages = usages.map(|((limit, _), usage)| (limit.measure(), *usage)).collect();
            reservation.keep(receipt, limits, None);
            pass(inner, request, Some((reservation, usages)))
        }
        Err(error) => {
            let (refusal, reached) = refusal::refusal(&limits, &error);
            let usage = match error {
                TakeError::Exceeded { index, usage, .. } => limits.get(index).map(|it| (it.0.measure(), usage)),
                TakeError::Unavailable => None,
            };
            let mut gate = refuse(render, &reservation, &request, refusal, usage);
            if let (Gate::Refused(Some(response)), Some(reached)) = (&mut gate, reached) {
                response.extensions_mut().insert(reached);
            }
            gate
        }
    }
}

fn pass<S, B>(
    inner: &mut S,
    mut request: Request<Buffered>,
    reserved: Option<(Reservation, Vec<(Measure, CounterUsage)>)>,
) -> Gate<Tracked<S::Future>, BoxError>
where
    S: Service<Request<Buffered>, Response = Response<B>>,
{
    let (reservation, usages) =
        reserved.map_or((None, Vec::new()), |(reservation, usages)| (Some(reservation), usages));
    if let Some(reservation) = &reservation {
        request.extensions_mut().insert(reservation.clone());
    }
    let pending = Pending(reservation);
    Gate::Pass(Tracked { future: inner.call(request), pending, usages })
}

fn refuse<R: Render, F>(
    render: &R,
    reservation: &Reservation,
    request: &Request<Buffered>,
    refusal: Refusal,
    usage: Option<(Measure, CounterUsage)>,
) -> Gate<F, BoxError> {
    let mut end = RequestEnd::without_response(SpendOutcome::Refused);
    end.status = Some(refusal.status);
    reservation.finish(&end);
    let mut response: Response<Bytes> = render.render(refusal, &RequestSummary::from(request));
    if let Some(usage) = usage {
        let now = reservation.spender().unix_seconds();
        refusal::write_headers(response.headers_mut(), reservation.endpoint(), &[usage], now);
    }
    Gate::Refused(Some(response))
}
