//! An application with a quota per tenant, which an administrator changes at run time.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use berry_tower::rate_limit::{Limits, Quota, QuotaFromRequest, RateLimitLayer, Window};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use tokio::sync::watch;
use tower::{Layer, ServiceExt, service_fn};

type Tenants = watch::Sender<HashMap<&'static str, Arc<Quota>>>;

/// Gives a tenant other limits and keeps what it has used.
fn set_limits(tenants: &Tenants, name: &'static str, limits: Limits) {
    tenants.send_modify(|tenants| {
        let quota = Quota::renew(tenants.get(name), limits);
        tenants.insert(name, quota);
    });
}

#[tokio::test(start_paused = true)]
async fn changes_quotas_of_tenants_while_requests_run() {
    let tenants = Tenants::new(HashMap::new());
    set_limits(&tenants, "acme", Limits::new().per_hour(2));
    let known = tenants.subscribe();
    let limit = QuotaFromRequest::new(move |head: &Parts| {
        let tenant = head.headers.get("x-tenant")?.to_str().ok()?;
        known.borrow().get(tenant).cloned()
    });
    let app = RateLimitLayer::new(limit.require_key())
        .layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))) }));
    let send = |tenant| {
        let request = Request::builder().header("x-tenant", tenant).body(()).unwrap();
        let app = app.clone();
        async move { app.oneshot(request).await.unwrap().status() }
    };

    assert_eq!(send("acme").await, 200);
    assert_eq!(send("acme").await, 200);
    assert_eq!(send("acme").await, 429);
    set_limits(&tenants, "acme", Limits::new().per_hour(3));
    assert_eq!(send("acme").await, 200);
    assert_eq!(send("acme").await, 429);
    assert_eq!(tenants.borrow()["acme"].usage().get(Window::HOUR).unwrap().limit, 3);

    assert_eq!(send("globex").await, 500, "an unknown tenant");
    set_limits(&tenants, "globex", Limits::new());
    assert_eq!(send("globex").await, 200);
}
