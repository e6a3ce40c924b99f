//! Sockets that connect, read and write within a [`Limit`].

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, TcpKeepalive, Type};

use super::address::Address;
use super::limit::{Ended, Limit, SLICE};
use super::resolve::resolve;

/// As the Python node: a peer that vanished is noticed after a minute also where nobody waits for it.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));

/// A connected socket that waits one slice at most.
#[derive(Debug)]
pub(crate) struct Socket {
    raw: Raw,
    timeout: Duration,
}

/// Another hand on a socket.
#[derive(Debug)]
pub(crate) struct Line(Raw);

impl Line {
    /// Who reads from it is told that it has ended.
    pub(crate) fn hang_up(&self) {
        // It may have ended already.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoSocket {
    /// The system's word.
    Io(io::Error),
    /// The wait was over.
    Ended(Ended),
}

impl From<io::Error> for NoSocket {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Ended> for NoSocket {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl Socket {
    /// Connects; of a name with several addresses the first that answers.
    pub(crate) fn connect(address: &Address, limit: &mut Limit<'_>) -> Result<Self, NoSocket> {
        match address {
            Address::Unix(path) => {
                let raw = Raw::new(Domain::UNIX, Type::STREAM, None)?;
                Self::connect_raw(raw, &SockAddr::unix(path.as_path())?, limit)
            }
            Address::Tcp(host, port) => {
                let addresses = match host.parse::<IpAddr>() {
                    Ok(ip) => vec![SocketAddr::new(ip, *port)],
                    Err(_) => resolve(host, *port, limit)?,
                };
                let mut last = NoSocket::Io(io::Error::new(ErrorKind::NotFound, "the name has no address"));
                for address in addresses {
                    match Self::connect_tcp(address, limit) {
                        Err(NoSocket::Io(error)) => last = NoSocket::Io(error),
                        other => return other,
                    }
                }
                Err(last)
            }
        }
    }

    fn connect_tcp(address: SocketAddr, limit: &mut Limit<'_>) -> Result<Self, NoSocket> {
        let raw = Raw::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        let socket = Self::connect_raw(raw, &address.into(), limit)?;
        socket.raw.set_tcp_nodelay(true)?;
        socket.raw.set_tcp_keepalive(&KEEPALIVE)?;
        Ok(socket)
    }

    fn connect_raw(raw: Raw, address: &SockAddr, limit: &mut Limit<'_>) -> Result<Self, NoSocket> {
        raw.set_nonblocking(true)?;
        loop {
            let slice = limit.slice()?;
            match raw.connect(address) {
                Ok(()) => break,
                Err(e) if is_under_way(&e) => {
                    wait_connected(&raw, limit)?;
                    break;
                }
                // A Unix socket whose queue is full.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(slice);
                    limit.waited(slice);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        raw.set_nonblocking(false)?;
        let mut socket = Self { raw, timeout: Duration::ZERO };
        socket.set_timeout(SLICE)?;
        Ok(socket)
    }

    /// How long one read or write waits.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        if self.timeout != timeout {
            self.raw.set_read_timeout(Some(timeout))?;
            self.raw.set_write_timeout(Some(timeout))?;
            self.timeout = timeout;
        }
        Ok(())
    }

    pub(crate) fn line(&self) -> io::Result<Line> {
        self.raw.try_clone().map(Line)
    }

    /// Whether an idle connection is of no use any more: the other side closed it, or said something that nobody asked for.
    pub(crate) fn is_stale(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = peek(SockRef::from(&self.raw), &mut byte);
        !matches!(peeked, Err(e) if e.kind() == ErrorKind::WouldBlock)
    }
}

#[cfg(unix)]
fn peek(socket: SockRef<'_>, byte: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    socket.recv_with_flags(byte, flags.bits().cast_signed())
}

#[cfg(not(unix))]
fn peek(socket: SockRef<'_>, byte: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(byte);
    socket.set_nonblocking(false)?;
    peeked
}

#[cfg(unix)]
fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

#[cfg(not(unix))]
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

#[cfg(unix)]
fn wait_connected(raw: &Raw, limit: &mut Limit<'_>) -> Result<(), NoSocket> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let slice = limit.slice()?;
        let timeout = Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
        match poll(&mut [PollFd::new(raw, PollFlags::OUT)], Some(&timeout)) {
            Ok(0) => limit.waited(slice),
            Ok(_) => return raw.take_error()?.map_or(Ok(()), |e| Err(e.into())),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io::Error::from(e).into()),
        }
    }
}

#[cfg(not(unix))]
fn wait_connected(raw: &Raw, limit: &mut Limit<'_>) -> Result<(), NoSocket> {
    loop {
        let slice = limit.slice()?;
        if let Some(error) = raw.take_error()? {
            return Err(error.into());
        }
        if raw.peer_addr().is_ok() {
            return Ok(());
        }
        std::thread::sleep(slice);
        limit.waited(slice);
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&self.raw).read(into).map_err(over)
    }
}

impl Write for Socket {
    // A program that is no Rust program may not ignore the signal that a closed connection sends.
    #[cfg(target_os = "linux")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw.send_with_flags(bytes, rustix::net::SendFlags::NOSIGNAL.bits().cast_signed())
    }

    #[cfg(not(target_os = "linux"))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.raw).write(bytes).map_err(over)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the end of a slice is called, also where the system calls it otherwise.
fn over(error: io::Error) -> io::Error {
    if cfg!(windows) && error.kind() == ErrorKind::TimedOut { ErrorKind::WouldBlock.into() } else { error }
}
