"""EC2's documented token buckets, and generic ones for the services beside it."""

import threading

from .call import AwsError

# (burst, refill a second) of request buckets.
REQUESTS = {
    "ec2:RunInstances": (5, 2),
    "ec2:StartInstances": (5, 2),
    "ec2:TerminateInstances": (100, 5),
    "ec2:StopInstances": (50, 5),
    "ec2:CreateTags": (100, 10),
    "ec2:DeleteTags": (100, 10),
    "ec2:*described-filtered": (100, 20),
    "ec2:*described": (50, 10),
    "ec2:*": (50, 5),
    "autoscaling:*": (50, 10),
    "ssm:*": (40, 40),
    "iam:*": (20, 5),
    "pricing:*": (10, 10),
}
# (burst, refill a second) of buckets that count machines.
RESOURCES = {
    "ec2:RunInstances": (1000, 2),
    "ec2:StartInstances": (1000, 2),
    "ec2:StopInstances": (1000, 20),
    "ec2:TerminateInstances": (1000, 20),
}


class Throttle:
    def __init__(self, clock):
        self._clock = clock
        self._buckets = {}
        self._lock = threading.Lock()
        self.enabled = False

    def _take(self, name, burst, refill, tokens):
        with self._lock:
            now = self._clock.now()
            level, then = self._buckets.get(name, (burst, now))
            level = min(burst, level + (now - then) * refill)
            granted = level >= tokens
            self._buckets[name] = (level - tokens if granted else level, now)
            return granted

    def check(self, call):
        if not self.enabled or call.internal:
            return
        name = self._request_bucket(call)
        if name in REQUESTS and not self._take((call.region, name), *REQUESTS[name], 1):
            raise self.refusal(call.service)
        if call.name in RESOURCES:
            machines = len(call.params.get("InstanceIds", ())) or call.params.get("MinCount", 1)
            burst, refill = RESOURCES[call.name]
            if not self._take((call.region, call.name, "machines"), burst, refill, min(machines, burst)):
                raise self.refusal(call.service)

    @staticmethod
    def _request_bucket(call):
        if call.name in REQUESTS:
            return call.name
        if call.service == "ec2" and call.operation.startswith(("Describe", "Get")):
            narrowed = any(key.endswith("Ids") or key in ("Filters", "MaxResults") for key in call.params)
            # One bucket an operation, as the documentation has it.
            return "ec2:*described-filtered" if narrowed else "ec2:*described"
        return f"{call.service}:*"

    @staticmethod
    def refusal(service):
        if service == "ec2":
            return AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
        if service == "s3":
            return AwsError("SlowDown", "Please reduce your request rate.", 503)
        if service == "dynamodb":
            return AwsError("ThrottlingException", "Rate of requests exceeds the allowed throughput.", 400)
        if service in ("ssm", "scheduler", "pricing"):
            return AwsError("ThrottlingException", "Rate exceeded", 400)
        return AwsError("Throttling", "Rate exceeded", 400)
