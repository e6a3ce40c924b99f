//! Names to addresses, within a [`Limit`].
//!
//! The decision behind it: **the system's resolver is asked on a thread.** It knows no deadline, so a caller could wait for it for half a
//! minute. Callers who ask for one name at once share one question, so that a dead name server ties up one thread and not one for
//! each call.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};

use super::limit::Limit;
use super::socket::NoSocket;

/// A question, and its answer when there is one. Errors are kept as text, because those of the system cannot be cloned.
#[derive(Default)]
struct Question {
    answer: Mutex<Option<Result<Vec<SocketAddr>, String>>>,
    answered: Condvar,
}

type Questions = Mutex<HashMap<(String, u16), Arc<Question>>>;

static OPEN: LazyLock<Questions> = LazyLock::new(Mutex::default);

pub(crate) fn resolve(host: &str, port: u16, limit: &mut Limit<'_>) -> Result<Vec<SocketAddr>, NoSocket> {
    let question = ask(host, port)?;
    let mut answer = question.answer.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(answer) = &*answer {
            return answer.clone().map_err(|e| NoSocket::Io(io::Error::new(io::ErrorKind::NotFound, e)));
        }
        let slice = limit.slice()?;
        let (guard, waited) = question.answered.wait_timeout(answer, slice).unwrap_or_else(PoisonError::into_inner);
        answer = guard;
        if waited.timed_out() {
            limit.waited(slice);
        }
    }
}

fn ask(host: &str, port: u16) -> io::Result<Arc<Question>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (host.to_owned(), port);
    if let Some(question) = open.get(&key) {
        return Ok(Arc::clone(question));
    }
    let question = Arc::new(Question::default());
    let answering = Arc::clone(&question);
    let name = key.clone();
    std::thread::Builder::new().name("redis-resolve".to_owned()).spawn(move || {
        let found = (name.0.as_str(), name.1).to_socket_addrs().map(Iterator::collect).map_err(|e| e.to_string());
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        *answering.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        answering.answered.notify_all();
    })?;
    open.insert(key, Arc::clone(&question));
    Ok(question)
}
