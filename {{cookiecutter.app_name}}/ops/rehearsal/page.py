"""The report as one HTML file that needs nothing else: the picture first, then what stands behind each of its boxes."""

from __future__ import annotations

import collections
import html
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from ops.diagram import draw
from ops.rehearsal import picture
from ops.rehearsal.claims.subjects import SUBJECTS
from ops.rehearsal.progress import Bar, Progress, clock

if TYPE_CHECKING:
    from ops.rehearsal.driver import Rehearsal

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1f2328; --dim: #57606a; --good: #116329; --bad: #cf222e;
  --line: #d0d7de; --shade: #f6f8fa; --bar: #0969da; --bar-part: #80b3e8 }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --text: #e6edf3; --dim: #9198a1; --good: #56d364;
  --bad: #ff7b72; --line: #3d444d; --shade: #161b22; --bar: #4493f8; --bar-part: #2f5f9e } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 82rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--ground); color: var(--text) }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem } a { color: var(--bar) } nav a { margin-right: 1.2em }
.good { color: var(--good) } .bad { color: var(--bad) } .verdict { font-size: 1.3rem; font-weight: 600; margin: .5rem 0 }
.dim { color: var(--dim) } .number { text-align: right; white-space: nowrap }
table { border-collapse: collapse; width: 100% } .scroll { overflow-x: auto }
td, th { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td { overflow-wrap: anywhere } pre { white-space: pre-wrap; background: var(--shade); padding: 1rem; overflow-x: auto }
.bar { position: relative; height: 1.1rem; background: var(--shade) }
.bar i { position: absolute; top: 0; bottom: 0; background: var(--bar); min-width: 2px }
.bar i.part { background: var(--bar-part) } .bar i.failed { background: var(--bad) }
details { margin: .3rem 0 } summary { cursor: pointer } .anchor { scroll-margin-top: 3rem }
:target { outline: 2px solid var(--bar); outline-offset: 4px }
figure { margin: 1rem 0; overflow-x: auto } figure svg { width: 100%; min-width: 60rem; height: auto }
"""


def page(run: Rehearsal, progress: Progress, *, worked: bool) -> str:
    """Return the whole page."""
    found = run.findings
    title = f"Rehearsal of {run.project.app}, {run.environment}"
    facts = [
        f"{clock(progress.elapsed)} minutes",
        f"{progress.calls} AWS calls",
        f"{found.peak_memory / 1e9:.1f} GB of memory at most",
        f"{found.usage.seconds:.1f} s of processor time spent deciding them",
    ]
    sections = [
        ("Claims", _claims(run)),
        ("Who can reach what", _ways(run)),
        ("Refused attempts", _attempts(run)),
        ("What roles use", _roles(run)),
        ("Timeline", _timeline(progress)),
        ("AWS calls", _calls(run)),
        ("What the simulator adds to moto", _gaps(run)),
        ("What a rehearsal does not show", _limits(run)),
    ]
    shown = [(name, body) for name, body in sections if body]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>",
            f'<h1>{_text(title)}</h1><p class="dim">{_text(" · ".join(facts))}</p>',
            '<p class="verdict good">It works.</p>' if worked else _failure(found.error),
            f"<nav>{''.join(_link(name) for name, _ in shown)}</nav>",
            f"<figure>{_picture(run)}</figure>",
            *(f"<p>{_text(note)}</p>" for note in dict.fromkeys(found.notes)),
            *(f'<h2 class="anchor" id="{_slug(name)}">{_text(name)}</h2>{body}' for name, body in shown),
            "</body></html>",
        ]
    )


def _failure(error: str | None) -> str:
    return f'<p class="verdict bad">It does not work.</p><pre>{_text(error or "")}</pre>'


def _diagram(run: Rehearsal) -> draw.Diagram:
    return draw.load(yaml.safe_load((run.render / "project.yaml").read_text(encoding="utf-8")))


def _picture(run: Rehearsal) -> str:
    results = {result.component: result for result in run.findings.results}
    found = collections.defaultdict(list)
    for subject in SUBJECTS:
        if subject.name in results:
            found[subject.component].append(results[subject.name])
    return picture.marked(_diagram(run), found)


def _claims(run: Rehearsal) -> str:
    anchors = picture.anchors(_diagram(run))
    parts = []
    for result in run.findings.results:
        target = f' id="{anchors[result.component]}"' if result.component in anchors else ""
        if not result.chosen:
            parts.append(f'<p class="dim">{_text(result.component)}: not chosen</p>')
            continue
        rows = [(_sign(claim.holds), _text(claim.text), _text(claim.detail)) for claim in result.claims]
        # A link to what is inside of it opens it: no script is needed.
        parts.append(
            f"<details{'' if result.holds else ' open'}><summary>{_sign(result.holds)} {_text(result.component)} "
            f'<span class="dim">{len(rows)} claims</span></summary>'
            f'<div class="anchor"{target}>{_table(("", "claim", "found"), rows)}</div></details>'
        )
    return "".join(parts)


def _ways(run: Rehearsal) -> str:
    rows = [
        (
            _text(row.source),
            _text(row.target),
            _sign(row.wanted is None or row.verdict.reach == ("yes" if row.wanted else "no")),
            _text(row.verdict.reach + (" — must" if row.wanted else " — must not" if row.wanted is False else "")),
            _text(row.verdict.because),
        )
        for row in run.findings.rows
    ]
    return _table(("from", "to", "", "reaches", "because"), rows) if rows else ""


def _attempts(run: Rehearsal) -> str:
    rows = [
        (_sign(attempt.refused), _text(attempt.who), _text(attempt.what), _text(attempt.call), _text(attempt.because))
        for attempt in run.findings.attempts
    ]
    words = "<p>What roles tried that is none of theirs, and the statement that stood in the way.</p>"
    return words + _table(("", "role", "tried to", "call", "refused by"), rows) if rows else ""


def _roles(run: Rehearsal) -> str:
    parts = []
    usage = run.findings.usage
    for role in usage.roles():
        used, granted = usage.of(role)
        unused = [f"{one.sid}: {one.action}" for one in usage.unused(role) if one.policy not in usage.boundaries]
        parts.append(
            f'<tr><td>{_text(role.rpartition("/")[2])}<td class="number">{used} of {granted}'
            f"<td><details><summary>{len(unused)} not used</summary>{_text(', '.join(unused))}</details>"
        )
    if not parts:
        return ""
    words = "<p>Actions that each role's policies give to it, and how many of them this rehearsal needed.</p>"
    return f"{words}<table><tr><th>role<th>used<th>not used here{''.join(parts)}</table>"


def _timeline(progress: Progress) -> str:
    whole = max(progress.elapsed, 1)

    def bar(found: Bar, kind: str) -> str:
        ended = found.ended if found.ended is not None else progress.elapsed
        left, width = 100 * found.started / whole, 100 * (ended - found.started) / whole
        failed = " failed" if found.state == "failed" else ""
        return (
            f'<tr><td>{"&emsp;" if kind else ""}{_text(found.name)}<td style="width:45%"><div class="bar">'
            f'<i class="{kind}{failed}" style="left:{left:.2f}%;width:{width:.2f}%"></i></div>'
            f'<td class="number">{ended - found.started:.0f} s<td class="dim">{_text(found.detail)}'
        )

    rows = [
        bar(one, kind)
        for step in progress.bars
        for one, kind in [(step, ""), *((p, "part") for p in step.parts.values())]
    ]
    return f"<table>{''.join(rows)}</table>"


def _calls(run: Rehearsal) -> str:
    calls: collections.Counter[tuple[str, str]] = collections.Counter()
    took: collections.Counter[tuple[str, str]] = collections.Counter()
    for record in run.notes("journal"):
        if "call" in record:
            name = (str(record["service"]), str(record["call"]))
            calls[name] += 1
            took[name] += record.get("ms", 0)
    services: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    for name, _ in calls.most_common():
        services[name[0]].append(name)
    parts = []
    for service, names in sorted(services.items(), key=lambda item: -sum(calls[name] for name in item[1])):
        rows = [(_text(name[1]), str(calls[name]), f"{took[name] / 1000:.1f} s") for name in names]
        total = sum(calls[name] for name in names)
        parts.append(
            f'<details><summary>{_text(service)} <span class="dim">{total} calls</span></summary>'
            f"{_table(('call', 'times', 'answered in'), rows)}</details>"
        )
    return "".join(parts)


def _gaps(run: Rehearsal) -> str:
    file = run.directory.path / "gaps.json"
    gaps: list[dict[str, str]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    rows = [(_text(gap["resource"]), _text(gap["lack"])) for gap in sorted(gaps, key=lambda gap: gap["resource"])]
    words = "Each row is a gap that the rehearsal closes. AWS itself behaves as the left column needs."
    return f"<details><summary>{len(rows)} gaps</summary><p>{words}</p>{_table(('for', 'without it'), rows)}</details>"


def _limits(run: Rehearsal) -> str:
    limits = [
        "Packets are not sent through security groups: reachability is computed from them.",
        "Times, prices, quotas and performance are AWS's own.",
        *run.findings.limits,
    ]
    return f"<ul>{''.join(f'<li>{_text(limit)}' for limit in limits)}</ul>"


# Pieces.


def _sign(holds: object) -> str:
    return '<span class="good">✓</span>' if holds else '<span class="bad">✗</span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already, headings are words."""
    header = "".join(f"<th>{_text(cell)}" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    return f'<div class="scroll"><table><tr>{header}{body}</table></div>'


def _link(name: str) -> str:
    return f'<a href="#{_slug(name)}">{_text(name)}</a>'


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _text(value: Any) -> str:
    return html.escape(str(value))
