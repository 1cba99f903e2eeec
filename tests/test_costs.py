"""docs/costs.md says what this render costs: its sums are right, and it follows project.yaml and the Terraform."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bakes import Bake, Project
from tests.options import MAIN, Options, every_option_set, label

Table = dict[str, tuple[str, float, float]]
"""Component: what, USD idle, USD under load."""


def tables(document: str) -> dict[str, Table]:
    """The tables of the document by their heading."""
    found: dict[str, Table] = {}
    for section in document.split("\n## ")[1:]:
        rows = re.findall(r"^\| ([^*|]+) \| (.*) \| ([\d,.]+) \| ([\d,.]+) \|$", section, re.MULTILINE)
        table = {name: (what, money(idle), money(small)) for name, what, idle, small in rows}
        if table:
            found[section.splitlines()[0]] = table
    return found


def money(text: str) -> float:
    return float(text.replace(",", ""))


def costs(project: Project) -> str:
    return (project.path / "docs/costs.md").read_text(encoding="utf-8")


def run(root: Path) -> subprocess.CompletedProcess[str]:
    """`make costs`, without its .venv."""
    return subprocess.run([sys.executable, "-m", "ops.costs"], cwd=root, capture_output=True, text=True, check=False)


def test_secrets_take_an_endpoint_more(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    before = {name: bill.get("VPC endpoints") for name, bill in tables(costs(project)).items()}
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    assert "  secrets: []\n" in text
    file.write_text(text.replace("  secrets: []\n", "  secrets: [API_KEY]\n"), encoding="utf-8")
    assert run(project.path).returncode == 0
    after = {name: bill.get("VPC endpoints") for name, bill in tables(costs(project)).items()}
    assert before["dev"]
    assert after["dev"]
    assert (before["dev"][0][:2], after["dev"][0][:2]) == ("7 ", "8 ")


def test_another_account_has_a_key_of_its_state(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    shared = "All environments together use"
    before = tables(costs(project))
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("  prod:\n", "  prod:\n    aws_account_id: '210987654321'\n"), encoding="utf-8")
    assert run(project.path).returncode == 0
    after = tables(costs(project))
    assert before[shared]["Encryption keys"] == ("2 keys: state, images", 2, 2)
    assert after[shared]["Encryption keys"] == ("3 keys: state of 2 accounts, images", 3, 3)
    assert before["prod"] == after["prod"]


def test_jobs_cost_their_minutes_and_their_alarms(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    before = tables(costs(project))
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    jobs = """
jobs:
  nightly: { command: [x], schedule: 'cron(0,30 1-3/2 * * ? *)', timeout_minutes: 5 }
  often: { command: [x], schedule: rate(10 minutes), timeout_minutes: 5, cpu: 1024, memory: 2048, environments: [prod] }
