"""A claim about the deployed platform, and what those of one subject found together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.rehearsal.deployed import Platform
from ops.rehearsal.receiver import Mailbox


@dataclass(frozen=True)
class Claim:
    """A sentence and whether it holds; `detail` is what was found, or what is wrong."""

    text: str
    holds: bool
    detail: str = ""


@dataclass
class Result:
    """The claims of one component; `chosen` is False for one that this project does not have."""

    component: str
    chosen: bool = True
    claims: list[Claim] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def claim(self, text: str, holds: object, detail: object = "") -> None:
        """Add a claim."""
        self.claims.append(Claim(text, bool(holds), str(detail)))


@dataclass
class Context:
    """What proofs work with: the platform, where alarms arrive, and the files of the run."""

    platform: Platform
    mailbox: Mailbox
    directory: Path


def rows(pairs: Iterable[dict[str, Any]], key: str = "Name", value: str = "Value") -> dict[str, Any]:
    """Return AWS's lists of names with values as a dictionary."""
    return {pair[key]: pair.get(value) for pair in pairs}
