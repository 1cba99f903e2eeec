"""A session for each AWS account, the check whose it is, and AWS's errors in words."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    TokenRetrievalError,
)

from ops.errors import AccountError, OpsError
from ops.project import Project

_EXPIRED = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "Client.UnauthorizedOperation",
    "AuthorizationError",
}
_SIGN_IN = "Sign in again (such as `aws sso login`), or set AWS_PROFILE to the right profile."


@dataclass(frozen=True)
class Aws:
    """Clients for a region. boto3 finds credentials (and AWS_ENDPOINT_URL) by itself, or those of a profile."""

    region: str
    profile: str | None = None

    @functools.cached_property
    def session(self) -> Any:
        """The session behind all clients."""
        return _session(boto3.Session, self.region, self.profile)

    def client(self, service: str, region: str | None = None) -> Any:
        """A client with bounded time and retries, in another region where one is said."""
        return _client(self.session, service, region or self.region)


@functools.lru_cache(maxsize=8)
def _session(make: Any, region: str, profile: str | None) -> Any:
    """One for the whole process: it may have asked for an MFA code."""
    return make(region_name=region, **({"profile_name": profile} if profile else {}))


# What leads AWS's SDKs to credentials, in the environment.
CREDENTIAL_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    }
)


def of(project: Project) -> Aws:
    """Clients in the project's account: as the shell says, and where it says nothing by project.yaml's `aws_profile`."""
    said = any(os.environ.get(name) for name in CREDENTIAL_VARIABLES)
    return Aws(project.region, None if said else project.profile or None)


def credentials(project: Project) -> dict[str, str]:
    """The credentials of this process as variables for another program, as they are now; empty where there are none.

    Raises AccountError where they cannot be had.
    """
    try:
        found = of(project).session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except (BotoCoreError, ClientError) as error:
        raise explain(error) from error
    if frozen is None:
        return {}
    variables = {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
    return variables | ({"AWS_SESSION_TOKEN": frozen.token} if frozen.token else {})


@functools.lru_cache(maxsize=64)
def _client(session: Any, service: str, region: str) -> Any:
    config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5})
    return session.client(service, region_name=region, config=config)


@dataclass(frozen=True)
class Identity:
    """Who the credentials belong to."""

    account: str
    arn: str


def identity(aws: Aws) -> Identity:
    """Ask AWS who we are. Raises AccountError for missing, wrong or expired credentials."""
    try:
        answer = aws.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise explain(error) from error
    return Identity(account=answer["Account"], arn=answer["Arn"])


def connect(project: Project) -> Aws:
    """The AWS account of project.yaml. Raises AccountError when the credentials are of another one."""
    aws = of(project)
    found = identity(aws)
    if found.account != project.account:
        several = len(project.accounts) > 1
        where = f" for {project.environment or 'what is there once'}" if several else ""
        using = f" (aws_profile {aws.profile} in project.yaml)" if aws.profile else ""
        raise AccountError(
            f"The credentials are of account {found.account} ({found.arn}); project.yaml says {project.account}{where}{using}.",
            next_step="Set AWS_PROFILE to a profile of the right account, or correct aws_account_id in project.yaml."
            + (" A command that works in several accounts takes each one's aws_profile there." if several else ""),
        )
    return aws


def connect_all(projects: Iterable[Project]) -> dict[str, Aws]:
    """Connections by account: all of them, before anything is done in one."""
    return {project.account: connect(project) for project in projects}


def code(error: ClientError) -> str:
    """AWS's code of an error, such as `ResourceNotFoundException`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explain(error: BotoCoreError | ClientError) -> OpsError:
    """An error of boto3 as one for people."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return AccountError("There are no AWS credentials.", next_step=_SIGN_IN)
    if isinstance(error, ProfileNotFound | NoRegionError):
        return AccountError(str(error), next_step="Correct AWS_PROFILE, aws_profile in project.yaml, or ~/.aws/config.")
    if isinstance(error, SSOError | TokenRetrievalError | CredentialRetrievalError):
        return AccountError(f"The AWS credentials can't be read: {error}", next_step=_SIGN_IN)
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ReadTimeoutError):
        return OpsError(
            f"AWS can't be reached: {error}",
            next_step="Check the network, a proxy, and AWS_ENDPOINT_URL; then repeat the command.",
        )
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message", "") or str(error)
        if message.lstrip().startswith("<"):  # a proxy's page, not AWS's words
            message = "no reason given"
        if code(error) in _EXPIRED:
            return AccountError(f"AWS refuses the credentials: {code(error)}: {message}", next_step=_SIGN_IN)
        if code(error) in _DENIED:
            return AccountError(
                f"These credentials may not do {error.operation_name}: {message}",
                next_step="Use a role that may, or ask the account's administrators.",
            )
        return OpsError(f"AWS answers {error.operation_name} with {code(error)}: {message}")
    return OpsError(f"AWS: {error}")
