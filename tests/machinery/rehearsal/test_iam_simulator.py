"""IAM at the simulator's door, through boto3: who gets keys, what they may do, and how a refusal looks in each protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from ops.rehearsal.iam import usage, web_identity

from tests.machinery.rehearsal.test_simulator import ACCOUNT, REGION, Simulator

PREFIX = "repo:octo/app"
LAG = 2.0  # seconds


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    started = Simulator(tmp_path_factory.mktemp("simulator"), tag_lag_seconds=LAG)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def admin(simulator: Simulator) -> Callable[[str], Any]:
    iam = simulator.client("iam")
    iam.create_open_id_connect_provider(Url=web_identity.ISSUER, ClientIDList=["sts.amazonaws.com"])
    return simulator.client


def client(simulator: Simulator, service: str, keys: dict[str, Any] | None, **config: Any) -> Any:
    found = keys or {}
    return boto3.client(
        service,
        region_name=simulator.region,
        endpoint_url=simulator.endpoint,
        aws_access_key_id=found.get("AccessKeyId"),
        aws_secret_access_key=found.get("SecretAccessKey"),
        aws_session_token=found.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def statement(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Sid": "Own", "Effect": "Allow", "Action": action, "Resource": resource} | more


def role(
    admin: Callable[[str], Any],
    name: str,
    *statements: dict[str, Any],
    claims: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    """Make a role that GitHub's main branch may take, with one inline policy `may`."""
    host = web_identity.ISSUER.partition("://")[2]
    equals = claims or {"aud": "sts.amazonaws.com", "sub": f"{PREFIX}:ref:refs/heads/main"}
    trust = {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{host}:{claim}": value for claim, value in equals.items()}},
        }
    }
    iam = admin("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust), **more)["Role"]["Arn"]
    own = [{**each, "Sid": f"Own{number or ''}"} for number, each in enumerate(statements)]
    document = {"Version": "2012-10-17", "Statement": own}
    iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps(document))
    return str(arn)


def assume(simulator: Simulator, arn: str, *, duration: int = 3600, **token: Any) -> dict[str, Any]:
    sts = client(simulator, "sts", None, signature_version=UNSIGNED)
    given = {"prefix": PREFIX, "audience": "sts.amazonaws.com"} | token
    text = web_identity.token(simulator.directory / "github-oidc-key.pem", **given)
    found = sts.assume_role_with_web_identity(
        RoleArn=arn, RoleSessionName="job", WebIdentityToken=text, DurationSeconds=duration
    )
    return dict(found["Credentials"])


