//! `Auth` and `ModelPermission`: only known tokens and allowed models pass.

use std::convert::Infallible;

use berry_tower::{
    auth::{ApiKey, ApiKeys, AuthLayer},
    body::Buffered,
    inspect::Requested,
    permission::{AllowedModels, ModelPermissionLayer},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use proptest::{collection::btree_set, prelude::*};
use tower::{Layer, ServiceExt, service_fn};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    /// A token identifies exactly its owner, and an unknown token has no owner.
    #[test]
    fn accepts_only_known_tokens(known in btree_set("[!-~]{1,40}", 0..8), other in "[!-~]{1,40}") {
        let keys = ApiKeys::new(known.iter().map(|token| ApiKey::from_token(token, token.clone())));
        for token in known.iter().chain([&other]) {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            let owner = keys.identify(&headers);
            prop_assert_eq!(owner, known.get(token).cloned());
        }
    }

    /// Every value of the header gets a response of 200 or 401, and none is forwarded.
    #[test]
    fn any_header_gets_a_response(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..3)) {
        let service = AuthLayer::new(ApiKeys::new([ApiKey::from_token("good", ())])).layer(service_fn(
            |request: Request<()>| async move {
                assert!(!request.headers().contains_key(AUTHORIZATION));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            },
        ));
        let mut request = Request::new(());
        for value in values.iter().filter_map(|v| HeaderValue::from_bytes(v).ok()) {
            request.headers_mut().append(AUTHORIZATION, value);
        }
        let status = block_on(service.oneshot(request)).unwrap().status();
        prop_assert_eq!(status, 401);
    }

    /// Exactly the models of the list are allowed.
    #[test]
    fn only_listed_models_pass(list in btree_set("[a-c]{1,2}", 0..6), model in "[a-c]{1,2}") {
        let allowed = AllowedModels::from_iter(list.iter().cloned());
        let service = ModelPermissionLayer::new(|models: &AllowedModels, model: &str| models.contains(model))
            .layer(service_fn(|_: Request<Buffered>| async {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }));
        let body = Buffered::from(format!(r#"{{"model":"{model}"}}"#));
        let requested = Requested::read(body.bytes()).unwrap();
        let request = Request::builder().extension(allowed).extension(requested).body(body).unwrap();
        let expected = if list.contains(&model) { 200 } else { 403 };
        prop_assert_eq!(block_on(service.oneshot(request)).unwrap().status(), expected);
    }
}
