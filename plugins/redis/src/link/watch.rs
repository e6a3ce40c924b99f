//! What a script does where scripts are forbidden: keys are watched and looked at, and what follows is carried out if none of them
//! changed meanwhile.

use hivemind_abi::model::{Context, Error, Result};
use redis::{Cmd, Pipeline, Value, cmd};

use super::exchange::{Exchange, Many, One, Transaction};
use super::failure::{Failure, Repeat, refused};
use super::limit::Limit;
use super::place::Place;
use super::pool::Sight;
use super::slot::slot_of;
use super::{Link, permission};

/// What is to follow a look at the keys.
pub(crate) enum Then<T> {
    /// Nothing: this is what came of it.
    Leave(T),
    /// This, all of it or nothing.
    CarryOut(Pipeline),
}

/// What came of it.
pub(crate) enum Watched<T> {
    /// Nothing was to be carried out.
    Left(T),
    /// It was carried out.
    Done,
    /// A key changed between the look and the transaction, so nothing was carried out.
    Changed,
}

impl Link {
    /// Looks at keys, on a cluster all of one slot, and carries out what `decide` makes of the answers.
    ///
    /// # Errors
    /// See [`Link::query`] with [`Repeat::Never`], and what `decide` gives.
    pub(crate) fn watched<T>(
        &self,
        cx: &Context<'_>,
        keys: &[Vec<u8>],
        questions: &[Cmd],
        decide: impl Fn(&[Value]) -> Result<Then<T>>,
    ) -> Result<Watched<T>> {
        let slot = keys.first().map(|key| slot_of(key));
        self.patiently(cx, Repeat::Never, || {
            let place = self.route.place(cx, slot)?;
            place.prove_transactions(cx)?;
            place.watched(cx, keys, questions, &decide)
        })?
    }

    /// The error for a command that the server's ACL forbids, found out before it was tried.
    pub(crate) fn forbidden(&self, command: &str) -> Error {
        let detail = format!("run the '{command}' command");
        permission::denied("NOPERM", &detail, command, &self.user, &self.route.address())
    }
}

impl Place {
    fn watched<T>(
        &self,
        cx: &Context<'_>,
        keys: &[Vec<u8>],
        questions: &[Cmd],
        decide: &impl Fn(&[Value]) -> Result<Then<T>>,
    ) -> Result<Result<Watched<T>>, Failure> {
        let opening = self.opening();
        let mut lease = self.pool().take(cx, opening, Sight::Seen)?;
        let mut limit = Limit::new(cx, opening.patience);
        let mut watch = cmd("WATCH");
        keys.iter().for_each(|key| {
            watch.arg(key.as_slice());
        });
        let look = Many { commands: std::iter::once(&watch).chain(questions).collect() };
        let looked = lease.exchange(&mut limit, |out| look.pack(out), |answers| look.read(answers));
        // Nothing of it changes anything.
        let answers = looked.map_err(|cut| Failure { maybe_applied: false, ..cut.at(self.address()) })?;
        if let Some(Value::ServerError(error)) = answers.first() {
            return Err(refused(error, "WATCH", &opening.login.user, self.address()));
        }
        let pipeline = match decide(answers.get(1..).unwrap_or_default()) {
            Ok(Then::CarryOut(pipeline)) => pipeline,
            left => {
                let unwatch = cmd("UNWATCH");
                let unwatch = One(&unwatch);
                if lease.exchange(&mut limit, |out| unwatch.pack(out), |answers| unwatch.read(answers)).is_err() {
                    lease.discard();
                }
                return Ok(left.map(|left| match left {
                    Then::Leave(left) => Watched::Left(left),
                    Then::CarryOut(_) => Watched::Changed,
                }));
            }
        };
        let transaction = Transaction(&pipeline);
        let carried_out = lease.exchange(&mut limit, |out| transaction.pack(out), |answers| transaction.read(answers));
        match carried_out.map_err(|cut| cut.at(self.address()))? {
            Ok(answers) if answers == [Value::Nil] => Ok(Ok(Watched::Changed)),
            Ok(answers) => {
                match answers.iter().find_map(|answer| if let Value::ServerError(error) = answer { Some(error) } else { None }) {
                    Some(error) => Ok(Err(refused(error, "EXEC", &opening.login.user, self.address()).error)),
                    None => Ok(Ok(Watched::Done)),
                }
            }
            Err(error) => Err(refused(&error, &transaction.name(), &opening.login.user, self.address())),
        }
    }
}
