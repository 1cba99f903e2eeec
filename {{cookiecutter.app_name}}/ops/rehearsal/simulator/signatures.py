"""Checks that a request was signed with the secret of its key.

Source: IAM User Guide, "AWS Signature Version 4 for API requests": canonical request, string to sign, derived key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import quote, urlsplit

from ops.laptop import signing
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.simulator.requests import Environ

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<scope>[^,\s]+),\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]+)"
)


def matches(environ: Environ, body: bytes, secret: str) -> bool:
    """Tell whether a request's signature is right, in its header. Raises UndecidableError where there is none."""
    found = _AUTHORIZATION.match(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        raise UndecidableError("a request that is signed in no way that is known here")
    _, date, region, service, _ = found["scope"].split("/")
    given_hash = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    body_hash = hashlib.sha256(body).hexdigest()
    if re.fullmatch(r"[0-9a-f]{64}", given_hash) and given_hash != body_hash:
        return False
    address = urlsplit(str(environ.get("RAW_URI") or environ.get("PATH_INFO", "/")))
    lines = signing.canonical_request(
        environ["REQUEST_METHOD"],
        _path(address.path, service),
        signing.query(address.query),
        found["headers"].split(";"),
        lambda name: _header(environ, name),
        given_hash or body_hash,
    )
    wanted = signing.signature(
        secret, f"{date}/{region}/{service}/aws4_request", environ.get("HTTP_X_AMZ_DATE", ""), lines
    )
    return hmac.compare_digest(wanted, found["signature"])


def check_presigned(environ: Environ, secret: str) -> None:
    """Check a request to S3 that is signed in its query. Raises signing.RefusedError."""
    address = urlsplit(str(environ.get("RAW_URI") or environ.get("PATH_INFO", "/")))
    path, query = address.path, address.query or environ.get("QUERY_STRING", "")
    signing.check_query(environ["REQUEST_METHOD"], path, query, lambda name: _header(environ, name), secret)


def _path(path: str, service: str) -> str:
    # S3 signs the path as it is sent; the others encode what is encoded once more.
    return path or "/" if service == "s3" else quote(path or "/", safe="/~")


def _header(environ: Environ, name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))
