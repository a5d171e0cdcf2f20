"""Unit files: the part of systemd's service language that the box understands."""

import os
import pathlib
import re
import shlex

DIRECTORIES = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
WANTS = "/etc/systemd/system/multi-user.target.wants"


class Unit:
    def __init__(self, name, text):
        self.name = name
        self.values = {}
        section = None
        for line in re.sub(r"\\\n", " ", text).splitlines():
            line = line.strip()
            if not line or line[0] in "#;":
                continue
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line:
                key, _, value = line.partition("=")
                entry = self.values.setdefault((section, key.strip()), [])
                if value.strip():
                    entry.append(value.strip())
                else:
                    entry.clear()

    def all(self, key, section="Service"):
        return self.values.get((section, key), [])

    def one(self, key, default=None, section="Service"):
        return (self.all(key, section) or [default])[-1]

    def seconds(self, key, default):
        return span(self.one(key), default)

    @property
    def kind(self):
        return self.one("Type", "simple")

    def commands(self, key):
        """[(arguments, failure is ignored)]"""
        found = []
        for line in self.all(key):
            prefix = re.match(r"[-@:+!]*", line).group(0)
            found.append((shlex.split(line[len(prefix) :].replace("%n", self.name).replace("%%", "%")), "-" in prefix))
        return found

    def environment(self):
        result = {}
        for line in self.all("Environment"):
            for pair in shlex.split(line):
                key, _, value = pair.partition("=")
                result[key] = value
        for path in self.all("EnvironmentFile"):
            optional, path = path.startswith("-"), path.lstrip("-")
            if optional and not os.path.exists(path):
                continue
            for line in pathlib.Path(path).read_text().splitlines():
                if "=" in line and not line.lstrip().startswith("#"):
                    key, _, value = line.strip().partition("=")
                    result[key] = value.strip().strip("'\"")
        return result


def span(text, default):
    """Seconds of a time span such as `5`, `500ms`, `1min 30s`; None for infinity."""
    if text is None:
        return default
    if text == "infinity":
        return None
    factors = {"ms": 0.001, "s": 1, "sec": 1, "": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400}
    return sum(float(number) * factors.get(unit, 1) for number, unit in re.findall(r"([\d.]+)\s*([a-z]*)", text))


def full_name(name):
    return name if "." in name.rpartition("/")[2] else name + ".service"


def load(name):
    """The unit of that name, None if there is no file."""
    for directory in DIRECTORIES:
        path = pathlib.Path(directory, full_name(name))
        if path.exists():
            return Unit(full_name(name), path.read_text())
    return None


def enabled():
    return sorted(os.listdir(WANTS)) if os.path.isdir(WANTS) else []
