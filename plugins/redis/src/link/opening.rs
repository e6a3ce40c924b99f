//! Making a connection: socket, TLS, login, database; all within one limit.

use std::time::Duration;

use hivemind_abi::model::{Context, Error};
use redis::{Value, cmd};

use super::address::Address;
use super::connection::Connection;
use super::failure::{Cut, Failure, Then, Why, not_redis, refused};
use super::limit::Limit;
use super::server::{Login, Mode, OLDEST, Server, Version};
use super::socket::{NoSocket, Socket};
use super::stream::Stream;
use super::tls::Tls;
use super::value;

/// How long a server may take to say what it does not like.
const ALERT: Duration = Duration::from_millis(500);

/// How connections of one kind are made, and how long their server may be silent.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) login: Login,
    pub(crate) db: i64,
    pub(crate) tls: Option<std::sync::Arc<Tls>>,
    pub(crate) timeout: Duration,
    pub(crate) patience: Duration,
    /// Whether what is no master is not wanted.
    pub(crate) wants_master: bool,
    /// 2, or 3 where the server shall speak unasked.
    pub(crate) protocol: u8,
}

impl Opening {
    /// Connects and logs in.
    pub(crate) fn open(&self, address: &Address, cx: &Context<'_>) -> Result<Connection, Failure> {
        // The time to connect is one time, however many steps it has, so a context of its own bounds them all.
        let bounded = bounded(cx, self.timeout);
        let mut limit = Limit::new(&bounded, self.timeout);
        let opened = self.open_within(address, &mut limit);
        opened.map_err(|failure| self.of_the_timeout(failure, address, cx))
    }

    /// The bound of our own is not the caller's deadline.
    fn of_the_timeout(&self, failure: Failure, address: &Address, cx: &Context<'_>) -> Failure {
        use hivemind_abi::model::Code;
        if failure.error.code() != Code::Deadline || cx.check().is_err() {
            return Failure { maybe_applied: false, ..failure };
        }
        let expected = match &self.tls {
            Some(_) => "a Redis server with a tls-port there; if it speaks without TLS, remove use_ssl",
            None => "a Redis server",
        };
        let message = format!(
            "{address} let us wait for more than {:?} while connecting; expected {expected}. Check host, port and firewalls, or raise \
             connect_timeout_ms",
            self.timeout
        );
        Failure::new(Error::unavailable(message).known_not_applied().place(address.to_string()), Then::GiveUp)
    }

    fn open_within(&self, address: &Address, limit: &mut Limit<'_>) -> Result<Connection, Failure> {
        let socket = Socket::connect(address, limit).map_err(|e| unreachable(e, address))?;
        let stream = match &self.tls {
            Some(tls) => Stream::Tls(Box::new(tls.encrypt(socket, address, limit)?)),
            None => Stream::Plain(socket),
        };
        let mut connection = Connection::new(stream);
        let server = self.log_in(&mut connection, address, limit)?;
        if server.mode == Mode::Cluster && self.db != 0 {
            let message = format!("{address} is part of a cluster, which has database 0 alone; found db {}", self.db);
            return Err(Failure::new(Error::invalid(message).place(address.to_string()), Then::GiveUp));
        }
        if self.wants_master && server.is_replica {
            let message = format!("{address} is no master any more; waiting for the Sentinels to name the new one");
            return Err(Failure::new(Error::unavailable(message).known_not_applied().place(address.to_string()), Then::Look));
        }
        connection.introduce(server);
        Ok(connection)
    }

    fn log_in(&self, connection: &mut Connection, address: &Address, limit: &mut Limit<'_>) -> Result<Server, Failure> {
        let (hello, mut select) = (self.login.hello(self.protocol), cmd("SELECT"));
        select.arg(self.db);
        let selects = self.db != 0;
        let pack = |out: &mut Vec<u8>| {
            hello.write_packed_command(out);
            if selects {
                select.write_packed_command(out);
            }
        };
        let answers = connection.exchange(limit, pack, |answers| {
            let hello = answers.next()?;
            // What is no Redis says one thing, or closes; there is no second answer to wait for then.
            let selected = if selects && !matches!(hello, Value::ServerError(_)) { Some(answers.next()?) } else { None };
            Ok((hello, selected))
        });
        let (hello, selected) = answers.map_err(|cut| self.cut(cut, address, limit))?;
        if let Value::ServerError(error) = &hello {
            return Err(self.refused(error, connection, address, limit));
        }
        if let Some(Value::ServerError(error)) = &selected {
            return Err(refused(error, "SELECT", &self.login.user, address));
        }
        let server = Server::read(&hello).ok_or_else(|| Failure::new(not_redis(address, &value::kind(&hello)), Then::GiveUp))?;
        if server.version < OLDEST {
            return Err(too_old(address, Some(server.version)));
        }
        Ok(server)
    }

