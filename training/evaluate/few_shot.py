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
_PARAGRAPH: Final = "\n\n"


@dataclass(frozen=True)
class BaseFormat:
    """One way to ask the base; `paragraph` ends an answer where the prompt separates examples."""

    name: str
    prompt: PromptFormat
    ends_at_paragraph: bool

    def trim(self, answer: str, source: str) -> str:
        """Return the translation in `answer`."""
        if self.ends_at_paragraph:
            if _PARAGRAPH not in source:
                answer = answer.partition(_PARAGRAPH)[0]
            # The prompt ends in "French:", so the answer starts with the space after the colon.
            return answer.removeprefix(" ")
        return answer


def base_formats(
    recipe: Recipe, base: Path, examples: Sequence[Example], tokenizer: Tokenizer
) -> list[BaseFormat]:
    """Return the ways to ask the base with `examples`; both stop at the adapter's stop tokens."""
    turns = recipe.prompt.complete(base, examples=tuple(examples))
    paragraph = tokenizer.encode_markup(_PARAGRAPH)
    stops = turns.stop_token_ids + (tuple(paragraph) if len(paragraph) == 1 else ())
    plain = PromptFormat(
        user="{source}: {text}\n{target}:",
        chat_template=_PLAIN_TEMPLATE,
        bos_token=turns.bos_token,
        stop_token_ids=stops,
        examples=turns.examples,
    )
    return [
        BaseFormat("in turns", turns, ends_at_paragraph=False),
        BaseFormat("as plain text", plain, ends_at_paragraph=True),
    ]
