//! One master's pushes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hivemind_abi::Host;
use hivemind_abi::model::{Context, Error};
use redis::{PushKind, Value, cmd};

use super::super::address::Address;
use super::super::connection::Connection;
use super::super::failure::{Failure, Then, Why, refused};
use super::super::limit::{Ended, Limit};
use super::super::opening::{Opening, bounded};
use super::super::value::{items, kind};
use super::{BOUND, INTERVAL, PAUSES, Shared, Signal, moment};

/// How long a server may be silent before the connection to it is made anew.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) struct Listener {
    address: Address,
    opening: Opening,
    prefixes: Arc<[Vec<u8>]>,
    host: Host,
    connection: Option<Connection>,
}

impl Listener {
    /// One that is not connected yet.
    pub(super) const fn new(address: Address, opening: Opening, prefixes: Arc<[Vec<u8>]>, host: Host) -> Self {
        Self { address, opening, prefixes, host, connection: None }
    }

    /// Connects now, for whom failing matters.
    pub(super) fn connected(mut self, cx: &Context<'_>) -> Result<Self, Failure> {
        self.connection = Some(self.begin(cx)?);
        Ok(self)
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    fn begin(&self, cx: &Context<'_>) -> Result<Connection, Failure> {
        let mut connection = self.opening.open(&self.address, cx)?;
        let mut tracking = cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in self.prefixes.iter() {
            tracking.arg("PREFIX").arg(prefix.as_slice());
        }
        let cx = bounded(cx, self.opening.timeout);
        let mut limit = Limit::new(&cx, self.opening.timeout);
        let answer = connection.ask(&mut limit, &tracking).map_err(|cut| cut.at(&self.address))?;
        match answer {
            Value::Okay => Ok(connection),
            Value::ServerError(error) => Err(refused(&error, "CLIENT TRACKING", &self.opening.login.user, &self.address)),
            other => {
                let message = format!("{}: CLIENT TRACKING: expected OK, found {}", self.address, kind(&other));
                Err(Failure::new(Error::unsupported(message), Then::GiveUp))
            }
        }
    }

    /// Listens until it is over, and connects anew whenever that is needed.
    pub(super) fn run(&mut self, shared: &Shared, signal: &Signal) {
        let goes_on = || !shared.is_stopping() && !signal.is_over.load(Ordering::Acquire);
        let mut pause = PAUSES.0;
        let mut is_lost = false;
        while goes_on() {
            let cx = Context::within(self.opening.timeout).cancelled_by(&signal.is_over);
            match self.connection.take().map_or_else(|| self.begin(&cx), Ok) {
                Ok(mut connection) => {
                    *signal.line() = connection.line();
                    // What was written until now is not known.
                    shared.everything();
                    pause = PAUSES.0;
                    if std::mem::take(&mut is_lost) {
                        self.host.info(&format!("changes at {} are tracked again", self.address));
                    }
                    listen(&mut connection, &self.address, shared, &goes_on);
                    shared.known(&self.address, 0);
                    *signal.line() = None;
                }
                Err(failure) if goes_on() && !is_lost => {
                    is_lost = true;
                    let why = failure.error.message();
                    self.host
                        .warn(&format!("changes at {} are not tracked, so every lookup asks the server: {why}", self.address));
                }
                Err(_) => {}
            }
            if goes_on() {
                shared.pause(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        shared.known(&self.address, 0);
    }
}

/// Until the connection ends, or all is over.
fn listen(connection: &mut Connection, address: &Address, shared: &Shared, goes_on: &impl Fn() -> bool) {
    let cx = Context::unbounded();
    let (ping, mut awaited, mut answered) = (cmd("PING"), None, None);
    let mut next = Instant::now();
    while goes_on() {
        let now = Instant::now();
        if awaited.is_some_and(|asked: (Instant, u64)| now.duration_since(asked.0) > PATIENCE) {
            return;
        }
        if awaited.is_none() && now >= next {
            let asked = (now, moment());
            if connection.post(&mut Limit::new(&cx, BOUND), &ping).is_err() {
                return;
            }
            awaited = Some(asked);
            next = now + INTERVAL;
        }
        let wait = if awaited.is_some() { INTERVAL } else { next.saturating_duration_since(now) };
        match connection.listen(&mut Limit::in_one(&cx, wait)) {
            Ok(Value::Push { kind: PushKind::Invalidate, data }) => invalidate(&data, shared),
            Ok(Value::Push { .. }) => {}
            Ok(Value::SimpleString(_)) if awaited.is_some() => {
                let (_, asked) = awaited.take().unwrap_or((now, 0));
                if let Some(before) = answered.replace(asked) {
                    shared.known(address, before);
                } else {
                    // The second question comes at once, so that a new connection soon counts.
                    next = Instant::now();
                }
            }
            // A wait that was over; half a message stays with the parser.
            Err(cut) if matches!(cut.why, Why::Ended(Ended::Silence(_))) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn invalidate(data: &[Value], shared: &Shared) {
    let Some(keys) = data.first().and_then(items) else {
        // Nil: a flush.
        shared.everything();
        return;
    };
    for key in keys {
        match key {
            Value::BulkString(key) => shared.changed(key.clone()),
            _ => shared.everything(),
        }
    }
}
