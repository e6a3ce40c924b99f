//! What clients make the node hold: one budget for all, and an account for each, over all of its connections.
//!
//! Nobody has a fixed part, which would be too little for one and too much for many. Whoever wants more gets it as long as no more is in
//! its account than it leaves free: one client alone has half of a budget at most, and those who come after it find something left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A number of bytes that clients share.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    /// Takes so many bytes for a client and says whether it got them; `own` is what it has already.
    pub(crate) fn take(&self, own: &AtomicUsize, bytes: usize) -> bool {
        let held = own.fetch_add(bytes, Relaxed) + bytes;
        let fits = |used: usize| (used + bytes + held <= self.limit).then_some(used + bytes);
        let taken = self.used.fetch_update(Relaxed, Relaxed, fits).is_ok();
        if !taken {
            own.fetch_sub(bytes, Relaxed);
        }
        taken
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, own: &AtomicUsize, bytes: usize) {
        own.fetch_sub(bytes, Relaxed);
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// What one client has of each budget.
#[derive(Debug, Default)]
pub struct Account {
    /// Of long messages, until they are whole and dealt with.
    pub(crate) incoming: AtomicUsize,
    /// What waits for the agent.
    pub(crate) for_agent: AtomicUsize,
}

/// The accounts of clients that are connected.
#[derive(Debug, Default)]
pub(crate) struct Accounts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    accounts: HashMap<i64, Weak<Account>>,
    /// With so many, those that nobody has any more are looked for.
    sweep_at: usize,
}

/// As many accounts are kept without a look at them.
const FEW: usize = 64;

impl Accounts {
    /// The account of a client, the same for all of its connections.
    pub(crate) fn of(&self, client: i64) -> Arc<Account> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.accounts.get(&client).and_then(Weak::upgrade) {
            return account;
        }
        if known.accounts.len() >= known.sweep_at {
            known.accounts.retain(|_, account| account.strong_count() > 0);
            known.sweep_at = FEW.max(2 * known.accounts.len());
        }
        let account = Arc::default();
        known.accounts.insert(client, Arc::downgrade(&account));
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_it_leaves() {
        let budget = Budget::new(1000);
        let [one, two, three] = [(); 3].map(|()| AtomicUsize::new(0));
        assert!(budget.take(&one, 400) && budget.take(&one, 100) && !budget.take(&one, 1));
        assert!(budget.take(&two, 250) && !budget.take(&two, 1));
        assert!(budget.take(&three, 100));
        budget.give_back(&one, 500);
        assert!(budget.take(&two, 100));
        budget.give_back(&two, 350);
        budget.give_back(&three, 100);
        assert_eq!([&budget.used, &one, &two, &three].map(|n| n.load(Relaxed)), [0; 4]);
    }

    #[test]
    fn a_client_has_one_account_as_long_as_it_is_there() {
        let accounts = Accounts::default();
        let account = accounts.of(1);
        assert!(Arc::ptr_eq(&account, &accounts.of(1)) && !Arc::ptr_eq(&account, &accounts.of(2)));
        for client in 0..10_000 {
            let _ = accounts.of(client);
        }
        assert!(Arc::ptr_eq(&account, &accounts.of(1)));
        assert!(accounts.0.lock().expect("a lock").accounts.len() <= FEW + 1);
    }
}
