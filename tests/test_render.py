"""Every kind of render: exactly the right files, nothing unrendered, everything parses."""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from pathlib import Path

import hcl2
import pytest
import yaml
from cookiecutter.utils import create_env_with_context

from tests.bakes import Bake, Project, digest
from tests.conftest import Once
from tests.options import EVERY, Options, every_option_set, label
from tools import template

MANIFEST = "absent-paths.txt"
# Computed from the answers after rendering, by hooks/post_gen_project.py.
WRITTEN_BY_THE_HOOK = {"docs/costs.md", "docs/system-architecture.drawio", "docs/system-architecture.svg"}


def absent(options: Options) -> list[str]:
    """The paths that the manifest lists for these options, rendered without any hook."""
    context = template.context()
    answers = {name: value[0] if isinstance(value, list) else value for name, value in context.items()}
    environment = create_env_with_context({"cookiecutter": context})
    text = (template.RENDERED_ROOT / MANIFEST).read_text(encoding="utf-8")
    rendered = environment.from_string(text).render(cookiecutter=answers | options)
    return [line for line in rendered.splitlines() if line and not line.startswith("#")]


@every_option_set
def test_has_exactly_the_files_of_its_components(bake: Bake, template_files: dict[str, Path], options: Options) -> None:
    removed = tuple(absent(options))
    expected = {
        name
        for name in template_files
        if name != MANIFEST and not any(name == path or name.startswith(f"{path.rstrip('/')}/") for path in removed)
    }
    assert bake(**options).files.keys() == expected | WRITTEN_BY_THE_HOOK


def test_every_path_that_can_be_absent_is_in_the_template() -> None:
    listed = {path for options in EVERY for path in absent(options)}
    assert listed
    assert not {path for path in listed if not (template.RENDERED_ROOT / path).exists()}


# What must not be met in a repository without the component: in paths, and among its requirements. Terraform's files
# of the service layer stay: they count on project.yaml, where the component can be turned on later.
TRACES = {
    "database": (r"role_manager|role-manager|postgres|infra/database|migrat", r"psycopg|role_manager|pg8000"),
    "feature_flags": (r"^(app|local|docs)/.*flag", r"appconfigdata"),
}


@pytest.mark.parametrize("component", TRACES)
def test_an_absent_component_leaves_no_trace(bake: Bake, component: str) -> None:
    in_paths, in_requirements = TRACES[component]
    project = bake(**{component: "none"})
    assert [name for name in project.files if re.search(in_paths, name)] == []
    requirements = [path for name, path in project.files.items() if re.search(r"requirements.*\.(in|txt)$", name)]
    assert requirements
    pinned = {path: re.sub(r"(?m)^#.*", "", path.read_text(encoding="utf-8")) for path in requirements}
    assert [path for path, text in pinned.items() if re.search(in_requirements, text)] == []


@pytest.mark.parametrize("component", TRACES)
def test_a_chosen_component_is_there(bake: Bake, component: str) -> None:
    assert [name for name in bake().files if re.search(TRACES[component][0], name)]


