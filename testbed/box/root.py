"""The root view of a box: the host's root under a private layer, with what is not an instance's hidden."""

import ctypes
import os
import pathlib
import shutil
import subprocess

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)

# What an image has in its root; everything else there is the host's own.
IMAGE = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "tmp", "usr", "var"}
# Programs of the host that the image does not come with; its package manager brings them back.
NOT_INSTALLED = {"al2023": ("jq",), "ubuntu": ("jq", "aws")}
STORE = "usr/lib/box-packages"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")


def mount(source, target, kind, flags=0, data=""):
    result = _libc.mount(
        str(source).encode(), str(target).encode(), kind.encode() if kind else None, ctypes.c_ulong(flags),
        data.encode() if data else None,
    )  # fmt: skip
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target} ({kind}): {os.strerror(number)}")


def bind(source, target, read_only=False, deep=True):
    mount(source, target, None, MS_BIND | (MS_REC if deep else 0))
    if read_only:
        mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _hidden(kept):
    """Directories of the host that no image has."""
    found = [f"/{name}" for name in sorted(os.listdir("/")) if name not in IMAGE]
    if "/usr/local" not in kept:
        found.append("/usr/local")
    return [path for path in found if os.path.isdir(path) and not os.path.islink(path)]


def build(config):
    """Mounts the view and moves into it. The caller is in new mount and PID namespaces."""
    home = pathlib.Path(config["home"])
    root = home / "root"
    first = not (home / "upper").exists()
    for name in ("root", "upper", "work", "tmp", "var-tmp"):
        (home / name).mkdir(exist_ok=True)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("overlay", root, "overlay", 0, f"lowerdir=/,upperdir={home}/upper,workdir={home}/work")
    kept = [path for path in config["expose"] if os.path.exists(path)]
    hidden = _hidden(kept)
    for path in hidden:
        if path == "/run":
            mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=755")
        else:
            # Empty at first, and part of the machine's disk: it outlives a stop.
            own = home / "own" / path[1:]
            own.mkdir(parents=True, exist_ok=True)
            own.chmod(0o755)
            bind(own, root / path[1:])
    for name in ("bin", "sbin", "lib") if "/usr/local" in hidden else ():
        (root / "usr/local" / name).mkdir(exist_ok=True)
    mount("proc", root / "proc", "proc")
    for path in ("sys", "sysrq-trigger"):
        if (root / "proc" / path).exists():
            bind(root / "proc" / path, root / "proc" / path, read_only=True)
    # Not what is mounted below it: the host's control groups are no business of a box.
    bind("/sys", root / "sys", read_only=True, deep=False)
    _devices(root)
    if config["family"] == "al2023":
        mount("tmpfs", root / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=512m,mode=1777")
    else:
        bind(home / "tmp", root / "tmp")
        os.chmod(root / "tmp", 0o1777)
    bind(home / "var-tmp", root / "var/tmp")
    os.chmod(root / "var/tmp", 0o1777)
    for path in kept:
        if not any(path.startswith(f"{above}/") for above in (*hidden, "/tmp", "/var/tmp")):
            continue
        target = root / path[1:]
        if os.path.isdir(path):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        bind(path, target, read_only=True)
    if first:
        _furnish(root, config)
    os.chdir(root)
    (root / "run/old").mkdir(parents=True)
    if _libc.pivot_root(b".", b"run/old") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    if _libc.umount2(b"/run/old", MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount of the old root")
    os.rmdir("/run/old")


def _devices(root):
    dev = root / "dev"
    mount("tmpfs", dev, "tmpfs", MS_NOSUID, "size=1m,mode=755")
    for name in DEVICES:
        (dev / name).touch()
        bind(f"/dev/{name}", dev / name)
    (dev / "shm").mkdir()
    mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")):
        (dev / name).symlink_to(target)


def _write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_text(text)
    path.chmod(mode)


def _furnish(root, config):
    """What differs from the host's files, once, before the first boot."""
    name = config["hostname"]
    _write(root / "etc/hostname", name + "\n")
    _write(root / "etc/hosts", f"127.0.0.1 localhost\n{config['address']} {config['dns_name']} {name}\n")
    _write(root / "etc/resolv.conf", f"nameserver {config['resolver']}\nsearch ec2.internal\noptions timeout:1 attempts:2\n")
    _write(root / "etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n")
    release = {
        "al2023": 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\nPLATFORM_ID="platform:al2023"\nPRETTY_NAME="Amazon Linux 2023"\n',
        "ubuntu": 'NAME="Ubuntu"\nVERSION="24.04 LTS (Noble Numbat)"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nPRETTY_NAME="Ubuntu 24.04 LTS"\n',
    }[config["family"]]
    _write(root / "etc/os-release", release)
    authority = pathlib.Path(config["authority"]).read_text()
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    _write(bundle, (bundle.read_text() if bundle.exists() else "") + authority)
    _write(root / "etc/pki/tls/certs/ca-bundle.crt", bundle.read_text())
    _write(root / "etc/ssl/certs/box-authority.pem", authority)
    digest = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", config["authority"]], capture_output=True, text=True, check=False
    ).stdout.strip()
    if digest and not (root / f"etc/ssl/certs/{digest}.0").exists():
        (root / f"etc/ssl/certs/{digest}.0").symlink_to("box-authority.pem")
    shutil.rmtree(root / "etc/systemd/system", ignore_errors=True)
    (root / "etc/systemd/system").mkdir(parents=True)
    _programs(root, config)


# Where a box finds what the bed's stand-ins run. Not where that lies outside: a checkout may be below
# `/tmp`, which machines and their tasks have to themselves.
TOOLS = "/usr/lib/box"


def _programs(root, config):
    for name, path in config["tools"].items():
        place = root / TOOLS[1:] / name
        place.mkdir(parents=True, exist_ok=True)
        bind(path, place, read_only=True)
    python = f"{TOOLS}/venv/bin/python"
    # `aws` comes from the bed's own packages, trusts the machine's roots, and adds nothing else.
    trust = "AWS_CA_BUNDLE=${AWS_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}"
    aws = f"#!/bin/sh\n{trust} exec {python} {TOOLS}/venv/bin/aws \"$@\"\n"
    _write(root / "usr/bin/aws", aws, 0o755)
    manager = {"al2023": ("dnf", "yum"), "ubuntu": ("apt-get", "apt")}[config["family"]]
    for name in ("dnf", "yum", "apt-get", "apt", "rpm", "dpkg"):
        for directory in PROGRAMS:
            path = root / directory[1:] / name
            if name not in manager and (path.exists() or path.is_symlink()):
                path.unlink()
    shim = f"#!/bin/sh\nexec {python} -I -S {TOOLS}/box/shims.py \"$(basename \"$0\")\" \"$@\"\n"
    for name in ("systemctl", "systemd-run", "journalctl", "shutdown", "poweroff", "halt", "reboot", *manager):
        for directory in ("/usr/sbin", "/usr/local/bin", "/usr/local/sbin"):
            if (root / directory[1:] / name).is_symlink() or (root / directory[1:] / name).exists():
                (root / directory[1:] / name).unlink()
        _write(root / "usr/bin" / name, shim, 0o755)
        (root / "usr/sbin" / name).symlink_to(f"../bin/{name}")
    (root / STORE).mkdir(parents=True, exist_ok=True)
    for name in NOT_INSTALLED[config["family"]]:
        for directory in PROGRAMS:
            path = root / directory[1:] / name
            if path.exists() or path.is_symlink():
                shutil.move(path.resolve() if not path.is_symlink() else path, root / STORE / name)
