"""Migrations: there and back, two at once, and what they make is what app/models.py says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.models import metadata
from app.tests.service import ROOT, wait_until
from ops.laptop.dev.database import schema, user, variables
from ops.laptop.postgres import LocalPostgres


@pytest.fixture
def migrator(environment: dict[str, str], server: LocalPostgres) -> dict[str, str]:
    return {**environment, **variables(server, owner=True)}


def migrate(migrator: dict[str, str], *arguments: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.migrate", *arguments],
        cwd=root,
        env={"PATH": os.environ["PATH"], **migrator},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tables(server: LocalPostgres, of: str = "") -> set[str]:
    with server.superuser(server.database) as connection:
        found = connection.run("SELECT tablename FROM pg_tables WHERE schemaname = :schema", schema=of or schema())
    return {name for (name,) in found}


def lock() -> int:
    """The first half of the key that migrations/env.py locks; it can only be imported by Alembic."""
    found = re.search(r"ADVISORY_LOCK = ([\d_]+)", (ROOT / "app" / "migrations" / "env.py").read_text(encoding="utf-8"))
    assert found
    return int(found[1])


def scripts(root: Path) -> ScriptDirectory:
    """The migrations of an application, as Alembic reads them."""
    config = Config()
    config.set_main_option("script_location", str(root / "app" / "migrations").replace("%", "%%"))
    return ScriptDirectory.from_config(config)


def release(folder: Path, *more: str) -> Path:
    """A copy of the application with more migrations, each named by its revision."""
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    versions = folder / "app" / "migrations" / "versions"
    before = scripts(folder).get_current_head()
    for revision in more:
        text = f"""from alembic import op\nrevision, down_revision = "{revision}", "{before}"
