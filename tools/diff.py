"""What a change does to renders: every main option set before and after it (`make diff BASE=main`).

Before is the commit BASE, after is the work tree. Files that differ alike in several option sets are shown once, with
the sets they differ in. Both forms go to .diff/: summary.md, which is printed and shown on the page of a GitHub run,
and index.html.

Cookiecutter makes every render, with its hooks; see tools/many.py for how that takes less time for many. What both
templates have alike is one file with two names, so whatever is copied from it as it is need not be read to be compared.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import html
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.options import MAIN, Options, label
from tools import many, template

OUTPUT = template.ROOT / ".diff"
# The parts of this repository that decide what a render is.
SOURCES = ("cookiecutter.json", "hooks", template.RENDERED_ROOT.name)
# GitHub shortens a comment at 65,536 characters.
SUMMARY_LINES = 120


class Change(NamedTuple):
    """One file's difference in one option set."""

    path: str
    kind: str
    """added, removed, changed or mode"""
    lines: tuple[str, ...]
    """The unified difference, without its two lines of file names; empty for a binary file or a mode."""

    @property
    def counts(self) -> tuple[int, int]:
        """Lines added and lines removed."""
        return (
            sum(line.startswith("+") for line in self.lines),
            sum(line.startswith("-") for line in self.lines),
        )


class Group(NamedTuple):
    """Changes that are the same in each of these option sets, and in no other."""

    sets: tuple[str, ...]
    changes: list[Change]


def git(*arguments: str) -> bytes:
    """What git prints. SystemExit with its words when it refuses."""
    done = subprocess.run(["git", *arguments], cwd=template.ROOT, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def before(base: str, folder: Path) -> None:
    """The template as the commit has it, whatever its folder was called then."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", base))) as archive:
        archive.extractall(folder, filter="data")


def after(folder: Path) -> None:
    """The template as the work tree has it: what git tracks and what it would add."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *SOURCES).decode()
    for name in filter(None, listed.split("\0")):
        source = template.ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def files(root: Path) -> dict[str, Path]:
    """Every file of a render by its path inside it."""
    return {
        Path(folder, name).relative_to(root).as_posix(): Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
    }


def changes(old: Path, new: Path) -> Iterator[Change]:
    """How two renders differ, file by file."""
    olds, news = files(old), files(new)
    for name in sorted(olds.keys() | news.keys()):
        if name in olds and name in news and olds[name].samefile(news[name]):
            continue
        first = olds[name].read_bytes() if name in olds else b""
        second = news[name].read_bytes() if name in news else b""
        if name in olds and name in news:
            if first == second:
                if olds[name].stat().st_mode != news[name].stat().st_mode:
                    yield Change(name, "mode", ())
                continue
            kind = "changed"
        else:
            kind = "added" if name in news else "removed"
        try:
            one, two = (content.decode("utf-8").splitlines() for content in (first, second))
        except UnicodeDecodeError:
            one, two = [], []
        yield Change(name, kind, tuple(list(difflib.unified_diff(one, two, lineterm="", n=2))[2:]))


def compare(roots: tuple[Path, Path], work: Path, options: Options, *, linked: bool) -> tuple[str, list[Change] | str]:
    """One option set before and after: its label and its changes, or why there is nothing to compare."""
    folder = work / hashlib.sha256(repr(options).encode()).hexdigest()[:12]
    made = [many.render(root, folder / root.name, options, linked=linked) for root in roots]
    refused = [f"{root.name} {path}" for root, path in zip(roots, made, strict=True) if path.startswith("refused")]
    found = "; ".join(refused) if refused else list(changes(Path(made[0]), Path(made[1])))
    shutil.rmtree(folder, ignore_errors=True)
    return label(options), found


def grouped(found: Mapping[str, Iterable[Change]]) -> list[Group]:
    """Changes by the option sets in which they are the same; those of most sets first."""
    sets: dict[Change, list[str]] = defaultdict(list)
    for name, list_ in found.items():
        for change in list_:
            sets[change].append(name)
    groups: dict[tuple[str, ...], list[Change]] = defaultdict(list)
    for change, names in sets.items():
        groups[tuple(names)].append(change)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[0]), item[0]))
    return [Group(names, sorted(list_)) for names, list_ in ordered]


def title(group: Group, total: int) -> str:
    """The option sets of a group in words."""
    if len(group.sets) == total:
        return f"In all {total} option sets"
    return f"In {len(group.sets)} of {total}: " + " · ".join(group.sets)


