"""Faults on order: what goes wrong, at which call.

A fault is a JSON object:
  operation   "ec2:RunInstances", "ec2:*" or "*" (default)
  at          the k-th matching call from now on, 1-based (default 1)
  times       how many calls in a row from there (default 1; 0 means for ever)
  kind        error-before | error-after | lost-before | lost-after | throttle | delay
  code, message, status   of error-*; InternalError, 500 if absent
  seconds     of delay, real seconds
  region, who narrow it (optional)
"""

import fnmatch
import itertools
import threading

from .call import AwsError

KINDS = {"error-before", "error-after", "lost-before", "lost-after", "throttle", "delay"}
FIELDS = {"operation", "at", "times", "kind", "code", "message", "status", "seconds", "region", "who"}


class Faults:
    def __init__(self):
        self._faults = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, fault):
        unknown = set(fault) - FIELDS
        if unknown or fault.get("kind") not in KINDS:
            raise ValueError(f"bad fault: unknown {sorted(unknown)}" if unknown else f"kind is one of {sorted(KINDS)}")
        with self._lock:
            number = next(self._ids)
            self._faults[number] = {"operation": "*", "at": 1, "times": 1, **fault, "seen": 0, "hits": 0}
            return number

    def remove(self, number=None):
        with self._lock:
            if number is None:
                self._faults.clear()
            else:
                self._faults.pop(number, None)

    def state(self):
        with self._lock:
            return {number: dict(fault) for number, fault in self._faults.items()}

    def hit(self, call):
        """The faults that this call meets."""
        met = []
        if call.internal:
            return met
        with self._lock:
            for fault in self._faults.values():
                if not fnmatch.fnmatch(call.name, fault["operation"]):
                    continue
                if fault.get("region") not in (None, call.region) or fault.get("who") not in (None, call.who):
                    continue
                fault["seen"] += 1
                last = fault["at"] + fault["times"] - 1 if fault["times"] else None
                if fault["seen"] >= fault["at"] and (last is None or fault["seen"] <= last):
                    fault["hits"] += 1
                    met.append(fault)
        return met


def error_of(fault, service):
    code = fault.get("code") or ("InternalFailure" if service in ("autoscaling", "sqs") else "InternalError")
    return AwsError(code, fault.get("message") or "An internal error has occurred.", fault.get("status", 500))
