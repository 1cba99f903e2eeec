"""The documents: every link, path and command in them is real, and none speaks of what is not there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from tests.bakes import Bake, Project
from tests.options import MAIN, Options, every_option_set, label, minimal
from tools import template

main_option_sets = pytest.mark.parametrize("options", MAIN, ids=label)


@dataclass(frozen=True)
class Document:
    """A Markdown file and the repository it is in."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name

    @property
    def text(self) -> str:
        """What it says."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """What it says without fenced blocks."""
        return re.sub(r"^( *)```.*?^\1```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    def fences(self, language: str) -> list[str]:
        """The lines of its fenced blocks in a language."""
        blocks = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", self.text, re.MULTILINE | re.DOTALL)
        return [line.strip() for _, block in blocks for line in block.splitlines() if line.strip()]

    def links(self) -> list[str]:
        """Targets of its links and pictures."""
        return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", self.prose))


def documents(project: Project) -> list[Document]:
    """The Markdown files of a render."""
    return [Document(project.path, name) for name in project.files if name.endswith(".md")]


def own_documents() -> list[Document]:
    """The Markdown files of this repository that are not part of a render."""
    paths = [*template.ROOT.glob("*.md"), *(template.ROOT / "docs").rglob("*.md")]
    return [Document(template.ROOT, path.relative_to(template.ROOT).as_posix()) for path in sorted(paths)]


# --- Links and paths


@cache
def anchors(path: Path) -> frozenset[str]:
    """What `#…` may name in a Markdown file: headings as GitHub slugs them, and explicit anchors."""
    text = path.read_text(encoding="utf-8")
    slugs: list[str] = []
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = slugs.count(slug)
        slugs.append(f"{slug}-{count}" if count else slug)
    return frozenset([*slugs, *re.findall(r'<a id="([^"]+)">', text)])


def broken_links(document: Document) -> list[str]:
    """Links of a document that lead nowhere. The web is not asked."""
    out = []
    for link in document.links():
        if re.match(r"[a-z]+:", link) or link == "../../tree/example/my-app":  # GitHub's page of that branch
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            out.append(f"{document.name}: {link}")
    return out


@every_option_set
def test_every_link_leads_somewhere(bake: Bake, options: Options) -> None:
    assert [link for document in documents(bake(**options)) for link in broken_links(document)] == []


def test_every_link_here_leads_somewhere() -> None:
    assert [link for document in own_documents() for link in broken_links(document)] == []


PATH = re.compile(r"(?:\.github|app|docs|infra|local|ops|rehearsal|role_manager)/[\w./-]*\w")


@main_option_sets
def test_every_path_that_is_named_exists(bake: Bake, options: Options) -> None:
    project = bake(**options)
    missing = [
        f"{document.name}: {code}"
        for document in documents(project)
        for code in re.findall(r"`([^`\n]+)`", document.prose)
        if PATH.fullmatch(code) and "/dist/" not in code and not (project.path / code).exists()
    ]
    assert missing == []


@main_option_sets
def test_the_page_for_assistants_is_one_page_and_names_what_is_there(bake: Bake, options: Options) -> None:
    project = bake(**options)
    page = Document(project.path, "AGENTS.md")
    assert len(page.text.splitlines()) <= 60
    rows = [row for row in page.text.splitlines() if row.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert [name for name in named if not list(project.path.glob(name)) and "*" not in name] == []
    folders = {path.name for path in project.path.iterdir() if path.is_dir()}
    assert folders <= set(named), "a folder without a row"


def test_the_list_of_the_commands_modules_is_complete() -> None:
    room = template.RENDERED_ROOT / "ops"
    listed = re.findall(r"^([\w./]+(?:, [\w./]+)*)  ", (room / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    named = [name.strip("/") for names in listed for name in names.split(", ")]
    there = {path.name for path in room.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(named) == sorted((there | {"diagram"}) - {"__init__.py", "__main__.py"})


# --- Commands


@cache
def targets(root: Path) -> dict[str, set[str]]:
    """The targets of a Makefile, and the variables that the whole file knows, under each."""
    text = (root / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"\b[A-Z][A-Z_]+\b", text))
    names = re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE)
    listed = re.findall(r"^[A-Z_]+ := ((?:github-[a-z]+ ?)+)$", text, re.MULTILINE)
    return dict.fromkeys([*names, *" ".join(listed).split()], words)


def commands(document: Document) -> Iterator[str]:
    """The commands of a document: lines of sh blocks, and code in the text that begins with make or aws."""
    yield from (line for line in document.fences("sh") if not line.startswith("#"))
    yield from re.findall(r"`((?:make|aws) [^`\n]+)`", document.prose)


TOOLS = {"cd", "git", "gh", "terraform", "docker", "uv", "pipx", "pip", "cruft", "cookiecutter", "python3", "curl"}


def wrong(document: Document, command: str) -> str | None:
    """Why a command cannot be typed as it stands, if it cannot."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError as error:
        return str(error)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    name = words[0] if words else ""
    if name == "make":
        known = targets(document.root)
        if len(words) < 2 or words[1] not in known:
            return f"make has no target {words[1:2]}"
        variables = [word.partition("=")[0] for word in words[2:]]
        unknown = [variable for variable in variables if variable not in known[words[1]]]
        return f"the Makefile knows no {', '.join(unknown)}" if unknown else None
    if name == "aws":
        return wrong_aws(words[1:])
    if name.startswith(".venv/bin/"):
        return None
    return None if name in TOOLS else f"{name} is nothing that a newcomer has"


