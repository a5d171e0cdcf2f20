//! The EC2 instance that this runs on, and its Auto Scaling group.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use spawn_aws::client::{AwsError, Client, ErrorKind};
use spawn_aws::imds::Imds;
use spawn_aws::services::autoscaling::{self, Group};
use spawn_aws::services::ec2;
use spawn_core::moment::UnixMicros;
use spawn_ports::machine::{Leave, Machine, MachineError, Outlook};

use crate::config::{AtEnd, Made};
use crate::node::aws_now;
use crate::standing;

/// How long scripts get when the machine is shut down without a notice: as long as the service
/// manager waits, and some more for the outcome.
const SHUTDOWN_NOTICE_MILLIS: u64 = 60_000;

/// A group that is being changed by others refuses; how often it is asked again, and how soon.
const ROUNDS: u32 = 12;
const PAUSE: Duration = Duration::from_secs(5);

/// An instance of a group.
#[derive(Debug)]
pub struct Ec2Machine {
    imds: Imds,
    client: Client,
    instance: String,
    made: Vec<Made>,
    standing: Option<AtEnd>,
    terminated: Option<SignalFd>,
    shut_down_at: Option<UnixMicros>,
    group_is_gone: bool,
}

impl Ec2Machine {
    /// The instance of this id. `made` is all that goes when the array ends, its own group first.
    pub fn new(imds: Imds, client: Client, instance: String, made: Vec<Made>) -> Ec2Machine {
        Ec2Machine {
            imds,
            client,
            instance,
            made,
            standing: None,
            terminated: None,
            shut_down_at: None,
            group_is_gone: false,
        }
    }

    /// The same machine, if it is in no group and is to do this when nothing is left for it.
    #[must_use]
    pub fn standing(self, standing: Option<AtEnd>) -> Ec2Machine {
        Ec2Machine { standing, ..self }
    }

