//! Pipelines whose commands stand for themselves, sent to the masters concerned.

use redis::{Cmd, Value};

use super::Link;
use super::exchange::{Many, One};
use super::failure::{Failure, Repeat, Then};
use super::place::Place;
use super::retry::Retry;
use super::slot::command_slot;
use hivemind_abi::model::{Code, Context, Error, Result};

/// Refusals of one command that pass, or are somebody else's.
const PASSING: [&str; 8] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "BUSY"];

impl Link {
    /// All to one server. What it refused for a reason that passes is asked again, one by one.
    pub(super) fn several(&self, cx: &Context<'_>, commands: Vec<&Cmd>, repeat: Repeat) -> Result<Vec<Value>> {
        let request = Many { commands };
        let mut answers = self.run(cx, &request, repeat)?;
        self.ask_again(cx, &request.commands, &mut answers, repeat)?;
        Ok(answers)
    }

    /// Each to the master of its slot, in one round trip for each master.
    pub(super) fn scattered(&self, cx: &Context<'_>, commands: &[&Cmd], repeat: Repeat) -> Result<Vec<Value>> {
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let mut left: Vec<usize> = (0..commands.len()).collect();
        let mut is_begun = false;
        while !left.is_empty() {
            let (place, mine, others) = self.share(cx, commands, &left).map_err(|error| midway(error, is_begun, repeat))?;
            let request = Many { commands: mine.iter().map(|at| commands[*at]).collect() };
            // A second attempt may find the slots at another master, so it is shared out anew.
            let attempt = place.attempt(cx, &request, &[]);
            match attempt {
                Ok(found) => {
                    is_begun = true;
                    for (at, answer) in mine.into_iter().zip(found) {
                        answers[at] = answer;
                    }
                    left = others;
                }
                Err(failure) => {
                    if failure.then == Then::Look {
                        self.route.look_again();
                    }
                    let found = self.run_all(cx, &request.commands, failure, repeat);
                    for (at, answer) in mine.into_iter().zip(found.map_err(|error| midway(error, is_begun, repeat))?) {
                        answers[at] = answer;
                    }
                    is_begun = true;
                    left = others;
                }
            }
        }
        self.ask_again(cx, commands, &mut answers, repeat)?;
        Ok(answers)
    }

    /// One by one, after a failure of all that may be repeated.
    fn run_all(&self, cx: &Context<'_>, commands: &[&Cmd], failure: Failure, repeat: Repeat) -> Result<Vec<Value>> {
        let mut retry = Retry::new(self.retry, repeat);
        retry.or_fail(cx, failure)?;
        let mut found = Vec::with_capacity(commands.len());
        for command in commands {
            let answer = self.run_but(cx, &One(command), repeat, &ANY);
            found.push(answer.map_err(|error| midway(error, !found.is_empty(), repeat))?);
        }
        Ok(found)
    }

    /// The first command's master, the commands that go to it, and the others.
    fn share(&self, cx: &Context<'_>, commands: &[&Cmd], left: &[usize]) -> Result<(Place, Vec<usize>, Vec<usize>)> {
        let place_of = |at: usize| self.patiently(cx, Repeat::Safe, || self.route.place(cx, command_slot(commands[at])));
        let place = place_of(left[0])?;
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for at in left {
            if place_of(*at)?.address() == place.address() {
                mine.push(*at);
            } else {
                others.push(*at);
            }
        }
        Ok((place, mine, others))
    }

    /// Asks again what was refused for a reason that passes.
    fn ask_again(&self, cx: &Context<'_>, commands: &[&Cmd], answers: &mut [Value], repeat: Repeat) -> Result<()> {
        for (command, answer) in commands.iter().zip(answers) {
            let Value::ServerError(error) = &*answer else { continue };
            if !PASSING.contains(&error.code()) {
                continue;
            }
            if matches!(error.code(), "READONLY" | "MASTERDOWN" | "MOVED") {
                self.route.look_again();
            }
            match self.run_but(cx, &One(command), repeat, &ANY) {
                Ok(value) => *answer = value,
                // Of a write, the first answer stands: it was refused, while others beside it were carried out.
                Err(error) if repeat != Repeat::Safe && error.code() != Code::OutcomeUnknown => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Refusals that are answers when the command stands for itself.
const ANY: [&str; 8] = ["ERR", "WRONGTYPE", "OOM", "NOPERM", "MISCONF", "NOREPLICAS", "CROSSSLOT", "NOSCRIPT"];

/// The error of a part, when other parts may have changed something already.
fn midway(error: Error, is_begun: bool, repeat: Repeat) -> Error {
    if !is_begun || repeat == Repeat::Safe {
        return error;
    }
    let message = format!("{}; other commands of the pipeline were carried out", error.message());
    Error::outcome_unknown(message).with_detail(error.detail().clone())
}
