"""What README and docs tell people to type does what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from adapters.ids import AdapterRef
from tests.integration.harness import ROOT, RunningServer, dragoman

pytestmark = pytest.mark.engine

# Too long to run as they stand; each is run in a shorter form by the test that is named.
ELSEWHERE = {
    "make demo": "run by hand, ten minutes; docs/benchmarks.md has its figures",
    "make test": "this very run",
    "DEMO_EXIT=1 make demo": "as make demo",
    "dragoman train jupyter-en-fr --publish": "test_train_to_answer.py",
    "dragoman serve --base gemma3-270m": "every test of the engine",
    "dragoman base trim gemma3-270m --as gemma3-fr --recipe jupyter-en-fr --size 32768": (
        "test_trimmed_base.py"
    ),
    "dragoman train docs-en-fr --data k8s-docs": "run by hand; docs/results.md has its figures",
    "dragoman train docs-en-de --data k8s-docs": "as the one before",
    "dragoman train docs-en-ja --data k8s-docs": "as the one before",
    "dragoman train docs-en-zh --data k8s-docs": "as the one before",
    "torchrun --nproc-per-node 2 -m dragoman train jupyter-en-fr": "test_torchrun.py",
    "dragoman compare jupyter-en-fr base:3 memory:3": "test_compare_cli.py",
    "dragoman compare jupyter-en-fr jupyter-en-fr@2 base base:3 memory:3": "test_compare_cli.py",
    "dragoman compare ranks-jupyter-en-fr": "test_compare_cli.py; docs/results.md has its figures",
    "dragoman compare ranks-jupyter-en-fr --set schedule.max_steps=60 "
    "--set evaluate.segments=100": "run by hand; docs/results.md has its figures",
    "dragoman compare teacher-en-pt --data FOLDER": "as the one before",
    "dragoman eval --model RUN --data test.jsonl --html eval.html": "test_eval_cli.py",
    "dragoman eval --model RUN --data test.jsonl --out answers.txt": "test_eval_cli.py",
    "dragoman eval --adapter jupyter-en-fr@2 --data memory.tmx --baseline base --probes": (
        "test_eval_cli.py"
    ),
    "dragoman eval --url http://127.0.0.1:8000 --served jupyter-en-fr --data test.jsonl": (
        "test_evaluation.py"
    ),
    "sacrebleu references.txt -i answers.txt -m bleu chrf ter --chrf-word-order 2": (
        "test_sacrebleu_cli.py"
    ),
    "kubectl kustomize deploy/kustomize/overlays/local-cpu": "tests/deploy renders every overlay",
    ". .venv/bin/activate": "the interpreter that runs this",
    "dragoman serve --check --config serving.yaml": "tests/serving/test_check.py",
    **dict.fromkeys(
        (
            "kubectl -n dragoman create secret generic dragoman-keys --from-file=keys.yaml",
            "kubectl -n dragoman create secret generic dragoman-keys --from-file=keys.yaml "
            "--dry-run=client -o yaml | kubectl apply -f -",
            "kubectl -n dragoman get pods -l app.kubernetes.io/component=serving -o name | xargs "
            "-I{} kubectl -n dragoman exec {} -c server -- sh -c 'kill -HUP 1'",
            "kubectl -n dragoman logs -l app.kubernetes.io/component=serving -c server --prefix "
            "--since=1m --tail=-1 | grep reloaded",
            "printf %s 'postgresql://dragoman:PASSWORD@postgres.data.svc/dragoman' > usage",
            "kubectl -n dragoman create secret generic dragoman-keys --from-file=keys.yaml "
            "--from-file=usage",
            "kubectl label namespace data dragoman.dev/usage-store=true",
        ),
        "want a cluster; tests/deploy/test_keys.py plays what comes of them",
    ),
}
LIGHT = {
    "dragoman keys new webshop",
    "dragoman keys new shop",
    "dragoman keys new shop --adapters 'shop-*'",
    "dragoman base fetch gemma3-270m",
    "dragoman data inspect jupyter-en-fr",
    "dragoman train jupyter-en-fr --plan --set method.dora=true",
    "dragoman adapters list",
    "dragoman adapters import ./my-peft-lora --id legal-en-de --licence CC-BY-4.0 "
    "--user 'Translate from {source} to {target}: {text}'",
}


def commands() -> list[str]:
    """Return each command in the shell blocks of README.md and docs/, comments removed."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    # tests/training/test_data_docs.py follows docs/data.md from its top to its end.
    text = "".join(page.read_text(encoding="utf-8") for page in pages if page.name != "data.md")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", re.sub(r"\s# .*", "", line)).strip() for line in lines if line]


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert commands(), "no shell block found"
    assert {*commands()} <= LIGHT | ELSEWHERE.keys()


@pytest.mark.parametrize("command", sorted(LIGHT))
def test_command_of_the_readme_works(
    command: str, server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = server.registry.resolve(AdapterRef.parse("alpha-en-fr")).folder
    shutil.copytree(folder, tmp_path / "my-peft-lora")
    monkeypatch.setenv("DRAGOMAN_REGISTRY", str(tmp_path / "registry"))
    arguments = [
        str(tmp_path / part) if part == "./my-peft-lora" else part
        for part in shlex.split(command)[1:]
    ]
    assert dragoman(*arguments).returncode == 0


@pytest.mark.parametrize("target", ["demo", "test", "serve", "bench", "setup", "lint", "type"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
