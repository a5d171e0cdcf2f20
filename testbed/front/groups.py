"""Auto Scaling groups: what a group wants, what it has, and the loop that closes the gap."""

import math
import uuid

from . import group_pools
from .call import AwsError, moment
from .launching import launch

PROCESSES = (
    "Launch", "Terminate", "AddToLoadBalancer", "AlarmNotification", "AZRebalance", "HealthCheck",
    "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions",
)  # fmt: skip
# Virtual seconds before a failed launch is tried again; doubles up to the limit.
BACKOFF, BACKOFF_LIMIT = 2.0, 300.0
# Launches that one pass of the loop does, so that other calls get their turn.
BATCH = 50


class Member:
    def __init__(self, machine, pool, protected):
        self.machine = machine
        self.pool = pool
        self.protected = protected
        self.health = "Healthy"
        self.state = "Pending"
        self.activity = None

    @property
    def counts(self):
        """Whether the group still reckons with it."""
        return self.state in ("Pending", "InService")


class Group:
    def __init__(self, account, region, name, created):
        self.account, self.region, self.name, self.created = account, region, name, created
        self.arn = f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{uuid.uuid4()}:autoScalingGroupName/{name}"
        self.min = self.max = self.desired = 0
        self.zones, self.subnets = [], []
        self.template = None
        self.mixed = None
        self.tags = {}
        self.settings = {}
        self.protect_new = False
        self.suspended = {}
        self.scheduled = {}
        self.members = {}
        self.activities = []
        self.deleting = False
        self.backoff_until, self.backoff = 0.0, 0.0

    @property
    def counted(self):
        return [member for member in self.members.values() if member.counts]

    def runs(self, process):
        return process not in self.suspended


