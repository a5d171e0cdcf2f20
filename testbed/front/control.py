"""The control interface: JSON under `/bed/`. `GET /bed/` lists it."""

import json
from urllib.parse import parse_qs, unquote

from . import group_api, instance_view
from .call import AwsError

ROUTES = {}


def route(method, path):
    """`path` may hold one `*`, which becomes the argument `name`."""

    def register(function):
        ROUTES[method, path] = function
        return function

    return register


class Control:
    def __init__(self, bed):
        self._bed = bed

    def handle(self, method, target, body):
        path, _, query = target.partition("?")
        parts = [unquote(part) for part in path.split("/") if part]
        arguments = {key: values[-1] for key, values in parse_qs(query).items()}
        try:
            if body:
                arguments.update(json.loads(body))
            for pattern, name in (("/" + "/".join(parts), None), ("/" + "/".join([*parts[:-1], "*"]), parts[-1]),
                                  ("/" + "/".join([*parts[:-2], "*", parts[-1]]), parts[-2] if len(parts) > 2 else None)):  # fmt: skip
                function = ROUTES.get((method, pattern))
                if function:
                    if name is not None:
                        arguments["name"] = name
                    result = function(self._bed, **arguments)
                    return 200, {"ok": True} if result is None else result
            return 404, {"error": f"no {method} {path}; see GET /bed/"}
        except (AwsError, KeyError, TypeError, ValueError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}


@route("GET", "/bed")
def index(bed):
    """This list."""
    return {f"{method} {path}": (function.__doc__ or "").strip() for (method, path), function in sorted(ROUTES.items(), key=lambda r: r[0][1])}


@route("GET", "/bed/state")
def state(bed):
    """Everything: clock, machines, groups, capacity, faults, errors of the bed itself."""
    with bed.lock:
        return {
            "now": bed.clock.now(), "speed": bed.clock.speed, "machines": [_machine(m) for m in bed.machines.all.values()],
            "groups": [_group(bed, group) for group in bed.groups.all.values()], "capacity": bed.capacity.state(),
            "delays": bed.delays, "throttle": bed.throttle.enabled, "lag": bed.visibility.lag, "enforced": bed.policies.enforced,
            "faults": bed.faults.state(), "schedules_fired": bed.schedules.fired, "errors": bed.errors,
            "unsupported_conditions": sorted(bed.policies.unsupported),
        }  # fmt: skip


def _machine(machine):
    return {
        "id": machine.id, "state": machine.state, "type": machine.type, "zone": machine.zone, "region": machine.region,
        "market": machine.market, "group": machine.group, "tags": machine.tags, "boots": machine.boots,
        "launched": machine.launched, "ended": machine.ended, "reason": machine.reason, "spot_action": machine.spot_action,
        "rebalance": machine.rebalance, "metadata_down": machine.metadata_down, "profile": machine.profile,
        "box": machine.box.state() if machine.box else None,
    }  # fmt: skip


def _group(bed, group):
    return {
        "name": group.name, "region": group.region, "min": group.min, "max": group.max, "desired": group.desired,
        "deleting": group.deleting, "suspended": sorted(group.suspended),
        "members": [group_api._instance(group, member) for member in group.members.values()],
        "scheduled": [{k: v for k, v in a.items() if k != "_timer"} for a in group.scheduled.values()],
        "activities": [{k: a[k] for k in ("Description", "StatusCode", "StatusMessage")} for a in group.activities],
    }  # fmt: skip


@route("GET", "/bed/machines")
def machines(bed, state=None, group=None):
    """Machines, narrowed by `state` or `group`."""
    with bed.lock:
        return [_machine(m) for m in bed.machines.all.values() if state in (None, m.state) and group in (None, m.group)]


def _one(bed, name):
    machine = bed.machines.all.get(name)
    if machine is None:
        raise KeyError(f"no machine {name}")
    return machine


@route("GET", "/bed/machines/*")
def machine(bed, name):
    """One machine, as EC2 describes it and as the bed knows it."""
    with bed.lock:
        return {**_machine(_one(bed, name)), "described": instance_view.described(_one(bed, name))}


@route("GET", "/bed/machines/*/console")
def console(bed, name):
    """What the box of a machine printed."""
    box = _one(bed, name).box
    return {"console": box.console().decode("utf-8", "replace") if box else ""}


