from __future__ import annotations

from typing import get_args

from loadtests.bench_methods import METHODS, table


def row(chrf: float, error: float | None = None) -> dict[str, object]:
    return {
        "chrf": chrf, "base_chrf": 30.0, "trainable_parameters": 3797, "size_mb": 7.6,
        "train_s": 61.2, "train_tok_s": 650.0, "peak_rss_gb": 2.7, "served": "directly",
        "conversion_error": error,
    }  # fmt: skip


def test_the_best_method_comes_first_and_tells_what_its_conversion_lost() -> None:
    lines = table({"ia3": row(41.0), "dora": row(55.5, 0.199)}).splitlines()
    assert lines[2].startswith("| dora | 55.5 | +25.5 | 3,797 | 7.6 | 61 | 650 | 2.7 | directly, ")
    assert "error 0.2" in lines[2]
    assert lines[3].startswith("| ia3 | 41.0 | +11.0 |")


def test_every_kind_of_method_has_a_row() -> None:
    from training.methods.config import Method

    members = get_args(get_args(Method)[0])
    kinds = {get_args(member.model_fields["kind"].annotation)[0] for member in members}
    named = {s.partition("method.kind=")[2] for settings in METHODS.values() for s in settings}
    assert kinds - {"lora"} == named - {""}
