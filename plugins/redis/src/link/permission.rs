//! What an ACL or a password forbids, in words that say which line of the server's ACL would allow it.

use hivemind_abi::model::Error;

use super::address::Address;

/// The `denied` for a refusal with this code.
pub(crate) fn denied(code: &str, detail: &str, name: &str, user: &str, address: &Address) -> Error {
    let message = match code {
        "NOAUTH" => format!(
            "{address} wants a password before {name}: expected the settings username and password to let us in; set them, or look at \
             ACL LIST there"
        ),
        "WRONGPASS" => format!(
            "{address} knows no enabled user {user:?} with this password; check the settings username and password, and ACL LIST there"
        ),
        "DENIED" => format!(
            "{address} is in protected mode and takes connections from its own machine only: give it a password (requirepass) or \
             an address to bind to, and set password here"
        ),
        _ => match forbidden_command(detail) {
            // A script is called by its hash, and in full where the server has not seen it.
            Some(command @ ("eval" | "evalsha")) => format!(
                "the ACL of {address} forbids user {user:?} the command {command}; allow scripts with: ACL SETUSER {user} +eval +evalsha"
            ),
            Some(command) => format!(
                "the ACL of {address} forbids user {user:?} the command {command}; allow it with: ACL SETUSER {user} +{command}"
            ),
            None if detail.contains("channel") => {
                format!("the ACL of {address} forbids user {user:?} a channel of {name}: {detail}")
            }
            None if detail.contains("key") => format!(
                "the ACL of {address} forbids user {user:?} a key of {name}; allow our keys with: ACL SETUSER {user} ~<prefix>:* \
                 (the prefix is the setting index_prefix)"
            ),
            None => format!(
                "the ACL of {address} forbids user {user:?} the command {name}: {detail}; allow it with: ACL SETUSER {user} +{}",
                name.to_lowercase()
            ),
        },
    };
    Error::denied(message).place(address.to_string())
}

/// The command between quotes in `NOPERM`'s words.
pub(crate) fn forbidden_command(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once("run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_name =
        !command.is_empty() && command.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'|' | b'.' | b'_' | b'-'));
    is_name.then_some(command)
}
