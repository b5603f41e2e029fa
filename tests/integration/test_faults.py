"""What goes wrong with one adapter, or with the store, ends no other answer and no engine."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from adapters.ids import AdapterRef
from adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE
from tests.integration.harness import ROOT, USER, RunningServer
from tests.integration.wounds import (
    Fault,
    flip_last_byte,
    link_folder,
    link_out,
    pad_config,
    publish_as,
    rewrite_manifest,
    truncate,
    write_rank,
)

pytestmark = pytest.mark.engine

# A store that was mended is looked at again within this time.
MENDED_WITHIN_S = 30.0
OTHER_BASE = {"base": {"fingerprint": f"sha256:{'0' * 64}"}}
RANK_128 = {"weights": {"rank": 128, "target_modules": ["q_proj"]}}
RANK_8 = {"weights": {"target_modules": ["q_proj"]}}
FAULTS = [
    Fault("base", 409, "base_model_mismatch", "trained on .* this server runs .* retrain",
          changes=OTHER_BASE),
    Fault("byte", 409, "file_corrupt", "expected sha256 .* found .* restore", flip_last_byte),
    Fault("cut", 409, "file_corrupt", r"expected \d+ bytes, found 1000; restore",
          truncate(WEIGHTS_FILE, 1000)),
    Fault("cutfit", 409, "file_corrupt", "not a readable safetensors file",
          truncate(WEIGHTS_FILE, 1000), rehash=True),
    Fault("empty", 409, "file_corrupt", "found 0; restore", truncate(WEIGHTS_FILE, 0)),
    Fault("emptyfit", 409, "file_corrupt", "not a readable safetensors file",
          truncate(WEIGHTS_FILE, 0), rehash=True),
    Fault("noconfig", 409, "file_corrupt", "not readable JSON", truncate(CONFIG_FILE, 0),
          rehash=True),
    Fault("hugeconfig", 409, "file_corrupt", r"expected \d+ bytes, found 10737418240",
          truncate(CONFIG_FILE, 10 * 2**30)),
    Fault("hugefit", 409, "file_corrupt", "larger than", pad_config(8 * 2**20), rehash=True),
    Fault("gone", 409, "file_missing", "no such file; restore",
          lambda folder: (folder / WEIGHTS_FILE).unlink()),
    Fault("pickle", 409, "unsafe_file", "pickle weights .* save the adapter as safetensors",
          lambda folder: (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")),
    Fault("link", 409, "unsafe_file", "no links", link_out(WEIGHTS_FILE)),
    Fault("linkfolder", 404, "adapter_not_found", "does not exist; nearest", after=link_folder),
    Fault("linkmanifest", 409, "manifest_invalid", "a link", after=link_out(MANIFEST_FILE)),
    Fault("schema", 409, "manifest_invalid", "schema: .*found 2", after=rewrite_manifest(schema=2)),
    Fault("nomanifest", 409, "manifest_invalid", "manifest.json", after=truncate(MANIFEST_FILE, 0)),
    Fault("edited", 409, "manifest_invalid", "versions are immutable",
          after=rewrite_manifest(licence="MIT")),
    Fault("rank", 409, "rank_too_large", "rank 128 is above .* limit of 64; start the server",
          write_rank(128), rehash=True, changes=RANK_128),
    Fault("ranklie", 409, "shape_mismatch", "manifest says rank 8, tensors have 16",
          write_rank(16), rehash=True, changes=RANK_8),
    Fault("nan", 409, "non_finite_weights", "holds NaN or infinity",
          write_rank(8, value=float("nan")), rehash=True, changes=RANK_8),
    # Whole, of the right shape, rightly signed: that it is another adapter, only its answer tells.
    Fault("idle", 409, "golden_mismatch", r"expected a log-probability of .* found .* publish it",
          write_rank(8), rehash=True, changes=RANK_8),
]  # fmt: skip


@contextmanager
def answering(server: RunningServer, model: str = "alpha-en-fr") -> Iterator[None]:
    """Keep asking a sound adapter meanwhile; every answer must come, and be right."""
    answers: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(server.ask(model))
            except openai.APIError as error:
                answers.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join(timeout=60)
    assert answers
    assert set(map(str, answers)) == {"alpha"}
    assert server.process.poll() is None


def refusal(server: RunningServer, model: str) -> openai.APIStatusError:
    """Return the error that the server answers for `model`."""
    with pytest.raises(openai.APIStatusError) as caught:
        server.ask(model)
    return caught.value


def answer_or_code(server: RunningServer, model: str) -> str | None:
    """Return the answer, or the code of the error."""
    try:
        return server.ask(model)
    except openai.APIStatusError as error:
        return error.code


def residency(server: RunningServer, model: str) -> str:
    """Return where the server says that the model's weights are."""
    facts = server.client.models.retrieve(model).to_dict()["dragoman"]
    assert isinstance(facts, dict)
    return str(facts["residency"])


