//! Who a satellite says it is: the `authorization` parameter of the address it opens.
//!
//! Satellites do not percent-encode the base64 they send, and a query's `+` is a space: the reference refuses whoever's credentials
//! have a `+` in them. Here both are read as what was meant.

use std::fmt;

use hivemind_model::base64;

/// What a satellite gives when it connects. Neither proves anything; the handshake does.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How the satellite names itself, as `HiveMessageBusClientV0.0.1`.
    pub user_agent: String,
    /// The identifier of its record.
    pub access_key: String,
}

/// Why there are no credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// No such parameter.
    Missing,
    /// It is not standard base64.
    NotBase64,
    /// What it stands for is not UTF-8.
    NotText,
    /// There is no colon between name and key.
    NoColon,
    /// The name or the key is empty.
    Empty,
}

impl AuthorizationError {
    /// The reason a node closes with.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        "invalid authorization"
    }
}

/// Nothing of what was given: it may be a secret that was put in the wrong place.
impl fmt::Display for AuthorizationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no parameter 'authorization'",
            Self::NotBase64 => "an 'authorization' that is not base64",
            Self::NotText => "an 'authorization' that is not UTF-8",
            Self::NoColon => "an 'authorization' without a colon between name and key",
            Self::Empty => "an 'authorization' without a name or without a key",
        })
    }
}

impl std::error::Error for AuthorizationError {}

impl Credentials {
    /// Reads the query of a request's address, without its `?`. If the parameter is repeated, the last one counts.
    ///
    /// # Errors
    /// If there are no credentials in it.
    pub fn from_query(query: &str) -> Result<Self, AuthorizationError> {
        let mut pairs = query.rsplit('&').filter_map(|pair| pair.split_once('='));
        let given = pairs.find(|(name, _)| percent_decoded(name) == b"authorization");
        let (_, value) = given.ok_or(AuthorizationError::Missing)?;
        let coded = percent_decoded(value).into_iter().map(|b| if b == b' ' { '+' } else { char::from(b) });
        let plain = base64::decode(&coded.collect::<String>()).ok_or(AuthorizationError::NotBase64)?;
        let plain = String::from_utf8(plain).map_err(|_| AuthorizationError::NotText)?;
        let (user_agent, access_key) = plain.split_once(':').ok_or(AuthorizationError::NoColon)?;
        if user_agent.is_empty() || access_key.is_empty() {
            return Err(AuthorizationError::Empty);
        }
        Ok(Self { user_agent: user_agent.to_owned(), access_key: access_key.to_owned() })
    }

    /// The query to send, as satellites do: not percent-encoded.
    #[must_use]
    pub fn to_query(&self) -> String {
        format!("authorization={}", base64::encode(format!("{}:{}", self.user_agent, self.access_key).as_bytes()))
    }
}

/// The access key is an identifier, but it is nobody's business either.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user_agent", &self.user_agent).finish_non_exhaustive()
    }
}

/// What is no escape stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let mut escaped = [0];
        let is_escape = byte == b'%' && after.len() >= 2 && base16ct::mixed::decode(&after[..2], &mut escaped).is_ok();
        out.push(if is_escape { escaped[0] } else { byte });
        rest = if is_escape { &after[2..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(String, String), AuthorizationError> {
        Credentials::from_query(query).map(|c| (c.user_agent, c.access_key))
    }

    fn pair(name: &str, key: &str) -> Result<(String, String), AuthorizationError> {
        Ok((name.to_owned(), key.to_owned()))
    }

    #[test]
    fn what_satellites_send_is_read() {
        assert_eq!(read("authorization=dHJhY2VyOmtleQ=="), pair("tracer", "key"));
        assert_eq!(read("authorization=dHJhY2VyOmtleQ%3D%3d"), pair("tracer", "key"));
        assert_eq!(read("a=b&authorization=eDp5&authorization=dHJhY2VyOmtleQ==&c"), pair("tracer", "key"));
        let sent = Credentials { user_agent: "a>>>>>".to_owned(), access_key: "k:ey?>".to_owned() };
        assert!(sent.to_query().contains('+'), "{}", sent.to_query());
        for query in [sent.to_query(), sent.to_query().replace('+', " "), sent.to_query().replace('+', "%2B")] {
            assert_eq!(read(&query), pair("a>>>>>", "k:ey?>"), "{query}");
        }
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        for (query, error) in [
            ("", AuthorizationError::Missing),
            ("authorization", AuthorizationError::Missing),
            ("Authorization=eDp5", AuthorizationError::Missing),
            ("authorization=", AuthorizationError::NoColon),
            ("authorization=eDp", AuthorizationError::NotBase64),
            ("authorization=eDp5%", AuthorizationError::NotBase64),
            ("authorization=eDp-", AuthorizationError::NotBase64),
            ("authorization=\u{e9}\u{e9}", AuthorizationError::NotBase64),
            ("authorization=/zp5", AuthorizationError::NotText),
            ("authorization=eHh4", AuthorizationError::NoColon),
            ("authorization=Onl5", AuthorizationError::Empty),
            ("authorization=eHg6", AuthorizationError::Empty),
        ] {
            assert_eq!(read(query), Err(error), "{query}");
        }
    }

    #[test]
    fn the_access_key_is_not_shown() {
        let credentials = Credentials { user_agent: "name".to_owned(), access_key: "planted".to_owned() };
        assert!(!format!("{credentials:?}").contains("planted"));
    }
}
