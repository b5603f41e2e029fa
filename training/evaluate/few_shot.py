"""How the base model is asked, so that it does as well as it can: in turns, or in plain text.

A base that was only pre-trained has never seen turn markers and loops between them; the same base
continues a plain list of examples quite well. An instruction model is the other way round. The
gate compares with the better of the two, chosen on dev.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.prompt import Example, PromptFormat
from adapters.tokenizer import Tokenizer
from training.recipe import Recipe

# Each newline inside an expression: Jinja drops a template's last one.
_PLAIN_TEMPLATE: Final = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{- ' ' ~ message['content'] ~ '\\n\\n' -}}"
    "{%- else -%}{{- message['content'] -}}{%- endif -%}"
    "{%- endfor -%}"
)
_LINE, _PARAGRAPH = "\n", "\n\n"


@dataclass(frozen=True)
class BaseFormat:
    """One way to ask the base. `separators` are what ends an answer in plain text, with its id.

    A text of one line has a translation of one line, so there the first newline ends it.
    """

    name: str
    prompt: PromptFormat
    separators: tuple[tuple[str, int | None], ...] = ()

    def stop_token_ids(self, source: str) -> tuple[int, ...]:
        """Return the prompt's stop tokens and those of the separators that `source` is free of."""
        ids = (token for text, token in self.separators if text not in source)
        return (*self.prompt.stop_token_ids, *(token for token in ids if token is not None))

    def trim(self, answer: str, source: str) -> str:
        """Return the translation in `answer`."""
        for text, _ in self.separators:
            if text not in source:
                answer = answer.partition(text)[0]
        # A plain prompt ends in "French:", so the answer starts with the space after the colon.
        return answer.removeprefix(" ") if self.separators else answer


def base_formats(
    recipe: Recipe, base: Path, examples: Sequence[Example], tokenizer: Tokenizer
) -> list[BaseFormat]:
    """Return the ways to ask the base with `examples`; all stop at the adapter's stop tokens."""
    turns = recipe.prompt.complete(base, examples=tuple(examples))
    plain = PromptFormat(
        user="{source}: {text}\n{target}:",
        chat_template=_PLAIN_TEMPLATE,
        bos_token=turns.bos_token,
        stop_token_ids=turns.stop_token_ids,
        examples=turns.examples,
    )
    separators = tuple((text, _id_of(text, tokenizer)) for text in (_LINE, _PARAGRAPH))
    return [BaseFormat("in turns", turns), BaseFormat("as plain text", plain, separators)]


def _id_of(text: str, tokenizer: Tokenizer) -> int | None:
    ids = tokenizer.encode_markup(text)
    return ids[0] if len(ids) == 1 else None
