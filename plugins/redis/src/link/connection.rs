//! One connection: bytes out, values in, each within a [`Limit`].
//!
//! A connection on which an exchange did not come to its end, or on which more came than was asked for, is never used again, because
//! what comes next on it would be somebody else's answer.

use std::io::{self, ErrorKind, Read, Write};

use redis::{Cmd, Value};

use super::failure::{Cut, Why};
use super::limit::Limit;
use super::reply::{Reply, Scan};
use super::server::Server;
use super::socket::Line;
use super::stream::Stream;

/// What a connection keeps of each of its buffers for the next command.
const KEPT_BYTES: usize = 64 << 10;
/// A request of no more bytes goes into the system's buffer without waiting, or not at all.
const AT_ONCE: usize = 16 << 10;
/// Room for what is read first: most answers are shorter.
const FIRST_BYTES: usize = 8 << 10;

pub(crate) struct Connection {
    stream: Stream,
    input: Input,
    out: Vec<u8>,
    /// Between the first byte of a request and the last of its answer.
    is_under_way: bool,
    server: Server,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, input: Input::default(), out: Vec::new(), is_under_way: false, server: Server::default() }
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
        let answer = read(&mut Answers { stream: &mut self.stream, input: &mut self.input, limit })?;
        self.is_under_way = !self.input.unread().is_empty();
        if self.input.bytes.len() > KEPT_BYTES && !self.is_under_way {
            self.input = Input::default();
        }
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
        Answers { stream: &mut self.stream, input: &mut self.input, limit }.next()
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
                    if self.out.len() <= AT_ONCE {
                        limit.still(slice);
                    }
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

/// What was read, and how much of that was taken.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Input {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let from = self.from;
        self.from += length;
        &self.bytes[from..self.from]
    }

    /// Where the next bytes belong: behind those that were not taken yet.
    fn room(&mut self) -> &mut [u8] {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.bytes.len() && self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.to == self.bytes.len() {
            // As it comes: what a server says that it will send is no reason to make room for it.
            self.bytes.resize((self.to * 2).max(FIRST_BYTES), 0);
        }
        &mut self.bytes[self.to..]
    }
}

/// The answers to what was sent, in order.
pub(crate) struct Answers<'c, 'l> {
    stream: &'c mut Stream,
    input: &'c mut Input,
    limit: &'c mut Limit<'l>,
}

impl Answers<'_, '_> {
    pub(crate) fn next(&mut self) -> Result<Value, Cut> {
        self.next_reply()?.to_value().map_err(|what| cut(Why::Garbled(what)))
    }

    /// The next answer where it lies.
    pub(crate) fn next_reply(&mut self) -> Result<Reply<'_>, Cut> {
        let mut scan = Scan::default();
        let length = loop {
            match scan.end(self.input.unread()) {
                Ok(Some(length)) => break length,
                Ok(None) => self.read_some().map_err(cut)?,
                Err(what) => return Err(cut(Why::Garbled(what))),
            }
        };
        Ok(Reply::read(self.input.take(length)))
    }

    fn read_some(&mut self) -> Result<(), Why> {
        loop {
            let slice = self.limit.slice().map_err(Why::Ended)?;
            self.stream.set_timeout(slice).map_err(Why::Io)?;
            match self.stream.read(self.input.room()) {
                Ok(0) => return Err(Why::Closed),
                Ok(n) => {
                    self.input.to += n;
                    self.limit.moved();
                    return Ok(());
                }
                Err(e) if would_wait(&e) => self.limit.waited(slice),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Why::Io(e)),
            }
        }
    }
}

/// The end of an exchange whose question was sent.
fn cut(why: Why) -> Cut {
    Cut { sent: true, why }
}

/// Shown as its place only: what is under way on it is the callers'.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}