@route("POST", "/bed/machines/*/interrupt")
def interrupt(bed, name, notice=120.0, action="terminate"):
    """A spot interruption with `notice` virtual seconds; the machine goes at its end."""
    with bed.lock:
        bed.machines.spot_notice(_one(bed, name), float(notice), action)


@route("POST", "/bed/machines/*/rebalance")
def rebalance(bed, name):
    """A rebalance recommendation."""
    with bed.lock:
        bed.machines.rebalance(_one(bed, name))


@route("POST", "/bed/machines/*/crash")
def crash(bed, name):
    """The machine dies at once, all its processes killed."""
    with bed.lock:
        bed.machines.crash(_one(bed, name))


@route("POST", "/bed/machines/*/metadata")
def metadata(bed, name, down):
    """An outage of the machine's metadata service (`down`: true) or its end (false)."""
    _one(bed, name).metadata_down = bool(down)


@route("POST", "/bed/capacity")
def capacity(bed, type="*", zone="*", market="*", capacity=None):
    """Limits a pool to `capacity` machines running at once; null lifts the limit."""
    with bed.lock:
        bed.capacity.set_pool(type, zone, market, capacity)
        for group in bed.groups.all.values():
            bed.groups.wake(group)


@route("POST", "/bed/quotas")
def quotas(bed, **markets):
    """vCPU quotas by market: {"on-demand": 64, "spot": 32}."""
    with bed.lock:
        unknown = set(markets) - set(bed.capacity.quotas)
        if unknown:
            raise ValueError(f"no such market: {unknown}")
        bed.capacity.quotas.update(markets)
    return bed.capacity.quotas


@route("POST", "/bed/faults")
def add_fault(bed, **fault):
    """Orders a fault; see testbed/README.md for its members. Answers its number."""
    return {"fault": bed.faults.add(fault)}


@route("GET", "/bed/faults")
def faults(bed):
    """Faults on order and how often each was met."""
    return bed.faults.state()


@route("DELETE", "/bed/faults")
def no_faults(bed):
    """Cancels all faults."""
    bed.faults.remove()


@route("DELETE", "/bed/faults/*")
def no_fault(bed, name):
    """Cancels one fault."""
    bed.faults.remove(int(name))


@route("POST", "/bed/advance")
def advance(bed, seconds):
    """Moves the clock forward."""
    bed.clock.advance(float(seconds))
    return {"now": bed.clock.now()}


@route("POST", "/bed/speed")
def speed(bed, speed):
    """How many virtual seconds pass in a real one."""
    bed.clock.set_speed(float(speed))


@route("POST", "/bed/delays")
def delays(bed, **delays):
    """Virtual seconds of pending, shutting-down, stopping, health-check, forget."""
    unknown = set(delays) - set(bed.delays)
    if unknown:
        raise ValueError(f"no such delay: {unknown}")
    bed.delays.update(delays)
    return bed.delays


@route("POST", "/bed/throttle")
def throttle(bed, enabled):
    """Switches the token buckets."""
    bed.throttle.enabled = bool(enabled)


@route("POST", "/bed/consistency")
def consistency(bed, lag):
    """The next `lag` looks at each thing created from now on miss it."""
    bed.visibility.lag = int(lag)


@route("GET", "/bed/violations")
def violations(bed):
    """Calls that the service models forbid. A test fails if there is one."""
    return bed.log.violations


@route("DELETE", "/bed/violations")
def no_violations(bed):
    """Forgets the violations so far."""
    bed.log.violations.clear()


@route("GET", "/bed/errors")
def errors(bed):
    """Faults of the bed itself. A test fails if there is one."""
    return bed.errors


@route("DELETE", "/bed/errors")
def no_errors(bed):
    """Forgets the errors so far."""
    bed.errors.clear()


@route("GET", "/bed/counts")
def counts(bed):
    """Calls by operation, and their outcomes."""
    return {"calls": dict(bed.log.counts), "outcomes": {name: dict(c) for name, c in bed.log.statuses.items()}}


@route("DELETE", "/bed/counts")
def no_counts(bed):
    """Starts counting anew."""
    bed.log.counts.clear()
    bed.log.statuses.clear()