"""
    file.write_text(text.replace("\njobs: {}\n", jobs), encoding="utf-8")
    assert run(project.path).returncode == 0
    after = tables(costs(project))
    # Four runs a day of 0.25 vCPU and 0.5 GB for a minute.
    assert after["dev"]["Scheduled jobs"][0] == "1 job, 122 runs of a minute"
    assert after["dev"]["Scheduled jobs"][1] == pytest.approx(122 / 60 * (0.25 * 0.03238 + 0.5 * 0.00356), abs=0.01)
    assert after["prod"]["Scheduled jobs"][0].startswith("2 jobs, 4502 ")
    for name, more in (("dev", 2), ("prod", 3)):
        alarms = [
            int(re.findall(r"(\d+) metrics in alarms", bill[name]["Metrics and alarms"][0])[0])
            for bill in (before, after)
        ]
        assert alarms[1] - alarms[0] == more
    assert "Scheduled jobs" not in before["dev"]
    assert "EventBridge Scheduler's calls" in costs(project)


def test_workers_take_tasks_metrics_and_an_endpoint_more(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    before = tables(costs(project))["dev"]
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    assert "\nworkers: {}\n" in text
    workers = "workers:\n  one: { command: [x], min_tasks: 2 }\n  other: { command: [x], min_tasks: 0 }\n"
    file.write_text(text.replace("workers: {}\n", workers), encoding="utf-8")
    done = run(project.path)
    assert done.returncode == 0, done.stderr
    after = tables(costs(project))["dev"]
    assert (before["VPC endpoints"][0][:2], after["VPC endpoints"][0][:2]) == ("7 ", "8 ")
    assert "Workers" not in before
    # Two tasks of 7.21 each that ask 720 times an hour at 0.40 a million; one more under load.
    assert after["Workers"][1:] == pytest.approx((2 * 7.42, 3 * 7.42), abs=0.02)
    metrics = ("25 metrics of Container Insights, 13 metrics", "59 metrics of Container Insights, 19 metrics")
    assert [bill["Metrics and alarms"][0].removesuffix(" in alarms") for bill in (before, after)] == list(metrics)


def test_files_cost_a_key_their_metrics_and_their_scan(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    before = tables(costs(project))["dev"]
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    assert "\nstorage: 'none'" in text
    assert "Files" not in before
    assert "requests for files" not in costs(project)
    for files, small, metrics in (("{}", 4.13, 16), ("{ malware_scan: true }", 7.18, 17)):
        changed = text.replace("\nstorage: 'none'", "\nstorage: 's3'").replace("\nfiles: {}\n", f"\nfiles: {files}\n")
        file.write_text(changed, encoding="utf-8")
        done = run(project.path)
        assert done.returncode == 0, done.stderr
        after = tables(costs(project))["dev"]
        # 10 GB at 0.023 and as many given out at 0.09; 10 metrics at 0.30; 0.09 a GB and 0.215 a thousand files.
        assert after["Files"][1:] == pytest.approx((0, small), abs=0.01)
        assert after["Metrics and alarms"][0].endswith(f", {metrics} metrics in alarms")
        assert (before["Encryption keys"][0], after["Encryption keys"][0]) == ("3 keys", "4 keys")
        assert "requests for files" in costs(project)


@every_option_set
def test_every_environment_has_a_bill_of_what_was_chosen(bake: Bake, options: Options) -> None:
    project = bake(**options)
    settings = project.settings
    per_name = tables(costs(project))
    assert list(per_name) == [*settings["environments"], "All environments together use"]
    nat = settings["internet_egress"] == "nat-gateway"
    database = settings["database"] != "none"
    # infra/network/tests says the same of the Terraform.
    endpoints = (0 if nat else 5 + (settings["feature_flags"] != "none")) + database
    for name, environment in settings["environments"].items():
        bill = per_name[name]
        assert ("NAT gateways" in bill) == nat
        assert ("Database: capacity" in bill) == database
        assert ("Web application firewall" in bill) == environment["service"]["web_application_firewall"]
        assert bill.get("VPC endpoints", ("0 ",))[0].startswith(f"{endpoints} ")
        assert bill["Metrics and alarms"][0].endswith(f"{13 if database else 9} metrics in alarms")
        assert bill["Encryption keys"][0] == f"{3 if database else 2} keys"
        assert all(0 <= idle <= small for _, idle, small in bill.values())


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_sums_are_sums(bake: Bake, options: Options) -> None:
    document = costs(bake(**options))
    together = [money(value) for value in re.findall(r"\*\*Together\*\*(?: \|)? \| \*\*([\d,]+)\*\*", document)]
    whole, *parts = together
    bills = [sum(idle for _, idle, _ in table.values()) for table in tables(document).values()]
    assert parts == pytest.approx(bills, abs=0.6)
    assert whole == pytest.approx(sum(bills), abs=0.6)


def test_the_price_of_known_parts(bake: Bake) -> None:
    dev = tables(costs(bake()))["dev"]
    # 730 hours of 0.25 vCPU at 0.03238 and 0.5 GB at 0.00356; 7 endpoints at 0.01; 0.0225 and two addresses at 0.005.
    assert dev["Service"][1] == pytest.approx(7.21, abs=0.01)
    assert dev["VPC endpoints"][1] == pytest.approx(51.10)
    assert dev["Load balancer"][1] == pytest.approx(23.73, abs=0.01)


def test_it_follows_project_yaml(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "copy")
    before = costs(project)
    assert run(project.path).returncode == 0
    assert costs(project) == before

    path = project.path / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("min_tasks: 1", "min_tasks: 2"), encoding="utf-8")
    done = run(project.path)
    assert "wrote docs/costs.md" in done.stdout
    assert tables(costs(project))["dev"]["Service"][1] == pytest.approx(
        2 * tables(before)["dev"]["Service"][1], abs=0.01
    )


def test_a_broken_project_yaml_is_said_in_words(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "copy")
    path = project.path / "project.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("min_tasks: 1", "tasks: 1"), encoding="utf-8")
    before = costs(project)
    done = run(project.path)
    assert done.returncode == 1
    assert done.stderr.startswith("project.yaml: a setting is missing")
    assert "min_tasks" in done.stderr
    assert costs(project) == before
