"""The system commands of a box: `systemctl` and its kin, `shutdown`, and the package managers.

Run as `shims.py NAME ARGUMENTS`; talks to the box's init.
"""

import json
import os
import pathlib
import shlex
import shutil
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from box import units  # noqa: E402
from box.root import STORE  # noqa: E402
from box.services import JOURNAL  # noqa: E402

# Package names that are not the name of their program.
PROGRAM_OF = {"awscli": "aws", "aws-cli": "aws", "awscli-2": "aws", "python3-minimal": "python3", "curl-minimal": "curl", "util-linux": "unshare"}


def ask(**request):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect("/run/box-init")
    connection.sendall(json.dumps(request).encode() + b"\n")
    line = connection.makefile("r").readline()
    return json.loads(line) if line else {"code": 1, "error": "the box is going down"}


def fail(text, code=1):
    print(text, file=sys.stderr)
    sys.exit(code)


def done(answer):
    if answer.get("error"):
        fail(answer["error"], answer["code"])
    sys.exit(answer["code"])


def systemctl(arguments):
    flags = [argument for argument in arguments if argument.startswith("-")]
    words = [argument for argument in arguments if not argument.startswith("-")]
    if "-p" in arguments:
        words.remove(arguments[arguments.index("-p") + 1])
    verb, names = (words or ["list-units"])[0], words[1:]
    now, no_block = "--now" in flags, "--no-block" in flags
    if verb in ("poweroff", "halt", "reboot"):
        done(ask(action="reboot" if verb == "reboot" else "poweroff"))
    if verb in ("daemon-reload", "daemon-reexec"):
        sys.exit(0)
    if verb in ("start", "stop", "restart", "reset-failed", "kill"):
        done(ask(action=verb, names=names, no_block=no_block))
    if verb in ("try-restart", "reload-or-restart", "reload"):
        done(ask(action="restart", names=names, no_block=no_block))
    if verb in ("enable", "disable", "mask", "unmask"):
        enable(verb, names)
        if now:
            done(ask(action="start" if verb == "enable" else "stop", names=names, no_block=no_block))
        sys.exit(0)
    if verb == "is-enabled":
        have = units.enabled()
        states = ["enabled" if units.full_name(name) in have else "disabled" for name in names]
        print("\n".join(states))
        sys.exit(0 if "enabled" in states else 1)
    if verb == "list-units":
        for service in ask(action="list")["services"]:
            print(service["name"], "loaded", service["state"])
        sys.exit(0)
    answer = ask(action="show", names=names)
    services = answer.get("services", [])
    if verb in ("is-active", "is-failed"):
        states = [service["state"] for service in services] or ["inactive"]
        if "--quiet" not in flags and "-q" not in flags:
            print("\n".join(states))
        sys.exit(0 if any(state == verb[3:] for state in states) else 3 if verb == "is-active" else 1)
    if verb == "show":
        for service in services:
            print(f"Id={service['name']}\nActiveState={service['state']}\nMainPID={service['pid'] or 0}\nResult={service['result']}\nNRestarts={service['restarts']}")
        sys.exit(0)
    if verb == "status":
        if answer.get("error"):
            fail(answer["error"], 4)
        for service in services:
            print(f"* {service['name']}\n     Active: {service['state']}\n   Main PID: {service['pid'] or '-'}")
        sys.exit(0 if all(service["state"] == "active" for service in services) else 3)
    fail(f"systemctl of the box has no verb {verb}", 64)


def enable(verb, names):
    pathlib.Path(units.WANTS).mkdir(parents=True, exist_ok=True)
    for name in names:
        name = units.full_name(name)
        link = pathlib.Path(units.WANTS, name)
        if verb != "enable":
            link.unlink(missing_ok=True)
            continue
        if units.load(name) is None:
            fail(f"Failed to enable unit: Unit file {name} does not exist.")
        if not link.is_symlink():
            link.symlink_to(f"/etc/systemd/system/{name}")
            print(f"Created symlink {link} -> /etc/systemd/system/{name}.", file=sys.stderr)


