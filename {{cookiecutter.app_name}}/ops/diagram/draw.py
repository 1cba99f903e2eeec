"""Draw the architecture: ../system-architecture.svg to look at, .drawio to edit.

Both are made of architecture.toml, icons.svg and the answers; equal answers give equal bytes.
`make diagram` runs this with the answers in project.yaml; the template ran it with the answers it
was given. Standard library only, but for reading project.yaml.

The .drawio file is diagrams.net's own XML (https://www.drawio.com/doc/faq/diagram-source-edit),
uncompressed, with the AWS shapes that diagrams.net has built in, so that it needs no image.
"""

from __future__ import annotations

import functools
import itertools
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
SVG = "http://www.w3.org/2000/svg"
NAME = "system-architecture"

# Settings of project.yaml that add a box in a fourth column.
ADDED = ("workers", "storage")

Point = tuple[float, float]
Attributes = dict[str, str | float]


# --- The source, for one set of answers


class Box(NamedTuple):
    """A group or a component where it stands, in pixels."""

    id: str
    name: str
    x: int
    y: int
    width: int
    height: int
    parent: str
    """The group it is in; empty outside every group."""
    kind: str
    """The look of a group; "component" otherwise."""
    lines: tuple[str, ...] = ()
    note: str = ""
    icon: str = ""
    shape: str = ""
    color: str = "general"
    code: str = ""
    """Path of its code in the repository."""
    row: str = ""
    """Anchor of its row in the document; empty for a group that is not a component."""
    verdict: str = ""
    """"held" or "failed" where something was found out about it; `found` says what."""
    found: str = ""

    @property
    def right(self) -> int:
        """Return the x of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Return the y of the lower edge."""
        return self.y + self.height


class Connection(NamedTuple):
    """A line with its text; the points run from the source's edge to the target's."""

    id: str
    source: Box
    target: Box
    label: tuple[str, ...]
    label_at: Point
    anchor: str
    points: tuple[Point, ...]


class Diagram(NamedTuple):
    """What is drawn for one set of answers."""

    title: str
    description: str
    hint: str
    credit: str
    boxes: tuple[Box, ...]
    connections: tuple[Connection, ...]
    repository: str
    """On GitHub, as owner/name: where the editable file's links lead. Empty: it has none."""
    code: str
    """From the picture's folder to the folder that the boxes' `code` is in, as a URL."""
    document: str
    """From the picture's folder to the document with the rows, as a URL."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height: two lines of small print below the account, a margin of 16."""
        bottom = max(self.boxes[0].bottom + 50, *(box.bottom for box in self.boxes))
        return max(box.right for box in self.boxes) + 16, bottom + 16

    def within(self, parent: str) -> list[Box]:
        """Return the boxes directly in a group (or, for "", in none) in the source's order."""
        return [box for box in self.boxes if box.parent == parent]


def options_of(answers: Mapping[str, Any]) -> dict[str, str]:
    """Return the answers as the source uses them: as text, with those made from others.

    `answers` is the content of project.yaml, or Cookiecutter's answers: environments are a mapping
    there, a text such as "dev+prod" here.
    """
    options = {key: str(value) for key, value in answers.items() if isinstance(value, str | int)}
    environments = answers["environments"]
    names = environments.split("+") if isinstance(environments, str) else list(environments)
    options["environments"] = ", ".join(names)
    options |= _places(options, environments)
    options["domain"] = "yes" if options["domain_name"] else "no"
    options["jobs"] = "yes" if answers.get("jobs") else "no"
    for name in ADDED:
        options[name] = "yes" if answers.get(name) not in (None, "", "none", {}) else "no"
    options["fourth_column"] = "yes" if "yes" in (options[name] for name in ADDED) else "no"
    return options


