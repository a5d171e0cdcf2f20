//! Connections, and who of them has shown a key.
//!
//! A connection costs a buffer for the head of its request, whoever made it. Those that have not yet
//! sent a request whose signature was verified are strangers, and only so many of them are kept: the
//! one that has waited longest makes room for the next. A client with a key is a stranger for the
//! moment that its first request takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// How many strangers are kept. Each holds at most the largest head of a request.
const MAX_STRANGERS: usize = 512;

/// The strangers of one endpoint, by order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    strangers: Mutex<Strangers>,
}

#[derive(Debug, Default)]
struct Strangers {
    arrived: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    leave: Arc<Notify>,
}

impl Guests {
    /// A connection has been made.
    pub(crate) fn arrive(self: &Arc<Self>) -> Guest {
        let leave = Arc::new(Notify::new());
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = strangers.arrived;
        strangers.arrived += 1;
        if strangers.waiting.len() >= MAX_STRANGERS
            && let Some((_, oldest)) = strangers.waiting.pop_first()
        {
            oldest.notify_one();
        }
        strangers.waiting.insert(number, Arc::clone(&leave));
        drop(strangers);
        Guest {
            guests: Arc::clone(self),
            number,
            leave,
        }
    }
}

impl Guest {
    /// A request of this connection was verified: it is a stranger no more.
    pub(crate) fn verified(&self) {
        let mut strangers = self
            .guests
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        strangers.waiting.remove(&self.number);
    }

    /// Returns when this connection is to make room.
    pub(crate) async fn sent_away(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.verified();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sent_away(guest: &Guest) -> bool {
        let mut leave = std::pin::pin!(guest.leave.notified());
        leave.as_mut().enable()
    }

    #[test]
    fn the_stranger_that_waited_longest_makes_room() {
        let guests = Arc::new(Guests::default());
        let friend = guests.arrive();
        friend.verified();
        let strangers: Vec<Guest> = (0..MAX_STRANGERS + 2).map(|_| guests.arrive()).collect();
        assert!(!is_sent_away(&friend));
        assert!(is_sent_away(&strangers[0]) && is_sent_away(&strangers[1]));
        assert!(!strangers[2..].iter().any(is_sent_away));
        drop(strangers);
        assert!(guests.strangers.lock().unwrap().waiting.is_empty());
    }
}
