"""The bed's clock: wall time, run faster on request and moved forward on demand.

Everything that waits inside the bed (a pending instance, a scheduled action, a spot notice) waits
on this clock, so a test can advance a day instead of living through it.
"""

import heapq
import itertools
import threading
import time


class Clock:
    def __init__(self, speed=1.0):
        self.speed = speed
        self._base_virtual = time.time()
        self._base_real = time.monotonic()
        self._due = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self.on_error = None

    def now(self):
        """Seconds since 1970, virtual."""
        return self._base_virtual + (time.monotonic() - self._base_real) * self.speed

    def advance(self, seconds):
        """Moves time forward. What falls due on the way runs in order, at its own time or later."""
        with self._changed:
            self._base_virtual += seconds
            self._changed.notify_all()

    def set_speed(self, speed):
        with self._changed:
            self._base_virtual, self._base_real = self.now(), time.monotonic()
            self.speed = speed
            self._changed.notify_all()

    def at(self, when, action):
        """Runs `action()` once `now()` has reached `when`. Returns a handle for `cancel`."""
        entry = [when, next(self._order), action]
        with self._changed:
            heapq.heappush(self._due, entry)
            self._changed.notify_all()
        return entry

    def after(self, seconds, action):
        return self.at(self.now() + seconds, action)

    @staticmethod
    def cancel(entry):
        if entry is not None:
            entry[2] = None

    def start(self):
        threading.Thread(target=self._run, name="clock", daemon=True).start()

    def stop(self):
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self):
        while True:
            with self._changed:
                while not self._stopped:
                    wait = None
                    if self._due:
                        wait = (self._due[0][0] - self.now()) / self.speed
                        if wait <= 0:
                            break
                    self._changed.wait(None if wait is None else min(wait, 60))
                if self._stopped:
                    return
                action = heapq.heappop(self._due)[2]
            if action is not None:
                try:
                    action()
                except Exception as error:  # one bad event must not stop time
                    if self.on_error:
                        self.on_error(error)
