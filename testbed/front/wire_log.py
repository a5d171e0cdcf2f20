"""Every request, one JSON line each; how often each operation was called; what was wrong with calls."""

import collections
import json
import threading


class WireLog:
    def __init__(self, path, clock):
        self._file = open(path, "a", buffering=1, encoding="utf-8")
        self._clock = clock
        self._lock = threading.Lock()
        self._sequence = 0
        self.counts = collections.Counter()
        self.statuses = collections.defaultdict(collections.Counter)
        self.violations = []

    def record(self, call, status, error, note=None):
        with self._lock:
            self._sequence += 1
            entry = {
                "n": self._sequence,
                "time": round(self._clock.now(), 3),
                "service": call.service,
                "operation": call.operation,
                "params": call.params,
                "who": call.who,
                "region": call.region,
                "agent": call.header("user-agent"),
                "method": call.method,
                "target": call.target,
                "status": status,
                "error": error,
            }
            if note:
                entry["note"] = note
            if call.violations:
                entry["violations"] = call.violations
                self.violations.append({key: entry[key] for key in ("n", "service", "operation", "who", "violations")})
            self.counts[call.name] += 1
            self.statuses[call.name][str(error or status)] += 1
            self._file.write(json.dumps(entry, default=_shown) + "\n")


def _shown(value):
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    return str(value)
