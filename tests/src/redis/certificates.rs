//! A certificate authority of one test's own, with a certificate for the server and one for its clients.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

/// Files in PEM, gone when this is.
#[derive(Debug)]
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes an authority, a certificate for `localhost` and 127.0.0.1, and one for clients.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn new() -> Self {
        Self::naming(&["localhost"], &["127.0.0.1"])
    }

    /// The same with a server's certificate for these names and addresses alone.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn naming(names: &[&str], addresses: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("hivemind-tls-").tempdir().expect("a folder");
        write_all(folder.path(), names, addresses).unwrap_or_else(|e| panic!("certificates: {e}"));
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The server's certificate and key.
    #[must_use]
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.file("server.pem"), self.file("server.key"))
    }

    /// A client's certificate and key.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.file("client.pem"), self.file("client.key"))
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn write_all(folder: &Path, names: &[&str], addresses: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let key = new_key()?;
    // Two of one name would be told apart by their signatures alone, which a server reports as another fault.
    let name = format!("test authority {:016x}", fastrand::u64(..));
    let authority = signed(&name, &key, None, |builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)
    })?;
    std::fs::write(folder.join("ca.pem"), authority.to_pem()?)?;
    for (name, of_server) in [("server", true), ("client", false)] {
        let own = new_key()?;
        let certificate = signed(name, &own, Some((&authority, &key)), |builder| {
            let mut usage = ExtendedKeyUsage::new();
            // A node of a cluster is a client of the others.
            let usage = if of_server { usage.server_auth().client_auth() } else { usage.client_auth() };
            builder.append_extension(usage.build()?)?;
            builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
            if of_server {
                let mut alternatives = SubjectAlternativeName::new();
                for name in names {
                    alternatives.dns(name);
                }
                for address in addresses {
                    alternatives.ip(address);
                }
                let extension = alternatives.build(&builder.x509v3_context(Some(&authority), None))?;
                builder.append_extension(extension)?;
            }
            Ok(())
        })?;
        std::fs::write(folder.join(format!("{name}.pem")), certificate.to_pem()?)?;
        std::fs::write(folder.join(format!("{name}.key")), own.private_key_to_pem_pkcs8()?)?;
    }
    Ok(())
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)
}

/// A certificate of this name, signed by `by` or by itself.
fn signed(
    name: &str,
    key: &PKey<Private>,
    by: Option<(&X509, &PKey<Private>)>,
    extend: impl FnOnce(&mut X509Builder) -> Result<(), ErrorStack>,
) -> Result<X509, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(by.map_or(&*subject, |(authority, _)| authority.subject_name()))?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(30)?)?;
    extend(&mut builder)?;
    builder.sign(by.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::super::Server;
    use super::*;

    /// What a client of another make says that shows these files.
    fn ping(server: &Server, authority: &Certificates, client: Option<&Certificates>, host: &str) -> Output {
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", &server.port().to_string(), "--tls", "--cacert"]).arg(authority.authority());
        if let Some(client) = client {
            let (cert, key) = client.client();
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        command.arg("PING").output().expect("redis-cli runs")
    }

    #[test]
    fn a_server_with_tls_lets_in_whom_its_authority_knows_and_nobody_else() {
        let (own, other) = (Certificates::new(), Certificates::new());
        let server = Server::with_tls(&own, &[]);
        let said = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(said(&ping(&server, &own, Some(&own), "127.0.0.1")), "PONG");
        for (why, output) in [
            ("the wrong authority", ping(&server, &other, Some(&own), "127.0.0.1")),
            ("another's client", ping(&server, &own, Some(&other), "127.0.0.1")),
            ("no client's certificate", ping(&server, &own, None, "127.0.0.1")),
        ] {
            assert_ne!(said(&output), "PONG", "{why}");
        }
    }
}