def test_a_job_signs_in_in_another_partition(tmp_path: Path) -> None:
    started = Simulator(tmp_path, region="us-gov-west-1")
    try:
        iam = started.client("iam")
        provider = iam.create_open_id_connect_provider(Url=web_identity.ISSUER, ClientIDList=["sts.amazonaws.com"])
        arn = provider["OpenIDConnectProviderArn"]
        trust = {"Effect": "Allow", "Principal": {"Federated": arn}, "Action": "sts:AssumeRoleWithWebIdentity"}
        arn = iam.create_role(RoleName="job", AssumeRolePolicyDocument=json.dumps({"Statement": trust}))["Role"]["Arn"]
        keys = assume(started, arn)
        found = client(started, "sts", keys).get_caller_identity()["Arn"]
    finally:
        started.stop()
    assert found.startswith(f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/job/")


def test_a_role_is_given_to_the_subject_that_its_trust_names_and_to_nobody_else(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    arn = role(admin, "main-only", statement("ecr:*"))
    keys = assume(simulator, arn)
    identity = client(simulator, "sts", keys).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/main-only/job"
    attempts: list[tuple[dict[str, Any], str]] = [
        ({"ref": "refs/heads/other"}, "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
        ({"event": "pull_request"}, "Not authorized"),
        ({"environment": "dev"}, "Not authorized"),
        ({"prefix": "repo:octo/apple"}, "Not authorized"),
        ({"audience": "https://example.com"}, "Incorrect token audience"),
        ({"lifetime_seconds": -1}, "Token expired"),
        ({"iss": "https://example.com"}, "InvalidIdentityToken"),
        ({"duration": 7200}, "exceeds the MaxSessionDuration"),
    ]
    for wrong, message in attempts:
        with pytest.raises(ClientError, match=message):
            assume(simulator, arn, **wrong)
    with pytest.raises(ClientError, match="Not authorized"):
        assume(simulator, arn.replace("main-only", "not-there"))


def test_a_token_that_this_run_did_not_sign_is_refused(
    simulator: Simulator, admin: Callable[[str], Any], tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    arn = role(admin, "signed", statement("ecr:*"))
    foreign = tmp_path / "key.pem"
    foreign.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    token = web_identity.token(foreign, prefix=PREFIX, audience="sts.amazonaws.com")
    sts = client(simulator, "sts", None, signature_version=UNSIGNED)
    for text in (token, "x.y.z", ""):
        with pytest.raises(ClientError, match="InvalidIdentityToken"):
            sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="job", WebIdentityToken=text or "1234")


def test_a_job_of_an_environment_needs_the_ref_that_the_trust_asks_for(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    claims = {"aud": "sts.amazonaws.com", "sub": f"{PREFIX}:environment:dev", "ref": "refs/heads/main"}
    arn = role(admin, "environment", statement("ecr:*"), claims=claims)
    assert assume(simulator, arn, environment="dev")
    with pytest.raises(ClientError, match="Not authorized"):
        assume(simulator, arn, environment="dev", ref="refs/heads/feature")


def test_a_claim_that_aws_has_no_key_for_fails_by_name(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    arn = role(
        admin, "claims", statement("ecr:*"), claims={"aud": "sts.amazonaws.com", "runner_environment": "github-hosted"}
    )
    with pytest.raises(ClientError, match=r"SimulatorFailed.*runner_environment"):
        assume(simulator, arn)


CALLS: list[tuple[str, str, dict[str, Any], str, int, str]] = [
    ("ec2", "create_internet_gateway", {}, "UnauthorizedOperation", 403, "ec2:CreateInternetGateway"),
    ("iam", "get_role", {"RoleName": "x"}, "AccessDenied", 403, "iam:GetRole"),
    ("sns", "create_topic", {"Name": "x"}, "AuthorizationError", 403, "sns:CreateTopic"),
    ("ecs", "list_clusters", {}, "AccessDeniedException", 400, "ecs:ListClusters"),
    ("dynamodb", "list_tables", {}, "AccessDeniedException", 400, "dynamodb:ListTables"),
    ("lambda", "list_functions", {}, "AccessDeniedException", 403, "lambda:ListFunctions"),
    ("route53", "list_hosted_zones", {}, "AccessDenied", 403, "route53:ListHostedZones"),
    ("s3", "list_objects_v2", {"Bucket": "x"}, "AccessDenied", 403, "s3:ListBucket"),
    ("cloudwatch", "describe_alarms", {}, "AccessDenied", 403, "cloudwatch:DescribeAlarms"),
]


@pytest.mark.parametrize(("service", "call", "arguments", "code", "status", "action"), CALLS, ids=[c[0] for c in CALLS])
def test_a_refusal_reads_as_the_service_s_own_and_names_everything(
    simulator: Simulator,
    admin: Callable[[str], Any],
    service: str,
    call: str,
    arguments: dict[str, Any],
    code: str,
    status: int,
    action: str,
) -> None:
    name = f"may-little-{service}"
    arn = role(admin, name, statement(f"{action.partition(':')[0]}:Put*", "*"))
    with pytest.raises(ClientError) as caught:
        getattr(client(simulator, service, assume(simulator, arn)), call)(**arguments)
    error = caught.value.response
    assert error["Error"]["Code"] in (code, f"{code}Exception")
    assert error["ResponseMetadata"]["HTTPStatusCode"] in (status, 400)
    message = error["Error"]["Message"]
    assert (
        f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/job is not authorized to perform: {action} on resource: "
        in message
    )
    assert f"because no identity-based policy allows the {action} action" in message
    assert "Nearest: Own of may" in message


def test_keys_that_nobody_gave_out_are_refused(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    keys = assume(simulator, role(admin, "keys", statement("ecs:*")))
    client(simulator, "ecs", keys).list_clusters()
    for wrong in (
        keys | {"SessionToken": "another"},
        keys | {"SessionToken": None},
        {"AccessKeyId": "AKIAIOSFODNN7EXAMPLF", "SecretAccessKey": "simulated"},
        keys | {"SecretAccessKey": "another"},
        {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "guessed"},
    ):
        for service, call in (
            ("ecs", "list_clusters"),
            ("iam", "list_roles"),
            ("ec2", "describe_vpcs"),
            ("s3", "list_buckets"),
        ):
            with pytest.raises(
                ClientError, match=r"UnrecognizedClient|InvalidClientTokenId|AuthFailure|InvalidAccessKeyId|Signature"
            ):
                getattr(client(simulator, service, wrong), call)()
    with pytest.raises(ClientError, match="MissingAuthenticationToken"):
        client(simulator, "ecs", None, signature_version=UNSIGNED).list_clusters()


def test_what_is_made_is_limited_by_its_tags_and_the_tag_on_create_is_asked_for(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    tag = {"StringEquals": {"aws:RequestTag/environment": "dev"}}
    tags = statement("ec2:CreateTags", Condition={"StringEquals": {"ec2:CreateAction": "CreateVpc"}})
    arn = role(admin, "tagging", statement("ec2:CreateVpc", Condition=tag), tags, statement("ec2:DescribeVpcs"))
    ec2 = client(simulator, "ec2", assume(simulator, arn))

    def specification(value: str) -> list[dict[str, Any]]:
        return [{"ResourceType": "vpc", "Tags": [{"Key": "environment", "Value": value}]}]

    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=specification("dev"))["Vpc"]["VpcId"]
    with pytest.raises(ClientError, match="aws:RequestTag/environment = dev, and it is prod"):
        ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=specification("prod"))
    with pytest.raises(ClientError, match="it is absent"):
        ec2.create_vpc(CidrBlock="10.0.0.0/16")
    with pytest.raises(ClientError, match="ec2:CreateAction = CreateVpc, and it is absent"):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "environment", "Value": "prod"}])


def test_a_new_key_s_tags_count_after_a_while(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    own = {"StringEquals": {"aws:ResourceTag/environment": "dev"}}
    arn = role(
        admin,
        "keymaker",
        statement(["kms:CreateKey", "kms:TagResource"]),
        statement("kms:EnableKeyRotation", Condition=own),
    )
    kms = client(simulator, "kms", assume(simulator, arn))
    key = kms.create_key(Tags=[{"TagKey": "environment", "TagValue": "dev"}])["KeyMetadata"]["KeyId"]
    began = time.monotonic()
    with pytest.raises(ClientError, match="aws:ResourceTag/environment = dev, and it is absent"):
        kms.enable_key_rotation(KeyId=key)
    while True:
        try:
            kms.enable_key_rotation(KeyId=key)
            break
        except ClientError:
            assert time.monotonic() - began < LAG + 5
            time.sleep(0.2)
    assert time.monotonic() - began > LAG - 0.5


def test_a_role_is_passed_only_where_the_policy_says(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    passed = role(admin, "task", statement("s3:*"))
    to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    arn = role(
        admin, "deployer", statement("ecs:RegisterTaskDefinition"), statement("iam:PassRole", passed, Condition=to_tasks),
        statement("events:*"),
    )  # fmt: skip
    keys = assume(simulator, arn)
    ecs = client(simulator, "ecs", keys)
    container = [{"name": "app", "image": "app", "memory": 512}]
    ecs.register_task_definition(family="app", taskRoleArn=passed, containerDefinitions=container)
    with pytest.raises(ClientError, match=r"iam:PassRole on resource: .*keys"):
        ecs.register_task_definition(
            family="app", taskRoleArn=f"arn:aws:iam::{ACCOUNT}:role/keys", containerDefinitions=container
        )
    events = client(simulator, "events", keys)
    events.put_rule(Name="nightly", ScheduleExpression="rate(1 day)")
    with pytest.raises(ClientError, match=r"and it is events.amazonaws.com"):
        events.put_targets(Rule="nightly", Targets=[{"Id": "1", "Arn": "arn:aws:ecs:x:1:cluster/a", "RoleArn": passed}])


def test_what_a_service_runs_and_how_far_a_path_is_read_are_conditions(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    own = {"ArnLikeIfExists": {"ecs:task-definition": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/own:*"}}
    arn = role(
        admin, "runs-own", statement(["ecs:CreateService", "ecs:UpdateService"], Condition=own), statement("iam:CreateServiceLinkedRole"),
        statement("ssm:GetParametersByPath", Condition={"StringNotEquals": {"ssm:Recursive": "true"}}),
    )  # fmt: skip
    keys = assume(simulator, arn)
    admin("ecs").create_cluster(clusterName="runs")
    found = {
        family: admin("ecs").register_task_definition(
            family=family, containerDefinitions=[{"name": "app", "image": "app", "memory": 512}]
        )["taskDefinition"]["taskDefinitionArn"]
        for family in ("own", "other")
    }
    ecs, ssm = client(simulator, "ecs", keys), client(simulator, "ssm", keys)
    ecs.create_service(cluster="runs", serviceName="web", taskDefinition=found["own"], desiredCount=0)
    ecs.update_service(cluster="runs", service="web", taskDefinition="own:1")
    ecs.update_service(cluster="runs", service="web", desiredCount=0)
    for other in ("other:1", found["other"]):
        with pytest.raises(ClientError, match=r"ecs:task-definition .*own.*and it is .*task-definition/other:1"):
            ecs.update_service(cluster="runs", service="web", taskDefinition=other)
    for further in ({}, {"Recursive": False, "WithDecryption": True}):
        ssm.get_parameters_by_path(Path="/shop/dev", **further)
    with pytest.raises(ClientError, match="ssm:Recursive"):
        ssm.get_parameters_by_path(Path="/shop/dev", Recursive=True)


def test_a_boundary_limits_and_cannot_be_left_out(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    document = {"Version": "2012-10-17", "Statement": statement("ecs:List*") | {"Sid": "Most"}}
    boundary = admin("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    bound = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    arn = role(admin, "maker", statement(["iam:CreateRole", "iam:PutRolePolicy"], Condition=bound))
    iam = client(simulator, "iam", assume(simulator, arn))
    empty = json.dumps({"Version": "2012-10-17", "Statement": statement("sns:Publish")})
    tasks = statement("sts:AssumeRole", Principal={"Service": "ecs-tasks.amazonaws.com"})
    trust = json.dumps({"Version": "2012-10-17", "Statement": {k: v for k, v in tasks.items() if k != "Resource"}})
    with pytest.raises(ClientError, match=r"iam:CreateRole on .*iam:PermissionsBoundary.*absent"):
        iam.create_role(RoleName="free", AssumeRolePolicyDocument=trust)
    iam.create_role(RoleName="bound", AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary)
    iam.put_role_policy(RoleName="bound", PolicyName="p", PolicyDocument=empty)
    with pytest.raises(ClientError, match=r"iam:PutRolePolicy"):
        iam.put_role_policy(RoleName="maker", PolicyName="p", PolicyDocument=empty)
    limited = role(admin, "limited", statement("ecs:*"), PermissionsBoundary=boundary)
    ecs = client(simulator, "ecs", assume(simulator, limited))
    ecs.list_clusters()
    with pytest.raises(ClientError, match="because no permissions boundary allows the ecs:CreateCluster action"):
        ecs.create_cluster(clusterName="x")


def test_s3_reads_with_the_key_of_the_bucket_and_its_policy_can_deny(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    key = admin("kms").create_key()["KeyMetadata"]["Arn"]
    s3 = admin("s3")
    s3.create_bucket(Bucket="state", CreateBucketConfiguration={"LocationConstraint": REGION})
    default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket="state", ServerSideEncryptionConfiguration={"Rules": [default]})
    s3.put_object(Bucket="state", Key="dev.tfstate", Body=b"{}")
    without = assume(simulator, role(admin, "reader", statement("s3:GetObject", "arn:aws:s3:::state/*")))
    with pytest.raises(ClientError, match=f"kms:Decrypt on resource: {key}"):
        client(simulator, "s3", without).get_object(Bucket="state", Key="dev.tfstate")
    via = {"StringEquals": {"kms:ViaService": f"s3.{REGION}.amazonaws.com",
                            "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::state/dev.tfstate"}}  # fmt: skip
    arn = role(
        admin, "decrypter", statement("s3:GetObject", "arn:aws:s3:::state/*"), statement("kms:Decrypt", Condition=via)
    )
    reader = client(simulator, "s3", assume(simulator, arn))
    assert reader.get_object(Bucket="state", Key="dev.tfstate")["Body"].read() == b"{}"
    deny = {"Effect": "Deny", "Principal": {"AWS": arn}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::state/*"}
    s3.put_bucket_policy(Bucket="state", Policy=json.dumps({"Statement": deny}))
    with pytest.raises(ClientError, match="with an explicit deny in a resource-based policy"):
        reader.get_object(Bucket="state", Key="dev.tfstate")


def as_service(simulator: Simulator, service: str, arn: str, source: str, subnets: str = "") -> dict[str, Any]:
    """Keys of a role as a service of AWS takes it, for a process in subnets."""
    query = urlencode({"service": service, "role": arn, "source": source, "subnets": subnets})
    secret = (simulator.directory / "secret").read_text(encoding="ascii")
    request = Request(f"{simulator.endpoint}/rehearsal/assume?{query}", headers={"X-Secret": secret})
    with urlopen(request) as answer:
        found = json.loads(answer.read())
    return {"AccessKeyId": found["access_key"], "SecretAccessKey": found["secret_key"], "SessionToken": found["token"]}


def service_role(admin: Callable[[str], Any], name: str, service: str, *statements: dict[str, Any]) -> str:
    """Make a role that a service of AWS may take."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    arn = admin("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": trust}))["Role"][
        "Arn"
    ]
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        admin("iam").put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps(document))
    return str(arn)


def test_the_policy_of_a_vpc_endpoint_refuses_what_goes_through_it(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    ec2 = admin("ec2")
    inside, outside = (
        (vpc, ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"])
        for block in ("10.1.0.0/16", "10.2.0.0/16")
        for vpc in [ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"]]
    )
    own = {"Version": "2012-10-17", "Statement": statement("sns:ListTopics", Principal="*")}
    for service in ("sns", "sqs"):
        ec2.create_vpc_endpoint(
            VpcId=inside[0], SubnetIds=[inside[1]], ServiceName=f"com.amazonaws.{REGION}.{service}",
            VpcEndpointType="Interface", PrivateDnsEnabled=True, **({"PolicyDocument": json.dumps(own)} if service == "sns" else {}),
        )  # fmt: skip
    tasks = "ecs-tasks.amazonaws.com"
    arn = service_role(admin, "in-vpc", tasks, statement(["sns:*", "sqs:*"]))
    source = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/x/1"
    there = as_service(simulator, tasks, arn, source, inside[1])
    sns = client(simulator, "sns", there)
    sns.list_topics()
    with pytest.raises(ClientError, match="because no VPC endpoint policy allows the sns:CreateTopic action") as caught:
        sns.create_topic(Name="x")
    assert f"Own of the policy of endpoint com.amazonaws.{REGION}.sns" in str(caught.value)
    client(simulator, "sqs", there).create_queue(
        QueueName="x"
    )  # an endpoint without a policy of its own lets all through
    elsewhere = as_service(simulator, tasks, arn, source, outside[1])
    client(simulator, "sns", elsewhere).create_topic(Name="x")


def test_flags_are_watched_with_the_role_of_their_monitor(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    appconfig, cloudwatch = admin("appconfig"), admin("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="latency", MetricName="m", Namespace="n", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    alarm = cloudwatch.describe_alarms(AlarmNames=["latency"])["MetricAlarms"][0]["AlarmArn"]
    application = appconfig.create_application(Name="watched")["Id"]
    sees = statement("cloudwatch:DescribeAlarms")
    seeing = service_role(admin, "seeing", "appconfig.amazonaws.com", sees)
    foreign = service_role(admin, "foreign", "ecs-tasks.amazonaws.com", sees)
    blind = service_role(admin, "blind", "appconfig.amazonaws.com")

    def environment(name: str, arn: str) -> str:
        monitors = [{"AlarmArn": alarm, "AlarmRoleArn": arn}]
        made = appconfig.create_environment(ApplicationId=application, Name=name, Monitors=monitors)
        return str(made["Id"])

    with pytest.raises(ClientError, match="AppConfig could not assume the role"):
        environment("foreign", foreign)
    with pytest.raises(ClientError, match="not authorized to perform: cloudwatch:DescribeAlarms"):
        environment("blind", blind)
    made = environment("watched", seeing)
    profile = appconfig.create_configuration_profile(ApplicationId=application, Name="flags", LocationUri="hosted")[
        "Id"
    ]
    version = appconfig.create_hosted_configuration_version(
        ApplicationId=application, ConfigurationProfileId=profile, Content=b"{}", ContentType="application/json"
    )["VersionNumber"]

    def launch() -> dict[str, Any]:
        where = {"ApplicationId": application, "EnvironmentId": made}
        number = appconfig.start_deployment(
            **where, ConfigurationProfileId=profile, ConfigurationVersion=str(version),
            DeploymentStrategyId="AppConfig.AllAtOnce",
        )["DeploymentNumber"]  # fmt: skip
        appconfig.get_deployment(**where, DeploymentNumber=number)
        return dict(appconfig.get_deployment(**where, DeploymentNumber=number))

    assert launch()["State"] == "COMPLETE"
    assert usage.read(simulator.directory).of(seeing) == (1, 1)
    admin("iam").delete_role_policy(RoleName="seeing", PolicyName="may")
    ended = launch()
    assert ended["State"] == "ROLLED_BACK"
    assert "could not look at the alarm latency" in ended["EventLog"][0]["Description"]


def test_the_journal_says_what_was_used_and_what_would_be_missed(
    simulator: Simulator, admin: Callable[[str], Any], tmp_path: Path
) -> None:
    own = statement(["ecs:List*", "ecs:RunTask", "sns:ListTopics", "sns:List*", "sqs:ListQueues"])
    arn = role(admin, "worker", own, statement("sqs:ListQueues"))
    keys = assume(simulator, arn)
    client(simulator, "ecs", keys).list_clusters()
    client(simulator, "sns", keys).list_topics()
    client(simulator, "sqs", keys).list_queues()
    found = usage.read(simulator.directory)
    assert found.of(arn) == (5, 6)
    assert [granted.action for granted in found.unused(arn)] == ["ecs:RunTask"]
    assert [missed.call for missed in found.without("role/worker", "ecs:List*")] == ["ecs ListClusters"]
    assert found.without("worker", "sns:ListTopics") == [], "another pattern allows it too"
    assert [missed.call for missed in found.without("worker", "sqs:ListQueues")] == ["sqs ListQueues"], "out of both"
    assert found.without("worker", "ecs:RunTask") == []
    with pytest.raises(KeyError, match="ecs:Stop"):
        found.without("worker", "ecs:Stop*")
    assert found.seconds > 0
    usage.keep(simulator.directory, tmp_path)
    kept = usage.read(tmp_path)
    assert abs(kept.seconds - found.seconds) < 0.1
    kept.seconds = found.seconds
    assert kept == found, "what is kept of a run says the same"
    assert (tmp_path / usage.JOURNAL).stat().st_size < (simulator.directory / usage.JOURNAL).stat().st_size


def test_a_refused_call_uses_nothing(simulator: Simulator, admin: Callable[[str], Any]) -> None:
    arn = role(admin, "trying", statement("ecs:RegisterTaskDefinition"))
    ecs = client(simulator, "ecs", assume(simulator, arn))
    container = [{"name": "app", "image": "app", "memory": 512}]
    with pytest.raises(ClientError, match="iam:PassRole"):
        ecs.register_task_definition(family="app", taskRoleArn=arn, containerDefinitions=container)
    found = usage.read(simulator.directory)
    assert found.without("trying", "ecs:RegisterTaskDefinition") == []
    assert found.of(arn) == (0, 1)


def test_an_association_is_about_its_address_as_long_as_there_is_one(
    simulator: Simulator, admin: Callable[[str], Any]
) -> None:
    ec2 = admin("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.98.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.98.0.0/24")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    association = ec2.associate_address(AllocationId=address, NetworkInterfaceId=interface)["AssociationId"]
    forgets = statement("ec2:DisassociateAddress", Condition={"Null": {"ec2:AllocationId": "true"}})
    own = client(simulator, "ec2", assume(simulator, role(admin, "forgets", forgets)))
    with pytest.raises(ClientError, match=f"elastic-ip/{address}"):
        own.disassociate_address(AssociationId=association)
    ec2.disassociate_address(AssociationId=association)
    with pytest.raises(ClientError, match=r"InvalidAssociationID\.NotFound"):
        own.disassociate_address(AssociationId=association)
