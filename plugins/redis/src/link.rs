//! The way to Redis: commands in, answers out, each within its caller's time. It knows nothing of collections.
//!
//! The decision behind it: **the connections are our own; commands, pipelines and values are the `redis` crate's, and the protocol's parser
//! for everything but the few shapes that look-ups are answered by ([`reply`]).**
//! Its blocking connections cannot keep what this node promises its callers. Names are resolved and Unix sockets connected without a
//! limit, and so is the handshake of its native TLS; a read timeout bounds the silence and not the call, so a server that sends a byte
//! a second is waited for without end; nobody looks at a cancel flag; and after a timeout the answer that was not waited for is taken
//! for the next one's. Its `ClusterConnection` (1.8.1) sleeps between attempts without a look at a deadline, repeats writes whose first
//! attempt may have been carried out, and is one thread's at a time; its Sentinel client asks through those connections. What is left
//! to write is small: a socket that waits in slices ([`limit`]), a pool, and the routes to one server, a cluster or a Sentinel's
//! master.
//!
//! An exchange that was cut short leaves a connection that is thrown away. A failed one is repeated only if its caller says that it
//! may be ([`Repeat`]) or the server said that nothing was done.

mod about;
mod address;
mod cluster;
mod connection;
mod exchange;
mod failure;
mod limit;
mod opening;
mod permission;
mod place;
mod pool;
mod reply;
mod resolve;
mod retry;
mod route;
mod scatter;
mod sentinel;
mod server;
mod slot;
mod socket;
mod stream;
mod tls;
mod tracking;
mod value;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hivemind_abi::Host;
use hivemind_abi::model::{Code, Context, Error, Result};
use redis::{Cmd, Pipeline, ServerError, Value, cmd};

pub(crate) use self::about::About;
pub(crate) use self::exchange::Script;
use self::exchange::{Exchange, Look, Many, One, Transaction};
pub(crate) use self::failure::Repeat;
use self::failure::{Failure, Then};
use self::place::Place;
pub(crate) use self::reply::{Replies, Reply};
use self::retry::{Policy, Retry};
use self::route::Route;
pub(crate) use self::server::Version;
pub(crate) use self::tracking::{BOUND, Changed, Tracking};
pub(crate) use self::value::{integer, items, pairs, text};
pub(crate) use self::watch::{Then as AfterLook, Watched};
use crate::config::Config;

/// What the server is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One master: every script and transaction may use any key.
    Single,
    /// Several masters: the keys of one tag are in one slot, and only those of one slot go together.
    Cluster,
}

/// The way to one Redis, from many threads at once.
#[derive(Debug)]
pub(crate) struct Link {
    route: Arc<Route>,
    tracking: Tracking,
    host: Host,
    retry: Policy,
    user: String,
    scripts_denied: AtomicBool,
    /// Scripts that only read are called as any other is.
    reads_by_any_script: AtomicBool,
}

impl Link {
    /// Connects, so that what is configured wrong is said now.
    ///
    /// # Errors
    /// `unavailable`, `denied`, `unsupported` or `invalid`, naming what was expected, what was found and what to do next.
    pub(crate) fn open(config: &Config, host: &Host) -> Result<Self> {
        let retry = Policy { attempts: config.retry_attempts, delay: Duration::from_secs_f64(config.retry_delay) };
        let cx = Context::unbounded();
        let link = Self {
            route: Arc::new(Route::find(config, host, &cx, retry)?),
            tracking: Tracking::new(),
            host: host.clone(),
            retry,
            user: config.username.0.clone(),
            scripts_denied: AtomicBool::new(false),
            reads_by_any_script: AtomicBool::new(false),
        };
        // Any other error passes, or is met again by who needs scripts.
        if let Err(error) = link.query(&cx, cmd("EVAL").arg("return 1").arg(0), Repeat::Safe)
            && matches!(error.code(), Code::Denied | Code::Unsupported)
        {
            link.scripts_denied.store(true, Ordering::Relaxed);
        }
        Ok(link)
    }