class Groups:
    def __init__(self, bed):
        self._bed = bed
        self.all = {}
        bed.machines.on_change.append(self._machine_changed)

    def find(self, account, region, name):
        group = self.all.get((account, region, name))
        if group is None:
            raise AwsError("ValidationError", f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return group

    def of_machine(self, account, region, instance_id):
        for group in self.all.values():
            if (group.account, group.region) == (account, region) and instance_id in group.members:
                return group, group.members[instance_id]
        raise AwsError("ValidationError", f"Instance Id not found - No managed instance found for instance ID: {instance_id}")

    # --- activities

    def note(self, group, description, cause, status="InProgress", message=None, details=None):
        now = self._bed.clock.now()
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "AutoScalingGroupName": group.name,
            "AutoScalingGroupARN": group.arn,
            "Description": description,
            "Cause": f"At {moment(now):%Y-%m-%dT%H:%M:%SZ} {cause}",
            "StartTime": moment(now),
            "EndTime": None,
            "StatusCode": status,
            "StatusMessage": message,
            "Progress": 50,
            "Details": details or "{}",
        }
        if status in ("Failed", "Successful", "Cancelled"):
            self.close(activity, status)
        group.activities.append(activity)
        return activity

    def close(self, activity, status="Successful"):
        activity.update(StatusCode=status, Progress=100, EndTime=moment(self._bed.clock.now()))

    # --- sizes

    def resize(self, group, least=None, most=None, desired=None):
        """New bounds and capacity, checked as UpdateAutoScalingGroup does."""
        low = group.min if least is None else least
        high = group.max if most is None else most
        if low > high:
            raise AwsError("ValidationError", f"Max bound, {high}, must be greater than or equal to min bound, {low}")
        if desired is None:
            desired = min(max(group.desired, low), high)
        elif desired < low:
            raise AwsError("ValidationError", f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")
        elif desired > high:
            raise AwsError("ValidationError", f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}")
        if desired != group.desired:
            group.backoff_until = group.backoff = 0.0
        group.min, group.max, group.desired = low, high, desired
        self.wake(group)

    def wake(self, group, delay=0.0):
        """Has the loop look at the group soon."""

        def look():
            with self._bed.lock:
                self.reconcile(group)

        self._bed.clock.after(delay, look)

    def reconcile(self, group):
        if self.all.get((group.account, group.region, group.name)) is not group:
            return
        if group.deleting:
            for member in list(group.members.values()):
                self.end(group, member, "a user requested the deletion of the group")
            if not group.members:
                self._drop(group)
            return
        if group.runs("ReplaceUnhealthy"):
            for member in group.counted:
                if member.health == "Unhealthy":
                    reason = "an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped."
                    if member.machine.state in ("pending", "running"):
                        reason = "an instance was taken out of service in response to a user health-check."
                    self.end(group, member, reason)
        gap = group.desired - len(group.counted)
        if gap > 0 and group.runs("Launch"):
            self._grow(group, gap)
        elif gap < 0 and group.runs("Terminate"):
            self._shrink(group, -gap)

    def _shrink(self, group, count):
        for _ in range(count):
            candidates = [member for member in group.counted if not member.protected]
            if not candidates:
                if not group.activities or group.activities[-1]["StatusCode"] != "Failed":
                    self.note(
                        group, "Could not scale to desired capacity because all remaining instances are protected from "
                        "scale-in.", "a user or schedule changed the desired capacity.", "Failed",
                        "Could not scale to desired capacity because all remaining instances are protected from scale-in.",
                    )  # fmt: skip
                return
            zones = {}
            for member in group.counted:
                zones[member.machine.zone] = zones.get(member.machine.zone, 0) + 1
            victim = max(candidates, key=lambda m: (zones[m.machine.zone], -m.machine.launched, -m.machine.order))
            self.end(group, victim, f"an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from {len(group.counted)} to {len(group.counted) - 1}.")

    def _grow(self, group, gap):
        now = self._bed.clock.now()
        if now < group.backoff_until:
            return
        failures = {}
        for _ in range(min(gap, BATCH)):
            failure = self._launch_one(group)
            if failure:
                failures[str(failure)] = failure
                break
            group.backoff = 0.0
        if failures:
            failure = next(iter(failures.values()))
            spot = failure.market == "spot"
            self.note(
                group, f"Launching a new EC2 instance.  Status Reason: {failure.message} Launching EC2 instance failed.",
                f"an instance was started in response to a difference between desired and actual capacity, increasing the "
                f"capacity from {len(group.counted)} to {group.desired}.", "Failed",
                f"{'Could not launch Spot Instances. ' if spot else 'Could not launch On-Demand Instances. '}"
                f"{failure.code} - {failure.message} Launching EC2 instance failed.",
            )  # fmt: skip
            group.backoff = min(BACKOFF_LIMIT, group.backoff * 2 if group.backoff else BACKOFF)
            group.backoff_until = now + group.backoff
            self.wake(group, group.backoff + 0.01)
        elif gap > BATCH:
            self.wake(group)

    def _launch_one(self, group):
        """Launches one machine from the best pool that has room. Returns why not, None if it did."""
        failure = None
        for pool in group_pools.choose(self._bed, group):
            try:
                params = group_pools.parameters(self._bed, group, pool)
                tags = {key: tag["Value"] for key, tag in group.tags.items() if tag["PropagateAtLaunch"]}
                tags["aws:autoscaling:groupName"] = group.name
                _, (machine,) = launch(
                    self._bed, group.account, group.region, params, 1, 1, group=group.name, extra_tags=tags
                )
            except AwsError as error:
                error.market = pool.market
                failure = error
                continue
            member = Member(machine, pool, group.protect_new)
            member.activity = self.note(
                group, f"Launching a new EC2 instance: {machine.id}",
                f"an instance was started in response to a difference between desired and actual capacity, increasing "
                f"the capacity from {len(group.counted)} to {len(group.counted) + 1}.",
                details=f'{{"Availability Zone":"{machine.zone}"}}',
            )  # fmt: skip
            group.members[machine.id] = member
            self._bed.visibility.created("group-member", machine.id)
            return None
        if failure is None:
            failure = AwsError("InsufficientInstanceCapacity", "No pool to launch from.")
            failure.market = "on-demand"
        return failure

    def end(self, group, member, cause):
        """Terminates a member; it shows as Terminating until its machine is gone."""
        if member.state == "Terminating":
            return None
        member.state = "Terminating"
        member.activity = self.note(group, f"Terminating EC2 instance: {member.machine.id}", cause)
        if member.machine.state == "terminated":
            self._gone(group, member)
        else:
            self._bed.machines.terminate(member.machine)
        return member.activity

    def _gone(self, group, member):
        if member.activity and member.activity["EndTime"] is None:
            self.close(member.activity)
        group.members.pop(member.machine.id, None)
        self.wake(group)

    def _machine_changed(self, machine):
        if not machine.group:
            return
        group = self.all.get((machine.account, machine.region, machine.group))
        member = group and group.members.get(machine.id)
        if member is None:
            return
        if machine.state == "running" and member.state == "Pending":
            member.state = "InService"
            self.close(member.activity)
        elif member.state == "Terminating":
            if machine.state == "terminated":
                self._gone(group, member)
        elif machine.state in ("shutting-down", "terminated", "stopping", "stopped"):
            self._bed.clock.after(self._bed.delays["health-check"], lambda: self._check_health(group, member))

    def _check_health(self, group, member):
        with self._bed.lock:
            if group.runs("HealthCheck") and member.counts and member.machine.state not in ("pending", "running"):
                member.health = "Unhealthy"
                self.reconcile(group)

    def resume(self, group):
        """After processes run again: what was missed is seen now."""
        if group.runs("HealthCheck"):
            for member in group.counted:
                if member.machine.state not in ("pending", "running"):
                    member.health = "Unhealthy"
        self.wake(group)

    # --- ends

    def delete(self, group, force):
        if group.members and not force:
            raise AwsError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.",
            )
        group.deleting = True
        for action in group.scheduled.values():
            self._bed.clock.cancel(action["_timer"])
        group.scheduled.clear()
        self.reconcile(group)

    def _drop(self, group):
        del self.all[group.account, group.region, group.name]

    # --- scheduled actions

    def schedule(self, group, action):
        for other in group.scheduled.values():
            if other["StartTime"] == action["StartTime"] and other["ScheduledActionName"] != action["ScheduledActionName"]:
                raise AwsError("AlreadyExists", "A scheduled action with this start time already exists.")
        if action["StartTime"] <= self._bed.clock.now():
            raise AwsError("ValidationError", "Given start time is in the past")
        earlier = group.scheduled.get(action["ScheduledActionName"])
        if earlier:
            self._bed.clock.cancel(earlier["_timer"])
        action["_timer"] = self._bed.clock.at(action["StartTime"], lambda: self._fire(group, action))
        group.scheduled[action["ScheduledActionName"]] = action

    def _fire(self, group, action):
        with self._bed.lock:
            if group.scheduled.get(action["ScheduledActionName"]) is not action:
                return
            del group.scheduled[action["ScheduledActionName"]]
            if not group.runs("ScheduledActions") or group.deleting:
                return
            low, high, desired = (action.get(name) for name in ("MinSize", "MaxSize", "DesiredCapacity"))
            try:
                self.resize(group, low, high, desired)
            except AwsError as error:
                self.note(group, f"Executing scheduled action {action['ScheduledActionName']}", "a scheduled action update of AutoScalingGroup constraints failed.", "Failed", error.message)

    def on_demand_wanted(self, group, total):
        """Of `total` machines, how many the mixed policy wants on demand."""
        spread = (group.mixed or {}).get("InstancesDistribution") or {}
        base = spread.get("OnDemandBaseCapacity", 0)
        share = spread.get("OnDemandPercentageAboveBaseCapacity", 100)
        return min(total, base) + math.ceil(max(0, total - base) * share / 100)
