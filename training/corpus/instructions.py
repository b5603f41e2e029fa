"""Instruction data: Alpaca's rows, and chats as hosted fine-tuning services take them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.errors import DataInvalid

_ROLES: Final = ("system", "user", "assistant")


def is_instruction(body: Mapping[str, Any]) -> bool:
    """Return whether a row is Alpaca's (`instruction`, `output`) or a chat (`messages`)."""
    return "messages" in body or ("instruction" in body and "output" in body)


def read_instruction(body: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Return what is asked and what is answered. Raises DataInvalid with `where`.

    Of Alpaca's rows the instruction, and the input below it. Of a chat the one question; its
    system message is the recipe's `prompt.system`, and does not come from rows.
    """
    if "messages" in body:
        return _of_chat(body["messages"], where)
    texts = {key: body.get(key) or "" for key in ("instruction", "input", "output")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise DataInvalid(f"{where}: {key!r} must be a string, found {type(text).__name__}")
    if not texts["input"]:
        return texts["instruction"], texts["output"]
    return f"{texts['instruction']}\n\n{texts['input']}", texts["output"]


def _of_chat(messages: Any, where: str) -> tuple[str, str]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataInvalid(
            f'{where}: expected "messages" to be a list such as [{{"role": "user", "content": …}}, '
            f'{{"role": "assistant", "content": …}}], found {reprlib.repr(messages):.60}'
        )
    for place, message in enumerate(messages):
        _check_message(message, f"{where}: messages[{place}]")
    roles = [message["role"] for message in messages]
    if roles[-2:] != ["user", "assistant"] or len(roles) - (roles[0] == "system") != 2:
        raise DataInvalid(
            f"{where}: expected one question and its answer (system?, user, assistant), found "
            f"{', '.join(roles)}; make a line of each turn"
        )
    return messages[-2]["content"], messages[-1]["content"]


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        found = message.get("role") if isinstance(message, Mapping) else message
        raise DataInvalid(
            f"{where}: expected a role of {', '.join(_ROLES)}, found {reprlib.repr(found):.40}"
        )
    content = message.get("content")
    if not isinstance(content, str):
        raise DataInvalid(
            f"{where}: expected a text as content, found {type(content).__name__}; tools and "
            "pictures are not learnt"
        )
    if message["role"] == "assistant" and not content.strip():
        raise DataInvalid(f"{where}: the assistant says nothing; remove the line, or answer it")
