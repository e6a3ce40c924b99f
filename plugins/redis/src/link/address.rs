//! Where a server is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A server's place, cheap to clone. Shown in messages; it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Address {
    /// Host and port.
    Tcp(Arc<str>, u16),
    /// Path of a socket.
    Unix(Arc<PathBuf>),
}

impl Address {
    pub(crate) fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp(host.into(), port)
    }

    /// The host, for TLS; none of a path.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp(host, _) => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// Reads `host:port`, as servers and Sentinels write it: an IPv6 address has brackets or none, and a suffix `@…` is a bus port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once('@').map_or(text, |(place, _)| place);
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self::tcp(host, port.parse().ok()?))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_servers_write_them() {
        for (text, shown) in [
            ("10.0.0.1:7000", Some("10.0.0.1:7000")),
            ("10.0.0.1:7000@17000", Some("10.0.0.1:7000")),
            ("::1:7000", Some("[::1]:7000")),
            ("[::1]:7000", Some("[::1]:7000")),
            (":7000", Some(":7000")),
            ("a:99999", None),
            ("a", None),
        ] {
            assert_eq!(Address::parse(text).map(|a| a.to_string()).as_deref(), shown, "{text}");
        }
    }
}
