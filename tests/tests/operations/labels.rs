//! Metric labels come only from the configuration, whatever clients send.

use berry_tests::{Ask, soon};
use http::Method;

use crate::support::{Samples, builder};

#[tokio::test]
async fn unknown_names_add_no_series() {
    let gateway = builder().provider("a").start().await;
    let mut connection = gateway.connect().await;
    let mut ask = async |ask: Ask| soon(connection.ask(&ask)).await.unwrap().status.as_u16();
    assert_eq!(ask(Ask::chat("pool", false)).await, 200);
    let before = Samples::fetch(&gateway).await.series().count();
    for i in 0..3_334 {
        let status = ask(Ask::chat(&format!("invented-{i}"), i % 2 == 0)).await;
        assert_eq!(status, 404);
        assert_eq!(ask(Ask::get(&format!("/invented/{i}?{i}={i}"))).await, 404);
        let method = Method::from_bytes(format!("INVENT{i}").as_bytes()).unwrap();
        assert!(matches!(ask(Ask::new(method, &format!("/v1/models/{i}"))).await, 404 | 405));
    }
    let samples = Samples::fetch(&gateway).await;
    let added = samples.series().count() - before;
    assert!(added < 70, "{added} series were added");
    for series in samples.series() {
        assert!(!series.to_lowercase().contains("invent"), "{series}");
    }
    assert_eq!(samples.get("http_requests_total{method=\"GET\",path=\"other\",status=\"404\"}"), 3_334.0);
    assert_eq!(
        samples.get("http_requests_total{method=\"other\",path=\"/v1/models/{*model}\",status=\"405\"}"),
        3_334.0
    );
}
