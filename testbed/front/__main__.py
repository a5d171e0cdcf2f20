"""Runs a bed until it is told to stop: `python -m front --dir DIR`."""

import argparse
import json
import os
import pathlib
import select
import signal
import sys
import threading

from moto.iam.models import iam_backends

from .bed import Bed
from .control import Control
from .dynamodb import OtherDynamoDb
from .engine import ACCOUNT
from .server import Server, loopback, responder
from .tls import Authority

ADMINISTRATOR = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def administrator():
    """The account's user whose keys `env.sh` holds; it stays able under enforcement."""
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_user(region_name="us-east-1", user_name="administrator")
    iam.put_user_policy("administrator", "all", json.dumps(ADMINISTRATOR))
    key = iam.create_access_key("administrator")
    return key.access_key_id, key.secret_access_key


def ends_with(pid, stopped):
    """Stops the bed when the process of its user is gone, however it went."""
    try:
        select.select([os.pidfd_open(pid)], [], [])
    except ProcessLookupError:
        pass
    stopped.set()


def main():
    parser = argparse.ArgumentParser(prog="testbed/bed start")
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--boxes", action="store_true")
    parser.add_argument("--expose", action="append", default=[], metavar="PATH")
    parser.add_argument("--throttle", action="store_true")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--dynamodb-program", metavar="PATH")
    parser.add_argument("--until", type=int, metavar="PID", help="end when this process has ended")
    parser.add_argument("--region", default="us-east-1")
    options = parser.parse_args()
    directory = options.dir.resolve()
    directory.mkdir(parents=True, exist_ok=True)

    bed = Bed(directory, options.speed, options.throttle)
    authority = Authority(directory)
    if options.dynamodb_program:
        bed.dynamodb = OtherDynamoDb(options.dynamodb_program, directory / "dynamodb")
    control = Control(bed)
    plain = Server(loopback(), responder(bed, control, False)).start()
    secure = Server(loopback(), responder(bed, control, True), authority.listener_context()).start()
    if options.boxes:
        from box.boxes import Boxes

        bed.boxes = Boxes(bed, authority, responder(bed, control, True), options.expose)
    key, secret = administrator()
    url = f"http://127.0.0.1:{plain.address[1]}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": options.region,
        "AWS_REGION": options.region,
        "AWS_CA_BUNDLE": str(authority.path),
        "AWS_EC2_METADATA_DISABLED": "true",
        "BED_URL": url,
        "BED_HTTPS_URL": f"https://127.0.0.1:{secure.address[1]}",
    }
    (directory / "env.json").write_text(json.dumps(environment, indent=1) + "\n")
    lines = [f"export {name}='{value}'" for name, value in environment.items()]
    (directory / "env.sh").write_text("\n".join([*lines, "unset AWS_PROFILE AWS_SESSION_TOKEN"]) + "\n")
    (directory / "pid").write_text(f"{os.getpid()}\n")
    print(url, flush=True)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if options.until:
        threading.Thread(target=ends_with, args=(options.until, stopped), daemon=True).start()
    stopped.wait()
    bed.shutdown()
    plain.stop()
    secure.stop()
    (directory / "pid").unlink(missing_ok=True)
    if bed.errors:
        print("errors of the bed itself:", *bed.errors, sep="\n  ", file=sys.stderr)
        os._exit(3)
    os._exit(0)


if __name__ == "__main__":
    main()
