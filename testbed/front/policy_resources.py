"""Which actions an operation needs on which resources, as ARNs with the tags that conditions look at."""

from moto.iam.models import iam_backends

from .call import AwsError
from .launching import merged, template_version


# Operations whose permission has another name.
ACTIONS = {
    "s3:ListObjectsV2": "s3:ListBucket", "s3:ListObjects": "s3:ListBucket", "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject", "s3:DeleteObjects": "s3:DeleteObject", "s3:CopyObject": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject", "s3:UploadPart": "s3:PutObject", "s3:UploadPartCopy": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject", "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListParts": "s3:ListMultipartUploadParts", "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectVersions": "s3:ListBucketVersions", "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock", "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "sqs:SendMessageBatch": "sqs:SendMessage", "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}  # fmt: skip
# What each part of a DynamoDB transaction needs.
TRANSACTION = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem", "Get": "GetItem"}


def resources_of(bed, call):
    """[(action, ARN, condition context)]. `*` stands for an operation without resources, None for
    one whose resources the bed cannot name."""
    service = {"service-quotas": "servicequotas"}.get(call.service, call.service)
    action = ACTIONS.get(call.name, f"{service}:{call.operation}")
    found = [(action, arn, context) for arn, context in _found(bed, call)]
    if call.params.get("TransactItems"):
        found = []
        for item in call.params["TransactItems"]:
            for part, body in item.items():
                found.append((f"dynamodb:{TRANSACTION[part]}", _table(call, body["TableName"]), {}))
    if call.name in ("ec2:RunInstances", "ec2:CreateLaunchTemplate") and call.params.get("TagSpecifications"):
        found.append(("ec2:CreateTags", None, {**_request_tags(call), "ec2:createaction": [call.operation]}))
    return found


def _found(bed, call):
    finder = {
        "dynamodb": _dynamodb, "s3": _s3, "sqs": _sqs, "autoscaling": _autoscaling, "ec2": _ec2, "iam": _iam,
        "ssm": _ssm, "scheduler": _scheduler,
    }.get(call.service)  # fmt: skip
    request_tags = _request_tags(call)
    found = finder(bed, call) if finder else [(None, {})]
    return [(arn, {**request_tags, **context}) for arn, context in found] or [(None, request_tags)]


def _tags(prefix, tags):
    return {f"{kind}:resourcetag/{key.lower()}": [value] for key, value in tags.items() for kind in ("aws", prefix)}


def _request_tags(call):
    pairs = {}
    for tag in call.params.get("Tags") or []:
        if isinstance(tag, dict) and "Key" in tag:
            pairs[tag["Key"]] = tag.get("Value", "")
    for spec in call.params.get("TagSpecifications") or []:
        pairs.update({tag["Key"]: tag.get("Value", "") for tag in spec.get("Tags") or []})
    context = {f"aws:requesttag/{key.lower()}": [value] for key, value in pairs.items()}
    if pairs:
        context["aws:tagkeys"] = list(pairs)
    return context


def _table(call, name):
    return name if name.startswith("arn:") else f"arn:aws:dynamodb:{call.region}:{call.account}:table/{name}"


def _dynamodb(bed, call):
    params = call.params
    names = [params["TableName"]] if params.get("TableName") else list(params.get("RequestItems") or {})
    if call.operation in ("ListTables", "DescribeLimits", "DescribeEndpoints"):
        return [("*", {})]
    if params.get("ResourceArn"):
        return [(params["ResourceArn"], {})]
    suffix = f"/index/{params['IndexName']}" if params.get("IndexName") else ""
    return [(_table(call, name) + suffix, {}) for name in dict.fromkeys(names)]


