//! The real `ovos-messagebus`, and who else is on it.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::spawn::{spawn, tied};
use crate::waiting::HANGS;
use crate::{ports, python};

/// A messagebus, stopped when this goes.
pub struct Bus {
    home: tempfile::TempDir,
    port: u16,
    /// `None` while it is down.
    child: Mutex<Option<Child>>,
}

impl Bus {
    /// Starts one on a port of its own.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let home = tempfile::Builder::new().prefix("hivemind-bus-").tempdir().expect("a folder");
        let config = home.path().join("config/mycroft");
        std::fs::create_dir_all(&config).expect("a folder");
        let bus = Self { home, port: ports::free(), child: Mutex::new(None) };
        let settings = json!({"websocket": {"host": "127.0.0.1", "port": bus.port, "route": "/core", "ssl": false}});
        std::fs::write(config.join("mycroft.conf"), settings.to_string()).expect("written");
        bus.restart();
        bus
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it, as a machine that fails does.
    ///
    /// # Panics
    /// If it is down.
    pub fn kill(&self) {
        let mut child = self.child().take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("it ends");
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Panics
    /// If it runs, or does not start.
    pub fn restart(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "it runs");
        let log = std::fs::File::create(self.home.path().join("log")).expect("a log");
        let mut command = tied(python::venv().join("bin/ovos-messagebus").to_str().expect("UTF-8"));
        python::isolate(&mut command, self.home.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        *child = Some(spawn(command).expect("ovos-messagebus starts; `cargo xtask test` installs it"));
        drop(child);
        let end = Instant::now() + HANGS;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let said = || said(self.home.path());
            assert!(Instant::now() < end, "the bus does not answer:\n{}", said());
            let ended = self.child().as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "the bus ended ({ended:?}):\n{}", said());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Somebody who hears all that is said on it.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn tap(&self) -> Tap {
        Tap::on(self.port, None)
    }

    /// Somebody who answers each message of a type with another, to the one who asked, with the same data, as a skill does.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn skill(&self, question: &'static str, answer: &'static str) -> Tap {
        Tap::on(self.port, Some((question, answer)))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn said(home: &Path) -> String {
    std::fs::read_to_string(home.join("log")).unwrap_or_default()
}

type Line = WebSocket<TcpStream>;

/// What was heard, in order.
#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Value>>,
    more: Condvar,
}

impl Heard {
    fn messages(&self) -> MutexGuard<'_, Vec<Value>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client of the bus.
pub struct Tap {
    heard: Arc<Heard>,
    mouth: Mutex<Line>,
    stream: TcpStream,
}

impl Tap {
    fn on(port: u16, rule: Option<(&'static str, &'static str)>) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the bus is there");
        stream.set_nodelay(true).expect("set");
        let copy = || stream.try_clone().expect("a handle");
        let (mut ear, _) =
            tungstenite::client(format!("ws://127.0.0.1:{port}/core"), copy()).unwrap_or_else(|e| panic!("the bus: {e}"));
        // The bus neither pings nor asks for anything else that is answered, so that each half has its direction for itself.
        let mouth = || WebSocket::from_raw_socket(copy(), Role::Client, None);
        let heard = Arc::new(Heard::default());
        let (all, mut answers) = (Arc::clone(&heard), mouth());
        std::thread::spawn(move || {
            while let Ok(message) = ear.read() {
                let Message::Text(text) = message else { continue };
                let Ok(message) = serde_json::from_str::<Value>(&text) else { continue };
                if let Some((question, answer)) = rule
                    && message["type"] == question
                    && say(&mut answers, &reply(&message, answer, message["data"].clone())).is_err()
                {
                    return;
                }
                all.messages().push(message);
                all.more.notify_all();
            }
        });
        Self { heard, mouth: Mutex::new(mouth()), stream }
    }

    /// Says something.
    ///
    /// # Panics
    /// If the bus is down.
    pub fn say(&self, message: &Value) {
        say(&mut self.mouth.lock().unwrap_or_else(PoisonError::into_inner), message).expect("the bus is there");
    }

    /// Answers a message as skills do: to whoever sent it.
    ///
    /// # Panics
    /// If the bus is down.
    pub fn answer(&self, question: &Value, kind: &str, data: Value) {
        self.say(&reply(question, kind, data));
    }

    /// Waits for the first message that is so, and forgets it.
    ///
    /// # Panics
    /// If there is none after [`HANGS`].
    pub fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + HANGS;
        let mut messages = self.heard.messages();
        loop {
            if let Some(at) = messages.iter().position(&is_it) {
                return messages.remove(at);
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not heard on the bus after {HANGS:?}: {what}");
            messages = self.heard.more.wait_timeout(messages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the first message of a type, and forgets it.
    ///
    /// # Panics
    /// If there is none after [`HANGS`].
    pub fn wait_for(&self, kind: &str) -> Value {
        self.wait(kind, |message| message["type"] == kind)
    }

    /// All that was heard and not waited for.
    #[must_use]
    pub fn heard(&self) -> Vec<Value> {
        self.heard.messages().clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn say(line: &mut Line, message: &Value) -> tungstenite::Result<()> {
    line.send(Message::text(message.to_string()))
}

/// As `Message.reply` of `ovos_bus_client` does: source and destination change places.
fn reply(question: &Value, kind: &str, data: Value) -> Value {
    let mut context = question["context"].clone();
    context["destination"] = question["context"]["source"].clone();
    context["source"] = "skills".into();
    json!({"type": kind, "data": data, "context": context})
}
