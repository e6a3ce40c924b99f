//! What can be asked: a command, a pipeline, a script; each knows its bytes, its answers and its key.

use std::borrow::Cow;

use redis::{Cmd, Pipeline, ServerError, Value, cmd};

use super::connection::Answers;
use super::failure::{Cut, Why};
use super::reply::Reply;
use super::slot::{argument, command_slot, slot_of};

/// A request and its answers.
pub(crate) trait Exchange {
    /// What it gives.
    type Reply;

    /// Its name in messages.
    fn name(&self) -> Cow<'_, str>;

    /// The slot it belongs to on a cluster; `None` if any master will do.
    fn slot(&self) -> Option<u16>;

    /// Writes the request.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads the answers.
    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Self::Reply, Cut>;

    /// Whether nothing was carried out, and why.
    fn refusal<'r>(&self, reply: &'r Self::Reply) -> Option<&'r ServerError>;

    /// Whether it is asked again at once, on another connection, where the first one proves to be closed. Then nobody need look at a
    /// connection's socket before, which costs as much as all that is done with the answer.
    fn is_asked_again(&self) -> bool {
        false
    }
}

/// The error, if that is what one command or script was answered.
fn refused(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

fn command_name(command: &Cmd) -> Cow<'_, str> {
    argument(command, 0).map_or(Cow::Borrowed("nothing"), String::from_utf8_lossy)
}

/// One command.
pub(crate) struct One<'a>(pub(crate) &'a Cmd);

impl Exchange for One<'_> {
    type Reply = Value;

    fn name(&self) -> Cow<'_, str> {
        command_name(self.0)
    }

    fn slot(&self) -> Option<u16> {
        command_slot(self.0)
    }

    fn pack(&self, out: &mut Vec<u8>) {
        self.0.write_packed_command(out);
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Value, Cut> {
        answers.next()
    }

    fn refusal<'r>(&self, reply: &'r Value) -> Option<&'r ServerError> {
        refused(reply)
    }
}

/// One command that changes nothing, its first word but one being its key, and what reads its answer.
pub(crate) struct Look<'a, F> {
    pub(crate) words: &'a [&'a [u8]],
    pub(crate) read: F,
}

impl<T, F: Fn(Reply<'_>) -> Option<T>> Exchange for Look<'_, F> {
    /// Or what was answered instead.
    type Reply = Result<T, Value>;

    fn name(&self) -> Cow<'_, str> {
        self.words.first().map_or(Cow::Borrowed("nothing"), |name| String::from_utf8_lossy(name))
    }

    fn slot(&self) -> Option<u16> {
        self.words.get(1).map(|key| slot_of(key))
    }

    fn pack(&self, out: &mut Vec<u8>) {
        out.reserve(self.words.iter().map(|word| HEAD + word.len()).sum());
        head(b'*', self.words.len(), out);
        self.words.iter().for_each(|bytes| word(bytes, out));
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Self::Reply, Cut> {
        let reply = answers.next_reply()?;
        match (self.read)(reply) {
            Some(read) => Ok(Ok(read)),
            None => reply.to_value().map(Err).map_err(|what| Cut { sent: true, why: Why::Garbled(what) }),
        }
    }

    fn refusal<'r>(&self, reply: &'r Self::Reply) -> Option<&'r ServerError> {
        reply.as_ref().err().and_then(refused)
    }

    fn is_asked_again(&self) -> bool {
        true
    }
}

/// Room for what stands around a word.
const HEAD: usize = 16;

fn word(bytes: &[u8], out: &mut Vec<u8>) {
    head(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A count or length as the protocol has it.
#[expect(clippy::cast_possible_truncation, reason = "one digit")]
fn head(kind: u8, number: usize, out: &mut Vec<u8>) {
    let digit = |number: usize| b'0' + (number % 10) as u8;
    match number {
        0..=9 => out.extend_from_slice(&[kind, digit(number), b'\r', b'\n']),
        10..=99 => out.extend_from_slice(&[kind, digit(number / 10), digit(number), b'\r', b'\n']),
        _ => {
            out.push(kind);
            out.extend_from_slice(number.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Commands whose answers stand for themselves.
pub(crate) struct Many<'a> {
    pub(crate) commands: Vec<&'a Cmd>,
}

impl Exchange for Many<'_> {
    type Reply = Vec<Value>;

    fn name(&self) -> Cow<'_, str> {
        self.commands.first().map_or(Cow::Borrowed("nothing"), |first| command_name(first))
    }

    fn slot(&self) -> Option<u16> {
        self.commands.iter().find_map(|command| command_slot(command))
    }

    fn pack(&self, out: &mut Vec<u8>) {
        for command in &self.commands {
            command.write_packed_command(out);
        }
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Vec<Value>, Cut> {
        self.commands.iter().map(|_| answers.next()).collect()
    }

    fn refusal<'r>(&self, _: &'r Vec<Value>) -> Option<&'r ServerError> {
        None
    }
}

/// Commands between `MULTI` and `EXEC`.
pub(crate) struct Transaction<'a>(pub(crate) &'a Pipeline);

impl Exchange for Transaction<'_> {
    type Reply = Result<Vec<Value>, ServerError>;

    fn name(&self) -> Cow<'_, str> {
        self.0.cmd_iter().next().map_or(Cow::Borrowed("EXEC"), command_name)
    }

    fn slot(&self) -> Option<u16> {
        self.0.cmd_iter().find_map(command_slot)
    }

    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        for command in self.0.cmd_iter() {
            command.write_packed_command(out);
        }
        out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Self::Reply, Cut> {
        let begun = answers.next()?;
        let mut refused = None;
        let mut carried_out = false;
        for _ in 0..self.0.len() {
            match answers.next()? {
                // The first names the cause; `EXEC` only says that there was one.
                Value::ServerError(error) => drop(refused.get_or_insert(error)),
                _ => carried_out = true,
            }
        }
        if let Value::ServerError(error) = begun {
            answers.next()?;
            if carried_out {
                let what = "MULTI was refused, and what came after it was carried out without";
                return Err(Cut { sent: true, why: Why::Io(std::io::Error::other(what)) });
            }
            return Ok(Err(error));
        }
        Ok(match (answers.next()?, refused) {
            (Value::Array(values), _) => Ok(values),
            (_, Some(error)) | (Value::ServerError(error), None) => Err(error),
            // Given only to those who watch a key, which nobody here does.
            (other, None) => Ok(vec![other]),
        })
    }

    fn refusal<'r>(&self, reply: &'r Self::Reply) -> Option<&'r ServerError> {
        reply.as_ref().err()
    }
}

