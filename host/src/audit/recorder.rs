//! What a node tells, written by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hivemind_node::event::{Event, Observer, Party};

use super::entry::{Entry, short};
use super::file::Log;
use super::gate::Gate;

/// Lines that wait at most, of a few hundred bytes each.
const WAITING: usize = 8192;

/// Lines of one kind in a minute; see [`Gate`]. Admissions cost whoever causes them a password.
const ADMISSIONS: u32 = 20_000;
const REFUSALS: u32 = 200;
const DENIALS: u32 = 200;

/// How often the gates are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long a stopping node waits for the last lines.
const LAST: Duration = Duration::from_secs(3);

/// Writes down what a node tells. Nothing here waits for the disk but its own thread.
pub struct Recorder {
    gates: Arc<Gates>,
    queue: SyncSender<Job>,
    lost: Arc<AtomicU64>,
    writer: std::sync::Mutex<Option<JoinHandle<()>>>,
}

struct Gates {
    admitted: Gate,
    left: Gate,
    refused: Gate,
    denied: Gate,
    too_slow: Gate,
}

impl Gates {
    fn counts(&self, now: Instant, last: bool) -> Vec<Entry> {
        [&self.admitted, &self.left, &self.refused, &self.denied, &self.too_slow]
            .iter()
            .flat_map(|g| g.counts(now, last))
            .collect()
    }
}

