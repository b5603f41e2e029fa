from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from adapters.errors import Overloaded
from serving.door.backlog import Backlog, Job
from serving.door.caller import Caller
from serving.door.demand import Demand
from serving.door.key import Key, hash_of
from serving.door.overload import Overload
from serving.door.returns import Returns
from serving.door.speed import Speed

SEATS = 8
TOKENS = 20  # of each answer
PER_S = 100.0  # tokens, of a full engine
ONE = Demand(model="m", characters=1, most_tokens=TOKENS)


def caller(name: str, weight: float = 1.0) -> Caller:
    return Caller(name, Key(name=name, hash=hash_of(name), weight=weight))


@dataclass
class Engine:
    """A door, and behind it an engine that shares its speed between all that is in it."""

    most_s: float = 4.0
    now: float = 0.0
    left: dict[Job, tuple[float, float]] = field(default_factory=dict)  # tokens, since
    took_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speed = Speed(clock=lambda: self.now)
        backlog = Backlog(self.speed, SEATS, clock=lambda: self.now)
        self.door = Overload(backlog, Returns(clock=lambda: self.now))

    def ask(self, who: Caller, raw: bytes, demand: Demand = ONE) -> Job:
        job = self.door.let_in(who, demand, raw, most_s=self.most_s)
        self.left[job] = (float(demand.answers * TOKENS), self.now)
        return job

    def step(self, seconds: float = 0.05) -> None:
        """Let the engine run: callers have the seats by turns, as its scheduler gives them."""
        self.now += seconds
        ahead: Counter[str] = Counter()
        turns = {}
        for job in self.left:
            turns[job] = ahead[job.caller]
            ahead[job.caller] += 1
        seated = sorted(self.left, key=lambda job: turns[job])[:SEATS]
        made = PER_S * seconds * len(seated) / SEATS
        for job in seated:
            tokens, since = self.left[job]
            self.left[job] = (tokens - made / len(seated), since)
            if self.left[job][0] <= 0:
                del self.left[job]
                self.took_s.append(self.now - since)
                self.door.backlog.end(job, completion_tokens=TOKENS)
        self.speed.note(round(made), len(seated))


def warmed() -> Engine:
    """Return an engine whose speed is known, with nothing in it."""
    engine = Engine()
    for n in range(SEATS):
        engine.ask(caller("first"), f"{n}".encode())
    while engine.left:
        engine.step()
    engine.took_s.clear()
    return engine


def run(engine: Engine, seconds: float, arrive: Callable[[], None]) -> None:
    until = engine.now + seconds
    while engine.now < until:
        arrive()
        engine.step()