    /// One command, at the server that its first key belongs to.
    ///
    /// # Errors
    /// What the server refused, by its meaning: `unavailable` and `busy` may pass, `denied` names the command and the ACL line that
    /// allows it, `io` with `retryable` did nothing for want of memory or disk. `deadline` or `unavailable` if no answer came, and
    /// `outcome unknown` instead if it may have changed something.
    pub(crate) fn query(&self, cx: &Context<'_>, command: &Cmd, repeat: Repeat) -> Result<Value> {
        self.run(cx, &One(command), repeat)
    }

    /// One command that changes nothing, given as its words. Its answer is read where it lies; `None` is for one that makes no sense.
    ///
    /// # Errors
    /// See [`Link::query`].
    pub(crate) fn look<T>(&self, cx: &Context<'_>, words: &[&[u8]], read: impl Fn(Reply<'_>) -> Option<T>) -> Result<T> {
        let look = Look { words, read };
        self.run(cx, &look, Repeat::Safe)?
            .map_err(|_| Error::io(format!("{}: the server's answer is none of this command", look.name())))
    }

    /// Commands in one round trip, on a cluster one to each master concerned. An atomic pipeline is all or nothing (`MULTI`, `EXEC`),
    /// and on a cluster its keys are in one slot. In one that is not atomic, a refused command's answer is a `ServerError` in its
    /// place, which [`Link::refused`] explains; commands that were refused for a reason that passes were tried again.
    ///
    /// # Errors
    /// See [`Link::query`].
    pub(crate) fn pipeline(&self, cx: &Context<'_>, pipeline: &Pipeline, repeat: Repeat) -> Result<Vec<Value>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        if pipeline.is_transaction() {
            let transaction = Transaction(pipeline);
            self.patiently(cx, Repeat::Safe, || self.route.place(cx, transaction.slot())?.prove_transactions(cx))?;
            return self.run(cx, &transaction, repeat)?.map_err(|e| self.refused(&e, &transaction.name()));
        }
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        match self.topology() {
            Topology::Single => self.several(cx, commands, repeat),
            Topology::Cluster => self.scattered(cx, &commands, repeat),
        }
    }

    /// A script, by its hash, or in full where the server has not seen it.
    ///
    /// # Errors
    /// See [`Link::query`]; `denied` and [`Link::scripts_allowed`] false from then on if the ACL forbids scripts.
    pub(crate) fn script(
        &self,
        cx: &Context<'_>,
        script: &Script,
        keys: &[impl AsRef<[u8]>],
        args: &[impl AsRef<[u8]>],
        repeat: Repeat,
    ) -> Result<Value> {
        let answer = self.run_but(cx, &script.by_hash(keys, args), repeat, &["NOSCRIPT"]).and_then(|answer| match answer {
            Value::ServerError(_) => self.run(cx, &script.in_full(keys, args), repeat),
            answer => Ok(answer),
        });
        if let Err(error) = &answer
            && error.code() == Code::Denied
            && ["command eval", "command evalsha"].iter().any(|c| error.message().contains(c))
        {
            self.scripts_denied.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// A script that only reads. Where the server knows such (Redis 7), it also answers while writes are paused.
    ///
    /// # Errors
    /// See [`Link::script`].
    pub(crate) fn reading_script(
        &self,
        cx: &Context<'_>,
        script: &Script,
        keys: &[impl AsRef<[u8]>],
        args: &[impl AsRef<[u8]>],
    ) -> Result<Value> {
        if !self.reads_by_any_script.load(Ordering::Relaxed) {
            let call = script.reading_by_hash(keys, args);
            let answer = self.run_but(cx, &call, Repeat::Safe, &["NOSCRIPT"]).and_then(|answer| match answer {
                Value::ServerError(_) => self.run(cx, &script.reading_in_full(keys, args), Repeat::Safe),
                answer => Ok(answer),
            });
            match answer {
                // Too old for it, or an ACL that names the other command only.
                Err(error) if matches!(error.code(), Code::Unsupported | Code::Denied) => {
                    self.reads_by_any_script.store(true, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
        self.script(cx, script, keys, args, Repeat::Safe)
    }

    /// Whether the server lets us run scripts, as far as is known.
    pub(crate) fn scripts_allowed(&self) -> bool {
        !self.scripts_denied.load(Ordering::Relaxed)
    }

    /// Every key that matches, at every master, in portions. A key may come more than once, and one that comes or goes meanwhile may
    /// be missed. `each` may end it with an error.
    ///
    /// # Errors
    /// See [`Link::query`], and what `each` gave.
    pub(crate) fn scan(&self, cx: &Context<'_>, pattern: &str, mut each: impl FnMut(Vec<Vec<u8>>) -> Result<()>) -> Result<()> {
        const PORTION: usize = 1000;
        for place in self.masters(cx)? {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PORTION);
                let answer = self.run_at(cx, &place, &One(&scan), Repeat::Safe)?;
                let (next, keys) =
                    scanned(answer).ok_or_else(|| Error::io("SCAN: expected a cursor and keys, found something else"))?;
                if !keys.is_empty() {
                    each(keys)?;
                }
                if next == "0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    fn masters(&self, cx: &Context<'_>) -> Result<Vec<Place>> {
        self.patiently(cx, Repeat::Safe, || self.route.masters(cx, false))
    }

    /// What may be done together.
    pub(crate) fn topology(&self) -> Topology {
        self.route.topology()
    }

    /// Explains a `ServerError` among a pipeline's answers, `name` being the command.
    pub(crate) fn refused(&self, error: &ServerError, name: &str) -> Error {
        failure::refused(error, name, &self.user, &self.route.address()).error
    }

    /// Begins to listen for changes of keys with these prefixes, none of which may begin another (Redis refuses that). `false`, said
    /// once in the log, if the server does not let us.
    ///
    /// # Errors
    /// What keeps us from asking: `unavailable`, `deadline`.
    pub(crate) fn track(&self, cx: &Context<'_>, prefixes: Vec<Vec<u8>>) -> Result<bool> {
        self.tracking.start(&self.route, prefixes, &self.host, cx)
    }

    /// What was changed, by others and by us. Nothing is known before [`Link::track`].
    pub(crate) const fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// Ends what listens, and lets every connection go. Calls from now on are `unavailable`.
    pub(crate) fn close(&self) {
        self.tracking.stop();
        self.route.close();
    }
}

fn scanned(answer: Value) -> Option<(String, Vec<Vec<u8>>)> {
    let Value::Array(parts) = answer else { return None };
    let [cursor, Value::Array(keys)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let keys = keys.into_iter().map(|key| match key {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    Some((text(&cursor)?.to_owned(), keys.collect::<Option<_>>()?))
}

impl Link {
    fn run<E: Exchange>(&self, cx: &Context<'_>, exchange: &E, repeat: Repeat) -> Result<E::Reply> {
        self.run_but(cx, exchange, repeat, &[])
    }

    /// As [`Link::run`]; a refusal with one of these codes is an answer.
    fn run_but<E: Exchange>(&self, cx: &Context<'_>, exchange: &E, repeat: Repeat, wanted: &[&str]) -> Result<E::Reply> {
        self.patiently(cx, repeat, || self.route.attempt(cx, exchange, wanted))
    }

    /// Several at this master, whatever their keys.
    fn all_at(&self, cx: &Context<'_>, place: &Place, commands: &[Cmd], repeat: Repeat) -> Result<Vec<Value>> {
        self.run_at(cx, place, &Many { commands: commands.iter().collect() }, repeat)
    }

    /// At this master, whatever its keys.
    fn run_at<E: Exchange>(&self, cx: &Context<'_>, place: &Place, exchange: &E, repeat: Repeat) -> Result<E::Reply> {
        self.patiently(cx, repeat, || place.attempt(cx, exchange, &[]))
    }

    fn patiently<T>(&self, cx: &Context<'_>, repeat: Repeat, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        let mut retry = Retry::new(self.retry, repeat);
        loop {
            match attempt() {
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    let looks = failure.then == Then::Look;
                    if looks {
                        self.route.look_again();
                    }
                    retry.or_fail(cx, failure)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
