"""The Auto Scaling operations. What is not here is refused loudly, never half done."""

import datetime

from . import group_pools, instance_view
from .call import AwsError, moment
from .groups import PROCESSES, Group


def _group(bed, call):
    return bed.groups.find(call.account, call.region, call.params["AutoScalingGroupName"])


SETTINGS = ("DefaultCooldown", "HealthCheckType", "HealthCheckGracePeriod", "TerminationPolicies", "CapacityRebalance",
            "MaxInstanceLifetime", "DefaultInstanceWarmup", "DesiredCapacityType", "ServiceLinkedRoleARN", "Context")  # fmt: skip
DEFAULTS = {"DefaultCooldown": 300, "HealthCheckType": "EC2", "HealthCheckGracePeriod": 0, "TerminationPolicies": ["Default"]}


def _places(bed, call, group):
    backend = bed.engine.ec2(call.account, call.region)
    zones, subnets = call.params.get("AvailabilityZones"), call.params.get("VPCZoneIdentifier")
    if subnets:
        known = [subnet for zone in backend.subnets.values() for subnet in zone.values()]
        by_id = {subnet.id: subnet for subnet in known}
        group.subnets = [name.strip() for name in subnets.split(",")]
        missing = [name for name in group.subnets if name not in by_id]
        if missing:
            raise AwsError("ValidationError", f"The subnet ID '{missing[0]}' does not exist")
        group.zones = list(dict.fromkeys(by_id[name].availability_zone for name in group.subnets))
    elif zones:
        wrong = [zone for zone in zones if zone not in backend.get_default_subnets()]
        if wrong:
            raise AwsError("ValidationError", f"One or more unsupported availability zones: {wrong}")
        group.zones, group.subnets = list(zones), []


def _launch_source(bed, call, group):
    params = call.params
    sources = [name for name in ("LaunchTemplate", "MixedInstancesPolicy", "LaunchConfigurationName", "InstanceId") if params.get(name)]
    if len(sources) > 1:
        raise AwsError("ValidationError", f"Valid requests must contain only one of {', '.join(sources)}")
    if params.get("LaunchTemplate"):
        template = group_pools.check_template(bed, call.account, call.region, params["LaunchTemplate"])
        group.template = _both_names(template, params["LaunchTemplate"])
        group.mixed = None
    elif params.get("MixedInstancesPolicy"):
        mixed = params["MixedInstancesPolicy"]
        reference = (mixed.get("LaunchTemplate") or {}).get("LaunchTemplateSpecification")
        if not reference:
            raise AwsError("ValidationError", "A mixed instances policy needs a launch template specification")
        template = group_pools.check_template(bed, call.account, call.region, reference)
        spread = {"OnDemandAllocationStrategy": "prioritized", "OnDemandBaseCapacity": 0, "OnDemandPercentageAboveBaseCapacity": 100, "SpotAllocationStrategy": "lowest-price"}
        spread.update(mixed.get("InstancesDistribution") or {})
        group.mixed = {
            "LaunchTemplate": {**mixed["LaunchTemplate"], "LaunchTemplateSpecification": _both_names(template, reference)},
            "InstancesDistribution": spread,
        }
        for override in mixed["LaunchTemplate"].get("Overrides") or []:
            if override.get("InstanceRequirements") or override.get("WeightedCapacity"):
                raise AwsError("NotImplementedByBed", "The test bed knows no InstanceRequirements and no WeightedCapacity", 501)
        group.template = None
    elif sources:
        raise AwsError("NotImplementedByBed", f"The test bed launches from templates only, not from {sources[0]}", 501)


def _both_names(template, reference):
    kept = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name}
    if reference.get("Version"):
        kept["Version"] = reference["Version"]
    return kept


def create(bed, call):
    params = call.params
    name = params["AutoScalingGroupName"]
    key = (call.account, call.region, name)
    if key in bed.groups.all:
        raise AwsError("AlreadyExists", f"AutoScalingGroup by this name already exists - A group with the name {name} already exists")
    group = Group(call.account, call.region, name, bed.clock.now())
    _places(bed, call, group)
    if not group.zones:
        raise AwsError("ValidationError", "At least one Availability Zone or VPC Subnet is required.")
    _launch_source(bed, call, group)
    if not group.template and not group.mixed:
        raise AwsError("ValidationError", "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or MixedInstancesPolicy parameter.")
    group.settings = {**DEFAULTS, **{name: params[name] for name in SETTINGS if name in params}}
    group.protect_new = bool(params.get("NewInstancesProtectedFromScaleIn"))
    for tag in params.get("Tags") or []:
        _tag(group, tag)
    group.desired = params["MinSize"]
    bed.groups.resize(group, params["MinSize"], params["MaxSize"], params.get("DesiredCapacity"))
    bed.groups.all[key] = group
    bed.visibility.created("group", name)
    return {}