def _places(options: Mapping[str, str], environments: Any) -> dict[str, str]:
    """Return the AWS accounts and regions in words; who lives where, when there are several accounts."""
    account, region, names = options["aws_account_id"], options["aws_region"], options["environments"]
    blocks = environments if isinstance(environments, Mapping) else {}
    places: dict[tuple[str, str], list[str]] = {}
    for name, block in blocks.items():
        place = (str(block.get("aws_account_id") or account), str(block.get("aws_region") or region))
        places.setdefault(place, []).append(name)
    accounts = list(dict.fromkeys([account, *(place[0] for place in places)]))
    regions = list(dict.fromkeys([region, *(place[1] for place in places)]))
    # By their last digits: lines of the picture leave no more room.
    lives = [f"{', '.join(here)} (…{place[0][-4:]})" for place, here in places.items()]
    return {
        "accounts": f"AWS account {account}" if len(accounts) == 1 else f"{len(accounts)} AWS accounts",
        "regions": f"Region {region}" if len(regions) == 1 else f"{len(regions)} regions",
        "lives": names if len(accounts) == 1 else ", ".join(lives),
    }


def choose(value: Any, options: Mapping[str, str]) -> Any:
    """Return the value for these answers: the first alternative that holds, None if none does."""
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return value
    for alternative in value:
        if holds(alternative, options):
            return alternative["is"]
    return None


def holds(table: Mapping[str, Any], options: Mapping[str, str]) -> bool:
    """Return whether the answers are those of a table's `when`; without one they are."""
    return all(options[key] == wanted for key, wanted in table.get("when", {}).items())


class Entry:
    """A table of the source, read for one set of answers."""

    def __init__(self, table: Mapping[str, Any], options: Mapping[str, str]) -> None:
        self.table = table
        self.options = options

    def text(self, key: str) -> str:
        """Return a text with the answers in it; empty where the table has none."""
        return str(choose(self.table.get(key), self.options) or "").format_map(self.options)

    def numbers(self, key: str) -> list[int]:
        """Return coordinates; none where the table has none."""
        return list(choose(self.table.get(key), self.options) or [])

    def number(self, key: str) -> int:
        """Return one coordinate; 0 where the table has none."""
        return int(choose(self.table.get(key), self.options) or 0)


@functools.cache
def tables() -> dict[str, Any]:
    """Return the source of every picture."""
    return tomllib.loads((HERE / "architecture.toml").read_text(encoding="utf-8"))


def load(answers: Mapping[str, Any], code: str = "..", document: str = f"{NAME}.md") -> Diagram:
    """Return the diagram for these answers. `code` and `document`: see Diagram.

    Raises KeyError for an answer that the source asks for and nobody gave.
    """
    options = options_of(answers)
    source = tables()
    groups = [group_of(Entry(table, options)) for table in source["group"]]
    components = [component_of(Entry(table, options)) for table in source["component"]]
    boxes = {box.id: box for box in groups + components if box is not None}
    connections = [connection_of(Entry(table, options), boxes) for table in source["connection"]]
    words = Entry(source, options)
    return Diagram(
        title=words.text("title"),
        description=words.text("description"),
        hint=words.text("hint"),
        credit=words.text("credit"),
        boxes=tuple(boxes.values()),
        connections=tuple(connection for connection in connections if connection is not None),
        repository=options["github_repository"],
        code=code,
        document=document,
    )


def group_of(entry: Entry) -> Box | None:
    """Return the group of a table, None when it has no place."""
    box = entry.numbers("box")
    if not box:
        return None
    x, y, width, height = box
    return Box(
        id=entry.text("id"),
        name=entry.text("name"),
        x=x,
        y=y,
        width=width,
        height=height,
        parent=entry.text("parent"),
        kind=entry.text("kind"),
        note=entry.text("aside"),
        code=entry.text("code"),
        row=entry.text("id") if entry.table.get("component") else "",
    )


def component_of(entry: Entry) -> Box | None:
    """Return the component of a table, None when it has no place."""
    at = entry.numbers("at")
    if not at:
        return None
    width, height = entry.numbers("size") or [220, 84]
    name = entry.text("name")
    return Box(
        id=entry.text("id"),
        name=name,
        x=at[0],
        y=at[1],
        width=width,
        height=height,
        parent=entry.text("group"),
        kind="component",
        lines=tuple((entry.text("title") or name).split("\n")),
        note=entry.text("note"),
        icon=entry.text("icon"),
        shape=entry.text("shape"),
        color=entry.text("color") or "general",
        code=entry.text("code"),
        row=entry.text("row") or entry.text("id"),
    )


