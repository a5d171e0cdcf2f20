"""The bed: what a request goes through, from the wire to its answer."""

import contextlib
import json
import re
import time
import traceback

from moto.sqs.models import sqs_backends

from . import ec2_api, group_api, iam_api, images, prices
from .call import AwsError, Call, DropConnection, failure, success
from .capacity import Capacity
from .clock import Clock
from .engine import Engine, ServiceException
from .faults import Faults, error_of
from .groups import Groups
from .machines import DELAYS, Machines
from .metadata import Metadata
from .models import violations
from .policy import Policies
from .reading import Unreadable, read
from .schedules import Schedules
from .throttle import Throttle
from .tokens import Tokens
from .visibility import Visibility
from .wire_log import WireLog

OPERATIONS = {**ec2_api.OPERATIONS, **group_api.OPERATIONS, **iam_api.OPERATIONS, **images.OPERATIONS, **prices.OPERATIONS}
# Services whose every operation is ours: one that is missing is an error, not the engine's half of it.
OURS = {"autoscaling", "pricing", "service-quotas"}


class Bed:
    def __init__(self, directory, speed=1.0, throttle=False):
        self.directory = directory
        self.clock = Clock(speed)
        self.engine = Engine()
        # One lock for all that machines and groups share; the engine's EC2, too.
        self.lock = self.engine.lock("ec2")
        self.delays = dict(DELAYS)
        self.visibility = Visibility()
        self.boxes = None
        self.dynamodb = None
        self.machines = Machines(self)
        self.capacity = Capacity(self.machines.all)
        self.groups = Groups(self)
        self.schedules = Schedules(self)
        self.metadata = Metadata(self)
        self.policies = Policies(self)
        self.throttle = Throttle(self.clock)
        self.throttle.enabled = throttle
        self.tokens = Tokens(self.clock)
        self.faults = Faults()
        self.log = WireLog(directory / "wire.jsonl", self.clock)
        self.errors = []
        self.clock.on_error = lambda error: self.errors.append(f"{type(error).__name__}: {error}")
        self.clock.start()

    def handle(self, call):
        """The answer to a request from outside. Raises `DropConnection`."""
        note = None
        try:
            read(call)
            call.violations = violations(call)
        except Unreadable as error:
            call.violations = [str(error)]
            call.who = self.policies.who(call)
            return self._refuse_unreadable(call, error)
        call.who = self.policies.who(call)
        status, code = None, None
        try:
            reply = _refusal_of_violations(call) or self._with_faults(call)
            status, code = reply.status, reply.error_code
            return reply
        except DropConnection as drop:
            status, note = "lost", str(drop)
            raise
        except Exception as error:  # a fault of the bed's own; it is told, and its test fails
            self.errors.append(f"{call.name}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}")
            reply = failure(call, AwsError("InternalFailure", f"the test bed failed: {error}", 500))
            status, code = reply.status, reply.error_code
            return reply
        finally:
            self.log.record(call, status, code, note)

    def _refuse_unreadable(self, call, error):
        reply = failure(call, AwsError("InvalidAction", str(error)))
        self.log.record(call, reply.status, "InvalidAction")
        return reply

    def _with_faults(self, call):
        met = self.faults.hit(call)
        for fault in met:
            kind = fault["kind"]
            if kind == "delay":
                time.sleep(fault.get("seconds", 1))
            elif kind == "lost-before":
                raise DropConnection("before execution")
            elif kind == "throttle":
                return failure(call, Throttle.refusal(call.service))
            elif kind == "error-before":
                return failure(call, error_of(fault, call.service))
        reply = self._answer(call)
        for fault in met:
            if fault["kind"] == "lost-after":
                raise DropConnection(f"after execution with status {reply.status}")
            if fault["kind"] == "error-after":
                return failure(call, error_of(fault, call.service))
        return reply

    def _answer(self, call):
        try:
            self.throttle.check(call)
            self.policies.check(call)
            key = Tokens.key(call)
            if key is None:
                return self._execute(call)
            with self.tokens.flight(key):
                reply = self.tokens.earlier(key, call)
                if reply is None:
                    reply = self._execute(call)
                    self.tokens.remember(key, call, reply)
                return reply
        except AwsError as error:
            return failure(call, error)

    def answer_internal(self, call, role):
        """A call that a service makes in a role's name (a schedule's target); `role` is its ARN."""
        try:
            self.policies.check_role(call, role)
            reply = self._answer(call)
        except AwsError as error:
            reply = failure(call, error)
        self.log.record(call, reply.status, reply.error_code)
        return reply

    def _execute(self, call):
        if call.service == "dynamodb" and self.dynamodb:
            return self.dynamodb.handle(call)
        if call.name == "sqs:ReceiveMessage":
            return self._receive(call)
        ours = OPERATIONS.get(call.name)
        if ours:
            try:
                with self._lock_of(call):
                    result = ours(self, call)
            except ServiceException as error:
                raise AwsError(error.code, error.message) from error
            if result is not None:
                # Outside of the lock: rendering a thousand machines takes seconds.
                return success(call, result)
        elif call.service in OURS:
            raise AwsError("NotImplementedByBed", f"The test bed has no {call.name}", 501)
        with self._lock_of(call):
            if call.name in ("scheduler:CreateSchedule", "scheduler:UpdateSchedule"):
                self.schedules.check(call)
            reply = self.engine.handle(call)
            if reply.status < 300:
                self._created(call, reply)
            return reply

    def _lock_of(self, call):
        if call.service in ("autoscaling", "ec2", "iam", "sts", "scheduler", "ssm", "pricing", "service-quotas"):
            return self.lock
        if call.name in ("s3:GetObject", "s3:HeadObject"):
            return contextlib.nullcontext()
        return self.engine.lock(call.service)

    def _created(self, call, reply):
        if call.name == "ec2:CreateLaunchTemplate":
            backend = self.engine.ec2(call.account, call.region)
            self.visibility.created("launch-template", backend.launch_template_name_to_ids[call.params["LaunchTemplateName"]])
        elif call.name == "iam:CreateInstanceProfile":
            self.visibility.created("instance-profile", call.params["InstanceProfileName"])
        elif call.name in ("scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"):
            self.schedules.stored(call)

    def _receive(self, call):
        """Long polling without holding the lock: the engine's own would let two receivers race."""
        wait = call.params.get("WaitTimeSeconds")
        lock = self.engine.lock("sqs")
        if wait is None:
            name = call.params["QueueUrl"].rpartition("/")[2]
            queue = sqs_backends[call.account][call.region].queues.get(name)
            wait = int(queue.receive_message_wait_time_seconds or 0) if queue else 0
        deadline = time.monotonic() + wait
        quick = _without_wait(call)
        while True:
            with lock:
                reply = self.engine.handle(quick)
            empty = reply.status < 300 and b"MessageId" not in reply.body
            if not empty or time.monotonic() >= deadline:
                return reply
            time.sleep(0.05)

    def shutdown(self):
        if self.boxes:
            self.boxes.stop()
        self.clock.stop()
        if self.dynamodb:
            self.dynamodb.stop()


def _refusal_of_violations(call):
    """The service's answer to a call that its model forbids; a pattern alone is only noted, since
    the models' patterns are not always the services'."""
    fatal = [line for line in call.violations if " does not match " not in line]
    if not fatal:
        return None
    code = {"ec2": "InvalidParameterValue", "json": "ValidationException", "rest-json": "ValidationException"}.get(call.protocol, "ValidationError")
    return failure(call, AwsError(code, "; ".join(fatal)))


def _without_wait(call):
    if call.protocol == "json":
        body = json.dumps({**json.loads(call.body), "WaitTimeSeconds": 0}).encode()
    else:
        body = re.sub(rb"&?WaitTimeSeconds=\d+", b"", call.body) + b"&WaitTimeSeconds=0"
    return Call(call.method, call.target, call.headers, body, call.secure)

