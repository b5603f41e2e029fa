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
from training.task import Task

# Each newline inside an expression: Jinja drops a template's last one.
_PLAIN_TEMPLATE: Final = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{- ' ' ~ message['content'] ~ '\\n\\n' -}}"
    "{%- else -%}{{- message['content'] -}}{%- endif -%}"
    "{%- endfor -%}"
)
_PLAIN_USER: Final[dict[Task, str]] = {
    "translation": "{source}: {text}\n{target}:",
    "summarization": "Article in {source}: {text}\n\nSummary in {target}:",
}
_LINE, _PARAGRAPH = "\n", "\n\n"


@dataclass(frozen=True)
class BaseFormat:
    """One way to ask the base. `separators` are what ends an answer in plain text, with its id.

    A text of one line has a translation of one line, so there the first newline ends it. With
    `of_any_source`, a separator ends the answer to a text that contains it, too.
    """

    name: str
    prompt: PromptFormat
    separators: tuple[tuple[str, int | None], ...] = ()
    of_any_source: bool = False

    def stop_token_ids(self, source: str) -> tuple[int, ...]:
        """Return the prompt's stop tokens and those of the separators that `source` is free of."""
        ids = (token for _, token in self._ending(source))
        return (*self.prompt.stop_token_ids, *(token for token in ids if token is not None))

    def trim(self, answer: str, source: str) -> str:
        """Return the translation or summary in `answer`."""
        for text, _ in self._ending(source):
            answer = answer.partition(text)[0]
        # A plain prompt ends in "French:", so the answer starts with the space after the colon.
        return answer.removeprefix(" ") if self.separators else answer

    def _ending(self, source: str) -> list[tuple[str, int | None]]:
        return [each for each in self.separators if self.of_any_source or each[0] not in source]


def base_formats(
    recipe: Recipe, base: Path, examples: Sequence[Example], tokenizer: Tokenizer
) -> list[BaseFormat]:
    """Return the ways to ask the base with `examples`; all stop at the adapter's stop tokens.

    An article has paragraphs, its summary is one: the first empty line ends it.
    """
    turns = recipe.prompt.complete(base, examples=tuple(examples))
    plain = PromptFormat(
        user=_PLAIN_USER[recipe.task],
        chat_template=_PLAIN_TEMPLATE,
        bos_token=turns.bos_token,
        stop_token_ids=turns.stop_token_ids,
        examples=turns.examples,
    )
    summaries = recipe.task == "summarization"
    texts = (_PARAGRAPH,) if summaries else (_LINE, _PARAGRAPH)
    separators = tuple((text, _id_of(text, tokenizer)) for text in texts)
    return [
        BaseFormat("in turns", turns),
        BaseFormat("as plain text", plain, separators, of_any_source=summaries),
    ]


def _id_of(text: str, tokenizer: Tokenizer) -> int | None:
    ids = tokenizer.encode_markup(text)
    return ids[0] if len(ids) == 1 else None