def update(bed, call):
    group = _group(bed, call)
    _places(bed, call, group)
    _launch_source(bed, call, group)
    group.settings.update({name: call.params[name] for name in SETTINGS if name in call.params})
    if "NewInstancesProtectedFromScaleIn" in call.params:
        group.protect_new = call.params["NewInstancesProtectedFromScaleIn"]
    bed.groups.resize(group, *(call.params.get(name) for name in ("MinSize", "MaxSize", "DesiredCapacity")))
    return {}


def delete(bed, call):
    bed.groups.delete(_group(bed, call), call.params.get("ForceDelete", False))
    return {}


def set_desired(bed, call):
    group = _group(bed, call)
    wanted = call.params["DesiredCapacity"]
    if wanted > group.max:
        raise AwsError("ValidationError", f"New SetDesiredCapacity value {wanted} is above max value {group.max} for the AutoScalingGroup.")
    if wanted < group.min:
        raise AwsError("ValidationError", f"New SetDesiredCapacity value {wanted} is below min value {group.min} for the AutoScalingGroup.")
    bed.groups.resize(group, desired=wanted)
    return {}


def terminate(bed, call):
    group, member = bed.groups.of_machine(call.account, call.region, call.params["InstanceId"])
    shrink = call.params["ShouldDecrementDesiredCapacity"]
    if member.state == "Terminating":
        return {"Activity": member.activity}
    if shrink:
        if group.desired <= group.min:
            raise AwsError(
                "ValidationError", f"Currently, desiredSize equals minSize ({group.min}). Terminating instance without replacement "
                "will violate group's min size constraint. Either set shouldDecrement flag to false or lower group's min size.",
            )  # fmt: skip
        group.desired -= 1
    activity = bed.groups.end(group, member, "instance was taken out of service in response to a user request.")
    bed.groups.wake(group)
    return {"Activity": activity}


def _instance(group, member):
    machine = member.machine
    view = {
        "InstanceId": machine.id,
        "InstanceType": machine.type,
        "AvailabilityZone": machine.zone,
        "LifecycleState": member.state,
        "HealthStatus": member.health,
        "ProtectedFromScaleIn": member.protected,
    }
    template = machine.spec.get("template")
    if template:
        reference = group_pools.specification(group)
        view["LaunchTemplate"] = {
            "LaunchTemplateId": template["aws:ec2launchtemplate:id"],
            "LaunchTemplateName": reference.get("LaunchTemplateName"),
            "Version": template["aws:ec2launchtemplate:version"],
        }
    return view


def _view(bed, group):
    members = [member for member in group.members.values() if bed.visibility.sees("group-member", member.machine.id)]
    return {
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "LaunchTemplate": group.template,
        "MixedInstancesPolicy": group.mixed,
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "AvailabilityZones": group.zones,
        "VPCZoneIdentifier": ",".join(group.subnets) or None,
        "LoadBalancerNames": [],
        "TargetGroupARNs": [],
        "Instances": [_instance(group, member) for member in members],
        "CreatedTime": moment(group.created),
        "SuspendedProcesses": [{"ProcessName": name, "SuspensionReason": why} for name, why in group.suspended.items()],
        "EnabledMetrics": [],
        "Status": "Delete in progress" if group.deleting else None,
        "Tags": [_tag_view(group, key, tag) for key, tag in group.tags.items()],
        "NewInstancesProtectedFromScaleIn": group.protect_new,
        "TrafficSources": [],
        **{name: value for name, value in group.settings.items() if name != "Context"},
    }


def describe(bed, call):
    names = call.params.get("AutoScalingGroupNames")
    groups = [g for g in bed.groups.all.values() if (g.account, g.region) == (call.account, call.region)]
    if names:
        groups = [group for group in groups if group.name in names]
    for wanted in call.params.get("Filters") or []:
        groups = [group for group in groups if _filter(group, wanted)]
    groups = [group for group in groups if bed.visibility.sees("group", group.name)]
    groups, token = instance_view.page(groups, call.params, 100, lambda g: g.name, "MaxRecords", "InvalidNextToken")
    return {"AutoScalingGroups": [_view(bed, group) for group in groups], "NextToken": token}


