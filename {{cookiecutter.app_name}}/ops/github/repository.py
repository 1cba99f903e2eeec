"""What an administrator sets once in GitHub: environments, the main branch's rule, labels; and how its tokens begin."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import click

from ops.errors import OpsError, WrongUse
from ops.github.api import GitHubError, api
from ops.github.delivery import MAIN
from ops.github.jobs import PREVIEW_ENVIRONMENT
from ops.github.previews import LABEL as PREVIEW_LABEL
from ops.github.pulls import DRIFT_LABEL
from ops.output import say, warn
from ops.project import Project, load

RULESET = ".github/rulesets/main.json"
READY = "BOOTSTRAPPED"  # the repository's variable by which jobs know that there are roles to take
LABELS = {
    PREVIEW_LABEL: ("1d76db", "This pull request gets a service of its own beside dev"),
    DRIFT_LABEL: ("d93f0b", "AWS is not as the main branch says"),
}


# ---------------------------------------------------------------------- subjects of OIDC tokens


@click.command("github-subject")
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing; exit with 1 where project.yaml says something else.",
)
def subject(check: bool) -> None:
    """Read from GitHub how the subject of this repository's OIDC tokens begins, and write it into project.yaml."""
    project = load()
    actual = subject_prefix(str(project.settings["github_repository"]))
    stated = str(project.settings["github_oidc_subject_prefix"])
    if actual == stated:
        say(f"project.yaml says {stated}, and so does GitHub.")
        return
    if check:
        raise OpsError(
            f"project.yaml says {stated}, but GitHub says {actual}.",
            next_step="make github-subject writes it.",
        )
    write_subject(project, actual)
    say(f"project.yaml now says {actual}. make bootstrap brings it to GitHub's roles.")


def write_subject(project: Project, prefix: str) -> None:
    """Write into project.yaml how subjects begin. Raises OpsError where there is no such line."""
    path = project.root / "project.yaml"
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^(github_oidc_subject_prefix:\s*).*$", lambda match: f"{match[1]}'{prefix}'", text)
    if count != 1:
        raise OpsError("project.yaml has no line github_oidc_subject_prefix.", next_step=f"Add it: '{prefix}'.")
    path.write_text(changed, encoding="utf-8")


def subject_prefix(repository: str) -> str:
    """How the subject of a repository's OIDC tokens begins.

    GitHub says it in `sub_claim_prefix`; where it says nothing the repository emits names alone, in the letters that
    GitHub has them and not in those that somebody typed: AWS compares them as they are.
    https://docs.github.com/en/rest/actions/oidc
    """
    settings = api(f"repos/{repository}/actions/oidc/customization/sub")
    if settings.get("use_default") is False:
        raise OpsError(
            f"{repository} has subjects of its own making ({', '.join(settings.get('include_claim_keys', []))}); the roles here trust GitHub's default.",
            next_step="Go back to the default in the repository's settings: Actions, OIDC.",
        )
    return str(settings.get("sub_claim_prefix") or f"repo:{api(f'repos/{repository}')['full_name']}").rstrip(":")


def default_branch(repository: str) -> str:
    """The branch from which GitHub takes scheduled workflows, and which its rule is about."""
    return str(api(f"repos/{repository}").get("default_branch", MAIN))


# ---------------------------------------------------------------------- whether there are roles to take


def set_ready(project: Project, *, ready: bool) -> None:
    """Tell GitHub's jobs whether the account is bootstrapped. Raises GitHubError where that cannot be told."""
    variables = f"repos/{project.settings['github_repository']}/actions/variables"
    if not ready:
        _tolerating((404,), lambda: api(f"{variables}/{READY}", method="DELETE"))
        return
    body = {"name": READY, "value": "true"}
    if not _tolerating((409, 422), lambda: api(variables, method="POST", body=body)):
        api(f"{variables}/{READY}", method="PATCH", body=body)


def _tolerating(statuses: tuple[int, ...], call: Callable[[], Any]) -> bool:
    """Call; False where GitHub refuses with one of these."""
    try:
        call()
    except GitHubError as error:
        if error.status not in statuses:
            raise
        return False
    return True


# ---------------------------------------------------------------------- environments and rules


