from __future__ import annotations

import pytest

from training.clean.placeholders import placeholders


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%s of %d, %(name)s, %1$s, %.2f", ["%(name)s", "%.2f", "%1$s", "%d", "%s"]),
        ("%1 of %2", ["%1", "%2"]),
        ("{} {0} {name} {{x}} ${y} {n:.1f}", ["${y}", "{0}", "{n:.1f}", "{name}", "{{x}}", "{}"]),
        ('<a href="x">y</a><br/>', ["</a>", "<a>", "<br>"]),
        ("%-10.3f %05d %+d", ["%+d", "%-10.3f", "%05d"]),
        ("100 % of it, 100% sure, %% done", []),
        ("a < b and c > d", []),
        ("{not a placeholder}", []),
    ],
)
def test_placeholders_are_what_must_be_carried_over(text: str, found: list[str]) -> None:
    assert sorted(placeholders(text).elements()) == found


def test_attributes_of_a_tag_may_be_translated() -> None:
    assert placeholders('<a title="Help">') == placeholders('<A title="Aide">')
