//! TLS: the node's certificate, and those of satellites.
//!
//! A certificate of a satellite is not checked for who issued it: that it holds the private key is proved by its signature, and that it
//! is the right one by the fingerprint in its record. So neither an authority nor a list of revoked certificates is needed: revoking the
//! client is enough.

mod certificate;
mod stream;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, NoClientAuth, ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use crate::settings::{ClientCertificates, Tls};

pub(crate) use stream::Stream;

/// How often the certificate's files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The metadata member with a client's fingerprint, and what it begins with.
pub(crate) const MEMBER: &str = "client_cert";
const PREFIX: &str = "sha256:";

/// What a listener encrypts with.
#[derive(Clone)]
pub(crate) struct Encryption {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) client_certificates: ClientCertificates,
    current: Arc<Current>,
    files: Files,
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells one version of the files from another.
type Version = [Option<(SystemTime, u64)>; 2];

impl Files {
    fn version(&self) -> Version {
        [&self.certificate, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }
}

impl Encryption {
    /// Reads the certificate, or makes one.
    ///
    /// # Errors
    /// A text for the operator.
    pub(crate) fn open(settings: &Tls) -> Result<Self, String> {
        let files = Files {
            certificate: settings.folder.join(format!("{}.crt", settings.name)),
            key: settings.folder.join(format!("{}.key", settings.name)),
        };
        certificate::make_missing(&settings.folder, &files.certificate, &files.key)?;
        let provider = Arc::new(ring::default_provider());
        let certified = certificate::load(&files.certificate, &files.key, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let verifier: Arc<dyn ClientCertVerifier> = match settings.client_certificates {
            ClientCertificates::Off => Arc::new(NoClientAuth),
            _ => Arc::new(AnyHolder(provider.signature_verification_algorithms)),
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, client_certificates: settings.client_certificates, current, files })
    }

    /// Looks for renewed files, for ever. What cannot be used is told once, and the certificate before it stays.
    pub(crate) async fn reload(self) {
        let mut loaded = self.files.version();
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let (files, before) = (self.files.clone(), loaded);
            let look = move || {
                let version = files.version();
                let changed = version != before && version.iter().all(Option::is_some);
                changed.then(|| (version, certificate::load(&files.certificate, &files.key, &ring::default_provider())))
            };
            let Ok(Some((version, certified))) = tokio::task::spawn_blocking(look).await else { continue };
            loaded = version;
            match certified {
                Ok(certified) => {
                    *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                    tracing::info!(path = %self.files.certificate.display(), "the renewed certificate is used from now on");
                }
                Err(error) => tracing::error!("the renewed certificate is not used: {error}"),
            }
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes the certificate of whoever holds its private key. It is asked for and never demanded here: a satellite is told better why it is
/// refused once its record is known.
#[derive(Debug)]
struct AnyHolder(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyHolder {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        ParsedCertificate::try_from(certificate).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The fingerprint of a certificate in DER, as it stands in a client's metadata.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    digest.iter().fold(PREFIX.to_owned(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether a stored fingerprint means this one, however its digits are written.
pub(crate) fn same_fingerprint(stored: &str, shown: &str) -> bool {
    let plain = |text: &str| -> String {
        let digits = text.trim().to_ascii_lowercase();
        digits.strip_prefix(PREFIX).unwrap_or(&digits).chars().filter(|c| *c != ':').collect()
    };
    plain(stored) == plain(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_compared_by_value() {
        let shown = fingerprint(b"a certificate");
        assert_eq!(shown.len(), PREFIX.len() + 64);
        let digits = shown[PREFIX.len()..].to_ascii_uppercase();
        let pairs: Vec<&str> = (0..32).map(|n| &digits[2 * n..2 * n + 2]).collect();
        for stored in [shown.clone(), shown.to_ascii_uppercase(), digits.clone(), pairs.join(":")] {
            assert!(same_fingerprint(&stored, &shown), "{stored}");
        }
        assert!(!same_fingerprint(&fingerprint(b"another"), &shown) && !same_fingerprint("", &shown));
    }
}
