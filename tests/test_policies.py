"""Who may do what in AWS: the rendered policies, decided as IAM decides."""

from __future__ import annotations

import re

import pytest

from tests.bakes import Bake
from tests.conftest import Once
from tests.policies import Account, Role, account, evaluator
from tools import template

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REGION = "arn:aws:{}:us-east-1:123456789012:{}"
STATE = "arn:aws:s3:::shop-tfstate-123456789012-us-east-1/"


@pytest.fixture(scope="session")
def shop(bake: Bake, once: Once) -> Account:
    """The application shop with dev, staging and prod, and every component."""
    return account(once, bake(app_name="shop", domain_name="shop.example.com"))


def arn(service: str, resource: str) -> str:
    """The ARN of a resource of the account; IAM's has no region."""
    return f"arn:aws:iam::123456789012:{resource}" if service == "iam" else REGION.format(service, resource)


def full(action: str, resource: str) -> str:
    """The ARN of what stands for a resource of the action's own service."""
    return resource if resource == "*" or resource.startswith("arn:") else arn(action.partition(":")[0], resource)


def tags(environment: str, application: str = "shop", **more: str) -> dict[str, str]:
    """Condition keys of a resource with a project's tags."""
    return {
        f"aws:ResourceTag/{tag}": value
        for tag, value in {"application": application, "environment": environment, **more}.items()
    }


def request(environment: str, application: str = "shop", **more: str) -> dict[str, str]:
    """Condition keys of a request that gives such tags."""
    return {key.replace("Resource", "Request"): value for key, value in tags(environment, application, **more).items()}


def runs(definition: str) -> dict[str, str]:
    """Condition keys of a request that names what an ECS service runs."""
    return {"ecs:task-definition": arn("ecs", f"task-definition/{definition}")}


DEV, PROD, NONE = tags("dev"), tags("prod"), dict[str, str]()
OTHER = tags("prod", "shop-dev")  # an application whose names all begin like shop's in dev
CLOSED = tags("dev", Name="shop-dev-default-closed")
ADDRESS = {"ec2:AllocationId": "eipalloc-1"}
TO_TASKS = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
FLAGS_VERSION = "application/a/configurationprofile/p/hostedconfigurationversion/2"
ZONE, RECORD = "arn:aws:route53:::hostedzone/Z1", "route53:ChangeResourceRecordSetsNormalizedRecordNames"
MASTER_OF_PROD = {"aws:ResourceTag/aws:rds:primaryDBClusterArn": arn("rds", "cluster:shop-prod")}
LOCK_OF_PROD = {"dynamodb:LeadingKeys": "shop-tfstate-123456789012-us-east-1/service/prod.tfstate"}
OTHER_BOUNDARY = {"iam:PermissionsBoundary": arn("iam", "policy/shop/github-actions/shop-prod-boundary")}
BOUNDARY = {"iam:PermissionsBoundary": arn("iam", "policy/shop/github-actions/shop-dev-boundary")}

