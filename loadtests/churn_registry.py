"""A registry that does not stand still: versions are published, promoted, rolled back, deleted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry, Published
from loadtests.churn_ledger import Ledger
from loadtests.random_registry import publish_random

# Answers of random adapters must differ by far more than rounding does, or a swap is not seen.
SCALE: Final = 0.02
VERSIONS: Final = 3


@dataclass(frozen=True)
class Crowd:
    """How many ids there are whose one version stays, and how many whose versions come and go."""

    still: int
    moving: int

    @property
    def names(self) -> list[str]:
        """All ids."""
        return [f"churn{number:03}-en-fr" for number in range(self.still + self.moving)]


class ChurnRegistry:
    """Publishes the crowd, then changes it step by step; notes in the ledger what it did when."""

    def __init__(self, store: FileRegistry, base: str, crowd: Crowd) -> None:
        self._store = store
        self._base = base
        self._crowd = crowd
        self._moving = crowd.names[crowd.still :]
        self.ledger = Ledger()
        self.exact: dict[str, str] = {}  # `id@n` that may be asked for, and its digest
        self.done: Counter[str] = Counter()

    def publish_all(self) -> dict[str, str]:
        """Publish every version there will be; return `id@n` of each by digest."""
        for index, name in enumerate(self._crowd.names):
            for number in range(VERSIONS if name in self._moving else 1):
                self._publish(name, index, number)
        return {digest: ref for ref, digest in self.exact.items()}

    def begin(self) -> None:
        """Take the moving ids back to their first version: the others come and go from now on."""
        for name in self._crowd.names:
            versions = self._store.versions(AdapterId.parse(name))
            self._switch(name, "begin", partial(self._point, versions[0]))
            for version in versions[1:]:
                self._delete(version)
        self.ledger.deleted.clear()
        self.done.clear()

    def steps(self) -> Iterator[Callable[[], None]]:
        """Yield changes for ever; each leaves every name with a version to answer."""
        while True:
            for name in self._moving:
                index = self._crowd.names.index(name)
                for number in (1, 2):
                    yield partial(self._publish, name, index, number)
                    yield partial(self._promote_newest, name)
                for _ in range(2):
                    yield partial(self._roll_back, name)
                    yield partial(self._delete_newest, name)

    def _publish(self, name: str, index: int, number: int) -> None:
        seed = index * VERSIONS + number
        published = publish_random(self._store, self._base, name, seed=seed, scale=SCALE)
        self.exact[f"{name}@{published.manifest.version}"] = published.manifest.digest
        self.done["publish"] += 1

    def _promote_newest(self, name: str) -> None:
        newest = self._store.versions(AdapterId.parse(name))[-1]
        self._switch(name, "promote", partial(self._point, newest))

    def _roll_back(self, name: str) -> None:
        self._switch(name, "rollback", partial(self._store.rollback, AdapterId.parse(name)))

    def _delete_newest(self, name: str) -> None:
        newest = self._store.versions(AdapterId.parse(name))[-1]
        stable = self._store.resolve(AdapterRef.parse(name))
        if newest.manifest.digest != stable.manifest.digest:
            self._delete(newest)
            self.done["delete"] += 1

    def _point(self, version: Published) -> Published:
        self._store.set_alias(version.manifest.id, "stable", version.manifest.version)
        return version

    def _switch(self, name: str, kind: str, change: Callable[[], Published]) -> None:
        begun = time.perf_counter()
        version = change()
        self.ledger.switched(name, version.manifest.digest, (begun, time.perf_counter()))
        self.done[kind] += 1

    def _delete(self, version: Published) -> None:
        self.exact.pop(f"{version.manifest.id}@{version.manifest.version}", None)
        self.ledger.deleted[version.manifest.digest] = time.perf_counter()
        self._store.remove(version.manifest.id, version.manifest.version)
