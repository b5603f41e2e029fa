"""A training in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from adapters.errors import TrainingFailed
from training.comparison.trained import TrainingPlan, run_to_end


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_what_a_training_says_is_said_and_its_output_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_to_end(python("import sys; print('{}'); sys.stderr.write('fit: 1/2\\n')"), "r4")
    assert capfd.readouterr() == ("", "  fit: 1/2\n")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("sys.stderr.write('fit: 1/2\\nerror[out_of_memory]: needs 9 GB\\n'); sys.exit(1)",
         r"^error\[out_of_memory\]: needs 9 GB$"),
        ("sys.stderr.write('boom\\n'); sys.exit(3)", "r4: training ended with 3, after 'boom'"),
        ("import os; os.kill(os.getpid(), 9)", "r4: training was ended by signal 9"),
    ],
)  # fmt: skip
def test_a_failed_training_is_told_by_its_last_words(code: str, told: str) -> None:
    with pytest.raises(TrainingFailed, match=told):
        run_to_end(python(f"import sys; {code}"), "r4")


def test_an_interrupt_reaches_the_training_once_and_waits_for_its_end(tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = f"""
import signal, sys, time
caught = []
signal.signal(signal.SIGINT, lambda *_: caught.append(1))
sys.stderr.write("ready\\n"); sys.stderr.flush()
while not caught:
    time.sleep(0.005)
time.sleep(0.05)  # a checkpoint
open({str(done)!r}, "w").write(str(len(caught)))
"""

    def interrupt() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_to_end(python(code), "r4")
    assert done.read_text() == "1"


def test_the_command_goes_on_and_keeps_every_change(tmp_path: Path) -> None:
    changes = ["method.rank=4", 'prompt.user="Say {text}"']
    plan = TrainingPlan("r4", tmp_path / "r.yaml", tmp_path, changes, allow_memory=True)
    command = plan.command(tmp_path / "out", tmp_path / "registry")
    assert command[:5] == [sys.executable, "-m", "dragoman", "train", str(tmp_path / "r.yaml")]
    assert {"--resume", "--fit-only", "--allow-memory"} <= {*command}
    assert [command[n + 1] for n, word in enumerate(command) if word == "--set"] == changes
    assert command[command.index("--data") + 1] == str(tmp_path)