def test_twice_the_load_is_answered_in_time_as_far_as_it_is_let_in() -> None:
    engine, chance = warmed(), random.Random(0)
    told: list[float] = []

    def arrive() -> None:
        # 10 a second, of which the engine does 5; nobody comes back.
        if chance.random() < 0.5:
            try:
                engine.ask(caller("web"), chance.randbytes(8))
            except Overloaded as error:
                told.append(error.retry_after_s)

    run(engine, 120.0, arrive)
    took = sorted(engine.took_s)
    # What was taken on is done within the limit, and the engine was never idle.
    assert took[int(0.95 * len(took))] <= engine.most_s
    assert len(took) >= 0.95 * 120 * PER_S / TOKENS
    assert 400 < len(told) < 800
    # There is room as soon as one is done: every 0.2 s.
    assert sorted(told)[len(told) // 2] <= 0.4


def test_those_who_come_back_as_told_are_let_in() -> None:
    engine = warmed()
    waits: dict[bytes, list[float]] = {}
    due: dict[bytes, float] = {}
    first_told: dict[bytes, float] = {}
    let_in: dict[bytes, float] = {}

    def ask(raw: bytes) -> None:
        try:
            engine.ask(caller("web"), raw)
            let_in[raw] = engine.now
            due.pop(raw, None)
        except Overloaded as error:
            waits.setdefault(raw, []).append(error.retry_after_s)
            first_told.setdefault(raw, engine.now)
            due[raw] = engine.now + error.retry_after_s

    def arrive() -> None:
        for raw in [raw for raw, at in due.items() if at <= engine.now]:
            ask(raw)

    # Some bursts: by then it is known that these clients do come back.
    for burst in range(6):
        for n in range(60):
            ask(f"{burst} {n}".encode())
        run(engine, 30.0, arrive)
    late = [raw for raw in waits if raw.startswith((b"4", b"5"))]
    right = [
        0.5 <= (let_in[raw] - first_told[raw]) / waits[raw][0] <= 2.0
        for raw in late
        if waits[raw][0] > 0.2
    ]
    assert len(right) > 60
    assert sum(right) / len(right) >= 0.9


def test_who_floods_sends_only_itself_away() -> None:
    engine = warmed()
    refused = {"flood": 0, "polite": 0}

    def ask(name: str, raw: bytes) -> None:
        try:
            engine.ask(caller(name), raw)
        except Overloaded:
            refused[name] += 1

    count = itertools.count()

    def arrive() -> None:
        n = next(count)
        for each in range(5):
            ask("flood", f"{n} {each}".encode())
        if n % 10 == 0:  # two a second: less than its half of the engine
            ask("polite", f"{n}".encode())

    run(engine, 60.0, arrive)
    assert refused["polite"] == 0
    assert refused["flood"] > 1000


def test_bulk_is_sent_away_before_interactive() -> None:
    engine = warmed()
    bulk = Caller("batch", Key(name="batch", hash=hash_of("b"), priority="bulk"), "bulk")
    with suppress(Overloaded):
        for n in range(1000):
            engine.ask(bulk, f"{n}".encode())
    engine.ask(caller("web"), b"now")
    with pytest.raises(Overloaded):
        engine.ask(Caller("batch", bulk.key, "bulk"), b"more")


def test_before_anything_is_known_some_seatfuls_are_let_in() -> None:
    engine = Engine()
    for n in range(2 * SEATS):
        engine.ask(caller("web"), f"{n}".encode())
    with pytest.raises(Overloaded) as caught:
        engine.ask(caller("web"), b"one more")
    assert caught.value.retry_after_s > 0


def test_long_answers_fill_the_server_sooner() -> None:
    engine = warmed()
    many = Demand(model="m", answers=20, most_tokens=TOKENS)
    engine.ask(caller("web"), b"1", many)
    with pytest.raises(Overloaded):
        engine.ask(caller("web"), b"2", many)


def test_a_busy_period_leaves_nothing_behind() -> None:
    engine = warmed()
    backlog = engine.door.backlog
    jobs = [engine.ask(caller(str(n)), f"{n}".encode()) for n in range(5)]
    for job in jobs:
        backlog.end(job, completion_tokens=0)
    assert (backlog.answers, backlog.seconds(), backlog.share_of(caller("x"))) == (0, 0.0, 1.0)


def test_nobody_is_told_to_come_back_after_more_than_a_minute() -> None:
    returns = Returns(clock=lambda: 5.0)
    told = [returns.promise(n, room_in_s=500.0, work_s=10.0) for n in range(10)]
    assert max(told) == 60.0


def test_speed_is_learnt_for_each_size_of_batch_and_guessed_in_proportion_beyond() -> None:
    now = 0.0
    speed = Speed(clock=lambda: now)
    assert speed.of(1) is None
    for running, tokens in ((1, 1), (4, 2), (0, 0)):
        for _ in range(100):
            speed.note(tokens, running)
            now += 0.05
    assert speed.of(1) == pytest.approx(20, rel=0.1)
    assert speed.of(4) == pytest.approx(40, rel=0.1)
    assert speed.of(16) == pytest.approx(160, rel=0.1)


def test_a_forecast_that_is_too_short_is_stretched_by_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = warmed()
    count = itertools.count()

    def arrive() -> None:
        with suppress(Overloaded):
            engine.ask(caller("web"), f"{next(count)}".encode())

    run(engine, 20.0, arrive)
    # As if some of each step went to something that the count of tokens does not show.
    monkeypatch.setattr(engine.speed, "of", lambda _: 1.4 * PER_S)
    engine.took_s.clear()
    run(engine, 120.0, arrive)
    late = sorted(engine.took_s[-200:])
    assert 0.6 * engine.most_s < late[100]
    assert late[190] <= 1.1 * engine.most_s
