"""The engine under the front: moto's server application, in this process.

In this process and not in a child, since groups, interruptions and metadata need the very objects
that the engine answers from.
"""

import os
import threading

os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
os.environ.setdefault("INITIAL_NO_AUTH_ACTION_COUNT", "inf")

from moto.core.authorization import ActionAuthenticatorMixin  # noqa: E402
from moto.core.exceptions import ServiceException  # noqa: E402
from moto.ec2 import ec2_backends  # noqa: E402
from moto.ec2.models.amis import AmiBackend  # noqa: E402
from moto.ec2.models.instance_types import INSTANCE_TYPES  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: E402
from moto.sts.models import sts_backends  # noqa: E402

from .call import Reply  # noqa: E402
from .reading import environ_of  # noqa: E402

ACCOUNT = "123456789012"

# The front judges signatures and policies for every service itself, see `policy.py`.
ActionAuthenticatorMixin._authenticate_and_authorize_action = lambda self, iam_request_cls, resource="*": None

# The engine looks an image up by walking all of them, once per instance.
_walk_images = AmiBackend.describe_images


def _describe_images(self, ami_ids=(), filters=None, exec_users=None, owners=None):
    if filters and set(filters) == {"image-id"} and isinstance(filters["image-id"], str):
        image = self.amis.get(filters["image-id"])
        return [image] if image else []
    return _walk_images(self, ami_ids=ami_ids, filters=filters, exec_users=exec_users, owners=owners)


AmiBackend.describe_images = _describe_images


class Engine:
    def __init__(self):
        self._application = DomainDispatcherApplication(create_backend_app)
        self._locks = {}
        self._guard = threading.Lock()

    def lock(self, service):
        """The engine is not atomic under threads: one call of a service at a time."""
        with self._guard:
            return self._locks.setdefault(service, threading.RLock())

    def handle(self, call):
        """What moto answers."""
        started = {}

        def start_response(status, headers, exc_info=None):
            started["status"], started["headers"] = int(status.split()[0]), headers

        chunks = self._application(environ_of(call), start_response)
        body = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        return Reply(started["status"], started["headers"], body)

    @staticmethod
    def ec2(account, region):
        return ec2_backends[account][region]

    @staticmethod
    def sts(account):
        return sts_backends[account]["aws"]


def vcpus(instance_type):
    """Default vCPUs of a type; None if there is no such type."""
    known = INSTANCE_TYPES.get(instance_type)
    return known["VCpuInfo"]["DefaultVCpus"] if known else None


__all__ = ["ACCOUNT", "Engine", "INSTANCE_TYPES", "ServiceException", "vcpus"]
