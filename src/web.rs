//! HTTP clients: what every one of this program has in common.

use std::error::Error;
use std::io;

use reqwest::{Client, ClientBuilder, redirect};
use rustls::crypto::{CryptoProvider, ring};

/// The beginning of a client. It says who asks, follows no redirects by itself (a key must not
/// go where nobody meant it to), and checks certificates against those that the system trusts.
pub fn client() -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // an error says that another thread was faster
        let _ = ring::default_provider().install_default();
    }
    Client::builder()
        .user_agent(concat!("batchgen/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
}

/// What is wrong with the certificate that a server showed, where that is why nothing was asked,
/// and what to do.
pub fn distrusted(error: &reqwest::Error) -> Option<String> {
    let problem = tls_error(error)?;
    matches!(problem, rustls::Error::InvalidCertificate(_)).then(|| {
        format!(
            "{problem}; certificates of an authority that the system does not know can be given \
             in a file that SSL_CERT_FILE names"
        )
    })
}

/// The error of TLS behind another one.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // an I/O error does not count what it carries among its causes
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let carried = carried.map(|carried| carried as &(dyn Error + 'static));
    error.downcast_ref().or_else(|| tls_error(carried.or_else(|| error.source())?))
}
