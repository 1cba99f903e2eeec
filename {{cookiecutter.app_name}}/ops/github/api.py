"""GitHub by its own program, `gh`, which a job has and signs in to with GH_TOKEN; and a job's outputs and summary."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops import processes
from ops.errors import OpsError
from ops.output import say

# What is read is plain, whatever a terminal wants: https://cli.github.com/manual/gh_help_environment.
_PLAIN = {"CLICOLOR_FORCE": "0", "GH_FORCE_TTY": ""}


class GitHubError(OpsError):
    """GitHub refused, or could not be asked. `status` is HTTP's; 0 where there was no answer."""

    def __init__(self, message: str, *, next_step: str = "", status: int = 0) -> None:
        super().__init__(message, next_step=next_step)
        self.status = status


def gh(*arguments: str, given: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run `gh`; its standard output. Raises GitHubError with what it said and what that means."""
    process = processes.run(
        ["gh", *arguments], given=given, environment={**os.environ, **_PLAIN, **(environment or {})}
    )
    if process.status == processes.NOT_FOUND:
        raise GitHubError("gh, GitHub's command-line program, is not installed.", next_step="https://cli.github.com")
    if not process.ok:
        said = (process.err.strip() or process.out.strip())[-2000:]
        found = re.search(r"HTTP (\d{3})", said)
        status = int(found[1]) if found else 0
        raise GitHubError(f"gh {' '.join(arguments[:2])}: {said}", next_step=_meaning(status, said), status=status)
    return process.out


def _meaning(status: int, said: str) -> str:
    """What to do about a refusal of GitHub's."""
    in_a_job = os.environ.get("GITHUB_ACTIONS") == "true"
    if "rate limit" in said:
        return "Too many calls: wait some minutes, then repeat it."
    if status == 401 or "gh auth login" in said:
        return "Give the step GH_TOKEN." if in_a_job else "Sign in: gh auth login."
    if status == 403 and "Upgrade" in said:
        return "GitHub's plan of this repository does not have that."
    if status == 403:
        return (
            "The job's `permissions` do not allow that."
            if in_a_job
            else "That needs an administrator of the repository: gh auth status tells who you are."
        )
    if status == 404:
        return "It does not exist, or these credentials may not see it: is github_repository in project.yaml right?"
    if status == 422:
        return "GitHub does not take these values; the reason stands above."
    if status >= 500 or (not status and re.search(r"dial tcp|timeout|connect|no such host|EOF", said)):
        return "GitHub could not be reached: repeat it; https://www.githubstatus.com."
    return "The reason stands above."


def api(path: str, *, method: str = "GET", body: Mapping[str, Any] | None = None) -> Any:
    """Call GitHub's REST API; lists are read to their last page, but those of which `per_page` says how much is wanted.

    All runs that a workflow ever had are hundreds of calls, and a repository's jobs have a thousand an hour.
    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if body is not None:
        return json.loads(gh("api", path, "--method", method, "--input", "-", given=json.dumps(body)) or "null")
    if method != "GET":
        return json.loads(gh("api", path, "--method", method) or "null")
    if "per_page=" in path:
        return json.loads(gh("api", path))
    pages = json.loads(gh("api", path, "--paginate", "--slurp"))
    return [item for page in pages for item in page] if pages and isinstance(pages[0], list) else pages[0]


def comment(repository: str, number: str, mark: str, text: str) -> None:
    """Write a comment on a pull request, or write it anew where it was.

    A person's comment with the mark is not ours: whoever wrote it could change what stands there.
    """
    body = {"body": f"{mark}\n{text}"}
    for old in api(f"repos/{repository}/issues/{number}/comments"):
        if old["body"].startswith(mark) and (old["user"] or {}).get("type") == "Bot":
            api(f"repos/{repository}/issues/comments/{old['id']}", method="PATCH", body=body)
            return
    api(f"repos/{repository}/issues/{number}/comments", method="POST", body=body)


def write_outputs(values: Mapping[str, str]) -> None:
    """Give values to the job's next steps, and show them."""
    lines = [f"{name}={value}" for name, value in values.items()]
    _append("GITHUB_OUTPUT", "".join(f"{line}\n" for line in lines))
    for line in lines:
        say(line)


def summarize(text: str) -> None:
    """Write Markdown on the page of the run."""
    _append("GITHUB_STEP_SUMMARY", f"{text}\n\n")


def _append(variable: str, text: str) -> None:
    target = os.environ.get(variable)
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.write(text)