def summary(groups: list[Group], broken: Mapping[str, str], base: str, total: int) -> str:
    """Markdown: a list of files for each group, with added and removed lines."""
    if not groups and not broken:
        return f"### Renders\n\nThis change alters no render ({total} option sets, compared with {base}).\n"
    lines = [f"### Renders, compared with {base}"]
    lines += ["", *(f"- **{name}**: {why}" for name, why in broken.items())] if broken else []
    for group in groups:
        added, removed = (sum(change.counts[i] for change in group.changes) for i in (0, 1))
        lines += ["", f"**{title(group, total)}**: {len(group.changes)} files, +{added} -{removed}", ""]
        for change in group.changes:
            plus, minus = change.counts
            said = f"+{plus} -{minus}" if change.kind == "changed" else f"{change.kind}, {max(plus, minus)} lines"
            lines.append(f"- `{change.path}` {said}")
    if len(lines) > SUMMARY_LINES:
        lines = [*lines[:SUMMARY_LINES], "", f"… and {len(lines) - SUMMARY_LINES} lines more: `make diff`"]
    return "\n".join(lines) + "\n"


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light dark; --add: #dafbe1; --del: #ffebe9; --head: #ddf4ff; --line: #d0d7de }}
@media (prefers-color-scheme: dark) {{ :root {{ --add: #12361f; --del: #4a1d1f; --head: #14304d; --line: #3d444d }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
details {{ border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0 }}
summary {{ cursor: pointer; padding: .3rem .7rem; font-family: ui-monospace, monospace; font-size: 13px }}
pre {{ margin: 0; overflow-x: auto; font: 12px/1.45 ui-monospace, monospace; border-top: 1px solid var(--line) }}
pre span {{ display: block; padding: 0 .7rem; white-space: pre }}
.a {{ background: var(--add) }} .d {{ background: var(--del) }} .h {{ background: var(--head) }}
</style><h1>{title}</h1>{body}</html>
"""
CLASSES = {"+": "a", "-": "d", "@": "h"}


def page(groups: list[Group], broken: Mapping[str, str], base: str, total: int) -> str:
    """One self-contained page: the groups, each file folded."""
    body = [f"<p><b>{html.escape(name)}</b>: {html.escape(why)}</p>" for name, why in broken.items()]
    if not groups and not broken:
        body.append("<p>This change alters no render.</p>")
    for group in groups:
        body.append(f"<h2>{html.escape(title(group, total))}</h2>")
        for change in group.changes:
            plus, minus = change.counts
            lines = "".join(
                f'<span class="{CLASSES.get(line[:1], "")}">{html.escape(line)}</span>' for line in change.lines
            )
            head = f"{html.escape(change.path)} · {change.kind} · +{plus} -{minus}"
            body.append(f"<details><summary>{head}</summary><pre>{lines}</pre></details>")
    return PAGE.format(title=f"Renders, compared with {html.escape(base)}", body="".join(body))


def share(roots: tuple[Path, Path]) -> bool:
    """Give files that are alike in both templates one content with two names; whether all are."""
    olds, news = ({name: path for name, path in files(root).items() if name.startswith(SOURCES)} for root in roots)
    alike = olds.keys() == news.keys()
    for name in olds.keys() & news.keys():
        old, new = olds[name], news[name]
        if old.read_bytes() == new.read_bytes() and old.stat().st_mode == new.stat().st_mode:
            new.unlink()
            os.link(old, new)
        else:
            alike = False
    return alike


def stamps(roots: tuple[Path, Path]) -> list[tuple[str, int, int]]:
    """What shows that somebody has written to a file."""
    status = [(str(path), path.stat()) for root in roots for path in sorted(files(root).values())]
    return [(name, one.st_mtime_ns, one.st_mode) for name, one in status]


def compared(base: str, *, linked: bool) -> dict[str, list[Change] | str] | None:
    """Every option set before and after; None when a hook has written to a file that many renders have in common."""
    with tempfile.TemporaryDirectory(prefix="diff-") as folder:
        roots = (Path(folder, "before"), Path(folder, "after"))
        before(base, roots[0])
        after(roots[1])
        if share(roots):
            return {}  # equal templates, equal renders
        untouched = stamps(roots)
        one = functools.partial(compare, roots, Path(folder, "work"), linked=linked)
        # What the hooks print about each project is not what is asked here.
        with ProcessPoolExecutor(initializer=quiet) as pool:
            found = dict(pool.map(one, MAIN))
        return found if stamps(roots) == untouched else None


def main() -> None:
    """Compare, write both files, print the summary."""
    base = os.environ.get("BASE") or "main"
    commit = git("rev-parse", "--short", "--verify", f"{base}^{{commit}}").decode().strip()
    name = base if commit in base else f"{base} ({commit})"
    found = compared(base, linked=True)
    if found is None:
        found = compared(base, linked=False) or {}
    broken = {label_: why for label_, why in found.items() if isinstance(why, str)}
    groups = grouped({label_: list_ for label_, list_ in found.items() if not isinstance(list_, str)})
    OUTPUT.mkdir(exist_ok=True)
    text = summary(groups, broken, name, len(MAIN))
    (OUTPUT / "summary.md").write_text(text, encoding="utf-8", newline="\n")
    (OUTPUT / "index.html").write_text(page(groups, broken, name, len(MAIN)), encoding="utf-8", newline="\n")
    if page_of_run := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page_of_run).open("a", encoding="utf-8") as shown:
            shown.write(text)
    sys.stdout.write(f"{text}\n{OUTPUT / 'index.html'}\n")


def quiet() -> None:
    """Send what hooks print to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


if __name__ == "__main__":
    main()