# What dev's apply role needs for `up`, `deploy`, `apply`, `flag`, `status` and `down`, with the context of the call.
NEEDED = [
    ("ec2:CreateVpc", "vpc/*", request("dev")),
    ("ec2:CreateTags", "vpc/*", request("dev") | {"ec2:CreateAction": "CreateVpc"}),
    ("ec2:CreateSubnet", "subnet/*", request("dev")),
    ("ec2:CreateSubnet", "vpc/vpc-1", DEV),
    ("ec2:CreateRoute", "route-table/rtb-1", DEV),
    ("ec2:CreateSecurityGroup", "vpc/vpc-1", DEV),
    ("ec2:DescribeAccountAttributes", "*", NONE),  # by the first load balancer of an account
    ("ec2:GetSecurityGroupsForVpc", "vpc/vpc-1", DEV),  # by each one
    ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1", DEV),
    ("ec2:AuthorizeSecurityGroupIngress", "security-group-rule/*", request("dev")),
    ("ec2:CreateTags", "security-group-rule/sgr-1", request("dev")),
    ("ec2:CreateTags", "subnet/subnet-1", DEV | request("dev")),
    ("ec2:RevokeSecurityGroupEgress", "security-group/sg-default", NONE),
    ("ec2:CreateTags", "security-group/sg-default", request("dev", Name="shop-dev-default-closed")),
    ("ec2:CreateTags", "security-group/sg-default", CLOSED | {"aws:TagKeys": "owner"}),  # another one in project.yaml
    ("ec2:DeleteNetworkInterface", "network-interface/eni-1", NONE),
    ("ec2:DetachNetworkInterface", "network-interface/eni-1", NONE),
    ("ec2:DisassociateAddress", "*", NONE),  # of a NAT gateway that is gone
    ("ec2:DisassociateAddress", "elastic-ip/eipalloc-1", DEV | ADDRESS),
    ("kms:CreateKey", "*", request("dev")),
    ("kms:TagResource", "key/new", request("dev")),
    ("kms:EnableKeyRotation", "key/new", NONE),  # its tags have not arrived
    ("kms:CreateAlias", "key/new", NONE),
    ("kms:CreateAlias", "alias/shop-dev-service", NONE),
    ("kms:CreateGrant", "key/new", {"kms:ViaService": "rds.us-east-1.amazonaws.com"}),
    ("kms:ScheduleKeyDeletion", "key/1", DEV),
    ("logs:PutRetentionPolicy", "log-group:/shop/dev/service:*", DEV),
    ("logs:CreateLogGroup", "log-group:aws-waf-logs-shop-dev", NONE),
    ("logs:DeleteLogGroup", "log-group:aws-waf-logs-shop-dev:*", DEV),
    ("logs:PutRetentionPolicy", "log-group:/aws/rds/cluster/shop-dev/postgresql:*", DEV),
    ("logs:CreateLogGroup", "log-group:/aws/lambda/shop-dev-role-manager", NONE),
    ("logs:CreateLogGroup", "log-group:/aws/ecs/containerinsights/shop-dev/performance:*", NONE),
    ("rds:CreateDBCluster", "cluster:shop-dev", request("dev")),
    ("secretsmanager:CreateSecret", "secret:rds!cluster-1", NONE),
    ("lambda:CreateFunction", "function:shop-dev-role-manager", request("dev")),
    ("lambda:InvokeFunction", "function:shop-dev-role-manager", DEV),
    ("lambda:GetFunction", "function:shop-dev-role-manager", DEV),
    ("iam:CreateRole", "role/shop/dev/shop-dev-task", BOUNDARY),
    ("iam:UpdateAssumeRolePolicy", "role/shop/dev/shop-dev-task", DEV | BOUNDARY),
    ("iam:PassRole", "role/shop/dev/shop-dev-task", TO_TASKS),
    ("iam:PassRole", "role/shop/dev/shop-dev-flags-rollback", NONE),  # whether a service is named is unknown
    ("ecs:RunTask", "task-definition/shop-dev-migrate:1", {"ecs:cluster": arn("ecs", "cluster/shop-dev")}),
    ("ecs:CreateService", "service/shop-dev/shop-dev", runs("shop-dev:1") | request("dev")),
    ("ecs:UpdateService", "service/shop-dev/shop-dev", runs("shop-dev:2") | DEV),
    ("ecs:UpdateService", "service/shop-dev/shop-dev", DEV),  # its number of tasks
    ("ecs:CreateCluster", "cluster/shop-dev", request("dev")),
    ("application-autoscaling:RegisterScalableTarget", "scalable-target/1", request("dev")),
    ("application-autoscaling:TagResource", "scalable-target/1", request("dev")),
    ("application-autoscaling:PutScalingPolicy", "scalable-target/1", DEV),
    ("cloudwatch:PutMetricAlarm", "alarm:TargetTracking-service/shop-dev/shop-dev-AlarmHigh-1", NONE),
    ("wafv2:AssociateWebACL", arn("elasticloadbalancing", "loadbalancer/app/shop-dev/1"), DEV),
    ("elasticloadbalancing:CreateWebACLAssociation", "loadbalancer/app/shop-dev/1", DEV),
    ("elasticloadbalancing:DeleteWebACLAssociation", "loadbalancer/app/shop-dev/1", DEV),
    ("elasticloadbalancing:GetLoadBalancerWebACL", "loadbalancer/app/shop-dev/1", DEV),
    ("appconfig:CreateApplication", "*", request("dev")),
    ("appconfig:StartDeployment", "application/a/environment/e", DEV),
    ("appconfig:StopDeployment", "application/a/environment/e/deployment/2", NONE),
    ("appconfig:DeleteHostedConfigurationVersion", FLAGS_VERSION, NONE),
    ("route53:ChangeResourceRecordSets", ZONE, {RECORD: "dev.shop.example.com"}),
    ("ssm:GetParameterHistory", "parameter/shop/dev/image", DEV),
    ("ssm:GetParametersByPath", "parameter/shop/dev", {"ssm:Recursive": "false"}),
    ("s3:PutObject", STATE + "network/dev.tfstate", NONE),
    ("s3:PutObject", STATE + "build-repository.tfstate.tflock", NONE),
    ("s3:GetObject", STATE + "account.tfstate", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("action", "resource", "context"), NEEDED)
def test_an_apply_role_may_what_its_commands_do(
    shop: Account, action: str, resource: str, context: dict[str, str]
) -> None:
    assert shop.roles["apply-dev"].may(action, full(action, resource), context)


# What nobody outside may do, with the tags that the resource has.
FOREIGN = [
    # Retagging, and what would follow from it.
    ("kms:TagResource", "key/1", PROD | request("dev")),
    ("kms:TagResource", "key/1", request("dev") | {"kms:ResourceAliases": "alias/anybodys"}),
    ("kms:TagResource", "key/1", request("dev", temporary="pr-12") | {"kms:ResourceAliases": "alias/anybodys"}),
    ("kms:UntagResource", "key/1", PROD),
    ("kms:Decrypt", "key/1", PROD),
    ("kms:PutKeyPolicy", "key/1", PROD),
    ("kms:PutKeyPolicy", "key/1", NONE),
    ("kms:Decrypt", "key/1", NONE),
    ("kms:CreateGrant", "key/1", PROD | {"kms:ViaService": "rds.us-east-1.amazonaws.com"}),
    ("kms:EnableKeyRotation", "key/1", PROD),
    ("kms:UpdateAlias", "alias/shop-prod-service", NONE),
    ("kms:UpdateAlias", "alias/shop-tfstate", NONE),
    ("ec2:CreateTags", "vpc/vpc-1", PROD | request("dev")),
    ("ec2:CreateTags", "vpc/vpc-1", request("dev")),
    ("ec2:CreateTags", "security-group/sg-1", request("dev")),
    ("ec2:DeleteTags", "vpc/vpc-1", PROD),
    ("appconfig:TagResource", "application/a", PROD | request("dev")),
    ("acm:AddTagsToCertificate", "certificate/1", PROD | request("dev")),
    ("application-autoscaling:TagResource", "scalable-target/1", PROD | request("dev")),
    ("secretsmanager:TagResource", "secret:rds!cluster-1", MASTER_OF_PROD),
    ("secretsmanager:RotateSecret", "secret:rds!cluster-1", MASTER_OF_PROD),
    # The network.
    ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1", PROD),
    ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1", NONE),
    ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1", CLOSED),
    ("ec2:CreateTags", "security-group/sg-1", CLOSED | {"aws:TagKeys": "Name"}),
    ("ec2:RevokeSecurityGroupIngress", "security-group/sg-1", PROD),
    ("ec2:CreateRoute", "route-table/rtb-1", PROD),
    ("ec2:CreateRoute", "route-table/rtb-1", NONE),
    ("ec2:ModifyVpcEndpoint", "vpc-endpoint/vpce-1", PROD),
    ("ec2:CreateSubnet", "vpc/vpc-1", PROD),
    ("ec2:DisassociateAddress", "elastic-ip/eipalloc-1", PROD | ADDRESS),
    ("ec2:DisassociateAddress", "elastic-ip/eipalloc-1", ADDRESS),
    ("ec2:CreateVpc", "vpc/*", request("prod")),
    ("ec2:DeleteNetworkInterface", "network-interface/eni-1", PROD),
    ("application-autoscaling:DeregisterScalableTarget", "scalable-target/1", PROD),
    # Roles: of prod, of GitHub, without the boundary; and by a name that begins like an own one.
    ("iam:PutRolePolicy", "role/shop/prod/shop-prod-task", PROD | BOUNDARY),
    ("iam:PutRolePolicy", "role/shop/github-actions/shop-github-apply-dev", BOUNDARY),
    ("iam:UpdateAssumeRolePolicy", "role/shop/github-actions/shop-github-build", BOUNDARY),
    ("iam:UpdateAssumeRolePolicy", "role/shop/dev/shop-dev-task", DEV),
    ("iam:PutRolePermissionsBoundary", "role/shop/dev/shop-dev-task", DEV | OTHER_BOUNDARY),
    ("iam:DeleteRolePermissionsBoundary", "role/shop/dev/shop-dev-task", DEV | BOUNDARY),
    ("iam:CreatePolicyVersion", "policy/shop/github-actions/shop-dev-boundary", NONE),
    ("iam:PassRole", "role/shop/prod/shop-prod-task", TO_TASKS),
    ("iam:PassRole", "role/shop-dev/prod/shop-dev-prod-task", TO_TASKS),
    ("iam:PassRole", "role/shop/dev/shop-dev-task", {"iam:PassedToService": "ec2.amazonaws.com"}),
    # Services.
    ("ecs:RunTask", "task-definition/shop-dev:1", {"ecs:cluster": arn("ecs", "cluster/shop-prod")}),
    ("ecs:UpdateService", "service/shop-prod/shop-prod", PROD),
    ("ecs:CreateService", "service/shop-dev/shop-dev", runs("shop-prod:1") | request("dev")),
    ("ecs:UpdateService", "service/shop-dev/shop-dev", runs("shop-prod-worker-mail:1") | DEV),
    ("ecs:ExecuteCommand", "task/shop-prod/1", PROD),
    ("lambda:CreateFunction", "function:shop-dev-another", request("dev")),
    ("lambda:UpdateFunctionCode", "function:shop-prod-role-manager", PROD),
    ("lambda:GetFunction", "function:shop-prod-role-manager", PROD),
    ("lambda:GetFunctionConfiguration", "function:anybodys", NONE),
    ("rds:ModifyDBCluster", "cluster:shop-prod", PROD),
    ("rds:RestoreDBClusterFromSnapshot", "cluster-snapshot:shop-prod-final-1", PROD),
    ("secretsmanager:GetSecretValue", "secret:rds!cluster-1", NONE),
    ("appconfig:DeleteHostedConfigurationVersion", "application/a", PROD),
    ("appconfig:StopDeployment", "application/a", NONE),
    ("ssm:GetParameter", "parameter/shop/prod/incident-url", NONE),
    ("ssm:PutParameter", "parameter/shop/prod/image", PROD),
    ("logs:DeleteLogGroup", "log-group:/shop/prod/service:*", PROD),
    ("logs:DeleteLogGroup", "log-group:/aws/lambda/shop-develop", NONE),
    ("s3:GetObject", STATE + "service/prod.tfstate", NONE),
    ("s3:PutObject", STATE + "service/prod.tfstate", NONE),
    ("s3:PutObject", STATE + "service/prod.tfstate.tflock", NONE),
    ("s3:DeleteObject", STATE + "service/dev.tfstate", NONE),
    ("s3:PutObject", STATE + "account.tfstate", NONE),
    ("dynamodb:PutItem", "table/shop-tfstate-locks", LOCK_OF_PROD),
    ("ecr:PutImage", "repository/shop", NONE),
    ("route53:ChangeResourceRecordSets", ZONE, {RECORD: "shop.example.com"}),
    # Another application whose names all begin like an own one.
    *((action, resource, OTHER) for action, resource in [
        ("ecs:UpdateService", "service/shop-dev-prod/shop-dev-prod"),
        ("rds:DeleteDBCluster", "cluster:shop-dev-prod"),
        ("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer/app/shop-dev-prod/1"),
        ("sns:DeleteTopic", "shop-dev-prod-alarms"),
        ("events:DeleteRule", "rule/shop-dev-prod-failed-deployments"),
        ("cloudwatch:DeleteAlarms", "alarm:shop-dev-prod-errors"),
        ("logs:DeleteLogGroup", "log-group:/aws/rds/cluster/shop-dev-prod/postgresql:*"),
        ("wafv2:DeleteWebACL", "regional/webacl/shop-dev-prod/1"),
    ]),
    ("s3:DeleteBucket", "arn:aws:s3:::shop-dev-prod-logs-123456789012", NONE),
]  # fmt: skip


@pytest.mark.parametrize(("action", "resource", "context"), FOREIGN)
def test_an_apply_role_may_nothing_with_what_is_anothers(
    shop: Account, action: str, resource: str, context: dict[str, str]
) -> None:
    assert not shop.roles["apply-dev"].may(action, full(action, resource), context)
    assert not shop.roles["preview"].may(action, full(action, resource), context)


OF_PREVIEW = tags("dev", temporary="pr-12")
PREVIEW_BOUNDARY = {"iam:PermissionsBoundary": arn("iam", "policy/shop/github-actions/shop-dev-temporary-boundary")}


@pytest.mark.parametrize(
    ("action", "resource", "own", "devs"),
    [
        ("kms:Decrypt", "key/1", OF_PREVIEW, DEV),
        ("kms:TagResource", "key/1", OF_PREVIEW, DEV | request("dev", temporary="pr-12")),
        ("ec2:AuthorizeSecurityGroupIngress", "security-group/sg-1", OF_PREVIEW, DEV),
        ("ec2:CreateTags", "security-group/sg-1", OF_PREVIEW, DEV | request("dev", temporary="pr-12")),
        ("ec2:RevokeSecurityGroupIngress", "security-group/sg-1", OF_PREVIEW, DEV),
        ("appconfig:StartDeployment", "application/a", OF_PREVIEW, DEV),
        ("iam:CreateRole", "role/shop/dev/shop-dev-pr-12-task", PREVIEW_BOUNDARY, BOUNDARY),
    ],
)  # fmt: skip
def test_a_preview_touches_its_own_and_not_devs(
    shop: Account, action: str, resource: str, own: dict[str, str], devs: dict[str, str]
) -> None:
    assert shop.roles["preview"].may(action, full(action, resource), own)
    assert not shop.roles["preview"].may(action, full(action, resource), devs)


@pytest.mark.parametrize(
    ("action", "own", "devs"),
    [
        ("ecs:UpdateService", "service/shop-dev-pr-12/shop-dev-pr-12", "service/shop-dev/shop-dev"),
        ("iam:PutRolePolicy", "role/shop/dev/shop-dev-pr-12-task", "role/shop/dev/shop-dev-task"),
        ("s3:PutObject", STATE + "env:/pr-12/service/dev-temp.tfstate", STATE + "service/dev.tfstate"),
        ("s3:GetObject", STATE + "service/dev-temp.tfstate", STATE + "service/dev.tfstate"),
        ("s3:GetObject", STATE + "network/dev.tfstate", STATE + "service/prod.tfstate"),
        ("ssm:PutParameter", "parameter/shop/dev/pr-12/image", "parameter/shop/dev/image"),
        ("ecr:PutImage", "repository/shop/previews", "repository/shop"),
        ("s3:DeleteBucket", "arn:aws:s3:::shop-dev-pr-12-logs-123456789012", "arn:aws:s3:::shop-dev-logs-123456789012"),
        ("logs:DeleteLogGroup", "log-group:/shop/dev/pr-12/service:*", "log-group:/shop/dev/service:*"),
        ("route53:ChangeResourceRecordSets", "pr-12.dev.shop.example.com", "dev.shop.example.com"),
    ],
)  # fmt: skip
def test_a_preview_has_names_of_its_own(shop: Account, action: str, own: str, devs: str) -> None:
    def may(resource: str) -> bool:
        context = OF_PREVIEW | PREVIEW_BOUNDARY
        if action.startswith("route53"):
            context |= {RECORD: resource}
            resource = ZONE
        return shop.roles["preview"].may(action, full(action, resource), context)

    assert may(own)
    assert not may(devs)


@pytest.mark.parametrize("definition", ["shop-dev:1", "shop-dev-worker-mail:1", "shop-prod:1"])
def test_a_preview_runs_what_is_its_own(shop: Account, definition: str) -> None:
    """Whose task definition a service runs, its roles and secrets it has: ECS asks for no right to these."""
    service = full("ecs:CreateService", "service/shop-dev-pr-12/shop-dev-pr-12")
    own = request("dev", temporary="pr-12")
    assert shop.roles["preview"].may("ecs:CreateService", service, own | runs("shop-dev-pr-12:1"))
    assert not shop.roles["preview"].may("ecs:CreateService", service, own | runs(definition))


@pytest.mark.parametrize(("role", "may"), [("plan", True), ("apply-dev", True), ("preview", False)])
def test_parameters_are_read_by_path_without_what_is_below(shop: Account, role: str, may: bool) -> None:
    """Whoever may read a path recursively is given all below it, whatever a policy denies there; a path, all in it."""
    path = arn("ssm", "parameter/shop/dev")
    assert shop.roles[role].may("ssm:GetParametersByPath", path, {"ssm:Recursive": "false"}) == may
    assert not shop.roles[role].may("ssm:GetParametersByPath", path, {"ssm:Recursive": "true"})


def test_only_the_build_role_pushes_releases(shop: Account) -> None:
    for name, role in shop.roles.items():
        assert role.may("ecr:PutImage", arn("ecr", "repository/shop")) == (name == "build")
        assert role.may("ecr:PutImage", arn("ecr", "repository/shop/previews")) == (name == "preview")


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_what_dev_makes_reads_devs_and_nobody_elses(shop: Account, environment: str) -> None:
    """A role that dev made with all rights, within its boundary."""
    everything = [{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}]
    role = Role(everything, shop.boundaries["shop-dev-boundary"])
    preview = Role(everything, shop.boundaries["shop-dev-temporary-boundary"])
    own = environment == "dev"
    cluster = arn("rds", f"cluster:shop-{environment}")
    secret = {"aws:ResourceTag/aws:rds:primaryDBClusterArn": cluster}
    assert role.may("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:rds!cluster-1"), secret) == own
    assert not preview.may("secretsmanager:GetSecretValue", arn("secretsmanager", "secret:rds!cluster-1"), secret)
    assert role.may("kms:Decrypt", arn("kms", "key/1"), tags(environment)) == own
    assert not preview.may("kms:Decrypt", arn("kms", "key/1"), tags(environment))
    assert role.may("logs:PutLogEvents", arn("logs", f"log-group:/shop/{environment}/service:*")) == own
    for kind in ("service", "sessions"):  # a stream's name may have slashes, and no colon
        for group, theirs in {kind: False, f"pr-12/{kind}": own}.items():
            for stream in ("*", "log-stream:app/1", f"log-stream:pr-12/{kind}"):
                asked = arn("logs", f"log-group:/shop/{environment}/{group}:{stream}")
                assert preview.may("logs:PutLogEvents", asked) == theirs
    assert not preview.may("logs:PutLogEvents", arn("logs", f"log-group:/shop/{environment}/network:*"))
    # The role manager's interfaces: in its own environment's subnets, and nobody else's.
    manager = {"aws:PrincipalArn": arn("iam", "role/shop/dev/shop-dev-role-manager")}
    subnet = arn("ec2", "subnet/subnet-1")
    assert role.may("ec2:CreateNetworkInterface", subnet, tags(environment) | manager) == own
    assert not role.may("ec2:CreateNetworkInterface", subnet, tags(environment))
    assert not role.may(
        "ec2:CreateNetworkInterface", subnet, tags(environment) | manager | {"lambda:SourceFunctionArn": "x"}
    )
    for action in ("iam:PutRolePolicy", "sts:AssumeRole", "ecr:PutImage", "s3:GetObject", "ssm:PutParameter"):
        assert not role.may(action, "*")


