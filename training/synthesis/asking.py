"""How an endpoint is asked for a translation: the body of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from adapters.errors import PromptInvalid
from adapters.ids import LanguagePair
from adapters.prompt import LANGUAGE_NAMES, PromptFormat

USER: Final = (
    "Translate from {source} to {target}. Answer with the translation and nothing else; keep "
    "placeholders, tags and line breaks as they are.\n\n{text}"
)
# An answer longer than that repeats itself. In every script a character takes two tokens at most,
# and a translation is seldom twice as long as its text.
_LEAST_TOKENS: Final = 64
_TOKENS_PER_CHAR: Final = 2


@dataclass(frozen=True)
class Asking:
    """The prompt and the settings of every request.

    user: with {text} once; {source} and {target} are the names of the languages of `pair`.
    more: further keys of the body, over those of ours; null takes one out.
    """

    pair: LanguagePair
    user: str = USER
    system: str | None = None
    temperature: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            PromptFormat(user=self.user, system=self.system, chat_template="", stop_token_ids=(0,))
        except ValidationError as error:
            fault = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise PromptInvalid(f"--prompt or --system: {fault}") from None

    def identity(self) -> dict[str, Any]:
        """Return what of it decides the answers, as plain JSON values."""
        return {
            "pair": str(self.pair),
            "user": self.user,
            "system": self.system,
            "temperature": self.temperature,
            "more": dict(self.more),
        }

    def body(self, text: str, *, sample: int = 0) -> dict[str, Any]:
        """Return the body of a chat completion that asks for a translation of `text`."""
        names = {
            "source": LANGUAGE_NAMES.get(self.pair.source, self.pair.source),
            "target": LANGUAGE_NAMES.get(self.pair.target, self.pair.target),
        }
        messages = [{"role": "user", "content": self.user.format(text=text, **names)}]
        if self.system:
            messages.insert(0, {"role": "system", "content": self.system.format(**names)})
        body = {
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": _LEAST_TOKENS + _TOKENS_PER_CHAR * len(text),
            # A sampled text is the same again in a second run, where the server keeps to seeds.
            **({"seed": sample} if self.temperature > 0 else {}),
            **self.more,
        }
        return {key: value for key, value in body.items() if value is not None}
