//! What an operator sees of a long command: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Console;

/// Time between two lines where there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Records between two looks at the clock.
const OFTEN: u64 = 1024;

/// Is told how a command comes along.
pub trait Progress {
    /// A part of the work begins; how many records it is about, if that is known.
    fn begin(&mut self, what: &str, total: Option<u64>);
    /// So many more records are done.
    fn step(&mut self, records: u64);
    /// The part is done.
    fn end(&mut self);
}

/// Progress for the operator at a console.
pub struct Shown<'c> {
    console: &'c dyn Console,
    what: String,
    total: Option<u64>,
    done: u64,
    untold: u64,
    began: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl<'c> Shown<'c> {
    /// Nothing is shown before something begins.
    #[must_use]
    pub fn new(console: &'c dyn Console) -> Self {
        let now = Instant::now();
        Self { console, what: String::new(), total: None, done: 0, untold: 0, began: now, told: now, bar: None }
    }

    fn tell(&mut self) {
        self.untold = 0;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.told.elapsed() >= BETWEEN_LINES {
            self.told = Instant::now();
            self.console.note(&self.line());
        }
    }

    fn line(&self) -> String {
        let passed = self.began.elapsed().as_secs_f64().max(1e-9);
        let rate = self.done as f64 / passed;
        let (what, done) = (&self.what, HumanCount(self.done));
        match self.total.filter(|total| *total >= self.done && rate > 0.0) {
            Some(total) => {
                let left = Duration::from_secs_f64(((total - self.done) as f64 / rate).min(1e9));
                format!("{what}: {done} of {} records, {rate:.0}/s, {} left", HumanCount(total), HumanDuration(left))
            }
            None => format!("{what}: {done} records, {rate:.0}/s"),
        }
    }
}

impl Progress for Shown<'_> {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        self.end();
        (self.what, self.total, self.done) = (what.to_owned(), total, 0);
        self.began = Instant::now();
        self.told = self.began;
        self.bar = self.console.shows_remarks().then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = if total.is_some() {
                "{msg}: {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left"
            } else {
                "{msg}: {human_pos}, {per_sec}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(self.what.clone());
            bar
        });
    }

    fn step(&mut self, records: u64) {
        self.done += records;
        self.untold += records;
        if self.untold >= OFTEN {
            self.tell();
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Nobody looks.
#[derive(Debug, Clone, Copy)]
pub struct Unseen;

impl Progress for Unseen {
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn step(&mut self, _: u64) {}
    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::*;

    #[derive(Default)]
    struct Lines(RefCell<Vec<String>>);

    impl Console for Lines {
        fn is_interactive(&self) -> bool {
            false
        }

        fn shows_output(&self) -> bool {
            false
        }

        fn ask(&self, _: &str) -> io::Result<Option<String>> {
            Ok(None)
        }

        fn ask_secret(&self, _: &str) -> io::Result<Option<String>> {
            Ok(None)
        }

        fn note(&self, text: &str) {
            self.0.borrow_mut().push(text.to_owned());
        }
    }

    #[test]
    fn where_there_is_no_terminal_a_line_now_and_then_has_rate_and_time_left() {
        let lines = Lines::default();
        let mut shown = Shown::new(&lines);
        shown.begin("copying", Some(100_000));
        shown.step(50_000);
        assert!(lines.0.borrow().is_empty(), "not so soon");
        let Some(long_ago) = Instant::now().checked_sub(BETWEEN_LINES * 2) else { return };
        (shown.began, shown.told) = (long_ago, long_ago);
        shown.step(OFTEN);
        shown.step(OFTEN);
        shown.end();
        let said = lines.0.borrow();
        let [line] = &said[..] else { panic!("one line: {said:?}") };
        assert!(line.starts_with("copying: 51,024 of 100,000 records, 25") && line.ends_with("seconds left"), "{line}");
    }
}
