"""A wrong call is caught, whatever its protocol; a right one is not."""

import json
import urllib.error
import urllib.request

from account import BedCase

SCOPE = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


class WrongCalls(BedCase):
    def raw(self, service, body="", headers=(), path="/", method="POST"):
        request = urllib.request.Request(
            self.account.url + path, data=body.encode(), method=method,
            headers={"Authorization": SCOPE.format(service), "Content-Type": "application/x-www-form-urlencoded", **dict(headers)},
        )  # fmt: skip
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as error:
            error.close()
        return self.expected_violations()

    def form(self, service, version, text):
        return self.raw(service, f"Version={version}&{text}")

    def json_call(self, service, target, body, kind="1.0"):
        return self.raw(service, json.dumps(body), {"X-Amz-Target": target, "Content-Type": f"application/x-amz-json-{kind}"})

    def test_ec2(self):
        def call(text):
            return self.form("ec2", "2016-11-15", text)

        self.assertEqual(call("Action=DescribeInstances"), [])
        self.assertEqual(call("Action=DescribeInstances&Filters.1.Name=x"), ["unknown parameter Filters.1.Name"])
        self.assertEqual(call("Action=DescribeInstances&Filter.1.Name=instance-id&Filter.1.Values.1=i-1"), ["unknown parameter Filter.1.Values.1"])
        self.assertIn("no such operation: DescribeInstanses", call("Action=DescribeInstanses")[0])
        self.assertIn('Missing required parameter in input: "MinCount"', call("Action=RunInstances&MaxCount=1"))
        self.assertIn("cannot be parsed", call("Action=RunInstances&MinCount=one&MaxCount=1")[0])
        self.assertIn("InstanceInitiatedShutdownBehavior: 'die' is none of stop, terminate",
                      call("Action=RunInstances&MinCount=1&MaxCount=1&InstanceInitiatedShutdownBehavior=die"))  # fmt: skip
        self.assertIn("EbsOptimized: 'yes' is no boolean", call("Action=RunInstances&MinCount=1&MaxCount=1&EbsOptimized=yes"))

    def test_query(self):
        def call(text):
            return self.form("autoscaling", "2011-01-01", text)

        self.assertEqual(call("Action=DescribeAutoScalingGroups&AutoScalingGroupNames.member.1=x"), [])
        self.assertEqual(call("Action=DescribeAutoScalingGroups&AutoScalingGroupNames.1=x"), ["unknown parameter AutoScalingGroupNames.1"])
        self.assertIn("MinSize", " ".join(call("Action=CreateAutoScalingGroup&AutoScalingGroupName=x&MaxSize=1")))
        self.assertTrue(call("Action=DeleteAutoScalingGroup&AutoScalingGroupName=" + "x" * 256))

    def test_json(self):
        def call(operation, body):
            return self.json_call("dynamodb", f"DynamoDB_20120810.{operation}", body)

        self.assertEqual(call("ListTables", {}), [])
        self.assertEqual(call("ListTables", {"Limits": 1}), ["unknown parameter Limits"])
        self.assertEqual(call("ListTables", {"Limit": "1"}), ["Limit: str instead of integer"])
        self.assertEqual(call("ListTables", {"Limit": 101}), ["Limit: 101 is more than 100"])
        self.assertIn("UpdateItm", call("UpdateItm", {})[0])
        self.assertIn("unknown parameter Item[a].X", call("PutItem", {"TableName": "t-t", "Item": {"a": {"X": "1"}}}))

    def test_rest_json(self):
        body = {"FlexibleTimeWindow": {"Mode": "OFF"}, "ScheduleExpression": "at(2030-01-01T00:00:00)", "Targets": {}}
        found = self.raw("scheduler", json.dumps(body), {"Content-Type": "application/json"}, "/schedules/x")
        self.assertIn("unknown parameter Targets", found)
        self.assertIn('Missing required parameter in input: "Target"', found)

    def test_rest_xml(self):
        self.assertEqual(self.raw("s3", "x", {"x-amz-metadata-x": "1"}, "/bucket/key", "PUT"), ["unknown header x-amz-metadata-x"])
        self.assertEqual(self.raw("s3", "", {}, "/bucket?list-type=2&maxkeys=1", "GET"), ["unknown query parameter maxkeys"])
        found = self.raw("s3", "<CreateBucketConfiguration><Locaton>x</Locaton></CreateBucketConfiguration>", {}, "/bucket", "PUT")
        self.assertEqual(found, ["unknown element CreateBucketConfiguration.Locaton"])

    def test_wire_log_and_counts(self):
        before = self.account.bed("counts")["calls"].get("ec2:DescribeRegions", 0)
        self.ec2.describe_regions(RegionNames=["eu-west-1"])
        self.assertEqual(self.account.bed("counts")["calls"]["ec2:DescribeRegions"], before + 1)
        last = json.loads((self.account.directory / "wire.jsonl").read_text().splitlines()[-1])
        self.assertEqual((last["service"], last["operation"], last["status"]), ("ec2", "DescribeRegions", 200))
        self.assertEqual((last["params"], last["who"]), ({"RegionNames": ["eu-west-1"]}, "user/administrator"))
