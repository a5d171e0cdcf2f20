"""EC2 operations that the front answers itself; all others go to the engine."""

import base64
import uuid

from . import instance_view, prices
from .call import AwsError, moment
from .launching import decoded, launch, merged, template_version


def _dry(call):
    if call.params.get("DryRun"):
        raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def run_instances(bed, call):
    params = merged(bed, call.account, call.region, call.params)
    least, most = params["MinCount"], params["MaxCount"]
    if least < 1 or most < least:
        raise AwsError("InvalidParameterValue", f"Value ({least}) for parameter minCount is invalid: minCount/maxCount")
    _dry(call)
    token = call.params.get("ClientToken") or str(uuid.uuid4())
    reservation, machines = launch(bed, call.account, call.region, params, least, most, token=token)
    return {
        "ReservationId": reservation.id,
        "OwnerId": call.account,
        "Groups": [],
        "Instances": [_as_launched(machine) for machine in machines],
    }


def _as_launched(machine):
    view = instance_view.described(machine)
    view["State"] = {"Code": 0, "Name": "pending"}
    return view


def terminate_instances(bed, call):
    machines = instance_view.by_ids(bed, call, call.params["InstanceIds"])
    _dry(call)
    for machine in machines:
        if machine.engine_instance.disable_api_termination in (True, "true"):
            raise AwsError(
                "OperationNotPermitted",
                f"The instance '{machine.id}' may not be terminated. Modify its 'disableApiTermination' instance "
                "attribute and try again.",
            )
    return {"TerminatingInstances": [_changed(machine, lambda m=machine: bed.machines.terminate(m)) for machine in machines]}


def stop_instances(bed, call):
    machines = instance_view.by_ids(bed, call, call.params["InstanceIds"])
    for machine in machines:
        if machine.market == "spot" and (machine.spec["market_options"] or {}).get("SpotOptions", {}).get(
            "SpotInstanceType", "one-time"
        ) == "one-time":
            raise AwsError(
                "UnsupportedOperation", f"You can't stop the Spot Instance '{machine.id}' because it is associated with a "
                "one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot "
                "Instance requests.",
            )  # fmt: skip
        if call.params.get("Hibernate") and not machine.spec["hibernation"]:
            raise AwsError(
                "UnsupportedHibernationConfiguration",
                "The instance you are trying to hibernate was not launched with the hibernation option enabled.",
            )
        if machine.state not in ("running", "pending", "stopping", "stopped"):
            raise AwsError("IncorrectInstanceState", f"This instance '{machine.id}' is not in a state from which it can be stopped.")
    _dry(call)
    return {"StoppingInstances": [_changed(machine, lambda m=machine: bed.machines.stop(m)) for machine in machines]}


def start_instances(bed, call):
    machines = instance_view.by_ids(bed, call, call.params["InstanceIds"])
    for machine in machines:
        if machine.state not in ("stopped", "running", "pending"):
            raise AwsError("IncorrectInstanceState", f"The instance '{machine.id}' is not in a state from which it can be started.")
    _dry(call)

    def start(machine):
        if machine.state == "stopped":
            bed.machines.start(machine)

    return {"StartingInstances": [_changed(machine, lambda m=machine: start(m)) for machine in machines]}


def reboot_instances(bed, call):
    for machine in instance_view.by_ids(bed, call, call.params["InstanceIds"]):
        if machine.box:
            machine.box.reboot()
    return {}


def _changed(machine, act):
    def state():
        return {"Code": machine.engine_instance._state.code, "Name": machine.state}

    before = state()
    act()
    return {"InstanceId": machine.id, "PreviousState": before, "CurrentState": state()}


def describe_instances(bed, call):
    machines, token = instance_view.selected(bed, call)
    reservations = {}
    for machine in machines:
        entry = reservations.setdefault(
            machine.reservation,
            {"ReservationId": machine.reservation, "OwnerId": machine.account, "Groups": [], "Instances": []},
        )
        if machine.group:
            entry["RequesterId"] = "autoscaling"
        entry["Instances"].append(instance_view.described(machine))
    return {"Reservations": list(reservations.values()), "NextToken": token}


def describe_instance_status(bed, call):
    every = call.params.get("IncludeAllInstances")
    machines, token = instance_view.selected(bed, call, lambda m: every or m.state == "running")
    statuses = []
    for machine in machines:
        health = "ok" if machine.state == "running" else "not-applicable"
        statuses.append(
            {
                "InstanceId": machine.id,
                "AvailabilityZone": machine.zone,
                "InstanceState": {"Code": machine.engine_instance._state.code, "Name": machine.state},
                "InstanceStatus": {"Status": health},
                "SystemStatus": {"Status": health},
            }
        )
    return {"InstanceStatuses": statuses, "NextToken": token}


