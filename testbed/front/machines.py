"""The life of an instance: pending, running, stopping, terminated; spot notices and crashes."""

import itertools

from .call import moment

STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
# Virtual seconds that a change stays visible on the way; `/bed/delays` sets them.
DELAYS = {"pending": 0.3, "shutting-down": 0.3, "stopping": 0.3, "health-check": 0.3, "forget": 3600.0}


class Machine:
    """What the bed knows of an instance beyond the engine's object `engine_instance`."""

    def __init__(self, order, account, engine_instance, reservation, spec, market, launched):
        self.order = order
        self.account = account
        self.engine_instance = engine_instance
        self.id = engine_instance.id
        self.region = engine_instance.region_name
        self.reservation = reservation
        self.spec = spec
        self.market = market
        self.launched = launched
        self.type = engine_instance.instance_type
        self.zone = engine_instance.availability_zone
        self.user_data = spec.get("user_data") or b""
        self.profile = spec.get("profile")
        self.group = spec.get("group")
        self.spot_request = spec.get("spot_request")
        self.reason = None
        self.transition = ""
        self.spot_action = None  # {"action": "terminate", "time": seconds}
        self.rebalance = None  # seconds
        self.metadata_down = False
        self.ended = None
        self.boots = 0
        self.box = None
        self._timer = None

    @property
    def state(self):
        return self.engine_instance._state.name

    @property
    def uses_capacity(self):
        return self.state in ("pending", "running", "stopping", "shutting-down")

    @property
    def tags(self):
        # Straight from the engine's table: its own look-up walks the tags of all resources.
        return dict(self.engine_instance.ec2_backend.tags.get(self.id, {}))

    @property
    def options(self):
        return self.engine_instance.metadata_options

    @property
    def shutdown_behavior(self):
        return self.engine_instance.instance_initiated_shutdown_behavior


class Machines:
    def __init__(self, bed):
        self._bed = bed
        self.all = {}
        self._order = itertools.count(1)
        self.on_change = []  # called with the machine after each change of state

    def add(self, account, engine_instance, reservation, spec, market):
        machine = Machine(
            next(self._order), account, engine_instance, reservation, spec, market, self._bed.clock.now()
        )
        engine_instance.launch_time = moment(machine.launched)
        self.all[machine.id] = machine
        self._bed.visibility.created("instance", machine.id)
        self._set(machine, "pending")
        machine._timer = self._later("pending", lambda: self._running(machine))
        return machine

    def _later(self, delay, action):
        def locked():
            with self._bed.lock:
                action()

        return self._bed.clock.after(self._bed.delays[delay], locked)

    def _set(self, machine, state):
        machine.engine_instance._state.name = state
        machine.engine_instance._state.code = STATES[state]
        for listener in self.on_change:
            listener(machine)

    def _running(self, machine):
        if machine.state == "pending":
            machine.boots += 1
            self._set(machine, "running")
            if self._bed.boxes:
                self._bed.boxes.boot(machine)

    def terminate(self, machine, code="Client.UserInitiatedShutdown", message="User initiated shutdown"):
        """Begins to end the machine; it is `terminated` once its box is gone and the delay is over."""
        if machine.state in ("shutting-down", "terminated"):
            return
        self._bed.clock.cancel(machine._timer)
        self._explain(machine, code, message)
        self._set(machine, "shutting-down")
        if machine.box:
            machine.box.power_off()
        machine._timer = self._later("shutting-down", lambda: self._terminated(machine))

    def _terminated(self, machine):
        if machine.box and machine.box.alive:
            machine._timer = self._bed.clock.after(0.05 * self._bed.clock.speed, lambda: self._retry_terminated(machine))
            return
        instance, reason, transition = machine.engine_instance, machine.reason, machine.transition
        instance.terminate()
        instance._reason, machine.reason = transition, reason
        machine.ended = self._bed.clock.now()
        self._set(machine, "terminated")
        machine._timer = self._later("forget", lambda: self._forget(machine))

    def _retry_terminated(self, machine):
        with self._bed.lock:
            self._terminated(machine)

    def _forget(self, machine):
        self.all.pop(machine.id, None)
        reservations = self._bed.engine.ec2(machine.account, machine.region).reservations
        for name, reservation in list(reservations.items()):
            if machine.engine_instance in reservation.instances:
                reservation.instances.remove(machine.engine_instance)
                if not reservation.instances:
                    del reservations[name]

    def stop(self, machine, code="Client.UserInitiatedShutdown", message="User initiated shutdown"):
        if machine.state in ("stopped", "stopping"):
            return
        self._bed.clock.cancel(machine._timer)
        self._explain(machine, code, message)
        self._set(machine, "stopping")
        if machine.box:
            machine.box.power_off()
        machine._timer = self._later("stopping", lambda: self._set(machine, "stopped"))

    def start(self, machine):
        machine.reason, machine.transition = None, ""
        self._set(machine, "pending")
        machine._timer = self._later("pending", lambda: self._running(machine))

    def powered_off(self, machine):
        """The machine ended itself from within."""
        if machine.state not in ("pending", "running"):
            return
        act = self.terminate if machine.shutdown_behavior == "terminate" else self.stop
        act(machine, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def crash(self, machine):
        """The hardware dies: nothing in the machine runs on, and EC2 ends it."""
        if machine.box:
            machine.box.kill()
        self.terminate(machine, "Server.InternalError", "Internal error on launch")

    def spot_notice(self, machine, notice=120.0, action="terminate"):
        """The two minutes' notice; at its end the machine goes."""
        machine.spot_action = {"action": action, "time": self._bed.clock.now() + notice}

        def reclaim():
            with self._bed.lock:
                if machine.state in ("pending", "running"):
                    act = self.terminate if action == "terminate" else self.stop
                    act(machine, "Server.SpotInstanceTermination", "Instance terminated by Spot service")

        self._bed.clock.after(notice, reclaim)

    def rebalance(self, machine):
        machine.rebalance = self._bed.clock.now()

    def _explain(self, machine, code, message):
        stamp = moment(self._bed.clock.now()).strftime("%Y-%m-%d %H:%M:%S GMT")
        machine.reason = (code, f"{code}: {message}")
        machine.transition = f"User initiated ({stamp})" if code.startswith("Client.User") else f"{code} ({stamp})"
        machine.engine_instance._reason = machine.transition
