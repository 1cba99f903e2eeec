"""Terraform in every kind of render.

Format, validation and each layer's own tests are `make test-infra` of a rendered repository, which
test_rendered_suite.py runs on the default render. Here: every other render has the layers of that one,
byte for byte, and all of it plans with every kind of answers and gives names that fit AWS.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from hooks import pre_gen_project as rules
from tests.bakes import Bake, Project, digest
from tests.options import EVERY, MAIN, Options, every_option_set, label
from tests.terraform import Terraform, copy_infra, layers, mocked_provider
from tools import template
from tools.names import NAMES

slow = [pytest.mark.slow, pytest.mark.timeout(900)]

LAYERS = [layer for layer in layers() if layer != "config" and "/" not in layer]
SHARED_LAYERS = {"account", "build-repository"}  # one for all environments


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return Terraform(tmp_path_factory.mktemp("terraform"))


@every_option_set
def test_every_layer_of_every_render_is_that_of_the_tested_one(bake: Bake, options: Options) -> None:
    infra, tested = bake(**options).path / "infra", bake().path / "infra"
    assert all(path.is_dir() for path in infra.iterdir())
    known = {path.name: digest(path) for path in tested.iterdir()}
    assert {path.name: digest(path) for path in infra.iterdir()}.items() <= known.items()


def test_of_the_layers_tests_those_of_the_account_alone_read_a_render_s_own_answers(bake: Bake) -> None:
    """test_rendered_suite.py runs them in the smallest render too."""
    own = set()
    for path in bake().path.glob("infra/*/tests/*.hcl"):
        text = path.read_text(encoding="utf-8")
        if "project_file" not in text or re.search(r"project_file\s*=\s*null", text):
            own.add(path.parents[1].name)
    assert own == {"account"}


@pytest.mark.parametrize("layer", ["config", "account"])
@pytest.mark.slow
def test_the_template_itself_is_terraform_before_rendering(terraform: Terraform, layer: str, tmp_path: Path) -> None:
    folder = copy_infra(template.RENDERED_ROOT, tmp_path) / layer
    terraform.must(folder, "init", "-backend=false")
    terraform.must(folder, "validate")


def run_block(project: Project, layer: str, environment: str | None, number: int) -> str:
    """A plan of a layer with the answers of a render, as a block of a Terraform test."""
    name = re.sub(r"\W+", "_", f"{number}_{label(project.options)}_{environment or ''}").strip("_")
    lines = [
        f'run "n{name}" {{',
        "  command = plan",
        "  variables {",
        f'    project_file = "./tests/renders/{number}.yaml"',
    ]
    if environment:
        lines.append(f'    environment = "{environment}"')
    if layer == "service":
        lines.append(f'    image_digest = "sha256:{"0" * 64}"')
    if layer == "database":
        lines.append('    role_manager_package = "./main.tf"')
    lines.append("  }")
    if layer == "service" and project.settings["incident_management"] != "none":
        parameter = f"/{project.settings['app_name']}/{environment}/incident-url"
        lines += [
            "  override_data {",
            "    target = data.aws_ssm_parameters_by_path.incident[0]",
            f'    values = {{ names = ["{parameter}"], values = ["https://example.com/x"] }}',
            "  }",
        ]
    return "\n".join([*lines, "}", ""])


@pytest.mark.parametrize(
    "option_sets",
    [
        pytest.param(MAIN, id="one-per-choice", marks=slow),
        pytest.param(
            [options for options in EVERY if options not in MAIN], id="pairs", marks=[*slow, pytest.mark.nightly]
        ),
    ],
)
@pytest.mark.parametrize("layer", LAYERS)
def test_every_kind_of_answers_plans(
    bake: Bake, terraform: Terraform, layer: str, option_sets: list[Options], tmp_path: Path
) -> None:
    folder = copy_infra(bake().path, tmp_path) / layer
    (folder / "tests" / "renders").mkdir(parents=True)
    blocks = [mocked_provider(folder)]
    for number, options in enumerate(option_sets):
        project = bake(**options)
        if not (project.path / "infra" / layer).exists():
            continue
        shutil.copy(project.path / "project.yaml", folder / "tests" / "renders" / f"{number}.yaml")
        environments = list(project.settings["environments"])
        if layer in SHARED_LAYERS:
            blocks.append(run_block(project, layer, None, number))
        else:
            chosen = environments if not options else environments[-1:]
            blocks += [run_block(project, layer, environment, number) for environment in chosen]
    (folder / "tests" / "renders.tftest.hcl").write_text("\n".join(blocks), encoding="utf-8")
    terraform.must(folder, "init", "-backend=false")
    printed = terraform.must(folder, "test", "-filter=tests/renders.tftest.hcl")
    assert f"{len(blocks) - 1} passed" in printed


ASKED = """
module "config" {
  source      = "./infra/config"
  for_each    = toset(keys(yamldecode(file("${path.module}/project.yaml")).environments))
  environment = each.key
}

output "all" {
  value = module.config
}
"""


@pytest.fixture(scope="session")
def config(bake: Bake, terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that asks infra/config for every environment, initialised."""
    folder = tmp_path_factory.mktemp("config")
    copy_infra(bake().path, folder)
    (folder / "main.tf").write_text(ASKED)
    terraform.must(folder, "init")
    return folder


LONGEST = {"app_name": "a" * rules.APP_NAME_LONGEST, "aws_region": max(rules.REGIONS, key=len)}


