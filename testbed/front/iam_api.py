"""IAM operations that the front answers itself: the simulator of policies, which the engine lacks."""

from moto.iam.models import iam_backends

from .call import AwsError


def _policies(call, arn):
    backend = iam_backends[call.account]["aws"]
    kind, _, name = arn.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]
    if kind == "user":
        inline = [backend.get_user_policy(name, policy)["policy_document"] for policy in backend.list_user_policies(name)]
        attached = list(backend.list_attached_user_policies(name)[0])
        groups = backend.get_groups_for_user(name)
        for group in groups:
            inline += [backend.get_group_policy(group.name, policy)["policy_document"] for policy in backend.list_group_policies(group.name)]
            attached += list(backend.list_attached_group_policies(group.name)[0])
        return inline + attached
    if kind == "role":
        inline = [backend.get_role_policy(name, policy)[1] for policy in backend.list_role_policies(name)]
        return inline + list(backend.list_attached_role_policies(name)[0])
    raise AwsError("InvalidInput", f"{arn} is neither a user nor a role")


def simulate_principal_policy(bed, call):
    statements = bed.policies.statements(_policies(call, call.params["PolicySourceArn"]))
    results = []
    for action in call.params["ActionNames"]:
        for resource in call.params.get("ResourceArns") or ["*"]:
            results.append(
                {
                    "EvalActionName": action,
                    "EvalResourceName": resource,
                    "EvalDecision": bed.policies.decision(statements, action, resource),
                }
            )
    return {"EvaluationResults": results, "IsTruncated": False}


OPERATIONS = {"iam:SimulatePrincipalPolicy": simulate_principal_policy}
