"""project.yaml as it stands, for what runs without Terraform; infra/config has the rules of its settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def read(path: Path) -> Any:
    """What a YAML file says. Raises yaml.YAMLError, also for a key that is there twice, or UnicodeDecodeError."""
    # libyaml's parser, where PyYAML came with it, takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_text(encoding="utf-8"))
    try:
        document = loader.get_single_node()
        if document is None:
            return None
        for mapping in _mappings(document, set()):
            _refuse_repeated(mapping)
        return loader.construct_document(document)
    except (ValueError, RecursionError) as error:
        # 2026-13-01 is no date; nobody needs a thousand lists in each other.
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def _mappings(node: yaml.Node, seen: set[int]) -> Iterator[yaml.MappingNode]:
    """Every mapping in a node, each once: an alias is the node that it stands for."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        yield node
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _mappings(part, seen)


def _refuse_repeated(mapping: yaml.MappingNode) -> None:
    """Raise yaml.YAMLError where a key is there twice: YAML takes the last one in silence."""
    found = set()
    for key, _ in mapping.value:
        name = (key.tag, str(key.value))
        if name in found:
            raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there more than once", key.start_mark)
        found.add(name)
