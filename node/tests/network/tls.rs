//! Encrypted connections, and satellites that show a certificate.

use std::sync::Arc;

use crate::common::{Fixture, HANGS, Told, eventually, query};
use futures_util::StreamExt as _;
use hivemind_node::event::Refusal;
use hivemind_node::settings::{ClientCertificates, Tls};
use hivemind_store::clients::MetadataChange;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio_tungstenite::tungstenite::Message;

/// As a satellite that was told to accept a certificate of the node's own.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn encrypted(fixture: &Fixture, shown: Option<&CertifiedKey<rcgen::KeyPair>>) -> TlsStream<TcpStream> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything));
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(vec![pair.cert.der().clone()], key).expect("a certificate")
        }
    };
    let tcp = TcpStream::connect(fixture.node.address()).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("TLS")
}

/// The first thing that is heard.
async fn told(fixture: &Fixture, shown: Option<&CertifiedKey<rcgen::KeyPair>>) -> Told {
    let stream = encrypted(fixture, shown).await;
    let url = format!("ws://localhost/?{}", query("kitchen"));
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("an upgrade");
    match tokio::time::timeout(HANGS, socket.next()).await.expect("an answer") {
        Some(Ok(Message::Text(text))) => Told::Text(text.to_string()),
        Some(Ok(Message::Close(Some(frame)))) => Told::Closed(frame.code.into(), frame.reason.to_string()),
        _ => Told::Gone,
    }
}

async fn fixture(client_certificates: ClientCertificates) -> Fixture {
    Fixture::with(|settings| {
        let folder = settings.identity.with_file_name("certificates");
        settings.tls = Some(Tls { folder, name: "hivemind".to_owned(), client_certificates });
    })
    .await
}

fn pair() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec!["satellite".to_owned()]).expect("a certificate")
}

fn greeted(told: &Told) -> bool {
    matches!(told, Told::Text(text) if text.contains("hello"))
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_compared_as_told() {
    let (right, wrong) = (pair(), pair());
    let closed = |reason: &str| Told::Closed(1008, reason.to_owned());
    let (missing, other, unknown) = (
        closed("client certificate required"),
        closed("client certificate is not the one of this client"),
        closed("no client certificate is known for this client"),
    );
    for policy in [ClientCertificates::Off, ClientCertificates::Optional, ClientCertificates::Require] {
        let fixture = fixture(policy).await;
        let none = told(&fixture, None).await;
        let any = told(&fixture, Some(&wrong)).await;
        match policy {
            ClientCertificates::Require => assert_eq!((none, any), (missing.clone(), unknown.clone())),
            _ => assert!(greeted(&none) && greeted(&any), "{policy:?}: {none:?} {any:?}"),
        }
        let print = format!("\"{}\"", hivemind_node::fingerprint(right.cert.der()));
        let change = MetadataChange { set: vec![("client_cert".to_owned(), print)], unset: Vec::new() };
        let client = fixture.stored("kitchen").await;
        fixture.clients.set_metadata(&client, &change).await.expect("set");
        assert!(greeted(&told(&fixture, Some(&right)).await), "{policy:?}");
        let (none, any) = (told(&fixture, None).await, told(&fixture, Some(&wrong)).await);
        match policy {
            ClientCertificates::Off => assert!(greeted(&none) && greeted(&any), "{none:?} {any:?}"),
            _ => assert_eq!((none, any), (missing.clone(), other.clone())),
        }
        let refused = fixture.watch.refused(Refusal::Certificate);
        assert_eq!(
            refused,
            match policy {
                ClientCertificates::Off => 0,
                ClientCertificates::Optional => 2,
                _ => 4,
            }
        );
    }
}

/// Somebody meant to bind the client to a certificate, and wrote it down wrongly: it is not admitted without.
#[tokio::test]
async fn what_is_stored_as_a_certificate_and_is_none_admits_nobody() {
    let fixture = fixture(ClientCertificates::Optional).await;
    let shown = pair();
    let print = hivemind_node::fingerprint(shown.cert.der());
    for (stored, admits) in [
        ("null".to_owned(), true),
        ("\"\"".to_owned(), true),
        (format!("[\"{print}\"]"), false),
        ("5".to_owned(), false),
        ("{}".to_owned(), false),
        ("false".to_owned(), false),
    ] {
        let change = MetadataChange { set: vec![("client_cert".to_owned(), stored.clone())], unset: Vec::new() };
        let client = fixture.stored("kitchen").await;
        fixture.clients.set_metadata(&client, &change).await.expect("set");
        for shown in [None, Some(&shown)] {
            let told = told(&fixture, shown).await;
            let closed = Told::Closed(1008, "what is stored as the certificate of this client is none".to_owned());
            assert!(if admits { greeted(&told) } else { told == closed }, "{stored}: {told:?}");
        }
    }
}

#[tokio::test]
async fn renewed_files_are_used_without_a_restart() {
    let fixture = fixture(ClientCertificates::Off).await;
    let shown = async || {
        let stream = encrypted(&fixture, None).await;
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let first = shown().await;
    assert_eq!(first, shown().await);
    let renewed = pair();
    let folder = fixture.folder.path().join("certificates");
    // As a renewal does: one after the other. In between they do not fit, and what was there stays.
    std::fs::write(folder.join("hivemind.crt"), renewed.cert.pem()).expect("written");
    assert_eq!(first, shown().await);
    std::fs::write(folder.join("hivemind.key"), renewed.signing_key.serialize_pem()).expect("written");
    eventually("the renewed one is shown", async || shown().await == renewed.cert.der().to_vec()).await;
}

#[tokio::test]
async fn what_is_not_tls_is_dropped() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let fixture = fixture(ClientCertificates::Off).await;
    let mut tcp = TcpStream::connect(fixture.node.address()).await.expect("a connection");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(HANGS, tcp.read_to_end(&mut answer)).await.expect("an end");
    assert!(!answer.starts_with(b"HTTP"));
    eventually("told", async || fixture.watch.refused(Refusal::Malformed) == 1).await;
    assert!(greeted(&told(&fixture, None).await));
}
