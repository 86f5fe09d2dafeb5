//! HTTP clients: what every one of this program has in common.

use std::error::Error;
use std::io;
use std::sync::Arc;

use reqwest::{Client, ClientBuilder, redirect};
use rustls::crypto::ring;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// The beginning of a client. It says who asks, follows no redirects by itself (a key must not
/// go where nobody meant it to), and checks certificates against those that the system trusts.
///
/// # Errors
/// TLS cannot be set up.
pub fn client() -> Result<ClientBuilder, rustls::Error> {
    Ok(Client::builder()
        .user_agent(concat!("batchgen/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .tls_backend_preconfigured(tls()?))
}

/// TLS for this client alone: a program that uses the crate chooses its own.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let builder = || {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
    };
    let mut config = match builder()?.with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        // a bare container trusts nobody; servers without TLS can be asked all the same
        Err(_) => builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What is wrong with the certificate that a server showed, where that is why nothing was asked.
pub fn distrusted(error: &reqwest::Error) -> Option<String> {
    match tls_error(error)? {
        problem @ rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some(format!(
                "{problem}: its authority is not among those that this system trusts (a bare \
                 container has none before ca-certificates is installed)"
            ))
        }
        problem @ rustls::Error::InvalidCertificate(_) => Some(problem.to_string()),
        _ => None,
    }
}

/// The error of TLS behind another one.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // an I/O error does not count what it carries among its causes
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let carried = carried.map(|carried| carried as &(dyn Error + 'static));
    error.downcast_ref().or_else(|| tls_error(carried.or_else(|| error.source())?))
}
