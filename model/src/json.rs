//! JSON text, read without losing anything.
//!
//! Every string and number of a parsed document is a slice of its source, so what is written back is what was there: integers
//! beyond 64 bits, `1.0` against `1`, escapes of lone surrogates. The dialect is that of Python's `json` module, which wrote the
//! stores this project opens: `NaN`, `Infinity` and `-Infinity` are numbers, and of repeated names the last counts.

mod build;
pub(crate) mod canonical;
pub(crate) mod names;
mod parse;
mod text;

pub use build::{Flat, Part};
pub use names::Name;
pub use parse::{MAX_DEPTH, ParseError, check, first, members, outline, parse, without_comments};
pub use text::{quote, quote_into};

use std::borrow::Cow;

use names::ByName;

/// A parsed document, borrowing from its source.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written.
    Number(&'a str),
    /// A string.
    String(Text<'a>),
    /// A list.
    Array(Vec<Json<'a>>),
    /// An object's members in their order; a name appears once.
    Object(Vec<Member<'a>>),
}

/// A JSON string as it was written between its quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Text<'a> {
    /// The source, escapes included, quotes excluded.
    pub raw: &'a str,
}

impl<'a> Text<'a> {
    /// The characters it stands for, for people: a lone surrogate, which no Rust string can hold, reads as U+FFFD. What is stored or
    /// compared must not be that; see [`Text::name`] and [`Text::to_str`].
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        text::lossy(self.name().into_bytes())
    }

    /// What it stands for, to be compared with others: nothing is lost in it.
    #[must_use]
    pub fn name(self) -> Name<'a> {
        Name::new(text::decode(self.raw))
    }

    /// The characters it stands for; `None` if a lone surrogate is among them.
    #[must_use]
    pub fn to_str(self) -> Option<Cow<'a, str>> {
        self.name().into_str()
    }
}

/// A name and its value in an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'a> {
    /// The name.
    pub name: Text<'a>,
    /// The value.
    pub value: Json<'a>,
    /// The value's source text.
    pub raw: &'a str,
}

impl<'a> Json<'a> {
    /// The member of this name, if this is an object that has it.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member<'a>> {
        match self {
            Self::Object(members) => members.iter().find(|m| m.name.name() == *name),
            _ => None,
        }
    }

    /// What this is, in words for a message.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Whether both have the same canonical value: objects regardless of order, numbers by value, strings decoded.
    #[must_use]
    pub fn same(&self, other: &Json<'_>) -> bool {
        match (self, other) {
            (Self::Null, Json::Null) => true,
            (Self::Bool(a), Json::Bool(b)) => a == b,
            (Self::Number(a), Json::Number(b)) => crate::number::same_number(a, b),
            (Self::String(a), Json::String(b)) => a.name() == b.name(),
            (Self::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Self::Object(a), Json::Object(b)) => {
                let others = (a.len() == b.len()).then(|| ByName::of(b));
                others.is_some_and(|b| a.iter().all(|m| b.get(&m.name.name()).is_some_and(|o| m.value.same(&o.value))))
            }
            _ => false,
        }
    }

    /// Writes the document with single spaces after `,` and `:`, as Python's `json.dumps` does by default.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Self::Number(raw) => out.push_str(raw),
            Self::String(text) => text.write(out),
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, member) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    member.name.write(out);
                    out.push_str(": ");
                    member.value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Writes the document over several lines, four spaces a level, object members in their own order, as Python's
    /// `json.dumps(…, indent=4)` does. `level` is the indentation the first line already has.
    pub fn write_indented(&self, level: usize, out: &mut String) {
        match self {
            Self::Array(items) if !items.is_empty() => {
                block(out, level, ['[', ']'], items.iter(), |out, item| item.write_indented(level + 1, out));
            }
            Self::Object(members) if !members.is_empty() => {
                block(out, level, ['{', '}'], members.iter(), |out, member| {
                    member.name.write(out);
                    out.push_str(": ");
                    member.value.write_indented(level + 1, out);
                });
            }
            other => other.write(out),
        }
    }
}

impl Text<'_> {
    fn write(self, out: &mut String) {
        out.push('"');
        out.push_str(self.raw);
        out.push('"');
    }
}

fn block<T>(
    out: &mut String,
    level: usize,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    let indent = |out: &mut String, level| {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", level));
    };
    out.push(open);
    for (i, item) in items.enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        indent(out, level + 1);
        write(out, item);
    }
    indent(out, level);
    out.push(close);
}

#[cfg(test)]
mod tests;
