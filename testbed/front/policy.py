"""Who calls and what it may do: signatures, and IAM policies with resources and conditions.

The engine's own enforcement knows neither resources nor conditions of most services, so a role that is
limited to one table would be refused everything. Off until `POST /moto-api/reset-auth` says otherwise.
"""

import fnmatch
import re

from moto.core.exceptions import ServiceException
from moto.iam.access_control import IAMPolicy, IAMRequest, S3IAMRequest
from moto.iam.models import iam_backends

from .call import AwsError
from .engine import sts_backends
from .policy_resources import passed_roles, resources_of
from .reading import Request, environ_of


class Policies:
    def __init__(self, bed):
        self._bed = bed
        self._free_calls = float("inf")
        self.unsupported = set()

    def reset(self, free_calls):
        """Calls that still pass unchecked from now on; infinity switches enforcement off."""
        before, self._free_calls = self._free_calls, free_calls
        return before

    @property
    def enforced(self):
        return self._free_calls != float("inf")

    def who(self, call):
        """`user/NAME`, `role/NAME/SESSION` or the bare access key."""
        if call.access_key is None:
            return "anonymous"
        for role in self._bed.engine.sts(call.account).assumed_roles:
            if role.access_key_id == call.access_key:
                return f"role/{role.role_arn.split('/')[-1]}/{role.session_name}"
        for user in iam_backends[call.account]["aws"].users.values():
            if any(key.access_key_id == call.access_key for key in user.access_keys):
                return f"user/{user.name}"
        return call.access_key

    def check(self, call):
        if call.internal or not self.enforced:
            return
        if self._free_calls > 0:
            self._free_calls -= 1
            return
        if call.header("authorization") is None:
            if "X-Amz-Signature=" in call.target:
                return
            raise AwsError("MissingAuthenticationToken", "Missing Authentication Token", 403)
        request = self._request(call)
        if call.name == "sts:GetCallerIdentity":
            return
        statements = self.statements(request._access_key.collect_policies())
        context = {
            "aws:principalarn": [request._access_key.arn],
            "aws:requestedregion": [call.region],
            "aws:sourceaccount": [call.account],
            "aws:principalaccount": [call.account],
        }
        session = request._access_key.arn.rpartition("/")[2]
        if session.startswith("i-"):
            context["ec2:sourceinstancearn"] = [f"arn:aws:ec2:{call.region}:{call.account}:instance/{session}"]
        caller = request._access_key.arn
        for action, resource, more in resources_of(self._bed, call):
            self._require(call, caller, statements, action, resource, {**context, **more})
        for role, service in passed_roles(self._bed, call):
            self._require(call, caller, statements, "iam:PassRole", role, {**context, "iam:passedtoservice": [service]})

    def check_role(self, call, arn):
        """Whether a role may make a call that a service makes in its name."""
        if not self.enforced:
            return
        iam = iam_backends[call.account]["aws"]
        name = arn.rpartition("/")[2]
        policies = [iam.get_role_policy(name, policy)[1] for policy in iam.list_role_policies(name)]
        statements = self.statements(policies + list(iam.list_attached_role_policies(name)[0]))
        for action, resource, context in resources_of(self._bed, call):
            self._require(call, arn, statements, action, resource, {**context, "aws:principalarn": [arn]})

    def _request(self, call):
        kind = S3IAMRequest if call.service == "s3" else IAMRequest
        headers = Request(environ_of(call)).headers
        try:
            request = kind(
                account_id=call.account, method=call.method, path=call.target, data={}, body=call.body,
                headers=headers, action=call.operation,
            )  # fmt: skip
            request.check_signature()
        except ServiceException as error:
            raise AwsError(error.code, error.message, 403) from error
        return request

    @staticmethod
    def statements(policies):
        found = []
        for policy in policies:
            statements = IAMPolicy(policy)._policy_json["Statement"]
            found += statements if isinstance(statements, list) else [statements]
        return found

    def _require(self, call, caller, statements, action, resource, context):
        allowed = False
        for statement in statements:
            if self._concerns(statement, action, resource, context):
                if statement["Effect"] == "Deny":
                    allowed = False
                    break
                allowed = True
        if not allowed:
            code = {"ec2": "UnauthorizedOperation", "s3": "AccessDenied", "autoscaling": "AccessDenied", "iam": "AccessDenied"}.get(
                call.service, "AccessDeniedException"
            )
            raise AwsError(
                code,
                f"User: {caller} is not authorized to perform: {action} on resource: {resource or '*'}",
                403,
            )

    def decision(self, statements, action, resource):
        """What IAM's simulator says of one action on one resource, with no context."""
        concerned = [s["Effect"] for s in statements if self._concerns(s, action, resource, {})]
        if "Deny" in concerned:
            return "explicitDeny"
        return "allowed" if concerned else "implicitDeny"

    def _concerns(self, statement, action, resource, context):
        if "NotAction" in statement:
            if _any(statement["NotAction"], action, fold=True):
                return False
        elif not _any(statement["Action"], action, fold=True):
            return False
        if resource is None:
            # What the bed cannot name is given the benefit of the doubt.
            if statement["Effect"] == "Deny" and "*" not in _list(statement.get("Resource", "*")):
                return False
        elif "NotResource" in statement:
            if _any(statement["NotResource"], resource):
                return False
        elif not _any(statement.get("Resource", "*"), resource):
            return False
        return all(
            self._holds(operator, key, _list(values), context)
            for operator, tests in (statement.get("Condition") or {}).items()
            for key, values in tests.items()
        )

    def _holds(self, operator, key, values, context):
        have = context.get(key.lower())
        name = re.sub(r"^(ForAllValues|ForAnyValue):", "", operator)
        every = operator.startswith("ForAllValues:")
        if name == "Null":
            return (have is None) == (str(values[0]).lower() == "true")
        optional = name.endswith("IfExists")
        name = name.removesuffix("IfExists")
        negated = "Not" in name
        if have is None:
            return optional or negated or every
        tests = {
            "StringEquals": lambda v, w: v == w,
            "StringEqualsIgnoreCase": lambda v, w: v.lower() == w.lower(),
            "StringLike": fnmatch.fnmatchcase,
            "ArnEquals": fnmatch.fnmatchcase,
            "ArnLike": fnmatch.fnmatchcase,
            "Bool": lambda v, w: v.lower() == w.lower(),
        }
        test = tests.get(name.replace("Not", ""))
        if test is None:
            self.unsupported.add(operator)
            return False
        matches = [any(test(str(value), str(wanted)) for wanted in values) != negated for value in have]
        return all(matches) if every or negated else any(matches)


def _list(value):
    return value if isinstance(value, list) else [value]


def _any(patterns, value, fold=False):
    for pattern in _list(patterns):
        if fold:
            pattern, value = pattern.lower(), value.lower()
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL):
            return True
    return False
