"""A refusal by IAM names the statement of infra/ that would have to allow it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from ops import cli, refusals

ROOT = Path(refusals.__file__).parent.parent
WHO = "arn:aws:sts::123456789012:assumed-role/my-app-github-{}/job"


def refused(role: str, action: str, resource: str, because: str) -> str:
    return f"User: {WHO.format(role)} is not authorized to perform: {action} on resource: {resource} {because}"


NO_POLICY = "because no identity-based policy allows the action"


def test_the_statement_that_has_the_action_for_other_resources_is_named() -> None:
    [said] = refusals.explain(refused("apply-dev", "lambda:CreateFunction", "arn:aws:lambda:x", NO_POLICY), ROOT)
    assert said.startswith("my-app-github-apply-dev may not lambda:CreateFunction on arn:aws:lambda:x. RoleManager (")
    place = re.search(r"\((infra/account/apply-database\.tf):(\d+)\)", said)
    assert place, said
    line = (ROOT / place[1]).read_text(encoding="utf-8").splitlines()[int(place[2]) - 1]
    assert '"RoleManager"' in line
    assert "make bootstrap" in said


def test_for_an_action_that_nothing_names_the_nearest_statement_is() -> None:
    [said] = refusals.explain(refused("build", "ecr:StartImageScan", "*", NO_POLICY), ROOT)
    assert re.search(r"No statement names this action: the nearest is Push \(infra/account/build\.tf:\d+\)", said)
    [said] = refusals.explain(refused("build", "sqs:SendMessage", "*", NO_POLICY), ROOT)
    assert "it would be a new one in infra/account/build.tf" in said


def test_a_deny_is_told_as_one() -> None:
    because = "with an explicit deny in a permissions boundary"
    [said] = refusals.explain(refused("apply-prod", "iam:CreateRole", "*", because), ROOT)
    assert "Effect = Deny says so in a permissions boundary" in said


def test_what_ec2_adds_is_read_too_and_several_are_told_once_each() -> None:
    one = refused("apply-dev", "ec2:CreateVpc", "arn:aws:ec2:eu-west-1:1:vpc/*", NO_POLICY)
    text = f"You are not authorized to perform this operation. {one} Encoded authorization failure message: xyz\n{one}"
    assert len(refusals.explain(f"{text}\n{refused('plan', 'ec2:CreateVpc', '*', NO_POLICY)}", ROOT)) == 2


def test_roles_of_others_and_other_errors_say_nothing() -> None:
    other = "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: ec2:CreateVpc on resource: *"
    assert refusals.explain(other, ROOT) == []
    assert refusals.explain("Error: AccessDenied", ROOT) == []


def test_every_role_of_the_project_has_its_files() -> None:
    names = (ROOT / "infra/config/names.tf").read_text(encoding="utf-8")
    named = dict(re.findall(r'(?m)^    (\w+) += "\$\{local\.\w+\}(-[^"]+)"', names))
    roles = []
    for file in sorted((ROOT / "infra").glob("*/*.tf")):
        for body in re.findall(r'(?ms)^resource "aws_iam_role" "\w+" \{\n(.*?)^\}', file.read_text(encoding="utf-8")):
            name = re.search(r"^  name +=.*?names(?:\[each\.key\])?\.(\w+)", body, re.MULTILINE)
            # By each.value: GitHub's for environments, and a worker's own (infra/config/outputs.tf).
            key = name[1] if name else "apply_role" if file.parent.name == "account" else "worker"
            roles.append((key, file))
    assert len(roles) >= 12
    for key, file in roles:
        role = (
            "shop-dev" + named[key].replace("${local.environment}", "dev") + ("-send-mail" if key == "worker" else "")
        )
        [files] = [files for pattern, files in refusals.FILES.items() if re.search(f"(?:{pattern})$", role)]
        found = {path for pattern in files for path in (ROOT / "infra").glob(pattern)}
        # The policies of GitHub's roles stand beside the file with the roles.
        assert file in found or file.parent.name == "account", (role, files)
        assert found, role


def test_a_command_shows_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(**_: object) -> None:
        message = refused("apply-dev", "lambda:CreateFunction", "*", NO_POLICY)
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, "CreateFunction")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli.cli, "main", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main(["status"])
    assert ended.value.code == 3
    assert "IAM: my-app-github-apply-dev may not lambda:CreateFunction" in capsys.readouterr().err


def test_it_reads_no_file_when_nothing_was_refused(tmp_path: Path) -> None:
    assert refusals.explain("something else", tmp_path) == []
