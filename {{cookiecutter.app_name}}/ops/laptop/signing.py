"""Tells whether a request was signed as S3 wants it: by a header, in its query, or as the form of an upload.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/, "Authenticating Requests (AWS Signature Version 4)" and "Browser-Based
Uploads Using POST". The standard library alone: the laptop's bucket and the rehearsal's simulated AWS check by it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_BODY = "UNSIGNED-PAYLOAD"
LONGEST_SECONDS = 7 * 24 * 60 * 60
# Fields of a form that its policy need not name.
FREE_FIELDS = ("policy", "x-amz-signature", "file")


class RefusedError(Exception):
    """What S3 answers instead: its error code, the HTTP status, and a message."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


WRONG = RefusedError("SignatureDoesNotMatch", 403, "The request signature we calculated does not match.")


@dataclass(frozen=True)
class Form:
    """The form of an upload: its fields, in lower case, and the file."""

    fields: Mapping[str, str]
    file: bytes


@functools.lru_cache(maxsize=1000)
def key(secret: str, date: str, region: str, service: str) -> bytes:
    """Return what signs the requests of a day to a service."""
    found = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        found = hmac.digest(found, part.encode(), "sha256")
    return found


def query(text: str) -> str:
    """Return a query as it is signed: sorted, each name and value encoded."""
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(text, keep_blank_values=True)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def signature(secret: str, scope: str, stamp: str, canonical: Sequence[str]) -> str:
    """Return the signature of a request that was made canonical; `scope` is date/region/service/aws4_request."""
    date, region, service, _ = scope.split("/")
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    return hmac.digest(
        key(secret, date, region, service), f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256"
    ).hex()


def canonical_request(
    method: str, path: str, asked: str, names: Sequence[str], header: Callable[[str], str], body: str
) -> list[str]:
    """Return the lines that are signed; `asked` is the query as it is signed, `body` the hash of the body."""
    headers = (f"{name}:{' '.join(header(name).split())}" for name in names)
    return [method, path, asked, *headers, "", ";".join(names), body]


def check_query(method: str, path: str, text: str, header: Callable[[str], str], secret: str) -> None:
    """Check a request that is signed in its query. Raises RefusedError."""
    given = dict(parse_qsl(text, keep_blank_values=True))
    try:
        seconds = int(given["X-Amz-Expires"])
        made = _time(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        scope = given["X-Amz-Credential"].partition("/")[2]
        names = given["X-Amz-SignedHeaders"].split(";")
        signed = given.pop("X-Amz-Signature")
        known = given["X-Amz-Algorithm"] == ALGORITHM and 1 <= seconds <= LONGEST_SECONDS and scope.count("/") == 3
    except (KeyError, ValueError):
        known = False
    if not known:
        raise RefusedError("AuthorizationQueryParametersError", 400, "Error parsing the X-Amz parameters of the query.")
    asked = "&".join(part for part in query(text).split("&") if not part.startswith("X-Amz-Signature="))
    lines = canonical_request(method, path, asked, names, header, UNSIGNED_BODY)
    if "host" not in names or not hmac.compare_digest(signature(secret, scope, given["X-Amz-Date"], lines), signed):
        raise WRONG
    now = datetime.now(UTC)
    if now > made + timedelta(seconds=seconds):
        raise RefusedError("AccessDenied", 403, "Request has expired")
    if made > now + timedelta(minutes=15):
        raise RefusedError("AccessDenied", 403, "Request is not valid yet")


def read_form(content_type: str, body: bytes) -> Form:
    """Read the body of an upload. Raises RefusedError."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields: dict[str, str] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:] if boundary else ():
        head, found, content = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode("utf-8", "replace").lower()
        if not found or not name:
            continue
        if name == "file":  # What follows it is not looked at.
            return Form(fields, content)
        fields[name] = content.decode("utf-8", "replace")
    raise RefusedError("InvalidArgument", 400, "POST requires exactly one file upload per request.")


def check_form(form: Form, bucket: str, secret: str) -> None:
    """Check an upload against the policy in its form, which was signed. Raises RefusedError."""
    fields = dict(form.fields)
    try:
        scope = fields["x-amz-credential"].partition("/")[2]
        date, region, service, _ = scope.split("/")
        policy = json.loads(base64.b64decode(fields["policy"], validate=True))
        expiration, conditions = (
            _time(policy["expiration"].split(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"),
            policy["conditions"],
        )
        signed = fields["x-amz-signature"]
    except (KeyError, ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise RefusedError("InvalidPolicyDocument", 400, f"Invalid Policy: {error}") from None
    if not hmac.compare_digest(
        hmac.digest(key(secret, date, region, service), fields["policy"].encode(), "sha256").hex(), signed
    ):
        raise WRONG
    if datetime.now(UTC) > expiration:
        raise _failed("Policy expired.")
    named = {"bucket"}
    for condition in conditions:
        named.add(_check_condition(condition, {**fields, "bucket": bucket}, len(form.file)))
    extra = [name for name in fields if name not in named | set(FREE_FIELDS) and not name.startswith("x-ignore-")]
    if extra or "key" not in fields:
        raise _failed(f"Extra input fields: {', '.join(extra)}" if extra else "key is missing")


def _check_condition(condition: Any, fields: Mapping[str, str], size: int) -> str:
    """Check one condition of a policy, and return the field that it names. Raises RefusedError."""
    if isinstance(condition, dict):
        ((name, value),) = condition.items()
        kind = "eq"
    else:
        kind, name, value = condition
    kind = kind.lower()
    if kind == "content-length-range":
        if size > int(value):
            raise RefusedError("EntityTooLarge", 400, f"Your proposed upload of {size} exceeds the maximum of {value}.")
        if size < int(name):
            raise RefusedError("EntityTooSmall", 400, f"Your proposed upload of {size} is smaller than {name}.")
        return ""
    field = str(name).removeprefix("$").lower()
    given = fields.get(field)
    holds = given is not None and (
        given == value if kind == "eq" else kind == "starts-with" and given.startswith(value)
    )
    if not holds:
        raise _failed(f"Policy Condition failed: {json.dumps([kind, f'${field}', value])}")
    return field


def _failed(what: str) -> RefusedError:
    return RefusedError("AccessDenied", 403, f"Invalid according to Policy: {what}")


def _time(text: str, form: str) -> datetime:
    return datetime.strptime(text, form).replace(tzinfo=UTC)
