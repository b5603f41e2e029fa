"""Every key of a recipe, out of the code that reads it: docs/recipe-keys.md.

python -m training.recipe_reference > docs/recipe-keys.md
"""

from __future__ import annotations

import sys
from typing import Final

from adapters import reference_page
from training.recipe import Recipe

_HEAD: Final = """\
# Keys of a recipe

Made by `python -m training.recipe_reference`. A recipe is a YAML file of these keys; unknown ones
are errors. `--set section.key=value` changes one for a run.
"""


def main() -> int:
    """Print the page."""
    sys.stdout.write(page())
    return 0


def page() -> str:
    """Return the whole page as Markdown."""
    parts = reference_page.sections(Recipe, "recipe")
    return reference_page.page(_HEAD, parts, [reference_page.KEYS])


if __name__ == "__main__":
    sys.exit(main())
