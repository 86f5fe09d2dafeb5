//! Servers behind TLS: a certificate that the system trusts is taken, no other one is. On Linux,
//! where a variable can say what the system trusts.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use batchgen::provider::FailureKind;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::answer;
use super::heard::{open, spec};
use super::scripted::Scripted;
use crate::headless::{command, errors};

/// An authority, and a key with its certificate for `localhost`.
struct Trust {
    authority: String,
    server: ServerConfig,
}

fn trust(name: &str) -> Trust {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    Trust { authority, server }
}

/// A port that takes TLS and passes on to a server without.
async fn front(config: ServerConfig, server: &Scripted) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = server.address.trim_start_matches("http://").to_owned();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // clients that do not trust us go away here
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut behind = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    port
}

/// A run against a server, with the authorities of a file for those of the system.
async fn run(home: &Path, address: &str, authorities: &Path) -> Output {
    let line = format!(
        "run --provider openai --base-url {address} --model m --prompts words.txt \
         --lanes sequential --warmup 0"
    );
    let mut command = command(home, &line);
    command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn certificates_are_checked_against_those_that_the_system_trusts() {
    let server = Scripted::start(|request| answer(&request.path)).await;
    let Trust { authority, server: config } = trust("ours");
    let port = front(config, &server).await;
    let home = tempfile::tempdir().unwrap();
    let (ours, others) = (home.path().join("ours.pem"), home.path().join("others.pem"));
    std::fs::write(&ours, authority).unwrap();
    std::fs::write(&others, trust("others").authority).unwrap();
    std::fs::write(home.path().join("words.txt"), "hi\nhow are you\n").unwrap();

    let trusted = run(home.path(), &format!("https://localhost:{port}"), &ours).await;
    assert_eq!(trusted.status.code(), Some(0), "{}", errors(&trusted));
    assert!(!server.requests().is_empty());

    let before = server.requests().len();
    let cases = [
        ("localhost", &others, "its authority is not among those that this system trusts"),
        ("127.0.0.1", &ours, "certificate not valid for name \"127.0.0.1\""),
    ];
    for (address, authorities, problem) in cases {
        let refused = run(home.path(), &format!("https://{address}:{port}"), authorities).await;
        let said = errors(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let wanted = format!("cannot trust {address}:{port}: ");
        assert!(said.contains(&wanted) && said.contains(problem), "{said}");
        assert!(!said.contains("is the server running"), "{said}");
    }
    assert_eq!(server.requests().len(), before, "something was sent to a server not trusted");
}

#[tokio::test]
async fn where_nobody_is_trusted_servers_without_tls_are_asked_all_the_same() {
    let server = Scripted::start(|request| answer(&request.path)).await;
    let port = front(trust("ours").server, &server).await;
    let home = tempfile::tempdir().unwrap();
    let nobody = home.path().join("nobody.pem");
    std::fs::write(&nobody, "").unwrap();
    std::fs::write(home.path().join("words.txt"), "hi\n").unwrap();

    let plain = run(home.path(), &server.address, &nobody).await;
    assert_eq!(plain.status.code(), Some(0), "{}", errors(&plain));
    let refused = run(home.path(), &format!("https://localhost:{port}"), &nobody).await;
    let said = errors(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("ca-certificates"), "{said}");
}

/// Nothing heals by itself here, so nothing is asked again.
#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_taken_for_one_that_is_down() {
    let server = Scripted::start(|request| answer(&request.path)).await;
    let port = front(trust("ours").server, &server).await;
    let spec = spec("openai", &format!("https://localhost:{port}"));
    let failure = match open(&spec).await {
        Err(failure) => failure,
        Ok(_) => panic!("a server that nobody vouches for was opened"),
    };
    assert_eq!(failure.kind, FailureKind::Auth, "{failure}");
    assert!(failure.message.contains(&format!("cannot trust localhost:{port}")), "{failure}");
}