def connection_of(entry: Entry, boxes: Mapping[str, Box]) -> Connection | None:
    """Return the connection of a table, None when it is not drawn."""
    source, target = boxes.get(entry.text("from")), boxes.get(entry.text("to"))
    if source is None or target is None or not holds(entry.table, entry.options):
        return None
    x, y = entry.numbers("label_at")
    exit_, enter = entry.text("exit").split(), entry.text("enter").split()
    return Connection(
        id=f"{source.id}--{target.id}",
        source=source,
        target=target,
        label=tuple(entry.text("label").split("\n")),
        label_at=(x, y),
        anchor=entry.text("anchor") or "start",
        points=route(port(source, *exit_), port(target, *enter), exit_[0], enter[0], entry.number("via")),
    )


def port(box: Box, side: str, at: str) -> Point:
    """Return the point on a box's edge that "right 388" names."""
    fixed = {"left": box.x, "right": box.right, "top": box.y, "bottom": box.bottom}[side]
    return (fixed, float(at)) if side in ("left", "right") else (float(at), fixed)


def route(start: Point, end: Point, leaves: str, arrives: str, via: float) -> tuple[Point, ...]:
    """Return the corners of a line with right angles only, its ends among them."""
    (x0, y0), (x1, y1) = start, end
    sideways = [side in ("left", "right") for side in (leaves, arrives)]
    match sideways:
        case [True, True]:
            return (start, end) if y0 == y1 else (start, (via, y0), (via, y1), end)
        case [False, False]:
            return (start, end) if x0 == x1 else (start, (x0, via), (x1, via), end)
        case [True, False]:
            return start, (x1, y0), end
        case _:
            return start, (x0, y1), end


# --- SVG

# Light and dark: the picture follows the reader's setting, also as an <img>. Arial and Liberation
# Sans have the same widths, so that text fits on every system.
STYLE = """
svg{--page:#fff;--ink:#16191f;--soft:#4f5966;--card:#fff;--edge:#c3cad2;
--plain:#f5f7f9;--plain-edge:#7d8998;--account:#cd2264;--region:#007f8b;--vpc:#7a3fe0;
--public:#f2f6e8;--public-edge:#557509;--private:#e8f6f7;--private-edge:#007680;
--line:#37424e;--link:#0a5cc2}
@media (prefers-color-scheme:dark){
svg{--page:#0d1117;--ink:#eef2f6;--soft:#aab4bf;--card:#1b222b;--edge:#3f4853;
--plain:#131920;--plain-edge:#8b97a5;--account:#ff7fb0;--region:#3cc7d0;--vpc:#b391ff;
--public:#1a220f;--public-edge:#a3cc4a;--private:#0c2326;--private-edge:#3cc7d0;
--line:#b9c3ce;--link:#79b8ff}
}
text{font-family:Arial,"Liberation Sans",Helvetica,sans-serif;font-size:12.5px;fill:var(--soft)}
.heading{font-size:24px;font-weight:700;fill:var(--ink)}
.name{font-size:14.5px;font-weight:700;fill:var(--ink)}
.path{fill:var(--link)}
.label{fill:var(--ink)}
.page{fill:var(--page)}
.card{fill:var(--card);stroke:var(--edge)}
.group{fill:none;stroke-width:1.25}
.account{stroke:var(--account)}
.region{stroke:var(--region);stroke-dasharray:5 4}
.plain{fill:var(--plain);stroke:var(--plain-edge);stroke-dasharray:5 4}
.vpc{fill:var(--page);stroke:var(--vpc)}
.public{fill:var(--public);stroke:var(--public-edge)}
.private{fill:var(--private);stroke:var(--private-edge)}
.title{font-size:13px;font-weight:700}
.title-account{fill:var(--account)}
.title-region{fill:var(--region)}
.title-plain{fill:var(--ink)}
.title-vpc{fill:var(--vpc)}
.title-public{fill:var(--public-edge)}
.title-private{fill:var(--private-edge)}
.line{fill:none;stroke:var(--line);stroke-width:1.4}
.head{fill:var(--line)}
a:hover .card,a:focus .card{stroke:var(--link);stroke-width:2}
a:hover text,a:focus text{text-decoration:underline}
"""

