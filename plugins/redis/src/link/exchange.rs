//! What can be asked: a command, a pipeline, a script; each knows its bytes, its answers and its key.

use std::borrow::Cow;

use redis::{Cmd, Pipeline, ServerError, Value, cmd};

use super::connection::Answers;
use super::failure::{Cut, Why};
use super::slot::{argument, command_slot};

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
        match reply {
            Value::ServerError(error) => Some(error),
            _ => None,
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
    pub(crate) fn by_hash(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        Self::call("EVALSHA", &self.hash, keys, args)
    }

    /// The call that shows it to the server.
    pub(crate) fn in_full(&self, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        Self::call("EVAL", self.source, keys, args)
    }

    fn call(name: &str, script: &str, keys: &[Vec<u8>], args: &[Vec<u8>]) -> Cmd {
        let bytes: usize = keys.iter().chain(args).map(Vec::len).sum();
        let mut call = Cmd::with_capacity(3 + keys.len() + args.len(), name.len() + script.len() + bytes + 8);
        call.arg(name).arg(script).arg(keys.len());
        for part in keys.iter().chain(args) {
            call.arg(part.as_slice());
        }
        call
    }
}

/// Proves that `MULTI` is allowed, before something is sent that must not be carried out without it.
pub(crate) fn empty_transaction() -> [Cmd; 2] {
    [cmd("MULTI"), cmd("DISCARD")]
}
