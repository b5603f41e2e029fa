"""PromptFormat: the only renderer of prompts, for training and for serving.

Both sides submit token ids. The chat template is rendered once around a mark that stands for the
segment; the text before and after the mark is tokenized as markup, the segment as plain text. So
a segment can neither close its turn nor be trimmed by the template, and the ids are the same
wherever they are made.
"""

from __future__ import annotations

import string
from functools import lru_cache
from typing import Annotated, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, field_validator

from adapters.errors import PromptInvalid
from adapters.ids import LanguagePair
from adapters.tokenizer import Tokenizer

# Private-use characters: no real segment and no template contains them.
_MARK: Final = "\ue000dragoman-segment\ue001"
_FIELDS: Final = frozenset({"text", "source", "target"})

# English names read better to a model than codes; codes without a name are used as they are.
LANGUAGE_NAMES: Final = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "pt_br": "Brazilian Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
    "zh_hans": "Simplified Chinese", "zh_hant": "Traditional Chinese",
}  # fmt: skip


TokenId = Annotated[int, Field(ge=0)]


class Example(BaseModel):
    """One worked example inside a prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str
    target: str


class PromptFormat(BaseModel):
    """How one adapter is asked: messages, template, control tokens, and what ends an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    system: str | None = None
    user: str = "{text}"
    chat_template: str
    bos_token: str = ""
    eos_token: str = ""
    stop_token_ids: tuple[TokenId, ...] = Field(min_length=1, strict=False)
    examples: tuple[Example, ...] = Field(default=(), strict=False)

    @field_validator("user")
    @classmethod
    def _one_text_field(cls, user: str) -> str:
        fields = _fields_of(user)
        if fields.count("text") != 1 or not set(fields) <= _FIELDS:
            raise ValueError(
                f"user message needs {{text}} once and may use {{source}} and {{target}}, "
                f"found {fields}; write {{{{ and }}}} for braces"
            )
        return user

    @field_validator("system")
    @classmethod
    def _language_fields(cls, system: str | None) -> str | None:
        fields = _fields_of(system or "")
        if not set(fields) <= _FIELDS - {"text"}:
            raise ValueError(
                f"system message may use {{source}} and {{target}}, found {fields}; "
                "write {{ and }} for braces"
            )
        return system

    def encode(self, text: str, pair: LanguagePair, tokenizer: Tokenizer) -> list[int]:
        """Return the prompt's token ids (BOS included) that ask for a translation of `text`."""
        before, after = self.frame(pair)
        return [
            *tokenizer.encode_markup(before),
            *tokenizer.encode_text(text),
            *tokenizer.encode_markup(after),
        ]

    def encode_target(self, text: str, tokenizer: Tokenizer) -> list[int]:
        """Return the ids that training teaches: the translation, then the first stop token."""
        return [*tokenizer.encode_text(text), self.stop_token_ids[0]]

    def showing(self, examples: tuple[Example, ...]) -> PromptFormat:
        """Return the format with these examples after its own."""
        if not examples:
            return self
        return self.model_copy(update={"examples": (*self.examples, *examples)})

    def render(self, text: str, pair: LanguagePair) -> str:
        """Return the prompt as a person reads it. For display: encode() is what models see."""
        before, after = self.frame(pair)
        return f"{before}{text}{after}"

    def frame(self, pair: LanguagePair) -> tuple[str, str]:
        """Return what stands before and after the segment. Raises PromptInvalid."""
        return _frame(self, pair)


@lru_cache(maxsize=4096)
def _frame(fmt: PromptFormat, pair: LanguagePair) -> tuple[str, str]:
    names = {
        "source": LANGUAGE_NAMES.get(pair.source, pair.source),
        "target": LANGUAGE_NAMES.get(pair.target, pair.target),
    }
    messages: list[dict[str, str]] = []
    if fmt.system:
        messages.append({"role": "system", "content": fmt.system.format(**names)})
    for example in fmt.examples:
        user = fmt.user.format(text=example.source, **names)
        messages.append({"role": "user", "content": user})
        messages.append({"role": "assistant", "content": example.target})
    messages.append({"role": "user", "content": fmt.user.format(text=_MARK, **names)})
    before, mark, after = _render(fmt, messages).partition(_MARK)
    if not mark or _MARK in after:
        raise PromptInvalid(
            "the chat template must print the last user message exactly once; "
            "check it with a plain message"
        )
    return before, after


def _render(fmt: PromptFormat, messages: list[dict[str, str]]) -> str:
    try:
        return _template(fmt.chat_template).render(
            messages=messages,
            add_generation_prompt=True,
            bos_token=fmt.bos_token,
            eos_token=fmt.eos_token,
        )
    except Exception as error:  # a template can raise anything: it is a program
        raise PromptInvalid(
            f"the chat template cannot be rendered: {type(error).__name__}: {error}; "
            "take the base model's own, or mend it"
        ) from error


@lru_cache(maxsize=64)  # compiling takes much longer than rendering, and examples differ
def _template(source: str) -> jinja2.Template:
    # The settings of transformers' own renderer, so that a base's template gives the same text.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(source)


def _fields_of(message: str) -> list[str]:
    fields = []
    for _, name, spec, conversion in string.Formatter().parse(message):
        if name is None:
            continue
        # `{text!r}` and `{text:.9}` would change the segment that is put there.
        fields.append(f"{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}")
    return fields


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
