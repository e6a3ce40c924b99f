//! A socket, encrypted or not.

use std::io::{self, Read, Write};
use std::time::Duration;

use openssl::ssl::SslStream;

use super::socket::{Line, Socket};

pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<SslStream<Socket>>),
}

impl Stream {
    /// How long one read or write waits.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.set_timeout(timeout),
            Self::Tls(stream) => stream.get_mut().set_timeout(timeout),
        }
    }

    /// To end it from another thread.
    pub(crate) fn line(&self) -> io::Result<Line> {
        match self {
            Self::Plain(socket) => socket.line(),
            Self::Tls(stream) => stream.get_ref().line(),
        }
    }

    /// Whether the connection is of no use any more. With nothing under way an encrypted one has nothing to say either but its end.
    pub(crate) fn is_stale(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_stale(),
            Self::Tls(stream) => stream.get_ref().is_stale(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
