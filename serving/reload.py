"""What a reload takes over: keys and limits at once, nothing else; a fault changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adapters.console import note
from adapters.errors import DragomanError
from serving.door.key import Key
from serving.settings import RELOADED, ServingSettings


def newest(
    current: ServingSettings,
    read: Callable[[], ServingSettings],
    *,
    publish: Callable[[ServingSettings], None],
    say: Callable[[str], None] = note,
) -> ServingSettings:
    """Return the settings in force from now on, once `publish` has told the server.

    `read` raises SettingsInvalid, `publish` OSError: then the current ones stay, and `say` is told
    why.
    """
    try:
        read_now = read()
        after = current.with_reloaded(read_now)
        publish(after)
    except (DragomanError, OSError) as error:
        say(f"not reloaded, the settings from before stay in force:\n{error}")
        return current
    say(f"reloaded: {'; '.join(reloaded(current, after)) or 'nothing has changed'}")
    if waiting := changed(after, read_now):
        say(f"changed, but in force only after a restart: {', '.join(waiting)}")
    return after


def changed(old: ServingSettings, new: ServingSettings) -> list[str]:
    """Return the names of the settings that differ."""
    names = ServingSettings.model_fields
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def reloaded(old: ServingSettings, new: ServingSettings) -> Iterator[str]:
    """Yield what differs among what a reload changes, such as `keys shop, web`."""
    names = sorted(RELOADED & {*changed(old, new)})
    for name in names:
        yield f"keys {', '.join(_keys(old.keys, new.keys))}" if name == "keys" else name


def _keys(old: Sequence[Key], new: Sequence[Key]) -> Iterator[str]:
    before = {key.name: key for key in old}
    after = {key.name: key for key in new}
    yield from (name for name, key in after.items() if key != before.get(name))
    yield from (f"{name} (gone)" for name in before if name not in after)