def _filter(group, wanted):
    name, values = wanted["Name"], wanted.get("Values") or []
    if name == "tag-key":
        return any(key in values for key in group.tags)
    if name == "tag-value":
        return any(tag["Value"] in values for tag in group.tags.values())
    if name.startswith("tag:"):
        return name[4:] in group.tags and group.tags[name[4:]]["Value"] in values
    raise AwsError("ValidationError", f"Filter type {name} is not correct. Allowed Filter types are: tag-key tag-value tag:<key>")


def describe_instances(bed, call):
    wanted = call.params.get("InstanceIds")
    rows = []
    for group in bed.groups.all.values():
        if (group.account, group.region) == (call.account, call.region):
            for member in group.members.values():
                if not wanted or member.machine.id in wanted:
                    rows.append((member.machine.order, {"AutoScalingGroupName": group.name, **_instance(group, member)}))
    rows, token = instance_view.page(rows, call.params, 50, lambda row: row[0], "MaxRecords")
    return {"AutoScalingInstances": [{**row, "HealthStatus": row["HealthStatus"].upper()} for _, row in rows], "NextToken": token}


def describe_activities(bed, call):
    rows = []
    name = call.params.get("AutoScalingGroupName")
    ids = call.params.get("ActivityIds")
    groups = [_group(bed, call)] if name else [g for g in bed.groups.all.values() if (g.account, g.region) == (call.account, call.region)]
    for group in groups:
        rows += [activity for activity in group.activities if not ids or activity["ActivityId"] in ids]
    rows = list(enumerate(reversed(rows), 1))
    rows, token = instance_view.page(rows, call.params, 100, lambda row: row[0], "MaxRecords")
    return {"Activities": [activity for _, activity in rows], "NextToken": token}


def _processes(call):
    named = call.params.get("ScalingProcesses") or list(PROCESSES)
    for name in named:
        if name not in PROCESSES:
            raise AwsError("ValidationError", f"Invalid process: {name}")
    return named


def suspend(bed, call):
    group = _group(bed, call)
    for name in _processes(call):
        group.suspended[name] = f"User suspended at {moment(bed.clock.now()):%Y-%m-%dT%H:%M:%SZ}"
    return {}


def resume(bed, call):
    group = _group(bed, call)
    for name in _processes(call):
        group.suspended.pop(name, None)
    bed.groups.resume(group)
    return {}


def _scheduled(bed, group, entry):
    if entry.get("Recurrence"):
        raise AwsError("NotImplementedByBed", "The test bed knows one-time scheduled actions only", 501)
    start = entry.get("StartTime") or entry.get("Time")
    if start is None:
        raise AwsError("ValidationError", "Either StartTime or Recurrence must be specified")
    if all(entry.get(name) is None for name in ("MinSize", "MaxSize", "DesiredCapacity")):
        raise AwsError("ValidationError", "At least one of MinSize, MaxSize and DesiredCapacity must be specified")
    action = {name: entry.get(name) for name in ("ScheduledActionName", "MinSize", "MaxSize", "DesiredCapacity")}
    action["StartTime"] = start.replace(tzinfo=datetime.timezone.utc).timestamp()
    if len(group.scheduled) >= 125 and action["ScheduledActionName"] not in group.scheduled:
        raise AwsError("LimitExceeded", "A group has at most 125 scheduled actions")
    bed.groups.schedule(group, action)


def put_scheduled(bed, call):
    _scheduled(bed, _group(bed, call), call.params)
    return {}


def batch_put_scheduled(bed, call):
    group, failed = _group(bed, call), []
    for entry in call.params["ScheduledUpdateGroupActions"]:
        try:
            _scheduled(bed, group, entry)
        except AwsError as error:
            failed.append({"ScheduledActionName": entry["ScheduledActionName"], "ErrorCode": error.code, "ErrorMessage": error.message})
    return {"FailedScheduledUpdateGroupActions": failed}


def delete_scheduled(bed, call):
    group = _group(bed, call)
    action = group.scheduled.pop(call.params["ScheduledActionName"], None)
    if action is None:
        raise AwsError("ValidationError", f"Scheduled action name not found - {call.params['ScheduledActionName']}")
    bed.clock.cancel(action["_timer"])
    return {}


