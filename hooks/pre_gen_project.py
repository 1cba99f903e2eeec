"""Refuses answers that AWS, GitHub, DNS or YAML would refuse later: all of them at once, one line each.

Cookiecutter renders this file with Jinja before it runs it; `main` is the only place where an answer
enters, once, as JSON. The rest is plain Python of the standard library, imported by tools/ and tests/.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import unicodedata
from pathlib import Path
from typing import NamedTuple

# {% raw %}


class Rule(NamedTuple):
    """What an answer must be, in words for a person."""

    rule: str
    example: str


# Environments that a team adds to project.yaml later may have names of up to this many characters.
ENVIRONMENT_LONGEST = 10
APP_NAME_LONGEST = 20
DESCRIPTION_LONGEST = 200
OWNER_LONGEST = 64
# ACM: the first name of a certificate has at most 64 characters; it is <environment>.<domain>.
DOMAIN_LONGEST = 64 - ENVIRONMENT_LONGEST - 1

# All regions of the partitions aws, aws-us-gov and aws-cn (a test compares them with botocore's).
REGIONS = tuple(
    """
    af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
    ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6
    ap-southeast-7 ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2
    eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1
    me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1
    us-west-2
    """.split()
)

# The same as in cookiecutter.json (a test compares them); repeated because a replayed or updated
# project brings its old answers here unchecked.
CHOICES = {
    "environments": ("dev+staging+prod", "dev+prod", "prod"),
    "database": ("aurora-postgresql", "none"),
    "feature_flags": ("appconfig", "none"),
    "incident_management": ("pagerduty", "splunk-on-call", "email", "none"),
    "internet_egress": ("none", "nat-gateway"),
    "terraform_state_locks": ("dynamodb", "s3"),
    "cpu_architecture": ("arm64", "x86_64"),
    "license": ("proprietary", "Apache-2.0", "MIT", "BSD-3-Clause"),
}

# Choices that people know from elsewhere and that are no more, or go by another name here.
RETIRED = {
    "feature_flags": {
        "evidently": Rule(
            "AWS shut CloudWatch Evidently down in October 2025; AppConfig does the same job", "appconfig"
        ),
    },
    "incident_management": {
        "opsgenie": Rule("Atlassian ends Opsgenie in April 2027", "pagerduty"),
        "incident-manager": Rule("AWS Incident Manager takes no new customers", "pagerduty"),
        "victorops": Rule("VictorOps is called Splunk On-Call now", "splunk-on-call"),
    },
    "cpu_architecture": {
        "aarch64": Rule("AWS calls this processor arm64", "arm64"),
        "graviton": Rule("AWS calls this processor arm64", "arm64"),
        "amd64": Rule("AWS calls this processor x86_64", "x86_64"),
    },
}
RETIRED["incident_management"]["aws-incident-manager"] = RETIRED["incident_management"]["incident-manager"]

RULES = {
    "app_name": Rule(
        f"2 to {APP_NAME_LONGEST} lower-case letters, digits and single hyphens, beginning with a letter", "my-app"
    ),
    "description": Rule(
        f"one line of 1 to {DESCRIPTION_LONGEST} characters without control characters", "Takes orders"
    ),
    "owner": Rule(
        f"1 to {OWNER_LONGEST} letters, digits, spaces and _ . : / = + - @ (it becomes an AWS tag)", "platform-team"
    ),
    "github_repository": Rule("owner/name as on GitHub", "my-org/my-app"),
    "aws_account_id": Rule("12 digits", "123456789012"),
    "aws_region": Rule("a region of the partition aws, aws-us-gov or aws-cn", "us-east-1"),
    "domain_name": Rule(
        f"a lower-case domain name of at most {DOMAIN_LONGEST} characters, or empty", "shop.example.com"
    ),
}

# What makes AWS refuse a name that this begins.
RESERVED_BEGINNINGS = {
    "aws": "SSM refuses parameters that begin with aws",
    "ssm": "SSM refuses parameters that begin with ssm",
    "internal-": "Elastic Load Balancing refuses names that begin with internal-",
    "sg-": "EC2 refuses security groups that begin with sg-",
    "sthree-": "S3 refuses buckets that begin with sthree-",
    "amzn-s3-demo-": "S3 refuses buckets that begin with amzn-s3-demo-",
}
# Databases that exist on every Aurora server.
RESERVED_DATABASES = frozenset(["postgres", "rdsadmin", "rdsproxyadmin", "template0", "template1"])
# PostgreSQL 15 to 18: pg_get_keywords() with catcode R or T. RDS refuses them as a database name.
RESERVED_WORDS = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end
    except false fetch for foreign freeze from full grant group having ilike in initially inner intersect
    into is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null
    offset on only or order outer overlaps placing primary references returning right select session_user
    similar some symmetric system_user table tablesample then to trailing true union unique user using
    variadic verbose when where window with
    """.split()
)

