"""Files that are made from others are what would be made of them now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy.promql import panels
from tests.deploy.rendered import ROOT


def script(path: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_dashboards_are_what_their_script_writes() -> None:
    files = script("deploy/dashboards/build.py").files()
    assert {*files} == {*(ROOT / "deploy" / "dashboards").glob("*.json")}
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, "python deploy/dashboards/build.py"


def test_the_operator_has_the_same_rules() -> None:
    made = script("deploy/prometheus/build.py")
    assert made.OUT.read_text(encoding="utf-8") == made.manifest(), "run deploy/prometheus/build.py"


def test_every_dashboard_has_panels() -> None:
    assert {"fleet.json", "adapter.json", "training.json"} <= {
        expression.where.partition(":")[0] for expression in panels()
    }
