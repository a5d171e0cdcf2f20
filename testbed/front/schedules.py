"""EventBridge Scheduler: one-time schedules that fire the EC2 and Auto Scaling calls they name."""

import datetime
import json
import re
import zoneinfo

from moto.iam.models import iam_backends
from moto.scheduler.models import scheduler_backends

from .call import AwsError, Call
from .reading import get_service_model

UNIVERSAL = re.compile(r"arn:aws:scheduler:::aws-sdk:([a-z0-9]+):([a-zA-Z]+)")


class Schedules:
    def __init__(self, bed):
        self._bed = bed
        self._timers = {}
        self.fired = []

    def check(self, call):
        """What the service refuses and the engine takes."""
        params = call.params
        expression = params["ScheduleExpression"]
        if expression.startswith("at("):
            _moment_of(expression, params.get("ScheduleExpressionTimezone"))
        elif not re.fullmatch(r"(rate|cron)\(.+\)", expression):
            raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.")
        target = params["Target"]
        if not self._trusts(call.account, target["RoleArn"]):
            raise AwsError("ValidationException", "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.")
        universal = UNIVERSAL.fullmatch(target["Arn"])
        if target["Arn"].startswith("arn:aws:scheduler:::aws-sdk:") and not universal:
            raise AwsError("ValidationException", f"{target['Arn']} is not a supported target")
        if universal and target.get("Input"):
            json.loads(target["Input"])

    @staticmethod
    def _trusts(account, arn):
        for role in iam_backends[account]["aws"].roles.values():
            if role.arn == arn:
                document = role.assume_role_policy_document
                return "scheduler.amazonaws.com" in (document if isinstance(document, str) else json.dumps(document))
        return False

    def stored(self, call):
        """After a schedule was created, changed or deleted."""
        key = (call.account, call.region, call.params.get("GroupName") or "default", call.params["Name"])
        self._bed.clock.cancel(self._timers.pop(key, None))
        if call.operation == "DeleteSchedule" or call.params.get("State") == "DISABLED":
            return
        expression = call.params["ScheduleExpression"]
        if expression.startswith("at("):
            when = _moment_of(expression, call.params.get("ScheduleExpressionTimezone"))
            self._timers[key] = self._bed.clock.at(when, lambda: self._fire(key))

    def _fire(self, key):
        account, region, group, name = key
        backend = scheduler_backends[account][region]
        with self._bed.lock:
            schedule = backend.schedule_groups[group].schedules.get(name)
            if schedule is None:
                return
            outcome = self._invoke(account, region, schedule.target)
            self.fired.append({"schedule": schedule.arn, "target": schedule.target["Arn"], "outcome": outcome, "time": self._bed.clock.now()})
            if schedule.action_after_completion == "DELETE":
                backend.schedule_groups[group].schedules.pop(name, None)

    def _invoke(self, account, region, target):
        universal = UNIVERSAL.fullmatch(target["Arn"])
        if not universal:
            return "not delivered: the test bed knows SDK targets only"
        service, operation = universal.groups()
        operation = operation[0].upper() + operation[1:]
        call = Call("POST", "/", [], b"")
        call.internal, call.account, call.region, call.service = True, account, region, service
        call.who = f"scheduler/{target['RoleArn'].rpartition('/')[2]}"
        try:
            call.model = get_service_model(service).operation_model(operation)
            call.operation, call.protocol = operation, str(call.model.service_model.protocol)
            call.params = json.loads(target.get("Input") or "{}")
            reply = self._bed.answer_internal(call, target["RoleArn"])
        except Exception as error:
            return f"failed: {error}"
        return "delivered" if reply.status < 300 else f"failed: {reply.error_code}"


def _moment_of(expression, zone):
    found = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", expression)
    if not found:
        raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.")
    try:
        when = datetime.datetime.fromisoformat(found.group(1))
        return when.replace(tzinfo=zoneinfo.ZoneInfo(zone or "UTC")).timestamp()
    except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise AwsError("ValidationException", f"Invalid Schedule Expression {expression}.") from error
