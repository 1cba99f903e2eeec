"""Brings what is new in the template into this repository, on a branch of its own: `make template-update`.

    python -m ops.template_update [--to REF] [--plan]     update, or only show what would change
    python -m ops.template_update --pull-request          and push it as one pull request (the workflow does this)

The template is rendered twice with the answers that .cruft.json records: as it was, and as it is now. git applies the
difference between the two, as it would cherry-pick a commit, so it follows files that moved. Where a line was changed
on both sides the team's stays, and the report says what the template wanted there. What no merge can do, such as moving
a file that git does not know, does the template's script for that version in its folder migrations/.

It runs in an environment of its own (.venv-update) with cookiecutter. Exit codes: 0 done or nothing to do, 1 failed,
2 this repository cannot be updated as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.errors import OpsError, WrongUse
from ops.output import say

BRANCH = "template-update"
RECORD = ".cruft.json"
REPORT = Path(".ops") / "template-update.md"
# https://github.com/orgs/community/discussions/27190: the text of a pull request has at most 65,536 characters.
DESCRIPTION_CHARACTERS = 65_000
TITLE = "Update from the template"
# What a person's or a hook's git may have set: this works in the repository that it stands in.
_OF_ANOTHER_GIT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
_NOBODY = {"NAME": "Template update", "EMAIL": "template-update@users.noreply.github.com"}


class GitError(OpsError):
    """git refused; `said` is what it printed."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        super().__init__(f"git {arguments[0]}: {said.strip()}")
        self.said = said


@dataclass(frozen=True)
class Version:
    """The template at one commit."""

    commit: str
    number: str
    folder: Path
    """A checkout of it."""

    def __str__(self) -> str:
        return f"{self.number} ({self.commit[:10]})"


@dataclass
class Left:
    """What was left for a person: a file and why, with the change that the template made to it."""

    path: str
    why: str
    wanted: str


@dataclass
class Update:
    """What an update did."""

    old: Version
    new: Version
    changed: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    migrations: list[str] = field(default_factory=list)
    news: str = ""

    def description(self) -> str:
        """The report as a pull request can have it: where it is too long, without what the template wanted."""
        text = self.report()
        if len(text) > DESCRIPTION_CHARACTERS:
            text = self.report(differences=False)
        cut = f"\n\n… shortened: `make template-update` writes all of it into {REPORT}.\n"
        return text if len(text) <= DESCRIPTION_CHARACTERS else text[: DESCRIPTION_CHARACTERS - len(cut)] + cut

    def report(self, *, differences: bool = True) -> str:
        """Markdown for the terminal and the pull request."""
        parts = [f"The template goes from {self.old} to {self.new}; {len(self.changed)} files change."]
        if self.left:
            parts.append(
                "### Left for you\n\nYour version stays in these files. Look whether you want the template's change too.\n"
            )
            if not differences:
                parts.append(f"What it wanted is too long for here: `make template-update` writes it into {REPORT}.\n")
            for left in self.left:
                if not differences:
                    parts.append(f"- `{left.path}`: {left.why}")
                    continue
                parts.append(f"<details><summary><code>{left.path}</code>: {left.why}</summary>\n")
                parts.append(f"```diff\n{left.wanted}\n```\n</details>" if left.wanted else "</details>")
        if self.migrations:
            parts.append("### Done or said by migrations\n\n" + "\n".join(f"- {line}" for line in self.migrations))
        if self.questions:
            listed = "\n".join(f"- `{line}`" for line in self.questions)
            parts.append(f"### New questions, answered by their defaults\n\n{listed}")
        if self.news:
            parts.append(f"### What is new\n\n{self.news}")
        parts.append("Before you merge: `make test`, and look at the plan.")
        return "\n\n".join(parts) + "\n"


