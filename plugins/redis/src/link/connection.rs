//! One connection: bytes out, values in, each within a [`Limit`].
//!
//! The protocol is read by the `redis` crate's parser. A connection on which an exchange did not come to its end is
//! never used again, because what comes next on it would be somebody else's answer.

use std::io::{self, ErrorKind, Read, Write};

use redis::{Cmd, Parser, Value};

use super::failure::{Cut, Why};
use super::limit::Limit;
use super::server::Server;
use super::socket::Line;
use super::stream::Stream;

/// What a connection keeps of its buffer for the next command.
const KEPT_BYTES: usize = 64 << 10;

pub(crate) struct Connection {
    stream: Stream,
    parser: Parser,
    out: Vec<u8>,
    /// Between the first byte of a request and the last of its answer.
    is_under_way: bool,
    server: Server,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, parser: Parser::new(), out: Vec::new(), is_under_way: false, server: Server::default() }
    }

    /// What the server said about itself when we came.
    pub(crate) const fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn introduce(&mut self, server: Server) {
        self.server = server;
    }

    /// To end it from another thread; `None` if the system has nothing left for that.
    pub(crate) fn line(&self) -> Option<Line> {
        self.stream.line().ok()
    }

    /// Whether it can take another request.
    pub(crate) fn is_sound(&self) -> bool {
        !self.is_under_way && !self.stream.is_stale()
    }

    /// Whether the last exchange came to its end.
    pub(crate) const fn is_at_rest(&self) -> bool {
        !self.is_under_way
    }

    /// Sends what `pack` writes, and reads the answers.
    pub(crate) fn exchange<T>(
        &mut self,
        limit: &mut Limit<'_>,
        pack: impl FnOnce(&mut Vec<u8>),
        read: impl FnOnce(&mut Answers<'_, '_>) -> Result<T, Cut>,
    ) -> Result<T, Cut> {
        self.out.clear();
        pack(&mut self.out);
        self.is_under_way = true;
        self.send(limit)?;
        if self.out.capacity() > KEPT_BYTES {
            self.out = Vec::new();
        }
        let mut answers = Answers { parser: &mut self.parser, wire: Wire { stream: &mut self.stream, limit, ended: None } };
        let answer = read(&mut answers)?;
        self.is_under_way = false;
        Ok(answer)
    }

    /// One command, one answer.
    pub(crate) fn ask(&mut self, limit: &mut Limit<'_>, command: &Cmd) -> Result<Value, Cut> {
        self.exchange(limit, |out| command.write_packed_command(out), |answers| answers.next())
    }

    /// Sends a command whose answer is read later, among what the server says by itself.
    pub(crate) fn post(&mut self, limit: &mut Limit<'_>, command: &Cmd) -> Result<(), Cut> {
        self.out.clear();
        command.write_packed_command(&mut self.out);
        self.is_under_way = true;
        self.send(limit)
    }

    /// What the server says next.
    pub(crate) fn listen(&mut self, limit: &mut Limit<'_>) -> Result<Value, Cut> {
        Answers { parser: &mut self.parser, wire: Wire { stream: &mut self.stream, limit, ended: None } }.next()
    }

    fn send(&mut self, limit: &mut Limit<'_>) -> Result<(), Cut> {
        let mut sent = 0;
        while sent < self.out.len() {
            let cut = |why| Cut { sent: sent > 0, why };
            let slice = limit.slice().map_err(|e| cut(Why::Ended(e)))?;
            self.stream.set_timeout(slice).map_err(|e| cut(Why::Io(e)))?;
            match self.stream.write(&self.out[sent..]) {
                Ok(0) => return Err(cut(Why::Closed)),
                Ok(n) => {
                    sent += n;
                    limit.moved();
                }
                Err(e) if would_wait(&e) => limit.waited(slice),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(cut(Why::Io(e))),
            }
        }
        Ok(())
    }
}

/// A slice is over. The system's own `TimedOut` is another thing: a peer that the system has given up.
fn would_wait(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// The answers to what was sent, in order.
pub(crate) struct Answers<'c, 'l> {
    parser: &'c mut Parser,
    wire: Wire<'c, 'l>,
}

impl Answers<'_, '_> {
    pub(crate) fn next(&mut self) -> Result<Value, Cut> {
        self.parser.parse_value(&mut self.wire).map_err(|error| {
            let why = self.wire.ended.take().unwrap_or_else(|| Why::Garbled(error.to_string()));
            Cut { sent: true, why }
        })
    }
}

struct Wire<'c, 'l> {
    stream: &'c mut Stream,
    limit: &'c mut Limit<'l>,
    /// Why reading ended: the parser passes no reason on.
    ended: Option<Why>,
}

impl Wire<'_, '_> {
    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Why> {
        loop {
            let slice = self.limit.slice().map_err(Why::Ended)?;
            self.stream.set_timeout(slice).map_err(Why::Io)?;
            match self.stream.read(into) {
                Ok(0) => return Err(Why::Closed),
                Ok(n) => {
                    self.limit.moved();
                    return Ok(n);
                }
                Err(e) if would_wait(&e) => self.limit.waited(slice),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Why::Io(e)),
            }
        }
    }
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_some(into).map_err(|why| {
            self.ended = Some(why);
            // Not one of the kinds that a reader tries again after.
            io::Error::from(ErrorKind::BrokenPipe)
        })
    }
}

/// Shown as its place only: what is under way on it is the callers'.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}
