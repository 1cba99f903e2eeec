"""Turns reports into JSON that fits Lambda's limits, and log lines into JSON, one object per line.

Lambda answers with at most 6 MB: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
A report stays far below, whatever the number of tables: lists and texts are cut, with counts of the rest.
"""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any, TextIO

from role_manager.actions import Report
from role_manager.catalog import IAM_GROUP
from role_manager.planning import Blocked, Change

_NO_IAM = f"this server has no role {IAM_GROUP}: it is not RDS, roles log in as pg_hba.conf says"
_MOST_CHANGES = 200
_MOST_PROOFS = 200
_MOST_CHARACTERS = 1000


def shorten(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Cut a long text and say how much is missing."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text) - most:,} more characters)"


def _cut(item: Change | Blocked, **most: int) -> dict[str, str]:
    return {name: shorten(getattr(item, name), characters) for name, characters in most.items()}


def as_dict(report: Report) -> dict[str, Any]:
    """Return a report as plain values for JSON, at most about half a megabyte.

    Keys: action, result, summary, changes and blocked (lists of what, with their reasons),
    changes_total, blocked_total, notes, proofs, proofs_total, round_trips, seconds.
    """
    changes, blocked = report.plan.changes, report.plan.blocked
    return {
        "action": report.action,
        "result": report.result,
        "summary": shorten(report.summary, 4 * _MOST_CHARACTERS),
        "changes": [
            _cut(change, object=300, reason=300, now=300, wanted=300, sql=_MOST_CHARACTERS)
            for change in changes[:_MOST_CHANGES]
        ],
        "changes_total": len(changes),
        "blocked": [_cut(item, object=300, reason=_MOST_CHARACTERS, remedy=600) for item in blocked[:_MOST_CHANGES]],
        "blocked_total": len(blocked),
        "notes": [] if report.plan.iam_logins else [_NO_IAM],
        "proofs": [
            {
                "role": proof.role,
                "method": proof.method,
                "proven": [shorten(text, 200) for text in proof.proven[:30]],
                "problems": [shorten(text, 500) for text in proof.problems[:30]],
            }
            # Those that failed first: they are why somebody reads this.
            for proof in sorted(report.proofs, key=lambda proof: not proof.problems)[:_MOST_PROOFS]
        ],
        "proofs_total": len(report.proofs),
        "round_trips": report.round_trips,
        "seconds": report.seconds,
    }


class Log:
    """Writes one JSON object per line; every line carries the given fields."""

    def __init__(self, stream: TextIO | None = None, **fields: Any) -> None:
        self._stream = stream
        self._fields = fields

    def __call__(self, message: str, *, level: str = "info", **fields: Any) -> None:
        """Write a line. Long texts are cut."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "level": level, "message": message, **self._fields, **fields}
        cut = {k: shorten(v, 8000) if isinstance(v, str) else v for k, v in line.items()}
        stream = self._stream or sys.stdout
        stream.write(json.dumps(cut, ensure_ascii=False, default=str) + "\n")
        stream.flush()
