"""What every ledger must do; each store's own test file runs all of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.errors import StartRefused
from serving.door.key import Quota
from serving.door.ledger import Ledger, Usage, Use

CHARACTERS = Quota(characters=1000)
TOKENS = Quota(tokens=100)
# One more connection to the same store, as another process has it.
OpenAgain = Callable[[], Ledger]


class LedgerContract:
    """Needs the fixtures `again` (OpenAgain) and `run_sql`."""

    def test_a_quota_admits_what_fits_exactly_however_many_ask_at_once(
        self, again: OpenAgain
    ) -> None:
        ledgers = [again() for _ in range(4)]
        with ThreadPoolExecutor(16) as threads:
            asked = [
                threads.submit(ledgers[n % 4].charge, "acme", "2026-11", Use(7), CHARACTERS)
                for n in range(200)
            ]
        assert sum(work.result() for work in asked) == 1000 // 7 == 142
        assert ledgers[0].used("acme", "2026-11") == Use(142 * 7)

    def test_what_is_refused_changes_nothing_and_less_may_still_fit(self, again: OpenAgain) -> None:
        ledger, both = again(), Quota(characters=10, tokens=10)
        assert ledger.charge("a", "p", Use(8, 8), both)
        assert not ledger.charge("a", "p", Use(3, 1), both)
        assert not ledger.charge("a", "p", Use(1, 3), both)
        assert ledger.used("a", "p") == Use(8, 8)
        assert ledger.charge("a", "p", Use(2, 2), both)
        assert not ledger.charge("b", "p", Use(11), both)
        assert ledger.used("b", "p") == Use()

    def test_quotas_are_apart_by_key_and_by_period(self, again: OpenAgain) -> None:
        ledger = again()
        for key, period in (("a", "2026-10"), ("a", "2026-11"), ("b", "2026-11")):
            assert ledger.charge(key, period, Use(1000), CHARACTERS)
            assert not ledger.charge(key, period, Use(1), CHARACTERS)

    def test_a_lowered_quota_of_one_does_not_refuse_the_other(self, again: OpenAgain) -> None:
        ledger = again()
        assert ledger.charge("a", "p", Use(50, 50), Quota(characters=50, tokens=50))
        assert ledger.charge("a", "p", Use(tokens=5), Quota(characters=20, tokens=60))
        assert ledger.charge("a", "p", Use(characters=5), Quota(characters=60, tokens=20))
        assert not ledger.charge("a", "p", Use(1), Quota(characters=20))
        assert not ledger.charge("a", "p", Use(0, 1), Quota(tokens=20))

    def test_a_correction_gives_back_or_adds_beyond_the_quota(self, again: OpenAgain) -> None:
        ledger = again()
        ledger.charge("a", "p", Use(tokens=100), TOKENS)
        ledger.correct("a", "p", Use(tokens=-60))
        assert ledger.charge("a", "p", Use(tokens=60), TOKENS)
        assert not ledger.charge("a", "p", Use(tokens=1), TOKENS)
        ledger.correct("a", "p", Use(3, 5))
        assert ledger.used("a", "p") == Use(3, 105)
        ledger.correct("new", "p", Use(-3, 5))
        assert ledger.used("new", "p") == Use(0, 5)

    def test_what_is_given_back_twice_makes_no_quota_larger(self, again: OpenAgain) -> None:
        ledger = again()
        ledger.charge("a", "p", Use(tokens=10), TOKENS)
        ledger.correct("a", "p", Use(-10, -20))
        assert ledger.used("a", "p") == Use()

    def test_usage_is_summed_by_day_key_and_adapter(self, again: OpenAgain) -> None:
        ledger, other = again(), again()
        ledger.add([Usage("2026-11-22", "b", "en-fr", 1, 10, 3, 4), _usage("2026-11-21", "a")])
        other.add([Usage("2026-11-22", "b", "en-fr", 2, 20, 30, 40), _usage("2026-11-22", "a")])
        other.add([])
        assert ledger.report("2026-11-22", "2026-11-22") == [
            _usage("2026-11-22", "a"),
            Usage("2026-11-22", "b", "en-fr", 3, 30, 33, 44),
        ]
        assert [row.day for row in ledger.report("2026-11-01", "2026-11-30", "a")] == [
            "2026-11-21",
            "2026-11-22",
        ]
        assert ledger.report("2026-11-23", "2026-11-30") == []

    def test_usage_added_at_once_from_everywhere_is_complete(self, again: OpenAgain) -> None:
        ledgers = [again() for _ in range(4)]
        rows = [_usage("2026-11-22", key) for key in "edcba"]
        with ThreadPoolExecutor(8) as threads:
            # In both orders: rows locked in another order would lock each other out.
            done = [threads.submit(ledgers[n % 4].add, rows[:: 1 - 2 * (n % 2)]) for n in range(40)]
        assert [work.result() for work in done] == [None] * 40
        assert [row.requests for row in ledgers[0].report("2026", "2027")] == [40] * 5

    def test_several_may_make_the_tables_at_once(self, again: OpenAgain) -> None:
        ledgers = [again() for _ in range(6)]
        with ThreadPoolExecutor(6) as threads:
            for done in [threads.submit(ledger.check) for ledger in ledgers]:
                done.result()
        assert ledgers[0].used("a", "p") == Use()

    def test_tables_of_a_newer_release_are_refused(
        self, again: OpenAgain, run_sql: Callable[[str], None]
    ) -> None:
        ledger = again()
        ledger.check()
        run_sql("UPDATE dragoman_ledger SET version = 2")
        with pytest.raises(StartRefused, match=r"in version 2 .* knows version 1; use"):
            again().check()

    def test_a_closed_ledger_opens_anew(self, again: OpenAgain) -> None:
        ledger = again()
        ledger.charge("a", "p", Use(5), CHARACTERS)
        ledger.close()
        assert ledger.used("a", "p") == Use(5)


def _usage(day: str, key: str) -> Usage:
    return Usage(day, key, "en-fr", 1, 2, 3, 4)
