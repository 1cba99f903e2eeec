"""The rules for answers, in process: what the pre-hook's `problems` says, and does not say."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from pathlib import Path

import botocore.session
import cookiecutter
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hooks import pre_gen_project as rules
from tests.options import Options, every_option_set
from tools import template
from tools.names import NAMES

RIGHT: dict[str, object] = {
    name: default[0] if isinstance(default, list) else default.replace("{{ cookiecutter.app_name }}", "my-app")
    for name, default in template.questions().items()
}


def accepted(**answers: object) -> bool:
    return rules.problems(RIGHT | answers) == []


@every_option_set
def test_every_option_set_is_accepted(options: Options) -> None:
    assert rules.problems(RIGHT | options) == []


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("app_name", "ab"),
        ("app_name", "a" * 20),
        ("app_name", "a1-b2-c3"),
        ("app_name", "users"),
        ("app_name", "internals"),
        ("app_name", "sgx"),
        ("description", "x" * 200),
        ("description", "😀 👩‍🔬 it's {{ literal }} \\ \" ' : # - Ünïcödé 中文"),
        ("owner", "Équipe Plateforme 2 _.:/=+-@"),
        ("owner", "x" * 64),
        ("github_repository", "my-org/my.app_with-3.dots"),
        ("github_repository", "a/b"),
        ("github_repository", "a" * 39 + "/" + "b" * 100),
        ("aws_account_id", "000000000001"),
        ("aws_region", "cn-northwest-1"),
        ("aws_region", "us-gov-east-1"),
        ("domain_name", ""),
        ("domain_name", "example.com"),
        ("domain_name", "xn--bcher-kva.example"),
        ("domain_name", "1.example.com"),
        ("domain_name", "a" * 50 + ".io"),
    ],
)
def test_right_answers_are_accepted(field: str, answer: str) -> None:
    assert accepted(**{field: answer})


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("app_name", ""),
        ("app_name", "a"),
        ("app_name", "a" * 21),
        ("app_name", "a" * 10_000),
        ("app_name", "My-App"),
        ("app_name", "my_app"),
        ("app_name", "my--app"),
        ("app_name", "-app"),
        ("app_name", "app-"),
        ("app_name", "1app"),
        ("app_name", "my-app\n"),
        ("app_name", "my app"),
        ("app_name", "ápp"),
        ("app_name", "арр"),  # Cyrillic
        ("app_name", "app١"),  # an Arabic digit
        ("app_name", "../x"),
        ("app_name", "/etc"),
        ("app_name", "aws-shop"),
        ("app_name", "ssm"),
        ("app_name", "internal"),
        ("app_name", "internal-shop"),
        ("app_name", "sg"),
        ("app_name", "sthree-x"),
        ("app_name", "amzn-s3-demo-x"),
        ("app_name", "user"),
        ("app_name", "order"),
        ("app_name", "current-user"),
        ("app_name", "postgres"),
        ("app_name", "rdsadmin"),
        ("app_name", "template1"),
        ("description", ""),
        ("description", "   "),
        ("description", "x" * 201),
        ("description", "two\nlines"),
        ("description", "tab\there"),
        ("description", "nul\0"),
        ("description", "escape\x1b[31m"),
        ("description", "next\x85line"),
        ("description", "line\u2028separator"),
        ("description", "paragraph\u2029separator"),
        ("description", "mark\ufeff"),
        ("description", "not a character \uffff"),
        ("description", "half \ud83d"),
        ("description", "reversed \u202etxt"),
        ("owner", ""),
        ("owner", " team"),
        ("owner", "x" * 65),
        ("owner", "team\n"),
        ("owner", "R&D"),
        ("owner", "team;drop"),
        ("owner", "it's"),
        ("owner", "aws:team"),
        ("owner", "AWS:team"),
        ("owner", "team 😀"),
        ("github_repository", "shop"),
        ("github_repository", "/shop"),
        ("github_repository", "org/"),
        ("github_repository", "org/a/b"),
        ("github_repository", "-org/shop"),
        ("github_repository", "my--org/shop"),
        ("github_repository", "org/.."),
        ("github_repository", "org/shop.git"),
        ("github_repository", "org/shop*"),
        ("github_repository", "a" * 40 + "/shop"),
        ("github_repository", "org/" + "b" * 101),
        ("github_repository", "https://github.com/org/shop"),
        ("aws_account_id", "12345678901"),
        ("aws_account_id", "1234567890123"),
        ("aws_account_id", "1234-5678-9012"),
        ("aws_account_id", "12345678901\u0662"),
        ("aws_account_id", "123456789012\n"),
        ("aws_region", "us-east-9"),
        ("aws_region", "US-EAST-1"),
        ("aws_region", "us-iso-east-1"),
        ("aws_region", "us-east-1a"),
        ("aws_region", ""),
        ("domain_name", "localhost"),
        ("domain_name", "Example.com"),
        ("domain_name", "example.com."),
        ("domain_name", "https://example.com"),
        ("domain_name", "*.example.com"),
        ("domain_name", "a_b.example.com"),
        ("domain_name", "-a.example.com"),
        ("domain_name", "a..com"),
        ("domain_name", "192.168.0.1"),
        ("domain_name", "bücher.example"),
        ("domain_name", "a" * 64 + ".com"),
        ("domain_name", "a" * 51 + ".io"),
        ("domain_name", "example.com\n"),
        ("environments", "dev"),
        ("environments", "staging+prod"),
        ("database", "mysql"),
        ("database", "None"),
        ("cpu_architecture", "amd64"),
        ("license", "GPL-3.0"),
    ],
)
def test_wrong_answers_are_one_line_with_value_rule_and_example(field: str, answer: str) -> None:
    lines = rules.problems(RIGHT | {field: answer})
    assert len(lines) == 1
    (line,) = lines
    assert re.fullmatch(rf"{field}: .+ — .+ — for example \S.*", line)
    assert len(line) < 400
    assert line.isprintable()


@pytest.mark.parametrize("field", RIGHT)
def test_the_example_of_each_rule_is_a_right_answer(field: str) -> None:
    line = rules.problem(field, "\0")
    assert line
    assert accepted(**{field: line.rpartition("for example ")[2]})


@pytest.mark.parametrize(
    ("field", "answer", "reason", "replacement"),
    [
        ("feature_flags", "evidently", "AWS shut CloudWatch Evidently down in October 2025", "appconfig"),
        ("feature_flags", "Evidently", "AWS shut CloudWatch Evidently down in October 2025", "appconfig"),
        ("incident_management", "opsgenie", "April 2027", "pagerduty"),
        ("incident_management", "incident-manager", "no new customers", "pagerduty"),
        ("incident_management", "aws incident manager", "no new customers", "pagerduty"),
        ("incident_management", "splunk", "one of", "splunk-on-call"),
        ("database", "aurora_postgres", "one of", "aurora-postgresql"),
        ("license", "apache2", "one of", "Apache-2.0"),
        ("cpu_architecture", "amd64", "x86_64", "x86_64"),
        ("aws_region", "eu-wst-1", "region", "eu-west-1"),
        ("aws_region", "frankfurt", "region", ""),
    ],
)
def test_retired_and_unknown_answers_get_a_reason_and_a_replacement(
    field: str, answer: str, reason: str, replacement: str
) -> None:
    (line,) = rules.problems(RIGHT | {field: answer})
    assert reason in line
    assert line.endswith(f"for example {replacement}") or not replacement


def test_all_problems_are_said_at_once_in_the_order_of_the_questions() -> None:
    lines = rules.problems(dict.fromkeys(RIGHT, "\0"))
    assert [line.partition(":")[0] for line in lines] == [*rules.CHECKS, *rules.CHOICES]


def test_one_mistake_in_the_name_is_one_line_although_the_repository_is_made_from_it() -> None:
    assert len(rules.problems(RIGHT | {"app_name": "../x", "github_repository": "my-org/../x"})) == 1
    assert len(rules.problems(RIGHT | {"app_name": "../x", "github_repository": "your-org/../x"})) == 2


@pytest.mark.parametrize("answer", [None, 123456789012, True, 1.5, ["none"], {"a": 1}])
@pytest.mark.parametrize("field", RIGHT)
def test_answers_that_are_no_text_are_refused_in_words(field: str, answer: object) -> None:
    (line,) = rules.problems(RIGHT | {field: answer})
    assert "text, in quotes" in line if answer is not None else "missing" in line


@given(st.dictionaries(st.sampled_from(list(RIGHT)), st.text() | st.text(string.printable, max_size=300)))
def test_any_text_is_accepted_or_refused_in_printable_lines(answers: dict[str, object]) -> None:
    for line in rules.problems(RIGHT | answers):
        assert line.isprintable()
        assert len(line) < 400


@given(st.from_regex(r"[a-z]([a-z0-9-]){1,24}", fullmatch=True))
def test_an_accepted_name_fits_every_limit_in_every_environment_and_region(name: str) -> None:
    if not accepted(app_name=name):
        return
    longest = {
        "environment": "e" * rules.ENVIRONMENT_LONGEST,
        "account": "1" * 12,
        "region": max(rules.REGIONS, key=len),
    }
    for row in NAMES.values():
        assert len(row.pattern.format(app=name, app_underscored=name.replace("-", "_"), **longest)) <= row.limit
    assert re.fullmatch(r"[a-z](?!.*--)[a-z0-9-]*[a-z0-9]", name)  # S3, RDS and ECR agree on this form


def test_one_character_more_would_not_fit_the_tightest_name() -> None:
    longest = {
        "environment": "e" * rules.ENVIRONMENT_LONGEST,
        "account": "1" * 12,
        "region": max(rules.REGIONS, key=len),
    }
    name = "a" * rules.APP_NAME_LONGEST
    room = min(row.limit - len(row.pattern.format(app=name, app_underscored=name, **longest)) for row in NAMES.values())
    assert room in (0, 1)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=250))
def test_an_accepted_description_survives_single_quoted_yaml(text: str) -> None:
    if accepted(description=text):
        assert yaml.safe_load("description: '" + text.replace("'", "''") + "'") == {"description": text}


@given(st.text(max_size=80))
def test_an_accepted_owner_is_a_tag_value(text: str) -> None:
    if accepted(owner=text):
        assert all(unicodedata.category(c)[0] in "LN" or c in " _.:/=+-@" for c in text)


@given(st.text("abz09-._ ", max_size=70))
def test_an_accepted_domain_obeys_dns(text: str) -> None:
    if accepted(domain_name=text) and text:
        labels = text.split(".")
        assert len(labels) > 1
        assert all(re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", part) for part in labels)
        assert len(f"{'e' * rules.ENVIRONMENT_LONGEST}.{text}") <= 64


def test_the_regions_are_those_of_aws() -> None:
    session = botocore.session.get_session()
    partitions = ("aws", "aws-us-gov", "aws-cn")
    real = {region for name in partitions for region in session.get_available_regions("ec2", partition_name=name)}
    assert set(rules.REGIONS) == real


def test_the_choices_are_those_of_cookiecutter_json() -> None:
    asked = {name: tuple(value) for name, value in template.questions().items() if isinstance(value, list)}
    assert asked == rules.CHOICES


def test_every_question_has_a_rule() -> None:
    free = {name for name, value in template.questions().items() if not isinstance(value, list)}
    assert free == rules.CHECKS.keys() == rules.RULES.keys()


def test_a_retired_answer_is_no_choice_and_its_replacement_is_one() -> None:
    for field, answers in rules.RETIRED.items():
        for answer, rule in answers.items():
            assert answer not in rules.CHOICES[field]
            assert rule.example in rules.CHOICES[field]


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookiecutter itself runs on Python 3.10."""
    monkeypatch.setattr("sys.version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer; cookiecutter runs on 3\.10\.13"):
        rules.require_versions()


@pytest.mark.parametrize(
    ("version", "old"), [("1.7.3", True), ("2.5.0", True), ("2.6.0", False), ("2.10.1", False), ("3.0.0rc1", False)]
)
@pytest.mark.parametrize("kind", ["dist", "egg", "py3.11.egg"])
def test_an_old_cookiecutter_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, old: bool, kind: str
) -> None:
    (tmp_path / f"cookiecutter-{version}{'-' if kind.startswith('py') else '.'}{kind}-info").mkdir()
    monkeypatch.setattr("sys.path", ["/", str(tmp_path / "python.zip"), str(tmp_path), *sys.path])
    if not old:
        rules.require_versions()
        return
    with pytest.raises(SystemExit, match=rf"needs Cookiecutter 2\.6 or newer; this is {re.escape(version)}"):
        rules.require_versions()


def test_the_version_of_cookiecutter_is_the_one_that_is_installed() -> None:
    assert rules.cookiecutter_version() == cookiecutter.__version__
