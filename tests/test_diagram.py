"""The architecture's picture, its editable file, its document and the Terraform say the same, and can be read."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.bakes import Bake, Project
from tests.options import CHOICES, EVERY, MAIN, Options, label, minimal
from tools import diagram, template

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = "docs/system-architecture.svg"
EDITABLE = "docs/system-architecture.drawio"
DOCUMENT = "docs/system-architecture.md"

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom."""

# What the picture depends on; the longest answers stand for all others.
DRAWN = ("database", "feature_flags", "incident_management", "internet_egress", "terraform_state_locks")
LONGEST = {"app_name": "mmmmmmmmmmmmmmmmmmmm", "aws_region": "ap-northeast-99", "aws_account_id": "000000000000"}


def all_answers() -> list[Options]:
    """Every combination of the answers that change the picture."""
    parameters = {name: CHOICES[name] for name in DRAWN} | {"domain_name": ["", "shop.example.com"]}
    parameters |= {name: ["", "yes"] for name in ("jobs", *program().ADDED)}
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]


@cache
def program() -> Any:
    """The drawing program, loaded once."""
    return diagram.program()


def xml(text: str) -> ET.Element:
    """The root of a text that our own program wrote."""
    return ET.fromstring(text)  # noqa: S314 - our own file


def parse(path: Path) -> ET.Element:
    """The root of a file that our own program wrote."""
    return xml(path.read_text(encoding="utf-8"))


def picture(options: Options) -> ET.Element:
    """The SVG for these answers, defaults otherwise."""
    return xml(program().to_svg(program().load(diagram.default_answers() | options)))


# --- Geometry of the SVG, from its elements and nothing else

# Widths of the characters 32 to 126 in thousandths of the font size: Arial's, which Liberation Sans shares.
REGULAR = """
278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278
584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944
667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500
278 556 500 722 500 500 500 334 260 334 584
"""
BOLD = """
278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 333
584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667 944
667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611 389 556
333 611 556 778 556 556 500 389 280 389 584
"""
WIDTHS = {False: [int(width) for width in REGULAR.split()], True: [int(width) for width in BOLD.split()]}


@dataclass(frozen=True)
class Text:
    """A line of text and the room it takes."""

    words: str
    style: str
    room: Rectangle


@dataclass(frozen=True)
class Shapes:
    """What there is to see in a picture."""

    page: Rectangle
    cards: dict[str, Rectangle]
    groups: dict[str, Rectangle]
    icons: list[Rectangle]
    texts: list[Text]
    lines: dict[str, list[tuple[float, float]]]
    parents: dict[str, str]


