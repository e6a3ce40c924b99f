//! Certificates for the tests, made when they are needed.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

/// A certificate and its key, and the files with them.
pub(crate) struct Certificate {
    x509: X509,
    key: PKey<Private>,
    pub(crate) file: PathBuf,
    pub(crate) key_file: PathBuf,
}

fn make(folder: &Path, name: &str, host: Option<&str>, days: (i64, i64), signer: Option<&Certificate>) -> Certificate {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
    let mut subject = X509Name::builder().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    let mut builder = X509::builder().expect("a builder");
    let mut serial = BigNum::new().expect("a number");
    serial.rand(64, MsbOption::MAYBE_ZERO, false).expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    let at = |day: i64| Asn1Time::from_unix(now + day * 86_400).expect("a time");
    builder.set_version(2).expect("a version");
    builder.set_serial_number(&serial.to_asn1_integer().expect("a number")).expect("a number");
    builder.set_subject_name(&subject).expect("a name");
    builder.set_issuer_name(signer.map_or(&subject, |s| s.x509.subject_name())).expect("a name");
    builder.set_pubkey(&key).expect("a key");
    builder.set_not_before(&at(days.0)).expect("a time");
    builder.set_not_after(&at(days.1)).expect("a time");
    if signer.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().expect("an extension")).expect("an extension");
    }
    if let Some(host) = host {
        let mut names = SubjectAlternativeName::new();
        if host.parse::<std::net::IpAddr>().is_ok() {
            names.ip(host)
        } else {
            names.dns(host)
        };
        let names = names.build(&builder.x509v3_context(signer.map(|s| &*s.x509), None)).expect("an extension");
        builder.append_extension(names).expect("an extension");
    }
    builder.sign(signer.map_or(&key, |s| &s.key), MessageDigest::sha256()).expect("a signature");
    let x509 = builder.build();
    let (file, key_file) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&file, x509.to_pem().expect("PEM")).expect("written");
    std::fs::write(&key_file, key.private_key_to_pem_pkcs8().expect("PEM")).expect("written");
    Certificate { x509, key, file, key_file }
}

/// One that signs others.
pub(crate) fn authority(folder: &Path, name: &str) -> Certificate {
    make(folder, name, None, (-1, 30), None)
}

/// One for this host, or for a client.
pub(crate) fn signed(folder: &Path, name: &str, host: Option<&str>, signer: &Certificate) -> Certificate {
    make(folder, name, host, (-1, 30), Some(signer))
}

/// One whose time is over.
pub(crate) fn expired(folder: &Path, name: &str, host: Option<&str>, signer: &Certificate) -> Certificate {
    make(folder, name, host, (-30, -1), Some(signer))
}