GROUP_ICONS = {
    "account": "account",
    "region": "region",
    "vpc": "vpc",
    "public": "public-subnet",
    "private": "private-subnet",
}


def number(value: float) -> str:
    """Return a coordinate without a decimal point where it needs none."""
    return f"{value:g}"


def tag(element: str, attributes: Mapping[str, str | float], *content: str) -> str:
    """Return an element; its attributes are escaped, its content is XML already."""
    words = [element]
    for name, value in attributes.items():
        words.append(f'{name}="{escape(value if isinstance(value, str) else number(value))}"')
    opening = " ".join(words)
    return f"<{opening}>{''.join(content)}</{element}>" if content else f"<{opening}/>"


def label(words: str, x: float, y: float, style: str = "", anchor: str = "start") -> str:
    """Return a line of text on the baseline y."""
    attributes: Attributes = {"class": style} if style else {}
    attributes |= {"x": x, "y": y}
    if anchor != "start":
        attributes["text-anchor"] = anchor
    return tag("text", attributes, escape(words))


def to_svg(diagram: Diagram) -> str:
    """Return the picture: one file with nothing outside it; names and paths are relative links."""
    width, height = diagram.size
    head: Attributes = {"id": "head", "viewBox": "0 0 10 10", "refX": 9, "refY": 5}
    head |= {"markerWidth": 7, "markerHeight": 7, "orient": "auto"}
    below = diagram.boxes[0].bottom
    content = [
        tag("title", {"id": "diagram-title"}, escape(diagram.title)),
        tag("desc", {"id": "diagram-description"}, escape(diagram.description)),
        tag("style", {}, STYLE),
        tag(
            "defs",
            {},
            tag("marker", head, tag("path", {"class": "head", "d": "M0 0 10 5 0 10z"})),
            *symbols(diagram),
        ),
        tag("rect", {"class": "page", "width": width, "height": height}),
        label(diagram.title, 16, 44, "heading"),
        *(svg_of(diagram, box) for box in diagram.within("")),
        tag(
            "g",
            {"role": "list", "aria-label": "Connections"},
            *(svg_of_connection(connection) for connection in diagram.connections),
        ),
        label(diagram.hint, 16, below + 28),
        label(diagram.credit, 16, below + 46),
    ]
    attributes: Attributes = {
        "xmlns": SVG,
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
        "role": "graphics-document document",
        "aria-labelledby": "diagram-title",
        "aria-describedby": "diagram-description",
    }
    return tag("svg", attributes, "\n", *(f"{part}\n" for part in content)) + "\n"


def symbols(diagram: Diagram) -> list[str]:
    """Return the icons that the diagram uses, as they stand in icons.svg."""
    used = {box.icon or GROUP_ICONS.get(box.kind, "") for box in diagram.boxes} - {""}
    ET.register_namespace("", SVG)
    root = ET.parse(HERE / "icons.svg").getroot()  # noqa: S314 - a file of this repository
    found = {symbol.get("id"): symbol for symbol in root}
    out = []
    for name in sorted(used):
        symbol = found[name]
        symbol.set("id", f"icon-{name}")
        symbol.tail = "\n"
        out.append(ET.tostring(symbol, encoding="unicode").replace(f' xmlns="{SVG}"', ""))
    return out


def svg_of(diagram: Diagram, box: Box) -> str:
    """Return a box with all that stands in it, in one element with its name."""
    content = content_of_component if box.kind == "component" else content_of_group
    spoken = {"id": box.id, "role": "group", "aria-label": box.name}
    return tag("g", spoken, "\n", *(f"{part}\n" for part in content(diagram, box)))


