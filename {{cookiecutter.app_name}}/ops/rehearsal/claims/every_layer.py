"""What holds in every layer: names that fit, roles that may no more than they need."""

from __future__ import annotations

from ops.rehearsal.claims.claim import Context, Result
from ops.rehearsal.iam.policy import as_list, everything_on_everything, statements
from ops.rehearsal.iam.questions import says
from ops.rehearsal.iam.roles import Role


def least_privilege(context: Context, result: Result) -> None:
    """No policy of this project allows everything on everything."""
    platform = context.platform
    iam, app = platform.client("iam"), str(platform.project.settings["app_name"])
    roles = [
        role["RoleName"]
        for page in iam.get_paginator("list_roles").paginate()
        for role in page["Roles"]
        if role["RoleName"].startswith(f"{app}-")
    ]
    result.claim("the project has roles", roles, len(roles))
    # Roles of the environment's layers, which apply roles make: IAM lets them make no others.
    own = [name for name in roles if not name.startswith(f"{app}-github-")]
    for name in roles:
        role = platform.role(name)
        wide = [f"{policy}: {sid}" for policy, text in role.policies.items() for sid in everything_on_everything(text)]
        result.claim(f"{name} has no * on *", not wide, "; ".join(wide))
        if name in own:
            _bounded(result, role)
        trusts_all = [s for s in statements(role.trust) if s.get("Principal") in ("*", {"AWS": "*"})]
        result.claim(f"{name} does not trust everybody", not trusts_all)


def _bounded(result: Result, role: Role) -> None:
    """What the boundary does not have, a role's policy gives in vain."""
    boundary = role.boundary
    result.claim(f"{role.name} carries the permissions boundary", boundary is not None)
    if boundary is None:
        return
    lacking = sorted(
        {
            f"{action} on {resource}"
            for policy in role.policies.values()
            for statement in statements(policy)
            if statement["Effect"] == "Allow"
            for action in as_list(statement.get("Action", []))
            for resource in as_list(statement.get("Resource", []))
            if says(boundary, role.request(action, resource)) != "allowed"
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