/// A request to a node that a slot is on its way to.
pub(crate) struct Asking<'a, E>(pub(crate) &'a E);

impl<E: Exchange> Exchange for Asking<'_, E> {
    type Reply = E::Reply;

    fn name(&self) -> Cow<'_, str> {
        self.0.name()
    }

    fn slot(&self) -> Option<u16> {
        self.0.slot()
    }

    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
        self.0.pack(out);
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<E::Reply, Cut> {
        answers.next()?;
        self.0.read(answers)
    }

    fn refusal<'r>(&self, reply: &'r E::Reply) -> Option<&'r ServerError> {
        self.0.refusal(reply)
    }

    fn is_asked_again(&self) -> bool {
        self.0.is_asked_again()
    }
}

/// A script that the server runs as a whole. It must read and write the keys it is given and no others.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(source: &'static str) -> Self {
        let hash = openssl::sha::sha1(source.as_bytes());
        Self { source, hash: hash.iter().map(|byte| format!("{byte:02x}")).collect() }
    }

    /// The call by the script's hash, which the server knows the script by once it has seen it.
    pub(crate) fn by_hash<'a, K, A>(&'a self, keys: &'a [K], args: &'a [A]) -> Call<'a, K, A> {
        Call { name: "EVALSHA", script: &self.hash, keys, args }
    }

    /// The call that shows it to the server.
    pub(crate) fn in_full<'a, K, A>(&self, keys: &'a [K], args: &'a [A]) -> Call<'a, K, A> {
        Call { name: "EVAL", script: self.source, keys, args }
    }

    /// The same of a script that only reads, which the server then sees to (Redis 7).
    pub(crate) fn reading_by_hash<'a, K, A>(&'a self, keys: &'a [K], args: &'a [A]) -> Call<'a, K, A> {
        Call { name: "EVALSHA_RO", ..self.by_hash(keys, args) }
    }

    /// The same in full.
    pub(crate) fn reading_in_full<'a, K, A>(&self, keys: &'a [K], args: &'a [A]) -> Call<'a, K, A> {
        Call { name: "EVAL_RO", ..self.in_full(keys, args) }
    }
}

/// A call of a script.
pub(crate) struct Call<'a, K, A> {
    name: &'static str,
    script: &'a str,
    keys: &'a [K],
    args: &'a [A],
}

impl<K: AsRef<[u8]>, A: AsRef<[u8]>> Exchange for Call<'_, K, A> {
    type Reply = Value;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name)
    }

    fn slot(&self) -> Option<u16> {
        self.keys.first().map(|key| slot_of(key.as_ref()))
    }

    fn pack(&self, out: &mut Vec<u8>) {
        let words = self.keys.iter().map(AsRef::as_ref).chain(self.args.iter().map(AsRef::as_ref));
        out.reserve(words.clone().map(|word| HEAD + word.len()).sum::<usize>() + self.script.len() + 4 * HEAD);
        head(b'*', 3 + self.keys.len() + self.args.len(), out);
        word(self.name.as_bytes(), out);
        word(self.script.as_bytes(), out);
        word(self.keys.len().to_string().as_bytes(), out);
        words.for_each(|bytes| word(bytes, out));
    }

    fn read(&self, answers: &mut Answers<'_, '_>) -> Result<Value, Cut> {
        answers.next()
    }

    fn refusal<'r>(&self, reply: &'r Value) -> Option<&'r ServerError> {
        refused(reply)
    }
}

/// Proves that `MULTI` is allowed, before something is sent that must not be carried out without it.
pub(crate) fn empty_transaction() -> [Cmd; 2] {
    [cmd("MULTI"), cmd("DISCARD")]
}
