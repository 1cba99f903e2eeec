"""A run's directory: its own, locked, removed, also after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from ops.rehearsal import machine

from tests.machinery import ROOT


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_two_runs_do_not_meet() -> None:
    first, second = machine.RunDirectory(), machine.RunDirectory()
    assert first.path != second.path
    assert machine.remove_leftovers() == []
    first.remove()
    assert not first.path.exists()
    assert second.path.exists()
    second.remove()


def test_what_a_killed_run_left_is_removed_with_its_processes(tmp_path: Path) -> None:
    code = (
        "import tempfile, subprocess, sys, time; tempfile.tempdir = sys.argv[1]\n"
        "from ops.rehearsal import machine\n"
        "run = machine.RunDirectory()\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "run.record(child.pid); print(run.path, child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        directory, child = run.stdout.readline().split()
        assert machine.remove_leftovers() == []  # it lives
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert machine.remove_leftovers() == [Path(directory)]
    for _ in range(50):
        if machine._started(int(child)) == "" or "Z" in machine._ps("-o", "stat=", "-p", child):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child lives")


def test_a_run_ends_what_its_commands_left_behind() -> None:
    run = machine.RunDirectory()
    command = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!"], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    run.record(command.pid)
    assert command.stdout is not None
    left = command.stdout.readline().strip()
    command.wait()
    assert machine._started(int(left))
    run.remove()
    command.stdout.close()
    for _ in range(50):
        if machine._started(int(left)) == "" or "Z" in machine._ps("-o", "stat=", "-p", left):
            return
        time.sleep(0.1)
    pytest.fail("what the command left behind lives")


def test_a_full_disk_and_missing_tools_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(machine, "NEEDED_BYTES", 10**18)
    with pytest.raises(machine.UnusableError) as problem:
        machine.check()
    for word in ("Terraform is not installed", "make is not installed", "MB free"):
        assert word in str(problem.value)


def test_a_copy_has_what_the_repository_has_and_nothing_that_commands_made(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in (
        "project.yaml",
        "infra/network/main.tf",
        ".ops/plans/x",
        "infra/network/.terraform/x",
        ".git/x",
    ):
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name, encoding="utf-8")
    machine.copy_render(source, tmp_path / "copy")
    copied = {str(p.relative_to(tmp_path / "copy")) for p in (tmp_path / "copy").rglob("*") if p.is_file()}
    assert {name for name in copied if not name.startswith(".venv")} == {
        "project.yaml",
        "infra/network/main.tf",
    }
