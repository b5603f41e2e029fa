"""The rules beside this file as a PrometheusRule, for clusters with the operator.

    python deploy/prometheus/build.py

A test holds components/prometheus-operator/rules.yaml equal to what this writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
OUT: Final = HERE.parent / "kustomize/components/prometheus-operator/rules.yaml"
_HEAD: Final = """\
# Made by deploy/prometheus/build.py from the rules there: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: dragoman
  labels:
    app.kubernetes.io/name: dragoman
spec:
  groups:
"""


def manifest() -> str:
    """Return the PrometheusRule; the rules' own comments stay with them."""
    text = _HEAD
    for name in ("recording.yaml", "alerts.yaml"):
        before, _, groups = (HERE / name).read_text(encoding="utf-8").partition("groups:\n")
        comment = "".join(f"    {line}\n" for line in before.splitlines())
        text += comment + "".join(f"  {line}\n" for line in groups.splitlines())
    return text


if __name__ == "__main__":
    OUT.write_text(manifest(), encoding="utf-8")
