"""Signing in to the simulated AWS: as the administrator who bootstraps, and as GitHub's jobs do.

A job asks `make github-settings` for its role, as .github/actions/setup does, and trades the token that GitHub would give
to it for keys that last as long as the workflows ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore import UNSIGNED
from botocore.config import Config

from ops.project import Project
from ops.rehearsal.iam.web_identity import token

KEY_FILE = "github-oidc-key.pem"  # with which the simulator's GitHub signs; in the run's directory
SETUP = "./.github/actions/setup"
MAIN, PULL_REQUEST = "refs/heads/main", "refs/pull/7/merge"
DEFAULT_SECONDS = 3600  # of aws-actions/configure-aws-credentials


@dataclass(frozen=True)
class Keys:
    """Keys of somebody, whom `name` tells in words."""

    name: str
    access: str
    secret: str
    token: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which SDKs, Terraform and the AWS CLI take them."""
        found = {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}
        return found | ({"AWS_SESSION_TOKEN": self.token} if self.token else {})


# A user with AdministratorAccess, whom the simulator has from the beginning.
ADMINISTRATOR = Keys("the administrator", "AKIAIOSFODNN7EXAMPLE", "simulated")


def administrators_key(account: str) -> str:
    """Return the access key of the one in an account beside the first; the secret is the same."""
    return f"AKIA{account}EXAM"


def administrator(project: Project) -> Keys:
    """Return the keys of the one whom the account has in which the environment lives."""
    return administrator_of(project, project.account)


def administrator_of(project: Project, account: str) -> Keys:
    """Return the keys of the one whom an account of the project has."""
    if account == project.registry["account_id"]:
        return ADMINISTRATOR
    return Keys(f"the administrator of {account}", administrators_key(account), ADMINISTRATOR.secret)


@dataclass(frozen=True)
class Profiles:
    """The administrators of all accounts, each by the profile that project.yaml names."""

    file: Path
    name: str = "the administrators"

    @property
    def variables(self) -> dict[str, str]:
        """No keys of one account, and where those of each are."""
        nothing = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
        return nothing | {"AWS_SHARED_CREDENTIALS_FILE": str(self.file)}


def administrators(project: Project, file: Path) -> Keys | Profiles:
    """Return who does what spans the project's accounts; written into `file` where there are several."""
    if len(project.accounts) == 1:
        return ADMINISTRATOR
    lines = []
    for account, settings in project.accounts.items():
        keys = administrator_of(project, account)
        lines += [
            f"[{settings['profile']}]",
            f"aws_access_key_id = {keys.access}",
            f"aws_secret_access_key = {keys.secret}",
        ]
    file.touch(mode=0o600)
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return Profiles(file)


@dataclass(frozen=True)
class Job:
    """A job of a workflow.

    `role` is the one that it asks for, `environment` whose settings it works with, `gate` the GitHub environment whose
    name its token's subject has; `event` and `ref` are what started the workflow.
    """

    role: str
    environment: str = ""
    gate: str = ""
    event: str = "push"
    ref: str = MAIN

    @property
    def name(self) -> str:
        """Its role in words."""
        return f"{self.environment}'s apply role" if self.role == "apply" else f"the {self.role} role"

    def token(self, directory: Path, prefix: str, audience: str) -> str:
        """Return the token that GitHub gives to it, signed with the key in the run's directory."""
        return token(
            directory / KEY_FILE,
            prefix=prefix,
            audience=audience,
            environment=self.gate or None,
            event=self.event,
            ref=self.ref,
        )


def session_seconds(root: Path, role: str) -> int:
    """Return the longest time for which a job of the workflows asks for the keys of a role.

    Raises ValueError where they ask in a form that is not read here.
    """
    action = yaml.safe_load((root / SETUP / "action.yml").read_text(encoding="utf-8"))
    default = action["inputs"].get("session-seconds", {}).get("default", DEFAULT_SECONDS)
    asked = []
    for file in sorted((root / ".github" / "workflows").glob("*.yml")):
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        for job in workflow["jobs"].values():
            for step in job.get("steps", ()):
                given = step.get("with", {})
                if step.get("uses") == SETUP and role in str(given.get("role", "")):
                    asked.append(str(given.get("session-seconds", default)))
    wrong = [text for text in asked if not text.isdigit()]
    if wrong:
        raise ValueError(f"the workflows ask for sessions of {', '.join(wrong)} seconds: write a number")
    return max(map(int, asked), default=int(default))


def assume(job: Job, settings: Mapping[str, str], directory: Path, *, prefix: str, endpoint: str, seconds: int) -> Keys:
    """Trade a job's token for keys. `settings` are what `make github-settings` wrote for it.

    Raises botocore's ClientError when the role's trust policy refuses.
    """
    # Nobody signs this call: the token says who it is.
    sts: Any = boto3.Session().client(
        "sts", region_name=settings["region"], endpoint_url=endpoint, config=Config(signature_version=UNSIGNED)
    )
    given = sts.assume_role_with_web_identity(
        RoleArn=settings["role_arn"],
        RoleSessionName="GitHubActions",
        WebIdentityToken=job.token(directory, prefix, settings["audience"]),
        DurationSeconds=seconds,
    )["Credentials"]
    return Keys(job.name, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