def run(program: str, *arguments: str, folder: Path, extra: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run a program; its exit status and what it printed on both streams."""
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_GIT}
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        [program, *arguments],
        cwd=folder,
        env=environment | (extra or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def git(folder: Path, *arguments: str, extra: dict[str, str] | None = None) -> str:
    """What git prints. Raises GitError."""
    # Commits need somebody; a runner's git knows nobody.
    known = run("git", "config", "user.email", folder=folder)[0] == 0
    who = (
        {}
        if known
        else {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _NOBODY.items()}
    )
    status, printed, said = run(
        "git", "-c", "core.hooksPath=/dev/null", *arguments, folder=folder, extra=who | (extra or {})
    )
    if status != 0:
        raise GitError(arguments, said or printed)
    return printed


def recorded(root: Path) -> dict[str, Any]:
    """What .cruft.json says. Raises WrongUse where there is none, or where it is not what cruft writes."""
    path = root / RECORD
    if not path.exists():
        raise WrongUse(
            f"{RECORD} is not here: nothing says which template, commit and answers this repository was made from.",
            next_step="Write it with `cruft link <address of the template>` (https://cruft.github.io/cruft).",
        )
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        problem = _lacking(read)
    except ValueError as error:
        problem = f"it is not JSON ({error})"
    if problem:
        raise WrongUse(
            f"{RECORD} is broken: {problem}.",
            next_step=f"Get a good one back, and commit it: `git log --oneline -- {RECORD}` lists the commits that changed"
            f" it, `git checkout <commit> -- {RECORD}` takes that of a commit.",
        )
    state: dict[str, Any] = read
    return state


def _lacking(read: Any) -> str:
    """What cruft writes and is not in a record; empty where all is there."""
    state = read if isinstance(read, dict) else {}
    context = state.get("context")
    wanted = {
        "template": isinstance(state.get("template"), str),
        "commit": isinstance(state.get("commit"), str),
        "context.cookiecutter": isinstance(context, dict) and isinstance(context.get("cookiecutter"), dict),
    }
    lacking = [name for name, there in wanted.items() if not there]
    return f"{', '.join(lacking)}: missing or of the wrong kind" if lacking else ""


def require_clean(root: Path) -> None:
    """Raise WrongUse outside a git repository, or where something is not committed."""
    try:
        changed = git(root, "status", "--porcelain")
        git(root, "rev-parse", "--verify", "HEAD")
    except GitError as error:
        raise WrongUse(
            error.message, next_step="Commit this repository first: git init, git add, git commit."
        ) from error
    if changed:
        raise WrongUse(
            f"There are changes that are not committed:\n{changed.rstrip()}",
            next_step="Commit or stash them, and repeat the command.",
        )


def version_of(folder: Path, commit: str) -> Version:
    """The version that a checkout of the template has."""
    settings = json.loads((folder / "cookiecutter.json").read_text(encoding="utf-8"))
    return Version(commit, str(settings.get("_template_version", "unknown")), folder)


def _from_a_job() -> list[str]:
    """Options by which a job of GitHub's, which has no SSH key, clones the template over https with its token.

    .cruft.json has the address by which somebody cloned the template.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    host = server.partition("://")[2]
    return [
        f"--config=credential.{server}.helper=!gh auth git-credential",
        f"--config=url.{server}/.insteadOf=git@{host}:",
        f"--config=url.{server}/.insteadOf=ssh://git@{host}/",
    ]


def versions(state: dict[str, Any], to: str | None, work: Path) -> tuple[Version, Version]:
    """The template as it was and as it is: `to`, or else its newest release, or else its main branch.

    Raises OpsError where it cannot be had.
    """
    clone = work / "template"
    address = str(state["template"])
    try:
        git(work, "clone", "--quiet", *_from_a_job(), "--", address, str(clone), extra={"GIT_TERMINAL_PROMPT": "0"})
    except GitError as error:
        raise OpsError(
            f"The template {address} cannot be fetched: {error.said.strip()}",
            next_step=f"Can you clone it yourself? If it moved, correct `template` in {RECORD}.",
        ) from error
    tags = git(clone, "tag", "--list", "v*", "--sort=-version:refname").split()
    releases = [tag for tag in tags if "-" not in tag]  # v1.0.0-rc1 is none
    wanted = to or (releases[0] if releases else "HEAD")
    found = []
    for name, reference in (("old", str(state["commit"])), ("new", wanted)):
        try:
            if run("git", "rev-parse", "--verify", f"{reference}^{{commit}}", folder=clone)[0] != 0:
                git(clone, "fetch", "--quiet", "origin", reference)
                reference = "FETCH_HEAD"
            commit = git(clone, "rev-parse", "--verify", f"{reference}^{{commit}}").strip()
            git(clone, "worktree", "add", "--quiet", "--detach", str(work / name), commit)
        except GitError as error:
            raise OpsError(f"The template {address} has no {reference}: {error.said.strip()}") from error
        found.append(version_of(work / name, commit))
    old, new = found
    # A repository made from the main branch is newer than the release before it.
    if not to and run("git", "merge-base", "--is-ancestor", new.commit, old.commit, folder=clone)[0] == 0:
        return old, old
    return old, new


def literal(value: str, start: str, end: str) -> str:
    """A Jinja expression for exactly this text: cookiecutter renders every answer that it is given."""
    return f'{start} "' + "".join(f"\\U{ord(character):08x}" for character in value) + f'" {end}'


def render(version: Version, answers: dict[str, Any], work: Path) -> tuple[Path, dict[str, Any]]:
    """Render a version with these answers; the folder, and the context with which it was rendered.

    Raises OpsError with the words of the template where it refuses an answer.
    """
    asked = json.loads((version.folder / "cookiecutter.json").read_text(encoding="utf-8"))
    marks = asked.get("_jinja2_env_vars", {})
    start, end = marks.get("variable_start_string", "{{"), marks.get("variable_end_string", "}}")
    given = []
    for name, default in asked.items():
        if not name.startswith("_") and name in answers:
            value = str(answers[name])
            given.append(f"{name}={value if isinstance(default, list) else literal(value, start, end)}")
    out = work / f"{version.folder.name}-render"
    home = work / f"{version.folder.name}-home"
    home.mkdir()
    # A home of its own: neither a person's defaults nor their replays are answers of this project.
    settings = home / "cookiecutter.yaml"
    settings.write_text(f"replay_dir: {json.dumps(str(home / 'replay'))}\n", encoding="utf-8")
    options = ["--no-input", "--config-file", str(settings), "--output-dir", str(out)]
    status, printed, said = run(
        sys.executable, "-m", "cookiecutter", *options, str(version.folder), *given, folder=work
    )
    if status != 0:
        words = [line for line in said.splitlines() if " — " in line] or (said or printed).strip().splitlines()[-5:]
        raise OpsError(
            f"Version {version} of the template refuses an answer of this repository:\n" + "\n".join(words),
            next_step=f"Correct the answer in {RECORD} (and in project.yaml), commit, and repeat the command.",
        )
    (replay,) = (home / "replay").glob("*.json")
    context: dict[str, Any] = json.loads(replay.read_text(encoding="utf-8"))["cookiecutter"]
    (made,) = out.iterdir()
    return made, {name: value for name, value in context.items() if name not in ("_output_dir", "_repo_dir")}


def commit_of(root: Path, folder: Path, message: str, work: Path, parent: str | None = None) -> str:
    """A commit with exactly the files of a folder; no branch knows it."""
    index = {"GIT_INDEX_FILE": str(work / f"{folder.parent.name}.index"), "GIT_WORK_TREE": str(folder)}
    place = {"GIT_DIR": git(root, "rev-parse", "--absolute-git-dir").strip()}
    git(folder, "add", "--all", "--force", ".", extra=index | place)
    tree = git(folder, "write-tree", extra=index | place).strip()
    parents = ["-p", parent] if parent else []
    return git(root, "commit-tree", tree, *parents, "-m", message).strip()


def unmerged(root: Path) -> dict[str, set[int]]:
    """Paths that git could not merge, with the sides that have them: 1 before, 2 ours, 3 the template's."""
    found: dict[str, set[int]] = {}
    for line in filter(None, git(root, "ls-files", "--unmerged", "-z").split("\0")):
        details, _, path = line.partition("\t")
        found.setdefault(path, set()).add(int(details.split()[2]))
    return found


_WHY = {
    frozenset({1, 2, 3}): "you and the template changed the same lines",
    frozenset({2, 3}): "you and the template made a file of this name",
    frozenset({1, 2}): "you changed what the template removed",
    frozenset({1, 3}): "you removed what the template changed",
}


def pick(root: Path, commit: str) -> list[Left]:
    """Apply a commit to the work tree. Where both sides changed something ours stays, and is returned."""
    arguments = ["-c", "merge.renameLimit=0", "-c", "merge.directoryRenames=true", "cherry-pick", "--no-commit"]
    status, _, said = run("git", *arguments, commit, folder=root)
    if status == 0:
        return []
    conflicts = unmerged(root)
    if not conflicts:
        raise GitError(["cherry-pick"], said)
    git(root, "reset", "--hard", "--quiet")
    # Once more: lines that both changed are ours now, and what remains is there on one side only.
    run("git", *arguments, "--strategy-option", "ours", commit, folder=root)
    for path, sides in unmerged(root).items():
        if 2 in sides:
            git(root, "checkout", "--ours", "--", path)
            git(root, "add", "--", path)
        else:
            git(root, "rm", "--quiet", "--force", "--", path)
    left = []
    for path, sides in sorted(conflicts.items()):
        wanted = git(root, "diff", "--no-ext-diff", "--no-color", f"{commit}^", commit, "--", path).strip()
        left.append(Left(path, _WHY.get(frozenset(sides), "it moved on one side"), "\n".join(wanted.splitlines()[4:])))
    return left


def number(version: str) -> tuple[int, ...]:
    """`0.2.0` to compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def migrate(root: Path, old: Version, new: Version) -> list[str]:
    """Run the template's scripts for the versions after the old one, in their order; the lines that they printed."""
    said = []
    scripts = sorted((new.folder / "migrations").glob("[0-9]*.py"), key=lambda path: number(path.stem))
    for script in scripts:
        if number(old.number) < number(script.stem) <= number(new.number):
            status, printed, errors = run(sys.executable, str(script), folder=root)
            if status != 0:
                raise OpsError(f"The migration {script.name} failed:\n{errors.strip()}")
            said += printed.strip().splitlines()
    return said


def news(old: Version, new: Version) -> str:
    """The parts of the template's CHANGELOG.md after the old version, up to the new one."""
    path = new.folder / "CHANGELOG.md"
    if not path.exists():
        return ""
    parts = re.findall(r"(?ms)^## (\d[\d.]*)[^\n]*\n(.*?)(?=^## |\Z)", path.read_text(encoding="utf-8"))
    wanted = [(n, text) for n, text in parts if number(old.number) < number(n) <= number(new.number)]
    return "\n\n".join(f"#### {version}\n\n{text.strip()}" for version, text in wanted)


@contextmanager
def copy_of(root: Path, work: Path) -> Iterator[Path]:
    """A second work tree of the repository at its newest commit, so that a failure leaves the first as it was."""
    folder = work / "repository"
    git(root, "worktree", "add", "--quiet", "--detach", str(folder), "HEAD")
    try:
        yield folder
    finally:
        run("git", "worktree", "remove", "--force", str(folder), folder=root)


def update(root: Path, to: str | None, work: Path, *, plan: bool) -> Update | None:
    """Update on the branch BRANCH, or find out with `plan` what would change; None where there is nothing to do."""
    state = recorded(root)
    require_clean(root)
    if run("git", "symbolic-ref", "--quiet", "--short", "HEAD", folder=root)[1].strip() == BRANCH:
        raise WrongUse(f"This is the branch {BRANCH} itself.", next_step="Merge it, or go back: git checkout main")
    branch = run("git", "log", "--no-merges", "--format=%s", f"HEAD..refs/heads/{BRANCH}", "--", folder=root)[1]
    if not plan and any(not line.startswith(TITLE) for line in branch.splitlines()):
        raise WrongUse(
            f"The branch {BRANCH} has commits of yours, which a new update would take from it.",
            next_step=f"Merge it first, or delete it: git branch -D {BRANCH}",
        )
    old, new = versions(state, to, work)
    if old.commit == new.commit:
        return None
    answers = state["context"]["cookiecutter"]
    before, _ = render(old, answers, work)
    after, context = render(new, answers, work)
    shutil.copyfile(root / RECORD, before / RECORD)
    state |= {"commit": new.commit, "context": {"cookiecutter": context}}
    (after / RECORD).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8", newline="\n")
    message = f"{TITLE}: {old.number} to {new.number}"
    first = commit_of(root, before, f"Template {old}", work)
    second = commit_of(root, after, message, work, parent=first)
    asked = [name for name, value in context.items() if not name.startswith("_") and isinstance(value, str)]
    done = Update(old, new, questions=[f"{name}: {context[name]}" for name in asked if name not in answers])
    done.news = news(old, new)
    with copy_of(root, work) as copy:
        done.left = pick(copy, second)
        done.migrations = migrate(copy, old, new)
        git(copy, "add", "--all")
        done.changed = git(copy, "diff", "--cached", "--name-only", "HEAD").splitlines()
        git(copy, "commit", "--quiet", "--no-verify", "--message", message)
        commit = git(copy, "rev-parse", "HEAD").strip()
    if not plan:
        git(root, "checkout", "--quiet", "-B", BRANCH, commit)
        report = root / REPORT
        report.parent.mkdir(mode=0o700, exist_ok=True)
        report.write_text(done.report(), encoding="utf-8", newline="\n")
    return done


def api(root: Path, path: str, method: str = "GET", **fields: str) -> Any:
    """What GitHub's REST API answers, by gh. Raises OpsError with its words."""
    if shutil.which("gh") is None:
        raise OpsError("gh, GitHub's command-line program, is not installed.", next_step="https://cli.github.com")
    given = [word for name, value in fields.items() for word in ("--raw-field", f"{name}={value}")]
    status, printed, said = run("gh", "api", "--method", method, path, *given, folder=root)
    if status != 0:
        raise OpsError(f"GitHub refuses {method} {path}: {(said or printed).strip()}")
    return json.loads(printed)


def pull_request(root: Path, done: Update) -> str:
    """Push the branch and open its pull request, or bring the open one up to date; its address.

    Raises OpsError where the token may not.
    """
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    if not repository:
        raise WrongUse("GITHUB_REPOSITORY is not set: this is for the workflow Template update.")
    remote = run("git", "ls-remote", "origin", f"refs/heads/{BRANCH}", folder=root)[1].split()
    base = git(root, "rev-parse", "--abbrev-ref", "@{-1}").strip()
    head = f"{repository.partition('/')[0]}:{BRANCH}"
    found = api(root, f"repos/{repository}/pulls?state=open&head={head}")
    if found and (theirs := _of_people(root, repository, found[0]["number"])):
        say(f"The pull request has commits of somebody ({'; '.join(theirs)}), so it stays as it is until it is merged.")
        return str(found[0]["html_url"])
    if not remote or _tree(root, remote[0]) != _tree(root, "HEAD"):
        try:
            git(root, "push", "--quiet", "--force", "origin", BRANCH)
        except GitError as error:
            raise OpsError(
                f"The branch {BRANCH} could not be pushed: {error.said.strip()}",
                next_step="GitHub lets the token of a workflow change no workflow. Give the secret TEMPLATE_UPDATE_TOKEN a"
                " token with contents, pull requests and workflows (write), or run make template-update yourself.",
            ) from error
    said = {"title": f"{TITLE}: {done.old.number} to {done.new.number}", "body": done.description()}
    if found:
        return str(api(root, f"repos/{repository}/pulls/{found[0]['number']}", "PATCH", **said)["html_url"])
    try:
        return str(api(root, f"repos/{repository}/pulls", "POST", head=BRANCH, base=base, **said)["html_url"])
    except OpsError as error:
        error.next_step = (
            "In the repository's settings, under Actions, General: allow GitHub Actions to create pull requests."
        )
        raise


def _of_people(root: Path, repository: str, number: int) -> list[str]:
    """First lines of the commits in a pull request that no update made; merges of the main branch are nobody's."""
    commits = api(root, f"repos/{repository}/pulls/{number}/commits?per_page=100")
    lines = [item["commit"]["message"].partition("\n")[0] for item in commits if len(item["parents"]) == 1]
    return [line for line in lines if not line.startswith(TITLE)]


def _tree(root: Path, commit: str) -> str:
    """The tree of a commit; empty where it is not here."""
    status, printed, _ = run("git", "rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", folder=root)
    if status != 0:
        run("git", "fetch", "--quiet", "origin", commit, folder=root)
        printed = run("git", "rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", folder=root)[1]
    return printed.strip()


def show(done: Update) -> None:
    """Say on a terminal what an update does."""
    say(f"Template {done.old} to {done.new}: {len(done.changed)} files")
    for left in done.left:
        say(f"  left for you: {left.path}: {left.why}")
    for line in done.migrations:
        say(f"  migration: {line}")
    for line in done.questions:
        say(f"  new question, answered by its default: {line}")


def main() -> int:
    """Update the repository in the current folder."""
    parser = argparse.ArgumentParser(prog="python -m ops.template_update", description=__doc__.partition("\n")[0])
    parser.add_argument("--to", metavar="REF", help="tag, branch or commit of the template (the newest release)")
    parser.add_argument("--plan", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--pull-request", action="store_true", help="push the branch as one pull request")
    options = parser.parse_args()
    root = Path.cwd()
    if options.pull_request and not (root / RECORD).exists():
        say(f"{RECORD} is not here, so there is no template to follow: nothing to do.")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
            done = update(root, options.to, Path(folder), plan=options.plan)
        if done is None:
            say("Nothing to do: this repository has the newest version of the template.")
            return 0
        show(done)
        if options.plan:
            say("Nothing was changed.")
        elif options.pull_request:
            say(pull_request(root, done))
        else:
            say(f"\nOn the branch {BRANCH}, as one commit; {REPORT} has the details. Next:")
            say("  git show --stat\n  make test\n  git push --set-upstream origin " + BRANCH)
    except OpsError as error:
        sys.stderr.write(f"Error: {error.message}\n" + (f"Next: {error.next_step}\n" if error.next_step else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
