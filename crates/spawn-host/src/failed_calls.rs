//! AWS calls that failed, by the task that made them, until its outcome is committed.
//!
//! The embedded endpoint answers on its own thread and notes a failed call just before it answers,
//! so the call is here before its script can end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use spawn_core::observed::FailedCall;
use spawn_endpoint::{RequestHook, RequestRecord};
use spawn_local::caller::Caller;
use spawn_ports::ledger::AgentId;

/// Kinds of call kept for one attempt; a script that fails in more ways has shown enough.
const MOST_KINDS: usize = 8;

/// Failed calls of attempts that run.
#[derive(Debug, Clone, Default)]
pub struct FailedCalls(Arc<Mutex<HashMap<Caller, Vec<FailedCall>>>>);

impl FailedCalls {
    /// What the endpoint calls for each request.
    pub fn hook(&self) -> RequestHook {
        let calls = self.clone();
        Arc::new(move |record| calls.note(record))
    }

    fn note(&self, record: &RequestRecord) {
        if record.status < 400 {
            return;
        }
        let Some(caller) = record.session_token.as_ref().and_then(|t| t.parse().ok()) else {
            return;
        };
        let code = record.error_code.clone();
        let code = code.unwrap_or_else(|| record.status.to_string());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls: &mut Vec<FailedCall> = all.entry(caller).or_default();
        let alike = |call: &&mut FailedCall| {
            (&call.service, &call.operation, &call.code)
                == (&record.service, &record.operation, &code)
        };
        if let Some(call) = calls.iter_mut().find(alike) {
            call.count += 1;
        } else if calls.len() < MOST_KINDS {
            calls.push(FailedCall {
                service: record.service.clone(),
                operation: record.operation.clone(),
                code,
                resource: record.resource.clone(),
                count: 1,
            });
        }
    }

    /// Takes those of an attempt that has ended.
    pub fn take(&self, caller: &Caller) -> Vec<FailedCall> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Most attempts make none.
        match all.is_empty() {
            true => Vec::new(),
            false => all.remove(caller).unwrap_or_default(),
        }
    }

    /// Forgets those of an agent that is gone: nobody will ask for them.
    pub fn forget(&self, agent: AgentId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|caller, _| caller.agent != agent);
    }
}

#[cfg(test)]
mod tests {
    use spawn_core::task::Token;

    use super::*;

    fn record(status: u16, session_token: Option<&str>, key: &str) -> RequestRecord {
        RequestRecord {
            service: "s3".into(),
            operation: "PutObject".into(),
            status,
            error_code: (status != 500).then(|| "NoSuchBucket".into()),
            session_token: session_token.map(Into::into),
            resource: Some(key.into()),
        }
    }

    #[test]
    fn failed_calls_are_counted_by_attempt_and_taken_once() {
        let calls = FailedCalls::default();
        let hook = calls.hook();
        hook(&record(200, Some("spawn.1.2.3"), "b/1"));
        hook(&record(404, Some("spawn.1.2.3"), "b/2"));
        hook(&record(404, Some("spawn.1.2.3"), "b/3"));
        hook(&record(500, Some("spawn.1.2.3"), "b/4"));
        hook(&record(404, Some("spawn.1.2.4"), "b/5"));
        hook(&record(404, Some("somebody"), "b/6"));
        hook(&record(404, None, "b/7"));
        let caller = |token| Caller {
            agent: AgentId(1),
            position: 2,
            token: Token(token),
        };
        let taken = calls.take(&caller(3));
        let shown: Vec<_> = taken.iter().map(|c| (c.code.as_str(), c.count)).collect();
        assert_eq!(shown, [("NoSuchBucket", 2), ("500", 1)]);
        assert_eq!(taken[0].resource.as_deref(), Some("b/2"));
        assert!(calls.take(&caller(3)).is_empty());
        calls.forget(AgentId(1));
        assert!(calls.take(&caller(4)).is_empty());
    }
}
