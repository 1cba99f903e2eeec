"""GitHub's identity tokens: what they say, how they are signed, and which condition keys a trust policy sees of them.

The simulated AWS accepts tokens of its own issuer key (`simulator.identities.KEY_FILE` in the run's directory) and checks
issuer, audience, times and signature as AWS does.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.decide import Given
from ops.rehearsal.iam.errors import UndecidableError

ISSUER = "https://token.actions.githubusercontent.com"
# The claims of GitHub's tokens that AWS has as condition keys, beside `aud` and `sub`: IAM User Guide, "Available keys for
# AWS OIDC federation". Others are not to be had.
CLAIMS = (
    "actor", "actor_id", "enterprise_id", "environment", "job_workflow_ref", "ref", "repository", "repository_id", "workflow",
)  # fmt: skip
MINUTES = 5  # that a token lives


def condition_keys(host: str, claims: Mapping[str, Any]) -> dict[str, Value | None]:
    """Return the condition keys of a token: `token.actions.githubusercontent.com:sub`."""
    audience = claims.get("aud")
    found: dict[str, Value | None] = {
        f"{host}:aud": audience if isinstance(audience, str) else tuple(audience or ()),
        f"{host}:sub": str(claims.get("sub", "")),
    }
    return found | {f"{host}:{name}": str(claims[name]) for name in CLAIMS if claims.get(name) is not None}


class TokenKeys(Given):
    """The keys of a request for a role with a token. Raises UndecidableError for a claim that AWS has no key for."""

    def get(self, key: str, /) -> Value | None:
        """Return a key's value."""
        host, _, claim = key.rpartition(":")
        if host == ISSUER.partition("://")[2] and claim.lower() not in ("aud", "sub", *CLAIMS):
            raise UndecidableError(f"condition key {key}, which AWS does not have for GitHub's tokens")
        return super().get(key)


def subject(prefix: str, *, environment: str | None = None, event: str = "push", ref: str = "refs/heads/main") -> str:
    """Return the subject that GitHub gives a job's token, after the repository's prefix (`repo:OWNER/NAME`).

    https://docs.github.com/en/actions/reference/security/oidc: an environment comes first, then a pull request, then the ref.
    """
    if environment:
        return f"{prefix}:environment:{environment}"
    return f"{prefix}:pull_request" if event == "pull_request" else f"{prefix}:ref:{ref}"


def token(
    key_file: Path,
    *,
    prefix: str,
    audience: str,
    environment: str | None = None,
    event: str = "push",
    ref: str = "refs/heads/main",
    lifetime_seconds: float = MINUTES * 60,
    **claims: Any,
) -> str:
    """Sign the token that GitHub would give to a job.

    Args:
        key_file: the run's `github-oidc-key.pem`.
        prefix: how the repository's subjects begin: `repo:OWNER/NAME`, or the immutable form.
        audience: `sts.amazonaws.com`.
        environment: the job's GitHub environment.
        event: what started the workflow.
        ref: the branch, or `refs/pull/7/merge`.
        lifetime_seconds: until it expires.
        claims: more of them, or others instead.

    """
    now = time.time()
    body = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject(prefix, environment=environment, event=event, ref=ref),
        "iat": int(now),
        "nbf": int(now),
        "exp": now + lifetime_seconds,
        "ref": ref,
        "event_name": event,
        "repository": prefix.partition(":")[2],
        **({"environment": environment} if environment else {}),
        **claims,
    }
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{key_file} is no RSA key")
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, body))
    return f"{signed}.{_encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
