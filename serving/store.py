"""Whether the registry's store is there."""

from __future__ import annotations

from adapters.errors import RegistryError
from adapters.registry import Registry


class StoreWatch:
    """Tells a store that is gone from one that the first publishing has yet to make."""

    def __init__(self, registry: Registry) -> None:
        """Watch the store of `registry`."""
        self._registry = registry
        self._seen = False

    def note_read(self) -> None:
        """Take note that something was read from it."""
        self._seen = True

    def require(self) -> None:
        """Raise RegistryError if the store cannot be read, or is gone; never made, it is empty."""
        try:
            self._registry.probe()
        except RegistryError:
            if self._seen:
                raise
            # Empty until somebody publishes, unless this raises, too.
            self._registry.ids()
        else:
            self._seen = True
