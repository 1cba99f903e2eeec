"""Who calls: access keys and the principals that they belong to, and STS, which gives keys out.

Keys that nobody gave out are refused. `AssumeRole` and `AssumeRoleWithWebIdentity` hand them out when the role's trust policy
says so; ECS and Lambda assume the roles of tasks and functions by the same policies.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from ops.rehearsal.iam import web_identity
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.decide import Ask, Decision, Given, Principal, decide
from ops.rehearsal.iam.policy import Policy, Who, read
from ops.rehearsal.sign_in import administrators_key
from ops.rehearsal.simulator.state import MotoState

ADMINISTRATOR = ("AKIAIOSFODNN7EXAMPLE", "simulated")
KEY_FILE = "github-oidc-key.pem"


class RefusedError(Exception):
    """What AWS refuses: an error code, its HTTP status and a message."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True)
class Place:
    """Where a process is: in a VPC, in these subnets."""

    vpc_id: str
    subnets: tuple[str, ...]


@dataclass(frozen=True)
class Caller:
    """A principal with the condition keys that its credentials bring."""

    principal: Principal
    keys: Mapping[str, Value | None]
    place: Place | None = None
    internal: bool = False


class Identities:
    """Access keys of one simulated AWS.

    Args:
        state: reads roles and policies.
        accounts: those beside the state's own.
        directory: where the key that signs GitHub's tokens is kept for those who play GitHub.

    """

    def __init__(self, state: MotoState, directory: Path, accounts: Sequence[str] = ()) -> None:
        self.state = state
        # What AWS does by itself; no process knows these.
        self._secret = secrets.token_hex(20)
        self._internal = {
            account: "ASIA" + secrets.token_hex(8).upper() for account in dict.fromkeys([state.account, *accounts])
        }
        self.internal = self.internal_of(state.account)
        self._sessions: dict[str, tuple[Any, Mapping[str, Value | None], Place | None]] = {}
        self._issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        file = directory / KEY_FILE
        file.touch(mode=0o600)
        file.write_bytes(
            self._issuer.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        for account in self._internal:
            self.make_administrator(account)

    def internal_of(self, account: str) -> tuple[str, str]:
        """Return the keys of what AWS does by itself in an account."""
        return self._internal[account], self._secret

    def make_administrator(self, account: str | None = None) -> None:
        """Make the person who bootstraps an account: a user who may do everything, as AdministratorAccess says."""
        account = account or self.state.account
        backend = iam_backends[account][self.state.partition]
        if "administrator" in backend.users:
            return
        user = backend.create_user(self.state.region, "administrator")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        backend.put_user_policy(user.name, "AdministratorAccess", json.dumps(everything))
        key = backend.create_access_key(user.name)
        backend.access_keys.pop(key.physical_resource_id, None)
        key.access_key_id, key.secret_access_key = ADMINISTRATOR
        if account != self.state.account:
            key.access_key_id = administrators_key(account)
        backend.access_keys[key.physical_resource_id] = key

    # Who has a key.

    def caller(self, key_id: str, token: str | None) -> Caller:
        """Return who an access key belongs to. Raises RefusedError for a key that nobody gave out, or no more."""
        for account, internal in self._internal.items():
            if key_id == internal:
                return Caller(Principal(Who("aws", account, kind="service")), {}, internal=True)
        for account, partitions in list(iam_backends.items()):
            for user in list(partitions[self.state.partition].users.values()):
                if any(key.access_key_id == key_id and key.status == "Active" for key in user.access_keys):
                    return self._user(account, user)
        session, keys, place = self._session(key_id)
        if session is None:
            raise RefusedError("InvalidClientTokenId", "The security token included in the request is invalid.")
        if token != session.session_token:
            raise RefusedError("InvalidClientTokenId", "The security token included in the request is invalid.")
        if session.expiration.timestamp() < time.time():
            raise RefusedError("ExpiredToken", "The security token included in the request is expired.")
        return self._role_session(session, keys, place)

    def secret(self, key_id: str) -> str | None:
        """Return the secret of a key."""
        if key_id in self._internal.values():
            return self._secret
        for partitions in list(iam_backends.values()):
            for user in list(partitions[self.state.partition].users.values()):
                for key in user.access_keys:
                    if key.access_key_id == key_id:
                        return str(key.secret_access_key)
        session = self._session(key_id)[0]
        return str(session.secret_access_key) if session is not None else None

    def _session(self, key_id: str) -> tuple[Any, Mapping[str, Value | None], Place | None]:
        if key_id in self._sessions:
            return self._sessions[key_id]
        for partitions in list(sts_backends.values()):
            for session in list(partitions[self.state.partition].assumed_roles):
                if session.access_key_id == key_id:
                    self._sessions[key_id] = (session, {}, None)
                    return self._sessions[key_id]
        return None, {}, None

    def _user(self, account: str, user: Any) -> Caller:
        policies = [read(name, text) for name, text in user.policies.items()]
        policies += [_managed(policy) for policy in user.managed_policies.values()]
        backend = iam_backends[account][self.state.partition]
        for group in backend.get_groups_for_user(user.name):
            policies += [read(name, text) for name, text in group.policies.items()]
            policies += [_managed(policy) for policy in group.managed_policies.values()]
        keys: dict[str, Value | None] = {
            "aws:PrincipalArn": user.arn,
            "aws:PrincipalAccount": account,
            "aws:PrincipalType": "User",
            "aws:userid": user.id,
            "aws:username": user.name,
        }
        return Caller(Principal(Who(user.arn, account), tuple(policies)), keys)

    def _role_session(self, session: Any, more: Mapping[str, Value | None], place: Place | None) -> Caller:
        account, name = session.account_id, session.role_arn.rpartition("/")[2]
        keys: dict[str, Value | None] = {
            "aws:PrincipalArn": session.role_arn,
            "aws:PrincipalAccount": account,
            "aws:PrincipalType": "AssumedRole",
            "aws:userid": session.user_id,
            "aws:MultiFactorAuthPresent": "false",
            **more,
        }
        limits = (Policy("the session's policy", session.policy),) if session.policy else None
        return Caller(
            self.role_principal(session.role_arn, session.arn, limits),
            keys | _role_tags(self.state, account, name),
            place,
        )

    def role_principal(
        self, role_arn: str, session_arn: str = "", limits: tuple[Policy, ...] | None = None
    ) -> Principal:
        """Return a role with its policies. A role that is gone may nothing."""
        account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
        who = Who(session_arn or role_arn, account, role_arn, "role")
        role = self.state.role(account, name)
        if role is None:
            return Principal(who)
        policies = [read(inline, text) for inline, text in list(role.policies.items())]
        policies += [_managed(policy) for policy in list(role.managed_policies.values())]
        boundary = None
        if role.permissions_boundary_arn:
            found = iam_backends[account][self.state.partition].managed_policies.get(role.permissions_boundary_arn)
            # A boundary that does not exist allows nothing.
            boundary = (
                _managed(found) if found is not None else Policy("a boundary that is not there", {"Statement": []})
            )
        return Principal(who, tuple(policies), boundary, limits)

    # STS.

    def for_service(
        self, service: str, role_arn: str, source_arn: str, session_name: str, *, place: Place | None = None,
        keys: Mapping[str, Value | None] | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """Assume a role as a service of AWS does, such as `ecs-tasks.amazonaws.com`.

        Returns `access_key`, `secret_key` and `token`. Raises RefusedError when the trust policy does not admit the
        service for `source_arn`. `place` and `keys` are where the process is and what its calls bring along.
        """
        account = source_arn.split(":")[4]
        context: dict[str, Value | None] = {
            "aws:SourceAccount": account,
            "aws:SourceArn": source_arn,
            "aws:PrincipalServiceName": service,
            "aws:PrincipalIsAWSService": "true",
            "aws:SecureTransport": "true",
            "aws:RequestedRegion": self.state.region,
        }
        found = self.trusts(Who(service, kind="service"), role_arn, "sts:AssumeRole", Given(context))
        if not found.allowed:
            raise RefusedError(
                "AccessDenied",
                f"{service} is not authorized to perform: sts:AssumeRole on resource: {role_arn} {found.because}"
                + (f" ({found.nearest})" if found.nearest else ""),
            )
        backend = sts_backends[account][self.state.partition]
        session = backend.assume_role(
            region_name=self.state.region,
            role_session_name=session_name[:64],
            role_arn=role_arn,
            policy="",
            duration=6 * 3600,
            external_id="",
        )
        self._sessions[session.access_key_id] = (session, dict(keys or {}), place)
        return {
            "access_key": session.access_key_id,
            "secret_key": session.secret_access_key,
            "token": session.session_token,
        }

    def trusts(self, who: Who, role_arn: str, action: str, keys: Any) -> Decision:
        """Ask a role's trust policy. Raises RefusedError for a role that does not exist, in the words for one that refuses."""
        policy = self.state.resource_policy(action, role_arn)
        account = role_arn.split(":")[4]
        if policy is None:
            return Decision(
                False, f"because no resource-based policy allows the {action} action", "there is no such role"
            )
        return decide(Principal(who), Ask(action, role_arn, keys, account, policy, rules_itself=True))

    def web_identity(self, parameters: Mapping[str, Any]) -> tuple[Who, Mapping[str, Value | None]]:
        """Check a token and return whom it is about, with the condition keys of its claims.

        Raises RefusedError as AssumeRoleWithWebIdentity does:
        https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
        """
        role_arn = str(parameters.get("RoleArn", ""))
        account = role_arn.split(":")[4] if role_arn.count(":") >= 5 else self.state.account
        claims = self._verified(str(parameters.get("WebIdentityToken", "")))
        host = str(claims.get("iss", "")).partition("://")[2].rstrip("/")
        backend = iam_backends[account][self.state.partition]
        arn = f"arn:{self.state.partition}:iam::{account}:oidc-provider/{host}"
        provider = backend.open_id_providers.get(arn)
        if provider is None:
            raise RefusedError(
                "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {claims.get('iss')}", 400
            )
        audience = claims.get("aud")
        given = [audience] if isinstance(audience, str) else list(audience or [])
        if not set(given) & set(provider.client_id_list):
            raise RefusedError("InvalidIdentityToken", "Incorrect token audience", 400)
        keys = web_identity.condition_keys(host, claims)
        return Who(arn, kind="federated"), keys | {"aws:FederatedProvider": arn}

    def _verified(self, token: str) -> dict[str, Any]:
        """Return a token's claims when this run's issuer signed it and its time has come and is not over."""
        try:
            head, body, signature = token.split(".")
            header, claims = json.loads(_decoded(head)), json.loads(_decoded(body))
        except ValueError:
            raise RefusedError("InvalidIdentityToken", "The ID Token provided is not a valid JWT.", 400) from None
        if claims.get("iss") != web_identity.ISSUER or header.get("alg") != "RS256":
            raise RefusedError(
                "InvalidIdentityToken",
                f"Issuer {claims.get('iss')} or algorithm {header.get('alg')} is not known.",
                400,
            )
        try:
            self._issuer.public_key().verify(
                _decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, ValueError):
            raise RefusedError("InvalidIdentityToken", "Token signature invalid.", 400) from None
        now = time.time()
        if float(claims.get("exp", 0)) <= now:
            raise RefusedError(
                "ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time", 400
            )
        if float(claims.get("nbf", claims.get("iat", 0))) > now + 300:
            raise RefusedError("InvalidIdentityToken", "The token is not valid yet.", 400)
        found: dict[str, Any] = claims
        return found

    def check_duration(self, parameters: Mapping[str, Any]) -> None:
        """Refuse a session longer than its role's: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html."""
        role_arn = str(parameters.get("RoleArn", ""))
        role = (
            self.state.role(role_arn.split(":")[4], role_arn.rpartition("/")[2]) if role_arn.count(":") >= 5 else None
        )
        longest = int(getattr(role, "max_session_duration", None) or 3600)
        if int(parameters.get("DurationSeconds") or 3600) > longest:
            raise RefusedError(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
                400,
            )


def _managed(policy: Any) -> Policy:
    version = next(v for v in policy.versions if v.version_id == policy.default_version_id)
    text = version.document if isinstance(version.document, str) else json.dumps(version.document)
    return read(policy.name, text)


def _role_tags(state: MotoState, account: str, name: str) -> dict[str, Value | None]:
    role = state.role(account, name)
    tags = state.tags(role.arn) if role is not None else {}
    return {f"aws:PrincipalTag/{key}": value for key, value in tags.items()}


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
