"""Every setting of `dragoman serve`, out of the code that reads it: docs/configuration.md.

python -m serving.configuration_reference > docs/configuration.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Final

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from adapters import reference_page
from adapters.reference_page import Table, default_of, values_of
from serving.cli import serve
from serving.settings import RELOADED, ServingSettings
from serving.settings_sources import flag_of, variable_of

EXAMPLE: Final = """\
base: gemma3-270m
registry: /srv/registry
host: 0.0.0.0
port: 8000
max_loras: 8
max_cpu_loras: 64
adapters:
  shop-en-fr: {weight: 2, pinned: true}
  k8s-en-zh: {priority: 1}
keys:
  - name: shop
    hash: sha256:abd904e291c493f0942b578e0486d037b330dee59a4ab592cf6166f85a193356
    adapters: ["shop-*"]
    quota: {characters: 5000000, per: month}
    requests_per_minute: 600
    concurrency: 32
  - name: nightly
    hash: sha256:27f3bbcd4c57acaafcc80acf8d184232d7a96875d1288cc9050741dd4105ac3c
    priority: bulk
    admin: true
limits:
  segments: 50
  deadline_s: 60
usage: /var/lib/dragoman/usage.sqlite
log: json
shutdown_timeout_s: 45
"""

_HEAD: Final = """\
# Settings of the server

Made by `python -m serving.configuration_reference`. `dragoman serve --config serving.yaml` reads a
YAML file of these settings. Each can be given in four ways; of two, the later one wins, as a whole
(a `limits` in a variable leaves nothing of the file's):

1. a line of the file, as in the example below;
2. its variable, such as `DRAGOMAN_PORT=8000`; mappings and lists as JSON:
   `DRAGOMAN_LIMITS='{{"segments": 50}}'`. Set to nothing it counts as not set;
3. its variable with `_FILE` behind it: a file that has the value, such as a mounted secret.
   `DRAGOMAN_KEYS_FILE` names a file of YAML or JSON, `DRAGOMAN_USAGE_FILE` one with the URL. It
   stands in the place of the variable; both at once are a fault;
4. its flag, if it has one.

Everything is strict: an unknown or misspelt name, one given twice, a number in quotes, or a value
out of range keeps the server from starting, and all faults are told at once, each with its line.
YAML is read as in version 1.2 (`no` and `on` are text).

```sh
dragoman serve --check --config serving.yaml
```

starts nothing. It prints what would be served, or every fault (exit 2), with `--json` as JSON. It
looks for the base model, reads the registry and sees whether the usage file can be written; it does
not look whether the port is free, and of a PostgreSQL it only reads the URL. No secret is shown.

## Keys

```sh
dragoman keys new shop --adapters 'shop-*'
```

prints a new key to stdout, once, and the lines for `keys` to stderr. They hold its hash: nobody can
read the key out of the settings. `dragoman keys hash < key.txt` prints the hash of a key that
exists already.

Without keys the server answers this machine only. To listen on another `host` than 127.0.0.1 it
needs `keys`, or `trust_network: true` where something in front of it says who may call. That holds
for a `--host` after `--` as well. [security.md](security.md) says what a key opens.

## While it runs

`kill -HUP` of `dragoman serve` reads the same sources again and puts {reloaded} in force within a
second; running requests are not touched. With any fault it says all of them, and nothing changes.
Of other settings that have changed it says that they need a restart. A server that was started from
a terminal and has lost it ends at SIGHUP, as programs do; under `nohup` it ignores SIGHUP.

In the processes of the engine, keys, limits and the usage URL stand in no environment: they are in
a file of mode 0600, in a folder that goes with the server.

## Example

```yaml
{example}```
"""


def main() -> int:
    """Print the page."""
    sys.stdout.write(page())
    return 0


def page() -> str:
    """Return the whole page as Markdown."""
    *others, last = (f"`{name}`" for name in sorted(RELOADED))
    head = _HEAD.format(example=EXAMPLE, reloaded=f"{', '.join(others)} and {last}")
    parts = reference_page.sections(ServingSettings, "serving.yaml", item="[]")
    return reference_page.page(head, parts, [_SETTINGS, _KEYS])


def _setting_cells(name: str, info: FieldInfo) -> tuple[str, ...]:
    flag = f"`{flag_of(name)}`" if name in inspect.signature(serve).parameters else ""
    variable = f"`{variable_of(name)}`"
    return (*_key_cells(name, info)[:3], variable, flag, info.description or "")


def _key_cells(name: str, info: FieldInfo) -> tuple[str, ...]:
    bounds = " and ".join(_bounds(info))
    values = values_of(info) + (f", {bounds}" if bounds else "")
    return f"`{name}`", values, default_of(info), info.description or ""


def _bounds(info: FieldInfo) -> Iterator[str]:
    for bound in info.metadata:
        match bound:
            case Ge(ge=limit):
                yield f"at least {limit:.15g}"
            case Gt(gt=limit):
                yield f"above {limit:.15g}"
            case Le(le=limit):
                yield f"at most {limit:.15g}"
            case Lt(lt=limit):
                yield f"below {limit:.15g}"


_SETTINGS: Final = Table(("setting", "values", "default", "variable", "flag", ""), _setting_cells)
_KEYS: Final = Table(("key", "values", "default", ""), _key_cells)


if __name__ == "__main__":
    sys.exit(main())
