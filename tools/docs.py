"""Writes docs/inputs.md (from cookiecutter.json and the hook) and docs/names.md; `--check` only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hooks import pre_gen_project as rules
from tools import template
from tools.names import NAMES

INPUTS_PAGE = """\
<!-- Written by `make docs` from cookiecutter.json and hooks/pre_gen_project.py: edit those. -->
# The questions

All answers are checked before anything is written. Every problem is one line: the answer, the rule, an example.
What is not asked here is a setting in the rendered `project.yaml`.

{questions}

## The choices

{choices}

## Answers that are no more

{retired}

## Names that are refused

`app_name` may not begin with {reserved}: AWS keeps these for itself, or refuses a name made
from them. Nor may it be a reserved word of PostgreSQL such as `user` or `order`, because the database is called so.
No part of it behind the first may be `dev`, `staging` or `prod`: the application `shop` with an environment `dev` owns
what begins with `shop-dev-`, and so would what an application `shop-dev` has.
How long it may be is computed in [names.md](names.md).

## Giving answers

```console
make project ARGS="app_name=shop aws_region=eu-west-1 description='Takes orders'" OUTPUT=~/projects
```

Answers in `ARGS` stay as typed. With `cookiecutter . name=value`, Cookiecutter itself renders each value as Jinja, as
for every template of its: `{{{{ 7*7 }}}}` becomes 49, and such an expression can run code. Do not pass values from
people you do not trust that way; typed and replayed answers stay text.
Cookiecutter also checks choices in its own words, and is silent about names that it does not know.
It must be 2.6 or newer.

Nothing is rendered over what a folder has already, also with Cookiecutter's `-f`: a second render would delete local
state and a team's own Terraform. `cruft update` brings a newer template to a project.
"""

NAMES_PAGE = """\
<!-- Written by `make docs` from tools/names.py: edit that. -->
# The names that AWS sees, and how long they may be

Every name is made from `app_name` (at most {app} characters), the environment (at most {environment}, for those
that a team adds to `project.yaml` later), the account (12) and the region (at most {region}). The tightest is
`{tightest}`, with {room} to spare.

- A temporary environment adds `-<workspace>` to the names of the service layer. Terraform refuses a workspace that
  makes the load balancer's name longer than {service}.
- A certificate's first name has at most 64 characters. It is `<environment>.<domain_name>`, which leaves {domain} for
  `domain_name`.

{names}
"""


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table. A | in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def inputs() -> str:
    """One row for each question, one for each choice, and the answers that are no more."""
    labels = template.labels()
    questions = []
    for name, default in template.questions().items():
        if isinstance(default, list):
            may_be, shown = ", ".join(f"`{choice}`" for choice in default), default[0]
        else:
            may_be, shown = rules.RULES[name].rule, default.replace("{{ cookiecutter.app_name }}", "<app_name>")
        questions.append([f"`{name}`", labels[name]["__prompt__"], may_be, f"`{shown}`" if shown else "empty"])
    choices = [
        [f"`{name}`", f"`{choice}`", labels[name][choice]] for name, all_ in rules.CHOICES.items() for choice in all_
    ]
    retired = [
        [f"`{name}={old}`", rule.rule, f"`{rule.example}`"]
        for name, answers in rules.RETIRED.items()
        for old, rule in answers.items()
    ]
    return INPUTS_PAGE.format(
        questions=table(["question", "meaning", "may be", "default"], questions),
        choices=table(["question", "choice", "meaning"], choices),
        retired=table(["answer", "why", "use"], retired),
        reserved=", ".join(f"`{beginning}`" for beginning in rules.RESERVED_BEGINNINGS),
    )


def names() -> str:
    """Every name with its longest form, the tightest first."""
    longest = {
        "app": "a" * rules.APP_NAME_LONGEST,
        "app_underscored": "a" * rules.APP_NAME_LONGEST,
        "environment": "e" * rules.ENVIRONMENT_LONGEST,
        "account": "0" * 12,
        "region": max(rules.REGIONS, key=len),
    }
    room = {key: name.limit - len(name.pattern.format(**longest)) for key, name in NAMES.items()}
    rows = [
        [
            key,
            name.what,
            "`" + re.sub(r"{(.+?)}", r"<\1>", name.pattern) + "`",
            str(name.limit - room[key]),
            str(name.limit),
            str(room[key]),
        ]
        for key, name in sorted(NAMES.items(), key=lambda item: room[item[0]])
    ]
    return NAMES_PAGE.format(
        app=rules.APP_NAME_LONGEST,
        environment=rules.ENVIRONMENT_LONGEST,
        region=len(longest["region"]),
        tightest=rows[0][0],
        room=rows[0][-1],
        service=NAMES["service"].limit,
        domain=rules.DOMAIN_LONGEST,
        names=table(["name", "of", "form", "longest", "allowed", "to spare"], rows),
    )


def main() -> None:
    """Write the documents; with --check, exit with 1 naming those that are not what they would be."""
    pages = {"docs/inputs.md": inputs(), "docs/names.md": names()}
    stale = []
    for path, text in pages.items():
        page = Path(template.ROOT, path)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(path)
            if "--check" not in sys.argv:
                page.write_text(text, encoding="utf-8", newline="\n")
    if stale and "--check" in sys.argv:
        sys.exit(f"not what `make docs` writes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