def rectangle(element: ET.Element) -> Rectangle:
    """The place of a rect or use element."""
    x, y, width, height = (float(element.get(name, "0")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def font(root: ET.Element, style: str) -> tuple[float, bool]:
    """Size and boldness that the picture's style sheet gives a text."""
    sheet = "".join(root.find(f"{SVG}style").itertext())  # type: ignore[union-attr]
    size, bold = 12.5, False
    for name in style.split():
        rule = re.search(rf"^\.{name}\{{(.*)\}}$", sheet, re.MULTILINE)
        if rule:
            found = re.search(r"font-size:([\d.]+)px", rule[1])
            size = float(found[1]) if found else size
            bold = bold or "font-weight:700" in rule[1]
    return size, bold


def text_of(root: ET.Element, element: ET.Element) -> Text:
    """A text element with the room that Arial needs for it."""
    words, style = "".join(element.itertext()), element.get("class", "")
    size, bold = font(root, style)
    width = sum(WIDTHS[bold][ord(character) - 32] if ord(character) < 127 else 737 for character in words) * size / 1000
    x, y = float(element.get("x", "nan")), float(element.get("y", "nan"))
    left = {"start": x, "middle": x - width / 2, "end": x - width}[element.get("text-anchor", "start")]
    # Capitals and descenders of Arial: 0.73 above the baseline, 0.21 below.
    return Text(words, style, (left, y - 0.73 * size, left + width, y + 0.21 * size))


def shapes(root: ET.Element) -> Shapes:
    """Read a picture."""
    found = Shapes((0, 0, float(root.get("width", 0)), float(root.get("height", 0))), {}, {}, [], [], {}, {})

    def walk(element: ET.Element, inside: str) -> None:
        for child in element:
            name, style = child.get("id", inside), child.get("class", "")
            if child.tag == f"{SVG}g" and child.get("role") == "group":
                found.parents[name] = inside
            elif child.tag == f"{SVG}rect" and style == "card":
                found.cards[inside] = rectangle(child)
            elif child.tag == f"{SVG}rect" and style.startswith("group"):
                found.groups[inside] = rectangle(child)
            elif child.tag == f"{SVG}use":
                found.icons.append(rectangle(child))
            elif child.tag == f"{SVG}text":
                found.texts.append(text_of(root, child))
            elif child.tag == f"{SVG}path" and style == "line":
                numbers = [float(number) for number in child.get("d", "").lstrip("M").split()]
                found.lines[inside] = list(zip(numbers[::2], numbers[1::2], strict=True))
            if child.tag not in (f"{SVG}defs", f"{SVG}style"):
                walk(child, name)

    walk(root, "")
    return found


def overlap(first: Rectangle, second: Rectangle, gap: float = 0) -> bool:
    """Whether two rectangles have common ground, or are nearer than the gap."""
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )


def inside(inner: Rectangle, outer: Rectangle, gap: float = 0) -> bool:
    """Whether one rectangle is in another, with a gap all around."""
    return (
        inner[0] >= outer[0] + gap
        and inner[1] >= outer[1] + gap
        and inner[2] <= outer[2] - gap
        and inner[3] <= outer[3] - gap
    )


def parts(line: list[tuple[float, float]]) -> Iterator[Rectangle]:
    """The straight parts of a line as flat rectangles."""
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        assert x0 == x1 or y0 == y1, f"{line} is not made of right angles"
        yield min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def borders(box: Rectangle) -> list[Rectangle]:
    """The four sides of a rectangle as flat rectangles."""
    left, top, right, bottom = box
    return [
        (left, top, right, top),
        (left, bottom, right, bottom),
        (left, top, left, bottom),
        (right, top, right, bottom),
    ]


def unreadable(seen: Shapes) -> list[str]:
    """What an architect would ask to be mended, empty for a picture that is fine."""
    out = []
    boxes = seen.cards | seen.groups
    for name, box in boxes.items():
        parent = seen.parents[name]
        if not inside(box, seen.groups.get(parent, seen.page), 10):
            out.append(f"{name} is not inside {parent or 'the page'}")
    for (one, first), (other, second) in itertools.combinations(boxes.items(), 2):
        if seen.parents[one] == seen.parents[other] and overlap(first, second, 10):
            out.append(f"{one} and {other} touch")
    for text in seen.texts:
        if not inside(text.room, seen.page, 4):
            out.append(f"{text.words!r} leaves the page")
        holders = [name for name, card in seen.cards.items() if overlap(text.room, card)]
        if text.style == "label":
            crossed = [name for name, box in boxes.items() if any(overlap(text.room, side) for side in borders(box))]
            out += [f"{text.words!r} stands on {name}" for name in dict.fromkeys(holders + crossed)]
        elif holders and not inside(text.room, seen.cards[holders[0]], 3):
            out.append(f"{text.words!r} leaves its box {holders[0]}")
        out += [f"{text.words!r} stands on an icon" for icon in seen.icons if overlap(text.room, icon, 3)]
    for one_text, other_text in itertools.combinations(seen.texts, 2):
        if overlap(one_text.room, other_text.room):
            out.append(f"{one_text.words!r} and {other_text.words!r} overlap")
    for name, line in seen.lines.items():
        source, target = name.split("--")
        for part in parts(line):
            for box_name, card in seen.cards.items():
                shrunk = (card[0] + 1, card[1] + 1, card[2] - 1, card[3] - 1)
                if overlap(part, shrunk):
                    out.append(f"the line {name} crosses {box_name}")
            out += [f"the line {name} crosses {text.words!r}" for text in seen.texts if overlap(part, text.room, 1)]
        for end, box_name in ((line[0], source), (line[-1], target)):
            point = (*end, *end)
            if not any(overlap(point, side, 0.01) for side in borders(boxes[box_name])):
                out.append(f"the line {name} does not end at {box_name}")
    for (one, first_line), (other, second_line) in itertools.combinations(seen.lines.items(), 2):
        for first, second in itertools.product(parts(first_line), parts(second_line)):
            if overlap(first, second, 4):
                out.append(f"the lines {one} and {other} cross or touch")
    return out


def test_every_combination_can_be_read() -> None:
    """No browser needed: Arial's widths are known. The answers that can be long are at their longest."""
    found = {}
    for options in all_answers():
        problems = unreadable(shapes(picture(options | LONGEST)))
        if problems:
            found[label(options)] = problems
    assert found == {}


def test_the_reading_of_pictures_finds_what_is_wrong() -> None:
    """Each kind of damage that the test above is for, made on purpose."""
    fine = program().to_svg(program().load(diagram.default_answers()))
    damage = {
        "a box moved": (r'(class="card") x="706" y="498"', r'\1 x="706" y="400"'),
        "a long text": (">ECS tasks on Fargate<", ">ECS tasks on Fargate with all their sidecars<"),
        "a text on a text": (r'x="246" y="174"', r'x="246" y="36"'),
        "a line through a box": (r'd="M816 430 816 498"', r'd="M816 430 816 590"'),
        "a line to nowhere": (r'd="M816 430 816 498"', r'd="M816 430 816 460"'),
        "a crooked group": (r'(class="group vpc" x)="376"', r'\1="330"'),
    }
    assert unreadable(shapes(xml(fine))) == []
    for name, (before, after) in damage.items():
        changed = re.sub(before, after, fine)
        assert changed != fine, name
        assert unreadable(shapes(xml(changed))), name


# --- The SVG as a file


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_the_picture_is_one_small_file_that_asks_nobody(bake: Bake, options: Options) -> None:
    text = (bake(**options).path / PICTURE).read_text(encoding="utf-8")
    root = xml(text)
    assert len(text.encode()) < 200_000
    outside = re.compile(r"https?:|^//|^data:|url\((?!#)|@import|<script|\bon\w+=", re.IGNORECASE)
    values = [value for element in root.iter() for value in element.attrib.values()]
    values += ["".join(element.itertext()) for element in root.iter(f"{SVG}style")]
    assert [value for value in values if outside.search(value)] == []
    assert {element.tag.removeprefix(SVG) for element in root.iter()} & {"image", "script", "foreignObject"} == set()


def test_a_screen_reader_gets_names_in_reading_order(bake: Bake) -> None:
    root = parse(bake().path / PICTURE)
    assert root.get("role") == "graphics-document document"
    for attribute in ("aria-labelledby", "aria-describedby"):
        described = root.find(f".//*[@id='{root.get(attribute)}']")
        assert described is not None
        assert described.text
    groups = [element for element in root.iter(f"{SVG}g") if element.get("role") in ("group", "listitem")]
    assert all(element.get("aria-label") for element in groups)
    order = [element.get("id") for element in groups]
    reading = ["internet", "github", "incident-management-service"]
    outside_aws = [name for name in order if name in reading]
    assert outside_aws == reading
    reading = ["account", "build-repository", "environment", "vpc-network", "application-load-balancer", "service"]
    reading += ["aurora-postgresql-database", "alarms-sns-topic", "internet--application-load-balancer"]
    assert [name for name in order if name in reading] == reading


def luminance(color: str) -> float:
    """Relative luminance of #rgb or #rrggbb: https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    digits = color.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21: https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out_in_light_and_dark() -> None:
    blocks = re.findall(r"svg\{(--[^}]*)\}", program().STYLE)
    assert len(blocks) == 2
    for block in blocks:
        color = dict(re.findall(r"--([\w-]+):(#\w+)", block))
        grounds = ["page", "plain", "public", "private"]
        pairs = [("ink", ground) for ground in [*grounds, "card"]]
        pairs += [("soft", ground) for ground in ["page", "card", "public", "private"]]
        pairs += [("link", "card"), ("link", "page"), ("account", "page"), ("region", "page"), ("vpc", "page")]
        pairs += [("public-edge", "public"), ("private-edge", "private")]
        assert {pair: contrast(*map(color.get, pair)) for pair in pairs if contrast(*map(color.get, pair)) < 4.5} == {}  # type: ignore[arg-type]
        assert all(contrast(color["line"], color[ground]) > 3 for ground in grounds)


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_every_link_leads_to_something_in_the_render(bake: Bake, options: Options) -> None:
    project = bake(**options)
    root = parse(project.path / PICTURE)
    links = [unquote(element.get("href", "")) for element in root.iter(f"{SVG}a")]
    assert broken(project.path / "docs", links) == []
    cards = [element for element in root.iter(f"{SVG}rect") if element.get("class") == "card"]
    assert len(links) >= 2 * len(cards) - 1


def broken(folder: Path, links: list[str]) -> list[str]:
    """The links that lead to no file, or to no anchor in it."""
    out = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = folder / path
        if not target.exists() or (anchor and f'<a id="{anchor}"></a>' not in target.read_text(encoding="utf-8")):
            out.append(link)
    return out


def test_this_repository_shows_the_default_architecture() -> None:
    drawn = program().to_svg(diagram.default_diagram()), program().to_drawio(diagram.default_diagram())
    checked_in = [(template.ROOT / name).read_text(encoding="utf-8") for name in (PICTURE, EDITABLE)]
    assert checked_in == list(drawn), "run `make diagram`"
    links = [unquote(element.get("href", "")) for element in xml(drawn[0]).iter(f"{SVG}a")]
    assert broken(template.ROOT / "docs", links) == []


@pytest.mark.parametrize("options", [{}, minimal(), {"environments": "dev+prod", "domain_name": "shop.example.com"}])
def test_the_project_draws_what_the_template_drew(bake: Bake, tmp_path: Path, options: Options) -> None:
    project = bake.copy(tmp_path / "project", **options)
    before = [(project.path / name).read_bytes() for name in (PICTURE, EDITABLE)]
    for name in (PICTURE, EDITABLE):
        (project.path / name).unlink()
    subprocess.run([sys.executable, "-m", "ops.diagram.draw"], cwd=project.path, check=True, capture_output=True)
    assert [(project.path / name).read_bytes() for name in (PICTURE, EDITABLE)] == before


# --- diagrams.net


@dataclass(frozen=True)
class Cell:
    """A cell of the editable file at its place on the page."""

    name: str
    box: Rectangle
    style: str
    link: str


def cells(root: ET.Element) -> dict[str, Cell]:
    """The cells that are boxes or icons."""
    items = {item.get("id", ""): item for item in root.iter("object")}

    def at(item: ET.Element) -> Rectangle:
        cell = item.find("mxCell")
        assert cell is not None
        geometry = cell.find("mxGeometry")
        assert geometry is not None
        x, y, right, bottom = rectangle(geometry)
        parent = cell.get("parent", "")
        if parent in items:
            left, top, _, _ = at(items[parent])
            return x + left, y + top, right + left, bottom + top
        assert parent == "1"
        return x, y, right, bottom

    return {
        name: Cell(item.get("name", ""), at(item), item[0].get("style", ""), item.get("link", ""))
        for name, item in items.items()
    }


def shape_names() -> set[str]:
    """The shapes that diagrams.net has."""
    lines = Path(__file__).with_name("aws4_shapes.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("options", EVERY, ids=label)
def test_the_editable_file_has_the_boxes_of_the_picture(bake: Bake, options: Options) -> None:
    project = bake(**options)
    seen = shapes(parse(project.path / PICTURE))
    root = parse(project.path / EDITABLE)
    assert root.tag == "mxfile"
    boxes = {name: cell for name, cell in cells(root).items() if name != "title" and not name.endswith("-icon")}
    assert {name: cell.box for name, cell in boxes.items()} == seen.cards | seen.groups
    named = parse(project.path / PICTURE).iter(f"{SVG}g")
    assert {name: cell.name for name, cell in boxes.items()} == {
        element.get("id"): element.get("aria-label") for element in named if element.get("role") == "group"
    }
    edges = {cell.get("id", ""): cell for cell in root.iter("mxCell") if cell.get("edge")}
    assert edges.keys() == seen.lines.keys()
    for name, edge in edges.items():
        assert [edge.get("source"), edge.get("target")] == name.split("--")
        corners = [(float(point.get("x", 0)), float(point.get("y", 0))) for point in edge.iterfind(".//Array/mxPoint")]
        assert corners == seen.lines[name][1:-1]
        ports = dict(part.split("=") for part in edge.get("style", "").split(";") if "=" in part)
        for end, prefix in ((0, "exit"), (-1, "entry")):
            left, top, right, bottom = boxes[name.split("--")[end]].box
            x = left + float(ports[f"{prefix}X"]) * (right - left)
            y = top + float(ports[f"{prefix}Y"]) * (bottom - top)
            assert (x, y) == pytest.approx(seen.lines[name][end], abs=0.5)


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_the_editable_file_uses_shapes_that_exist(bake: Bake, options: Options) -> None:
    project = bake(**options)
    found = cells(parse(project.path / EDITABLE))
    used = {name for cell in found.values() for name in re.findall(r"mxgraph\.aws4\.(\w+)", cell.style)}
    assert used - shape_names() == set()
    assert {"group", "resourceIcon", "fargate"} <= used
    repository = f"https://github.com/{project.settings['github_repository']}/blob/main/"
    links = [cell.link for cell in found.values() if cell.link]
    assert links
    assert all(link.startswith(repository) for link in links)
    assert broken(project.path, [link.removeprefix(repository) for link in links]) == []


# --- The picture, the document and the Terraform


@cache
def source() -> dict[str, Any]:
    """The source of every picture."""
    return tomllib.loads((diagram.SOURCE / "architecture.toml").read_text(encoding="utf-8"))


@cache
def entries() -> dict[str, dict[str, Any]]:
    """Its groups and components by name."""
    return {entry["id"]: entry for entry in source()["group"] + source()["component"]}


def resources(project: Project) -> dict[str, dict[str, str]]:
    """The managed resources of each layer: their addresses (type.name) and what is in their blocks."""
    out: dict[str, dict[str, str]] = {}
    for name, path in project.files.items():
        match = re.fullmatch(r"(infra/(?!modules/|config/)[\w-]+|infra/modules/[\w-]+)/[\w.-]+\.tf", name)
        if match:
            text = path.read_text(encoding="utf-8")
            found = re.findall(r'^resource "(\w+)" "(\w+)" \{(.*?)^\}', text, re.MULTILINE | re.DOTALL)
            out.setdefault(match[1], {}).update({f"{kind}.{called}": block for kind, called, block in found})
    return out


def claims(claim: str, address: str) -> bool:
    """Whether "type" or "type.name" of the source means a resource."""
    return address == claim or address.split(".")[0] == claim


def drawn(project: Project) -> set[str]:
    """The names of the boxes in a render's picture."""
    seen = shapes(parse(project.path / PICTURE))
    return seen.cards.keys() | seen.groups.keys()


def missing_components(project: Project) -> list[str]:
    """What the picture shows and the Terraform does not make."""
    layers, boxes = resources(project), drawn(project)
    return [
        f"{name}: {layer} has no {claim}"
        for name, entry in entries().items()
        if name in boxes
        for layer, claimed in entry.get("resources", {}).items()
        for claim in claimed
        if not any(claims(claim, address) for address in layers.get(layer, {}))
    ]


def unknown_resources(project: Project) -> list[str]:
    """What the Terraform makes and no component of the source is.

    A resource of a component that is not in the picture must be made for an answer only: `count` or `for_each`.
    """
    boxes, supporting = drawn(project), source()["supporting"]
    out = []
    for layer, blocks in resources(project).items():
        owners = [
            (name, claim) for name, entry in entries().items() for claim in entry.get("resources", {}).get(layer, [])
        ]
        for address, block in sorted(blocks.items()):
            found = {name for name, claim in owners if claims(claim, address)}
            conditional = re.search(r"^  (count|for_each) ", block, re.MULTILINE)
            known = found & boxes or (found and conditional) or address.split(".")[0] in supporting
            if not known and not address.startswith(RULES):
                out.append(f"{layer}: {address}: add it to a component's `resources` or to [supporting]")
    return out


RULES = ("aws_vpc_security_group_ingress_rule.", "aws_vpc_security_group_egress_rule.")


def wrong_lines(project: Project) -> list[str]:
    """Lines that no security group lets through on their port, and rules that let through what no line shows."""
    layers = resources(project)
    lines = shapes(parse(project.path / PICTURE)).lines
    named, out = set(), []
    for entry in source()["connection"]:
        name = f"{entry['from']}--{entry['to']}"
        for layer, addresses in entry.get("rules", {}).items():
            named |= {(layer, address) for address in addresses}
            for address in addresses if name in lines else []:
                block, ports = layers.get(layer, {}).get(address), label_ports(entry)
                if block is None:
                    out.append(f"{name}: {layer} has no {address}")
                elif ports and not port_of(block) & ports:
                    out.append(f"{name}: {address} is for the port {port_of(block)}, not {ports}")
    made = {(layer, address) for layer, blocks in layers.items() for address in blocks if address.startswith(RULES)}
    return out + [f"{layer}: {address} is in no connection's `rules`" for layer, address in sorted(made - named)]


@pytest.mark.parametrize("options", MAIN, ids=label)
def test_picture_and_terraform_agree(bake: Bake, options: Options) -> None:
    project = bake(**options)
    assert missing_components(project) == []
    assert unknown_resources(project) == [], f"see {diagram.SOURCE / 'architecture.toml'}"
    assert wrong_lines(project) == []


def test_what_a_setting_adds_has_its_box_and_its_terraform(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project")
    file, before = project.path / "project.yaml", drawn(project)
    text = file.read_text(encoding="utf-8")
    text = text.replace("\nworkers: {}\n", "\nworkers: { example: { command: [x] } }\n").replace(
        "\nstorage: 'none'", "\nstorage: 's3'"
    )
    file.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ops.diagram.draw"], cwd=project.path, check=True, capture_output=True)
    assert drawn(project) - before == set(program().ADDED)
    assert missing_components(project) == []
    assert unknown_resources(project) == []
    assert wrong_lines(project) == []


@pytest.mark.parametrize("options", [{}, minimal()])
def test_accounts_are_drawn_as_they_are_declared(bake: Bake, tmp_path: Path, options: Options) -> None:
    project = bake.copy(tmp_path / "project", **options)
    file = project.path / "project.yaml"
    text = file.read_text(encoding="utf-8")
    account = "\\1    aws_account_id: '210987654321'\n    aws_region: ap-southeast-1\n"
    file.write_text(re.sub(r"(?m)^(  prod:\n)", account, text), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ops.diagram.draw"], cwd=project.path, check=True, capture_output=True)
    root = parse(project.path / PICTURE)
    said = " ".join(root.itertext())
    where = "" if options else "dev, staging (…9012), "
    assert f"Each environment: {where}prod (…4321)" in said
    assert "2 AWS accounts" in said
    assert "2 regions" in said
    assert unreadable(shapes(root)) == []


SABOTAGE = [
    ("service/load-balancer.tf", r'"aws_lb" "service"', '"aws_alb" "service"', "has no aws_lb"),
    ("service/main.tf", r"\Z", 'resource "aws_sqs_queue" "jobs" {\n}\n', "aws_sqs_queue.jobs"),
    ("network/main.tf", r"\Z", 'resource "aws_s3_bucket" "more" {\n}\n', "aws_s3_bucket.more"),
    ("service/security-groups.tf", r'rule" "service_to_database"', 'rule" "service_to_all"', "has no"),
    ("service/security-groups.tf", r"5432", "5433", "not {'5432'}"),
    ("service/security-groups.tf", r"\Z", f'resource "{RULES[0][:-1]}" "ssh" {{\n}}\n', "in no connection"),
]


@pytest.mark.parametrize(("file", "before", "after", "finding"), SABOTAGE)
def test_disagreement_is_found(bake: Bake, tmp_path: Path, file: str, before: str, after: str, finding: str) -> None:
    path = bake.copy(tmp_path / "project").path / "infra" / file
    path.write_text(re.sub(before, after, path.read_text(encoding="utf-8")), encoding="utf-8")
    project = Project(tmp_path / "project", {})
    found = missing_components(project) + unknown_resources(project) + wrong_lines(project)
    assert any(finding in problem for problem in found), found


def label_ports(entry: dict[str, Any]) -> set[str]:
    """The ports that a connection's texts name, whatever the answers."""
    text = entry["label"] if isinstance(entry["label"], str) else " ".join(item["is"] for item in entry["label"])
    return set(re.findall(r"\b\d{2,5}\b", text))


def port_of(block: str) -> set[str]:
    """The port of a security group rule."""
    return {
        "8000" if port == "local.container_port" else port
        for port in re.findall(r"^  (?:from|to)_port += (\S+)$", block, re.MULTILINE)
    }


def test_what_supports_is_used(bake: Bake) -> None:
    used = {address.split(".")[0] for blocks in resources(bake()).values() for address in blocks}
    assert source()["supporting"].keys() - used == set()


FIFTEEN = """Access logs; Alarms SNS topic; Application Load Balancer; Aurora PostgreSQL database; Build repository;
CloudWatch alarms; Database role manager; Feature flags; GitHub; Incident management service; Service;
Terraform backend bucket; Terraform locks DynamoDB table; VPC endpoints; VPC network"""


@pytest.mark.parametrize("options", EVERY, ids=label)
def test_the_document_has_a_row_for_each_component_and_no_other(bake: Bake, options: Options) -> None:
    project = bake(**options)
    text = (project.path / DOCUMENT).read_text(encoding="utf-8")
    rows = re.findall(r'^\| <a id="([\w-]+)"></a>\*\*(.+?)\*\* \|(.+)\|$', text, re.MULTILINE)
    boxes = drawn(project)
    names = {name: entry["name"] for name, entry in entries().items() if name in boxes}
    with_row = {name for name in names if is_component(entries()[name])}
    assert {anchor: name for anchor, name, _ in rows} == {name: names[name] for name in with_row}
    assert [name for _, name, _ in rows] == sorted((name for _, name, _ in rows), key=str.lower)
    for anchor, _, rest in rows:
        code = entries()[anchor]["code"]
        paths = [target for target in re.findall(r"\]\(\.\./([^)#]+)\)", rest) if (project.path / target).exists()]
        assert code in paths, f"{anchor}: the row does not link {code}"


def is_component(entry: dict[str, Any]) -> bool:
    """Whether an entry of the source is one of the fifteen, with a row of its own."""
    return bool(entry.get("component")) or ("icon" in entry and "row" not in entry)


def test_the_defaults_are_the_fifteen_components(bake: Bake) -> None:
    fifteen = {name.strip() for name in FIFTEEN.split(";")}
    boxes = drawn(bake())
    assert {entry["name"] for name, entry in entries().items() if name in boxes and is_component(entry)} == fifteen


# --- In a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=5000 --dump-dom"""
# Asks the browser where it put each text and box, and whether it shows.
SCRIPT = """
<script>
const out = [];
for (const svg of document.querySelectorAll('svg')) {
  const own = svg.getBoundingClientRect();
  const place = element => {
    const box = element.getBoundingClientRect();
    return [box.left - own.left, box.top - own.top, box.right - own.left, box.bottom - own.top];
  };
  const shows = element => {
    const style = getComputedStyle(element);
    return style.visibility === 'visible' && style.display !== 'none' && style.opacity !== '0';
  };
  out.push({
    page: place(svg),
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    ground: getComputedStyle(svg.querySelector('.page')).fill,
    boxes: [...svg.querySelectorAll('.card, .group')].map(element => ({
      name: element.closest('g').id, box: place(element), shows: shows(element), card: element.matches('.card'),
    })),
    texts: [...svg.querySelectorAll('text')].map(element => ({
      words: element.textContent, box: place(element), shows: shows(element),
      label: element.classList.contains('label'), color: getComputedStyle(element).fill,
    })),
    icons: [...svg.querySelectorAll('use')].map(element => ({ box: place(element), shows: shows(element) })),
  });
}
document.body.innerHTML = '<pre id="out"></pre>';
document.getElementById('out').textContent = JSON.stringify(out);
</script>"""


def ask_browser(folder: Path, pictures: list[str], *, dark: bool) -> list[dict[str, Any]]:
    """What a browser makes of pictures; skips, loudly, where there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        message = f"NOT CHECKED in a browser: none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    page = folder / "page.html"
    page.write_text(f"<!doctype html><body>{''.join(pictures)}{SCRIPT}", encoding="utf-8")
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [browser, *FLAGS.split(), *scheme, f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', printed, re.DOTALL)
    assert found, printed[-2000:]
    loaded: list[dict[str, Any]] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return loaded


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_every_box_and_no_overlap(bake: Bake, tmp_path: Path, dark: bool) -> None:
    sets = [{}, minimal(), {"internet_egress": "nat-gateway", "domain_name": "shop.example.com"}]
    sets += [{"database": "none"}, {"feature_flags": "none"}]
    pictures = [(bake(**options).path / PICTURE).read_text(encoding="utf-8") for options in sets]
    for options, seen in zip(sets, ask_browser(tmp_path, pictures, dark=dark), strict=True):
        assert seen["dark"] is dark
        assert (seen["ground"] == "rgb(255, 255, 255)") is not dark
        everything = seen["boxes"] + seen["texts"] + seen["icons"]
        assert all(item["shows"] and inside(item["box"], seen["page"]) for item in everything), label(options)
        assert all(item["box"][2] > item["box"][0] for item in everything), label(options)
        cards = [item for item in seen["boxes"] if item["card"]]
        for one, other in itertools.combinations(cards, 2):
            assert not overlap(one["box"], other["box"]), (label(options), one["name"], other["name"])
        # A browser's box of a text is as high as its line: a pixel of two lines' ground may be common.
        for one, other in itertools.combinations(seen["texts"], 2):
            assert not overlap(one["box"], other["box"], -3), (label(options), one["words"], other["words"])
        for text in seen["texts"]:
            holders = [card for card in cards if overlap(text["box"], card["box"], -3)]
            assert not (text["label"] and holders), (label(options), text["words"])
            assert all(inside(text["box"], card["box"]) for card in holders), (label(options), text["words"])
