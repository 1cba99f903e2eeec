"""Checks that a request was signed with the secret of its key.

Source: IAM User Guide, "AWS Signature Version 4 for API requests": canonical request, string to sign, derived key.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from urllib.parse import parse_qsl, quote, urlsplit

from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.simulator.requests import Environ

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<scope>[^,\s]+),\s*SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]+)"
)


def matches(environ: Environ, body: bytes, secret: str) -> bool:
    """Tell whether a request's signature is right. Raises UndecidableError for a request that is signed in its query."""
    found = _AUTHORIZATION.match(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        raise UndecidableError("a request that is signed in its query")
    _, date, region, service, _ = found["scope"].split("/")
    given_hash = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    body_hash = hashlib.sha256(body).hexdigest()
    if re.fullmatch(r"[0-9a-f]{64}", given_hash) and given_hash != body_hash:
        return False
    address = urlsplit(str(environ.get("RAW_URI") or environ.get("PATH_INFO", "/")))
    names = found["headers"].split(";")
    canonical = "\n".join(
        [
            environ["REQUEST_METHOD"],
            _path(address.path, service),
            _query(address.query),
            *(f"{name}:{' '.join(str(_header(environ, name)).split())}" for name in names),
            "",
            ";".join(names),
            given_hash or body_hash,
        ]
    )
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            environ.get("HTTP_X_AMZ_DATE", ""),
            f"{date}/{region}/{service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = _key(secret, date, region, service)
    return hmac.compare_digest(hmac.new(key, to_sign.encode(), "sha256").hexdigest(), found["signature"])


@functools.lru_cache(maxsize=1000)
def _key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _path(path: str, service: str) -> str:
    # S3 signs the path as it is sent; the others encode what is encoded once more.
    return path or "/" if service == "s3" else quote(path or "/", safe="/~")


def _query(query: str) -> str:
    pairs = [
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _header(environ: Environ, name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))
