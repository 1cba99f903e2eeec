"""Checks and tests every Terraform layer and module: `make test-infra`.

Formatting, init and `terraform test` (mocked provider, no account), which validates first, then checkov, then the
controls that docs/security.md claims. All of it runs on a copy, so that nothing is left in the layers;
a committed `.terraform.lock.hcl` is used.

    python -m ops.checks [LAYER…]     everything, or these layers and modules ("service", "modules/key")
    python -m ops.checks --controls   docs/security.md against the Terraform, and nothing else
    python -m ops.checks --skips      the checkov findings that are accepted, with the reason of each
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ops import processes

ROOT = Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
SECURITY = ROOT / "docs" / "security.md"
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"

# Where Terraform looks for providers on this machine by itself, and folders directly below /opt.
# https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories
MIRRORS = (
    Path.home() / ".terraform.d" / "plugins",
    Path("/usr/local/share/terraform/plugins"),
    Path("/usr/share/terraform/plugins"),
)
PROVIDER = Path("registry.terraform.io") / "hashicorp" / "aws"

PROBE = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
"""

SKIP = re.compile(r"#\s*checkov:skip=(?P<check>CKV2?_[A-Z]+_\d+)(?::(?P<reason>.*))?$")
BLOCK = re.compile(r'^(?:resource|data) "(?P<type>[^"]+)" "(?P<name>[^"]+)"')


class CheckError(Exception):
    """A check did not pass; the message is for the person who runs it."""


class NoTerraformError(Exception):
    """There is no Terraform or no provider to test with; the message says where to get it."""