def _s3(bed, call):
    bucket, key = call.params.get("Bucket"), call.params.get("Key")
    if bucket is None:
        return [("*", {})]
    if call.operation == "DeleteObjects":
        return [(f"arn:aws:s3:::{bucket}/{item['Key']}", {}) for item in call.params["Delete"]["Objects"]]
    context = {"s3:prefix": [call.params["Prefix"]]} if call.params.get("Prefix") else {}
    return [(f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}", context)]


def _sqs(bed, call):
    name = call.params.get("QueueName") or call.params.get("QueueUrl", "").rpartition("/")[2]
    return [(f"arn:aws:sqs:{call.region}:{call.account}:{name}" if name else "*", {})]


def _autoscaling(bed, call):
    if call.operation.startswith("Describe"):
        return [("*", {})]
    names = [call.params[name] for name in ("AutoScalingGroupName",) if call.params.get(name)]
    names += [tag["ResourceId"] for tag in call.params.get("Tags") or [] if tag.get("ResourceId")]
    if not names and call.params.get("InstanceId"):
        try:
            names = [bed.groups.of_machine(call.account, call.region, call.params["InstanceId"])[0].name]
        except AwsError:
            return [(None, {})]
    found = []
    for name in dict.fromkeys(names):
        group = bed.groups.all.get((call.account, call.region, name))
        if group:
            found.append((group.arn, _tags("autoscaling", {key: tag["Value"] for key, tag in group.tags.items()})))
        else:
            arn = f"arn:aws:autoscaling:{call.region}:{call.account}:autoScalingGroup:new:autoScalingGroupName/{name}"
            found.append((arn, {}))
    return found


def _ec2(bed, call):
    if call.operation.startswith(("Describe", "Get")):
        return [("*", {})]
    root = f"arn:aws:ec2:{call.region}:{call.account}"
    if call.operation in ("TerminateInstances", "StopInstances", "StartInstances", "RebootInstances"):
        found = []
        for name in call.params.get("InstanceIds") or []:
            machine = bed.machines.all.get(name)
            found.append((f"{root}:instance/{name}", _tags("ec2", machine.tags) if machine else {}))
        return found
    if call.operation == "CreateTags":
        return [(_tagged_arn(root, name), _tags("ec2", bed.machines.all[name].tags) if name in bed.machines.all else {})
                for name in call.params.get("Resources") or []]  # fmt: skip
    if call.operation == "CreateLaunchTemplate":
        return [(f"{root}:launch-template/new", {})]
    if "LaunchTemplate" in call.operation:
        reference = {name: call.params[name] for name in ("LaunchTemplateId", "LaunchTemplateName") if call.params.get(name)}
        try:
            template, _ = template_version(bed, call.account, call.region, reference)
            tags = {tag["key"]: tag["value"] for tag in template.get_tags()}
            return [(f"{root}:launch-template/{template.id}", _tags("ec2", tags))]
        except AwsError:
            return [(None, {})]
    return [(None, {})]


def _tagged_arn(root, name):
    kinds = {"i": "instance", "vol": "volume", "lt": "launch-template", "sg": "security-group", "eni": "network-interface"}
    return f"{root}:{kinds.get(name.partition('-')[0], 'unknown')}/{name}"


def _iam(bed, call):
    for member, kind in (("InstanceProfileName", "instance-profile"), ("RoleName", "role"), ("UserName", "user"), ("PolicyName", "policy")):
        if call.params.get(member):
            return [(f"arn:aws:iam::{call.account}:{kind}/{call.params[member]}", {})]
    return [(call.params.get("PolicyArn"), {})] if call.params.get("PolicyArn") else [("*", {})]


def _ssm(bed, call):
    names = [call.params["Name"]] if call.params.get("Name") else call.params.get("Names") or []
    names += [call.params["Path"]] if call.params.get("Path") else []
    found = []
    for name in names:
        account = "" if name.startswith("/aws/service/") else call.account
        found.append((f"arn:aws:ssm:{call.region}:{account}:parameter/{name.lstrip('/')}", {}))
    return found


def _scheduler(bed, call):
    if call.operation.startswith("List") and "Tags" not in call.operation:
        return [("*", {})]
    group, name = call.params.get("GroupName") or "default", call.params.get("Name")
    return [(f"arn:aws:scheduler:{call.region}:{call.account}:schedule/{group}/{name}", {})]


def passed_roles(bed, call):
    """[(role ARN, service)] that the call hands on, each in need of iam:PassRole."""
    if call.name in ("scheduler:CreateSchedule", "scheduler:UpdateSchedule"):
        return [(call.params["Target"]["RoleArn"], "scheduler.amazonaws.com")]
    if call.name == "iam:AddRoleToInstanceProfile":
        return [(f"arn:aws:iam::{call.account}:role/{call.params['RoleName']}", "ec2.amazonaws.com")]
    if call.name == "ec2:RunInstances":
        try:
            wanted = merged(bed, call.account, call.region, call.params).get("IamInstanceProfile")
        except AwsError:
            return []
        return [(role, "ec2.amazonaws.com") for role in _roles_of_profile(call.account, wanted)]
    if call.name == "autoscaling:CreateAutoScalingGroup":
        mixed = call.params.get("MixedInstancesPolicy") or {}
        reference = call.params.get("LaunchTemplate") or (mixed.get("LaunchTemplate") or {}).get("LaunchTemplateSpecification")
        try:
            _, version = template_version(bed, call.account, call.region, reference or {})
        except AwsError:
            return []
        return [(role, "ec2.amazonaws.com") for role in _roles_of_profile(call.account, version.data.get("IamInstanceProfile"))]
    return []


def _roles_of_profile(account, wanted):
    if not wanted:
        return []
    return [
        role.arn
        for profile in iam_backends[account]["aws"].instance_profiles.values()
        if profile.name == wanted.get("Name") or profile.arn == wanted.get("Arn")
        for role in profile.roles
    ]
