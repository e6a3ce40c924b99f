//! TLS, as the Python node's library does it.
//!
//! The decision behind it: **OpenSSL itself, and not one of the redis crate's two ways.** Its `tls-rustls` cannot read every key that
//! OpenSSL reads, checks certificates by stricter rules than the Python node's OpenSSL does, and would bring a second crypto library; its
//! `tls-native-tls` is the OpenSSL that SQLCipher brings already, but cannot check a certificate without checking its name, and
//! makes its handshake without a deadline. Through `openssl` each setting becomes the very call that Python's `ssl` makes for it,
//! and a refusal says which certificate failed and why.

use std::path::Path;

use hivemind_abi::Host;
use hivemind_abi::model::{Error, Result};
use openssl::pkey::PKey;
use openssl::ssl::{ErrorCode, HandshakeError, MidHandshakeSslStream, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509VerifyResult;
use zeroize::Zeroizing;

use super::address::Address;
use super::failure::{Failure, Then, printable};
use super::limit::Limit;
use super::socket::Socket;
use crate::config::{CertReqs, Config};

/// What every encrypted connection begins with.
pub(crate) struct Tls {
    connector: SslConnector,
    checks_name: bool,
    has_certificate: bool,
}

impl Tls {
    /// Reads the files. `None` without `use_ssl`.
    ///
    /// # Errors
    /// `invalid` or `denied`, naming the file that cannot be used.
    pub(crate) fn new(config: &Config, host: &Host) -> Result<Option<Self>> {
        if !config.use_ssl {
            return Ok(None);
        }
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|e| broken("prepare TLS", &e))?;
        let found = openssl_probe::probe();
        // The system's own certificates; there may be none, which matters only where they are needed.
        for place in &found.cert_dir {
            let _ = builder.load_verify_locations(None, Some(place));
        }
        if let Some(file) = &found.cert_file {
            let _ = builder.load_verify_locations(Some(file), None);
        }
        if let Some(file) = &config.ssl_ca_certs {
            readable("ssl_ca_certs", file)?;
            builder
                .load_verify_locations(Some(Path::new(file)), None)
                .map_err(|e| unusable("ssl_ca_certs", file, "certificates in PEM", &e))?;
        }
        if let Some(certificate) = &config.ssl_certfile {
            let key = config.ssl_keyfile.as_ref().unwrap_or(certificate);
            let key_setting = if config.ssl_keyfile.is_some() { "ssl_keyfile" } else { "ssl_certfile" };
            readable("ssl_certfile", certificate)?;
            readable(key_setting, key)?;
            warn_of_readers(key_setting, key, host);
            builder
                .set_certificate_chain_file(certificate)
                .map_err(|e| unusable("ssl_certfile", certificate, "a certificate in PEM, and those that signed it", &e))?;
            let wanted = "the unencrypted private key of ssl_certfile, in PEM";
            let text = Zeroizing::new(std::fs::read(key).map_err(|e| Error::from(e).context(key_setting).place(key))?);
            // Without a callback OpenSSL would ask at the terminal for the password of an encrypted key.
            let private =
                PKey::private_key_from_pem_callback(&text, |_| Ok(0)).map_err(|e| unusable(key_setting, key, wanted, &e))?;
            builder.set_private_key(&private).map_err(|e| unusable(key_setting, key, wanted, &e))?;
        }
        let verify = if config.ssl_cert_reqs == CertReqs::None { SslVerifyMode::NONE } else { SslVerifyMode::PEER };
        builder.set_verify(verify);
        let (connector, checks_name) = (builder.build(), config.checks_hostname());
        Ok(Some(Self { connector, checks_name, has_certificate: config.ssl_certfile.is_some() }))
    }

    /// Shakes hands.
    pub(crate) fn encrypt(
        &self,
        mut socket: Socket,
        address: &Address,
        limit: &mut Limit<'_>,
    ) -> std::result::Result<SslStream<Socket>, Failure> {
        let name = address.host().unwrap_or_default();
        let configured = self.connector.configure().map(|c| c.verify_hostname(self.checks_name));
        let configured = configured.map_err(|e| Failure::new(broken("prepare TLS", &e), Then::GiveUp))?;
        let over = |ended: super::limit::Ended| Failure::new(ended.at(address, false), Then::GiveUp);
        let slice = limit.slice().map_err(over)?;
        socket.set_timeout(slice).map_err(|e| Failure::new(Error::io(e.to_string()), Then::Look))?;
        let mut attempt = configured.connect(name, socket);
        loop {
            match attempt {
                Ok(stream) => return Ok(stream),
                Err(HandshakeError::WouldBlock(mut half)) => {
                    limit.waited(slice);
                    let slice = limit.slice().map_err(over)?;
                    half.get_mut().set_timeout(slice).map_err(|e| Failure::new(Error::io(e.to_string()), Then::Look))?;
                    attempt = half.handshake();
                }
                Err(HandshakeError::Failure(half)) => return Err(self.failed(&half, address)),
                Err(HandshakeError::SetupFailure(error)) => {
                    return Err(Failure::new(broken("prepare TLS", &error), Then::GiveUp));
                }
            }
        }
    }

    fn failed(&self, half: &MidHandshakeSslStream<Socket>, address: &Address) -> Failure {
        let verdict = half.ssl().verify_result();
        if verdict != X509VerifyResult::OK {
            return Failure::new(distrusted(verdict, address), Then::GiveUp);
        }
        let error = half.error();
        let is_end = error.code() == ErrorCode::ZERO_RETURN || (error.code() == ErrorCode::SYSCALL && error.io_error().is_none());
        if is_end || error.io_error().is_some() || error.to_string().contains("unexpected eof") {
            let message = format!(
                "{address} ended the connection during the TLS handshake; expected a Redis server with a tls-port there. If it speaks \
                 without TLS, remove use_ssl"
            );
            return Failure::new(Error::unavailable(message).known_not_applied().place(address.to_string()), Then::Look);
        }
        let said = error.to_string();
        Failure::new(self.explain(&said, address).unwrap_or_else(|| not_tls(&said, address)), Then::GiveUp)
    }

    /// What the server did not like about us, which it may say during the handshake or, with TLS 1.3, at the first read.
    pub(crate) fn explain(&self, said: &str, address: &Address) -> Option<Error> {
        let has = |words: &str| said.contains(words);
        let wants =
            has("certificate required") || (!self.has_certificate && (has("handshake failure") || has("bad certificate")));
        let message = if wants {
            format!("{address} wants a client certificate: set ssl_certfile and ssl_keyfile (or tls-auth-clients no there)")
        } else if has("unknown ca") || has("bad certificate") || has("certificate unknown") || has("certificate expired") {
            format!(
                "{address} does not accept our certificate ({}): check that ssl_certfile is signed by its tls-ca-cert-file and has \
                 not expired",
                printable(said)
            )
        } else {
            return None;
        };
        Some(Error::denied(message).place(address.to_string()))
    }
}

