"""The services beside EC2: schedules, prices, images, policies, DynamoDB, queues, metadata; TLS and the CLI."""

import concurrent.futures
import datetime
import json
import urllib.error
import urllib.request

from account import BedCase, until
from botocore.exceptions import ClientError


class Services(BedCase):
    def test_schedule_terminates_instances(self):
        (name,) = self.launch()
        iam = self.account.client("iam")
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        role = iam.create_role(RoleName="backstop", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        when = self.account.bed("state")["now"] + 3600
        stamp = datetime.datetime.fromtimestamp(when, datetime.timezone.utc)
        scheduler = self.account.client("scheduler")
        arguments = {
            "Name": "backstop", "ScheduleExpression": f"at({stamp:%Y-%m-%dT%H:%M:%S})", "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances", "RoleArn": role, "Input": json.dumps({"InstanceIds": [name]})},
            "ActionAfterCompletion": "DELETE", "ClientToken": "one",
        }  # fmt: skip
        first = scheduler.create_schedule(**arguments)
        self.assertEqual(scheduler.create_schedule(**arguments)["ScheduleArn"], first["ScheduleArn"])
        self.account.bed("advance", seconds=3500)
        self.state_is(name, "running")
        self.account.bed("advance", seconds=101)
        self.state_is(name, "terminated")
        (fired,) = [f for f in self.account.bed("state")["schedules_fired"] if f["schedule"].endswith("/backstop")]
        self.assertEqual(fired["outcome"], "delivered")
        self.refused("ResourceNotFoundException", scheduler.get_schedule, Name="backstop")
        self.refused("ValidationException", scheduler.create_schedule, **{**arguments, "Name": "bad", "ScheduleExpression": "at(noon)", "ClientToken": "two"})

    def test_a_schedule_is_held_to_its_role(self):
        (name,) = self.launch()
        iam, scheduler = self.account.client("iam"), self.account.client("scheduler")
        when = datetime.datetime.fromtimestamp(self.account.bed("state")["now"] + 600, datetime.timezone.utc)

        def create(schedule, role):
            target = {"Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances", "RoleArn": role, "Input": json.dumps({"InstanceIds": [name]})}
            scheduler.create_schedule(
                Name=schedule, ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})", FlexibleTimeWindow={"Mode": "OFF"}, Target=target
            )

        self.role("not-trusted", [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        self.refused("ValidationException", lambda: create("untrusted", iam.get_role(RoleName="not-trusted")["Role"]["Arn"]))
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        create("powerless", iam.create_role(RoleName="powerless", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"])
        self.account.enforce(True)
        self.account.bed("advance", seconds=700)
        until(lambda: [f for f in self.account.bed("state")["schedules_fired"] if "powerless" in f["schedule"]])
        (fired,) = [f for f in self.account.bed("state")["schedules_fired"] if "powerless" in f["schedule"]]
        self.assertEqual(fired["outcome"], "failed: UnauthorizedOperation")
        self.assertEqual(self.machine(name)["state"], "running")

    def test_prices(self):
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in (("instanceType", "c5.large"), ("regionCode", "us-east-1"))]
        (line,) = self.account.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
        (term,) = json.loads(line)["terms"]["OnDemand"].values()
        (price,) = term["priceDimensions"].values()
        self.assertEqual(float(price["pricePerUnit"]["USD"]), 0.085)
        history = self.ec2.describe_spot_price_history(InstanceTypes=["c5.large"], ProductDescriptions=["Linux/UNIX"])["SpotPriceHistory"]
        newest = max(row["Timestamp"].timestamp() for row in history)
        self.assertLess(self.account.bed("state")["now"] - newest, 24 * 3600)
        self.assertLess(float(history[0]["SpotPrice"]), 0.085)

    def test_images(self):
        ssm = self.account.client("ssm")
        for name, architecture in (
            ("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64", "arm64"),
            ("/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id", "x86_64"),
        ):
            image = ssm.get_parameter(Name=name)["Parameter"]["Value"]
            (shown,) = self.ec2.describe_images(ImageIds=[image])["Images"]
            self.assertEqual(shown["Architecture"], architecture)
        self.refused("ParameterNotFound", ssm.get_parameter, Name="/aws/service/ami-amazon-linux-latest/none")

    def test_dynamodb_is_atomic(self):
        dynamodb = self.account.client("dynamodb")
        dynamodb.create_table(
            TableName="atomic", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        )  # fmt: skip

        def put(key):
            try:
                dynamodb.put_item(TableName="atomic", Item={"k": {"S": key}}, ConditionExpression="attribute_not_exists(k)")
                return True
            except ClientError as error:
                self.assertEqual(error.response["Error"]["Code"], "ConditionalCheckFailedException")
                return False

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for key in range(5):
                self.assertEqual(sum(pool.map(put, [f"key-{key}"] * 16)), 1)

    def test_long_poll(self):
        sqs = self.account.client("sqs")
        queue = sqs.create_queue(QueueName="poll")["QueueUrl"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            received = pool.submit(sqs.receive_message, QueueUrl=queue, WaitTimeSeconds=10)
            self.account.client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
            self.assertEqual(received.result(10)["Messages"][0]["Body"], "hello")

    def imds(self, name, path, token=None, method="GET", **headers):
        if token:
            headers["X-aws-ec2-metadata-token"] = token
        request = urllib.request.Request(f"{self.account.url}/bed/imds/{name}/latest/{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code, ""

    def test_metadata(self):
        self.role("meta", [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}])
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "array", "Value": "a7"}]}]
        (name,) = self.launch(
            UserData="#!/bin/sh\n", InstanceMarketOptions={"MarketType": "spot"}, TagSpecifications=tags,
            MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"}, IamInstanceProfile={"Name": "meta"},
        )  # fmt: skip
        self.assertEqual(self.imds(name, "meta-data/instance-id")[0], 401)
        life = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        self.assertEqual(self.imds(name, "api/token", method="PUT")[0], 400)
        _, token = self.imds(name, "api/token", method="PUT", **life)

        def get(path):
            return self.imds(name, path, token)

        self.assertEqual(get("meta-data/instance-id"), (200, name))
        self.assertEqual(get("meta-data/tags/instance/array"), (200, "a7"))
        self.assertEqual(get("meta-data/placement/region"), (200, "us-east-1"))
        self.assertEqual(get("user-data"), (200, "#!/bin/sh\n"))
        self.assertEqual(get("meta-data/iam/security-credentials/"), (200, "meta"))
        self.assertEqual(get("meta-data/spot/instance-action")[0], 404)
        self.assertEqual(get("meta-data/events/recommendations/rebalance")[0], 404)
        self.account.bed(f"machines/{name}/interrupt", notice=120)
        self.account.bed(f"machines/{name}/rebalance", "POST")
        self.assertEqual(json.loads(get("meta-data/spot/instance-action")[1])["action"], "terminate")
        self.assertIn("noticeTime", get("meta-data/events/recommendations/rebalance")[1])
        (other,) = self.launch()
        self.assertEqual(self.imds(other, "meta-data/instance-id", token)[0], 401)
        self.account.bed(f"machines/{name}/metadata", down=True)
        with self.assertRaises(OSError):
            get("meta-data/instance-id")

    def test_roles_are_held_to_their_policies(self):
        bucket, s3 = "policies", self.account.client("s3")
        s3.create_bucket(Bucket=bucket)
        statements = [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{bucket}/mine/*"},
            {"Effect": "Allow", "Action": "autoscaling:TerminateInstanceInAutoScalingGroup", "Resource": "*",
             "Condition": {"StringEquals": {"autoscaling:ResourceTag/owner": "me"}}},
            {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/owner": "me"}}},
        ]  # fmt: skip
        self.role("held", statements)
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "owner", "Value": "me"}]}]
        (mine,) = self.launch(IamInstanceProfile={"Name": "held"}, TagSpecifications=tags)
        (other,) = self.launch()
        _, token = self.imds(mine, "api/token", method="PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        key = json.loads(self.imds(mine, "meta-data/iam/security-credentials/held", token)[1])
        self.account.enforce(True)
        keys = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"], "token": key["Token"]}
        s3 = self.account.client("s3", **keys)
        s3.put_object(Bucket=bucket, Key="mine/x", Body=b"x")
        self.refused("AccessDenied", s3.put_object, Bucket=bucket, Key="other/x", Body=b"x")
        self.refused("AccessDenied", s3.list_objects_v2, Bucket=bucket)
        ec2 = self.account.client("ec2", **keys)
        self.refused("UnauthorizedOperation", ec2.terminate_instances, InstanceIds=[other])
        self.refused("UnauthorizedOperation", ec2.describe_instances)
        ec2.terminate_instances(InstanceIds=[mine])
        forged = self.account.client("s3", key=key["AccessKeyId"], secret="wrong", token=key["Token"])
        self.refused("SignatureDoesNotMatch", forged.get_object, Bucket=bucket, Key="mine/x")
        self.ec2.describe_instances()

    def test_tls(self):
        s3 = self.account.client("s3", url=self.account.environment["BED_HTTPS_URL"])
        s3.create_bucket(Bucket="over-tls")
        self.assertIn("over-tls", [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]])

    def test_the_real_cli(self):
        aws = self.account.aws
        image = aws("ssm", "get-parameters", "--names", "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")["Parameters"][0]["Value"]
        launched = aws("ec2", "run-instances", "--image-id", image, "--instance-type", "c5.large", "--count", "1:2")["Instances"]
        self.assertEqual(len(launched), 2)
        data = json.dumps({"ImageId": image, "InstanceType": "c5.large"})
        template = aws("ec2", "create-launch-template", "--launch-template-name", "cli", "--launch-template-data", data)["LaunchTemplate"]["LaunchTemplateId"]
        aws("autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", "cli", "--min-size", "0", "--max-size", "2", "--desired-capacity", "1",
            "--launch-template", f"LaunchTemplateId={template}", "--availability-zones", "us-east-1a")  # fmt: skip

        def in_service():
            (group,) = aws("autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", "cli")["AutoScalingGroups"]
            return [m for m in group["Instances"] if m["LifecycleState"] == "InService"]

        self.assertEqual(len(until(in_service)), 1)
        aws("autoscaling", "delete-auto-scaling-group", "--auto-scaling-group-name", "cli", "--force-delete")
        until(lambda: not self.describe_group("cli"))