@cache
def aws_models() -> botocore.session.Session:
    """The API models that the AWS CLI is made of."""
    return botocore.session.get_session()


# https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-options.html
GLOBAL_OPTIONS = {"query", "output", "region", "profile"}
# Commands of the CLI that are not operations of an API.
CLI_COMMANDS = {("sso", "login"), ("configure", "sso"), ("s3", "cp"), ("s3", "ls")}


def wrong_aws(words: list[str]) -> str | None:
    """Why an AWS CLI command cannot be typed: an unknown operation or option, or a required option left out."""
    if tuple(words[:2]) in CLI_COMMANDS:
        return None
    service, operation, *rest = words
    try:
        model = aws_models().get_service_model({"s3api": "s3"}.get(service, service))
        waiters = aws_models().get_waiter_model(service) if operation == "wait" else None
    except (UnknownServiceError, ValueError) as error:
        return str(error)
    if waiters:
        names = {xform_name(name, "-"): waiters.get_waiter(name).operation for name in waiters.waiter_names}
        if not rest or rest[0] not in names:
            return f"aws {service} wait knows no {rest[:1]}"
        found = names[rest[0]]
    else:
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        if operation not in operations:
            return f"aws {service} has no {operation}"
        found = operations[operation]
    shape = model.operation_model(found).input_shape
    members = {xform_name(name, "-") for name in shape.members} if shape else set()
    given = {word.removeprefix("--") for word in rest if word.startswith("--")} - GLOBAL_OPTIONS
    unknown = {option for option in given if option not in members and option.removeprefix("no-") not in members}
    if unknown:
        return f"aws {service} {operation} has no {', '.join(sorted(unknown))}"
    required = {xform_name(name, "-") for name in shape.required_members} if shape and not waiters else set()
    # A command that the text only names has no options at all.
    return f"aws {service} {operation} needs {', '.join(required - given)}" if given and required - given else None


def wrong_commands(found: list[Document]) -> list[str]:
    """The commands of documents that cannot be typed."""
    return [
        f"{document.name}: {command}: {reason}"
        for document in found
        for command in commands(document)
        if (reason := wrong(document, command))
    ]


@main_option_sets
def test_every_command_can_be_typed(bake: Bake, options: Options) -> None:
    found = documents(bake(**options))
    assert sum(1 for document in found for _ in commands(document)) > 50
    assert wrong_commands(found) == []


def test_every_command_here_can_be_typed() -> None:
    """In this repository, or in a rendered one, of which its documents speak too."""
    found = []
    for document in own_documents():
        rendered = Document(template.RENDERED_ROOT, document.name)
        typed = [*commands(document), *document.fences("console")]
        found += [f"{document.name}: {item}" for item in typed if wrong(document, item) and wrong(rendered, item)]
    assert found == []


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        "make status ENVIRONMENT=prod",
        "aws rds modify-database --db-cluster-identifier x",
        "aws rds modify-db-cluster --cluster x",
        "aws rds modify-db-cluster --apply-immediately",
        "aws rds wait forever",
        "apt-get install something",
        "make up ENV='dev",
    ],
)
def test_the_reading_of_commands_finds_what_is_wrong(bake: Bake, command: str) -> None:
    assert wrong(Document(bake().path, "README.md"), command)


# --- Form


