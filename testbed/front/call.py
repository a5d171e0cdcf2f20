"""One AWS request as the bed sees it, and the answers it can get."""

import datetime
import json
import re
import uuid
from xml.sax.saxutils import escape

from moto.core.serialize import get_serializer_class


class AwsError(Exception):
    """An error that the service would answer."""

    def __init__(self, code, message, status=400):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


class DropConnection(Exception):
    """The answer is lost: the connection closes without a byte."""


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, list(headers), body

    @property
    def error_code(self):
        """The error code in the body, for the wire log; None for success."""
        if self.status < 400:
            return None
        for name, value in self.headers:
            if name.lower() == "x-amzn-errortype":
                return value.split(":")[0]
        text = self.body[:4000].decode("utf-8", "replace")
        found = re.search(r"<Code>([^<]+)</Code>", text) or re.search(r'"__type"\s*:\s*"([^"]+)"', text)
        return found.group(1).split("#")[-1] if found else str(self.status)


class Call:
    """A request: how it came in (`method`, `target`, `headers`, `body`) and what it means
    (`service`, `operation`, `params`, `account`, `region`, `who`)."""

    def __init__(self, method, target, headers, body, secure=False):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.secure = secure
        self.service = self.operation = self.region = self.access_key = None
        self.model = None
        self.protocol = None
        self.params = {}
        self.violations = []
        self.account = "123456789012"
        self.who = None
        self.internal = False
        self.request_id = str(uuid.uuid4())

    @property
    def name(self):
        return f"{self.service}:{self.operation}"

    def header(self, name, default=None):
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return default


def plain(value):
    """Result values as the serializers want them: naive UTC times, no None members."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def moment(seconds):
    """A virtual time as the serializers want it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).replace(tzinfo=None)


def success(call, result):
    serializer = get_serializer_class(call.service, call.protocol)(operation_model=call.model)
    answer = serializer.serialize(plain(result or {}))
    body = answer["body"]
    headers = dict(answer["headers"])
    headers.setdefault("x-amzn-requestid", call.request_id)
    return Reply(answer["status_code"], headers.items(), body if isinstance(body, bytes) else body.encode())


def failure(call, error):
    code, message, status = error.code, error.message, error.status
    protocol = call.protocol or "query"
    headers = {"x-amzn-requestid": call.request_id}
    if protocol in ("json", "rest-json"):
        headers["content-type"] = "application/x-amz-json-1.0" if protocol == "json" else "application/json"
        headers["x-amzn-errortype"] = code
        kept = {"__type": code, "message": message, "Message": message}
        return Reply(status, headers.items(), json.dumps(kept).encode())
    headers["content-type"] = "text/xml"
    code, message = escape(code), escape(message)
    if protocol == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
            f"<RequestID>{call.request_id}</RequestID></Response>"
        )
    elif protocol == "rest-xml" and call.service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{call.request_id}</RequestId></Error>"
    else:
        kind = "Sender" if status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{call.request_id}</RequestId></ErrorResponse>"
        )
    return Reply(status, headers.items(), ('<?xml version="1.0" encoding="UTF-8"?>' + body).encode())
