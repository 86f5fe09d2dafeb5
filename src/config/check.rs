//! Checks of a layer that its types cannot make, each naming the key that is to blame.

use super::layer::{Layer, ProviderLayer};
use super::secret;

/// What is wrong with a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key and those it is in, from outside in.
    pub path: Vec<&'static str>,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    fn new(path: &[&'static str], reason: impl Into<String>) -> Self {
        Self { path: path.to_vec(), reason: reason.into() }
    }
}

/// The first thing that is wrong with a layer.
pub(super) fn layer(layer: &Layer) -> Result<(), Fault> {
    if layer.repeats == Some(0) {
        return Err(Fault::new(&["repeats"], "repeats is 0: it must be at least 1"));
    }
    layer
        .sampling
        .clone()
        .sampling()
        .validate()
        .map_err(|error| Fault::new(&["sampling", error.field], error.to_string()))?;
    provider(&layer.provider, &["provider"])?;
    let Some(lanes) = &layer.lanes else { return Ok(()) };
    if lanes.is_empty() {
        return Err(Fault::new(&["lanes"], "there is no lane: name at least one"));
    }
    for (place, entry) in lanes.iter().enumerate() {
        let label = &entry.lane.label;
        if lanes[..place].iter().any(|earlier| earlier.lane.label == *label) {
            let flag = entry.lane.mode.flag();
            let reason =
                format!("two lanes are labelled \"{label}\": name one, as in \"second={flag}\"");
            return Err(Fault::new(&["lanes"], reason));
        }
        provider(&entry.provider, &["lanes"])?;
    }
    Ok(())
}

fn provider(layer: &ProviderLayer, path: &[&'static str]) -> Result<(), Fault> {
    let fault = |key, reason: String| {
        let mut path = path.to_vec();
        path.push(key);
        Err(Fault { path, reason })
    };
    if let Some(name) = layer.name.as_deref().filter(|name| !name_is_good(name)) {
        let reason = format!("there is no provider {name:?}: names are words such as local");
        return fault("provider", reason);
    }
    if layer.threads == Some(0) {
        return fault("threads", "threads is 0: it must be at least 1".into());
    }
    let limits = [layer.server.requests_per_minute, layer.server.tokens_per_minute];
    if limits.contains(&Some(0)) {
        return fault("server", "a limit a minute is at least 1".into());
    }
    if layer.server.job_requests == Some(0) {
        return fault("server", "job_requests is 0: a job has at least 1 request".into());
    }
    if let Some(Err(error)) = layer.api_key_env.as_deref().map(secret::check_name) {
        return fault("api_key_env", error.to_string());
    }
    let url = layer.base_url.as_deref();
    if let Some(Err(reason)) = url.map(check_url) {
        return fault("base_url", format!("base_url {reason}"));
    }
    Ok(())
}

fn name_is_good(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
}

/// Checks an address without repeating it: somebody may have put a key in it.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err("must begin with http:// or https://");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if rest.contains('@') {
        return Err(
            "must not carry a user name or a key: name the key's variable with api_key_env",
        );
    }
    if rest.contains(['?', '#']) {
        return Err("must end with its path: parameters are not supported, keys go by api_key_env");
    }
    if host.is_empty() || rest.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err("is not an address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Result<(), Fault> {
        let provider = ProviderLayer { base_url: Some(url.into()), ..ProviderLayer::default() };
        layer(&Layer { provider, ..Layer::default() })
    }

    #[test]
    fn an_address_with_a_key_in_it_is_refused_and_not_repeated() {
        for secret in ["https://me:s3cret@host/v1", "http://host/v1?key=s3cret"] {
            let fault = url(secret).unwrap_err();
            assert_eq!(fault.path, ["provider", "base_url"]);
            assert!(!fault.reason.contains("s3cret"), "{fault:?}");
        }
        assert_eq!(url("http://127.0.0.1:8080/v1"), Ok(()));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for bad in ["localhost:8080", "", "http://", "http:///v1", "https://a b/", "ftp://x"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_in_place_of_a_variable_name_is_refused_and_not_repeated() {
        let provider = ProviderLayer {
            api_key_env: Some("sk-proj-s3cret".into()),
            ..ProviderLayer::default()
        };
        let fault = layer(&Layer { provider, ..Layer::default() }).unwrap_err();
        assert_eq!(fault.path, ["provider", "api_key_env"]);
        assert!(!fault.reason.contains("s3cret"), "{fault:?}");
    }
}
