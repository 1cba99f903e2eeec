"""Reads an HTTP request as the API call that it is, with botocore's models, and writes errors in its protocol."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model

Environ = dict[str, Any]
FORM = "rehearsal.form"  # in the environ of an upload: uploads.py

# The name that a request is signed for -> what botocore calls the service, where it differs.
_MODELS = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
}
# … -> the first part of its actions in IAM, where it differs.
_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}


@dataclass(frozen=True)
class Credential:
    """What a request says of who signed it: the credential scope of its signature, and the session's token."""

    key_id: str
    region: str
    service: str
    token: str | None


@dataclass(frozen=True)
class ApiRequest:
    """One request: `service` as it was signed, `prefix` as IAM calls it, the operation and its parameters.

    `operation` is the method and path, and `known` is False, when the service's model does not have it.
    """

    service: str
    prefix: str
    operation: str
    parameters: Mapping[str, Any]
    protocol: str
    known: bool = True


def credential(environ: Environ) -> Credential | None:
    """Return who signed a request, by its header, its query or its form; None when nobody did."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    header = environ.get("HTTP_AUTHORIZATION", "")
    scope = (query.get("X-Amz-Credential") or [""])[0] or (re.findall(r"Credential=([^,\s]+)", header) or [""])[0]
    if form := environ.get(FORM):
        scope = form.fields.get("x-amz-credential", "")
    found = re.fullmatch(r"([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", scope)
    if found is None:
        return None
    token = form.fields.get("x-amz-security-token") if form else None
    token = token or environ.get("HTTP_X_AMZ_SECURITY_TOKEN") or (query.get("X-Amz-Security-Token") or [None])[0]
    return Credential(found[1], found[2], found[3].lower(), token)


def read(environ: Environ, body: bytes, service: str) -> ApiRequest:
    """Return the call that a request makes to a service."""
    model_name = _model_name(environ, service)
    prefix = _PREFIXES.get(service, service)
    if model_name == "s3control":
        prefix = "s3control"
    fallback = f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '/')}"
    try:
        model = get_service_model(model_name)
    except Exception:  # noqa: BLE001 - a service without a model
        return ApiRequest(service, prefix, _named(environ, body) or fallback, {}, "json", known=False)
    protocol = str(model.protocol)
    request = Request({**environ, "wsgi.input": io.BytesIO(body)})
    try:
        protocol = determine_request_protocol(model, request.content_type)
        labels: Mapping[str, Any] = {}
        name = _named(environ, body)
        if name is None:
            matched, labels = get_service_router(model_name).match(request)
            name = str(matched.name)
        operation = model.operation_model(name)
        parser = PROTOCOL_PARSERS[protocol](operation)
        parsed = parser.parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": request.data or body,
                "url_path": request.path,
                "url_params": dict(labels),
            }
        )
    except Exception:  # noqa: BLE001 - whatever it is, the model does not know this request
        return ApiRequest(service, prefix, _named(environ, body) or fallback, {}, protocol, known=False)
    return ApiRequest(service, prefix, name, parsed or {}, protocol)


def _model_name(environ: Environ, service: str) -> str:
    path = environ.get("PATH_INFO", "")
    if service == "appconfig" and path.startswith("/configuration"):
        return "appconfigdata"
    if service == "s3" and (path.startswith("/v20180820/") or "s3-control" in environ.get("HTTP_HOST", "")):
        return "s3control"
    return _MODELS.get(service, service)


def _named(environ: Environ, body: bytes) -> str | None:
    """Return the operation that a request names by itself, as the JSON and the query protocols do."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    query = parse_qs(environ.get("QUERY_STRING", "")).get("Action")
    if query:
        return str(query[0])
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        found = re.match(rb"(?:.*&)?Action=([A-Za-z0-9]+)", body)
        return found[1].decode() if found else None
    return None


# What each protocol calls a refusal: error code, HTTP status.
_REFUSED = {
    "ec2": ("UnauthorizedOperation", 403),
    "json": ("AccessDeniedException", 400),
    "query": ("AccessDenied", 403),
    "rest-json": ("AccessDeniedException", 403),
    "rest-xml": ("AccessDenied", 403),
}
# Services that call it otherwise. https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_REFUSED_BY = {"sns": ("AuthorizationError", 403)}
_UNKNOWN_KEY = {
    "ec2": ("AuthFailure", 401),
    "json": ("UnrecognizedClientException", 400),
    "query": ("InvalidClientTokenId", 403),
    "rest-json": ("UnrecognizedClientException", 403),
    "rest-xml": ("InvalidAccessKeyId", 403),
}


def refusal_code(request: ApiRequest) -> tuple[str, int]:
    """Return what a service calls an access that is denied, and the HTTP status."""
    return _REFUSED_BY.get(request.service) or _REFUSED[request.protocol]


def unknown_key_code(request: ApiRequest) -> tuple[str, int]:
    """Return what a service calls a key that it does not know, and the HTTP status."""
    return _UNKNOWN_KEY[request.protocol]


_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}


def error(request: ApiRequest, status: int, code: str, message: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return an error in the protocol that the client of this service reads: status, headers, body."""
    text = re.sub(r"[<>&]", " ", message)
    kind = "text/xml"
    if request.protocol == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message></Error></Errors>"
            "<RequestID>0</RequestID></Response>"
        )
    elif request.service == "s3" and request.prefix != "s3control":
        body = f"<Error><Code>{code}</Code><Message>{text}</Message></Error>"
    elif request.protocol in ("query", "rest-xml"):
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message>"
            "</Error><RequestId>0</RequestId></ErrorResponse>"
        )
    else:
        kind, body = "application/json", json.dumps({"__type": code, "message": message})
    headers = [("Content-Type", kind), ("Content-Length", str(len(body.encode()))), ("x-amzn-ErrorType", code)]
    return f"{status} {_REASONS.get(status, 'Error')}", headers, body.encode()