def content_of_group(diagram: Diagram, box: Box) -> list[str]:
    """Return the frame, the title and the boxes of a group."""
    frame = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    out = [tag("rect", {"class": f"group {box.kind} {box.verdict}".rstrip(), **frame})]
    icon = GROUP_ICONS.get(box.kind)
    if icon:
        out.append(use(icon, box.x, box.y, 22))
    title = label(box.name, box.x + (30 if icon else 10), box.y + 19, f"title title-{box.kind}")
    out.append(tag("a", {"href": f"{diagram.document}#{box.row}"}, title) if box.row else title)
    if box.code:
        out.append(link_to_code(diagram, box.code, box.right - 10, box.y + 19, "end"))
    if box.note or box.found:
        out.append(label(box.note or box.found, box.right - 10, box.y + 19, box.verdict, anchor="end"))
    return [*out, *(svg_of(diagram, child) for child in diagram.within(box.id))]


def content_of_component(diagram: Diagram, box: Box) -> list[str]:
    """Return a card that links to its row, and on it the path that links to the code."""
    frame = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": 6}
    # Lines are 17 high for the name, 16 for the note, 17 for the path or what was found, all in the middle.
    height = 17 * len(box.lines) + 16 + (17 if box.code or box.found else 0)
    y = box.y + (box.height - height) / 2 - 4
    text = []
    for line in box.lines:
        y += 17
        text.append(label(line, box.x + 62, y, "name"))
    y += 16
    text.append(label(box.note, box.x + 62, y))
    if box.found:
        text.append(label(box.found, box.x + 62, y + 17, box.verdict))
    out = [
        tag(
            "a",
            {
                "href": f"{diagram.document}#{box.row}",
                "aria-label": ": ".join(part for part in (" ".join(box.lines), box.note, box.found) if part),
            },
            tag("rect", {"class": f"card {box.verdict}".rstrip(), **frame}),
            use(box.icon, box.x + 10, box.y + 21, 42),
            *text,
        )
    ]
    if box.code:
        out.append(link_to_code(diagram, box.code, box.x + 62, y + 17, "start"))
    return out


def use(icon: str, x: float, y: float, size: float) -> str:
    """Return an icon, which screen readers skip: the name beside it says the same."""
    place = {"x": x, "y": y, "width": size, "height": size}
    return tag("use", {"href": f"#icon-{icon}", **place, "aria-hidden": "true"})


def link_to_code(diagram: Diagram, code: str, x: float, y: float, anchor: str) -> str:
    """Return a link to a file or folder; the text is the folder, which is what people look for."""
    text = label(code.rsplit("/", 1)[0] if "." in Path(code).name else code, x, y, "path", anchor)
    return tag("a", {"href": f"{diagram.code}/{code}", "aria-label": f"Code: {code}"}, text)


def svg_of_connection(connection: Connection) -> str:
    """Return a line, its head and its text."""
    ends = f"{connection.source.name} to {connection.target.name}"
    spoken = f"{ends}: {' '.join(connection.label)}"
    points = " ".join(f"{number(x)} {number(y)}" for x, y in connection.points)
    x, y = connection.label_at
    return tag(
        "g",
        {"id": connection.id, "role": "listitem", "aria-label": spoken},
        tag("path", {"class": "line", "d": f"M{points}", "marker-end": "url(#head)"}),
        *(label(line, x, y + 15 * index, "label", connection.anchor) for index, line in enumerate(connection.label)),
    )


# --- diagrams.net

ALIGN = {"start": "left", "middle": "center", "end": "right"}
COLORS = {
    "compute": "#ED7100",
    "database": "#C925D1",
    "general": "#536278",
    "integration": "#E7157B",
    "network": "#8C4FFF",
    "security": "#DD344C",
    "storage": "#7AA116",
}
# Shapes that are a coloured outline; the others are drawn on a tile of their category's colour.
OUTLINES = {"alert", "email_2", "git_repository", "internet_alt2", "nat_gateway"}

