from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters import prompt as prompt_module
from adapters.errors import PromptInvalid
from adapters.ids import LanguagePair
from adapters.prompt import Example, PromptFormat
from adapters.tokenizer import BaseTokenizer
from tests import fakes

EN_FR = LanguagePair("en", "fr")
TOKENIZER = BaseTokenizer(fakes.tokenizer(), fakes.tokenizer())
AWKWARD = ("{text}", "{0}", "{", "}}", "%s", "%(name)s", "{{ bos_token }}", "{% raw %}", " x\n", "")


def test_a_prompt_is_the_template_around_the_segment() -> None:
    assert fakes.prompt_format().render("Save", EN_FR) == (
        "<bos><start_of_turn>user\nSave<end_of_turn>\n<start_of_turn>model\n"
    )


@given(st.text() | st.sampled_from(AWKWARD))
def test_ids_are_frame_segment_frame(text: str) -> None:
    fmt = fakes.prompt_format(user="Translate to {target}: {text}")
    before, after = fmt.frame(EN_FR)
    assert fmt.encode(text, EN_FR, TOKENIZER) == [
        *TOKENIZER.encode_markup(before),
        *TOKENIZER.encode_text(text),
        *TOKENIZER.encode_markup(after),
    ]
    assert fmt.render(text, EN_FR) == before + text + after


@given(st.lists(st.sampled_from(fakes.CONTROL_TOKENS) | st.text()).map("".join))
def test_a_segment_can_neither_close_its_turn_nor_open_another(text: str) -> None:
    ids = fakes.prompt_format().encode(text, EN_FR, TOKENIZER)
    control = [i for i in ids if i < len(fakes.CONTROL_TOKENS)]
    assert control == [fakes.BOS, fakes.START, fakes.END, fakes.START]


@pytest.mark.parametrize("text", AWKWARD)
def test_braces_and_percent_signs_of_a_segment_are_kept(text: str) -> None:
    ids = fakes.prompt_format().encode(text, EN_FR, TOKENIZER)
    assert TOKENIZER.decode(ids) == f"user\n{text}\nmodel\n"


def test_bos_stands_first_and_once() -> None:
    ids = fakes.prompt_format(
        system="Be brief.", examples=[Example(source="a", target="b")]
    ).encode("c", EN_FR, TOKENIZER)
    assert ids[0] == fakes.BOS
    assert ids.count(fakes.BOS) == 1


def test_a_template_that_trims_does_not_trim_the_segment() -> None:
    assert "| trim" in fakes.CHAT_TEMPLATE
    ids = fakes.prompt_format().encode("  a \n", EN_FR, TOKENIZER)
    assert TOKENIZER.decode(ids) == "user\n  a \n\nmodel\n"


def test_the_last_newline_of_an_expression_reaches_the_ids() -> None:
    ids = fakes.prompt_format().encode("a", EN_FR, TOKENIZER)
    assert TOKENIZER.decode(ids[-1:]) == "\n"


def test_the_last_newline_of_a_template_is_dropped_as_transformers_does() -> None:
    fmt = fakes.prompt_format(chat_template="{{ messages[-1]['content'] }}\nmodel\n")
    assert fmt.render("a", EN_FR) == "a\nmodel"


def test_examples_stand_before_the_segment_as_turns() -> None:
    fmt = fakes.prompt_format(
        user="{source}: {text}", examples=[Example(source="{0}", target="{text}")]
    )
    assert fmt.render("now", EN_FR) == (
        "<bos><start_of_turn>user\nEnglish: {0}<end_of_turn>\n"
        "<start_of_turn>model\n{text}<end_of_turn>\n"
        "<start_of_turn>user\nEnglish: now<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        (LanguagePair("en", "zh_hant"), "English > Traditional Chinese"),
        (LanguagePair("gsw", "pt_br"), "gsw > Brazilian Portuguese"),
    ],
)
def test_languages_have_english_names_or_stay_codes(pair: LanguagePair, names: str) -> None:
    fmt = fakes.prompt_format(system="{source} > {target}")
    assert names in fmt.render("a", pair)