    fn cut(&self, cut: Cut, address: &Address, limit: &mut Limit<'_>) -> Failure {
        if let Some(error) = self.alert(&cut.why, address, limit) {
            return Failure::new(error, Then::GiveUp);
        }
        let how = match &cut.why {
            Why::Closed => "without a word".to_owned(),
            Why::Io(error) => error.to_string(),
            _ => return Failure { maybe_applied: false, ..cut.at(address) },
        };
        let advice = if self.tls.is_some() { "see its log" } else { "set use_ssl if it is a tls-port, and see its log" };
        let message = format!(
            "{address} closed the connection before it said who it is ({how}); expected a Redis server. It may be full or just \
             starting; otherwise {advice}"
        );
        Failure::new(Error::unavailable(message).known_not_applied().place(address.to_string()), Then::Look)
    }

    /// What a server did not like about our certificate. It says so after the handshake and closes, and where that meets our first
    /// command the system throws its words away; so it is asked again by somebody who only listens.
    fn alert(&self, why: &Why, address: &Address, limit: &mut Limit<'_>) -> Option<Error> {
        let tls = self.tls.as_ref()?;
        if let Why::Io(error) = why
            && let Some(error) = tls.explain(&error.to_string(), address)
        {
            return Some(error);
        }
        if !matches!(why, Why::Io(_) | Why::Closed) {
            return None;
        }
        let socket = Socket::connect(address, limit).ok()?;
        let mut connection = Connection::new(Stream::Tls(Box::new(tls.encrypt(socket, address, limit).ok()?)));
        let said = connection.listen(&mut Limit::in_one(limit.cx(), ALERT)).err()?;
        let Why::Io(error) = said.why else { return None };
        tls.explain(&error.to_string(), address)
    }

    /// A server that does not know `HELLO` is older than every one that does.
    fn refused(
        &self,
        error: &redis::ServerError,
        connection: &mut Connection,
        address: &Address,
        limit: &mut Limit<'_>,
    ) -> Failure {
        let detail = error.details().unwrap_or_default();
        if detail.contains("unknown command") {
            // It says its version to whom it lets in, which is not worth sending a password of an ACL user.
            let info = connection.ask(limit, cmd("INFO").arg("server")).ok();
            let version = info
                .as_ref()
                .and_then(value::text)
                .and_then(|text| Version::parse(text.lines().find_map(|line| line.strip_prefix("redis_version:"))?));
            return too_old(address, version);
        }
        refused(error, "HELLO", &self.login.user, address)
    }
}

fn too_old(address: &Address, version: Option<Version>) -> Failure {
    if let Some(version) = version.filter(|version| *version >= OLDEST) {
        let message = format!(
            "{address} (Redis {version}) has the command HELLO renamed or disabled, without which nobody can log in; restore it"
        );
        return Failure::new(Error::unsupported(message).place(address.to_string()), Then::GiveUp);
    }
    let found = version.map_or_else(|| "an older one (it does not know HELLO)".to_owned(), |v| v.to_string());
    let message = format!(
        "{address} is too old: expected Redis {OLDEST} or newer, for ACL users, one consistent login and invalidation messages; found \
         {found}. Upgrade the server"
    );
    Failure::new(Error::unsupported(message).place(address.to_string()), Then::GiveUp)
}

fn unreachable(error: NoSocket, address: &Address) -> Failure {
    match error {
        NoSocket::Ended(ended) => Failure::new(ended.at(address, false).place(address.to_string()), Then::GiveUp),
        NoSocket::Io(error) => {
            let next = match (address, error.kind()) {
                (Address::Unix(_), std::io::ErrorKind::PermissionDenied) => {
                    let message =
                        format!("{address} may not be used: {error}; let the node's user write to the socket (unixsocketperm)");
                    return Failure::new(Error::denied(message).place(address.to_string()), Then::GiveUp);
                }
                (Address::Unix(_), _) => "see that the server runs and that its unixsocket is this path",
                (_, std::io::ErrorKind::NotFound) => "check the setting host, and the name service",
                _ => "see that the server runs, listens there (bind, port), and that no firewall is between",
            };
            let message = format!("{address} cannot be reached: {error}; {next}");
            Failure::new(Error::unavailable(message).known_not_applied().place(address.to_string()), Then::Look)
        }
    }
}

/// The same caller's time, but at most so long.
pub(crate) fn bounded<'a>(cx: &Context<'a>, timeout: Duration) -> Context<'a> {
    let context = Context::within(cx.remaining_or(timeout));
    match cx.cancel_flag() {
        Some(flag) => context.cancelled_by(flag),
        None => context,
    }
}
