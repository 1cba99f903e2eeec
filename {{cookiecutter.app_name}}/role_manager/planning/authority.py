"""Who may do what: the one place that knows PostgreSQL's rules about it, before and since version 16."""

from __future__ import annotations

from collections.abc import Iterator

from role_manager.catalog import Catalog
from role_manager.desired import DesiredState, is_reserved
from role_manager.planning.steps import Blocked, Change
from role_manager.sql import identifier


class Authority:
    """Answers what the current user may do. Carries what it is asked about: desired state and catalog."""

    def __init__(self, desired: DesiredState, catalog: Catalog) -> None:
        self.desired = desired
        self.catalog = catalog
        self.me = catalog.me
        self.owner = desired.owner.name
        self.managed = desired.roles
        self.retired = [name for name in desired.retired if name in catalog.roles]
        self.database = str(catalog.server["database"])
        self.database_owner = str(catalog.server["database_owner"])
        # Since 16, who created a role has the ADMIN option on it and nothing more.
        self.sixteen = catalog.server["version"] >= 160000
        # What it is a member of and stays: in managed roles only as somebody else wants it (see roles.memberships).
        own = {m for m in catalog.memberships if m.member == self.me.name and m.inherit and m.set}
        self.direct = {
            m.role for m in own if m.role not in self.managed or (self.sixteen and m.grantor != self.me.name)
        }
        self.uncertain: set[str] = set()

    def unfit(self) -> Iterator[Blocked]:
        """What makes it wrong to begin at all."""
        what = f"role {self.me.name}"
        if self.me.name in self.managed or self.me.name in self.desired.retired:
            yield Blocked(
                what,
                "the master user cannot be one of the roles it manages",
                "connect as another role, or give this role another name in project.yaml",
            )
        elif not (self.me.superuser or "CREATEROLE" in self.me.attributes):
            yield Blocked(what, "it has no CREATEROLE, which managing roles needs", "connect as the master user")
        for trigger in self.catalog.other.get("event trigger", ()):
            yield Blocked(
                f"event trigger {trigger['name']}",
                f"whatever {self.me.name} changes would run {trigger['function']} as {self.me.name}, and "
                f"{trigger['owner']} can replace that function",
                f"look at it, then: DROP EVENT TRIGGER {identifier(trigger['name'])}, or give the function to "
                f"{self.me.name}. Nothing else is done before",
            )

    def can_use(self, role: str) -> bool:
        """Whether the current user has, or can give itself, the privileges of a role."""
        if role == "pg_database_owner":
            role = self.database_owner
        found = self.catalog.roles.get(role)
        if found is None:
            return role in self.managed  # created by this plan
        may_ask = self.catalog.server["rds_superuser"] and not found.superuser and not is_reserved(role)
        if found.usable or not may_ask or role in self.catalog.refused:
            return found.usable
        self.uncertain.add(role)
        return True

    def can_grant(self, role: str) -> bool:
        """Whether the current user may grant and revoke membership in a role."""
        found = self.catalog.roles.get(role)
        if self.me.superuser or found is None or found.admin or (not self.sixteen and not found.superuser):
            return True
        # RDS has its own rules about its roles: the server says no where it does.
        return role.startswith("rds_") and bool(self.catalog.server["rds_superuser"])

    def can_alter(self, role: str) -> bool:
        """Whether the current user may change and drop a role."""
        found = self.catalog.roles[role]
        return self.me.superuser or (not found.superuser and (not self.sixteen or found.admin))

    def need(self, role: str) -> frozenset[str]:
        """The roles to be a member of for the privileges of a role."""
        if role == "pg_database_owner":
            role = self.database_owner
        return frozenset() if self.me.superuser or role == self.me.name else frozenset({role})

    def altering(self, role: str, change: Change) -> Change | Blocked:
        """A change of a role itself, or who has to do what before the current user may make it."""
        if role not in self.catalog.roles or self.can_alter(role):
            return change
        grant = f"GRANT {identifier(role)} TO {identifier(self.me.name)} WITH ADMIN OPTION"
        reason = f"{change.reason}, and {self.me.name} has no ADMIN OPTION on it"
        return Blocked(change.object, reason, f"whoever created the role runs: {grant}")
