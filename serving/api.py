"""Endpoint plugin: puts our handlers in the place of vLLM's, once every plugin is in force."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from adapters.base_model import BaseModelRef
from adapters.errors import DragomanError, StartRefused
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from serving import markers
from serving.catalogue import Catalogue
from serving.chat import ContractChat, ContractCompletion, Contracts
from serving.http_errors import answer_dragoman_error, plain_error
from serving.metrics import process_metrics
from serving.models import ContractModels
from serving.observe import ObservedEngine
from serving.residency import Residency
from serving.resolver import Resolver, RunningBase
from serving.settings import ServingSettings, handed_over
from serving.vllm_compat import adopt


def endpoint_plugin() -> DragomanApi:
    """Return the plugin; vLLM calls this once in the API process."""
    return DragomanApi()


class DragomanApi:
    """The routes and the state that the adapters' contracts need."""

    name = "dragoman_api"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add our routes; vLLM's own stay, with our handlers behind them."""
        app.add_api_route("/v1/models/{name}", show_model, methods=["GET"])
        app.add_api_route("/ready", ready, methods=["GET"])
        app.add_exception_handler(DragomanError, answer_dragoman_error)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Wire the handlers. Raises StartRefused if any plugin of ours is not in force."""
        settings = handed_over()
        if settings is None:
            raise StartRefused("start the server with `dragoman serve`: it sets what plugins need")
        markers.set_marker("api")
        await _require_markers(engine_client)
        await asyncio.to_thread(_wire, engine_client, state, args, settings)
        state.dragoman.follow()


async def _require_markers(engine: Any) -> None:
    missing = sorted(markers.API_PROCESS - markers.present())
    for index, found in enumerate(await engine.collective_rpc("dragoman_markers")):
        missing += [f"{name} in worker {index}" for name in sorted(markers.WORKER - {*found})]
    if missing:
        raise StartRefused(
            f"error[start_refused]: not in force: {', '.join(missing)}; vLLM's log above says why "
            "the plugin did not load"
        )


def _wire(engine: Any, state: Any, args: Namespace, settings: ServingSettings) -> None:
    folder = Path(args.model)
    served_name = state.openai_serving_models.base_model_paths[0].name
    registry = FileRegistry(settings.registry)
    versions: dict[str, tuple[str, str]] = {}
    metrics = process_metrics()
    residency = Residency(engine, metrics, versions)
    resolver = Resolver(
        registry,
        RunningBase(BaseModelRef.read(folder), folder, served_name),
        residency,
        # vLLM's own flag, after `--`, may have raised it.
        max_rank=args.max_lora_rank,
        alias_ttl_s=settings.alias_ttl_s,
    )
    models = adopt(state.openai_serving_models, ContractModels)
    models.catalogue = Catalogue(registry, ttl_s=settings.alias_ttl_s)
    models.residency = residency.tiers
    contracts = Contracts(resolver, models, BaseTokenizer.load(folder))
    observed = ObservedEngine(engine, metrics, versions)
    chat = adopt(state.openai_serving_chat, ContractChat)
    completion = adopt(state.openai_serving_completion, ContractCompletion)
    for handler in (chat, completion):
        handler.models, handler.contracts = models, contracts
        handler.engine_client = cast("Any", observed)
    state.openai_serving_models = models
    state.openai_serving_chat = chat
    state.openai_serving_completion = completion
    state.dragoman = residency


async def show_model(name: str, request: Request) -> Response:
    """Return the card of one model."""
    card = await request.app.state.openai_serving_models.show_model(name)
    if card is None:
        return plain_error(404, "adapter_not_found", f"model {name!r} does not exist")
    return JSONResponse(card.model_dump())


async def ready(request: Request) -> Response:
    """Return 200 while the engine takes requests: for load balancers and the supervisor."""
    engine = request.app.state.engine_client
    if engine.errored:
        return plain_error(503, "engine_dead", "the engine has died; the supervisor restarts it")
    return JSONResponse({"ready": True, "plugins": sorted(markers.present())})
