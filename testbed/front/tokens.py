"""Idempotency by client token: the same token and parameters get the first answer."""

import json
import threading

from .call import AwsError

# A token is remembered this long, virtual seconds.
KEPT = 24 * 3600
# Creations that AWS makes idempotent by token and the engine does not.
OPERATIONS = {
    "ec2:RunInstances", "ec2:CreateLaunchTemplate", "ec2:CreateLaunchTemplateVersion", "ec2:CreateFleet",
    "ec2:CreateVolume", "ec2:AllocateHosts", "scheduler:CreateSchedule",
}  # fmt: skip


class Tokens:
    def __init__(self, clock):
        self._clock = clock
        self._answers = {}
        self._lock = threading.Lock()
        self._in_flight = {}

    @staticmethod
    def key(call):
        token = call.params.get("ClientToken")
        return (call.account, call.region, call.name, token) if token and call.name in OPERATIONS else None

    def flight(self, key):
        """Held while a call with this token runs, so that a twin waits for its answer."""
        with self._lock:
            return self._in_flight.setdefault(key, threading.Lock())

    def earlier(self, key, call):
        """The first answer to this token, None for a new one."""
        with self._lock:
            found = self._answers.get(key)
        if found is None or found[0] < self._clock.now():
            return None
        if found[1] != _fingerprint(call):
            code = "ConflictException" if call.service == "scheduler" else "IdempotentParameterMismatch"
            raise AwsError(
                code,
                f"Arguments on this idempotent request are inconsistent with arguments used in previous request(s) "
                f"with the client token {call.params['ClientToken']}.",
            )
        return found[2]

    def remember(self, key, call, reply):
        if reply.status < 300:
            with self._lock:
                self._answers[key] = (self._clock.now() + KEPT, _fingerprint(call), reply)


def _fingerprint(call):
    return json.dumps({name: value for name, value in call.params.items() if name != "ClientToken"}, default=str, sort_keys=True)
