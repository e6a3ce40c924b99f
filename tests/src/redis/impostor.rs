//! What is no Redis at all but listens where one is expected.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A web server: answers whatever comes with an error page.
    Web,
    /// A mail server: speaks first.
    Mail,
    /// Takes connections and never says a word.
    Silent,
    /// Takes connections and closes them.
    Closes,
    /// Answers bytes without meaning.
    Garbage,
    /// Begins an answer of a size that nobody has memory for.
    Endless,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Web, Self::Mail, Self::Silent, Self::Closes, Self::Garbage, Self::Endless];
}

/// A listener of that manner, gone when this goes.
#[derive(Debug)]
pub struct Impostor {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Impostor {
    /// Starts one.
    ///
    /// # Panics
    /// If the system does not let it.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let is_over = Arc::clone(&is_over);
                std::thread::spawn(move || serve(&connection, manner, &is_over));
            }
        });
        Self { port, over }
    }

    /// The port it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // So that it looks.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut connection: &TcpStream, manner: Manner, over: &AtomicBool) {
    let _ = connection.set_read_timeout(Some(std::time::Duration::from_millis(100)));
    if manner == Manner::Closes {
        return;
    }
    if manner == Manner::Mail {
        let _ = connection.write_all(b"220 mail.example ESMTP ready\r\n");
    }
    let mut buffer = [0; 4096];
    while !over.load(Ordering::SeqCst) {
        match connection.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {
                let answer: &[u8] = match manner {
                    Manner::Web => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    Manner::Mail => b"500 unrecognized command\r\n",
                    Manner::Garbage => &[0xff; 512],
                    Manner::Endless => b"*2000000000\r\n$2000000000\r\n",
                    Manner::Silent | Manner::Closes => b"",
                };
                if connection.write_all(answer).is_err() || manner == Manner::Web {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_server_answers_a_ping_with_a_page_of_its_own() {
        let impostor = Impostor::start(Manner::Web);
        let mut connection = TcpStream::connect(("127.0.0.1", impostor.port())).expect("it listens");
        connection.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
        let mut said = String::new();
        connection.read_to_string(&mut said).expect("an answer");
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }
}
