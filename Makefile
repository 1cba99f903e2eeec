# Makes projects from the template, and proves that they are right. `make help` lists every target.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:

PYTHON := python3
VENV := .venv
RUN := $(VENV)/bin/python
CHECKED := hooks tools tests bench
# uv installs and pins; its own pin is the render's.
UV_PIN := {{cookiecutter.app_name}}/requirements-uv.txt
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

# What a person's shell, another Python or a git hook may have set, and these commands must not see. PYTHONUTF8: files are
# UTF-8 in every locale.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS VIRTUAL_ENV CDPATH GREP_OPTIONS
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR GIT_OBJECT_DIRECTORY GIT_NAMESPACE GIT_PREFIX
# Container images set it. Without compiled modules every command compiles all that it imports: a second each time.
unexport PYTHONDONTWRITEBYTECODE
export PIP_USER := 0
export PYTHONUTF8 := 1

# What a target is told comes from its command line alone: such names are in many people's environments.
given = $(if $(filter command,$(origin $(1))),$(value $(1)))

.PHONY: help
help: ## List every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The values reach Python as they were typed: neither make nor the shell expands what is in them.
.PHONY: project
project: export PROJECT_ANSWERS := $(call given,ARGS)
project: export PROJECT_FOLDER := $(call given,OUTPUT)
project: export PROJECT_VARIABLES := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
project: $(VENV)/.project ## Make a project: ARGS="app_name=shop aws_region=eu-west-1", OUTPUT=folder (projects)
	@$(RUN) -m tools.make_project

.PHONY: update
update: $(VENV)/.project ## Bring a project of an old version, which has no `make template-update` of its own, up to date: PROJECT=folder
	@test -n "$(call given,PROJECT)" || { echo 'PROJECT=folder says which project: make update PROJECT=../shop' >&2; exit 1; }
	@cd -- "$(call given,PROJECT)" && PYTHONPATH='$(CURDIR)/{{cookiecutter.app_name}}' '$(CURDIR)/$(RUN)' -P -m ops.template_update

.PHONY: test
test: $(VENV)/.test ## Everything: every kind of render, Terraform, the rendered repositories' own tests
	$(RUN) -m tools.machinery --junitxml '$(CURDIR)/.test-times/machinery.xml' -n 3 --dist worksteal
	$(RUN) -m pytest -n 4 --maxschedchunk 1 -m "not nightly" --junitxml .test-times/template.xml $(call given,PYTEST_ARGS)

.PHONY: test-times
test-times: $(VENV)/.project ## Write what the tests of the last make test cost into docs/maintaining.md
	@$(RUN) -m tools.times

.PHONY: test-machinery
test-machinery: $(VENV)/.test ## The tests of ops/ in a render: PYTEST_ARGS="-k doctor tests/machinery/ops/test_doctor.py"
	$(RUN) -m tools.machinery $(call given,PYTEST_ARGS)

.PHONY: test-image
test-image: $(VENV)/.test ## Build a render's image with buildah, as root, and check it: umask 022 and 077, another user
	@$(RUN) -m tools.image

.PHONY: test-fast
test-fast: $(VENV)/.test ## What takes less than a minute: answers, hooks, renders, documents
	$(RUN) -m pytest -n 2 -m "not slow and not nightly" $(call given,PYTEST_ARGS)

.PHONY: test-nightly
test-nightly: $(VENV)/.test ## Everything, for every pair of choices
	$(RUN) -m pytest -n 2 $(call given,PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.test ## Check formatting, style, types, spelling and generated documents
	$(RUN) -m ruff format --check $(CHECKED) '{{cookiecutter.app_name}}'
	$(RUN) -m ruff check $(CHECKED)
	$(RUN) -m mypy $(CHECKED)
	$(RUN) -m tools.docs --check
	$(RUN) -m tools.machinery --lint
	$(VENV)/bin/codespell --skip='*.txt,*.pem,*.svg,*.drawio,.venv' *.md docs/*.md hooks tools bench '{{cookiecutter.app_name}}'

.PHONY: format
format: $(VENV)/.test ## Format Python
	$(RUN) -m ruff format $(CHECKED) '{{cookiecutter.app_name}}'
	$(RUN) -m ruff check --fix $(CHECKED)

.PHONY: docs
docs: $(VENV)/.project ## Write docs/inputs.md and docs/names.md again
	$(RUN) -m tools.docs

.PHONY: diagram
diagram: $(VENV)/.project ## Draw docs/system-architecture again, after an edit of the template's ops/diagram
	$(RUN) -m tools.diagram

.PHONY: diff
diff: export BASE := $(value BASE)
diff: $(VENV)/.test ## Show what the work tree changes in renders, as text and as a page: [BASE=main]
	@$(RUN) -m tools.diff

.PHONY: diff-comment
diff-comment: ## Put the summary of make diff on the pull request PULL_REQUEST (the workflow CI does this)
	@gh pr comment "$$PULL_REQUEST" --edit-last --create-if-none --body-file .diff/summary.md

.PHONY: bench
bench: $(VENV)/.test ## Measure what is waited for every day: a render, make project, make setup; each has its goal
	@$(RUN) -m bench.everyday

.PHONY: lock
lock: $(VENV)/.test ## Pin the requirement files again, with hashes
	$(LOCK) --upgrade --output-file requirements-test.txt requirements-test.in
	$(LOCK) --upgrade --constraints requirements-test.txt --output-file requirements.txt requirements.in

.PHONY: release-check
release-check: $(VENV)/.test ## Say whether this commit is ready to be tagged: version, changelog, nightly run, updates from every version
	@$(RUN) -m tools.release --check

.PHONY: example
example: $(VENV)/.project ## Make a commit of the default render with its rehearsal's report: PUSH=yes sends it to the branch example
	@$(RUN) -m tools.example $(if $(call given,PUSH),--push)

.PHONY: release
release: ## Publish the tag TAG on GitHub, with its part of CHANGELOG.md (the workflow Release does this)
	@$(PYTHON) -m tools.release

.PHONY: clean
clean: ## Delete the environment and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .test-times

$(VENV)/.project: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed (make PYTHON=python3.13 …); this is " + sys.version)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.test: $(VENV)/.project requirements-test.txt $(UV_PIN)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r '$(UV_PIN)'
	@$(VENV)/bin/uv pip install --quiet --python $(RUN) --require-hashes -r requirements-test.txt
	@touch $@