    /// Takes the signal by which the service manager ends this process as news that the machine
    /// ends. To be called before any thread or process is started.
    ///
    /// # Errors
    /// The signal cannot be blocked.
    pub fn heed_termination(&mut self) -> Result<(), MachineError> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        let heeded = signals.thread_block().and_then(|()| {
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        });
        self.terminated = Some(heeded.map_err(|e| MachineError {
            what: format!("cannot wait for the signal of the machine's end: {e}"),
            source: Some(Box::new(e)),
        })?);
        Ok(())
    }

    fn was_told_to_end(&mut self) -> Option<UnixMicros> {
        let signal = self.terminated.as_ref()?.read_signal();
        if let Ok(Some(_)) = signal {
            let at = aws_now(&self.client).plus_millis(SHUTDOWN_NOTICE_MILLIS);
            self.shut_down_at.get_or_insert(at);
        }
        self.shut_down_at
    }

    /// Whether the group has let go of this instance or is about to.
    fn is_on_its_way(&self) -> Result<bool, AwsError> {
        if self.made.is_empty() {
            return Ok(false);
        }
        let groups = self.groups()?;
        let mut instances = groups.iter().flat_map(|group| &group.instances);
        let own = instances.find(|instance| instance.instance_id == self.instance);
        Ok(own.is_none_or(|instance| instance.lifecycle_state.starts_with("Terminat")))
    }

    fn groups(&self) -> Result<Vec<Group>, AwsError> {
        let names: Vec<&str> = self.made.iter().map(|made| made.group.as_str()).collect();
        match autoscaling::describe_groups(&self.client, &names) {
            Err(e) if is_absent(&e) => Ok(Vec::new()),
            groups => groups,
        }
    }

    /// Everything that was made, what this machine itself is in at the end: with that it goes.
    fn own_last(&self) -> Result<Vec<Made>, AwsError> {
        let mut made: Vec<Made> = self.made.iter().rev().cloned().collect();
        // Where groups share a template, its user data does not tell them apart.
        if made.iter().any(|made| made.raise.is_some()) {
            let groups = self.groups()?;
            let has = |group: &Group| {
                let mut instances = group.instances.iter();
                instances.any(|instance| instance.instance_id == self.instance)
            };
            let own = groups.iter().find(|group| has(group));
            made.sort_by_key(|made| own.is_some_and(|g| g.auto_scaling_group_name == made.group));
        }
        Ok(made)
    }

    fn remove(&self, made: &Made) -> Result<(), AwsError> {
        match autoscaling::suspend_processes(&self.client, &made.group, &["Launch"]) {
            Err(e) if !is_absent(&e) => return Err(e),
            _ => {}
        }
        // The group goes last: as long as it is there, others see that something is left to do.
        match ec2::delete_launch_template(&self.client, &made.template) {
            // What is gone has no tags, and without them nobody is allowed to remove it.
            Err(e) if e.kind != ErrorKind::Denied => return Err(e),
            _ => {}
        }
        for round in 1.. {
            match autoscaling::delete_group(&self.client, &made.group, true) {
                Ok(_) => return Ok(()),
                Err(e) if is_absent(&e) => return Ok(()),
                // Perhaps by another worker that saw the same.
                Err(e) if e.kind == ErrorKind::Conflict && round < ROUNDS => {
                    let groups = autoscaling::describe_groups(&self.client, &[&made.group])?;
                    if groups.iter().all(|group| group.status.is_some()) {
                        return Ok(());
                    }
                    self.client.clock().sleep(PAUSE);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn is_absent(error: &AwsError) -> bool {
    error.kind == ErrorKind::NotFound
        || (error.kind == ErrorKind::Validation && error.message.contains("not found"))
}

fn failed(what: String) -> impl FnOnce(AwsError) -> MachineError {
    move |error| MachineError {
        what: format!("{what}: {error}"),
        source: Some(Box::new(error)),
    }
}

impl Machine for Ec2Machine {
    fn outlook(&mut self) -> Result<Outlook, MachineError> {
        if let Some(at) = self.was_told_to_end() {
            return Ok(Outlook::Ending { at });
        }
        let unheard = |e| MachineError {
            what: format!("the machine's future is not known: {e}"),
            source: Some(Box::new(e)),
        };
        if let Some(notice) = self.imds.spot_instance_action().map_err(unheard)? {
            let at = match notice.time.parse::<Timestamp>() {
                Ok(time) => UnixMicros(time.as_microsecond()),
                // That it ends is what counts; spot notices come two minutes ahead.
                Err(_) => aws_now(&self.client).plus_millis(SHUTDOWN_NOTICE_MILLIS),
            };
            return Ok(Outlook::Ending { at });
        }
        let risk = self.imds.rebalance_recommendation().map_err(unheard)?;
        Ok(match risk {
            Some(_) => Outlook::AtRisk,
            None => Outlook::Calm,
        })
    }

    fn leave(&mut self, how: Leave) -> Result<(), MachineError> {
        if let Some(at_end) = self.standing {
            let end = standing::end(&self.client, at_end, &self.instance);
            return end.map_err(|what| MachineError { what, source: None });
        }
        if self.group_is_gone {
            // The group takes its machines with it.
            return Ok(());
        }
        let decrement = how == Leave::Retire;
        let instance = self.instance.clone();
        let doing = || format!("cannot take {instance} out of its group");
        for round in 1.. {
            match autoscaling::terminate_instance(&self.client, &self.instance, decrement) {
                Ok(_) => return Ok(()),
                Err(e) if is_absent(&e) => return Ok(()),
                Err(e) if round >= ROUNDS => return Err(failed(doing())(e)),
                // The answer is lost: whether it was done is seen at the group.
                Err(e) if e.maybe_executed || e.kind == ErrorKind::Conflict => {
                    if self.is_on_its_way().map_err(failed(doing()))? {
                        return Ok(());
                    }
                    self.client.clock().sleep(PAUSE);
                }
                Err(e) => return Err(failed(doing())(e)),
            }
        }
        Ok(())
    }

    fn needs_no_fallback(&mut self) -> Result<(), MachineError> {
        for made in &self.made {
            let Some(raise) = &made.raise else { continue };
            match autoscaling::delete_scheduled_action(&self.client, &made.group, raise) {
                Err(e) if !is_absent(&e) => {
                    return Err(failed(format!("cannot cancel the action {raise}"))(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn array_has_ended(&mut self) -> Result<(), MachineError> {
        let all = self
            .own_last()
            .map_err(failed("cannot look at the groups".to_owned()))?;
        for made in &all {
            self.remove(made)
                .map_err(failed(format!("cannot remove the group {}", made.group)))?;
        }
        self.group_is_gone = !self.made.is_empty();
        Ok(())
    }
}
