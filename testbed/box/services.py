"""Runs services: starts, restarts, stops them, and keeps their journal."""

import os
import pathlib
import pwd
import re
import signal
import time
import uuid

from . import units

JOURNAL = "/var/log/box-journal"
SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class Service:
    def __init__(self, unit):
        self.unit = unit
        self.state = "inactive"
        self.result = "success"
        self.pid = None
        self.session = None
        self.status = None
        self.wanted = False
        self.restart_at = None
        self.restarts = []
        self.waiters = []

    def describe(self):
        return {"name": self.unit.name, "state": self.state, "pid": self.pid, "result": self.result, "restarts": len(self.restarts)}


class Services:
    """`log` writes a line to the console."""

    def __init__(self, log):
        self._log = log
        self.all = {}
        os.makedirs(JOURNAL, exist_ok=True)

    def get(self, name):
        name = units.full_name(name)
        unit = units.load(name)
        if name not in self.all:
            if unit is None:
                return None
            self.all[name] = Service(unit)
        elif unit is not None and self.all[name].pid is None:
            self.all[name].unit = unit
        return self.all[name]

    def add(self, unit):
        """A transient service."""
        self.all[unit.name] = Service(unit)
        return self.all[unit.name]

    def start(self, service):
        if service.pid is not None:
            return
        service.wanted, service.restart_at = True, None
        for arguments, ignored in service.unit.commands("ExecStartPre"):
            code = self._run_to_end(service, arguments)
            if code != 0 and not ignored:
                self._ended(service, "exit-code", code)
                return
        commands = service.unit.commands("ExecStart")
        if not commands:
            self._ended(service, "resources", 1)
            return
        if service.unit.kind == "oneshot":
            for arguments, ignored in commands[:-1]:
                code = self._run_to_end(service, arguments)
                if code != 0 and not ignored:
                    self._ended(service, "exit-code", code)
                    return
        try:
            service.pid = service.session = self._spawn(service, commands[-1][0])
        except OSError as error:
            self._log(f"{service.unit.name}: {error}")
            self._ended(service, "exit-code", 203)
            return
        service.state = "activating" if service.unit.kind == "oneshot" else "active"
        self._log(f"started {service.unit.name}")

    def _spawn(self, service, arguments):
        unit = service.unit
        environment = {
            "PATH": SERVICE_PATH, "LANG": "C.UTF-8", "INVOCATION_ID": uuid.uuid4().hex, "SYSTEMD_EXEC_PID": "0",
        }  # fmt: skip
        user = unit.one("User")
        entry = pwd.getpwnam(user) if user and user != "root" else None
        if user:
            known = entry or pwd.getpwnam("root")
            environment.update(HOME=known.pw_dir, USER=known.pw_name, LOGNAME=known.pw_name, SHELL=known.pw_shell)
        environment.update(unit.environment())
        for key, root, name in (("RuntimeDirectory", "/run", "RUNTIME_DIRECTORY"), ("StateDirectory", "/var/lib", "STATE_DIRECTORY"),
                                ("LogsDirectory", "/var/log", "LOGS_DIRECTORY")):  # fmt: skip
            if unit.one(key):
                path = os.path.join(root, unit.one(key))
                os.makedirs(path, exist_ok=True)
                environment[name] = path
        output = self._output(unit)
        program = arguments[0]
        if not program.startswith("/"):
            program = next((f"{d}/{program}" for d in SERVICE_PATH.split(":") if os.path.exists(f"{d}/{program}")), program)
        arguments = [_expanded(argument, environment) for argument in arguments]
        if not os.access(program, os.X_OK):
            os.close(output)
            raise FileNotFoundError(f"no such program: {program}")
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                for number in range(1, 65):
                    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                        signal.signal(number, signal.SIG_DFL)
                null = os.open("/dev/null", os.O_RDONLY)
                os.dup2(null, 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.closerange(3, 256)
                os.chdir(unit.one("WorkingDirectory", "/").lstrip("-"))
                if entry:
                    os.initgroups(entry.pw_name, entry.pw_gid)
                    os.setgid(entry.pw_gid)
                    os.setuid(entry.pw_uid)
                os.execve(program, arguments, environment)
            finally:
                os._exit(203)
        os.close(output)
        return pid

    @staticmethod
    def _output(unit):
        target = unit.one("StandardOutput", "journal")
        kind, _, path = target.partition(":")
        if kind in ("append", "file", "truncate"):
            flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if kind == "append" else os.O_TRUNC)
            return os.open(path, flags, 0o644)
        return os.open(f"{JOURNAL}/{unit.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _run_to_end(self, service, arguments):
        try:
            pid = self._spawn(service, arguments)
        except OSError as error:
            self._log(f"{service.unit.name}: {error}")
            return 203
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def reaped(self, pid, status):
        """A child of the init ended."""
        for service in self.all.values():
            if service.pid == pid:
                code = os.waitstatus_to_exitcode(status)
                service.pid = None
                self._kill_rest(service)
                if service.unit.kind == "oneshot" and code == 0 and service.unit.one("RemainAfterExit") in ("yes", "true"):
                    service.state, service.status = "active", 0
                    self._tell(service)
                else:
                    self._ended(service, "success" if code == 0 else "signal" if code < 0 else "exit-code", code)
                return

    def _kill_rest(self, service):
        if service.unit.one("KillMode", "control-group") in ("control-group", "mixed"):
            for pid in session_of(service):
                _kill(pid, signal.SIGKILL)

    def _ended(self, service, result, code):
        service.status, service.result = code, result
        accepted = {int(code) for code in service.unit.one("SuccessExitStatus", "").split() if code.isdigit()}
        clean = code == 0 or code in accepted or code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGPIPE)
        service.state = "inactive" if clean else "failed"
        self._log(f"{service.unit.name}: ended, {result} {code}")
        for arguments, _ in service.unit.commands("ExecStopPost"):
            self._run_to_end(service, arguments)
        policy = service.unit.one("Restart", "no")
        again = policy == "always" or policy == "on-failure" and not clean or policy == "on-success" and clean
        again |= policy in ("on-abnormal", "on-abort") and result == "signal" and not clean
        prevented = service.unit.one("RestartPreventExitStatus", "").split()
        failed = not clean
        if service.wanted and again and str(code) not in prevented:
            window = units.span(service.unit.one("StartLimitIntervalSec", None, "Unit"), 10.0)
            burst = int(service.unit.one("StartLimitBurst", 5, "Unit"))
            now = time.monotonic()
            recent = [moment for moment in service.restarts if window and now - moment < window]
            if window and len(recent) >= burst:
                service.state, service.result = "failed", "start-limit-hit"
                self._log(f"{service.unit.name}: start request repeated too quickly")
            else:
                service.restarts.append(now)
                service.state = "activating"
                service.restart_at = now + (service.unit.seconds("RestartSec", 0.1) or 0)
                failed = False
        self._tell(service)
        if failed or service.result == "start-limit-hit":
            for name in " ".join(service.unit.all("OnFailure", "Unit")).split():
                self._follow(service, name)

    def _follow(self, service, name):
        """Starts what is to run once a service has failed for good."""
        other = self.get(name)
        if other is None:
            self._log(f"{service.unit.name}: there is no {name}")
        elif other is not service:
            self._log(f"{service.unit.name}: failed, starting {name}")
            self.start(other)

    def _tell(self, service):
        waiters, service.waiters = service.waiters, []
        for waiter in waiters:
            waiter(service)

    def stop(self, service):
        """Asks a service to end. It is over when `pid` is None."""
        service.wanted, service.restart_at = False, None
        if service.pid is None:
            if service.state != "failed":
                service.state = "inactive"
            return
        service.state = "deactivating"
        for arguments, _ in service.unit.commands("ExecStop"):
            self._run_to_end(service, [argument.replace("$MAINPID", str(service.pid)) for argument in arguments])
        number = getattr(signal, service.unit.one("KillSignal", "SIGTERM"))
        mode = service.unit.one("KillMode", "control-group")
        targets = {service.pid} if mode in ("process", "mixed") else {service.pid, *session_of(service)}
        for pid in targets:
            _kill(pid, number)

    def kill(self, service):
        for pid in {service.pid, *session_of(service)} - {None}:
            _kill(pid, signal.SIGKILL)

    def due(self):
        """Restarts what is to be restarted; seconds until the next, None if none waits."""
        now = time.monotonic()
        for service in list(self.all.values()):
            if service.restart_at is not None and service.restart_at <= now:
                self.start(service)
        waits = [service.restart_at - now for service in self.all.values() if service.restart_at is not None]
        return max(0.0, min(waits)) if waits else None


def _expanded(argument, environment):
    return re.sub(r"\$\{(\w+)\}|^\$(\w+)$", lambda found: environment.get(found.group(1) or found.group(2), ""), argument)


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def session_of(service):
    """Processes below the service, and those of its session that were orphaned."""
    parents, sessions = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)], sessions[int(entry.name)] = int(fields[1]), int(fields[3])
    main = service.session
    found = {pid for pid, session in sessions.items() if main and session == main}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found | ({main} if main else set()) and pid not in found}
        grown = bool(more)
        found |= more
    return found - {1, main}
