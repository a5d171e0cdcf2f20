"""Launches machines: a request merged with its launch template, checked as EC2 checks it."""

import base64
import binascii
import uuid

from moto.core.types import Base64EncodedString
from moto.iam.models import iam_backends

from .call import AwsError
from .engine import INSTANCE_TYPES, ServiceException

USER_DATA_LIMIT = 16 * 1024
# Taken as they are from the template when the request does not name them.
TEMPLATE_MEMBERS = (
    "ImageId", "InstanceType", "KeyName", "UserData", "SecurityGroupIds", "SecurityGroups", "NetworkInterfaces",
    "IamInstanceProfile", "BlockDeviceMappings", "MetadataOptions", "InstanceMarketOptions", "Placement",
    "InstanceInitiatedShutdownBehavior", "Monitoring", "EbsOptimized", "HibernationOptions", "DisableApiTermination",
    "DisableApiStop",
)  # fmt: skip


def template_version(bed, account, region, reference):
    """(template, version) that a LaunchTemplateSpecification names."""
    name, number = reference.get("LaunchTemplateName"), reference.get("LaunchTemplateId")
    if bool(name) == bool(number):
        raise AwsError("InvalidParameterCombination", "Exactly one of LaunchTemplateId and LaunchTemplateName is needed")
    backend = bed.engine.ec2(account, region)
    number = number or backend.launch_template_name_to_ids.get(name)
    template = backend.launch_templates.get(number)
    if template is None or not bed.visibility.sees("launch-template", number):
        if name:
            raise AwsError(
                "InvalidLaunchTemplateName.NotFoundException",
                f"The specified launch template, with template name {name}, does not exist.",
            )
        raise AwsError(
            "InvalidLaunchTemplateId.NotFound",
            f"The specified launch template, with template ID {number}, does not exist.",
        )
    try:
        return template, template.get_version(reference.get("Version") or "$Default")
    except (ServiceException, ValueError) as error:
        raise AwsError("InvalidLaunchTemplateId.VersionNotFound", f"Could not find the specified version: {error}") from error


def merged(bed, account, region, params):
    """`params` of RunInstances over the template that they name. Tags of both count."""
    result = dict(params)
    reference = params.get("LaunchTemplate")
    if reference:
        template, version = template_version(bed, account, region, reference)
        data = version.data
        for member in TEMPLATE_MEMBERS:
            if member not in result and data.get(member) not in (None, "", [], {}):
                result[member] = data[member]
        result["TagSpecifications"] = list(data.get("TagSpecifications") or []) + list(params.get("TagSpecifications") or [])
        result["_template"] = {
            "aws:ec2launchtemplate:id": template.id,
            "aws:ec2launchtemplate:version": str(version.number),
        }
    return result


def decoded(user_data):
    if not user_data:
        return b""
    try:
        encoded = user_data if isinstance(user_data, str) else user_data.as_bytes()
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from error
    if len(data) > USER_DATA_LIMIT:
        raise AwsError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    return data


def encoded(user_data):
    """User data as the engine keeps it."""
    return Base64EncodedString(base64.b64encode(user_data).decode()) if user_data else None


def profile_arn(bed, account, wanted):
    """The instance profile's ARN, checked."""
    if not wanted:
        return None
    name = wanted.get("Name")
    arn = wanted.get("Arn")
    for profile in iam_backends[account]["aws"].instance_profiles.values():
        if (name and profile.name == name) or (arn and profile.arn == arn):
            if bed.visibility.sees("instance-profile", profile.name):
                return profile.arn
    field, value = ("name", name) if name else ("arn", arn)
    raise AwsError(
        "InvalidParameterValue",
        f"Value ({value}) for parameter iamInstanceProfile.{field} is invalid. Invalid IAM Instance Profile {field}",
    )


def market_of(params):
    return "spot" if (params.get("InstanceMarketOptions") or {}).get("MarketType") == "spot" else "on-demand"


def _tags(params, kind):
    return {
        tag["Key"]: tag.get("Value", "")
        for spec in params.get("TagSpecifications") or []
        if spec.get("ResourceType") == kind
        for tag in spec.get("Tags") or []
    }