# Invisible characters that reverse the text around them: a reader would not see what is stored.
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What cookiecutter.json calls the folder of a name that is refused.
REFUSED_NAME = "refused-name"
# What a repository has that was made on GitHub a minute ago.
FRESH = re.compile(r"\.git|\.gitignore|README(\.\w+)?|LICENSE(\.\w+)?")
# What renders the same in all that is newer, and is said in words where it does not.
COOKIECUTTER_OLDEST = (2, 6)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The known word that is most like this one, or the first."""
    import difflib  # only for wrong answers: it is slow to import

    return (difflib.get_close_matches(word.lower()[:50], known, n=1, cutoff=0.4) or known)[0]


def unstorable(text: str) -> bool:
    """Whether one line of YAML, or a reader, could not take this text as it is."""
    return any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or character == "\ufeff"
        or character in BIDIRECTIONAL
        or ord(character) & 0xFFFE == 0xFFFE
        or 0xFDD0 <= ord(character) <= 0xFDEF
        for character in text
    )


# Second parts of names that belong to the whole project: infra/config refuses environments that are called so.
RESERVED_ENVIRONMENTS = frozenset(["build", "default", "github", "preview", "previews", "shared", "tfstate"])


def app_name_problem(name: str) -> Rule | None:
    """Fits every name in docs/names.md, and begins none that AWS or PostgreSQL keeps for itself."""
    if not (2 <= len(name) <= APP_NAME_LONGEST and re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", name)):
        return RULES["app_name"]
    for beginning, why in RESERVED_BEGINNINGS.items():
        if f"{name}-".startswith(beginning):
            return Rule(why, "my-app")
    for environment in ("dev", "staging", "prod"):
        if environment in name.split("-")[1:]:
            other = name.partition(f"-{environment}")[0]
            why = f"an application {other} with an environment {environment} would own its names"
            return Rule(why, other if len(other) > 1 else "my-app")
    database = name.replace("-", "_")
    if database in RESERVED_DATABASES or database in RESERVED_WORDS:
        return Rule(f"{database} is a reserved name in PostgreSQL, and the database is called so", f"{name[:16]}-app")
    return None


def description_problem(text: str) -> Rule | None:
    """One line that YAML keeps as it is."""
    if not text.strip() or len(text) > DESCRIPTION_LONGEST or unstorable(text):
        return RULES["description"]
    return None


def owner_problem(text: str) -> Rule | None:
    """The value of an AWS tag: letters, digits and spaces of any script, _ . : / = + - @, not aws: at its beginning."""
    if text.lower().startswith("aws:"):
        return Rule("AWS keeps tag values that begin with aws: for itself", "platform-team")
    if not re.fullmatch(r"[\w .:/=+@-]+", text) or text != text.strip() or len(text) > OWNER_LONGEST:
        return RULES["owner"]
    return None


def github_repository_problem(text: str) -> Rule | None:
    """GitHub: owners have up to 39 letters, digits and single hyphens, repositories 100 with dots too."""
    owner, _, name = text.partition("/")
    if (
        not re.fullmatch("[A-Za-z0-9]+(-[A-Za-z0-9]+)*", owner)
        or len(owner) > 39
        or not re.fullmatch("[A-Za-z0-9._-]{1,100}", name)
        or name in (".", "..")
        or name.lower().endswith((".git", ".wiki"))
    ):
        return RULES["github_repository"]
    return None


def aws_account_id_problem(text: str) -> Rule | None:
    """ASCII digits only: str.isdigit takes others too."""
    return None if re.fullmatch("[0-9]{12}", text) else RULES["aws_account_id"]


def aws_region_problem(text: str) -> Rule | None:
    """A region that exists, with the nearest one as the example."""
    return None if text in REGIONS else RULES["aws_region"]._replace(example=nearest(text, REGIONS))


def domain_name_problem(text: str) -> Rule | None:
    """DNS (RFC 1035, 1123): labels of 1 to 63 characters; not an address, not a URL, not a wildcard."""
    if text == "":
        return None
    labels = text.split(".")
    if (
        len(text) > DOMAIN_LONGEST
        or len(labels) < 2
        or not all(LABEL.fullmatch(label) for label in labels)
        or not re.fullmatch("[a-z][a-z0-9-]*[a-z0-9]", labels[-1])
    ):
        return RULES["domain_name"]
    return None


CHECKS = {
    "app_name": app_name_problem,
    "description": description_problem,
    "owner": owner_problem,
    "github_repository": github_repository_problem,
    "aws_account_id": aws_account_id_problem,
    "aws_region": aws_region_problem,
    "domain_name": domain_name_problem,
}


def choice_problem(field: str, answer: str) -> Rule | None:
    """Why this is none of the choices of the field, if it is not."""
    choices = CHOICES[field]
    if answer in choices:
        return None
    known = re.sub("[ _]", "-", answer.lower())
    retired = RETIRED.get(field, {}).get(known)
    return retired or Rule("one of " + ", ".join(choices), nearest(answer, choices))


def problem(field: str, answer: object) -> str | None:
    """The line that says what is wrong with one answer: `field: value — rule — example`."""
    found: Rule | None
    if not isinstance(answer, str):
        example = RULES[field].example if field in RULES else CHOICES[field][0]
        found = Rule("missing" if answer is None else "text, in quotes where the answers are JSON or YAML", example)
    else:
        found = choice_problem(field, answer) if field in CHOICES else CHECKS[field](answer)
    if found is None:
        return None
    shown = repr(answer)
    if len(shown) > 60:
        shown = f"{shown[:57]}… ({len(str(answer))} characters)"
    return f"{field}: {shown} — {found.rule} — for example {found.example}"


def problems(answers: dict[str, object]) -> list[str]:
    """One line for each answer that breaks a rule, in the order of the questions; empty when all is well."""
    found = {field: problem(field, answers.get(field)) for field in [*CHECKS, *CHOICES]}
    app_name = answers.get("app_name")
    if found["app_name"] and answers.get("github_repository") == f"my-org/{app_name}":
        found["github_repository"] = None  # the default made from the name: one mistake, one line
    return [line for line in found.values() if line]


def report(lines: list[str]) -> str:
    """The block that a person sees."""
    heading = "This answer cannot be used:" if len(lines) == 1 else "These answers cannot be used:"
    return "\n".join(["", heading, *(f"  {line}" for line in lines), ""])


def cookiecutter_version() -> str:
    """The version of the Cookiecutter that runs this hook; empty where it is packed so that it can't be asked.

    It is in the name of a folder beside the package. importlib.metadata reads it there too, in as long as the rest of
    this hook takes.
    """
    for folder in sys.path[1:]:  # the first is this script's own
        try:
            names = [path.name for path in Path(folder).iterdir()]
        except OSError:  # such as a ZIP file
            continue
        for name in names:
            if found := re.fullmatch(r"cookiecutter-([^-]+?)(-py[\d.]+)?\.(dist|egg)-info", name):
                return found[1]
    return ""


def require_versions() -> None:
    """Exit with 1 where this runs on a Python or by a Cookiecutter that is older than the template takes."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"\nThis template needs Python 3.11 or newer; cookiecutter runs on {found}."
            "\nInstall cookiecutter with a newer one, or run `make project` in the template's repository.\n"
        )
    version = cookiecutter_version()
    if version and tuple(map(int, re.findall(r"\d+", version)[:2])) < COOKIECUTTER_OLDEST:
        oldest = ".".join(map(str, COOKIECUTTER_OLDEST))
        sys.exit(
            f"\nThis template needs Cookiecutter {oldest} or newer; this is {version}."
            f"\nInstall a newer one (pipx install 'cookiecutter>={oldest}'), or run `make project` in the template's"
            " repository.\n"
        )


