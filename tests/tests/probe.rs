use berry_server::{Options, Server, config, simulated::*};
use std::time::Duration;
#[tokio::test]
async fn probe() {
    let p = Provider::start(Config { models: vec!["sim".into()], first_token: Duration::from_millis(60), per_token: Duration::from_millis(12), ..Config::named("a") }).await.unwrap();
    let c = reqwest::Client::new();
    let body = r#"{"model":"sim","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let r = c.post(format!("{}/chat/completions", p.base_url())).bearer_auth(p.key()).body(body).send().await.unwrap();
    println!("{:?}", r);
    println!("{}", r.text().await.unwrap());
    let file = format!("[users.u]\ntoken=\"0123456789abcdef\"\n[providers.a]\nbase_url=\"{}\"\napi_key=\"{}\"\nmodels=[\"sim\"]\n[models.m]\nname=\"m\"\n[[models.m.backends]]\nprovider=\"a\"\nmodel=\"sim\"\n", p.base_url(), p.key());
    let s = Server::start(config::parse(&file, &|_| None).unwrap(), Options::loopback()).await.unwrap();
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let r = tokio::time::timeout(Duration::from_secs(3), c.post(format!("http://{}/v1/chat/completions", s.addr())).bearer_auth("0123456789abcdef").body(body).send()).await;
    println!("{r:?} {:?}", p.seen());
    println!("{}", r.unwrap().unwrap().text().await.unwrap());
}
