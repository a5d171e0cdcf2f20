"""What a request means: its service, operation and parameters, read with botocore's models."""

import io
import re
from urllib.parse import parse_qs, unquote

from botocore.exceptions import BotoCoreError
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model

# Signing names whose model has another name.
MODEL_OF_SIGNING_NAME = {"servicequotas": "service-quotas", "monitoring": "cloudwatch", "elasticloadbalancing": "elbv2", "tagging": "resourcegroupstaggingapi"}


def environ_of(call):
    """The request as WSGI, for the engine and for the models."""
    path, _, query = call.target.partition("?")
    host = call.header("host", "localhost")
    environ = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        # WSGI carries bytes as latin-1.
        "PATH_INFO": unquote(path, "latin-1"),
        "RAW_URI": call.target,
        "REQUEST_URI": call.target,
        "QUERY_STRING": query,
        "SERVER_NAME": host.partition(":")[0],
        "SERVER_PORT": host.partition(":")[2] or ("443" if call.secure else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if call.secure else "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in call.headers:
        key = name.upper().replace("-", "_")
        if key in ("TRANSFER_ENCODING", "EXPECT", "CONTENT_LENGTH"):
            continue
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ["CONTENT_LENGTH"] = str(len(call.body))
    return environ


def _scope(call):
    """(access key, region, signing name) from the signature, or from a presigned URL."""
    found = re.search(r"Credential=([^,\s]+)", call.header("authorization") or "")
    scope = found.group(1) if found else None
    if scope is None:
        query = parse_qs(call.target.partition("?")[2])
        scope = query.get("X-Amz-Credential", [None])[0]
    parts = scope.split("/") if scope else []
    if len(parts) >= 5:
        return parts[0], parts[-3], parts[-2]
    return None, None, None


def _unsigned_service(call):
    host = (call.header("host") or "").partition(":")[0]
    if host.endswith(".amazonaws.com"):
        parts = host.removesuffix(".amazonaws.com").split(".")
        region = parts.pop() if len(parts) > 1 and re.fullmatch(r"[a-z]{2}-[a-z]+-\d", parts[-1]) else "us-east-1"
        return parts[-1], region
    if call.body.startswith(b"Action="):
        return "sts", "us-east-1"
    return "s3", "us-east-1"


class Unreadable(Exception):
    """The request fits no operation of its service's model, or its parameters cannot be parsed."""


def read(call):
    """Fills in what the call means. Raises `Unreadable`."""
    call.access_key, call.region, signing = _scope(call)
    if signing is None:
        signing, call.region = _unsigned_service(call)
    call.service = MODEL_OF_SIGNING_NAME.get(signing, signing)
    try:
        model = get_service_model(call.service)
    except (BotoCoreError, KeyError) as error:
        raise Unreadable(f"unknown service {signing}") from error
    request = Request(environ_of(call))
    try:
        call.protocol = determine_request_protocol(model, request.content_type)
    except NotImplementedError:
        call.protocol = str(model.protocol)
    request = Request(environ_of(call))
    try:
        call.model, labels = get_service_router(call.service).match(request)
    except Exception as error:
        call.operation = _named_operation(call)
        raise Unreadable(f"no such operation: {call.operation or call.method + ' ' + call.target}") from error
    call.operation = str(call.model.name)
    parser = PROTOCOL_PARSERS[call.protocol](call.model)
    parsed_request = {
        "method": request.method,
        "values": request.values,
        "headers": request.headers,
        "body": call.body,
        "url_path": request.path,
        "url_params": labels,
    }
    try:
        call.params = dict(parser.parse(parsed_request))
    except Exception as error:
        raise Unreadable(f"parameters cannot be parsed: {error}") from error


def _named_operation(call):
    target = call.header("x-amz-target")
    if target:
        return target.rpartition(".")[2]
    form = parse_qs(call.body.decode("latin-1")) if call.body.startswith(b"Action=") or b"&Action=" in call.body else {}
    return form.get("Action", [None])[0]
