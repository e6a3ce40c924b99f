//! What a server says about itself when a connection is made: one round trip that also logs in.

use std::fmt;

use redis::{Cmd, Value, cmd};

use super::value::{self, text};

/// The oldest server that will do.
pub(crate) const OLDEST: Version = Version(6, 0, 0);

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Version(pub(crate) u16, pub(crate) u16, pub(crate) u16);

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part[..digits].parse::<u16>().ok()
        });
        Some(Self(parts.next()??, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a server is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Nothing else.
    #[default]
    Standalone,
    /// A Redis Cluster.
    Cluster,
    /// It is a Sentinel and holds no data.
    Sentinel,
}

/// A server's answer to `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Server {
    pub(crate) version: Version,
    pub(crate) mode: Mode,
    /// Whether it takes no writes, being another's copy.
    pub(crate) is_replica: bool,
}

impl Server {
    /// Reads the answer; `None` if it has no version.
    pub(crate) fn read(hello: &Value) -> Option<Self> {
        let pairs = value::pairs(hello)?;
        let field = |name: &str| pairs.iter().find(|(key, _)| text(key) == Some(name)).and_then(|(_, v)| text(v));
        Some(Self {
            version: Version::parse(field("version")?)?,
            mode: match field("mode") {
                Some("cluster") => Mode::Cluster,
                Some("sentinel") => Mode::Sentinel,
                _ => Mode::Standalone,
            },
            is_replica: matches!(field("role"), Some("replica" | "slave")),
        })
    }
}

/// Who logs in.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Option<crate::config::Secret>,
}

impl Login {
    /// `HELLO` with the protocol's version, and with what lets us in if there is something.
    pub(crate) fn hello(&self, protocol: u8) -> Cmd {
        let mut hello = cmd("HELLO");
        hello.arg(protocol);
        // As the Python node's library: the default user needs no login where the server has no password.
        if self.password.is_some() || self.user != "default" {
            hello.arg("AUTH").arg(&self.user).arg(self.password.as_ref().map_or("", |p| p.text()));
        }
        hello.arg("SETNAME").arg("hivemind-host");
        hello
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_what_forks_add() {
        assert_eq!(Version::parse("7.0.15"), Some(Version(7, 0, 15)));
        assert_eq!(Version::parse("8.0-rc1"), Some(Version(8, 0, 0)));
        assert_eq!(Version::parse("255.255.255"), Some(Version(255, 255, 255)));
        assert_eq!(Version::parse("unstable"), None);
        assert!(Version(5, 0, 14) < OLDEST && Version(6, 0, 0) >= OLDEST);
    }
}