def describe_spot_instance_requests(bed, call):
    wanted = call.params.get("SpotInstanceRequestIds")
    requests = []
    for machine in bed.machines.all.values():
        if machine.market != "spot" or (machine.account, machine.region) != (call.account, call.region):
            continue
        if wanted and machine.spot_request not in wanted:
            continue
        alive = machine.state not in ("shutting-down", "terminated")
        code = "fulfilled" if alive else "instance-terminated-by-user"
        if machine.reason and machine.reason[0] == "Server.SpotInstanceTermination":
            code = "instance-terminated-no-capacity"
        elif machine.spot_action and alive:
            code = "marked-for-termination"
        requests.append(
            {
                "SpotInstanceRequestId": machine.spot_request,
                "InstanceId": machine.id,
                "State": "active" if alive else "closed",
                "Status": {"Code": code, "Message": code},
                "Type": "one-time",
                "LaunchedAvailabilityZone": machine.zone,
                "CreateTime": moment(machine.launched),
            }
        )
    missing = set(wanted or ()) - {request["SpotInstanceRequestId"] for request in requests}
    if missing:
        raise AwsError("InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{missing.pop()}' does not exist")
    return {"SpotInstanceRequests": requests}


def cancel_spot_instance_requests(bed, call):
    ids = call.params["SpotInstanceRequestIds"]
    return {"CancelledSpotInstanceRequests": [{"SpotInstanceRequestId": name, "State": "cancelled"} for name in ids]}


def describe_spot_price_history(bed, call):
    return prices.spot_history(bed, call)


def get_console_output(bed, call):
    (machine,) = instance_view.by_ids(bed, call, [call.params["InstanceId"]])
    text = machine.box.console() if machine.box else b""
    return {
        "InstanceId": machine.id,
        "Timestamp": moment(bed.clock.now()),
        "Output": base64.b64encode(text[-64 * 1024 :]).decode() if text else None,
    }


def modify_instance_metadata_options(bed, call):
    (machine,) = instance_view.by_ids(bed, call, [call.params["InstanceId"]])
    options = machine.options
    for name, attribute in (
        ("HttpTokens", "http_tokens"),
        ("HttpEndpoint", "http_endpoint"),
        ("HttpPutResponseHopLimit", "http_put_response_hop_limit"),
        ("InstanceMetadataTags", "instance_metadata_tags"),
    ):
        if name in call.params:
            setattr(options, attribute, call.params[name])
    return {"InstanceId": machine.id, "InstanceMetadataOptions": instance_view.described(machine)["MetadataOptions"]}


def check_launch_template(bed, call):
    """What EC2 refuses in template data at once; the engine then stores it."""
    data = call.params["LaunchTemplateData"]
    decoded(data.get("UserData"))
    return None


def see_launch_template(bed, call):
    """Reads of a template miss it while it is new."""
    backend = bed.engine.ec2(call.account, call.region)
    ids = list(call.params.get("LaunchTemplateIds") or [])
    names = list(call.params.get("LaunchTemplateNames") or [])
    if call.operation == "DescribeLaunchTemplateVersions":
        ids += [call.params["LaunchTemplateId"]] if call.params.get("LaunchTemplateId") else []
        names += [call.params["LaunchTemplateName"]] if call.params.get("LaunchTemplateName") else []
    for number in ids:
        template_version(bed, call.account, call.region, {"LaunchTemplateId": number})
    for name in names:
        if name in backend.launch_template_name_to_ids:
            template_version(bed, call.account, call.region, {"LaunchTemplateName": name})
        else:
            raise AwsError(
                "InvalidLaunchTemplateName.NotFoundException",
                "At least one of the launch templates specified in the request does not exist.",
            )
    return None


def delete_launch_template(bed, call):
    """The engine's own refusal of a name that is not there is another than EC2's."""
    backend = bed.engine.ec2(call.account, call.region)
    name = call.params.get("LaunchTemplateName")
    if name and name not in backend.launch_template_name_to_ids:
        raise AwsError(
            "InvalidLaunchTemplateName.NotFoundException",
            f"The specified launch template, with template name {name}, does not exist.",
        )
    return None


def modify_instance_attribute(bed, call):
    """The attributes that matter to a machine's end; others go to the engine."""
    (machine,) = instance_view.by_ids(bed, call, [call.params["InstanceId"]])
    behavior = call.params.get("InstanceInitiatedShutdownBehavior")
    guard = call.params.get("DisableApiTermination")
    if behavior:
        machine.engine_instance.instance_initiated_shutdown_behavior = behavior["Value"]
    if guard:
        machine.engine_instance.disable_api_termination = guard["Value"]
    return {} if behavior or guard else None


OPERATIONS = {
    "ec2:RunInstances": run_instances,
    "ec2:TerminateInstances": terminate_instances,
    "ec2:StopInstances": stop_instances,
    "ec2:StartInstances": start_instances,
    "ec2:RebootInstances": reboot_instances,
    "ec2:DescribeInstances": describe_instances,
    "ec2:DescribeInstanceStatus": describe_instance_status,
    "ec2:DescribeSpotInstanceRequests": describe_spot_instance_requests,
    "ec2:CancelSpotInstanceRequests": cancel_spot_instance_requests,
    "ec2:DescribeSpotPriceHistory": describe_spot_price_history,
    "ec2:GetConsoleOutput": get_console_output,
    "ec2:ModifyInstanceMetadataOptions": modify_instance_metadata_options,
    "ec2:ModifyInstanceAttribute": modify_instance_attribute,
    "ec2:CreateLaunchTemplate": check_launch_template,
    "ec2:CreateLaunchTemplateVersion": check_launch_template,
    "ec2:DeleteLaunchTemplate": delete_launch_template,
    "ec2:DescribeLaunchTemplates": see_launch_template,
    "ec2:DescribeLaunchTemplateVersions": see_launch_template,
}
