"""How machines are described: their members, their filters, their pages."""

import base64
import fnmatch

from .call import AwsError, moment


def described(machine):
    """The machine as DescribeInstances shows it."""
    instance = machine.engine_instance
    gone = machine.state == "terminated"
    spec = machine.spec
    view = {
        "InstanceId": machine.id,
        "ImageId": spec["image"],
        "State": {"Code": instance._state.code, "Name": machine.state},
        "InstanceType": machine.type,
        "LaunchTime": moment(machine.launched),
        "Placement": {"AvailabilityZone": machine.zone, "GroupName": "", "Tenancy": "default"},
        "Architecture": instance.architecture,
        "AmiLaunchIndex": instance.ami_launch_index,
        "ClientToken": instance.client_token or "",
        "EbsOptimized": bool(instance.ebs_optimized),
        "Hypervisor": "xen",
        "Monitoring": {"State": instance.monitoring_state},
        "RootDeviceName": instance.root_device_name,
        "RootDeviceType": "ebs",
        "VirtualizationType": instance.virtualization_type,
        "StateTransitionReason": machine.transition,
        "HibernationOptions": {"Configured": spec["hibernation"]},
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": machine.options.http_tokens,
            "HttpPutResponseHopLimit": machine.options.http_put_response_hop_limit,
            "HttpEndpoint": machine.options.http_endpoint,
            "HttpProtocolIpv6": machine.options.http_protocol_ipv6,
            "InstanceMetadataTags": machine.options.instance_metadata_tags,
        },
        "CpuOptions": {},
        "EnclaveOptions": {"Enabled": False},
        "SourceDestCheck": True,
        "PrivateDnsName": "" if gone else instance.private_dns_name,
        "PublicDnsName": "" if gone else (instance.public_dns_name or ""),
        "SecurityGroups": [] if gone else [{"GroupId": g.id, "GroupName": g.name} for g in instance.security_groups],
        "Tags": [{"Key": key, "Value": value} for key, value in machine.tags.items()],
        "BlockDeviceMappings": [] if gone else [
            {
                "DeviceName": name,
                "Ebs": {
                    "VolumeId": block.volume_id,
                    "DeleteOnTermination": bool(block.delete_on_termination),
                    "Status": "attached",
                    "AttachTime": moment(machine.launched),
                },
            }
            for name, block in instance.get_block_device_mapping
        ],
    }  # fmt: skip
    if instance.key_name:
        view["KeyName"] = instance.key_name
    if not gone:
        view.update(SubnetId=instance.subnet_id, VpcId=instance.vpc_id, PrivateIpAddress=instance.private_ip)
        if instance.public_ip:
            view["PublicIpAddress"] = instance.public_ip
    if machine.profile:
        view["IamInstanceProfile"] = {"Arn": machine.profile, "Id": "AIPA" + machine.id[-16:].upper()}
    if machine.market == "spot":
        view.update(InstanceLifecycle="spot", SpotInstanceRequestId=machine.spot_request)
    if machine.reason:
        view["StateReason"] = {"Code": machine.reason[0], "Message": machine.reason[1]}
    return view


# DescribeInstances' filters: what the machine has to compare with.
FILTERS = {
    "instance-id": lambda m: [m.id],
    "instance-state-name": lambda m: [m.state],
    "instance-state-code": lambda m: [str(m.engine_instance._state.code)],
    "instance-type": lambda m: [m.type],
    "availability-zone": lambda m: [m.zone],
    "image-id": lambda m: [m.spec["image"]],
    "client-token": lambda m: [m.engine_instance.client_token or ""],
    "instance-lifecycle": lambda m: ["spot"] if m.market == "spot" else [],
    "spot-instance-request-id": lambda m: [m.spot_request or ""],
    "subnet-id": lambda m: [m.engine_instance.subnet_id],
    "vpc-id": lambda m: [m.engine_instance.vpc_id],
    "private-ip-address": lambda m: [m.engine_instance.private_ip],
    "private-dns-name": lambda m: [m.engine_instance.private_dns_name],
    "reservation-id": lambda m: [m.reservation],
    "tag-key": lambda m: list(m.tags),
    "tag-value": lambda m: list(m.tags.values()),
    "iam-instance-profile.arn": lambda m: [m.profile or ""],
    "key-name": lambda m: [m.engine_instance.key_name or ""],
    "architecture": lambda m: [m.engine_instance.architecture],
    "instance.group-id": lambda m: [g.id for g in m.engine_instance.security_groups],
    "state-reason-code": lambda m: [m.reason[0]] if m.reason else [],
    "metadata-options.http-tokens": lambda m: [m.options.http_tokens],
}


def passes(machine, filters):
    for wanted in filters or ():
        name, values = wanted.get("Name", ""), wanted.get("Values") or []
        if name.startswith("tag:"):
            mine = [machine.tags[name[4:]]] if name[4:] in machine.tags else []
        elif name in FILTERS:
            mine = FILTERS[name](machine)
        else:
            raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
        if not any(fnmatch.fnmatchcase(have or "", value) for have in mine for value in values):
            return False
    return True


def selected(bed, call, extra=lambda machine: True):
    """(machines of this page, next token), by instance, in launch order."""
    params = call.params
    mine = [m for m in bed.machines.all.values() if (m.account, m.region) == (call.account, call.region)]
    if params.get("InstanceIds"):
        if params.get("MaxResults"):
            raise AwsError(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
        mine = by_ids(bed, call, params["InstanceIds"])
    else:
        mine = [m for m in mine if bed.visibility.sees("instance", m.id)]
    mine = [m for m in mine if passes(m, params.get("Filters")) and extra(m)]
    return page(mine, params, 1000, lambda m: m.order)


def by_ids(bed, call, ids):
    found = []
    for name in ids:
        machine = bed.machines.all.get(name)
        there = machine is not None and (machine.account, machine.region) == (call.account, call.region)
        if not there or not bed.visibility.sees("instance", name):
            kind = "NotFound" if name.startswith("i-") else "Malformed"
            text = f"The instance ID '{name}' does not exist" if kind == "NotFound" else f'Invalid id: "{name}"'
            raise AwsError(f"InvalidInstanceID.{kind}", text)
        if machine not in found:
            found.append(machine)
    return found


def page(items, params, most, order, limit_name="MaxResults", code="InvalidNextToken"):
    """One page of ordered items and the token of the next; a token stays good as items come and go."""
    items = sorted(items, key=order)
    token = params.get("NextToken")
    if token:
        try:
            after = base64.urlsafe_b64decode(token).decode()
            assert after.startswith("after:")
            after = after[6:]
        except Exception as error:
            raise AwsError(code, "The specified token is not valid") from error
        items = [item for item in items if (order(item) > int(after) if after.isdigit() else str(order(item)) > after)]
    limit = min(params.get(limit_name) or most, most)
    more = len(items) > limit
    items = items[:limit]
    return items, base64.urlsafe_b64encode(f"after:{order(items[-1])}".encode()).decode() if more else None
