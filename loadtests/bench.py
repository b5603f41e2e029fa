"""`make bench`: serving against plain vLLM, training against plain TRL; .bench/*.json.

python -m loadtests.bench            both
python -m loadtests.bench serving    one of them
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from adapters.console import note, print_table
from loadtests.bench_serving import BASE, bench_serving, rows
from loadtests.servers import ServerFailed

OUT = Path(".bench")


def main() -> int:
    """Run the benches that were named; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = ("serving", "training")
    parser.add_argument("which", nargs="*", default=[*choices], help=f"of {', '.join(choices)}")
    which = parser.parse_args().which
    if unknown := sorted({*which} - {*choices}):
        parser.error(f"unknown bench {', '.join(unknown)}; choose from {', '.join(choices)}")
    OUT.mkdir(exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "dragoman", "base", "fetch", BASE], check=True)
        if "serving" in which:
            figures = bench_serving(OUT / "serving.json")
            print_table(
                ("adapters", "streams", "dragoman tok/s", "plain vLLM tok/s", "ratio"),
                rows(figures),
                title="Serving, 32 generated tokens a stream",
            )
        if "training" in which:
            subprocess.run([sys.executable, "-m", "loadtests.bench_training"], check=True)
    except (subprocess.CalledProcessError, ServerFailed) as error:
        note(f"the bench stopped: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