def test_the_plan_role_reads_no_secret_and_nobody_elses_code(shop: Account) -> None:
    plan = shop.roles["plan"]
    assert plan.may("lambda:GetFunction", arn("lambda", "function:shop-prod-role-manager"), PROD)
    for name in ("anybodys", "shop-dev-prod-role-manager", "shop-prod-other"):
        assert not plan.may("lambda:GetFunction", arn("lambda", f"function:{name}"))
        assert not plan.may("lambda:GetFunctionConfiguration", arn("lambda", f"function:{name}"))
    for action, resource in {
        "secretsmanager:GetSecretValue": arn("secretsmanager", "secret:rds!cluster-1"),
        "kms:Decrypt": arn("kms", "key/1"),
        "ssm:GetParameter": arn("ssm", "parameter/shop/dev/secrets/password"),
        "s3:PutObject": STATE + "service/dev.tfstate",
        "ec2:DescribeInstanceAttribute": "*",
        "ecr:PutImage": arn("ecr", "repository/shop"),
        "ec2:GetPasswordData": arn("ec2", "instance/i-1"),
    }.items():
        assert not plan.may(action, resource, DEV)


def test_the_decision_on_one_account_tells_what_is_not_kept_apart(shop: Account) -> None:
    """The table of what AWS has no words for is exactly what dev's role may do to anything of the account."""
    text = (template.RENDERED_ROOT / "docs" / "decisions" / "one-account.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    told = {action for row in rows for action in re.findall(r"`([\w-]+:\w+)`", row)}
    reference = evaluator("reference")
    found = {
        action
        for document in shop.roles["apply-dev"].documents
        for statement in document["Statement"]
        if statement["Effect"] == "Allow" and statement["Resource"] == "*" and statement.get("Sid") != "Describe"
        for action in statement["Action"]
        if not {"aws:RequestTag/application"} & set(statement["Condition"].get("StringEquals", {}))
        and not reference.action(action).kinds
    }
    assert told == found


def test_the_plan_role_changes_nothing_and_reads_the_images_that_are_deployed(shop: Account) -> None:
    plan = shop.roles["plan"]
    assert plan.may("ecr:GetAuthorizationToken", "*", NONE)
    for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"):
        assert plan.may(action, full(action, "repository/shop"), NONE)
        assert not plan.may(action, full(action, "repository/shop/previews"), NONE)
    assert not plan.may("ecr:PutImage", full("ecr:PutImage", "repository/shop"), NONE)
    for action in ("s3:PutObject", "s3:DeleteObject"):
        assert not plan.may(action, full(action, STATE + "service/dev.tfstate.tflock"), NONE)
    assert not plan.may("dynamodb:PutItem", full("dynamodb:PutItem", "table/shop-tfstate-locks"), LOCK_OF_PROD)