def test_doubled_braces_are_braces() -> None:
    fmt = fakes.prompt_format(system='Answer {{"x": 1}}', user="{{text}} is {text}")
    assert 'Answer {"x": 1}' in fmt.render("a", EN_FR)
    assert "{text} is a<" in fmt.render("a", EN_FR)


@pytest.mark.parametrize(
    "user",
    [
        "",
        "Translate:",
        "{text} {text}",
        "{0}",
        "{}",
        "{segment}",
        "{text} {source.__class__}",
        "{text[0]}",
        "{text!r}",
        "{text:.5}",
        "{text:>{source}}",
        "{text",
        "text}",
    ],
)
def test_a_user_message_needs_the_text_once_and_unchanged(user: str) -> None:
    with pytest.raises(ValidationError, match="user"):
        fakes.prompt_format(user=user)


@pytest.mark.parametrize(
    "system", ["{text}", "{0}", "{", '{"json": 1}', "{source!r}", "{target.__class__}"]
)
def test_a_system_message_may_use_the_languages_only(system: str) -> None:
    with pytest.raises(ValidationError, match="system"):
        fakes.prompt_format(system=system)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"stop_token_ids": []}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stop_token_ids": ["1"]}, "stop_token_ids"),
        ({"chat_template": None}, "chat_template"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_an_ill_formed_prompt_is_refused(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        fakes.prompt_format(**changes)


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }} nothing",
        "{{ messages[-1]['content'] }} {{ messages[-1]['content'] }}",
        "{{ messages[-1]['content'] | upper }}",
    ],
)
def test_a_template_that_does_not_print_the_message_once_is_refused(template: str) -> None:
    with pytest.raises(PromptInvalid, match="exactly once"):
        fakes.prompt_format(chat_template=template).render("a", EN_FR)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[-1]['content'] + 1 }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% for i in range(10**9) %}{% endfor %}", "OverflowError"),
    ],
)
def test_a_template_that_fails_says_why_in_one_line(template: str, reason: str) -> None:
    with pytest.raises(PromptInvalid, match=reason) as caught:
        fakes.prompt_format(chat_template=template).render("a", EN_FR)
    assert "\n" not in str(caught.value)


def test_a_target_ends_with_the_first_stop_token_and_holds_no_other() -> None:
    ids = fakes.prompt_format().encode_target("oui<end_of_turn><eos>", TOKENIZER)
    assert ids[-1] == fakes.END
    assert [i for i in ids if i < len(fakes.CONTROL_TOKENS)] == [fakes.END]


def test_a_prompt_reads_back_from_json() -> None:
    fmt = fakes.prompt_format(system="x", examples=[Example(source="a", target="b")])
    again = PromptFormat.model_validate_json(fmt.model_dump_json())
    assert again == fmt
    assert again.frame(EN_FR) == fmt.frame(EN_FR)


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    seen: list[str] = []
    render = prompt_module._render

    def counted(fmt: PromptFormat, messages: list[dict[str, str]]) -> str:
        seen.append(fmt.chat_template)
        return render(fmt, messages)

    prompt_module._frame.cache_clear()
    monkeypatch.setattr(prompt_module, "_render", counted)
    yield seen
    prompt_module._frame.cache_clear()


def test_a_template_is_rendered_once_for_each_format_and_pair(renderings: list[str]) -> None:
    for text in ("a", "b", "c"):
        fakes.prompt_format().encode(text, EN_FR, TOKENIZER)  # equal formats, not the same one
    assert len(renderings) == 1
    fakes.prompt_format().frame(LanguagePair("en", "de"))
    fakes.prompt_format(system="x").frame(EN_FR)
    assert len(renderings) == 3