def answer_within(server: RunningServer, model: str, seconds: float) -> str | None:
    """Return the first answer that is no error; the last error if time is up."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return server.ask(model)
        except openai.APIStatusError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.fixture
def beta(server: RunningServer) -> Path:
    """The folder of a sound version that answers `beta`."""
    assert server.ask("alpha-en-fr") == "alpha"
    return server.registry.resolve(AdapterRef.parse("beta-en-fr@1")).folder


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_costs_only_its_adapter_until_it_is_mended(
    server: RunningServer, beta: Path, fault: Fault
) -> None:
    name, root = f"{fault.name}-en-fr", server.registry.root
    try:
        with answering(server):
            publish_as(beta, root, name, fault)
            error = refusal(server, name)
            assert (error.status_code, error.code) == (fault.status, fault.code), error.message
            assert error.param == "model"
            assert len(error.message) < 1500
            assert re.search(fault.says, error.message), error.message
            publish_as(beta, root, name)
            assert answer_within(server, name, MENDED_WITHIN_S) == "beta"
    finally:
        shutil.rmtree(root / name)


def test_weights_of_another_adapter_are_found_by_their_golden_answer(
    server: RunningServer, beta: Path
) -> None:
    alpha = server.registry.resolve(AdapterRef.parse("alpha-en-fr@1")).folder
    swap = Fault(
        "swap", 409, "golden_mismatch", "",
        lambda folder: shutil.copy(alpha / WEIGHTS_FILE, folder / WEIGHTS_FILE),
        rehash=True,
    )  # fmt: skip
    before = server.metric("dragoman_golden_checks_total", outcome="mismatch")
    try:
        with answering(server):
            publish_as(beta, server.registry.root, "swap-en-fr", swap)
            assert refusal(server, "swap-en-fr").code == "golden_mismatch"
        assert server.metric("dragoman_golden_checks_total", outcome="mismatch") == before + 1
        deadline = time.monotonic() + 10
        while residency(server, "swap-en-fr") != "disk":
            assert time.monotonic() < deadline, "it stays in the engine"
            time.sleep(0.2)
    finally:
        shutil.rmtree(server.registry.root / "swap-en-fr")


def test_an_adapter_deleted_while_in_use_is_404_and_comes_back(
    server: RunningServer, beta: Path
) -> None:
    home = server.registry.root / "away-en-fr"
    publish_as(beta, server.registry.root, "away-en-fr")
    try:
        assert server.ask("away-en-fr") == "beta"
        with answering(server):
            home.rename(home.with_name(".away"))
            deadline = time.monotonic() + MENDED_WITHIN_S
            while (answer := answer_or_code(server, "away-en-fr")) == "beta":
                assert time.monotonic() < deadline, "it is still answered"
            assert answer == "adapter_not_found"
            home.with_name(".away").rename(home)
            assert answer_within(server, "away-en-fr", MENDED_WITHIN_S) == "beta"
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("there", ["nothing", "a file"])
def test_a_vanished_store_keeps_what_is_in_memory_answering(
    server: RunningServer, beta: Path, there: str
) -> None:
    root = server.registry.root
    # Never asked before, so that nothing of it is in memory.
    cold = f"cold{len(there)}-en-fr"
    publish_as(beta, root, cold)
    away = root.with_name("vanished")
    with answering(server):
        root.rename(away)
        try:
            if there == "a file":
                root.write_text("not a folder")
            time.sleep(2.5)  # beyond the time that an alias is believed
            error = refusal(server, cold)
            assert (error.status_code, error.code) == (503, "registry_error")
            assert "--registry" in error.message
            assert server.client.models.list().data, "the base is there all the same"
        finally:
            if there == "a file":
                root.unlink()
            away.rename(root)
        assert answer_within(server, cold, MENDED_WITHIN_S) == "beta"
    shutil.rmtree(root / cold)


def test_unreadable_aliases_cost_nothing_where_they_were_read_before(
    server: RunningServer, beta: Path
) -> None:
    root = server.registry.root
    for name in ("known-en-fr", "fresh-en-fr"):
        publish_as(beta, root, name)
    assert server.ask("known-en-fr") == "beta"
    try:
        for name in ("known-en-fr", "fresh-en-fr"):
            (root / name / "aliases.json").write_text("{")
        time.sleep(1.5)
        with answering(server):
            assert server.ask("known-en-fr") == "beta"
            error = refusal(server, "fresh-en-fr")
            assert (error.status_code, error.code) == (503, "registry_error")
            assert "restore the file" in error.message
            (root / "fresh-en-fr" / "aliases.json").write_text('{"stable": [1]}')
            assert answer_within(server, "fresh-en-fr", MENDED_WITHIN_S) == "beta"
    finally:
        for name in ("known-en-fr", "fresh-en-fr"):
            shutil.rmtree(root / name)


def test_a_full_disk_publishes_nothing_half(
    server: RunningServer, beta: Path, tmp_path: Path
) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copy(beta / name, tmp_path / name)
    limit = (beta / WEIGHTS_FILE).stat().st_size // 2

    def full() -> None:
        # Files end here: what a full disk does to a copy, without filling one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = ["adapters", "import", tmp_path, "--id", "full-en-fr", "--licence", "x",
               "--user", USER, "--registry", server.registry.root]  # fmt: skip
    with answering(server):
        done = subprocess.run(
            [sys.executable, "-m", "dragoman", *map(str, command)],
            cwd=ROOT, preexec_fn=full, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "error[registry_error]" in done.stderr
        assert "free space" in done.stderr
        assert refusal(server, "full-en-fr").code == "adapter_not_found"
    versions = server.registry.root / "full-en-fr" / "versions"
    assert not list(versions.iterdir()), "a draft was left"
    shutil.rmtree(versions.parent)