def text(path: Path) -> str:
    """The text of a file, empty for a binary one."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8")


@every_option_set
def test_nothing_is_left_unrendered(bake: Bake, template_files: dict[str, Path], options: Options) -> None:
    """Strict where Jinja ran; elsewhere only what can be nothing but a forgotten answer."""
    answers = "|".join(map(re.escape, template.context()))
    forgotten = re.compile(
        rf"\bcookiecutter\s*[.\[]\s*['\"]?(?:{answers})\b|^\s*\{{% (?:if|endif|else|elif|for|set)\b", re.MULTILINE
    )
    jinja = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|#\}")
    project = bake(**options)
    found = []
    for name, path in project.files.items():
        content = text(path)
        verbatim = name in template_files and template_files[name].read_bytes() == path.read_bytes()
        pattern = forgotten if verbatim else jinja
        found += [f"{name}: {match.group()}" for match in [*pattern.finditer(content), *jinja.finditer(name)]]
        found += [f"{name}: cookiecutter"] if "cookiecutter" in name else []
    assert found == []


@cache
def parse_error(suffix: str, content: str, name: str) -> str | None:
    """Why a file is not valid in its language, if it is not. Equal files are parsed once."""
    try:
        match suffix:
            case ".yaml" | ".yml":
                list(yaml.safe_load_all(content))
            case ".json":
                json.loads(content)
            case ".toml":
                tomllib.loads(content)
            case ".tf" | ".hcl":
                hcl2.loads(content)
            case ".py":
                compile(content, name, "exec", dont_inherit=True)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return f"{name}: {error}"
    except Exception as error:
        if type(error).__module__.startswith("lark"):
            return f"{name}: {error}"
        raise
    return None


@every_option_set
def test_every_file_is_valid_in_its_language(bake: Bake, once: Once, options: Options) -> None:
    def error(name: str, path: Path) -> str | None:
        content = text(path)
        if path.suffix not in (".tf", ".hcl"):
            return parse_error(path.suffix, content, name)
        # HCL takes seconds, which no worker needs to spend again.
        found: str | None = once(f"{name}\n{content}", lambda _: parse_error(path.suffix, content, name))
        return found

    errors = [error(name, path) for name, path in bake(**options).files.items()]
    assert list(filter(None, errors)) == []


@every_option_set
def test_project_yaml_holds_the_answers(bake: Bake, options: Options) -> None:
    settings = bake(**options).settings
    expected = {
        name: options.get(
            name,
            default[0] if isinstance(default, list) else default.replace("{{ cookiecutter.app_name }}", "my-app"),
        )
        for name, default in template.questions().items()
    }
    environments = expected.pop("environments").split("+")
    del expected["license"]  # has a file of its own
    assert {name: settings[name] for name in expected} == expected
    assert list(settings["environments"]) == environments


@pytest.mark.parametrize("license_", template.questions()["license"])
def test_the_license_is_the_chosen_one(bake: Bake, license_: str) -> None:
    beginning = {
        "proprietary": "all rights reserved",
        "Apache-2.0": "apache license",
        "MIT": "mit license",
        "BSD-3-Clause": "bsd 3-clause license",
    }[license_]
    project = bake(license=license_)
    assert beginning in project.files["LICENSE"].read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    "description",
    [
        "It's \"quoted\" and 'quoted', \\ and \\n, and ends with a backslash \\",
        "{{ cookiecutter.app_name }} {{ x }} {% raw %} {# #} ${var.x} %{ for } $(touch x) `touch x`",
        "Ünïcödé 😀 👩‍🔬 中文 — </script><!-- ]]> & | > # : - @ * ? ! %",
        "- key: value",
        "'",
        "''",
        "{% raw %}",
        "null",
        " 1 ",
        "x" * 200,
    ],
)
def test_a_hostile_description_that_is_legal_comes_back_unchanged(bake: Bake, description: str) -> None:
    project = bake(description=description)
    assert project.settings["description"] == description
    for name, path in project.files.items():
        assert parse_error(path.suffix, text(path), name) is None


@every_option_set
def test_text_is_tidy(bake: Bake, options: Options) -> None:
    found = []
    for name, path in bake(**options).files.items():
        content = text(path)
        if content and not content.endswith("\n"):
            found.append(f"{name}: no newline at the end")
        if "\r" in content:
            found.append(f"{name}: carriage return")
        if path.stat().st_size > 600_000:
            found.append(f"{name}: more than 600 kB")
        if path.suffix == ".md" and re.search(r"\n{4,}\S", content):
            found.append(f"{name}: more than two empty lines")
    assert found == []


LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


@every_option_set
def test_links_between_documents_lead_somewhere(bake: Bake, options: Options) -> None:
    project = bake(**options)
    broken = [
        f"{name}: {link.group(1)}"
        for name, path in project.files.items()
        if path.suffix == ".md"
        for link in LINK.finditer(re.sub(r"```.*?```", "", text(path), flags=re.DOTALL))
        if not (path.parent / link.group(1)).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("options", EVERY[:2], ids=label)
def test_equal_answers_give_equal_bytes(bake: Bake, options: Options) -> None:
    assert digest(bake.again(**options).path) == digest(bake(**options).path)


def test_programs_stay_executable(bake: Bake, template_files: dict[str, Path]) -> None:
    project = bake()
    modes = {name: path.stat().st_mode for name, path in project.files.items() if name not in WRITTEN_BY_THE_HOOK}
    assert modes == {name: template_files[name].stat().st_mode for name in modes}


def test_the_version_of_the_template_is_in_the_render(bake: Bake) -> None:
    version = template.context()["_template_version"]
    head: list[str] = []
    for name in ("README.md", "project.yaml"):
        head += bake().files[name].read_text(encoding="utf-8").splitlines()
    assert [line for line in head if version in line and "template" in line]


def test_an_unknown_option_is_an_error(bake: Bake) -> None:
    with pytest.raises(TypeError, match="databse"):
        bake(databse="none")


def test_an_unknown_choice_is_an_error(bake: Bake) -> None:
    with pytest.raises(AssertionError, match="evidently"):
        bake(feature_flags="evidently")


def test_a_maintainers_junk_is_not_in_the_render(template_clone: Path, bake: Bake, tmp_path: Path) -> None:
    """Caches and build products in the template folder are copied by cookiecutter; the hook removes them."""
    import shutil

    from cookiecutter.main import cookiecutter

    dirty = tmp_path / "template"
    shutil.copytree(template_clone, dirty)
    inside = dirty / template.RENDERED_ROOT.name
    for junk in (
        ".hypothesis/x",
        ".mypy_cache/x",
        "app/__pycache__/x.pyc",
        "infra/account/.terraform/providers/x",
        "role_manager/dist/x.zip",
        ".venv/bin/x",
    ):
        (inside / junk).parent.mkdir(parents=True, exist_ok=True)
        (inside / junk).write_bytes(b"\x9ajunk {{~ \n")
    rendered = Path(cookiecutter(str(dirty), no_input=True, output_dir=str(tmp_path / "out"), default_config=True))
    assert Project(rendered, {}).files.keys() == bake().files.keys()