# ---------------------------------------------------------------------- the folder


def as_typed(answers: dict[str, object]) -> dict[str, object]:
    """The answers with the name that was typed.

    Cookiecutter makes the folder before it asks this hook. So `__refused_name` in cookiecutter.json sets a name aside
    that would be a folder elsewhere, several, or none. A replayed name comes here as it is: see `made_for`.
    """
    return answers | {"app_name": answers["__refused_name"]} if answers.get("app_name") == REFUSED_NAME else answers


def occupied(project: Path) -> str | None:
    """The line that says that somebody's files are in the project's folder, if they are.

    `cookiecutter -f` comes here: it deletes whole folders with what a team and the commands have put into them, such
    as the only copy of a Terraform state. `cruft update` renders into a new folder and is not concerned.
    """
    found = sorted(path.name for path in project.iterdir() if not FRESH.fullmatch(path.name))
    if not found:
        return None
    return (
        f"app_name: {project.name!r} — the folder {project} has files already ({', '.join(found[:3])}"
        f"{', …' if len(found) > 3 else ''}), which would be lost — `cruft update` in it brings a newer template to a"
        " project; for a new project choose another name or folder"
    )


def made_for(project: Path, answers: dict[str, object]) -> list[Path]:
    """The folders that Cookiecutter has just made between its output folder and the project's, the deepest first.

    A name such as `a/b/c` or `a/../b` makes them. They are as old as the project's folder to within a moment.
    """
    name = Path(str(answers.get("app_name")))
    steps = len(Path(os.path.normpath(name)).parts)
    output = Path(str(answers.get("_output_dir") or project / Path(*[".."] * steps))).resolve()
    asked_for = {project, output, *output.parents}
    passed = {path.resolve() for path in [*Path(output, name).parents, *project.parents]} - asked_for

    folders, last = [], project.stat().st_mtime
    for time_made, path in sorted(((made(path), path) for path in passed if path.is_dir()), reverse=True):
        if time_made < last - 0.2:  # they are made one after the other, by a machine that may be busy
            break
        folders.append(path)
        last = time_made
    return sorted(folders, key=lambda path: len(path.parts), reverse=True)


