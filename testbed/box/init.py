"""The first process of a box: enters its namespaces, boots like cloud-init, serves the shims, powers off.

Run as `python -I -S init.py CONFIG`. Exit status: 16 power-off, 17 reboot, anything else a crash.
"""

import ctypes
import json
import os
import pathlib
import selectors
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from box import root, services, units, user_data  # noqa: E402

POWER_OFF, REBOOT = 16, 17
NEW_MOUNTS, NEW_HOST, NEW_IPC, NEW_PIDS = 0x20000, 0x4000000, 0x8000000, 0x20000000
DEATH_SIGNAL = 1
SOCKET = "/run/box-init"
CLOUD = "/var/lib/cloud/instance"
# As under cloud-init: no HOME, and nothing of the host's.
SCRIPT_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# Seconds that a service has to end before it is killed at power-off, however long its own limit.
STOP_LIMIT = 15.0

_libc = ctypes.CDLL(None, use_errno=True)


def log(text):
    os.write(1, f"[{time.monotonic():.3f}] {text}\n".encode())


class Init:
    def __init__(self, config):
        self._config = config
        self._services = services.Services(log)
        self._selector = selectors.DefaultSelector()
        self._script = None
        self._scripts = []
        self._ending = None
        self._shutdown_at = None

    def run(self):
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end(POWER_OFF))
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(SOCKET)
        listener.listen(64)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake, selectors.EVENT_READ, lambda pipe: os.read(pipe, 4096))
        self._boot()
        while True:
            waits = [wait for wait in (self._services.due(), self._until_shutdown()) if wait is not None]
            for key, _ in self._selector.select(min(waits) if waits else None):
                key.data(key.fileobj)
            self._reap()
            if self._ending is not None:
                self._power_off()

    def _until_shutdown(self):
        if self._shutdown_at is None:
            return None
        left = self._shutdown_at[0] - time.monotonic()
        if left <= 0:
            self._end(self._shutdown_at[1])
            os.kill(1, signal.SIGCHLD)
        return max(0.0, left)

    def _boot(self):
        log(f"boot of {self._config['instance']}")
        for name in units.enabled():
            service = self._services.get(name)
            if service:
                self._services.start(service)
        marker = pathlib.Path(CLOUD, "sem", "config_scripts_user")
        if marker.exists():
            return
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        data = pathlib.Path("/run/box-user-data").read_bytes()
        found, unknown = user_data.scripts(data)
        pathlib.Path(CLOUD, "user-data.txt").write_bytes(data)
        for kind in unknown:
            log(f"user data of a kind that the box does not run: {kind}")
        directory = pathlib.Path(CLOUD, "scripts")
        directory.mkdir(exist_ok=True)
        for number, script in enumerate(found, 1):
            path = directory / f"part-{number:03}"
            path.write_bytes(script)
            path.chmod(0o700)
            self._scripts.append(str(path))
        self._next_script()

    def _next_script(self):
        if not self._scripts:
            log("cloud-init: finished")
            pathlib.Path(CLOUD, "boot-finished").touch()
            return
        path = self._scripts.pop(0)
        reader, writer = os.pipe()
        if os.fork() == 0:
            output = os.open("/var/log/cloud-init-output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            _tee(reader, writer, (output, 1))
        os.close(reader)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                for number in range(1, 65):
                    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                        signal.signal(number, signal.SIG_DFL)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(writer, 1)
                os.dup2(writer, 2)
                os.closerange(3, 256)
                os.chdir("/")
                os.execve(path, [path], SCRIPT_ENVIRONMENT)
            except OSError as error:
                os.write(2, f"{path}: {error}\n".encode())
            finally:
                os._exit(126)
        os.close(writer)
        self._script = pid

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._script:
                code = os.waitstatus_to_exitcode(status)
                log(f"cloud-init: script ended with {code}")
                if code != 0:
                    log("cloud-init: Failed to run module scripts-user")
                self._script = None
                self._next_script()
            else:
                self._services.reaped(pid, status)

    def _accept(self, listener):
        connection, _ = listener.accept()
        request = json.loads(connection.makefile("r").readline())
        answer = self._answer(request, connection)
        if answer is not None:
            _reply(connection, answer)

    def _answer(self, request, connection):
        action, names = request["action"], request.get("names", [])
        if action in ("poweroff", "reboot"):
            how = REBOOT if action == "reboot" else POWER_OFF
            if request.get("delay"):
                self._shutdown_at = (time.monotonic() + request["delay"], how)
            else:
                self._end(how)
            return {"code": 0}
        if action == "cancel":
            self._shutdown_at = None
            return {"code": 0}
        if action == "run":
            unit = units.Unit(request["unit"], request["text"])
            self._services.start(self._services.add(unit))
            return {"code": 0}
        if action == "list":
            return {"code": 0, "services": [service.describe() for service in self._services.all.values()]}
        found = [(name, self._services.get(name)) for name in names]
        missing = [name for name, service in found if service is None]
        if missing:
            return {"code": 5 if action in ("start", "restart") else 4, "error": f"Unit {units.full_name(missing[0])} not found."}
        for _, service in found:
            if action == "restart" and service.pid is not None:
                service.waiters.append(self._services.start)
                self._services.stop(service)
            elif action in ("start", "restart"):
                self._services.start(service)
                if service.unit.kind == "oneshot" and service.pid is not None and not request.get("no_block"):
                    # As with systemd, starting a oneshot service waits for its end.
                    service.waiters.append(lambda ended: _reply(connection, _started(ended)))
                    return None
                if service.state == "failed":
                    return _started(service)
            elif action == "stop":
                self._services.stop(service)
                if service.pid is not None and not request.get("no_block"):
                    service.waiters.append(lambda ended: _reply(connection, {"code": 0}))
                    return None
            elif action == "reset-failed":
                service.state = "inactive" if service.state == "failed" else service.state
                service.restarts.clear()
            elif action == "kill":
                self._services.kill(service)
        return {"code": 0, "services": [service.describe() for _, service in found]}

    def _end(self, how):
        if self._ending is None:
            self._ending = how

    def _power_off(self):
        how = self._ending
        log("power-off" if how == POWER_OFF else "reboot")
        running = [service for service in self._services.all.values() if service.pid is not None]
        deadline = time.monotonic() + STOP_LIMIT
        limits = [service.unit.seconds("TimeoutStopSec", 90.0) or STOP_LIMIT for service in running]
        deadline = min(deadline, time.monotonic() + max(limits, default=0.0))
        for service in self._services.all.values():
            self._services.stop(service)
        while any(service.pid is not None for service in running) and time.monotonic() < deadline:
            for key, _ in self._selector.select(min(0.5, max(0.0, deadline - time.monotonic()))):
                key.data(key.fileobj)
            self._reap()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(-1, number)
            except ProcessLookupError:
                break
            limit = time.monotonic() + (1.0 if number == signal.SIGTERM else 2.0)
            while time.monotonic() < limit and _any_child():
                self._selector.select(0.05)
        os._exit(how)


def _any_child():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    except ChildProcessError:
        return False


def _tee(reader, writer, outputs):
    """Copies a script's output to the console and to cloud-init's log; does not return."""
    os.close(writer)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while chunk := os.read(reader, 65536):
        for output in outputs:
            os.write(output, chunk)
    os._exit(0)


def _started(service):
    failed = service.state == "failed"
    error = f"Job for {service.unit.name} failed because the control process exited with error code." if failed else None
    return {"code": 1 if failed else 0, "error": error}


def _reply(connection, answer):
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        pass
    connection.close()


def main():
    config = json.loads(pathlib.Path(sys.argv[1]).read_text())
    # However the bed ends, its boxes end with it.
    _libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if _libc.unshare(NEW_MOUNTS | NEW_HOST | NEW_IPC | NEW_PIDS) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    pid = os.fork()
    if pid:
        os.write(config["report"], f"{pid}\n".encode())
        os.close(config["report"])
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    _libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    os.close(config["report"])
    try:
        data = pathlib.Path(config["user_data"]).read_bytes()
        socket.sethostname(config["hostname"])
        root.build(config)
        pathlib.Path("/run/box-user-data").write_bytes(data)
        os.umask(0o022)
        Init(config).run()
    except BaseException as error:
        log(f"the box failed: {type(error).__name__}: {error}")
        os._exit(99)


if __name__ == "__main__":
    main()
