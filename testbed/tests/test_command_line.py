"""The bed as a program: its options, and its end with its user."""

import os
import pathlib
import subprocess
import unittest

from account import TESTBED, Account, until
from botocore.exceptions import ClientError

# spawn's embedded endpoint, where it has been built.
ENDPOINTS = [TESTBED.parent / "target" / kind / "examples" / "serve" for kind in ("debug", "release")]
ENDPOINT = os.environ.get("BED_DYNAMODB_PROGRAM") or next((str(path) for path in ENDPOINTS if path.exists()), None)


class CommandLine(unittest.TestCase):
    def test_ends_with_its_user(self):
        user = subprocess.Popen(["sleep", "1000"])
        account = Account("--until", str(user.pid), "--speed", "100", "--throttle")
        self.addCleanup(account.close)
        state = account.bed("state")
        self.assertEqual((state["speed"], state["throttle"]), (100.0, True))
        pid = int((account.directory / "pid").read_text())
        user.kill()
        user.wait()
        until(lambda: not pathlib.Path(f"/proc/{pid}").exists() or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2])

    def test_two_beds_and_a_second_start(self):
        first, second = Account(), Account("--region", "eu-west-1")
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        first.client("sqs").create_queue(QueueName="only-in-the-first")
        self.assertNotIn("QueueUrls", second.client("sqs").list_queues())
        self.assertEqual(second.environment["AWS_REGION"], "eu-west-1")
        url = subprocess.run([TESTBED / "bed", "stop", "--dir", first.directory], check=True)
        url = subprocess.run([TESTBED / "bed", "start", "--dir", first.directory], capture_output=True, text=True, check=True).stdout.strip()
        first.url = url
        self.assertEqual(first.bed("machines"), [])

    @unittest.skipUnless(ENDPOINT, "spawn-endpoint's example `serve` is not built (cargo build -p spawn-endpoint --example serve)")
    def test_dynamodb_of_another_program(self):
        account = Account("--dynamodb-program", ENDPOINT)
        self.addCleanup(account.close)
        dynamodb = account.client("dynamodb")
        dynamodb.create_table(
            TableName="other", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        )  # fmt: skip
        put = {"TableName": "other", "Item": {"k": {"S": "x"}}, "ConditionExpression": "attribute_not_exists(k)"}
        dynamodb.put_item(**put)
        with self.assertRaises(ClientError) as caught:
            dynamodb.put_item(**put)
        self.assertEqual(caught.exception.response["Error"]["Code"], "ConditionalCheckFailedException")
        self.assertEqual(account.bed("counts")["calls"]["dynamodb:PutItem"], 2)