def upgrade(): op.execute("CREATE TABLE made_{revision} (id int)")
def downgrade(): op.execute("DROP TABLE made_{revision}")
"""
        (versions / f"{revision}.py").write_text(text)
        before = revision
    return folder


def test_up_down_up(migrator: dict[str, str], server: LocalPostgres) -> None:
    for arguments in ([], ["downgrade", "base"], ["upgrade", "head"], []):
        done = migrate(migrator, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        expected = set() if "downgrade" in arguments else set(metadata.tables)
        assert tables(server) - {"alembic_version"} == expected
    current = migrate(migrator, "current")
    assert "(head)" in current.stdout


def test_two_at_once(migrator: dict[str, str], server: LocalPostgres) -> None:
    assert migrate(migrator, "downgrade", "base").returncode == 0
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: migrate(migrator), range(4)))
    assert [done.returncode for done in results] == [0] * 4
    applied = sum("Running upgrade" in done.stdout for done in results)
    assert applied == 1
    assert tables(server) >= set(metadata.tables)


def test_the_second_waits_for_the_first(migrator: dict[str, str], server: LocalPostgres, tmp_path: Path) -> None:
    output = tmp_path / "stdout"
    with server.superuser(server.database) as other, output.open("wb") as stdout:
        other.run(f"SELECT pg_advisory_lock({lock()}, hashtext(:schema))", schema=schema())
        waiting = subprocess.Popen(
            [sys.executable, "-m", "app.migrate"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **migrator},
            stdout=stdout,
        )
        wait_until(lambda: "waiting for another migration" in output.read_text(), 60)
        assert waiting.poll() is None
        other.run(f"SELECT pg_advisory_unlock({lock()}, hashtext(:schema))", schema=schema())
        assert waiting.wait(timeout=60) == 0


def test_models_and_migrations_agree(migrator: dict[str, str]) -> None:
    assert migrate(migrator).returncode == 0
    done = migrate(migrator, "check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_migration_follows_the_one_before() -> None:
    assert len(scripts(ROOT).get_heads()) == 1, "two branches: make one of them follow the other"


def test_a_migration_is_written_from_the_models(
    migrator: dict[str, str], server: LocalPostgres, tmp_path: Path
) -> None:
    """A table that the models do not have makes a migration that drops it."""
    assert migrate(migrator).returncode == 0
    here = release(tmp_path)
    directory = here / "app" / "migrations" / "versions"
    before = set(directory.glob("*.py"))
    with server.superuser(server.database) as connection:
        connection.run(f'CREATE TABLE "{schema()}".surplus (id int)')
        connection.run(f'ALTER TABLE "{schema()}".surplus OWNER TO "{user(owner=True)}"')
    try:
        done = migrate(migrator, "revision", "--autogenerate", "-m", "remove the surplus", root=here)
        assert done.returncode == 0, done.stdout + done.stderr
        (written,) = set(directory.glob("*.py")) - before
        assert written.name == f"{len(before) + 1:04}_remove_the_surplus.py"
        assert 'op.drop_table("surplus")' in written.read_text().replace("'", '"')
        compile(written.read_text(), written.name, "exec")
    finally:
        with server.superuser(server.database) as connection:
            connection.run(f'DROP TABLE "{schema()}".surplus')


def test_one_that_is_written_by_hand_has_a_number_too(migrator: dict[str, str], tmp_path: Path) -> None:
    root = release(tmp_path)
    count = len(list((root / "app" / "migrations" / "versions").glob("*.py")))
    done = migrate(migrator, "revision", "-m", "fill the colours", root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (root / "app" / "migrations" / "versions" / f"{count + 1:04}_fill_the_colours.py").exists()


def test_a_rollback_past_a_migration(migrator: dict[str, str], server: LocalPostgres, tmp_path: Path) -> None:
    """The release before finds a database that is ahead of it: there is nothing to do, and nothing is undone."""
    newer = release(tmp_path / "newer", "0777_one", "0778_two")
    assert migrate(migrator, root=newer).returncode == 0
    try:
        for arguments in ([], ["upgrade", "head"], ["current"]):
            done = migrate(migrator, *arguments)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "at 0778_two" in done.stdout
            assert "ahead of this release" in done.stdout
        assert tables(server) >= {"made_0777_one", "made_0778_two", *metadata.tables}
        assert migrate(migrator, root=newer).returncode == 0
    finally:
        assert migrate(migrator, "downgrade", "-2", root=newer).returncode == 0


def test_a_migration_of_another_branch_is_not_ahead(migrator: dict[str, str], tmp_path: Path) -> None:
    one, other = release(tmp_path / "one", "0777_one"), release(tmp_path / "other", "0777_other")
    assert migrate(migrator, root=one).returncode == 0
    try:
        done = migrate(migrator, root=other)
        assert done.returncode == 1
        assert "0777_one, which is not among the migrations of this release" in done.stdout
    finally:
        assert migrate(migrator, "downgrade", "-1", root=one).returncode == 0


def test_a_schema_of_its_own(migrator: dict[str, str], server: LocalPostgres) -> None:
    """As a preview has it: DB_SCHEMA decides, and what is in other schemas stays as it is."""
    own = 'pr "1" of %s'
    assert migrate(migrator, "downgrade", "base").returncode == 0
    quoted = own.replace('"', '""')
    with server.superuser(server.database) as connection:
        connection.run(f'CREATE SCHEMA "{quoted}" AUTHORIZATION "{user(owner=True)}"')
    try:
        for arguments in ([], ["current"], ["downgrade", "base"], ["upgrade", "head"]):
            done = migrate({**migrator, "DB_SCHEMA": own}, *arguments)
            assert done.returncode == 0, done.stdout + done.stderr
        assert tables(server, own) == {"alembic_version", *metadata.tables}
        assert tables(server) <= {"alembic_version"}
        assert tables(server, "public") == set()
    finally:
        with server.superuser(server.database) as connection:
            connection.run(f'DROP SCHEMA "{quoted}" CASCADE')
        assert migrate(migrator).returncode == 0


def test_a_folder_with_any_name(migrator: dict[str, str], tmp_path: Path) -> None:
    done = migrate(migrator, root=release(tmp_path / "50% of (it), %(here)s ü"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_failures_are_told(migrator: dict[str, str]) -> None:
    missing = migrate({name: value for name, value in migrator.items() if name != "DB_HOST"})
    assert missing.returncode == 1
    assert "DB_HOST is missing" in missing.stderr
    unknown = migrate(migrator, "upgrade", "nope")
    assert unknown.returncode == 1
    assert "nope" in unknown.stdout
    not_owner = migrate({**migrator, "DB_USER": user()}, "downgrade", "base")
    assert not_owner.returncode == 1
    assert "must be owner" in not_owner.stdout
    nobody = migrate({**migrator, "DB_USER": "nobody"})
    assert nobody.returncode == 1
    assert "authentication failed" in nobody.stdout
