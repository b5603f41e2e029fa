from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from training.encode import Encoded
from training.score.batches import batches

lengths = st.tuples(st.integers(1, 900), st.integers(1, 700))


def rows_of(sizes: list[tuple[int, int]]) -> dict[int, Encoded]:
    return {3 * n: Encoded((7,) * p, (8,) * t) for n, (p, t) in enumerate(sizes)}


@settings(max_examples=50)
@given(st.lists(lengths, max_size=40), st.integers(1, 32))
def test_every_row_is_in_one_batch_that_fits(sizes: list[tuple[int, int]], size: int) -> None:
    rows = rows_of(sizes)
    found = [*batches(rows, size=size)]
    assert sorted(n for batch in found for n in batch) == sorted(rows)
    for batch in found:
        longest = max(len(rows[n].target_ids) for n in batch)
        width = max(len(rows[n]) for n in batch)
        assert len(batch) == 1 or (
            len(batch) <= size and len(batch) * longest <= 512 and len(batch) * width <= 8192
        )


def test_short_rows_share_a_batch_and_the_longest_come_first() -> None:
    rows = rows_of([(5, 2), (5, 500), (6, 3), (4, 1)])
    assert [*batches(rows, size=32)] == [[3], [6, 0, 9]]
