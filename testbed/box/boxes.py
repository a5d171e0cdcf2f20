"""Boots machines as boxes: one set of namespaces each, with its own metadata service, names and TLS.

A box's listeners are made in its network namespace and served from this process, so nothing of it
is on the host's network and no address of the host's is taken.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading


from front.server import Server, machine_metadata

from .init import POWER_OFF, REBOOT
from .names import Resolver

METADATA, RESOLVER, ENDPOINTS = "169.254.169.254", "169.254.169.253", "169.254.169.252"
NEW_NETWORK = 0x40000000
# Real seconds from the power button to pulling the plug.
GRACE = 20.0
HERE = pathlib.Path(__file__).resolve().parent


class Unavailable(Exception):
    """Boxes cannot be had here: why."""


def check():
    """Raises `Unavailable` where there is no root or there are no namespaces."""
    if os.geteuid() != 0:
        raise Unavailable("boxes need root")
    for program in ("ip", "unshare", "openssl"):
        if not shutil.which(program):
            raise Unavailable(f"boxes need the program {program}")
    probe = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true"], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        raise Unavailable(f"no namespaces: {probe.stderr.strip()}")


class Boxes:
    def __init__(self, bed, authority, respond, expose=()):
        check()
        self.bed = bed
        self.authority = authority
        self.respond = respond
        self.directory = bed.directory / "boxes"
        self.directory.mkdir(exist_ok=True)
        venv = pathlib.Path(sys.prefix)
        self.expose = [str(venv), sys.base_prefix, str(HERE), *(str(pathlib.Path(path).resolve()) for path in expose)]
        self._all = []

    def boot(self, machine):
        """Boots the machine, anew or from its disk. Returns at once."""
        if machine.box is None:
            machine.box = Box(self, machine)
            self._all.append(machine.box)
        machine.box.boot()

    def stop(self):
        for box in self._all:
            box.kill()
        for box in self._all:
            box.wait(10)


class Box:
    def __init__(self, boxes, machine):
        self._boxes = boxes
        self.machine = machine
        self.home = boxes.directory / machine.id
        self.home.mkdir(exist_ok=True)
        self._console = self.home / "console.log"
        self._init_pid = None
        self._down = threading.Event()
        self._down.set()
        self._asked = False
        self.outcome = None

    @property
    def alive(self):
        return not self._down.is_set()

    def state(self):
        return {"alive": self.alive, "init": self._init_pid, "outcome": self.outcome, "home": str(self.home)}

    def console(self):
        return self._console.read_bytes() if self._console.exists() else b""

    def wait(self, seconds):
        return self._down.wait(seconds)

    def boot(self):
        if self.alive:
            return
        self._down.clear()
        self._asked = False
        self.outcome = None
        threading.Thread(target=self._run, name=f"box {self.machine.id}", daemon=True).start()

    def power_off(self):
        """The power button: services are stopped, then the box goes; pulled after the grace."""
        self._asked = True
        if self._signal(signal.SIGTERM):
            threading.Timer(GRACE, self.kill).start()

    def reboot(self):
        """A restart from outside, like a power cycle."""
        self._asked = True
        box = self

        def again():
            box.kill()
            box.wait(10)
            box.boot()

        threading.Thread(target=again, daemon=True).start()

    def kill(self):
        """Everything in the box ends at once."""
        self._asked = True
        self._signal(signal.SIGKILL)

    def _signal(self, number):
        pid = self._init_pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _run(self):
        """The thread of one boot. It lives in the box's network namespace until the box is gone."""
        try:
            code = self._boot_and_wait()
        except Exception as error:
            self._boxes.bed.errors.append(f"box {self.machine.id}: {type(error).__name__}: {error}")
            code = None
        self._init_pid = None
        self.outcome = {POWER_OFF: "power-off", REBOOT: "reboot"}.get(code, f"ended with {code}")
        self._down.set()
        if code == REBOOT:
            self.boot()
        elif not self._asked:
            bed = self._boxes.bed
            with bed.lock:
                if code == POWER_OFF:
                    bed.machines.powered_off(self.machine)
                else:
                    bed.machines.crash(self.machine)

    def _boot_and_wait(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), "unshare of the network")
        instance = self.machine.engine_instance
        commands = ["link set lo up", *(f"addr add {address}/32 dev lo" for address in (METADATA, RESOLVER, ENDPOINTS, instance.private_ip))]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, capture_output=True)
        bed, respond = self._boxes.bed, self._boxes.respond
        servers = [
            Server(_listen(METADATA, 80), machine_metadata(bed, self.machine)).start(),
            Server(_listen(ENDPOINTS, 443), respond, self._boxes.authority.listener_context()).start(),
            Server(_listen(ENDPOINTS, 80), respond).start(),
        ]
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((RESOLVER, 53))
        resolver = Resolver(
            names, ENDPOINTS, {"localhost": "127.0.0.1", "instance-data.ec2.internal": METADATA, instance.private_dns_name: instance.private_ip}
        )
        reader, writer = os.pipe()
        try:
            (self.home / "user-data").write_bytes(self.machine.user_data)
            (self.home / "config.json").write_text(json.dumps(self._config(writer)))
            with open(self._console, "ab") as console:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(HERE / "init.py"), str(self.home / "config.json")],
                    stdin=subprocess.DEVNULL, stdout=console, stderr=console, pass_fds=[writer], cwd="/",
                    env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}, start_new_session=True,
                )  # fmt: skip
            os.close(writer)
            writer = None
            with os.fdopen(reader) as report:
                reader = None
                line = report.readline().strip()
            self._init_pid = int(line) if line else None
            if self._asked:
                self._signal(signal.SIGKILL)
            return process.wait()
        finally:
            for end in (reader, writer):
                if end is not None:
                    os.close(end)
            for server in servers:
                server.stop()
            resolver.close()

    def _config(self, report):
        instance = self.machine.engine_instance
        name = _image_name(self.machine)
        return {
            "instance": self.machine.id,
            "home": str(self.home),
            "hostname": instance.private_dns_name.partition(".")[0],
            "dns_name": instance.private_dns_name,
            "address": instance.private_ip,
            "resolver": RESOLVER,
            "authority": str(self._boxes.authority.path),
            "user_data": str(self.home / "user-data"),
            "family": "ubuntu" if "ubuntu" in name else "al2023",
            "expose": self._boxes.expose,
            "tools": {"venv": sys.prefix, "box": str(HERE)},
            "report": report,
        }


def _image_name(machine):
    image = machine.engine_instance.ec2_backend.amis.get(machine.spec["image"])
    return image.name if image else ""


def _listen(address, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    return listener



