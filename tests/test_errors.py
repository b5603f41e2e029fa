from __future__ import annotations

import inspect
import re

from adapters import errors
from adapters.errors import DragomanError


def classes() -> dict[str, type[DragomanError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: c for name, c in found if issubclass(c, DragomanError)}


def drawn() -> dict[str, str | None]:
    """Return each class of the docstring's tree with its parent."""
    parents: dict[str, str | None] = {}
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(?P<indent>(?:│   |    )*(?:[├└]── )?)(?P<name>[A-Z]\w+)(?:  |$)", line)
        if match is None:
            continue
        depth = len(match["indent"]) // 4
        del stack[depth:]
        parents[match["name"]] = stack[-1] if stack else None
        stack.append(match["name"])
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    real = {
        name: None if c is DragomanError else c.__mro__[1].__name__ for name, c in classes().items()
    }
    assert drawn() == real


def test_every_error_of_the_project_stands_in_this_file() -> None:
    assert all(c.__module__ == errors.__name__ for c in classes().values())


def test_every_error_has_a_code_of_its_own_and_says_what_it_is() -> None:
    codes = [c.code for c in classes().values()]
    assert len(set(codes)) == len(codes)
    for c in classes().values():
        assert "code" in vars(c), f"{c.__name__} inherits its code"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", c.code)
        assert c.__doc__
        assert 400 <= c.http_status < 600