def misshapen(document: Document) -> list[str]:
    """Tables, headings and blocks that Markdown would not show as they are meant."""
    out = []
    lines = document.text.splitlines()
    fenced, before = False, ""
    for number, line in enumerate([*lines, ""], start=1):
        place = f"{document.name}:{number}"
        if line.strip().startswith("```"):
            if not fenced and before.strip() and not before.strip().startswith(("-", "1.")):
                out.append(f"{place}: no blank line before a block")
            fenced = not fenced
        elif not fenced:
            if before.startswith("|") and line and not line.startswith("|"):
                out.append(f"{place}: no blank line after a table")
            if line.startswith("#") and before.strip() and not before.startswith("<!--"):
                out.append(f"{place}: no blank line before a heading")
            if before.startswith("#") and line.strip():
                out.append(f"{place}: no blank line after a heading")
            if line.startswith("|") and before.startswith("|") and cells(line) != cells(before):
                out.append(f"{place}: {cells(line)} cells below {cells(before)}")
            if line.startswith("|") and not before.startswith("|") and before.strip():
                out.append(f"{place}: no blank line before a table")
            if line != line.rstrip():
                out.append(f"{place}: ends with a blank")
        before = line
    return [*out, f"{document.name}: a block has no end"] if fenced else out


def cells(row: str) -> int:
    """How many cells a row of a table has."""
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row)))


@every_option_set
def test_documents_are_well_formed(bake: Bake, options: Options) -> None:
    mine = [document for document in documents(bake(**options)) if not document.name.startswith(".github/")]
    assert [problem for document in mine for problem in misshapen(document)] == []


def test_documents_here_are_well_formed() -> None:
    assert [problem for document in own_documents() for problem in misshapen(document)] == []


RUNBOOKS = """accounts add-an-environment deploy files incident-received jobs locked-state preview-to-production queues
region-or-account-move roll-back rotate secrets turn-on-a-domain"""
WITH_DATABASE = "migrate restore-the-database upgrade-postgresql"
WITH_FLAGS = "launch-a-feature"


@main_option_sets
def test_runbooks_say_what_to_have_to_do_and_to_expect(bake: Bake, options: Options) -> None:
    project = bake(**options)
    expected = set(RUNBOOKS.split())
    expected |= set(WITH_DATABASE.split()) if project.settings["database"] != "none" else set()
    expected |= set(WITH_FLAGS.split()) if project.settings["feature_flags"] != "none" else set()
    found = {Path(document.name).stem: document for document in documents(project) if "/runbooks/" in document.name}
    assert found.keys() == expected
    index = Document(project.path, "docs/README.md").links()
    for name, document in found.items():
        assert f"runbooks/{name}.md" in index, name
        headings = re.findall(r"^## (.+)$", document.text, re.MULTILINE)
        assert headings[0] == "You need", name
        assert headings[-1] == "If it goes wrong", name
        assert re.search(r"^\| You see \| Do \|$", document.text, re.MULTILINE), name
        assert document.fences("sh"), name
        assert re.search(r"\bYou see\b|\bprints\b|then says", document.prose.split("## If it goes wrong")[0]), name


@main_option_sets
def test_the_first_hour_has_every_step_once_and_in_order(bake: Bake, options: Options) -> None:
    project = bake(**options)
    lines = Document(project.path, "docs/first-hour.md").fences("sh")
    typed = [" ".join(line.split()[: 3 if line.startswith(("git", "gh")) else 2]) for line in lines]
    ups = [line for line in typed if line == "make up"]
    assert len(ups) == len(project.settings["environments"])
    steps = ["git init -b", "gh repo create", "make setup", "make doctor", "make bootstrap"]
    steps += ["make github-environments", "gh workflow run", "make up"]
    places = [typed.index(step) for step in steps]
    assert places == sorted(places)
    for step in steps[:-1]:
        assert typed.count(step) == 1, step
    # The branch takes a direct push until its rule is made, and what bootstrap wrote is pushed before that.
    pushed = [number for number, line in enumerate(typed) if line == "git push"]
    assert len(pushed) == 1
    assert places[4] < pushed[0] < places[5]


def test_the_first_hour_says_what_a_push_starts_and_how_one_person_alone_merges(bake: Bake) -> None:
    """GitHub lets nobody approve a pull request of their own, and a rule holds for administrators too."""
    project = bake()
    document = Document(project.path, "docs/first-hour.md")
    (green,) = re.findall(r"You see \*(\w+)\* turn green", document.text)
    workflows = [path.read_text(encoding="utf-8") for path in (project.path / ".github/workflows").glob("*.yml")]
    assert [green] == [re.findall("^name: (.+)$", text, re.MULTILINE)[0] for text in workflows if "\n  push:\n" in text]
    rules = json.loads((project.path / ".github/rulesets/main.json").read_text(encoding="utf-8"))["rules"]
    (reviews,) = [rule["parameters"] for rule in rules if rule["type"] == "pull_request"]
    for name in ("required_approving_review_count", "require_last_push_approval"):
        assert reviews[name]
        assert f"`{name}`" in document.text