def describe_scheduled(bed, call):
    name, wanted = call.params.get("AutoScalingGroupName"), call.params.get("ScheduledActionNames")
    groups = [_group(bed, call)] if name else [g for g in bed.groups.all.values() if (g.account, g.region) == (call.account, call.region)]
    rows = []
    for group in groups:
        for action in group.scheduled.values():
            if not wanted or action["ScheduledActionName"] in wanted:
                view = {key: value for key, value in action.items() if not key.startswith("_")}
                start = moment(action["StartTime"])
                arn = group.arn.replace("autoScalingGroup:", "scheduledUpdateGroupAction:") + f":scheduledActionName/{action['ScheduledActionName']}"
                rows.append({**view, "AutoScalingGroupName": group.name, "StartTime": start, "Time": start, "ScheduledActionARN": arn})
    rows, token = instance_view.page(rows, call.params, 100, lambda row: row["AutoScalingGroupName"] + "/" + row["ScheduledActionName"], "MaxRecords")
    return {"ScheduledUpdateGroupActions": rows, "NextToken": token}


def set_protection(bed, call):
    group = _group(bed, call)
    for name in call.params["InstanceIds"]:
        if name not in group.members:
            raise AwsError("ValidationError", f"The instance {name} is not part of Auto Scaling group {group.name}.")
        group.members[name].protected = call.params["ProtectedFromScaleIn"]
    bed.groups.wake(group)
    return {}


def set_health(bed, call):
    group, member = bed.groups.of_machine(call.account, call.region, call.params["InstanceId"])
    member.health = call.params["HealthStatus"].capitalize()
    bed.groups.wake(group)
    return {}


def _tag(group, tag):
    group.tags[tag["Key"]] = {"Value": tag.get("Value", ""), "PropagateAtLaunch": tag.get("PropagateAtLaunch", False)}


def _tag_view(group, key, tag):
    return {"ResourceId": group.name, "ResourceType": "auto-scaling-group", "Key": key, **tag}


def create_tags(bed, call):
    for tag in call.params["Tags"]:
        _tag(bed.groups.find(call.account, call.region, tag["ResourceId"]), tag)
    return {}


def delete_tags(bed, call):
    for tag in call.params["Tags"]:
        bed.groups.find(call.account, call.region, tag["ResourceId"]).tags.pop(tag["Key"], None)
    return {}


def describe_tags(bed, call):
    rows = []
    for group in bed.groups.all.values():
        if (group.account, group.region) == (call.account, call.region):
            rows += [_tag_view(group, key, tag) for key, tag in group.tags.items()]
    for wanted in call.params.get("Filters") or []:
        field = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}.get(wanted["Name"])
        rows = [row for row in rows if field and row[field] in (wanted.get("Values") or [])]
    return {"Tags": rows}


def account_limits(bed, call):
    return {"MaxNumberOfAutoScalingGroups": 500, "MaxNumberOfLaunchConfigurations": 200,
            "NumberOfAutoScalingGroups": len(bed.groups.all), "NumberOfLaunchConfigurations": 0}  # fmt: skip


def process_types(bed, call):
    return {"Processes": [{"ProcessName": name} for name in PROCESSES]}


OPERATIONS = {
    "autoscaling:CreateAutoScalingGroup": create,
    "autoscaling:UpdateAutoScalingGroup": update,
    "autoscaling:DeleteAutoScalingGroup": delete,
    "autoscaling:DescribeAutoScalingGroups": describe,
    "autoscaling:DescribeAutoScalingInstances": describe_instances,
    "autoscaling:DescribeScalingActivities": describe_activities,
    "autoscaling:DescribeScalingProcessTypes": process_types,
    "autoscaling:DescribeAccountLimits": account_limits,
    "autoscaling:SetDesiredCapacity": set_desired,
    "autoscaling:TerminateInstanceInAutoScalingGroup": terminate,
    "autoscaling:SuspendProcesses": suspend,
    "autoscaling:ResumeProcesses": resume,
    "autoscaling:PutScheduledUpdateGroupAction": put_scheduled,
    "autoscaling:BatchPutScheduledUpdateGroupAction": batch_put_scheduled,
    "autoscaling:DeleteScheduledAction": delete_scheduled,
    "autoscaling:DescribeScheduledActions": describe_scheduled,
    "autoscaling:SetInstanceProtection": set_protection,
    "autoscaling:SetInstanceHealth": set_health,
    "autoscaling:CreateOrUpdateTags": create_tags,
    "autoscaling:DeleteTags": delete_tags,
    "autoscaling:DescribeTags": describe_tags,
}