@pytest.mark.parametrize(
    "options",
    [
        *({"aws_region": region} for region in ("us-east-1", "us-gov-east-1", "cn-north-1")),
        {"domain_name": "shop.example.com", "app_name": "a-b-c"},
        {"environments": "prod", "database": "none"},
        LONGEST | {"domain_name": "d" * (rules.DOMAIN_LONGEST - 4) + ".com"},
    ],
    ids=label,
)
@pytest.mark.slow
def test_names_are_those_of_the_table_and_fit(bake: Bake, terraform: Terraform, config: Path, options: Options) -> None:
    project = bake(**options)
    shutil.copy(project.path / "project.yaml", config)
    for state in config.glob("terraform.tfstate*"):
        state.unlink()
    terraform.must(config, "apply", "-auto-approve")
    found = json.loads(terraform.must(config, "output", "-json"))["all"]["value"]
    settings = project.settings
    assert found.keys() == settings["environments"].keys()
    for environment, values in found.items():
        answers = {
            "app": settings["app_name"],
            "app_underscored": settings["app_name"].replace("-", "_"),
            "environment": environment,
            "account": settings["aws_account_id"],
            "region": settings["aws_region"],
        }
        assert values["names"] == {key: name.pattern.format(**answers) for key, name in NAMES.items()}
        assert [key for key, value in values["names"].items() if len(value) > NAMES[key].limit] == []
        assert len(values["host"]) <= 64


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("aws_region:", "aws_regoin: x\naws_region:", "aws_regoin"),
        ("zones: 3", "zones: 30", "environments.prod.network.zones"),
        ("zones: 3", "zones: many", "environments.prod.network.zones"),
        ("cpu: 1024", "cpu: 1000", "environments.prod.service.cpu"),
        ("max_capacity: 16", "max_capacity: 1000", "environments.prod.database.max_capacity"),
        ("protected: true", "protected: 'maybe'", "environments.prod.protected"),
        ("database: 'aurora-postgresql'", "database: 'mysql'", "database"),
        ("  error_percent: 5", "  error_procent: 5", "alarms.error_procent"),
        ("secrets: []", f"secrets: [{', '.join(f'S{n:0>99}' for n in range(36))}]", "service.secrets: at most 3,500"),
        ("app_name: 'my-app'", "app_name: 'aws-app'", "app_name: aws-app: SSM refuses parameters that begin with aws"),
        ("app_name: 'my-app'", "app_name: 'sg'", "app_name: sg: EC2 refuses security groups that begin with sg-"),
        ("app_name: 'my-app'", "app_name: 'current-date'", "app_name: current-date: current_date is a reserved name"),
    ],
)
@pytest.mark.slow
def test_a_wrong_value_in_project_yaml_is_refused_by_its_name(
    bake: Bake, terraform: Terraform, config: Path, old: str, new: str, words: str
) -> None:
    text = (bake().path / "project.yaml").read_text(encoding="utf-8")
    assert old in text
    (config / "project.yaml").write_text(text.replace(old, new), encoding="utf-8")
    result = terraform.run(config, "plan")
    assert result.returncode == 1
    assert words in result.stdout


def test_the_regions_that_the_hook_takes_are_taken_by_the_configuration() -> None:
    text = (template.RENDERED_ROOT / "infra" / "config" / "rules.tf").read_text(encoding="utf-8")
    pattern = re.search(r'^  region_pattern +?= "([^"]+)"', text, re.MULTILINE)
    assert pattern
    assert [region for region in rules.REGIONS if not re.fullmatch(pattern.group(1), region)] == []


def test_every_name_of_the_configuration_has_a_row_in_the_table() -> None:
    text = (template.RENDERED_ROOT / "infra" / "config" / "names.tf").read_text(encoding="utf-8")
    names = re.search(r"^  names = \{\n(.*?)^  \}", text, re.MULTILINE | re.DOTALL)
    assert names
    assert re.findall(r"^    (\w+) +=", names.group(1), re.MULTILINE) == list(NAMES)


def test_no_environment_may_be_called_as_a_part_of_a_fixed_name() -> None:
    """Its role would own what begins so: an environment github all of GitHub's roles."""
    text = (template.RENDERED_ROOT / "infra" / "config" / "names.tf").read_text(encoding="utf-8")
    listed = re.search(r"reserved_environments = (\[.*\])", text)
    assert listed
    assert set(json.loads(listed[1])) == rules.RESERVED_ENVIRONMENTS
    parts = [re.match(r"(?:alias/|/)?\{app\}[-/]([a-z]+)", name.pattern) for name in NAMES.values()]
    # What stands behind a hyphen or slash is an environment; a path of more words is none.
    assert {found[1] for found in parts if found} <= rules.RESERVED_ENVIRONMENTS


def test_no_application_may_be_called_what_the_hook_refuses() -> None:
    """app_name can be edited later, where the hook does not look again."""
    text = (template.RENDERED_ROOT / "infra" / "config" / "names.tf").read_text(encoding="utf-8")
    beginnings = re.search(r"reserved_beginnings = \{\n(.*?)\n  \}", text, re.DOTALL)
    databases = re.search(r'reserved_databases = split\(" ", join\(" ", \[\n(.*?)\n  \]', text, re.DOTALL)
    assert beginnings
    assert databases
    assert dict(re.findall(r'"(.+?)" += "(.+)"', beginnings[1])) == rules.RESERVED_BEGINNINGS
    listed = [word for line in re.findall('"(.+)"', databases[1]) for word in line.split()]
    assert set(listed) == rules.RESERVED_DATABASES | rules.RESERVED_WORDS
    assert len(set(listed)) == len(listed)
