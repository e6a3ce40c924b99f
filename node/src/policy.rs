//! What a client's messages are checked against: the whitelist of its record, the reserved session, then the chain of the settings.
//! The first denial counts, and whatever cannot be decided is one.

use std::borrow::Cow;
use std::sync::Arc;

use hivemind_model::json;
use hivemind_store::Client;

use crate::settings::Policy;
use crate::standing::{Blacklist, Item, Standing};
use crate::text::told;

/// The session of the device that the agent runs on. Nobody but an administrator may speak in it.
const DEVICE_SESSION: &str = "default";

/// What is said about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allowed {
        /// These skills are added to the session's `blacklisted_skills`.
        blacklisted_skills: Vec<String>,
        /// These intents are added to the session's `blacklisted_intents`.
        blacklisted_intents: Vec<String>,
    },
    /// It does not pass.
    Denied(Denial),
}

/// Why a message does not pass, in the words that the satellite is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// A stable word, the same as the Python node's: see the constants.
    pub code: &'static str,
    /// For people.
    pub reason: Cow<'static, str>,
    /// JSON text of an object: what the reason is about.
    pub data: Cow<'static, str>,
}

impl Denial {
    /// The type is not in the whitelist.
    pub const DISALLOWED_TYPE: &'static str = "acl_disallowed_type";
    /// The session is the device's own.
    pub const DEFAULT_SESSION: &'static str = "session_id_default_forbidden";
    /// Whether it passes could not be found out.
    pub const POLICY_ERROR: &'static str = "policy_error";
    /// It cannot be read.
    pub const MALFORMED: &'static str = "malformed_payload";
    /// It passes, but the agent cannot be reached.
    pub const BACKEND: &'static str = "backend_unavailable";

    fn new(code: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), data: Cow::Borrowed("{}") }
    }

    /// The payload of an envelope of this type, or `what` of it, cannot be read.
    pub(crate) fn malformed(what: &str) -> Self {
        Self::new(Self::MALFORMED, format!("{what} can not be reconstructed (HIVEMIND-MSG-1 §4)"))
    }

    /// The client's record cannot be read now. What the storage says about it is not for satellites.
    pub(crate) fn storage() -> Self {
        let reason = "MessageTypeACLPolicy: failed to resolve allowed_types: the client's record can not be read now";
        Self::new(Self::POLICY_ERROR, reason)
    }

    /// The agent is not there.
    pub(crate) fn unavailable(reason: &'static str) -> Self {
        Self::new(Self::BACKEND, reason)
    }

    /// The whitelist does not have the type. `allowed` is the whitelist as JSON.
    pub(crate) fn disallowed(message_type: &str, allowed: &str) -> Self {
        let message_type = told(message_type);
        let mut data = String::from("{\"msg_type\":");
        json::quote_into(message_type, &mut data);
        data.push_str(",\"allowed\":");
        data.push_str(allowed);
        data.push('}');
        let reason = format!("{message_type} not in allowed_types");
        Self { code: Self::DISALLOWED_TYPE, reason: reason.into(), data: data.into() }
    }

    /// A client that may send nothing sends bytes.
    pub(crate) fn disallowed_binary() -> Self {
        let reason = "binary payloads are denied for a client with an empty allowed_types whitelist";
        Self { data: Cow::Borrowed("{\"allowed\":[]}"), ..Self::new(Self::DISALLOWED_TYPE, reason) }
    }

    /// A list of the session to which something has to be added is none.
    pub(crate) fn no_list(field: &str) -> Self {
        let mutation = if field == SKILLS { "AddBlacklistedSkill" } else { "AddBlacklistedIntent" };
        let data =
            format!("{{\"policy\":\"OVOSAgentPolicy\",\"mutation\":\"{mutation}\",\"error\":\"session.{field} is not a list\"}}");
        Self { data: data.into(), ..Self::new(Self::POLICY_ERROR, "mutation raised") }
    }
}

/// The session's field that blacklisted skills are added to.
pub(crate) const SKILLS: &str = "blacklisted_skills";
/// The session's field that blacklisted intents are added to.
pub(crate) const INTENTS: &str = "blacklisted_intents";

/// What the chain adds to the session of a message that passes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Additions<'s> {
    pub(crate) skills: &'s [Item],
    pub(crate) intents: &'s [Item],
}

/// Whether the whitelist lets a type pass: what is asked first, as it needs nothing but the type.
pub(crate) fn check_type(standing: &Standing, message_type: &str) -> Result<(), Denial> {
    if standing.allows(message_type) {
        return Ok(());
    }
    Err(Denial::disallowed(message_type, &standing.allowed_json()))
}

/// The rest of the chain. `session_id` is the one that the agent would see.
pub(crate) fn check_session<'s>(chain: &[Policy], standing: &'s Standing, session_id: &str) -> Result<Additions<'s>, Denial> {
    if session_id == DEVICE_SESSION && !standing.client.is_admin {
        let reason = "non-admin clients may not inject 'default' session payloads";
        let data = Cow::Borrowed("{\"session_id\":\"default\"}");
        return Err(Denial { data, ..Denial::new(Denial::DEFAULT_SESSION, reason) });
    }
    let mut additions = Additions::default();
    for policy in chain {
        match policy {
            Policy::Ovos => additions = blacklists(standing)?,
        }
    }
    Ok(additions)
}

/// What the record forbids in sessions.
pub(crate) fn blacklists<'s>(standing: &'s Standing) -> Result<Additions<'s>, Denial> {
    let items = |list: &'s Blacklist, member: &str| match list {
        Blacklist::Items(items) => Ok(items.as_slice()),
        Blacklist::Unreadable => {
            let error = format!("{{\"policy\":\"OVOSAgentPolicy\",\"error\":\"metadata.{member} is not a list\"}}");
            Err(Denial { data: error.into(), ..Denial::new(Denial::POLICY_ERROR, "policy raised") })
        }
    };
    Ok(Additions { skills: items(&standing.skills, "skill_blacklist")?, intents: items(&standing.intents, "intent_blacklist")? })
}

/// What would be said about a message of this type by this client, in the session that the agent would see: what `policy test` shows.
#[must_use]
pub fn judge(chain: &[Policy], client: &Arc<Client>, message_type: &str, session_id: &str) -> Verdict {
    let standing = Standing::new(Arc::clone(client));
    let checked = check_type(&standing, message_type).and_then(|()| check_session(chain, &standing, session_id));
    let texts = |items: &[Item]| items.iter().map(|item| item.text.clone()).collect();
    match checked {
        Ok(Additions { skills, intents }) => {
            Verdict::Allowed { blacklisted_skills: texts(skills), blacklisted_intents: texts(intents) }
        }
        Err(denial) => Verdict::Denied(denial),
    }
}