enum Job {
    Write(Box<Entry>),
    End,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(log: Log) -> std::io::Result<Self> {
        let gates = Arc::new(Gates {
            admitted: Gate::new("admitted", ADMISSIONS),
            left: Gate::new("left", ADMISSIONS),
            refused: Gate::new("refused", REFUSALS),
            denied: Gate::new("denied", DENIALS),
            too_slow: Gate::new("too_slow", REFUSALS),
        });
        let (queue, jobs) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer { log, gates: Arc::clone(&gates), lost: Arc::clone(&lost), failed: None };
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&jobs))?;
        Ok(Self { gates, queue, lost, writer: std::sync::Mutex::new(Some(writer)) })
    }

    /// Writes something down, or counts it where there is no room.
    pub fn record(&self, entry: Entry) {
        if self.queue.try_send(Job::Write(Box::new(entry))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the last lines. A disk that does not answer is not waited for.
    pub fn end(&self) {
        let Some(writer) = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else { return };
        let end = Instant::now() + LAST;
        while self.queue.try_send(Job::End).is_err() && Instant::now() < end && !writer.is_finished() {
            std::thread::sleep(Duration::from_millis(5));
        }
        while !writer.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        if writer.is_finished() {
            let _ = writer.join();
        }
    }

    fn gated(&self, gate: &Gate, same: impl std::hash::Hash, entry: impl FnOnce() -> Entry) {
        if let Some(entry) = gate.pass(same, entry) {
            self.record(entry);
        }
    }
}

impl Observer for Recorder {
    fn see(&self, event: &Event<'_>) {
        let who = |party: &Party<'_>| (party.client, party.address);
        let ms = |took: Duration| u64::try_from(took.as_millis()).ok();
        match event {
            Event::Admitted { party, pattern, took } => self.gated(&self.gates.admitted, who(party), || Entry {
                pattern: (*pattern).into(),
                ms: ms(*took),
                ..Entry::about("admitted", party)
            }),
            Event::Refused { party, refusal } => {
                let outcome = refusal.word();
                self.gated(&self.gates.refused, (who(party), outcome), || Entry {
                    outcome: outcome.into(),
                    ..Entry::about("refused", party)
                });
            }
            Event::Judged { party, envelope, message_type, denied: Some(code), .. } => {
                // It may be as long as a message.
                let message_type = short(message_type);
                self.gated(&self.gates.denied, (who(party), *envelope, message_type.clone(), *code), || Entry {
                    outcome: short(code).into(),
                    envelope: (*envelope).into(),
                    message_type,
                    ..Entry::about("denied", party)
                });
            }
            Event::Left { party, code, reason, lasted } => self.gated(&self.gates.left, who(party), || Entry {
                code: *code,
                reason: short(reason),
                ms: ms(*lasted),
                ..Entry::about("left", party)
            }),
            Event::TooSlow { party } => self.gated(&self.gates.too_slow, who(party), || Entry::about("too_slow", party)),
            _ => {}
        }
    }
}

struct Writer {
    log: Log,
    gates: Arc<Gates>,
    lost: Arc<AtomicU64>,
    /// Since when it cannot be written, and how many lines that cost.
    failed: Option<u64>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let (mut lines, mut count, mut is_over) = (Vec::new(), 0, false);
            let first = jobs.recv_timeout(TICK);
            is_over |= matches!(first, Err(RecvTimeoutError::Disconnected));
            for job in first.into_iter().chain(jobs.try_iter().take(1000)) {
                match job {
                    Job::Write(entry) => {
                        lines.extend(entry.line());
                        count += 1;
                    }
                    Job::End => is_over = true,
                }
            }
            for entry in self.gates.counts(Instant::now(), is_over) {
                lines.extend(entry.line());
                count += 1;
            }
            self.write(&lines, count);
            if is_over {
                let _ = self.log.sync();
                return;
            }
        }
    }

    fn write(&mut self, lines: &[u8], count: u64) {
        let lost = self.lost.swap(0, Ordering::Relaxed) + self.failed.unwrap_or(0);
        let mut all = Vec::new();
        if lost > 0 {
            all = Entry { count: Some(lost), ..Entry::now("lost") }.line();
        }
        all.extend(lines);
        if all.is_empty() {
            return;
        }
        match self.log.append(&all) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::warn!(
                        "the audit log {} is written again; {lost} lines are missing in it",
                        self.log.path().display()
                    );
                }
            }
            Err(error) => {
                // Said once, however long it lasts.
                if self.failed.is_none() {
                    let path = self.log.path().display();
                    tracing::error!("the audit log {path} cannot be written: {error}; the node goes on without it");
                }
                self.failed = Some(lost + count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hivemind_node::event::Refusal;

    use super::super::Reader;
    use super::*;

    fn party(client: i64) -> Party<'static> {
        Party { address: IpAddr::from([192, 0, 2, 1]), client: Some(client), name: "kitchen", access_key: "MARK" }
    }

    fn entries(path: &std::path::Path) -> Vec<Entry> {
        let mut reader = Reader::open(path).expect("read");
        let entries = reader.by_ref().collect::<std::io::Result<Vec<_>>>().expect("read");
        assert_eq!(reader.damaged(), 0);
        entries
    }

    #[test]
    fn what_a_node_tells_is_there_when_it_ends_and_holds_no_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let recorder = Recorder::start(Log::new(path.clone(), 1 << 20, 1)).expect("started");
        let took = Duration::from_millis(12);
        recorder.see(&Event::Admitted { party: party(1), pattern: "XXpsk2", took });
        recorder.see(&Event::Judged { party: party(1), envelope: "bus", message_type: "speak", denied: None, took });
        recorder.see(&Event::Judged {
            party: party(1),
            envelope: "bus",
            message_type: "x",
            denied: Some("acl_disallowed_type"),
            took,
        });
        for _ in 0..10_000 {
            recorder.see(&Event::Refused { party: Party { client: None, ..party(0) }, refusal: Refusal::UnknownKey });
        }
        recorder.end();
        let entries = entries(&path);
        let of = |event: &str| entries.iter().filter(|e| e.event == event).collect::<Vec<_>>();
        assert_eq!((of("admitted").len(), of("denied").len(), of("lost").len()), (1, 1, 0));
        assert_eq!(of("refused").iter().map(|e| e.weight()).sum::<u64>(), 10_000);
        assert!(of("refused").len() <= REFUSALS as usize + 1);
        assert_eq!((of("denied")[0].message_type.as_str(), of("admitted")[0].ms), ("x", Some(12)));
        assert!(!std::fs::read_to_string(&path).expect("there").contains("MARK"));
    }

    #[test]
    fn a_log_that_cannot_be_written_holds_nothing_up_and_its_lines_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("place");
        std::fs::write(&place, "").expect("a file where a folder is needed");
        let path = place.join("audit.jsonl");
        let recorder = Recorder::start(Log::new(path.clone(), 1 << 20, 1)).expect("started");
        for _ in 0..5 {
            recorder.record(Entry::now("started"));
        }
        let end = Instant::now() + Duration::from_secs(60);
        while recorder.queue.try_send(Job::Write(Box::new(Entry::now("started")))).is_err() {
            assert!(Instant::now() < end);
        }
        std::thread::sleep(Duration::from_millis(50));
        std::fs::remove_file(&place).expect("removed");
        recorder.record(Entry::now("stopped"));
        recorder.end();
        let entries = entries(&path);
        let told: u64 = entries.iter().map(Entry::weight).sum();
        assert!(told == 7 && entries.last().is_some_and(|e| e.event == "stopped"), "{entries:?}");
    }
}
