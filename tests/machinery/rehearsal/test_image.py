"""The image in a rehearsal: built where something builds it, and said where not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ops.rehearsal import image

from tests.machinery import ROOT


def test_the_bases_of_a_dockerfile_are_those_that_it_does_not_make() -> None:
    text = "FROM --platform=linux/arm64 a:1 AS build\nRUN x\nFROM build AS more\nFROM scratch\nfrom b@sha256:0 as last\nFROM a:1\n"
    assert image.bases(text) == ["a:1", "b@sha256:0"]
    [base] = image.bases((ROOT / image.DOCKERFILE).read_text(encoding="utf-8"))
    assert base.startswith("python:")


def test_without_a_builder_it_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(image.NotBuiltError, match="neither Docker nor Podman runs here, and there is no buildah"):
        image.build(ROOT, tmp_path / "files")


def fake(folder: Path, script: str) -> None:
    """A docker that does what it is told, so that what is asked of it can be seen."""
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{script}\n')
    program.chmod(0o755)


def test_a_base_that_is_not_to_be_had_is_no_fault_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, 'case "$1" in info) ;; *) echo "no route to the registry" >&2; exit 1 ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(image.NotBuiltError, match="does not get it: no route to the registry"):
        image.build(ROOT, tmp_path / "files")


def test_a_dockerfile_that_does_not_build_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, 'case "$1" in build) echo "COPY failed: no such file" >&2; exit 1 ;; esac')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(image.BrokenError, match="COPY failed: no such file"):
        image.build(ROOT, tmp_path / "files")


def test_the_files_of_the_service_are_taken_out_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root/service/app").mkdir(parents=True)
    (tmp_path / "root/service/app/main.py").write_text("built")
    (tmp_path / "root/etc").mkdir()
    export = f'case "$1" in create) echo id ;; export) tar -C {tmp_path}/root -cf "$3" . ;; esac'
    fake(tmp_path, export.replace("-cf", "--transform 's,^\\./,,' -cf"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert image.build(ROOT, tmp_path / "files") == "docker"
    assert (tmp_path / "files/app/main.py").read_text() == "built"
    asked = (tmp_path / "asked").read_text()
    assert f"build --file {image.DOCKERFILE} --tag {image.TAG} ." in asked
    assert "rm id" in asked
