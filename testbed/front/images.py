"""Machine images: the SSM parameters that name today's AL2023 and Ubuntu, and the images they name."""

import datetime
import hashlib

from moto.ec2.models.amis import Ami

from .call import AwsError, moment

RELEASED = datetime.datetime(2026, 11, 1)
ARCHITECTURES = {"arm64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}
# (name pattern, image name, root device); `{arch}` takes the names of the vendor.
FAMILIES = [
    ("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}", "al2023-ami-2023.9", "/dev/xvda", ("x86_64", "arm64")),
    ("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-{arch}", "al2023-ami-2023.9", "/dev/xvda", ("x86_64", "arm64")),
    ("/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-{arch}", "al2023-ami-minimal-2023.9", "/dev/xvda", ("x86_64", "arm64")),
]
for _release, _code in (("22.04", "jammy"), ("24.04", "noble")):
    for _volume in ("ebs-gp2", "ebs-gp3"):
        FAMILIES.append((
            f"/aws/service/canonical/ubuntu/server/{_release}/stable/current/{{arch}}/hvm/{_volume}/ami-id",
            f"ubuntu/images/hvm-ssd-gp3/ubuntu-{_code}-{_release}", "/dev/sda1", ("amd64", "arm64"),
        ))  # fmt: skip
NAMES = {
    pattern.format(arch=arch): (image, device, ARCHITECTURES[arch])
    for pattern, image, device, architectures in FAMILIES
    for arch in architectures
}


def image_of(bed, account, region, name):
    """The image id that a public parameter names; the image exists from then on. None if unknown."""
    if name not in NAMES:
        return None
    image, device, architecture = NAMES[name]
    number = "ami-" + hashlib.sha256(f"{region}{image}{architecture}".encode()).hexdigest()[:17]
    backend = bed.engine.ec2(account, region)
    if number not in backend.amis:
        full = f"{image}-{architecture}"
        backend.amis[number] = Ami(
            backend, ami_id=number, name=full, description=full, owner_id="137112412989", public=True,
            virtualization_type="hvm", architecture=architecture, state="available", platform=None, image_type="machine",
            image_location=f"amazon/{full}", hypervisor="xen", root_device_type="ebs", root_device_name=device,
            sriov="simple", creation_date=RELEASED,
        )  # fmt: skip
    return number


def _parameter(bed, call, name, number):
    return {
        "Name": name,
        "Type": "String",
        "Value": number,
        "Version": 1,
        "LastModifiedDate": moment(bed.clock.now() - 86400),
        "ARN": f"arn:aws:ssm:{call.region}::parameter{name}",
        "DataType": "text",
    }


def get_parameter(bed, call):
    number = image_of(bed, call.account, call.region, call.params["Name"])
    if number is None:
        if call.params["Name"].startswith("/aws/service/"):
            raise AwsError("ParameterNotFound", f"Parameter {call.params['Name']} not found.")
        return None
    return {"Parameter": _parameter(bed, call, call.params["Name"], number)}


def get_parameters(bed, call):
    names = call.params["Names"]
    if not all(name.startswith("/aws/service/") for name in names):
        return None
    found = {name: image_of(bed, call.account, call.region, name) for name in names}
    return {
        "Parameters": [_parameter(bed, call, name, number) for name, number in found.items() if number],
        "InvalidParameters": [name for name, number in found.items() if not number],
    }


OPERATIONS = {"ssm:GetParameter": get_parameter, "ssm:GetParameters": get_parameters}
