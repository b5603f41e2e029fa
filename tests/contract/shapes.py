"""What a class or function of vLLM looks like, without an instance of it."""

from __future__ import annotations

import ast
import inspect
from typing import Any


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def assigned(cls: type) -> set[str]:
    """Return the names that a class or its bases set on `self`, or define."""
    names = set(dir(cls))
    for each in cls.__mro__[:-1]:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(each)))
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
    return names
