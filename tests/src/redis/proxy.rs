//! A line to a server that can be cut at any byte, held up, or made to say something else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What is done to what passes.
#[derive(Debug, Default)]
struct Plan {
    /// After so many more bytes in that direction the connection they are on is closed, both ways.
    cut: Option<(Direction, u64)>,
    /// In that direction nothing passes; connections stay. It is kept and sent on later.
    stalled: Option<Direction>,
    /// What passes is thrown away, and new connections are taken that nobody serves.
    black_hole: bool,
    /// New connections are closed at once.
    refuses: bool,
    /// Bytes to the client that become others of the same number.
    instead: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    connections: Mutex<Vec<TcpStream>>,
    cuts: AtomicU64,
    passed: [AtomicU64; 2],
    over: AtomicBool,
}

/// A port that leads to a server, gone when this goes.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one that lets everything pass.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if own.over.load(Ordering::SeqCst) {
                    return;
                }
                own.take(client, server);
            }
        });
        Self { port, shared }
    }

    /// The port to connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Closes the connection on which the `after`th byte from now passes in that direction, behind that byte. Once.
    pub fn cut_after(&self, direction: Direction, after: u64) {
        self.shared.plan().cut = Some((direction, after));
    }

    /// Whether a cut is still to come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.shared.plan().cut.is_some()
    }

    /// How many connections were cut by [`Proxy::cut_after`].
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// How many bytes have passed in that direction.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed[direction as usize].load(Ordering::SeqCst)
    }

    /// Holds everything back that goes in that direction, until [`Proxy::heal`].
    pub fn stall(&self, direction: Direction) {
        self.shared.plan().stalled = Some(direction);
    }

    /// Swallows everything: as a firewall that drops packets, connections stay open and nothing comes back.
    pub fn swallow(&self) {
        self.shared.plan().black_hole = true;
    }

    /// Closes all connections, and new ones at once.
    pub fn refuse(&self) {
        self.shared.plan().refuses = true;
        self.shared.close_all();
    }

    /// Closes all connections; new ones are served.
    pub fn drop_all(&self) {
        self.shared.close_all();
    }

    /// From now on the server seems to say `new` where it says `old`.
    ///
    /// # Panics
    /// If they are not of one length: answers have their length in front.
    pub fn replace(&self, old: &str, new: &str) {
        assert_eq!(old.len(), new.len());
        self.shared.plan().instead = Some((old.into(), new.into()));
    }

    /// Lets everything pass again. Connections whose bytes were swallowed are closed.
    pub fn heal(&self) {
        let before = std::mem::take(&mut *self.shared.plan());
        if before.black_hole {
            self.shared.close_all();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.close_all();
        // So that the listening thread looks.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn take(self: &Arc<Self>, client: TcpStream, server: u16) {
        let (refuses, black_hole) = {
            let plan = self.plan();
            (plan.refuses, plan.black_hole)
        };
        // Dropped, it is closed.
        let Ok(kept) = client.try_clone() else { return };
        if refuses {
            return;
        }
        if black_hole {
            self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (Ok(client2), Ok(server2), Ok(server3)) = (client.try_clone(), server.try_clone(), server.try_clone()) else {
            return;
        };
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).extend([kept, server3]);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        std::thread::spawn(move || there.pass(client, server, Direction::ToServer));
        std::thread::spawn(move || back.pass(server2, client2, Direction::ToClient));
    }

    /// Passes bytes on until the connection ends.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            while self.plan().stalled == Some(direction) && !self.over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut bytes = &mut buffer[..count];
            let mut is_cut = false;
            {
                let mut plan = self.plan();
                if plan.black_hole {
                    continue;
                }
                if let (Direction::ToClient, Some((old, new))) = (direction, &plan.instead) {
                    replace(bytes, old, new);
                }
                if let Some((of, left)) = &mut plan.cut
                    && *of == direction
                {
                    if *left <= bytes.len() as u64 {
                        bytes = &mut bytes[..usize::try_from(*left).unwrap_or_default()];
                        plan.cut = None;
                        is_cut = true;
                    } else {
                        *left -= bytes.len() as u64;
                    }
                }
            }
            if to.write_all(bytes).is_err() {
                break;
            }
            self.passed[direction as usize].fetch_add(bytes.len() as u64, Ordering::SeqCst);
            if is_cut {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                // What was sent on arrives before the end does.
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// Puts `new` where `old` is. One that stands across two reads is missed; answers that short come in one.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while at + old.len() <= bytes.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::super::server::command;
    use super::*;

    fn connection(proxy: &Proxy) -> redis::RedisResult<redis::Connection> {
        let connection = redis::Client::open(format!("redis://127.0.0.1:{}", proxy.port()))?
            .get_connection_with_timeout(Duration::from_millis(500))?;
        connection.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(connection)
    }

    fn ping(connection: &mut redis::Connection) -> redis::RedisResult<String> {
        command(&["PING"]).query(connection)
    }

    #[test]
    fn a_line_is_cut_behind_the_byte_that_was_named_and_only_once() {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.port());
        // Cut before its last byte the server never has the command, cut behind it the server has.
        let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n".len() as u64;
        for (after, is_set) in [(set - 1, false), (set, true)] {
            server.ask::<()>(&["FLUSHALL"]);
            let mut line = connection(&proxy).expect("a line");
            assert_eq!(ping(&mut line).expect("an answer"), "PONG");
            proxy.cut_after(Direction::ToServer, after);
            let sent = command(&["SET", "k", "1"]).query::<()>(&mut line);
            assert!(sent.is_err() || is_set, "{sent:?}");
            crate::waiting::wait_until("it is cut", || !proxy.is_armed());
            crate::waiting::wait_until("the server has read what came", || server.info("connected_clients") == "1");
            assert_eq!(server.ask::<bool>(&["EXISTS", "k"]), is_set, "cut after {after} bytes");
        }
        assert_eq!(proxy.cuts(), 2);
        assert_eq!(ping(&mut connection(&proxy).expect("a new line")).expect("an answer"), "PONG");
    }

    #[test]
    fn an_answer_is_cut_too() {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.port());
        let mut line = connection(&proxy).expect("a line");
        proxy.cut_after(Direction::ToClient, 3);
        assert!(ping(&mut line).is_err());
        assert!(!proxy.is_armed());
    }

    #[test]
    fn a_line_is_held_up_swallowed_refused_and_healed() {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.port());
        let mut line = connection(&proxy).expect("a line");
        proxy.stall(Direction::ToClient);
        assert!(ping(&mut line).expect_err("nothing comes back").is_timeout());
        proxy.heal();
        proxy.swallow();
        assert!(connection(&proxy).is_err(), "nobody answers there");
        proxy.heal();
        proxy.refuse();
        assert!(connection(&proxy).is_err(), "closed at once");
        proxy.heal();
        assert_eq!(ping(&mut connection(&proxy).expect("a line")).expect("an answer"), "PONG");
    }

    #[test]
    fn a_server_seems_to_be_of_another_version() {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.port());
        let version = server.info("redis_version");
        let other = version.replace(|c: char| c.is_ascii_digit(), "5");
        proxy.replace(&version, &other);
        let info: String = command(&["INFO", "server"]).query(&mut connection(&proxy).expect("a line")).expect("an answer");
        assert!(info.contains(&format!("redis_version:{other}")), "{info}");
    }
}