@click.command("github-environments")
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="LOGIN",
    help="Who may let a deployment to a protected environment start; can be repeated.",
)
@click.option("--plan", "dry", is_flag=True, help="Show what would be set, and change nothing.")
def environments(reviewers: tuple[str, ...], dry: bool) -> None:
    """Create GitHub's environments, the rule of the main branch, and the labels that the workflows use.

    What GitHub's plan of this repository does not have is said at the end; everything else is done.
    """
    project = load()
    repository = str(project.settings["github_repository"])
    meant = project.settings.get("github_unprotected_environments", [])
    protected = [name for name in project.environments if load(name).protected and name not in meant]
    if protected and not reviewers:
        raise WrongUse(
            f"{' and '.join(protected)} is protected: somebody must let its deployments start.",
            next_step="make github-environments REVIEWERS='login login'",
        )
    people = [] if dry else [{"type": "User", "id": api(f"users/{login}")["id"]} for login in reviewers]
    lacking: list[str] = []
    for name in project.environments:
        by = f", reviewed by {', '.join(reviewers)}" if name in protected else ""
        say(f"environment {name}: {MAIN} branch only{by}")
        if not dry:
            lacking += _environment(repository, name, people if name in protected else [])
    if PREVIEW_ENVIRONMENT in project.environments:
        say("environment preview: any branch")
        if not dry:
            lacking += _environment(repository, "preview", [], any_branch=True)
    say(f"branch {MAIN}: as {RULESET} says")
    say(f"labels {', '.join(LABELS)}")
    if dry:
        return
    lacking += _ruleset(project, repository)
    for label, (colour, description) in LABELS.items():
        body = {"name": label, "color": colour, "description": description}
        _tolerating((422,), lambda body=body: api(f"repos/{repository}/labels", method="POST", body=body))  # type: ignore[misc]
    if lacking:
        raise OpsError(
            "GitHub did not take everything; the rest is set:\n" + "\n".join(f"  {item}" for item in lacking),
            next_step="Where GitHub's plan of this repository does not have it, and you mean to go without: list the"
            f" environment in project.yaml (github_unprotected_environments: [{', '.join(protected)}]). Otherwise make"
            " the repository public, or take a plan that has it.",
        )


def _environment(repository: str, name: str, people: list[dict[str, Any]], *, any_branch: bool = False) -> list[str]:
    """Set an environment; what GitHub did not take of it, in words."""
    place = f"repos/{repository}/environments/{name}"
    body: dict[str, Any] = {
        "deployment_branch_policy": None
        if any_branch
        else {"protected_branches": False, "custom_branch_policies": True}
    }
    # Where one person is the only reviewer, nobody else could let that person's own change start.
    reviewed = {"reviewers": people, "prevent_self_review": len(people) > 1} if people else {"reviewers": None}
    lacking: list[str] = []
    try:
        api(place, method="PUT", body=body | reviewed)
    except GitHubError as error:
        if error.status not in (403, 404, 422):
            raise
        lacking.append(f"environment {name}{', required reviewers' if people else ''}: {error.message}")
        if not people or not _tolerating((403, 404, 422), lambda: api(place, method="PUT", body=body)):
            return lacking
    if not any_branch:
        try:
            policies = api(f"{place}/deployment-branch-policies")["branch_policies"]
            if MAIN not in [policy["name"] for policy in policies]:
                api(f"{place}/deployment-branch-policies", method="POST", body={"name": MAIN})
        except GitHubError as error:
            if error.status not in (403, 404, 422):
                raise
            lacking.append(f"environment {name}, {MAIN} branch only: {error.message}")
    return lacking


def _ruleset(project: Project, repository: str) -> list[str]:
    rules = json.loads((project.root / RULESET).read_text(encoding="utf-8"))
    try:
        own = api(f"repos/{repository}/rulesets?includes_parents=false")  # an organization may have one of this name
        existing = [item for item in own if item["name"] == rules["name"]]
        if existing:
            api(f"repos/{repository}/rulesets/{existing[0]['id']}", method="PUT", body=rules)
        else:
            api(f"repos/{repository}/rulesets", method="POST", body=rules)
    except GitHubError as error:
        if error.status not in (403, 404, 422):
            raise
        return [f"rule of the branch {MAIN}: {error.message}"]
    return []


# ---------------------------------------------------------------------- for bootstrap


def ask_subject(project: Project) -> Project:
    """The project as GitHub's tokens have it: `bootstrap` calls this, so that its roles trust them from the beginning.

    Where GitHub cannot be asked project.yaml counts, with a warning.
    """
    stated = str(project.settings["github_oidc_subject_prefix"])
    try:
        actual = subject_prefix(str(project.settings["github_repository"]))
    except OpsError as error:
        warn(f"GitHub could not be asked how its tokens begin, so roles will trust {stated}: {error.message}")
        warn(f"{error.next_step} Then make bootstrap again.")
        return project
    if actual == stated:
        return project
    write_subject(project, actual)
    say(f"project.yaml: github_oidc_subject_prefix is {actual} now, as GitHub says. Commit it.")
    return load()


def tell_ready(project: Project, *, ready: bool) -> None:
    """Set the variable by which GitHub's jobs know that there are roles to take, or warn that it is not set."""
    try:
        set_ready(project, ready=ready)
    except OpsError as error:
        wanted = "make bootstrap, again," if ready else "gh variable delete BOOTSTRAPPED"
        warn(f"GitHub's jobs do not know it yet: {error.message} {error.next_step} Then {wanted} tells them.")
        return
    say(f"GitHub's jobs {'may work in this account now' if ready else 'leave this account alone'} (variable {READY}).")


COMMANDS = (subject, environments)
