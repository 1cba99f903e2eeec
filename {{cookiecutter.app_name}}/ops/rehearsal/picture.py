"""The architecture's picture with what was found out about each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops.diagram import draw
from ops.rehearsal.claims.claim import Result

# The picture's own style has a colour for everything but these.
STYLE = """
svg{--held:#116329;--failed:#cf222e;--failed-ground:#ffebe9}
@media (prefers-color-scheme:dark){svg{--held:#56d364;--failed:#ff7b72;--failed-ground:#3d1519}}
text.held{fill:var(--held);font-weight:700}
text.failed{fill:var(--failed);font-weight:700}
rect.card.held{stroke:var(--held);stroke-width:1.5}
rect.card.failed{stroke:var(--failed);stroke-width:2.5;fill:var(--failed-ground)}
rect.group.failed{stroke:var(--failed);stroke-width:2.5}
"""


def anchors(diagram: draw.Diagram) -> dict[str, str]:
    """Return where in the page the claims about each component stand, by its name."""
    return {box.name: f"claims-{box.row}" for box in diagram.boxes if box.row == box.id}


def marked(diagram: draw.Diagram, found: Mapping[str, Sequence[Result]]) -> str:
    """Return the picture as SVG; a box leads to its claims and says whether they hold.

    `found` has the results about each component by its name. A box that is a part of a component shows the same.
    """
    names = {box.row: box.name for box in diagram.boxes if box.row == box.id}
    drawn = tuple(_mark(box, found.get(names.get(box.row, ""), ())) for box in diagram.boxes)
    by_id = {box.id: box for box in drawn}
    lines = tuple(
        line._replace(source=by_id[line.source.id], target=by_id[line.target.id]) for line in diagram.connections
    )
    hint = "Each box says whether what was claimed about it holds; its name leads to the claims."
    picture = draw.to_svg(diagram._replace(boxes=drawn, connections=lines, hint=hint, document="@"))
    picture = picture.replace('href="@#"', 'href="#claims"').replace('href="@#', 'href="#claims-')
    return picture.replace("</style>", f"{STYLE}</style>", 1)


def _mark(box: draw.Box, results: Sequence[Result]) -> draw.Box:
    claims = [claim for result in results if result.chosen for claim in result.claims]
    broken = sum(not claim.holds for claim in claims)
    if not claims:
        return box._replace(code="", row=box.row if results else "")
    words = f"✗ {broken} of {len(claims)} do not hold" if broken else f"✓ {len(claims)} claims hold"
    return box._replace(code="", verdict="failed" if broken else "held", found=words)
