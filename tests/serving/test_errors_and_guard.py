from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, model_validator
from starlette.requests import Request

from adapters.errors import (
    AdapterNotFound,
    BaseModelMismatch,
    DragomanError,
    FileMissing,
    KeyInvalid,
    Overloaded,
    QuotaExceeded,
    RequestInvalid,
    UnsupportedAdapter,
)
from serving import engine_guard, markers
from serving.engine_guard import check_folder
from serving.http_errors import (
    UNREADABLE,
    answer_dragoman_error,
    answer_unreadable,
    error_answer,
    plain_error,
)
from serving.settings import HANDOVER
from tests import fakes


def answered(error: Exception) -> tuple[int, dict[str, Any]]:
    answer = asyncio.run(answer_dragoman_error(Request({"type": "http", "headers": []}), error))
    return answer.status_code, json.loads(bytes(answer.body))["error"]


@pytest.mark.parametrize(("error", "status", "kind", "param"), [
    (AdapterNotFound("m"), 404, "NotFoundError", "model"),
    (BaseModelMismatch("m"), 409, "ConflictError", "model"),
    (RequestInvalid("m"), 422, "UnprocessableEntityError", None),
    (DragomanError("m"), 500, "InternalServerError", "model"),
])  # fmt: skip
def test_an_error_is_answered_in_openais_shape_with_its_stable_code(
    error: DragomanError, status: int, kind: str, param: str | None
) -> None:
    body = {"message": "m", "type": kind, "param": param, "code": error.code}
    assert answered(error) == (status, body)


def test_what_is_used_up_says_when_to_come_back_in_seconds_and_finer() -> None:
    headers = error_answer(Overloaded("m", retry_after_s=1.25)).headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1250")
    assert error_answer(QuotaExceeded("m", retry_after_s=0)).headers["retry-after"] == "1"
    assert "retry-after" not in error_answer(RequestInvalid("m")).headers


def test_deepls_clients_get_the_statuses_they_know() -> None:
    exceeded = QuotaExceeded("m", retry_after_s=1)
    assert error_answer(exceeded).status_code == 429
    assert error_answer(exceeded, deepl=True).status_code == 456
    assert error_answer(KeyInvalid("m")).headers["www-authenticate"] == "Bearer"
    assert error_answer(KeyInvalid("m"), deepl=True).status_code == 403


def test_an_error_that_is_not_ours_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        answered(KeyError("x"))


class Body(BaseModel):
    """Checked as vLLM's are: by code that trusts the types of what a client sent."""

    odd: Any = None

    @model_validator(mode="before")
    @classmethod
    def _broken(cls, data: Any) -> Any:
        return {"odd": data["odd"].get("x")}


def reads_a_body(inner: Exception) -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def answer(body: Body) -> None:
        raise inner

    for kind in UNREADABLE:
        app.add_exception_handler(kind, answer_unreadable)
    return app


@pytest.mark.parametrize(("body", "said"), [
    ({"odd": 1}, "AttributeError: 'int' object has no attribute 'get'"), ({}, "KeyError: 'odd'"),
])  # fmt: skip
def test_a_body_that_breaks_the_check_of_it_is_its_senders_fault(body: Any, said: str) -> None:
    answer = TestClient(reads_a_body(AttributeError())).post("/", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "request_invalid"
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("inner", [AttributeError("ours"), KeyError("ours")])
def test_what_breaks_behind_a_good_body_stays_the_servers_fault(inner: Exception) -> None:
    with pytest.raises(type(inner), match="ours"):
        TestClient(reads_a_body(inner)).post("/", json={"odd": {}})


def test_every_status_of_an_error_has_a_type() -> None:
    def tree(kind: type[DragomanError]) -> list[type[DragomanError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in tree(child))]

    for kind in tree(DragomanError):
        answer = json.loads(bytes(plain_error(kind.http_status, kind.code, "m").body))
        assert (answer["error"]["type"] == "InternalServerError") == (kind.http_status == 500)


def test_the_guard_lets_a_plain_lora_in_safetensors_through(tmp_path: Path) -> None:
    check_folder(fakes.write_lora(tmp_path / "lora"))


def test_the_guard_refuses_a_folder_of_pickles(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "lora")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileMissing, match="local folders"):
        check_folder(folder)


@pytest.mark.parametrize("path", ["org/name", "/nowhere/at/all", "~/lora", "..", ""])
def test_the_guard_refuses_what_vllm_would_take_for_a_hub_repository(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileMissing):
        check_folder(Path(path))


def test_the_guard_refuses_another_kind_of_adapter(tmp_path: Path) -> None:
    folder = fakes.write_lora(tmp_path / "lora")
    fakes.write_json(folder / "adapter_config.json", fakes.lora_config(peft_type="IA3"))
    with pytest.raises(UnsupportedAdapter, match="IA3"):
        check_folder(folder)


def test_the_guard_is_inert_in_a_vllm_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HANDOVER, raising=False)
    monkeypatch.setattr(engine_guard, "guard_adapter_loading", lambda _: pytest.fail("guarded"))
    engine_guard.install()


def test_the_guard_leaves_its_marker_only_once_it_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HANDOVER, '{"base": "b", "registry": "/r"}')
    monkeypatch.setattr(markers, "_set", set())

    def fail(_: object) -> None:
        raise ImportError("vLLM has moved it")

    monkeypatch.setattr(engine_guard, "guard_adapter_loading", fail)
    with pytest.raises(ImportError):
        engine_guard.install()
    assert markers.present() == frozenset()
    monkeypatch.setattr(engine_guard, "guard_adapter_loading", lambda _: None)
    monkeypatch.setattr(engine_guard, "answer_in_engine_core", lambda _: None)
    engine_guard.install()
    assert markers.present() == {"engine_guard"}
