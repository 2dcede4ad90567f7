"""YAML as people read it: texts of several lines as blocks, nothing written as a reference to something above."""

import re
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Readers take NEL and the Unicode separators for line ends, and lose them in a block: those go in quotes, escaped.
    block = "\n" in text and not re.search("[\r\x85\u2028\u2029\ufeff]", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _represent_text)


def to_yaml(data: Any) -> str:
    """JSON-like data as a YAML document, its keys in the order that they have."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
