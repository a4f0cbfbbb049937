//! Reads `[telemetry]`.

use http::HeaderMap;
use url::Url;

use super::{
    headers,
    reader::{Table, fields},
};

/// `[telemetry]`: where traces and metrics go, by OTLP over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// The base URL of a collector, to which `/v1/traces` and `/v1/metrics` are appended; `None` turns the export off.
    pub otlp_endpoint: Option<String>,
    /// Sent on every export; the values are marked sensitive.
    pub otlp_headers: HeaderMap,
    /// The resource's `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub resource_attributes: Vec<(String, String)>,
    /// The share of traces that begin here and are exported; failed requests always are.
    pub sample_ratio: f64,
    /// Between two exports of metrics; 0 = metrics are not exported.
    pub metrics_interval_seconds: u64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_headers: HeaderMap::new(),
            service_name: "berry".to_owned(),
            resource_attributes: Vec::new(),
            sample_ratio: 1.0,
            metrics_interval_seconds: 60,
        }
    }
}

pub(super) fn read(mut t: Table<'_>) -> Telemetry {
    let mut telemetry = Telemetry { otlp_endpoint: endpoint(&mut t), ..Telemetry::default() };
    telemetry.otlp_headers = headers::read(&mut t, "otlp_headers");
    if let Some(name) = t.string("service_name") {
        if name.trim().is_empty() {
            t.error("service_name", "must not be empty; remove it for `berry`");
        }
        telemetry.service_name = name;
    }
    let attributes = t.string_entries("resource_attributes");
    telemetry.resource_attributes = attributes.into_iter().map(|(name, value, _)| (name.to_owned(), value)).collect();
    fields!(t => telemetry, share: sample_ratio);
    fields!(t => telemetry, whole(0..=86_400): metrics_interval_seconds);
    t.finish();
    telemetry
}

/// Reads the URL; an empty one is none. The value is in no message: a key may stand in it.
fn endpoint(t: &mut Table<'_>) -> Option<String> {
    let key = "otlp_endpoint";
    let text = t.string(key).filter(|text| !text.is_empty())?;
    let example = "for example `http://127.0.0.1:4318`";
    if !cfg!(feature = "otlp") {
        t.error(key, "this server is built without the feature `otlp`; build it with, or remove the key");
    }
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(error) => {
            t.error(key, format_args!("is no URL ({error}); {example}"));
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || text.parse::<http::Uri>().is_err() {
        t.error(key, format_args!("must begin with `https://` or `http://`; {example}"));
    } else if !url.username().is_empty() || url.password().is_some() {
        t.error(key, "must not hold a user or password; use `otlp_headers`");
    } else if url.query().is_some() || url.fragment().is_some() {
        t.error(key, "must end with its path: paths are appended to it, so `?` and `#` cannot stand");
    } else if ["/v1/traces", "/v1/metrics"].iter().any(|path| url.path().trim_end_matches('/').ends_with(path)) {
        t.error(key, "must be the base URL, without `/v1/traces` or `/v1/metrics`, which are appended");
    } else if url.port() == Some(4317) {
        t.warn(key, "4317 is the usual port of OTLP over gRPC; OTLP over HTTP, which is spoken here, has 4318");
    }
    Some(text.trim_end_matches('/').to_owned())
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::super::tests::{SMALL, errors, good};

    #[test]
    fn reads_every_key() {
        let file = format!(
            "{SMALL}\n[telemetry]\notlp_endpoint = \"https://collector.example/otlp/\"\nservice_name = \"edge\"\n\
             sample_ratio = 0.25\nmetrics_interval_seconds = 15\n[telemetry.otlp_headers]\n\"api-key\" = \"k\"\n\
             [telemetry.resource_attributes]\n\"deployment.environment.name\" = \"prod\"\n"
        );
        let telemetry = good(&file).config.telemetry;
        assert_eq!(telemetry.otlp_endpoint.as_deref(), Some("https://collector.example/otlp"));
        assert_eq!((&*telemetry.service_name, telemetry.sample_ratio), ("edge", 0.25));
        assert_eq!(telemetry.metrics_interval_seconds, 15);
        assert_eq!(telemetry.resource_attributes, [("deployment.environment.name".to_owned(), "prod".to_owned())]);
        assert!(telemetry.otlp_headers["api-key"].is_sensitive());
        assert!(!format!("{telemetry:?}").contains("\"k\""), "{telemetry:?}");
        assert_eq!(good(SMALL).config.telemetry.otlp_endpoint, None);
        let off = format!("{SMALL}\n[telemetry]\notlp_endpoint = \"\"\n");
        assert_eq!(good(&off).config.telemetry.otlp_endpoint, None);
    }

    #[test]
    fn rejects_endpoints_that_are_no_base_url() {
        for (url, message) in [
            ("collector:4318", "must begin with"),
            ("http://u:p@host", "otlp_headers"),
            ("http://host/?a=b", "must end with its path"),
            ("http://host/v1/traces", "must be the base URL"),
        ] {
            let file = format!("{SMALL}\n[telemetry]\notlp_endpoint = \"{url}\"\n");
            let errors = errors(&file).concat();
            assert!(errors.contains("telemetry.otlp_endpoint") && errors.contains(message), "{url}: {errors}");
        }
    }
}