FRAME = "shape=mxgraph.aws4.group;grIcon=mxgraph.aws4."
SUBNET = f"{FRAME}group_security_group;grStroke=0;"
GROUP_STYLES = {
    "account": f"{FRAME}group_account;strokeColor=#CD2264;fontColor=#CD2264;fillColor=none;",
    "region": f"{FRAME}group_region;strokeColor=#00A4A6;fontColor=#147EBA;fillColor=none;dashed=1;",
    "vpc": f"{FRAME}group_vpc2;strokeColor=#8C4FFF;fontColor=#8C4FFF;fillColor=#FFFFFF;",
    "public": f"{SUBNET}strokeColor=#7AA116;fontColor=#248814;fillColor=#F2F6E8;",
    "private": f"{SUBNET}strokeColor=#00A4A6;fontColor=#147EBA;fillColor=#E6F6F7;",
    "plain": "strokeColor=#7D8998;fontColor=#232F3E;fillColor=#F5F7F9;dashed=1;spacingLeft=8;",
}
CONTAINER = "html=1;whiteSpace=wrap;container=1;collapsible=0;recursiveResize=0;align=left;"
GROUP_STYLE = f"{CONTAINER}pointerEvents=0;verticalAlign=top;spacingTop=1;spacingLeft=30;fontSize=13;fontStyle=1;"
CARD_STYLE = (
    f"{CONTAINER}rounded=1;absoluteArcSize=1;arcSize=12;verticalAlign=middle;spacingLeft=58;"
    "fontSize=12;fontColor=#4F5966;fillColor=#FFFFFF;strokeColor=#C3CAD2;"
)
HEADING_STYLE = (
    "text;html=1;align=left;verticalAlign=middle;fillColor=none;strokeColor=none;"
    "fontSize=22;fontStyle=1;fontColor=#16191F;"
)
ICON_STYLE = "html=1;sketch=0;outlineConnect=0;aspect=fixed;connectable=0;"
LINE_STYLE = (
    "html=1;edgeStyle=orthogonalEdgeStyle;rounded=0;endArrow=block;endFill=1;"
    "strokeColor=#37424E;fontColor=#16191F;fontSize=12;labelBackgroundColor=none;"
)


def to_drawio(diagram: Diagram) -> str:
    """Return the editable file: groups contain boxes, boxes their icons; links lead to GitHub."""
    width, height = diagram.size
    file = ET.Element("mxfile", {"host": "app.diagrams.net", "type": "device"})
    page = ET.SubElement(file, "diagram", {"id": NAME, "name": "System architecture"})
    size = {"pageWidth": str(width), "pageHeight": str(height)}
    model = ET.SubElement(page, "mxGraphModel", {"grid": "1", "gridSize": "2", "page": "1", **size})
    root = ET.SubElement(model, "root")
    ET.SubElement(root, "mxCell", {"id": "0"})
    ET.SubElement(root, "mxCell", {"id": "1", "parent": "0"})
    heading = {"id": "title", "label": escape(diagram.title), "name": diagram.title}
    place(ET.SubElement(root, "object", heading), HEADING_STYLE, "1", (12, 16), (width - 28, 40))
    boxes = {box.id: box for box in diagram.boxes}
    for box in diagram.boxes:
        add_box(root, diagram, box, boxes.get(box.parent))
    for connection in diagram.connections:
        add_connection(root, connection)
    ET.indent(file)
    return ET.tostring(file, encoding="unicode") + "\n"


def add_box(root: ET.Element, diagram: Diagram, box: Box, parent: Box | None) -> None:
    """Add a box and, for a component, its icon, both with their links."""
    is_component = box.kind == "component"
    words = escape(box.name)
    if is_component:
        name = "<br>".join(escape(line) for line in box.lines)
        words = f'<b style="font-size: 14px; color: #16191f">{name}</b><br>{escape(box.note)}'
    item = ET.SubElement(root, "object", {"id": box.id, "label": words, "name": box.name})
    blob = f"https://github.com/{diagram.repository}/blob/main"
    if box.row and diagram.repository:
        item.set("link", f"{blob}/docs/{NAME}.md#{box.row}")
    style = CARD_STYLE if is_component else GROUP_STYLE + GROUP_STYLES[box.kind]
    x, y = (box.x - parent.x, box.y - parent.y) if parent else (box.x, box.y)
    place(item, style, box.parent or "1", (x, y), (box.width, box.height))
    if is_component:
        icon = {"id": f"{box.id}-icon", "label": "", "name": f"{box.name} (icon)"}
        if box.code and diagram.repository:
            icon["link"] = f"{blob}/{box.code}"
        item = ET.SubElement(root, "object", icon)
        place(item, ICON_STYLE + icon_style(box), box.id, (10, 21), (42, 42))


