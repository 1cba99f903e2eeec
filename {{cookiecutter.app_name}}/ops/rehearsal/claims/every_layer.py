"""What holds in every layer: names that fit, roles that may no more than they need."""

from __future__ import annotations

from ops.rehearsal.claims.claim import Context, Result
from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.policy import Policy, as_list, everything_on_everything, statements
from ops.rehearsal.iam.roles import Role


def least_privilege(context: Context, result: Result) -> None:
    """No policy of this project allows everything on everything."""
    roles = project_roles(context.platform)
    result.claim("the project has roles", roles, len(roles))
    for role in roles:
        name = role.name
        wide = [f"{policy}: {sid}" for policy, text in role.policies.items() for sid in everything_on_everything(text)]
        result.claim(f"{name} has no * on *", not wide, "; ".join(wide))
        if not _of_github(role):  # made by an apply role: IAM lets them make no others
            _bounded(result, role)
        trusts_all = [s for s in statements(role.trust) if s.get("Principal") in ("*", {"AWS": "*"})]
        result.claim(f"{name} does not trust everybody", not trusts_all)


def project_roles(platform: Platform) -> list[Role]:
    """Return the roles of this project."""
    pages = platform.client("iam").get_paginator("list_roles").paginate()
    names = [role["RoleName"] for page in pages for role in page["Roles"]]
    return [platform.role(name) for name in names if name.startswith(f"{platform.project.app}-")]


def _of_github(role: Role) -> bool:
    """Whether GitHub's jobs sign in to it."""
    return any("sts:AssumeRoleWithWebIdentity" in as_list(s.get("Action", [])) for s in statements(role.trust))


def _bounded(result: Result, role: Role) -> None:
    """What the boundary does not have, a role's policy gives in vain."""
    boundary = role.boundary
    result.claim(f"{role.name} carries the permissions boundary", boundary is not None)
    if boundary is None:
        return
    # On which resources, by their tags, is decided for every call of the rehearsal.
    allowed = [statement for statement in Policy("the boundary", boundary).statements if statement.effect == "Allow"]
    lacking = sorted(
        {
            str(action)
            for policy in role.policies.values()
            for statement in statements(policy)
            if statement["Effect"] == "Allow"
            for action in as_list(statement.get("Action", []))
            if not any(one.action(str(action)) for one in allowed)
        }
    )
    result.claim(f"the boundary lets {role.name} do what its policies say", not lacking, "; ".join(lacking))


# AWS's limits on names, from each service's documentation of its Create call.
LIMITS = {
    "service": 32,  # load balancers and target groups; ECS allows 255
    "log_bucket": 63,
    "state_bucket": 63,
    "state_log_bucket": 63,
    "database_cluster": 63,
    "database_name": 63,
    "role_manager": 64,
    "role_manager_check": 64,
    "failed_deployments": 64,
    "alarms_topic": 256,
    "build_repository": 256,
    "locks_table": 255,
    "flags_application": 64,
    "flags_environment": 64,
    "flags_profile": 128,
}
ROLE_LIMIT, ALIAS_LIMIT, GROUP_LIMIT = 64, 256, 255


def names(context: Context, result: Result) -> None:
    """Every name fits AWS's limit."""
    for key, name in context.platform.project.names.items():
        limit = LIMITS.get(key)
        if limit is None:
            limit = (
                ROLE_LIMIT if key.endswith("_role") else
                ALIAS_LIMIT if key.endswith("_key") else
                GROUP_LIMIT if key.endswith("_security_group") else 512
            )  # fmt: skip
        if len(name) > limit:
            result.claim(f"{key} fits {limit} characters", False, f"{name}: {len(name)}")
    if not result.claims:
        result.claim("every name fits its limit", True, f"{len(context.platform.project.names)} names")
