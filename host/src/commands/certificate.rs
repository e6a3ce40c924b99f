//! A client's certificate, of which only the fingerprint is stored.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject as _};
use tokio_rustls::rustls::server::ParsedCertificate;

use crate::failure::Failure;
use crate::files;

/// The metadata member that holds it.
pub(super) const MEMBER: &str = "client_cert";

/// The largest file that is read: many times any certificate.
const LARGEST: u64 = 1 << 20;

/// The fingerprint of the certificate in a file; of several the first, which is the client's own.
pub(super) fn fingerprint_of(file: &Path) -> Result<String, Failure> {
    let wrong = |what: String| {
        Failure::usage(format!("--cert: {}: {what}", file.display())).help("give a certificate as PEM or DER; not its key")
    };
    let content = read(file).map_err(|e| wrong(e.to_string()))?;
    let der = if content.starts_with(b"-----") || content.windows(11).any(|w| w == b"-----BEGIN ") {
        match CertificateDer::from_pem_slice(&content) {
            Ok(der) => der,
            Err(Error::NoItemsFound) => return Err(wrong("expected a certificate, found something else in PEM".to_owned())),
            Err(_) => return Err(wrong("expected a certificate, found PEM that cannot be read".to_owned())),
        }
    } else {
        CertificateDer::from(content)
    };
    // What TLS could not read would lock the client out for ever.
    ParsedCertificate::try_from(&der).map_err(|_| wrong("expected a certificate, found something else".to_owned()))?;
    Ok(hivemind_node::fingerprint(&der))
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    files::open_regular(file)?.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(std::io::Error::other("expected at most 1 MiB, found more"));
    }
    Ok(content)
}
