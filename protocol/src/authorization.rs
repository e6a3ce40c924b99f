//! Who a satellite says it is: the `authorization` parameter of the address it opens.

/// What a satellite gives when it connects. Neither proves anything; the handshake does.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How the satellite names itself, as `HiveMessageBusClientV0.0.1`.
    pub user_agent: String,
    /// The identifier of its record.
    pub access_key: String,
}

/// Why there are no credentials. To the satellite all are `invalid authorization`.
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

impl Credentials {
    /// Reads the query of a request's address, without its `?`.
    ///
    /// # Errors
    /// If there are no credentials in it.
    pub fn from_query(_query: &str) -> Result<Self, AuthorizationError> {
        todo!()
    }
}
