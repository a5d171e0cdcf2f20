"""Checks a request against botocore's service model: everything that the service would refuse, and
everything that it would silently ignore."""

import json
import re
from functools import lru_cache
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

# Parameters of the envelope, not of an operation.
ENVELOPE = {"Action", "Version"}
# Headers that start like modelled ones and belong to signing, retries or transfer.
TRANSFER_HEADERS = {
    "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "x-amz-user-agent", "x-amz-target",
    "x-amz-trailer", "x-amz-decoded-content-length", "x-amz-te", "x-amz-sdk-checksum-algorithm",
    "x-amz-api-version", "x-amz-id-2",
}  # fmt: skip


def violations(call):
    """What is wrong with the call, one line each; empty when the model accepts it."""
    found = []
    shape = call.model.input_shape
    if shape is not None:
        report = ParamValidator().validate(call.params, shape)
        if report.has_errors():
            found += report.generate_report().splitlines()
        _limits(shape, call.params, "", found)
    found += _unknown_names(call, shape)
    return sorted(set(found))


def _limits(shape, value, path, found):
    """What botocore's own validation leaves out: enums, patterns, upper bounds."""
    kind = shape.type_name
    where = path or "input"
    if kind == "structure" and isinstance(value, dict):
        for name, member in shape.members.items():
            if name in value:
                _limits(member, value[name], f"{path}.{name}" if path else name, found)
        return
    if kind == "list" and isinstance(value, list):
        _bound(shape, len(value), where, "items", found)
        for index, item in enumerate(value):
            _limits(shape.member, item, f"{path}[{index}]", found)
        return
    if kind == "map" and isinstance(value, dict):
        _bound(shape, len(value), where, "entries", found)
        for key, item in value.items():
            _limits(shape.key, key, f"{path} key", found)
            _limits(shape.value, item, f"{path}[{key}]", found)
        return
    if kind == "string" and isinstance(value, str):
        _bound(shape, len(value), where, "characters", found)
        if shape.enum and value not in shape.enum:
            found.append(f"{where}: {value!r} is none of {', '.join(shape.enum[:12])}")
        pattern = shape.metadata.get("pattern")
        if pattern and not _pattern(pattern).fullmatch(value):
            found.append(f"{where}: {value[:80]!r} does not match {pattern}")
    elif kind in ("integer", "long", "float", "double"):
        _bound(shape, value, where, "", found)
    elif kind == "blob":
        _bound(shape, len(value) if hasattr(value, "__len__") else 0, where, "bytes", found)


def _bound(shape, size, where, unit, found):
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if isinstance(high, (int, float)) and size > high:
        found.append(f"{where}: {size} {unit} is more than {high}".replace("  ", " "))
    if isinstance(low, (int, float)) and size < low:
        found.append(f"{where}: {size} {unit} is less than {low}".replace("  ", " "))


@lru_cache(maxsize=None)
def _pattern(pattern):
    """The models' patterns are Java's; those that Python cannot compile match anything."""
    pattern = pattern.replace("\\p{L}", "^\\W\\d_").replace("\\p{N}", "\\d").replace("\\p{Z}", "\\s")
    if "\\p{" in pattern or "^\\W" in pattern:
        return re.compile(r"[\s\S]*")
    try:
        return re.compile(pattern)
    except re.error:
        return re.compile(r"[\s\S]*")


def _unknown_names(call, shape):
    if call.protocol in ("query", "ec2"):
        return _unknown_form_keys(call, shape)
    if call.protocol == "json":
        return _unknown_json(shape, _json(call.body), "")
    return _unknown_rest(call, shape)


def _json(body):
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return {}


def _unknown_form_keys(call, shape):
    """A form is right if sending the parsed parameters again sends the same keys."""
    sent = {key: value for key, value in parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True)}
    sent.update(parse_qsl(call.target.partition("?")[2], keep_blank_values=True))
    sent = {key: value for key, value in sent.items() if key not in ENVELOPE and not key.startswith("X-Amz-")}
    known = {}
    if shape is not None:
        try:
            serializer = create_serializer(call.protocol, include_validation=False)
            known = serializer.serialize_to_request(call.params, call.model)["body"]
        except Exception as error:
            return [f"parameters do not fit the model: {error}"]
    found = [f"unknown parameter {key}" for key in sent if key not in known]
    for key, value in sent.items():
        if isinstance(known.get(key), str) and known[key] in ("true", "false") and value not in ("true", "false"):
            found.append(f"{key}: {value!r} is no boolean")
    return found


