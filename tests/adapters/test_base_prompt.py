from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.base_prompt import prompt_for_base
from adapters.errors import PromptInvalid
from adapters.ids import LanguagePair
from adapters.prompt import Example
from tests import fakes

EN_FR = LanguagePair("en", "fr")


def test_transformers_files_give_template_tokens_and_stops(base: Path) -> None:
    fmt = prompt_for_base(base)
    assert fmt == fakes.prompt_format()
    assert fmt.stop_token_ids == (fakes.END, fakes.EOS)


def test_what_the_fetch_noted_comes_first(base: Path) -> None:
    noted = {"chat_template": "{{ messages[-1]['content'] }}|", "stop_token_ids": [1]}
    fakes.write_json(base / "dragoman-base.json", {"prompt": noted})
    assert prompt_for_base(base).render("a", EN_FR) == "a|"


def test_the_adapters_own_words_are_added(base: Path) -> None:
    example = Example(source="a", target="b")
    fmt = prompt_for_base(base, user="Say: {text}", system="Brief", examples=(example,))
    assert (fmt.user, fmt.system, fmt.examples) == ("Say: {text}", "Brief", (example,))


def test_the_template_file_comes_before_the_configuration(base: Path) -> None:
    (base / "chat_template.jinja").write_text("<{{ messages[-1]['content'] }}>")
    assert prompt_for_base(base).render("a", EN_FR) == "<a>"


def test_of_several_templates_the_default_is_taken(base: Path) -> None:
    several = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "[{{ messages[-1]['content'] }}]"},
    ]
    fakes.write_json(base / "tokenizer_config.json", {"chat_template": several})
    assert prompt_for_base(base).render("a", EN_FR) == "[a]"


def test_one_stop_token_may_be_a_number_and_may_stand_in_the_config(base: Path) -> None:
    (base / "generation_config.json").unlink()
    fakes.write_json(base / "config.json", {"vocab_size": 9, "eos_token_id": 1})
    assert prompt_for_base(base).stop_token_ids == (1,)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("tokenizer_config.json", {}, "--prompt"),
        ("generation_config.json", {"eos_token_id": None}, "stop_token_ids"),
        ("dragoman-base.json", {"prompt": {"chat_template": "x", "y": 1}}, "stop_token_ids.*y"),
        ("tokenizer_config.json", [], "expected a JSON object"),
    ],
)
def test_a_base_that_gives_no_prompt_says_what_is_missing(
    base: Path, name: str, content: Any, reason: str
) -> None:
    fakes.write_json(base / name, content)
    with pytest.raises(PromptInvalid, match=reason) as caught:
        prompt_for_base(base)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json_is_named(base: Path) -> None:
    (base / "generation_config.json").write_text("{")
    with pytest.raises(PromptInvalid, match=r"generation_config\.json"):
        prompt_for_base(base)