@main_option_sets
def test_what_runs_by_schedule_is_told_and_that_github_ends_it(bake: Bake, options: Options) -> None:
    """GitHub: docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#schedule ."""
    project = bake(**options)
    workflows = [path.read_text(encoding="utf-8") for path in (project.path / ".github/workflows").glob("*.yml")]
    names = {re.findall("^name: (.+)$", text, re.MULTILINE)[0] for text in workflows if "\n  schedule:\n" in text}
    assert len(names) > 2
    if "dev" not in project.settings["environments"]:
        names.remove("Preview")  # there are none
    told = (
        Document(project.path, "docs/runbooks/deploy.md")
        .text.split("## What GitHub runs by schedule")[1]
        .split("\n## ")[0]
    )
    assert [name for name in names if f"*{name}*" not in told] == []
    assert "60 days" in told
    assert "*Enable workflow*" in told


# --- Absent components

TRACES = {
    "database": r"postgres|aurora|\bdatabase|migrat|role.manager|master password|\brds\b",
    "feature_flags": r"feature.flag|appconfig|evidently|make flag|flags\.json",
    "incident_management": r"pagerduty|splunk|victorops|make incident-url",
}
# Where a document says which answers there are, or what a decision was against.
CHOICES_ARE_NAMED = ("docs/decisions/",)


@pytest.mark.parametrize("component", TRACES)
def test_no_document_speaks_of_an_absent_component(bake: Bake, component: str) -> None:
    project = bake(**{component: "none"})
    found = [
        f"{document.name}: {line.strip()[:160]}"
        for document in documents(project)
        if not document.name.startswith((*CHOICES_ARE_NAMED, ".github/"))
        for line in document.text.splitlines()
        if re.search(TRACES[component], line, re.IGNORECASE)
    ]
    assert found == []


# --- A newcomer

QUESTIONS = {
    "how to start": "README.md#start",
    "how to deploy": "docs/runbooks/deploy.md",
    "how to roll back": "docs/runbooks/roll-back.md",
    "what it costs": "docs/costs.md",
    "why it is built so": "docs/decisions/README.md",
    "what there is": "docs/system-architecture.md",
}


@pytest.mark.parametrize("options", [{}, minimal()], ids=label)
def test_a_newcomer_finds_everything_in_two_clicks(bake: Bake, options: Options) -> None:
    project = bake(**options)
    seen, pages = {"README.md"}, [Document(project.path, "README.md")]
    for _ in range(2):
        found = []
        for page in pages:
            for link in page.links():
                path = unquote(link).partition("#")[0]
                target = (page.path.parent / path).resolve()
                if path.endswith(".md") and target.exists():
                    found.append(target.relative_to(project.path.resolve()).as_posix())
        pages = [Document(project.path, name) for name in dict.fromkeys(found) if name not in seen]
        seen.update(found)
    for question, answer in QUESTIONS.items():
        path, _, anchor = answer.partition("#")
        assert path in seen, question
        assert not anchor or anchor in anchors(project.path / path), question


# --- Messages

# Said by AWS, PostgreSQL, Terraform or GitHub, not by this repository's code.
MESSAGES_OF_OTHERS = {
    "BucketNotEmpty",
    "InvalidRestoreTime",
    "Cannot find upgrade target",
    "permission denied for schema",
}


@cache
def spoken(root: Path) -> str:
    """All text of the code, with strings that go on in the next line joined."""
    folders = ("app", "infra", "ops", "role_manager")
    files = [path for name in folders for path in (root / name).rglob("*") if path.suffix in (".py", ".tf")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*(?:\+ )?f?"', "", code)


@main_option_sets
def test_messages_that_runbooks_quote_are_said_by_the_code(bake: Bake, options: Options) -> None:
    project = bake(**options)
    missing = []
    for document in documents(project):
        if "/runbooks/" not in document.name:
            continue
        for row in re.findall(r"^\| ([^|]+) \|", document.text.split("## If it goes wrong")[-1], re.MULTILINE):
            for quoted in set(re.findall(r"`([^`]+)`", row)) - MESSAGES_OF_OTHERS:
                if quoted.startswith("make "):
                    continue
                parts = [part.strip() for part in quoted.split("…") if part.strip()]
                missing += [f"{document.name}: {quoted}" for part in parts if part not in spoken(project.path)]
    assert missing == []
