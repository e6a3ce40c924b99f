//! What waits for one satellite: a queue bounded in bytes between whoever has something for it and the task that owns its socket.
//!
//! A satellite that does not read loses its connection, and holds up nobody else. What others send it takes no more than half of the
//! room, so that nobody can cost it its connection by sending much: the other half is for the node and its agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::close::Close;

/// Something for a satellite. Bodies are shared: what goes to many is made once.
#[derive(Debug, Clone)]
pub enum Item {
    /// An envelope as JSON text.
    Json(Arc<[u8]>),
    /// The end.
    Close(Close),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Json(body) => body.len() + 64,
            Self::Close(_) => 0,
        }
    }

    /// As how much it counts: one that is longer than half of the room leaves some for those that follow it.
    fn charge(&self, limit: usize) -> usize {
        self.size().min(limit / 2)
    }
}

/// The end that is written to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    queue: UnboundedSender<Item>,
    state: Arc<State>,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: AtomicUsize,
    urgent: Arc<Notify>,
}

/// The end that the owner of the socket reads. What was taken out last counts until the next is asked for: its owner still has it.
#[derive(Debug)]
pub struct Inbox {
    queue: UnboundedReceiver<Item>,
    state: Arc<State>,
    limit: usize,
    taken: usize,
}

/// Why nothing was put into an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no room.
    Full,
    /// Its connection is gone.
    Gone,
}

/// A queue that holds up to `limit` bytes.
#[must_use]
pub fn outbox(limit: usize) -> (Outbox, Inbox) {
    let (sender, receiver) = unbounded_channel();
    let state = Arc::new(State::default());
    (Outbox { queue: sender, state: Arc::clone(&state), limit }, Inbox { queue: receiver, state, limit, taken: 0 })
}

impl Outbox {
    /// Puts something in, whatever else is done at the same time in the order of the calls.
    ///
    /// # Errors
    /// If it is full, which is because its satellite does not read, or its connection is gone. A close always fits.
    pub fn send(&self, item: Item) -> Result<(), Refused> {
        self.put(item, |after| after <= self.limit)
    }

    /// Puts something in that another satellite has sent.
    ///
    /// # Errors
    /// If half of the room is taken, or its connection is gone.
    pub fn offer(&self, item: Item) -> Result<(), Refused> {
        if item.size() > self.limit / 2 {
            return Err(Refused::Full);
        }
        self.put(item, |after| after <= self.limit / 2)
    }

    fn put(&self, item: Item, fits: impl Fn(usize) -> bool) -> Result<(), Refused> {
        let charge = item.charge(self.limit);
        if charge > 0 {
            // In one step: what is not let in is not seen by others either.
            let more = |before| Some(before + charge).filter(|after| fits(*after));
            let taken = self.state.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
            taken.map_err(|_| Refused::Full)?;
        }
        let is_end = matches!(item, Item::Close(_));
        self.queue.send(item).map_err(|_| Refused::Gone)?;
        if is_end {
            self.state.urgent.notify_one();
        }
        Ok(())
    }
}

impl Inbox {
    /// The next item; `None` once every [`Outbox`] is gone.
    pub async fn next(&mut self) -> Option<Item> {
        self.let_go();
        let item = self.queue.recv().await?;
        self.taken = item.charge(self.limit);
        Some(item)
    }

    /// The next item if one is there.
    pub fn try_next(&mut self) -> Option<Item> {
        self.let_go();
        let item = self.queue.try_recv().ok()?;
        self.taken = item.charge(self.limit);
        Some(item)
    }

    fn let_go(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.state.waiting.fetch_sub(taken, Ordering::Relaxed);
        }
    }

    /// Notified of a close, which does not wait for all before it if that cannot be sent.
    #[must_use]
    pub fn urgent(&self) -> Arc<Notify> {
        Arc::clone(&self.state.urgent)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn item(bytes: usize) -> Item {
        Item::Json(vec![0; bytes].into())
    }

    #[test]
    fn it_holds_so_many_bytes_and_a_close_always_fits() {
        let (outbox, mut inbox) = outbox(1000);
        assert_eq!(outbox.send(item(5000)), Ok(()), "one message, however long");
        assert_eq!(outbox.send(item(436)), Ok(()), "and something after it");
        assert_eq!(outbox.send(item(1)), Err(Refused::Full));
        assert!(inbox.urgent().notified().now_or_never().is_none());
        assert_eq!(outbox.send(Item::Close(Close::stopping())), Ok(()));
        assert!(inbox.urgent().notified().now_or_never().is_some());
        assert!(matches!(inbox.try_next(), Some(Item::Json(_))));
        assert_eq!(outbox.send(item(1)), Err(Refused::Full), "it is not sent yet");
        assert!(matches!(inbox.try_next(), Some(Item::Json(_))));
        assert_eq!(outbox.send(item(1)), Ok(()));
        assert!(matches!(inbox.try_next(), Some(Item::Close(_))) && inbox.try_next().is_some() && inbox.try_next().is_none());
        drop(inbox);
        assert_eq!(outbox.send(item(1)), Err(Refused::Gone));
    }

    #[test]
    fn what_others_send_leaves_half_of_the_room() {
        let (outbox, mut inbox) = outbox(1000);
        assert_eq!(outbox.offer(item(5000)), Err(Refused::Full), "not even alone");
        assert_eq!(outbox.offer(item(300)), Ok(()));
        assert_eq!(outbox.offer(item(300)), Err(Refused::Full));
        assert_eq!(outbox.send(item(300)), Ok(()));
        assert_eq!(outbox.offer(item(1)), Err(Refused::Full));
        while inbox.try_next().is_some() {}
        assert_eq!(outbox.offer(item(300)), Ok(()));
    }
}
