//! How a running task gets on: what it said with `spored progress`, and what it uses.

use std::io;
use std::time::Duration;

use spawn_core::observed::Progress;
use spawn_core::outcome::StopCause;
use spawn_local::sandbox::processes;
use spawn_local::wire::agent::{FromAgent, Load, Stopping};

use super::event_loop::Agent;
use crate::progress;

/// A running task is looked at this often; looking at one file costs next to nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What its processes use is read less often.
const LOAD_EVERY: Duration = Duration::from_secs(5);

/// What is known of a running task, and when to look again.
#[derive(Debug)]
pub struct Watch {
    next_look: Duration,
    next_load: Duration,
    progress: Option<Progress>,
    load: Option<Load>,
    /// Its stop, if it is being stopped.
    pub stopping: Option<Stopping>,
    /// The stop that `stopping` tells of, by the agent's own clock.
    pub noted: Option<(StopCause, Duration)>,
    /// Processor time that was used, in microseconds, and when.
    cpu_seen: (Duration, u64),
}

impl Watch {
    /// A task that begins now.
    pub fn new(began: Duration) -> Watch {
        Watch {
            next_look: began + LOOK_EVERY,
            next_load: began + LOOK_EVERY,
            progress: None,
            load: None,
            stopping: None,
            noted: None,
            cpu_seen: (began, 0),
        }
    }

    /// When to look next.
    pub fn next_look(&self) -> Duration {
        self.next_look
    }
}

impl Agent {
    /// Looks at the running task if it is time to, and says what is new.
    pub(super) fn look(&mut self, now: Duration) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let watch = &mut current.watch;
        if now < watch.next_look {
            return Ok(());
        }
        watch.next_look = now + LOOK_EVERY;
        let mut is_news = false;
        let progress = progress::read(&self.world.control);
        if progress.is_some() && progress != watch.progress {
            watch.progress = progress;
            is_news = true;
        }
        if now >= watch.next_load
            && let Some(sandbox) = &self.sandbox
        {
            watch.next_load = now + LOAD_EVERY;
            let usage = processes::usage_below(sandbox.init_pid());
            watch.load = usage.map(|(memory_bytes, cpu_micros)| {
                let (before, cpu_before) = watch.cpu_seen;
                let micros = now.saturating_sub(before).as_micros().max(1);
                let used = u128::from(cpu_micros.saturating_sub(cpu_before));
                watch.cpu_seen = (now, cpu_micros);
                Load {
                    memory_bytes,
                    milli_cpus: u64::try_from(used * 1000 / micros).unwrap_or(u64::MAX),
                }
            });
            is_news = true;
        }
        match is_news {
            true => self.announce(),
            false => Ok(()),
        }
    }

    /// Tells the host of the running task.
    pub(super) fn announce(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current.announced = true;
        let now = self.origin.elapsed();
        let running = FromAgent::Running {
            position: current.task.position,
            attempt: current.task.attempt,
            log_offset: current.log_offset,
            progress: current.watch.progress,
            load: current.watch.load,
            stopping: current.watch.stopping,
            timeout_in_ms: current
                .timeout_at
                .map(|at| at.saturating_sub(now).as_millis() as u64),
        };
        self.say(&running)
    }
}