def run(command: Sequence[str], directory: Path, environment: dict[str, str]) -> str:
    """Return what the command printed; raise CheckError with it if the command failed."""
    finished = subprocess.run(  # noqa: S603 - terraform and checkov with our own arguments
        command,
        cwd=directory,
        env=environment,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if finished.returncode != 0:
        raise CheckError(f"$ {' '.join(command)}\n{finished.stdout.strip()}")
    return finished.stdout


def roots(infra: Path) -> list[str]:
    """Return the layers and modules below `infra`: the folders that hold Terraform files."""
    folders = {
        path.parent.relative_to(infra).as_posix() for path in infra.rglob("*.tf") if ".terraform" not in path.parts
    }
    return sorted(folder for folder in folders if folder != ".")


def terraform_environment(work: Path) -> dict[str, str]:
    """Return the environment variables under which Terraform finds the provider.

    Tried in this order: a CLI configuration that TF_CLI_CONFIG_FILE names and that exists; the
    registry; a mirror on this machine. Raises NoTerraformError when none has the provider, or
    when there is no Terraform.
    """
    if shutil.which(processes.TERRAFORM) is None:
        raise NoTerraformError("https://developer.hashicorp.com/terraform/install")
    others = ("TF_CLI_", "TF_DATA_DIR", "TF_VAR_", "TF_WORKSPACE")  # for somebody's own work with Terraform
    environment = processes.for_terraform(
        {name: value for name, value in os.environ.items() if not name.startswith(others)}
    )
    environment |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
    named = os.environ.get("TF_CLI_CONFIG_FILE", "")
    if named and os.access(named, os.R_OK):
        return environment | {"TF_CLI_CONFIG_FILE": named}

    # Each layer would download the provider's 700 MB again.
    cache = ROOT / ".terraform.d" / "plugin-cache"
    cache.mkdir(parents=True, exist_ok=True)
    environment.setdefault("TF_PLUGIN_CACHE_DIR", str(cache))
    probe = work / "probe"
    probe.mkdir()
    (probe / "provider.tf").write_text(PROBE, encoding="utf-8")
    try:
        run([processes.TERRAFORM, "init", "-no-color", "-backend=false"], probe, environment)
    except CheckError as error:
        for mirror in (*MIRRORS, *sorted(Path("/opt").glob("*"))):
            if (mirror / PROVIDER).is_dir():
                configuration = work / "terraformrc"
                configuration.write_text(
                    f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n',
                    encoding="utf-8",
                )
                environment.pop("TF_PLUGIN_CACHE_DIR")
                return environment | {"TF_CLI_CONFIG_FILE": str(configuration)}
        raise NoTerraformError(f"the aws provider is neither in the registry nor on this machine.\n{error}") from None
    return environment


def check_root(copy: Path, root: str, environment: dict[str, str]) -> str:
    """Validate and test one initialised layer or module; return a line that says what was done."""
    directory = copy / "infra" / root
    began = time.monotonic()
    if list(directory.glob("tests/*.tftest.hcl")) or list(directory.glob("*.tftest.hcl")):
        printed = run([processes.TERRAFORM, "test", "-no-color"], directory, environment)
        passed = re.search(r"(\d+) passed", printed)
        if passed is None or int(passed.group(1)) == 0:
            raise CheckError(f"terraform test ran nothing:\n{printed}")
        done = f"valid, {passed.group(1)} tests passed"
    else:
        run([processes.TERRAFORM, "validate", "-no-color"], directory, environment)
        done = "valid, no tests"
    return f"{root}: {done} ({time.monotonic() - began:.0f} s)"


@dataclass(frozen=True, order=True)
class Skip:
    """A checkov finding that is accepted on the line that has it."""

    file: str
    line: int
    resource: str
    check: str
    reason: str


def skips(infra: Path) -> Iterator[Skip]:
    """Yield the skip comments of every Terraform file below `infra`."""
    for path in sorted(infra.rglob("*.tf")):
        if ".terraform" in path.parts:
            continue
        resource = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if block := BLOCK.match(line):
                resource = f"{block['type']}.{block['name']}"
            if comment := SKIP.search(line):
                file = path.relative_to(infra.parent).as_posix()
                yield Skip(file, number, resource, comment["check"], (comment["reason"] or "").strip())


def checkov(copy: Path, folder: str) -> dict[str, list[dict[str, str]]]:
    """Return checkov's results for a folder: passed_checks, failed_checks and so on."""
    options = ["--framework", "terraform", "--skip-download", "--compact", "--soft-fail"]
    finished = subprocess.run(  # noqa: S603 - our own arguments
        [str(CHECKOV), "-d", folder, *options, "--output", "json"],
        cwd=copy,
        encoding="utf-8",
        capture_output=True,
        check=False,
    )
    try:
        report = json.loads(finished.stdout)
        results: dict[str, list[dict[str, str]]] = report["results"]
    except (ValueError, KeyError, TypeError):
        raise CheckError(f"checkov gave no report:\n{finished.stdout}{finished.stderr}") from None
    if results["parsing_errors"]:
        raise CheckError(
            f"checkov cannot read {results['parsing_errors']}; for the line: LOG_LEVEL=DEBUG {CHECKOV} -d infra --framework terraform"
        )
    return results


def check_findings(copy: Path) -> str:
    """Fail on a finding that no skip explains, on a skip without a reason, and on a skip of nothing."""
    accepted = list(skips(copy / "infra"))
    problems = [f"{skip.file}:{skip.line}: {skip.check} without a reason" for skip in accepted if not skip.reason]

    bare = copy / "without-skips"
    shutil.copytree(copy / "infra", bare / "infra", ignore=shutil.ignore_patterns(".terraform"))
    for path in bare.rglob("*.tf"):
        # The line stays, so that line numbers do.
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join(SKIP.sub("#", line) for line in lines) + "\n", encoding="utf-8")
    with ThreadPoolExecutor(2) as pool:
        as_is, without = pool.map(lambda folder: checkov(copy, folder), ["infra", "without-skips/infra"])

    problems += [
        f"infra{finding['file_path']}: {finding['check_id']} {finding['check_name']} — {finding['resource']}"
        for finding in as_is["failed_checks"]
    ]
    # A resource of a module is found once for each caller, as module.key.aws_kms_key.this.
    failing = {(finding["check_id"], finding["resource"]) for finding in without["failed_checks"]}
    problems += [
        f"{skip.file}:{skip.line}: {skip.check} skips nothing in {skip.resource}: remove it"
        for skip in accepted
        if not any(check == skip.check and f".{name}".endswith(f".{skip.resource}") for check, name in failing)
    ]
    if problems:
        raise CheckError("\n".join(problems))
    passed = len(as_is["passed_checks"])
    return f"checkov: {passed} checks passed, {len(accepted)} findings accepted (make checkov-skips)"


