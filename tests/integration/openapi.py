"""Write vLLM's OpenAPI schema, reduced to the routes that we list, to the file that is named.

A script: importing vLLM changes the environment, which servers of later tests would inherit.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(target: str) -> None:
    """Write it."""
    from serving.launch import PLUGINS

    os.environ["VLLM_PLUGINS"] = ",".join(PLUGINS)
    schema = application().openapi()
    schema["paths"] = listed(schema["paths"])
    Path(target).write_text(json.dumps(schema), encoding="utf-8")


def application() -> Any:
    """Return vLLM's application as our command makes it."""
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    from serving.launch import plan
    from serving.settings import ServingSettings

    command = plan(ServingSettings(base="/b/tiny", registry=Path("/r")), Path("/b/tiny")).command
    parser = make_arg_parser(FlexibleArgumentParser())
    return build_app(parser.parse_args(list(command[command.index("-m") + 2 :])), ("generate",))


def listed(paths: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return those of the paths, and of their methods, that the gate lets through."""
    from serving.gate import access_of

    kept = {
        path: {
            method: operation
            for method, operation in methods.items()
            if access_of(method.upper(), path.replace("{", "").replace("}", ""))
        }
        for path, methods in paths.items()
    }
    return {path: methods for path, methods in kept.items() if methods}


if __name__ == "__main__":
    main(sys.argv[1])