def systemd_run(arguments):
    name, properties, environment = f"run-{os.getpid()}", [], []
    while arguments and arguments[0].startswith("-"):
        flag = arguments.pop(0)
        key, joined, value = flag.partition("=")
        if key in ("--unit", "-u", "-p", "--property", "-E", "--setenv", "--description", "--slice"):
            value = value if joined else arguments.pop(0)
        if key in ("--unit", "-u"):
            name = value
        elif key in ("-p", "--property"):
            properties.append(value)
        elif key in ("-E", "--setenv"):
            environment.append(value)
        elif key in ("--scope", "--wait", "--pty", "-t", "--pipe", "-P", "--on-active", "--user"):
            fail(f"systemd-run of the box has no {key}", 64)
        elif flag == "--":
            break
    command = shlex.join([shutil.which(arguments[0]) or arguments[0], *arguments[1:]]).replace("%", "%%")
    lines = ["[Service]", *properties, *(f"Environment={shlex.quote(pair)}" for pair in environment), f"ExecStart={command}"]
    name = units.full_name(name)
    answer = ask(action="run", unit=name, text="\n".join(lines))
    print(f"Running as unit: {name}", file=sys.stderr)
    done(answer)


def journalctl(arguments):
    names = [arguments[index + 1] for index, word in enumerate(arguments[:-1]) if word in ("-u", "--unit")]
    names += [word.partition("=")[2] for word in arguments if word.startswith("--unit=")]
    paths = [pathlib.Path(JOURNAL, units.full_name(name) + ".log") for name in names] or sorted(pathlib.Path(JOURNAL).glob("*.log"))
    for path in paths:
        if path.exists():
            sys.stdout.write(path.read_text(errors="replace"))
    sys.exit(0)


def shutdown(arguments):
    if "-c" in arguments:
        done(ask(action="cancel"))
    action = "reboot" if "-r" in arguments or "--reboot" in arguments else "poweroff"
    times = [word for word in arguments if not word.startswith("-")]
    when = times[0] if times else "+1"
    if when == "now":
        delay = 0
    elif when.lstrip("+").isdigit():
        delay = 60 * int(when.lstrip("+"))
    else:
        fail(f"shutdown of the box has no time {when}", 64)
    done(ask(action=action, delay=delay))


def packages(manager, arguments):
    words = [word for word in arguments if not word.startswith("-")]
    # The value of `-o NAME=VALUE` is a word of its own.
    values = [value for flag, value in zip(arguments, arguments[1:]) if flag == "-o"]
    words = [word for word in words if word not in values]
    verb, names = (words or [""])[0], words[1:]
    if verb in ("update", "upgrade", "makecache", "clean", "check-update"):
        sys.exit(0)
    if verb not in ("install", "reinstall"):
        fail(f"{manager} of the box has no verb {verb}", 64)
    if "-y" not in arguments and "--assumeyes" not in arguments and "-qy" not in arguments and "-yq" not in arguments and "-qqy" not in arguments and "-yqq" not in arguments:
        fail("Operation aborted: no -y and no terminal")
    for name in names:
        program = PROGRAM_OF.get(name, name)
        stored = pathlib.Path("/", STORE, program)
        if stored.exists() or stored.is_symlink():
            shutil.move(stored, f"/usr/bin/{program}")
        elif not shutil.which(program):
            fail(f"Unable to find a match: {name}" if manager in ("dnf", "yum") else f"E: Unable to locate package {name}", 1 if manager in ("dnf", "yum") else 100)
        print(f"installed: {name}")
    sys.exit(0)


def main():
    name, arguments = sys.argv[1], sys.argv[2:]
    if name == "systemctl":
        systemctl(arguments)
    elif name == "systemd-run":
        systemd_run(arguments)
    elif name == "journalctl":
        journalctl(arguments)
    elif name == "shutdown":
        shutdown(arguments)
    elif name in ("poweroff", "halt", "reboot"):
        done(ask(action="reboot" if name == "reboot" else "poweroff"))
    else:
        packages(name, arguments)


if __name__ == "__main__":
    main()
