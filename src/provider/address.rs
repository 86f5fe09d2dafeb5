//! Addresses of servers: a base URL as people write it, joined with the paths of an API.

use std::fmt;

use reqwest::Url;

use super::{Failure, FailureKind};

/// The address of a server, with or without the version segment that people copy along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    root: Url,
    version: String,
}

impl Address {
    /// Reads `localhost:8080`, `http://host/v1`, `https://host/openai/v1/` and the like.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = |why: &str| {
            // a password must not get into the message
            let shown = text.rsplit('@').next().unwrap_or_default();
            let message = format!("the address \"{shown}\" {why}; write http://host:port");
            Failure::new(FailureKind::InvalidRequest, message)
        };
        let text = text.trim();
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut root =
            Url::parse(&full).map_err(|error| invalid(&format!("is not one: {error}")))?;
        if !matches!(root.scheme(), "http" | "https") {
            return Err(invalid("is neither http nor https"));
        }
        if !root.username().is_empty() || root.password().is_some() {
            return Err(invalid("holds a name or a password: name the key's variable instead"));
        }
        if root.query().is_some() || root.fragment().is_some() {
            return Err(invalid("has a query or a fragment"));
        }
        let path = root.path().to_owned();
        let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let version = segments.iter().position(|segment| is_version(segment));
        let (above, version) = match version {
            Some(place) => (&segments[..place], segments[place..].join("/")),
            None => (&segments[..], "v1".to_owned()),
        };
        root.set_path(&above.join("/"));
        Ok(Self { root, version })
    }

    /// A path of the versioned API, such as `chat/completions`.
    pub fn api(&self, path: &str) -> Url {
        self.at(&format!("{}/{path}", self.version))
    }

    /// A path of the server itself, such as `health`.
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        let above = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{above}/{path}"));
        url
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        self.root.host_str().unwrap_or_default()
    }

    /// Whether the server runs on this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        let ip = host.parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether what is sent can be read on the way.
    pub fn is_plain(&self) -> bool {
        self.root.scheme() == "http"
    }
}

impl fmt::Display for Address {
    /// Host and port, and the path above the API if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host())?;
        if let Some(port) = self.root.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.root.path().trim_end_matches('/'))
    }
}

/// `v1`, `v4`, `v1beta`: from such a segment on, the path is the API's own.
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v');
    digits.and_then(|rest| rest.chars().next()).is_some_and(|first| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_joined_exactly_once() {
        for (base, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/models"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/models"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/models"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1/models"),
            ("localhost:1234", "http://localhost:1234/v1/models"),
            ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/models"),
            ("https://proxy.example/llm/", "https://proxy.example/llm/v1/models"),
            ("https://x.example/v1beta/openai/", "https://x.example/v1beta/openai/models"),
            ("[::1]:80", "http://[::1]/v1/models"),
        ] {
            assert_eq!(Address::parse(base).unwrap().api("models").as_str(), url, "{base}");
        }
    }

    #[test]
    fn a_path_of_the_server_stands_beside_the_version() {
        let address = Address::parse("http://host:9/above/v1").unwrap();
        assert_eq!(address.at("api/tags").as_str(), "http://host:9/above/api/tags");
        assert_eq!(address.to_string(), "host:9/above");
        let bare = Address::parse("host:9").unwrap();
        assert_eq!(
            (bare.at("health").as_str(), &*bare.to_string()),
            ("http://host:9/health", "host:9")
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for (text, part) in [
            ("ftp://host", "is neither http nor https"),
            ("", "is not one"),
            ("http://me:hunter2@host/v1", "holds a name or a password"),
            ("http://host/v1?key=1", "has a query"),
        ] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.kind, FailureKind::InvalidRequest);
            assert!(failure.message.contains(part), "{}", failure.message);
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }

    #[test]
    fn this_machine_is_recognised() {
        for (host, here) in
            [("localhost", true), ("127.0.0.2:8", true), ("[::1]:8", true), ("10.0.0.1", false)]
        {
            assert_eq!(Address::parse(host).unwrap().is_loopback(), here, "{host}");
        }
    }
}
