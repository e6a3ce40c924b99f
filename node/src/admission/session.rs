//! Sessions: what a connection said in its HELLO, and what a message says over it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use hivemind_model::json::{self, Text};
use hivemind_protocol::{Object, RawJson};

use crate::policy::{Additions, Denial, INTENTS, SKILLS};
use crate::standing::Item;
use crate::text::{push_member, spelled, unquoted};

/// The session of a connection: what a message does not say is taken from here.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    /// The session's id as its satellite knows it, written between quotes.
    id: String,
    /// All else but the pipeline, which each message has to name. Names are written between quotes; nulls count as absent.
    fields: Vec<(String, String)>,
    at: HashMap<String, usize>,
    size: usize,
}

/// A session's id for the agent.
#[derive(Debug)]
pub(crate) struct Id {
    /// As JSON.
    json: String,
    /// As text.
    pub(crate) text: String,
}

impl Baseline {
    /// A session that has only an id.
    pub(crate) fn of_id(id: &str) -> Self {
        let quoted = json::quote(id);
        Self { id: unquoted(&quoted).to_owned(), ..Self::default() }
    }

    /// The session of a HELLO. Where it names no id, this one stays.
    pub(crate) fn new(session: &Object<'_>, id: &str) -> Self {
        let mut baseline = Self::of_id(id);
        for (name, value) in session.iter() {
            match &*spelled(name) {
                "session_id" => {
                    if let Some(id) = declared(value) {
                        id.clone_into(&mut baseline.id);
                    }
                }
                "pipeline" => {}
                name => baseline.push(name, value.get()),
            }
        }
        baseline
    }

    /// Sets the site, which a HELLO names beside the session.
    pub(crate) fn set_site(&mut self, site: RawJson<'_>) {
        match self.at.get("site_id") {
            Some(at) => site.get().clone_into(&mut self.fields[*at].1),
            None => self.push("site_id", site.get()),
        }
    }

    /// The session's id as its satellite knows it.
    pub(crate) fn id_text(&self) -> Cow<'_, str> {
        Text { raw: &self.id }.decode()
    }

    fn push(&mut self, name: &str, value: &str) {
        self.size += name.len() + value.len() + 4;
        self.at.insert(name.to_owned(), self.fields.len());
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// About how many bytes it has.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// The id that the agent sees: of the message or of the connection, in a namespace unless it is an administrator's.
    pub(crate) fn id(&self, session: Option<&Object<'_>>, namespace: Option<&str>) -> Id {
        let id = session.and_then(|session| session.get("session_id")).and_then(declared).unwrap_or(&self.id);
        let json = match namespace {
            Some(namespace) => format!("\"{namespace}:{id}\""),
            None => format!("\"{id}\""),
        };
        let text = Text { raw: unquoted(&json) }.decode().into_owned();
        Id { json, text }
    }

    /// Writes the session of a message over this one: its fields count unless they are null.
    pub(crate) fn write(
        &self,
        session: Option<&Object<'_>>,
        id: &Id,
        additions: Additions<'_>,
        out: &mut String,
    ) -> Result<(), Denial> {
        let mut lists = [(SKILLS, None, additions.skills), (INTENTS, None, additions.intents)];
        let mut said = vec![false; self.fields.len()];
        let mut next = 0;
        out.push('{');
        let mut field = |name: &str, value: &str, out: &mut String| {
            match lists.iter_mut().find(|(list, _, items)| *list == name && !items.is_empty()) {
                Some((_, found, _)) => *found = Some(value.to_owned()),
                None => push_member(out, name, value),
            };
        };
        for (name, value) in session.into_iter().flat_map(Object::iter).filter(|(_, value)| !value.is_null()) {
            let name = spelled(name);
            if let Some(at) = self.position(&name, next) {
                said[at] = true;
                next = at + 1;
            }
            if name != "session_id" {
                field(&name, value.get(), out);
            }
        }
        for ((name, value), _) in self.fields.iter().zip(&said).filter(|((_, value), said)| !**said && value != "null") {
            field(name, value, out);
        }
        for (name, found, items) in lists.into_iter().filter(|(_, _, items)| !items.is_empty()) {
            let list = with_items(found.as_deref(), items).ok_or_else(|| Denial::no_list(name))?;
            push_member(out, name, &list);
        }
        push_member(out, "session_id", &id.json);
        out.push('}');
        Ok(())
    }

    /// Where a field is. A satellite writes its fields in the same order each time, so the one after the last is looked at first.
    fn position(&self, name: &str, next: usize) -> Option<usize> {
        match self.fields.get(next) {
            Some((here, _)) if here == name => Some(next),
            _ => self.at.get(name).copied(),
        }
    }
}

/// An id that is declared, as it is written between quotes: a text that is not empty, or a number.
fn declared(id: RawJson<'_>) -> Option<&str> {
    let id = id.get();
    match id.as_bytes().first()? {
        b'"' => Some(unquoted(id)).filter(|id| !id.is_empty()),
        b'-' | b'1'..=b'9' => Some(id),
        _ => None,
    }
}

/// A list with what it lacks of these items; `None` if it is no list.
fn with_items(list: Option<&str>, items: &[Item]) -> Option<String> {
    let list = list.unwrap_or("[]");
    let old = RawJson::parse(list).ok()?.items().ok()?;
    let known: HashSet<Cow<'_, str>> = old.iter().filter_map(|item| item.as_str()).collect();
    let mut out = String::with_capacity(list.len() + 64);
    let mut push = |item: &str| {
        out.push(if out.is_empty() { '[' } else { ',' });
        out.push_str(item);
    };
    old.iter().for_each(|item| push(item.get()));
    items.iter().filter(|item| !known.contains(item.text.as_str())).for_each(|item| push(&item.json));
    out.push(']');
    Some(out)
}