def icon_style(box: Box) -> str:
    """Return the part of an icon's style that names its shape."""
    shape, color = f"mxgraph.aws4.{box.shape}", COLORS[box.color]
    if box.shape in OUTLINES:
        return f"shape={shape};fillColor={color};strokeColor=none;"
    tile = "shape=mxgraph.aws4.resourceIcon"
    return f"{tile};resIcon={shape};fillColor={color};strokeColor=#FFFFFF;"


def place(item: ET.Element, style: str, parent: str, at: Point, size: Point) -> None:
    """Add the cell of an item, relative to the cell it is in."""
    cell = ET.SubElement(item, "mxCell", {"style": style, "vertex": "1", "parent": parent})
    names = ("x", "y", "width", "height")
    numbers = {name: number(value) for name, value in zip(names, at + size, strict=True)}
    ET.SubElement(cell, "mxGeometry", {**numbers, "as": "geometry"})


def add_connection(root: ET.Element, connection: Connection) -> None:
    """Add an edge with the ports and corners of the picture."""
    style = LINE_STYLE
    ends = (("exit", connection.source, 0), ("entry", connection.target, -1))
    for name, box, index in ends:
        x, y = connection.points[index]
        across, down = (x - box.x) / box.width, (y - box.y) / box.height
        style += f"{name}X={across:.4g};{name}Y={down:.4g};{name}Dx=0;{name}Dy=0;"
    cell = {
        "id": connection.id,
        "value": "<br>".join(escape(line) for line in connection.label),
        "style": style + f"align={ALIGN[connection.anchor]};verticalAlign=middle;",
        "edge": "1",
        "parent": "1",
        "source": connection.source.id,
        "target": connection.target.id,
    }
    edge = ET.SubElement(root, "mxCell", cell)
    geometry = ET.SubElement(edge, "mxGeometry", {"relative": "1", "as": "geometry"})
    corners = connection.points[1:-1]
    if corners:
        points = ET.SubElement(geometry, "Array", {"as": "points"})
        for x, y in corners:
            ET.SubElement(points, "mxPoint", {"x": number(x), "y": number(y)})
    # diagrams.net places a text from the middle of its line.
    x, y = middle(connection.points)
    text_y = connection.label_at[1] - 4 + 7.5 * (len(connection.label) - 1)
    offset = {"x": number(connection.label_at[0] - x), "y": number(text_y - y)}
    ET.SubElement(geometry, "mxPoint", {**offset, "as": "offset"})


def middle(points: tuple[Point, ...]) -> Point:
    """Return the point half way along a line of horizontal and vertical parts."""
    parts = list(itertools.pairwise(points))
    rest = sum(abs(x1 - x0) + abs(y1 - y0) for (x0, y0), (x1, y1) in parts) / 2
    for (x0, y0), (x1, y1) in parts:
        length = abs(x1 - x0) + abs(y1 - y0)
        if rest <= length:
            return x0 + (x1 - x0) * rest / length, y0 + (y1 - y0) * rest / length
        rest -= length
    return points[-1]


# --- Files


def draw(answers: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write both files into a folder and return their paths."""
    return write(load(answers), folder)


def write(diagram: Diagram, folder: Path) -> list[Path]:
    """Write both files of a diagram into a folder and return their paths."""
    files = {
        folder / f"{NAME}.svg": to_svg(diagram),
        folder / f"{NAME}.drawio": to_drawio(diagram),
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(files)


def main() -> None:
    """Draw from the project.yaml of this repository."""
    import yaml

    from ops.answers import read

    root = HERE.parents[1]
    try:
        answers = read(root / "project.yaml")
        options_of(answers)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        sys.exit(f"project.yaml can't be read: {error}")
    except (KeyError, TypeError, AttributeError) as error:
        sys.exit(f"project.yaml: a setting is missing or of the wrong kind ({error}): `make doctor` says which")
    for path in draw(answers, root / "docs"):
        sys.stdout.write(f"wrote {path.relative_to(root)}\n")


if __name__ == "__main__":
    main()
