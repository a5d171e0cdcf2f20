"""Eventual consistency: a just-created thing is not seen by the next reads of it."""

import threading


class Visibility:
    def __init__(self):
        self.lag = 0
        self._hidden = {}
        self._lock = threading.Lock()

    def created(self, kind, name):
        """From now on, `lag` looks at it miss."""
        if self.lag > 0:
            with self._lock:
                self._hidden[kind, name] = self.lag

    def sees(self, kind, name):
        """Counts one look. False if the thing is not there yet for readers."""
        with self._lock:
            left = self._hidden.get((kind, name))
            if left is None:
                return True
            if left > 1:
                self._hidden[kind, name] = left - 1
            else:
                del self._hidden[kind, name]
            return False
