"""RunInstances and its kin: tokens, counts, capacity, quotas, pages, lags, throttles, faults."""

import base64
import threading

from account import BedCase, until
from botocore.exceptions import ClientError, HTTPClientError


class Instances(BedCase):
    def tearDown(self):
        self.account.bed("throttle", enabled=False)
        self.account.bed("consistency", lag=0)
        self.account.bed("capacity", capacity=None)
        self.account.bed("quotas", **{"on-demand": 1152, "spot": 640})
        super().tearDown()

    def run_instances(self, **arguments):
        arguments = {"ImageId": self.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, **arguments}
        return self.ec2.run_instances(**arguments)

    def test_client_token(self):
        first = self.run_instances(ClientToken="token-1", MaxCount=2)
        again = self.run_instances(ClientToken="token-1", MaxCount=2)
        self.assertEqual(first["ReservationId"], again["ReservationId"])
        self.assertEqual([i["InstanceId"] for i in first["Instances"]], [i["InstanceId"] for i in again["Instances"]])
        self.refused("IdempotentParameterMismatch", self.run_instances, ClientToken="token-1", MaxCount=3)
        data = {"ImageId": self.image, "InstanceType": "c5.large"}
        create = self.ec2.create_launch_template
        one = create(LaunchTemplateName="tokens", ClientToken="t", LaunchTemplateData=data)["LaunchTemplate"]
        two = create(LaunchTemplateName="tokens", ClientToken="t", LaunchTemplateData=data)["LaunchTemplate"]
        self.assertEqual(one["LaunchTemplateId"], two["LaunchTemplateId"])
        self.refused("InvalidLaunchTemplateName.AlreadyExistsException", create, LaunchTemplateName="tokens", LaunchTemplateData=data)

    def test_capacity_grants_a_part_or_refuses(self):
        self.account.bed("capacity", type="c5.2xlarge", zone="us-east-1a", capacity=3)
        zone = {"AvailabilityZone": "us-east-1a"}
        launched = self.run_instances(InstanceType="c5.2xlarge", MaxCount=5, Placement=zone)["Instances"]
        self.assertEqual(len(launched), 3)
        self.refused("InsufficientInstanceCapacity", self.run_instances, InstanceType="c5.2xlarge", Placement=zone)
        other = self.run_instances(InstanceType="c5.2xlarge", Placement={"AvailabilityZone": "us-east-1b"})["Instances"]
        self.assertEqual(len(other), 1)

    def test_quotas(self):
        quota = self.account.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")
        self.assertEqual(quota["Quota"]["Value"], 1152.0)
        self.account.bed("quotas", **{"on-demand": 0, "spot": 0})
        self.refused("VcpuLimitExceeded", self.run_instances)
        self.refused("MaxSpotInstanceCountExceeded", self.run_instances, InstanceMarketOptions={"MarketType": "spot"})

    def test_templates_reach_the_instance(self):
        self.template(
            "whole", UserData=base64.b64encode(b"#!/bin/sh\ntrue\n").decode(), MetadataOptions={"HttpTokens": "required"},
            InstanceMarketOptions={"MarketType": "spot"}, InstanceInitiatedShutdownBehavior="terminate",
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}],
        )  # fmt: skip
        answer = self.ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "whole"}, MinCount=1, MaxCount=1)
        (instance,) = self.ec2.describe_instances(InstanceIds=[answer["Instances"][0]["InstanceId"]])["Reservations"][0]["Instances"]
        self.assertEqual(instance["MetadataOptions"]["HttpTokens"], "required")
        self.assertEqual(instance["InstanceLifecycle"], "spot")
        self.assertIn({"Key": "from", "Value": "template"}, instance["Tags"])
        data = self.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
        self.assertEqual(base64.b64decode(data["UserData"]["Value"]), b"#!/bin/sh\ntrue\n")

    def test_what_ec2_refuses(self):
        self.refused("InvalidParameterValue", self.run_instances, UserData="x" * 16385)
        self.refused("InvalidAMIID.NotFound", self.run_instances, ImageId="ami-00000000000000000")
        self.refused("InvalidParameterValue", self.run_instances, InstanceType="c7g.large")
        self.refused("InvalidParameterValue", self.run_instances, IamInstanceProfile={"Name": "nobody"})
        self.refused("DryRunOperation", self.run_instances, DryRun=True)
        self.refused("InvalidInstanceID.NotFound", self.ec2.terminate_instances, InstanceIds=["i-00000000000000000"])
        self.refused("InvalidParameterValue", self.ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}])

    def test_pages_by_instance(self):
        tag = [{"ResourceType": "instance", "Tags": [{"Key": "page", "Value": "yes"}]}]
        names = self.launch(12, TagSpecifications=tag)
        filters = [{"Name": "tag:page", "Values": ["yes"]}]
        seen, token, pages = [], None, 0
        while pages == 0 or token:
            more = {"NextToken": token} if token else {}
            answer = self.ec2.describe_instances(Filters=filters, MaxResults=5, **more)
            seen += [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]
            token, pages = answer.get("NextToken"), pages + 1
        self.assertEqual((seen, pages), (names, 3))
        self.refused("InvalidParameterCombination", self.ec2.describe_instances, InstanceIds=names[:1], MaxResults=5)

    def test_states_on_the_way(self):
        self.account.bed("delays", pending=1000, **{"shutting-down": 1000})
        try:
            (name,) = self.launch()
            self.assertEqual(self.machine(name)["state"], "pending")
            self.account.bed("advance", seconds=1001)
            self.state_is(name, "running")
            change = self.ec2.terminate_instances(InstanceIds=[name])["TerminatingInstances"][0]
            self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "shutting-down"))
            self.assertEqual(self.machine(name)["state"], "shutting-down")
            self.account.bed("advance", seconds=1001)
            self.state_is(name, "terminated")
            (seen,) = self.ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"]
            self.assertEqual(seen["StateReason"]["Code"], "Client.UserInitiatedShutdown")
            self.account.bed("advance", seconds=3601)
            until(lambda: name not in [m["id"] for m in self.account.bed("machines")])
        finally:
            self.account.bed("delays", pending=0.3, **{"shutting-down": 0.3})

    def test_stop_and_start(self):
        (name,) = self.launch()
        self.state_is(name, "running")
        self.ec2.stop_instances(InstanceIds=[name])
        self.state_is(name, "stopped")
        self.ec2.start_instances(InstanceIds=[name])
        self.assertEqual(self.state_is(name, "running")["boots"], 2)
        self.refused("UnsupportedHibernationConfiguration", self.ec2.stop_instances, InstanceIds=[name], Hibernate=True)

    def test_eventual_consistency(self):
        self.account.bed("consistency", lag=2)
        (name,) = self.launch()
        for _ in range(2):
            self.refused("InvalidInstanceID.NotFound", self.ec2.describe_instances, InstanceIds=[name])
        self.assertEqual(len(self.ec2.describe_instances(InstanceIds=[name])["Reservations"]), 1)
        template = self.template("late")
        reference = {"LaunchTemplate": {"LaunchTemplateId": template}, "MinCount": 1, "MaxCount": 1}
        for _ in range(2):
            self.refused("InvalidLaunchTemplateId.NotFound", self.ec2.run_instances, **reference)
        self.ec2.run_instances(**reference)

    def test_throttle(self):
        self.account.bed("throttle", enabled=True)
        codes = []
        for _ in range(9):
            try:
                self.run_instances(DryRun=True)
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
        self.assertEqual(codes[:5], ["DryRunOperation"] * 5)
        self.assertIn("RequestLimitExceeded", codes[5:])
        self.account.bed("advance", seconds=10)
        self.refused("DryRunOperation", self.run_instances, DryRun=True)

    def test_faults_at_the_kth_call(self):
        def describe():
            try:
                self.ec2.describe_regions(RegionNames=["us-east-1"])
                return "ok"
            except ClientError as error:
                return error.response["Error"]["Code"]
            except HTTPClientError as error:
                return type(error).__name__

        self.account.bed("faults", operation="ec2:DescribeRegions", at=2, times=2, kind="error-before", code="Unavailable", status=503)
        self.assertEqual([describe() for _ in range(4)], ["ok", "Unavailable", "Unavailable", "ok"])
        self.account.bed("faults", operation="ec2:*", kind="throttle")
        self.assertEqual([describe(), describe()], ["RequestLimitExceeded", "ok"])
        self.account.bed("faults", at=1, kind="error-before")
        self.assertEqual([describe(), describe()], ["InternalError", "ok"])

    def test_a_lost_answer_leaves_its_effect(self):
        self.account.bed("faults", operation="ec2:RunInstances", kind="lost-after")
        with self.assertRaises(HTTPClientError):
            self.run_instances(ClientToken="lost")
        (instance,) = self.run_instances(ClientToken="lost")["Instances"]
        found = self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["lost"]}])["Reservations"]
        self.assertEqual([i["InstanceId"] for r in found for i in r["Instances"]], [instance["InstanceId"]])
        self.account.bed("faults", operation="ec2:RunInstances", kind="error-after")
        self.refused("InternalError", self.run_instances, ClientToken="five hundred")
        self.account.bed("faults", operation="ec2:RunInstances", kind="lost-before")
        with self.assertRaises(HTTPClientError):
            self.run_instances(ClientToken="never")
        self.assertEqual(self.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["never"]}])["Reservations"], [])

    def test_spot_notice_and_rebalance_and_crash(self):
        (name, other) = self.launch(2, InstanceMarketOptions={"MarketType": "spot"})
        self.state_is(name, "running")
        self.account.bed(f"machines/{name}/interrupt", notice=120)
        request = self.ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]["SpotInstanceRequestId"]
        (shown,) = self.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request])["SpotInstanceRequests"]
        self.assertEqual(shown["Status"]["Code"], "marked-for-termination")
        self.account.bed("advance", seconds=121)
        self.assertEqual(self.state_is(name, "terminated")["reason"][0], "Server.SpotInstanceTermination")
        self.account.bed(f"machines/{other}/crash", "POST")
        self.state_is(other, "terminated")

    def test_calls_that_race_with_one_token(self):
        answers = []

        def launch():
            client = self.account.client("ec2")
            arguments = {"ImageId": self.image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "ClientToken": "race"}
            answers.append(client.run_instances(**arguments)["Instances"][0]["InstanceId"])

        threads = [threading.Thread(target=launch) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(answers), len(set(answers))), (4, 1))
