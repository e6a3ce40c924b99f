//! `cargo xtask run` as a newcomer types it: it must end in a node that listens and that one signal stops.
//!
//! It is run by the program that was built for it, whose build has nothing left to do; a test could not do so while cargo runs the tests.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::{Outcome, root};

/// Longer than anything takes that does not hang, on the slowest machine.
const HANGS: Duration = Duration::from_secs(300);

/// What the node says when it has come so far.
const LISTENS: &str = "Listening on ws://127.0.0.1:";

/// Runs it in a home where nothing is but a free port to listen on: other programs may have the standard one.
pub(crate) fn runs() -> Outcome {
    let home = std::env::temp_dir().join(format!("hivemind-newcomer-{}", std::process::id()));
    let found = in_home(&home);
    let _ = std::fs::remove_dir_all(&home);
    found.map_err(|what| format!("`cargo xtask run` {what}"))
}

fn in_home(home: &Path) -> Outcome {
    let config = home.join("config/hivemind-core");
    let server = r#"{"network_protocol": {"hivemind-websocket-plugin": {"host": "127.0.0.1", "port": 0}}}"#;
    let path = config.join("server.json");
    std::fs::create_dir_all(&config)
        .and_then(|()| std::fs::write(&path, server))
        .map_err(|e| format!("was not tried: {}: {e}", path.display()))?;
    let program = std::env::current_exe().map_err(|e| format!("was not tried: this program's path: {e}"))?;
    let mut command = Command::new(program);
    command.arg("run").current_dir(root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    for (name, folder) in [("CONFIG", "config"), ("DATA", "data"), ("STATE", "state"), ("CACHE", "cache")] {
        command.env(format!("XDG_{name}_HOME"), home.join(folder));
    }
    let mut child = command.spawn().map_err(|e| format!("does not start: {e}"))?;
    let found = stops(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    found
}

fn stops(child: &mut Child) -> Outcome {
    let (sender, lines) = channel();
    let Some(output) = child.stderr.take() else { return Err("has no output".to_owned()) };
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let (end, mut said) = (Instant::now() + HANGS, String::new());
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with(LISTENS) => break,
            Ok(line) => said = said + &line + "\n",
            Err(RecvTimeoutError::Timeout) => return Err(format!("does not listen after {HANGS:?}:\n{said}")),
            Err(RecvTimeoutError::Disconnected) => return Err(format!("ended before it listened:\n{said}")),
        }
    }
    let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    if !signalled.is_ok_and(|status| status.success()) {
        return Err("cannot be sent a signal: there is no `kill` here".to_owned());
    }
    let end = Instant::now() + HANGS;
    loop {
        match child.try_wait().map_err(|e| format!("is not known to have ended: {e}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("ended with {status} on SIGTERM:\n{said}")),
            None if Instant::now() > end => return Err("runs on after SIGTERM".to_owned()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