fn not_tls(said: &str, address: &Address) -> Error {
    let said = printable(said);
    let message = format!(
        "the TLS handshake with {address} failed: {said}. Is it a tls-port of a Redis server? If it has none, remove use_ssl"
    );
    Error::unavailable(message).place(address.to_string())
}

/// The server's certificate is not what we expect.
fn distrusted(verdict: X509VerifyResult, address: &Address) -> Error {
    const EXPIRED: i32 = 10;
    const NOT_YET: i32 = 9;
    const HOSTNAME: i32 = 62;
    const IP: i32 = 64;
    let why = verdict.error_string();
    let next = match verdict.as_raw() {
        EXPIRED => "renew it on the server",
        NOT_YET => "compare the clocks of both machines",
        HOSTNAME | IP => "connect by a name that is in it, have it made for this one, or set ssl_check_hostname to false",
        _ => "set ssl_ca_certs to the file with the certificate that signed it",
    };
    Error::denied(format!("the certificate of {address} is not accepted: {why}; {next}")).place(address.to_string())
}

fn broken(doing: &str, error: &openssl::error::ErrorStack) -> Error {
    Error::io(format!("cannot {doing}: {}", printable(&error.to_string())))
}

fn unusable(setting: &str, file: &str, expected: &str, error: &openssl::error::ErrorStack) -> Error {
    let said = printable(&error.to_string());
    Error::invalid(format!("{setting}: expected {expected} in {file}, found something else: {said}")).place(file)
}

/// OpenSSL's words for a file that is not there are about its own functions.
fn readable(setting: &str, file: &str) -> Result<()> {
    let opened = std::fs::File::open(file).and_then(|f| f.metadata());
    let wrong = |what: String| format!("{setting}: expected a file that can be read, found {file}: {what}");
    match opened {
        Ok(about) if about.is_file() => Ok(()),
        Ok(_) => Err(Error::invalid(wrong("not a regular file".to_owned())).place(file)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Error::denied(wrong(format!("{error}; let the node's user read it"))).place(file))
        }
        Err(error) => Err(Error::invalid(wrong(error.to_string())).place(file)),
    }
}

#[cfg(unix)]
fn warn_of_readers(setting: &str, file: &str, host: &Host) {
    use std::os::unix::fs::MetadataExt;
    if let Ok(mode) = std::fs::metadata(file).map(|about| about.mode() & 0o777)
        && mode & 0o007 != 0
    {
        host.warn(&format!(
            "{setting}: every user of this machine may use the private key in {file} (mode {mode:03o}); make it 0600: chmod 600 {file}"
        ));
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_: &str, _: &str, _: &Host) {}
