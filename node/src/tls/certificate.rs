//! The node's own certificate: read from where the Python node keeps it, made on the first run if there is none.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, Error, InconsistentKeys};

use crate::files;

/// As long as the Python node's.
const LASTS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Makes what is missing: key and certificate, or the certificate of a key that is there. A certificate without its key is an error.
pub(super) fn make_missing(folder: &Path, certificate: &Path, key: &Path) -> Result<(), String> {
    let failed = |what: &str, path: &Path, error: &dyn std::fmt::Display| format!("cannot {what} {}: {error}", path.display());
    if certificate.exists() {
        let found = key.exists();
        return found.then_some(()).ok_or_else(|| {
            let expected = failed("find", key, &format!("it should be the key of {}", certificate.display()));
            format!("{expected}; put it there, or remove the certificate to have both made")
        });
    }
    files::make_folder(folder).map_err(|e| failed("make the folder", folder, &e))?;
    let pair = if key.exists() {
        let pem = std::fs::read_to_string(key).map_err(|e| failed("read", key, &e))?;
        KeyPair::from_pem(&pem).map_err(|e| {
            let what = failed("make a certificate for the key", key, &e);
            format!("{what}; put its certificate to {}", certificate.display())
        })?
    } else {
        let pair = KeyPair::generate().map_err(|e| failed("make the key", key, &e))?;
        files::create(key, pair.serialize_pem().as_bytes()).map_err(|e| failed("write", key, &e))?;
        pair
    };
    let made = self_signed(&pair).map_err(|e| failed("make the certificate", certificate, &e))?;
    files::create(certificate, made.as_bytes()).map_err(|e| failed("write", certificate, &e))?;
    tracing::info!(path = %certificate.display(), "the node has got a certificate of its own; satellites have to be told to accept it");
    Ok(())
}

fn self_signed(pair: &KeyPair) -> Result<String, rcgen::Error> {
    let host = host_name();
    let named = CertificateParams::new(vec![host.clone(), "localhost".to_owned()]);
    // A machine may have a name that no certificate can bear.
    let mut params = named.or_else(|_| CertificateParams::new(vec!["localhost".to_owned()]))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "HiveMind");
    params.distinguished_name.push(DnType::CommonName, host);
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + LASTS).into();
    Ok(params.self_signed(pair)?.pem())
}

#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    "localhost".to_owned()
}

/// Reads a certificate, those that go with it, and its key.
pub(super) fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let wrong = |path: &Path, error: &dyn std::fmt::Display| {
        format!("cannot use {}: expected PEM with a certificate or private key, found: {error}", path.display())
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<_, _>>().map_err(|e| wrong(certificate, &e))?;
    if chain.is_empty() {
        return Err(wrong(certificate, &"no certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| wrong(key, &e))?;
    let apart = |error: &dyn std::fmt::Display| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{certificate} and {key} cannot be used together: {error}; is one of them of another renewal?")
    };
    let signing = provider.key_provider.load_private_key(private).map_err(|e| apart(&e))?;
    let own = signing.public_key().map(|own| own.to_vec());
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        // The Python node makes certificates of X.509 version 1, which rustls serves but does not read. Their key is looked for as it
        // is written there.
        Err(Error::InvalidCertificate(CertificateError::Other(_)))
            if own.is_some_and(|own| certified.cert[0].windows(own.len()).any(|part| part == own)) =>
        {
            Ok(certified)
        }
        Err(error) => Err(apart(&error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::ring::default_provider;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_a_lost_certificate_is_made_again_for_its_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("certs");
        let (crt, key) = (place.join("hivemind.crt"), place.join("hivemind.key"));
        make_missing(&place, &crt, &key).expect("made");
        load(&crt, &key, &default_provider()).expect("a pair");
        let read = |path: &Path| std::fs::read(path).expect("a file");
        let (first_crt, first_key) = (read(&crt), read(&key));
        make_missing(&place, &crt, &key).expect("nothing to do");
        assert_eq!((read(&crt), read(&key)), (first_crt, first_key.clone()));
        std::fs::remove_file(&crt).expect("removed");
        make_missing(&place, &crt, &key).expect("made");
        assert_eq!(read(&key), first_key);
        load(&crt, &key, &default_provider()).expect("a pair");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&key).expect("a key").permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (crt, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        std::fs::write(&crt, "no PEM").expect("written");
        let error = make_missing(folder.path(), &crt, &key).expect_err("no key");
        assert!(error.contains("a.key") && error.contains("a.crt"), "{error}");
        std::fs::remove_file(&crt).expect("removed");
        make_missing(folder.path(), &crt, &key).expect("made");
        std::fs::remove_file(&key).expect("removed");
        std::fs::write(&key, KeyPair::generate().expect("a key").serialize_pem()).expect("written");
        let error = load(&crt, &key, &default_provider()).expect_err("another key");
        assert!(error.contains("cannot be used together"), "{error}");
    }
}
