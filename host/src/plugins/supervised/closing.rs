//! Closing a handle whose plugin may not come back from it.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use hivemind_abi::model::{Backend, Context, Result};

/// How much longer than it was told it may take.
const GRACE: Duration = Duration::from_secs(1);

/// What became of closing a handle.
pub(super) enum Closed {
    Answered(Result<()>),
    Stuck,
}

/// Closes a handle in a thread of its own, because the plugin may ignore the deadline.
pub(super) fn close_in_time(backend: Arc<dyn Backend>, cx: &Context<'_>) -> Closed {
    let Some(left) = cx.remaining() else { return Closed::Answered(backend.close(cx)) };
    let (sender, receiver) = mpsc::channel();
    // Whoever takes it out closes and drops it, which may take as long.
    let slot = Arc::new(Mutex::new(Some(backend)));
    let take = |slot: &Mutex<Option<Arc<dyn Backend>>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let close = {
        let slot = Arc::clone(&slot);
        move || {
            let answer = take(&slot).map_or(Ok(()), |backend| backend.close(&Context::within(left)));
            let _ = sender.send(answer);
        }
    };
    match std::thread::Builder::new().name("close-store".to_owned()).spawn(close) {
        Ok(_) => receiver.recv_timeout(left.saturating_add(GRACE)).map_or(Closed::Stuck, Closed::Answered),
        // No thread is to be had: then it is closed here.
        Err(_) => Closed::Answered(take(&slot).map_or(Ok(()), |backend| backend.close(cx))),
    }
}
