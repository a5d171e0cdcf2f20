"""The instance metadata service, version 2, of one machine."""

import datetime
import json
import secrets
import time

from moto.iam.models import iam_backends

from .call import moment

CREDENTIALS_LIFE = 6 * 3600


class Answer:
    def __init__(self, status, body="", kind="text/plain", headers=()):
        self.status, self.kind, self.headers = status, kind, list(headers)
        self.body = body if isinstance(body, bytes) else body.encode()


class Metadata:
    def __init__(self, bed):
        self._bed = bed
        self._tokens = {}
        self._credentials = {}

    def answer(self, machine, method, path, headers):
        """`headers` has lower-case names. Returns None while the service is out: no answer at all."""
        if machine.metadata_down or machine.options.http_endpoint == "disabled":
            return None
        path = path.partition("?")[0]
        if method == "PUT" and path == "/latest/api/token":
            life = headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            if not life.isdigit() or not 1 <= int(life) <= 21600:
                return Answer(400, "Bad Request")
            if headers.get("x-forwarded-for"):
                return Answer(403, "Forbidden")
            token = secrets.token_urlsafe(40)
            self._tokens[token] = (machine.id, time.monotonic() + int(life))
            return Answer(200, token, headers=[("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", life)])
        if method not in ("GET", "HEAD"):
            return Answer(405, "Method Not Allowed")
        token = headers.get("x-aws-ec2-metadata-token")
        owner, until = self._tokens.get(token, (None, 0))
        if token is None and machine.options.http_tokens == "required" or token is not None and (owner != machine.id or until < time.monotonic()):
            return Answer(401, "Unauthorized")
        return self._read(machine, path)

    def _read(self, machine, path):
        parts = [part for part in path.split("/") if part]
        if not parts or parts[0] not in ("latest", "2021-07-15", "2022-09-24", "2023-05-26", "1.0"):
            return Answer(404, "Not Found") if parts else Answer(200, "1.0\nlatest")
        if len(parts) == 1:
            return Answer(200, "dynamic\nmeta-data\nuser-data")
        if parts[1] == "user-data":
            return Answer(200, machine.user_data, "application/octet-stream") if machine.user_data else Answer(404, "Not Found")
        if parts[1] == "dynamic":
            if parts[2:] == ["instance-identity", "document"]:
                return Answer(200, json.dumps(self._document(machine), indent=1))
            return Answer(404, "Not Found")
        if parts[1] != "meta-data":
            return Answer(404, "Not Found")
        node = self._tree(machine)
        for part in parts[2:]:
            node = node.get(part) if isinstance(node, dict) else None
            if callable(node):
                node = node()
            if node is None:
                return Answer(404, "Not Found")
        if isinstance(node, dict):
            return Answer(200, "\n".join(name + ("/" if isinstance(value, dict) else "") for name, value in node.items()))
        return Answer(200, node)

    def _document(self, machine):
        return {
            "accountId": machine.account, "architecture": machine.engine_instance.architecture, "availabilityZone": machine.zone,
            "imageId": machine.spec["image"], "instanceId": machine.id, "instanceType": machine.type,
            "pendingTime": f"{moment(machine.launched):%Y-%m-%dT%H:%M:%SZ}", "privateIp": machine.engine_instance.private_ip,
            "region": machine.region, "version": "2017-09-30",
        }  # fmt: skip

    def _tree(self, machine):
        instance = machine.engine_instance
        tree = {
            "ami-id": machine.spec["image"],
            "ami-launch-index": str(instance.ami_launch_index),
            "hostname": instance.private_dns_name,
            "instance-action": "none",
            "instance-id": machine.id,
            "instance-life-cycle": machine.market,
            "instance-type": machine.type,
            "local-hostname": instance.private_dns_name,
            "local-ipv4": instance.private_ip,
            "mac": "02:00:00:00:00:01",
            "placement": {
                "availability-zone": machine.zone,
                "availability-zone-id": f"{_zone_prefix(machine.region)}-az{ord(machine.zone[-1]) - ord('a') + 1}",
                "region": machine.region,
            },
            "reservation-id": machine.reservation,
            "security-groups": "\n".join(group.name for group in instance.security_groups),
            "services": {"domain": "amazonaws.com", "partition": "aws"},
        }
        if machine.profile:
            role = self._role(machine)
            tree["iam"] = {
                "info": json.dumps({"Code": "Success", "LastUpdated": _now(), "InstanceProfileArn": machine.profile, "InstanceProfileId": "AIPABED"}),
                "security-credentials": {role.name: lambda: self._key(machine, role)} if role else {},
            }
        if machine.options.instance_metadata_tags == "enabled":
            tree["tags"] = {"instance": machine.tags}
        if machine.market == "spot":
            tree["spot"] = {}
            if machine.spot_action:
                stamp = f"{moment(machine.spot_action['time']):%Y-%m-%dT%H:%M:%SZ}"
                tree["spot"]["instance-action"] = json.dumps({"action": machine.spot_action["action"], "time": stamp})
                if machine.spot_action["action"] == "terminate":
                    tree["spot"]["termination-time"] = stamp
        if machine.rebalance:
            tree["events"] = {"recommendations": {"rebalance": json.dumps({"noticeTime": f"{moment(machine.rebalance):%Y-%m-%dT%H:%M:%SZ}"})}}
        if machine.group:
            state = "Terminated" if machine.state != "running" else "InService"
            tree["autoscaling"] = {"target-lifecycle-state": state}
        return tree

    @staticmethod
    def _role(machine):
        for profile in iam_backends[machine.account]["aws"].instance_profiles.values():
            if profile.arn == machine.profile and profile.roles:
                return profile.roles[0]
        return None

    def _key(self, machine, role):
        """Role credentials that the engine knows, so that enforcement applies to them."""
        kept = self._credentials.get(machine.id)
        if kept is None or kept[0] < time.time() + 300:
            assumed = self._bed.engine.sts(machine.account).assume_role(
                region_name=machine.region, role_session_name=machine.id, role_arn=role.arn, policy=None,
                duration=CREDENTIALS_LIFE, external_id=None,
            )  # fmt: skip
            expiry = time.time() + CREDENTIALS_LIFE
            stamp = datetime.datetime.fromtimestamp(expiry, datetime.timezone.utc)
            kept = self._credentials[machine.id] = (expiry, json.dumps({
                "Code": "Success", "LastUpdated": _now(), "Type": "AWS-HMAC", "AccessKeyId": assumed.access_key_id,
                "SecretAccessKey": assumed.secret_access_key, "Token": assumed.session_token,
                "Expiration": f"{stamp:%Y-%m-%dT%H:%M:%SZ}",
            }, indent=2))  # fmt: skip
        return kept[1]


def _now():
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _zone_prefix(region):
    parts = region.split("-")
    return f"{parts[0]}{parts[1][0]}{parts[2]}"
