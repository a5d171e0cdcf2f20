"""Auto Scaling groups: replacement, mixed policies, processes, protection, scheduled ends."""

import datetime

from account import BedCase, until


class Groups(BedCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plain = cls.template(cls, "plain")

    def tearDown(self):
        self.account.bed("capacity", capacity=None)
        super().tearDown()

    def mixed(self, *types, **spread):
        reference = {"LaunchTemplateId": self.plain, "Version": "$Latest"}
        overrides = [{"InstanceType": name} for name in types]
        return {
            "LaunchTemplate": {"LaunchTemplateSpecification": reference, "Overrides": overrides},
            "InstancesDistribution": {"SpotAllocationStrategy": "price-capacity-optimized", **spread},
        }

    def activities(self, name):
        return self.groups.describe_scaling_activities(AutoScalingGroupName=name)["Activities"]

    def after(self, seconds):
        now = self.account.bed("state")["now"]
        return datetime.datetime.fromtimestamp(int(now) + seconds, datetime.timezone.utc)

    def test_launches_spreads_tags_and_deletes(self):
        self.group("spread", self.plain, 4, Tags=[{"Key": "array", "Value": "a1", "PropagateAtLaunch": True}])
        names = self.settles("spread", 4)
        zones = sorted(self.machine(name)["zone"] for name in names)
        self.assertEqual(zones, ["us-east-1a"] * 2 + ["us-east-1b"] * 2)
        tags = self.machine(names[0])["tags"]
        self.assertEqual((tags["array"], tags["aws:autoscaling:groupName"]), ("a1", "spread"))
        self.assertEqual({a["StatusCode"] for a in self.activities("spread")}, {"Successful"})
        self.refused("ResourceInUse", self.groups.delete_auto_scaling_group, AutoScalingGroupName="spread")
        self.groups.delete_auto_scaling_group(AutoScalingGroupName="spread", ForceDelete=True)
        until(lambda: self.describe_group("spread") is None)
        self.assertEqual(self.machine(names[0])["state"], "terminated")

    def test_replaces_what_is_lost(self):
        self.group("lost", self.plain, 2)
        first = self.settles("lost", 2)
        self.account.bed(f"machines/{first[0]}/crash", "POST")
        until(lambda: first[0] not in [m["InstanceId"] for m in self.describe_group("lost")["Instances"]])
        second = self.settles("lost", 2)
        self.assertEqual(len(set(first) | set(second)), 3)
        self.groups.set_instance_health(InstanceId=second[1], HealthStatus="Unhealthy")
        until(lambda: second[1] not in [m["InstanceId"] for m in self.describe_group("lost")["Instances"]])
        self.settles("lost", 2)

    def test_terminating_is_seen(self):
        self.account.bed("delays", **{"shutting-down": 1000})
        self.group("seen", self.plain, 1)
        (name,) = self.settles("seen", 1)
        answer = self.groups.terminate_instance_in_auto_scaling_group(InstanceId=name, ShouldDecrementDesiredCapacity=True)
        self.assertEqual(answer["Activity"]["StatusCode"], "InProgress")
        (member,) = self.describe_group("seen")["Instances"]
        self.assertEqual(member["LifecycleState"], "Terminating")
        self.account.bed("delays", **{"shutting-down": 0.3})
        self.account.bed("advance", seconds=1001)
        self.settles("seen", 0)
        self.assertEqual(self.describe_group("seen")["DesiredCapacity"], 0)

    def test_retire_and_yield(self):
        self.group("leave", self.plain, 2)
        first = self.settles("leave", 2)
        terminate = self.groups.terminate_instance_in_auto_scaling_group
        terminate(InstanceId=first[0], ShouldDecrementDesiredCapacity=True)
        self.settles("leave", 1)
        terminate(InstanceId=first[1], ShouldDecrementDesiredCapacity=False)
        until(lambda: first[1] not in [m["InstanceId"] for m in self.describe_group("leave")["Instances"]])
        (third,) = self.settles("leave", 1)
        self.assertNotIn(third, first)
        self.groups.update_auto_scaling_group(AutoScalingGroupName="leave", MinSize=1)
        message = self.refused("ValidationError", terminate, InstanceId=third, ShouldDecrementDesiredCapacity=True)
        self.assertIn("desiredSize equals minSize", message)

    def test_suspended_launch_replaces_nothing(self):
        self.group("still", self.plain, 1)
        (name,) = self.settles("still", 1)
        self.groups.suspend_processes(AutoScalingGroupName="still", ScalingProcesses=["Launch", "AZRebalance"])
        self.account.bed(f"machines/{name}/crash", "POST")
        self.settles("still", 0)
        self.account.bed("advance", seconds=600)
        self.assertEqual(self.describe_group("still")["Instances"], [])
        self.groups.resume_processes(AutoScalingGroupName="still", ScalingProcesses=["Launch"])
        self.settles("still", 1)

    def test_ttl_action_ends_everything(self):
        self.group("ttl", self.plain, 0)
        self.groups.put_scheduled_update_group_action(
            AutoScalingGroupName="ttl", ScheduledActionName="ttl", StartTime=self.after(86400), MinSize=0, MaxSize=0, DesiredCapacity=0
        )
        self.groups.set_desired_capacity(AutoScalingGroupName="ttl", DesiredCapacity=3)
        names = self.settles("ttl", 3)
        self.account.bed("advance", seconds=86000)
        self.assertEqual(len(self.settles("ttl", 3)), 3)
        self.account.bed("advance", seconds=500)
        self.settles("ttl", 0)
        self.assertEqual({self.machine(name)["state"] for name in names}, {"terminated"})
        self.assertEqual(self.groups.describe_scheduled_actions(AutoScalingGroupName="ttl")["ScheduledUpdateGroupActions"], [])
        self.refused("ValidationError", self.groups.set_desired_capacity, AutoScalingGroupName="ttl", DesiredCapacity=1)

    def test_protected_instances_survive_the_ttl_action(self):
        self.group("guard", self.plain, 2, NewInstancesProtectedFromScaleIn=True)
        names = self.settles("guard", 2)
        self.groups.set_instance_protection(AutoScalingGroupName="guard", InstanceIds=names[:1], ProtectedFromScaleIn=False)
        self.groups.put_scheduled_update_group_action(
            AutoScalingGroupName="guard", ScheduledActionName="ttl", StartTime=self.after(100), MinSize=0, MaxSize=0, DesiredCapacity=0
        )
        self.account.bed("advance", seconds=101)
        self.assertEqual(self.settles("guard", 1), names[1:])
        self.assertIn("Failed", {a["StatusCode"] for a in self.activities("guard")})

    def test_suspended_scheduled_actions_do_not_fire(self):
        self.group("deaf", self.plain, 1)
        self.settles("deaf", 1)
        self.groups.put_scheduled_update_group_action(
            AutoScalingGroupName="deaf", ScheduledActionName="ttl", StartTime=self.after(100), MinSize=0, MaxSize=0, DesiredCapacity=0
        )
        self.groups.suspend_processes(AutoScalingGroupName="deaf", ScalingProcesses=["ScheduledActions"])
        self.account.bed("advance", seconds=101)
        until(lambda: not self.groups.describe_scheduled_actions(AutoScalingGroupName="deaf")["ScheduledUpdateGroupActions"])
        self.assertEqual(len(self.settles("deaf", 1)), 1)

    def test_mixed_policy(self):
        policy = self.mixed("c5.large", "m5.large", OnDemandBaseCapacity=1, OnDemandPercentageAboveBaseCapacity=25)
        self.group("mixed", None, 5, MixedInstancesPolicy=policy)
        markets = [self.machine(name)["market"] for name in self.settles("mixed", 5)]
        self.assertEqual((markets.count("on-demand"), markets.count("spot")), (2, 3))

    def test_mixed_policy_falls_to_the_next_pool_and_tells_when_none_is_left(self):
        self.account.bed("capacity", type="c6i.large", market="spot", capacity=2)
        self.account.bed("capacity", type="m6i.large", market="spot", capacity=1)
        policy = self.mixed("c6i.large", "m6i.large", OnDemandPercentageAboveBaseCapacity=0)
        self.group("pools", None, 4, MixedInstancesPolicy=policy)

        def failed():
            return [a for a in self.activities("pools") if a["StatusCode"] == "Failed"]

        until(failed)
        types = sorted(self.machine(name)["type"] for name in self.settles("pools", 3))
        self.assertEqual(types, ["c6i.large", "c6i.large", "m6i.large"])
        self.assertIn("InsufficientInstanceCapacity", failed()[0]["StatusMessage"])
        self.account.bed("capacity", type="m6i.large", market="spot", capacity=None)
        self.account.bed("advance", seconds=301)
        self.settles("pools", 4)

    def test_a_spot_interruption_is_replaced(self):
        self.group("spot", None, 1, MixedInstancesPolicy=self.mixed("c5.large", OnDemandPercentageAboveBaseCapacity=0))
        (name,) = self.settles("spot", 1)
        self.account.bed(f"machines/{name}/interrupt", notice=120)
        self.account.bed("advance", seconds=121)
        self.state_is(name, "terminated")
        (other,) = self.settles("spot", 1)
        self.assertNotEqual(name, other)

    def test_what_auto_scaling_refuses(self):
        create = self.groups.create_auto_scaling_group
        zones = {"AvailabilityZones": ["us-east-1a"]}
        self.refused("ValidationError", create, AutoScalingGroupName="no", MinSize=0, MaxSize=1, LaunchTemplate={"LaunchTemplateName": "none"}, **zones)
        self.refused("ValidationError", create, AutoScalingGroupName="no", MinSize=2, MaxSize=1, LaunchTemplate={"LaunchTemplateId": self.plain}, **zones)
        self.refused("ValidationError", self.groups.set_desired_capacity, AutoScalingGroupName="none", DesiredCapacity=1)
        self.refused("NotImplementedByBed", self.groups.describe_policies)
        self.group("twice", self.plain)
        self.refused("AlreadyExists", create, AutoScalingGroupName="twice", MinSize=0, MaxSize=1, LaunchTemplate={"LaunchTemplateId": self.plain}, **zones)
        past = self.after(-60)
        self.refused("ValidationError", self.groups.put_scheduled_update_group_action,
                     AutoScalingGroupName="twice", ScheduledActionName="x", StartTime=past, DesiredCapacity=0)  # fmt: skip

    def test_a_template_that_is_gone_fails_launches(self):
        template = self.template("short-lived")
        self.group("orphan", template, 0)
        self.ec2.delete_launch_template(LaunchTemplateId=template)
        self.groups.set_desired_capacity(AutoScalingGroupName="orphan", DesiredCapacity=1)
        until(lambda: [a for a in self.activities("orphan") if a["StatusCode"] == "Failed"])
        self.assertEqual(self.describe_group("orphan")["Instances"], [])