def made(path: Path) -> float:
    """When a folder was made, in seconds since 1970: Python knows it on macOS, coreutils' stat on Linux.

    Where neither does, it is the time of the last reading, and nobody has read what Cookiecutter has just made.
    """
    status = path.stat()
    if born := getattr(status, "st_birthtime", None):
        return float(born)
    import subprocess  # only for wrong answers: it is slow to import

    try:
        result = subprocess.run(["stat", "--format", "%.9W", path], capture_output=True, encoding="utf-8", check=True)
        return float(result.stdout) or status.st_atime
    except (OSError, subprocess.CalledProcessError, ValueError):
        return status.st_atime


def clean_up_after(cookiecutter: int, project: Path, folders: list[Path]) -> None:
    """Delete the folders that are empty once Cookiecutter has deleted the project's, in a process beside it.

    It deletes that one folder itself, after this hook has failed, and breaks down when it is gone already.

    :param cookiecutter: its process; nothing more happens when it has ended
    """
    if not folders or os.fork():
        return
    try:
        for _ in range(3000):  # about three seconds
            if not project.exists():
                break
            os.kill(cookiecutter, 0)
            select.select([], [], [], 0.001)
        for folder in folders:
            folder.rmdir()
    except OSError:  # it has ended; or somebody has put something in
        pass
    finally:
        os._exit(0)


# {% endraw %}


def main() -> None:
    """Exit with 1 and a block of lines on standard error when an answer breaks a rule."""
    # tojson escapes ' as \u0027, so no answer can end the string.
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    project = Path.cwd()
    try:
        require_versions()
        lines = problems(as_typed(answers)) or list(filter(None, [occupied(project)]))
        if lines:
            sys.exit(report(lines))
    except SystemExit:
        clean_up_after(os.getppid(), project, made_for(project, answers))
        raise


if __name__ == "__main__":
    main()
