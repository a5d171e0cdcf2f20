//! A connection that fails where it is told to, and counts.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value;
use spawn_dynamo::{DynamoApi, DynamoError};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and the answer is lost.
    LostAnswer,
    /// The server fails before it is done.
    ServerError,
    /// It is refused: too many requests.
    Throttled,
}

impl Fault {
    pub const ALL: [Fault; 3] = [Fault::LostAnswer, Fault::ServerError, Fault::Throttled];
}

/// What shall go wrong, and what was called.
#[derive(Debug, Default)]
pub struct Faults {
    /// For each of the next calls; `None` goes well.
    pub next: VecDeque<Option<Fault>>,
    pub calls: Vec<String>,
}

/// A connection with faults.
pub struct Faulty<A> {
    api: A,
    faults: Rc<RefCell<Faults>>,
}

impl<A> Faulty<A> {
    pub fn over(api: A) -> (Faulty<A>, Rc<RefCell<Faults>>) {
        let faults = Rc::default();
        let faulty = Faulty {
            api,
            faults: Rc::clone(&faults),
        };
        (faulty, faults)
    }
}

impl<A: DynamoApi> DynamoApi for Faulty<A> {
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, DynamoError> {
        let fault = {
            let mut faults = self.faults.borrow_mut();
            faults.calls.push(operation.to_owned());
            faults.next.pop_front().flatten()
        };
        match fault {
            None => self.api.call(operation, body),
            Some(Fault::LostAnswer) => {
                // What it was is lost, too.
                let _ = self.api.call(operation, body);
                Err(DynamoError::MaybeExecuted("connection reset".to_owned()))
            }
            Some(Fault::ServerError) => Err(DynamoError::MaybeExecuted("500".to_owned())),
            Some(Fault::Throttled) => Err(DynamoError::Throttled("slow down".to_owned())),
        }
    }
}