def _subnet(backend, params, zone):
    nics = params.get("NetworkInterfaces") or []
    named = params.get("SubnetId") or next((nic["SubnetId"] for nic in nics if nic.get("SubnetId")), None)
    if named:
        return backend.get_subnet(named)
    defaults = backend.get_default_subnets()
    zone = zone or sorted(defaults)[0]
    if zone not in defaults:
        raise AwsError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    return defaults[zone]


def _check_type(backend, params):
    instance_type, image_id = params.get("InstanceType") or "m1.small", params.get("ImageId")
    if not image_id:
        raise AwsError("MissingParameter", "The request must contain the parameter ImageId")
    known = INSTANCE_TYPES.get(instance_type)
    if known is None:
        raise AwsError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    image = backend.amis.get(image_id)
    if image is None:
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    architectures = known["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture and image.architecture not in architectures:
        raise AwsError(
            "InvalidParameterValue",
            f"The architecture '{architectures[0]}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have matching "
            "architectures, and try again.",
        )
    return instance_type


def launch(bed, account, region, params, least, most, *, group=None, extra_tags=None, token=None):
    """Launches between `least` and `most` machines from merged `params`; (reservation, machines)."""
    backend = bed.engine.ec2(account, region)
    try:
        return _launch(bed, backend, account, region, params, least, most, group, extra_tags or {}, token)
    except ServiceException as error:
        raise AwsError(error.code, error.message) from error


def _launch(bed, backend, account, region, params, least, most, group, extra_tags, token):
    instance_type = _check_type(backend, params)
    user_data = decoded(params.get("UserData"))
    profile = profile_arn(bed, account, params.get("IamInstanceProfile"))
    market = market_of(params)
    subnet = _subnet(backend, params, (params.get("Placement") or {}).get("AvailabilityZone"))
    count = bed.capacity.grant(instance_type, subnet.availability_zone, market, least, most)
    nics = [dict(nic) for nic in params.get("NetworkInterfaces") or []]
    for nic in nics:
        nic.setdefault("SubnetId", subnet.id)
    arguments = {
        "instance_type": instance_type,
        "is_instance_type_default": False,
        "region_name": region,
        "subnet_id": None if nics else subnet.id,
        "key_name": params.get("KeyName"),
        "security_group_ids": list(params.get("SecurityGroupIds") or []),
        "nics": nics,
        "associate_public_ip": None,
        "ebs_optimized": params.get("EbsOptimized") or False,
        "instance_initiated_shutdown_behavior": params.get("InstanceInitiatedShutdownBehavior"),
        "hibernation_options": params.get("HibernationOptions") or {},
        "metadata_options": params.get("MetadataOptions") or {},
        "monitoring_state": "enabled" if (params.get("Monitoring") or {}).get("Enabled") else "disabled",
        "client_token": token,
        "lifecycle": "spot" if market == "spot" else None,
        "disable_api_stop": params.get("DisableApiStop") or False,
        "disable_api_termination": params.get("DisableApiTermination") or False,
        "tags": {
            "instance": {**_tags(params, "instance"), **extra_tags, **params.get("_template", {})},
            "volume": _tags(params, "volume"),
        },
    }
    mappings = [mapping for mapping in params.get("BlockDeviceMappings") or [] if mapping.get("Ebs")]
    if mappings:
        arguments["block_device_mappings"] = mappings
    reservation = backend.run_instances(
        params["ImageId"], count, encoded(user_data), list(params.get("SecurityGroups") or []), **arguments
    )
    machines = []
    for instance in reservation.instances:
        if profile:
            backend.associate_iam_instance_profile(instance_id=instance.id, iam_instance_profile_arn=profile)
        spec = {
            "user_data": user_data,
            "profile": profile,
            "group": group,
            "spot_request": f"sir-{uuid.uuid4().hex[:8]}" if market == "spot" else None,
            "template": params.get("_template"),
            "hibernation": (params.get("HibernationOptions") or {}).get("Configured", False),
            "market_options": params.get("InstanceMarketOptions"),
            "image": params["ImageId"],
        }
        machines.append(bed.machines.add(account, instance, reservation.id, spec, market))
    return reservation, machines
