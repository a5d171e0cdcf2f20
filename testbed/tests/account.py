"""A bed for a test module, its clients, and waiting for conditions."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

TESTBED = pathlib.Path(__file__).resolve().parent.parent
IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
})  # fmt: skip


def until(condition, seconds=30.0):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {condition.__doc__ or condition}")
        time.sleep(0.02)


class Account:
    def __init__(self, *options):
        self._directory = tempfile.TemporaryDirectory(prefix="bed-")
        self.directory = pathlib.Path(self._directory.name)
        started = subprocess.run(
            [TESTBED / "bed", "start", "--dir", self.directory, *options], capture_output=True, text=True, check=False
        )
        if started.returncode:
            raise AssertionError(f"the bed did not start: {started.stderr}")
        self.environment = json.loads((self.directory / "env.json").read_text())
        self.url = self.environment["BED_URL"]

    def close(self):
        stopped = subprocess.run([TESTBED / "bed", "stop", "--dir", self.directory], capture_output=True, text=True, check=False)
        log = (self.directory / "bed.log").read_text()
        self._directory.cleanup()
        return log + stopped.stderr

    def client(self, service, key=None, secret=None, token=None, url=None, retries=0, region=None):
        return boto3.client(
            service,
            endpoint_url=url or self.url,
            region_name=region or self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=key or self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or self.environment["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=token,
            verify=self.environment["AWS_CA_BUNDLE"],
            config=Config(retries={"total_max_attempts": retries + 1, "mode": "standard"}, s3={"addressing_style": "path"}),
        )

    def bed(self, path, method=None, /, **body):
        """A call of the control interface."""
        data = json.dumps(body).encode() if body or method == "POST" else None
        request = urllib.request.Request(f"{self.url}/bed/{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def aws(self, *arguments):
        """The real CLI: its parsed output, or text if that is none."""
        environment = {"PATH": os.environ["PATH"], **self.environment}
        program = subprocess.run(["which", "aws"], capture_output=True, text=True, check=True).stdout.strip()
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"aws {' '.join(arguments)}: {done.stderr}")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    def enforce(self, enabled):
        body = b"0" if enabled else b"inf"
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/moto-api/reset-auth", data=body)).close()


class BedCase(unittest.TestCase):
    """Tests of one module share a bed. A violation or an error of the bed fails the test."""

    OPTIONS = ()

    @classmethod
    def setUpClass(cls):
        cls.account = Account(*cls.OPTIONS)
        cls.addClassCleanup(cls._close)
        cls.ec2 = cls.account.client("ec2")
        cls.groups = cls.account.client("autoscaling")
        cls.image = cls.account.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]

    @classmethod
    def _close(cls):
        log = cls.account.close()
        if log.strip():
            raise AssertionError(f"the bed complained: {log}")

    def tearDown(self):
        self.account.bed("faults", "DELETE")
        self.account.enforce(False)
        violations, errors = self.account.bed("violations"), self.account.bed("errors")
        self.account.bed("violations", "DELETE")
        self.account.bed("errors", "DELETE")
        self.assertEqual((violations, errors), ([], []))

    def expected_violations(self):
        """The violations so far, which then count as seen."""
        found = self.account.bed("violations")
        self.account.bed("violations", "DELETE")
        return [line for entry in found for line in entry["violations"]]

    def refused(self, code, call, **arguments):
        """Makes the call and expects it to be refused with that code; the error's message."""
        from botocore.exceptions import ClientError

        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)
        return caught.exception.response["Error"]["Message"]

    def launch(self, count=1, **arguments):
        arguments = {"ImageId": self.image, "InstanceType": "c5.large", "MinCount": count, "MaxCount": count, **arguments}
        return [instance["InstanceId"] for instance in self.ec2.run_instances(**arguments)["Instances"]]

    def machine(self, name):
        return self.account.bed(f"machines/{name}")

    def state_is(self, name, state, seconds=30.0):
        return until(lambda: self.machine(name)["state"] == state and self.machine(name), seconds)

    def template(self, name, **data):
        data = {"ImageId": self.image, "InstanceType": "c5.large", **data}
        return self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)["LaunchTemplate"]["LaunchTemplateId"]

    def group(self, name, template, size=0, most=20, **arguments):
        source = {} if "MixedInstancesPolicy" in arguments else {"LaunchTemplate": {"LaunchTemplateId": template, "Version": "$Latest"}}
        arguments.setdefault("AvailabilityZones", ["us-east-1a", "us-east-1b"])
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=most, DesiredCapacity=size, **source, **arguments
        )

    def describe_group(self, name):
        found = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return found[0] if found else None

    def in_service(self, name):
        members = self.describe_group(name)["Instances"]
        return [member["InstanceId"] for member in members if member["LifecycleState"] == "InService"]

    def settles(self, name, count, seconds=30.0):
        """The members in service, once there are `count` and no others."""
        until(lambda: len(self.in_service(name)) == count == len(self.describe_group(name)["Instances"]), seconds)
        return self.in_service(name)

    def role(self, name, policy):
        """A role with an instance profile of the same name."""
        iam = self.account.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": policy}))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