def _unknown_json(shape, value, path):
    found = []
    if shape is None:
        return [f"unknown parameter {key}" for key in value] if isinstance(value, dict) else []
    where = path or "input"
    kind = shape.type_name
    if value is None:
        return [] if path else found
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{where}: {type(value).__name__} instead of an object"]
        if shape.is_document_type:
            return []
        names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for key, item in value.items():
            below = f"{path}.{key}" if path else key
            if key not in names:
                found.append(f"unknown parameter {below}")
            else:
                found += _unknown_json(names[key], item, below)
        return found
    if kind == "list":
        if not isinstance(value, list):
            return [f"{where}: {type(value).__name__} instead of a list"]
        for index, item in enumerate(value):
            found += _unknown_json(shape.member, item, f"{path}[{index}]")
        return found
    if kind == "map":
        if not isinstance(value, dict):
            return [f"{where}: {type(value).__name__} instead of a map"]
        for key, item in value.items():
            found += _unknown_json(shape.value, item, f"{path}[{key}]")
        return found
    wanted = {
        "string": str, "blob": str, "boolean": bool, "integer": int, "long": int,
        "float": (int, float), "double": (int, float), "timestamp": (int, float, str),
    }[kind]  # fmt: skip
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean"):
        found.append(f"{where}: {type(value).__name__} instead of {kind}")
    return found


def _unknown_rest(call, shape):
    found = []
    members = shape.members if shape is not None else {}
    query, headers, prefixes, body_members = set(), set(), [], {}
    free_query = False
    for name, member in members.items():
        place = member.serialization.get("location")
        wire = member.serialization.get("name", name)
        if place == "querystring":
            query.add(wire)
            free_query |= member.type_name == "map"
        elif place == "header":
            headers.add(wire.lower())
        elif place == "headers":
            prefixes.append(wire.lower())
        elif place is None:
            body_members[wire] = member
    fixed = {key for key, _ in parse_qsl(call.model.http["requestUri"].partition("?")[2], keep_blank_values=True)}
    for key, _ in parse_qsl(call.target.partition("?")[2], keep_blank_values=True):
        if key not in query | fixed | {"x-id"} and not free_query and not key.startswith("X-Amz-"):
            found.append(f"unknown query parameter {key}")
    for key, _ in call.headers:
        key = key.lower()
        if key.startswith("x-amz-") and key not in headers | TRANSFER_HEADERS:
            if not any(key.startswith(prefix) for prefix in prefixes) and not key.startswith("x-amz-checksum-"):
                found.append(f"unknown header {key}")
    payload = shape.serialization.get("payload") if shape is not None else None
    target = members[payload] if payload else None
    if target is not None and target.type_name != "structure":
        return found
    if call.protocol == "rest-json":
        value = _json(call.body)
        if target is not None:
            return found + _unknown_json(target, value, payload)
        for key, item in value.items() if isinstance(value, dict) else ():
            if key not in body_members:
                found.append(f"unknown parameter {key}")
            else:
                found += _unknown_json(body_members[key], item, key)
    elif target is not None and call.body:
        try:
            found += _unknown_xml(target, ElementTree.fromstring(call.body), payload)
        except ElementTree.ParseError as error:
            found.append(f"body is no XML: {error}")
    return found


def _unknown_xml(shape, node, path):
    if shape.type_name != "structure":
        return []
    found = []
    names = {}
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        if member.type_name == "list" and member.serialization.get("flattened"):
            wire = member.member.serialization.get("name", wire)
            names[wire] = member.member
        names.setdefault(member.serialization.get("name", name), member)
    for child in node:
        tag = child.tag.rpartition("}")[2]
        if tag not in names:
            found.append(f"unknown element {path}.{tag}")
            continue
        member = names[tag]
        if member.type_name == "list":
            for item in child:
                found += _unknown_xml(member.member, item, f"{path}.{tag}")
        else:
            found += _unknown_xml(member, child, f"{path}.{tag}")
    return found
