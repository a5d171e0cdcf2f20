//! Who calls the embedded endpoint: the session token that each attempt of a task carries.

use std::fmt;
use std::str::FromStr;

use spawn_core::task::Token;
use spawn_ports::ledger::AgentId;

/// One attempt of a task, as a session token: `spawn.AGENT.POSITION.TOKEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The agent that runs it.
    pub agent: AgentId,
    /// Which task of the agent's array.
    pub position: u64,
    /// The lease of the attempt.
    pub token: Token,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Caller {
            agent,
            position,
            token,
        } = self;
        write!(f, "spawn.{}.{position}.{}", agent.0, token.0)
    }
}

/// A session token of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotATask;

impl FromStr for Caller {
    type Err = NotATask;

    fn from_str(text: &str) -> Result<Self, NotATask> {
        let rest = text.strip_prefix("spawn.").ok_or(NotATask)?;
        let numbers: Vec<u64> = rest
            .split('.')
            .map(|number| number.parse().map_err(|_| NotATask))
            .collect::<Result<_, _>>()?;
        match numbers[..] {
            [agent, position, token] => Ok(Caller {
                agent: AgentId(agent),
                position,
                token: Token(token),
            }),
            _ => Err(NotATask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart() {
        let caller = Caller {
            agent: AgentId(7),
            position: 1_000_000,
            token: Token(3),
        };
        assert_eq!(caller.to_string().parse(), Ok(caller));
        for other in [
            "",
            "spawn.",
            "spawn.1.2",
            "spawn.1.2.x",
            "spawn.1.2.3.4",
            "t.1.2.3",
        ] {
            assert_eq!(other.parse::<Caller>(), Err(NotATask), "{other}");
        }
    }
}
