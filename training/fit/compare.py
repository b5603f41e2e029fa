"""Training speed of this fit and of plain TRL on a recipe's own text: one variant a process.

    python -m training.fit.compare dragoman jupyter-en-fr --seconds 30

prints {"tok_s", "peak_rss_gb", "steps"}: non-padding tokens of prompt and target per second of
the steps after the first two. `trl` is TRL at its defaults; `trl_same_settings` has this fit's
precision, batch size, batches of like length, preloaded libraries and no recomputation, so that
what is left of the difference is the loss and the casts.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from adapters.preload import preload_env

VARIANTS: Final = ("dragoman", "trl", "trl_same_settings")
# Enough text for the longest bench; the same segments in the same order for every variant.
_SEGMENTS: Final = 1600


def main() -> int:
    """Run one variant and print its figures."""
    parser = argparse.ArgumentParser(description="Training speed of one variant.")
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("recipe")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    preload = {} if arguments.variant == "trl" else preload_env()
    if preload:
        again = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, again, {**os.environ, **preload})  # noqa: S606 - our own command
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(arguments.variant, arguments.recipe, arguments.seconds, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    json.dump({**figures, "peak_rss_gb": round(peak, 2)}, sys.stdout)
    return 0


def _measure(variant: str, name: str, seconds: float, folder: Path) -> dict[str, float]:
    from adapters.locations import bases_root
    from training.base_models import resolve_base
    from training.fit.run import fit
    from training.prepare import prepare
    from training.recipe import Recipe
    from training.rows import rows_of

    recipe = Recipe.load(name)
    base = resolve_base(recipe.base, root=bases_root())
    schedule = recipe.schedule.model_copy(update={"max_seconds": seconds, "epochs": 100.0})
    rows, _ = rows_of(recipe, base, prepare(recipe).train[:_SEGMENTS])
    if variant == "dragoman":
        result = fit(rows, [], base, recipe.method, schedule, folder)
        return {"tok_s": round(result.tok_s, 1), "steps": result.steps}
    from training.fit.callbacks import WARM_UP_STEPS, Meter, Stop

    class _StopAfterWarmUp(Stop):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step <= WARM_UP_STEPS:  # the first batch is the longest, and slow
                self.on_train_begin()
            else:
                super().on_step_end(args, state, control)

    trainer = _plain_trl(base, rows, recipe, folder, same_settings=variant != "trl")
    meter = Meter()
    trainer.add_callback(meter)
    trainer.add_callback(_StopAfterWarmUp(seconds))
    trainer.train()
    return {"tok_s": round(meter.tok_s, 1), "steps": trainer.state.global_step}


def _plain_trl(base: Path, rows: Any, recipe: Any, folder: Path, *, same_settings: bool) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    schedule = recipe.schedule
    settings: dict[str, Any] = {}
    if same_settings:
        settings = {
            "per_device_train_batch_size": schedule.batch_size,
            "gradient_checkpointing": False,
            "train_sampling_strategy": "group_by_length",
            "learning_rate": schedule.learning_rate,
            "model_init_kwargs": {"dtype": torch.bfloat16},
        }
    return SFTTrainer(
        model=str(base),
        args=SFTConfig(
            output_dir=str(folder),
            use_cpu=not torch.cuda.is_available(),
            num_train_epochs=100,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            include_num_input_tokens_seen="non_padding",
            **settings,
        ),
        train_dataset=Dataset.from_dict(
            {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
        ),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.method.rank,
            lora_alpha=int(recipe.method.alpha),
            target_modules="all-linear",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