def blocks(path: Path) -> dict[str, str]:
    """Return the text of each resource and module of a formatted file by address, and of `locals`."""
    found = {"locals": ""}
    pattern = r'^(?:resource "([^"]+)" "([^"]+)"|module "([^"]+)"|locals) \{\n(.*?)^\}'
    for match in re.finditer(pattern, path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        kind, name, module, body = match.groups()
        address = f"module.{module}" if module else f"{kind}.{name}" if kind else "locals"
        found[address] = found.get(address, "") + re.sub(r"\s+", " ", body)
    return found


def check_controls(infra: Path, document: Path) -> str:
    """Fail when a row of docs/security.md claims what the Terraform does not say.

    A row is `| control | what it asks | file | resource | text of the resource |`; the text may be
    empty when the resource itself is the control.
    """
    if not document.is_file():
        raise CheckError("docs/security.md is missing")
    problems: list[str] = []
    rows = 0
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split(" | ")]
        if not re.match(r"\|\s*[A-Za-z0-9]+\.\d+ ", line) or len(cells) != 5:
            continue
        rows += 1
        control, _, file, resource, text = cells
        where = f"docs/security.md:{number}: {control}"
        if not (infra / file).is_file():
            problems.append(f"{where}: there is no infra/{file}")
        elif resource not in (known := blocks(infra / file)):
            problems.append(f"{where}: infra/{file} has no {resource}")
        elif re.sub(r"\s+", " ", text) not in known[resource]:
            problems.append(f"{where}: {resource} in infra/{file} does not say `{text}`")
    if rows == 0:
        problems.append("docs/security.md: no controls found")
    if problems:
        raise CheckError("\n".join(problems))
    return f"docs/security.md: {rows} claims are in the Terraform"


def list_skips() -> None:
    """Print the accepted findings, file by file."""
    accepted = sorted(skips(INFRA))
    for skip in accepted:
        sys.stdout.write(f"{skip.file}:{skip.line}  {skip.check}  {skip.resource}\n")
        sys.stdout.write(f"    {skip.reason}\n")
    sys.stdout.write(f"{len(accepted)} findings accepted\n")


def check(only: Sequence[str]) -> list[str]:
    """Run every check, print a line for each that passed, and return what failed."""
    known = roots(INFRA)
    if unknown := set(only) - set(known):
        sys.stderr.write(f"{', '.join(sorted(unknown))}: not among {', '.join(known)}\n")
        return sorted(unknown)
    failures: list[str] = []

    def report(outcome: str | CheckError) -> None:
        if isinstance(outcome, CheckError):
            failures.append(str(outcome))
            sys.stdout.write(f"FAILED {outcome}\n")
        else:
            sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="test-infra-") as temporary:
        work = Path(temporary)
        copy = work / "repository"
        ignored = shutil.ignore_patterns(".terraform", ".venv*", ".git", ".ops", ".terraform.d", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        environment = terraform_environment(work)

        def attempt(check: str) -> str | CheckError:
            try:
                if check == "checkov":
                    return check_findings(copy)
                if check == "controls":
                    return check_controls(INFRA, SECURITY)
                if check == "fmt":
                    run(
                        [processes.TERRAFORM, "fmt", "-check", "-diff", "-recursive", "infra"],
                        ROOT,
                        environment,
                    )
                    return "infra: formatted"
                return check_root(copy, check, environment)
            except CheckError as error:
                return error

        report(attempt("fmt"))
        ready: list[str] = []
        # One at a time: Terraform's plugin cache is not made for two writers.
        for root in only or known:
            try:
                run(
                    [processes.TERRAFORM, "init", "-no-color", "-backend=false"],
                    copy / "infra" / root,
                    environment,
                )
                ready.append(root)
            except CheckError as error:
                report(error)
        # Two at a time: each holds a provider of 0.6 GB.
        with ThreadPoolExecutor(2) as pool:
            for outcome in pool.map(attempt, ready):
                report(outcome)
        if not only:
            report(attempt("checkov"))
            report(attempt("controls"))
    return failures


def main() -> int:
    """Return 0 when everything passed, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Check and test the Terraform of this repository.")
    parser.add_argument("layers", nargs="*", metavar="LAYER", help="only these layers and modules")
    parser.add_argument("--skips", action="store_true", help="list the checkov findings that are accepted")
    parser.add_argument("--controls", action="store_true", help="only docs/security.md against the Terraform")
    arguments = parser.parse_args()
    if arguments.skips:
        list_skips()
        return 0
    try:
        if arguments.controls:
            sys.stdout.write(f"{check_controls(INFRA, SECURITY)}\n")
            return 0
        failures = check(arguments.layers)
    except CheckError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except NoTerraformError as error:
        sys.stderr.write(f"NOT TESTED: Terraform cannot run here: {error}\n")
        return 1 if os.environ.get("REQUIRE_TERRAFORM") == "1" else 0
    if failures:
        sys.stderr.write(f"{len(failures)} checks failed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
