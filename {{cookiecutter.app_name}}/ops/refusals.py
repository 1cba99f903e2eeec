"""What IAM refused: who, what, on what, and which statement of infra/ would have to allow it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_REFUSED = re.compile(
    r"(?P<who>arn:[\w-]+:(?:sts|iam)::\d+:[^\s]+) is not authorized to perform: (?P<action>[\w-]+:\w+)"
    r"(?: on resource: (?P<resource>[^\s]+))?(?P<because>[^\n]*)"
)
_BOUNDARY = "account/boundary.tf"
# The files with what a role may do, by the end of its name (infra/config/names.tf).
FILES = {
    r"-github-plan": ("account/read.tf",),
    r"-github-build": ("account/build.tf",),
    r"-github-preview|-github-apply-\w+": ("account/apply*.tf", "account/read.tf"),
    r"-flow-logs": ("network/flow_logs.tf", _BOUNDARY),
    r"-database-monitoring": ("database/cluster.tf", _BOUNDARY),
    r"-role-manager": ("database/role_manager.tf", _BOUNDARY),
    r"-(?:task|migrate|execution)": ("service/roles.tf", "service/storage.tf", _BOUNDARY),
    r"-flags-rollback": ("service/feature-flags.tf", _BOUNDARY),
    r"-files-scan": ("service/storage.tf", _BOUNDARY),
    r"-jobs": ("service/jobs.tf", _BOUNDARY),
    r"-worker-[a-z0-9-]+": ("service/workers.tf", _BOUNDARY),
}
# By whom the layer is applied, which brings the statement to the role.
_APPLIED = {
    "account": "An administrator's make bootstrap brings what stands there, and what project.yaml has now.",
    "network": "make apply LAYER=network brings what stands there.",
    "database": "make apply LAYER=database brings what stands there.",
    "service": "make apply LAYER=service brings what stands there.",
}


@dataclass(frozen=True)
class Statement:
    """A statement of a policy in infra/: its Sid, where it begins, and the actions that it names."""

    sid: str
    place: str
    actions: tuple[str, ...]

    def names(self, action: str) -> bool:
        """Whether the action is one of these, some of which end in an asterisk."""
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions)

    def of_service(self, action: str) -> int:
        """How many actions of the same service it names."""
        return sum(pattern.partition(":")[0] == action.partition(":")[0] for pattern in self.actions)


def explain(text: str, root: Path) -> list[str]:
    """One paragraph for each refusal of one of the project's roles that AWS's words in `text` have."""
    found: dict[str, None] = {}
    for match in _REFUSED.finditer(text):
        # arn:aws:sts::123456789012:assumed-role/shop-github-apply-dev/session, or a role's own ARN with its path.
        parts = match["who"].split("/")
        role = parts[1] if ":assumed-role" in parts[0] else parts[-1]
        files = next((files for end, files in FILES.items() if re.search(f"(?:{end})$", role)), None)
        if files is None:
            continue
        on = f" on {match['resource']}" if match["resource"] else ""
        where = _where(list(_statements(root, files)), match["action"], match["because"])
        found[f"{role} may not {match['action']}{on}. {where} {_APPLIED[files[0].partition('/')[0]]}"] = None
    return list(found)


def _where(statements: list[Statement], action: str, because: str) -> str:
    """The sentence about the statement that would have to say otherwise."""
    if "explicit deny" in because:
        return f"A statement with Effect = Deny says so{because.partition('explicit deny')[2].rstrip('.')}."
    if naming := [statement for statement in statements if statement.names(action)]:
        places = " and ".join(f"{statement.sid} ({statement.place})" for statement in naming)
        return f"{places} names this action, for other resources or under another condition."
    nearest = max(statements, key=lambda statement: statement.of_service(action), default=None)
    if nearest is None or not nearest.of_service(action):
        files = sorted({statement.place.partition(":")[0] for statement in statements})
        return f"No statement names this action: it would be a new one in {' or '.join(files)}."
    return f"No statement names this action: the nearest is {nearest.sid} ({nearest.place})."


def _statements(root: Path, patterns: tuple[str, ...]) -> Iterator[Statement]:
    """The statements of files below infra/, as they stand."""
    for file in sorted({path for pattern in patterns for path in (root / "infra").glob(pattern)}):
        text = file.read_text(encoding="utf-8")
        begins = list(re.finditer(r'\bSid\s*=\s*"(\w+)', text))
        for begin, end in zip(begins, [*(match.start() for match in begins[1:]), len(text)], strict=True):
            actions = re.findall(r'"([a-z0-9-]+:[A-Za-z]+\*?)"', text[begin.end() : end])
            line = text.count("\n", 0, begin.start()) + 1
            yield Statement(begin[1], f"{file.relative_to(root)}:{line}", tuple(actions))
