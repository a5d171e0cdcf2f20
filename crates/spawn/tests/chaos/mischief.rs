//! What is done to the programs while they work.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::processes::{agents, hosts, lives, of_array, signal, until};
use crate::support::World;

/// Longer than an agent may be silent, and than it takes the host to see that it was.
const PAST_THE_LEASE: Duration = Duration::from_secs(7);

/// What was done so far, as far as it bears on what may come of it.
#[derive(Debug, Default)]
pub struct Mischief {
    /// Executions whose script was killed: their task may have failed with signal 9.
    pub killed_scripts: BTreeSet<(usize, u32)>,
    /// Agents that were stopped, and when.
    stopped: Vec<(u32, Instant)>,
    /// How often each was done, to be printed.
    pub done: std::collections::BTreeMap<&'static str, u32>,
}

impl Mischief {
    /// Does something at random.
    pub fn do_something(&mut self, world: &World, id: &str, dice: &mut Dice) {
        let what = match dice.below(16) {
            0..=4 => self.kill_agent(world, dice),
            5..=7 => self.kill_script(id, dice),
            8..=9 => self.stall_agent(world, dice),
            10..=13 => self.interrupt(world, id, dice),
            14 => self.kill_host(world),
            _ => self.kill_everything(world),
        };
        if let Some(what) = what {
            *self.done.entry(what).or_default() += 1;
        }
    }

    fn kill_agent(&mut self, world: &World, dice: &mut Dice) -> Option<&'static str> {
        let agent = dice.pick(&agents(world))?;
        signal("KILL", &[agent]);
        Some("agents killed")
    }

    fn kill_script(&mut self, id: &str, dice: &mut Dice) -> Option<&'static str> {
        let script = dice.pick(&of_array(id))?;
        self.killed_scripts.insert((script.index, script.attempt));
        signal("KILL", &[script.pid]);
        Some("processes of tasks killed")
    }

    /// The scripts go on while their agent does not: a second execution may run beside the first.
    fn stall_agent(&mut self, world: &World, dice: &mut Dice) -> Option<&'static str> {
        let agent = dice.pick(&agents(world))?;
        signal("STOP", &[agent]);
        self.stopped.push((agent, Instant::now()));
        Some("agents stalled")
    }

    fn interrupt(&mut self, world: &World, id: &str, dice: &mut Dice) -> Option<&'static str> {
        let task = dice.pick(&of_array(id))?.index.to_string();
        let notice = ["1s", "5s", "30s"][dice.below(3)];
        // Refused if the task has ended meanwhile.
        let out = world.run(["interrupt", id, "--task", &task, "--notice", notice]);
        (out.code == 0).then_some("workers interrupted")
    }

    fn kill_host(&mut self, world: &World) -> Option<&'static str> {
        signal("KILL", &hosts(world));
        world.ok(["list"]);
        Some("hosts killed")
    }

    fn kill_everything(&mut self, world: &World) -> Option<&'static str> {
        let mut all = hosts(world);
        all.extend(agents(world));
        signal("KILL", &all);
        world.ok(["list"]);
        Some("everything killed")
    }

    /// Wakes the agents whose lease is over by now.
    pub fn wake_the_stalled(&mut self) {
        let (late, rest) = std::mem::take(&mut self.stopped)
            .into_iter()
            .partition(|(_, since)| since.elapsed() > PAST_THE_LEASE);
        self.stopped = rest;
        let late: Vec<(u32, Instant)> = late;
        for (agent, _) in late {
            signal("CONT", &[agent]);
            // It was given up, and cannot commit what it holds: it does not outlive that.
            until("a stalled agent is gone", || !lives(agent));
        }
    }

    /// Wakes all that sleep; those whose lease is not over go on.
    pub fn wake_all(&mut self) {
        let all: Vec<u32> = self.stopped.drain(..).map(|(agent, _)| agent).collect();
        signal("CONT", &all);
    }
}
