//! The operator at the other end: questions and remarks, apart from a command's output.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Asks the operator and tells them things.
pub trait Console {
    /// Whether somebody can be expected to answer.
    fn is_interactive(&self) -> bool;

    /// Whether the output goes to a screen.
    fn shows_output(&self) -> bool;

    /// Whether remarks go to a screen, so that a bar can be drawn there.
    fn shows_remarks(&self) -> bool {
        false
    }

    /// Asks a question and reads a line; `None` when no answer will come.
    ///
    /// # Errors
    /// What the system said.
    fn ask(&self, question: &str) -> io::Result<Option<String>>;

    /// The same for what nobody must see: the line is not shown while it is typed.
    ///
    /// # Errors
    /// What the system said.
    fn ask_secret(&self, question: &str) -> io::Result<Option<String>>;

    /// Tells the operator something that is not part of the output.
    fn note(&self, text: &str);
}

/// Standard input and standard error.
#[derive(Debug, Clone, Copy)]
pub struct Terminal;

impl Console for Terminal {
    fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn shows_output(&self) -> bool {
        io::stdout().is_terminal()
    }

    fn shows_remarks(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn ask(&self, question: &str) -> io::Result<Option<String>> {
        if !question.is_empty() {
            let mut stderr = io::stderr().lock();
            stderr.write_all(question.as_bytes())?;
            stderr.flush()?;
        }
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line)?;
        if read == 0 && !question.is_empty() {
            // What follows must not stand behind the question.
            self.note("");
        }
        Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    fn ask_secret(&self, question: &str) -> io::Result<Option<String>> {
        let unseen = Unseen::begin()?;
        let answer = self.ask(question);
        drop(unseen);
        // The line's end was not shown either.
        self.note("");
        answer
    }

    fn note(&self, text: &str) {
        // Nothing can be done about a closed stderr, and the command's result does not depend on it.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// A terminal that does not show what is typed, until this is dropped.
#[cfg(unix)]
struct Unseen(rustix::termios::Termios);

#[cfg(unix)]
impl Unseen {
    fn begin() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// Elsewhere a password is read from a file or the environment.
#[cfg(not(unix))]
struct Unseen;

#[cfg(not(unix))]
impl Unseen {
    fn begin() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system's terminal cannot hide what is typed"))
    }
}
