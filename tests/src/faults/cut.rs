//! One worker, from its start to its end: what it said, and how far it was.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::model::Records;
use super::op::{Line, Op};
use super::strace::{self, Fault};
use super::worker::Assignment;
use crate::python;
use crate::waiting::{HANGS, kill_group};

/// A system call that was not reached within this time is not waited for.
const NOT_REACHED: Duration = Duration::from_millis(300);

/// When the worker is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Not at all: it ends by itself.
    Never,
    /// So long after its start.
    AfterStart(Duration),
    /// So long after it began to write.
    AfterReady(Duration),
    /// Before a thread's call of this name and number.
    At(String, usize),
}

/// What a worker said and how it ended.
#[derive(Debug, Default)]
pub struct Run {
    /// Whether it began to open the store.
    pub began: bool,
    /// Whether it told every record.
    pub ready: bool,
    /// How long it took until then.
    pub opened_in: Duration,
    /// The records.
    pub records: Records,
    /// What was wrong with them.
    pub problems: Vec<String>,
    /// Operations and what came of them, in the order of their ends; those without an end come last.
    pub operations: Vec<Operation>,
    /// The maintenance that was under way.
    pub maintaining: Option<String>,
    /// What it could not do.
    pub broken: Option<String>,
    /// Whether a signal ended it.
    pub killed: bool,
    /// Whether that was because the system call was reached.
    pub reached: bool,
    /// What it wrote to its standard error.
    pub said: String,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Whose.
    pub thread: usize,
    /// Its number.
    pub number: u64,
    /// What.
    pub op: Op,
    /// How it ended; `None`: it was under way at the cut.
    pub end: Option<End>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Acknowledged, with the ids that were assigned.
    Done(Vec<i64>),
    /// Answered with a conflict.
    Refused,
    /// Answered with another error; known not to have been applied?
    Failed(bool, String),
}

/// Runs a worker on a store and kills it at the moment.
///
/// # Errors
/// What did not start, or hung.
pub fn run(program: &Path, home: &Path, assignment: &Assignment, moment: &Moment) -> Result<Run, String> {
    let argument = serde_json::to_string(assignment).map_err(|e| e.to_string())?;
    let mut command = match moment {
        Moment::At(name, number) => strace::with_fault(program, name, Path::new("/dev/null"), Some((name, *number, Fault::Kill))),
        _ => Command::new(program),
    };
    let errors = home.join("worker.stderr");
    let file = std::fs::File::create(&errors).map_err(|e| e.to_string())?;
    command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).process_group(0);
    python::isolate(&mut command, home);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", program.display()))?;
    let lines = lines_of(&mut child)?;
    let mut run = Run::default();
    let listened = listen(&mut run, &mut child, &lines, moment, start);
    // What is still in the pipe was said before the end.
    while let Ok(line) = lines.recv_timeout(HANGS) {
        run.take(line, start);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let by_us = listened?;
    run.reached = !by_us && matches!(moment, Moment::At(..));
    run.killed = !status.success() && status.code().is_none();
    run.said = std::fs::read_to_string(&errors).unwrap_or_default();
    Ok(run)
}

fn lines_of(child: &mut Child) -> Result<Receiver<Line>, String> {
    let output = child.stdout.take().ok_or("no pipe")?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(line) => drop(sender.send(line)),
                Err(error) => drop(sender.send(Line::Broken(format!("{error} in the line {line}")))),
            }
        }
    });
    Ok(lines)
}

/// Takes lines until the moment has come, and kills. Whether it was this that ended the worker.
fn listen(run: &mut Run, child: &mut Child, lines: &Receiver<Line>, moment: &Moment, start: Instant) -> Result<bool, String> {
    let mut until = match moment {
        Moment::AfterStart(delay) => start + *delay,
        _ => start + HANGS,
    };
    let mut pid = None;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Line::Ready { pid: worker } = line {
                    pid = Some(worker);
                    match moment {
                        Moment::AfterReady(delay) => until = Instant::now() + *delay,
                        Moment::At(..) => until = Instant::now() + NOT_REACHED,
                        _ => {}
                    }
                }
                run.take(line, start);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                let hangs = start.elapsed() >= HANGS;
                if let (Moment::At(..), Some(pid)) = (moment, pid) {
                    // The worker, not strace: that one ends with it. It may just have ended by itself.
                    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process number")?;
                    match kill_process(pid, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(error) => return Err(format!("kill: {error}")),
                    }
                } else {
                    kill_group(child);
                }
                return if hangs { Err(format!("a worker hung for {HANGS:?} ({moment:?})")) } else { Ok(true) };
            }
        }
    }
}

impl Run {
    fn take(&mut self, line: Line, start: Instant) {
        match line {
            Line::Opening => self.began = true,
            Line::Row { collection, fields } => {
                let key = if collection == "clients" { &fields["client_id"] } else { &fields["slug"] };
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                if self.records.insert((collection.clone(), key.clone()), fields).is_some() {
                    self.problems.push(format!("{collection} {key} was found twice"));
                }
            }
            Line::Problem(problem) => self.problems.push(problem),
            Line::Ready { .. } => {
                self.ready = true;
                self.opened_in = start.elapsed();
            }
            Line::Begin { thread, number, op } => self.operations.push(Operation { thread, number, op, end: None }),
            Line::Done { thread, number, ids } => self.end(thread, number, End::Done(ids)),
            Line::Refused { thread, number } => self.end(thread, number, End::Refused),
            Line::Failed { thread, number, not_applied, message } => self.end(thread, number, End::Failed(not_applied, message)),
            Line::Maintaining(task) => self.maintaining = (!task.is_empty()).then_some(task),
            Line::Broken(what) => self.broken = Some(what),
        }
    }

    fn end(&mut self, thread: usize, number: u64, end: End) {
        let at = self.operations.iter().position(|o| o.end.is_none() && (o.thread, o.number) == (thread, number));
        if let Some(at) = at {
            // Those that ended stand before those that did not, in the order of their ends.
            let ended = Operation { end: Some(end), ..self.operations.remove(at) };
            let behind = self.operations.iter().position(|o| o.end.is_none()).unwrap_or(self.operations.len());
            self.operations.insert(behind, ended);
        }
    }
}
