"""Endpoint plugin: puts our handlers in the place of vLLM's, once every plugin is in force."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from adapters.base_model import BaseModelRef
from adapters.errors import DragomanError, StartRefused
from adapters.ids import AdapterId
from adapters.locations import cache_root
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from serving import markers
from serving.catalogue import Catalogue
from serving.chat import ContractChat, ContractCompletion, Contracts
from serving.door import admitted
from serving.door.backlog import Backlog
from serving.door.door import Door
from serving.door.ledger import open_ledger
from serving.door.log import log_as_vllm
from serving.door.meter import Meter
from serving.door.overload import Overload
from serving.door.returns import Returns
from serving.door.settings import DoorFile
from serving.door.speed import process_speed
from serving.golden import GoldenCheck
from serving.health import Health, live, missing_markers, ready, startup
from serving.http_errors import (
    UNREADABLE,
    answer_dragoman_error,
    answer_engine_dead,
    answer_unreadable,
    plain_error,
)
from serving.metrics import Metrics, process_metrics
from serving.models import ContractModels
from serving.observe import ObservedEngine
from serving.prefetch import Prefetcher
from serving.residency import Residency
from serving.resolver import Resolver, RunningBase
from serving.run_folder import handed_run_folder
from serving.settings import ServingSettings, handed_over
from serving.traffic import Traffic
from serving.vllm_compat import EngineDeadError, adopt

# A listing of a thousand adapters costs a tenth of a second of a core.
_LISTING_TTL_S: Final = 1.0


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
        app.add_api_route("/v1/usage", show_usage, methods=["GET"])
        for path, probe in (("/live", live), ("/ready", ready), ("/startup", startup)):
            app.add_api_route(path, probe, methods=["GET"])
        app.add_exception_handler(DragomanError, answer_dragoman_error)
        app.add_exception_handler(EngineDeadError, answer_engine_dead)
        for kind in UNREADABLE:
            app.add_exception_handler(kind, answer_unreadable)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Wire the handlers. Raises StartRefused if any plugin of ours is not in force."""
        settings = handed_over()
        if settings is None:
            raise StartRefused("start the server with `dragoman serve`: it sets what plugins need")
        markers.set_marker("api")
        missing = await missing_markers(engine_client)
        if missing:
            raise StartRefused(
                f"error[start_refused]: not in force: {', '.join(missing)}; vLLM's log above says "
                "why the plugin did not load"
            )
        log_as_vllm()
        golden = await asyncio.to_thread(_wire, engine_client, state, args, settings)
        await state.dragoman_door.open()
        await golden.warm_up()
        await state.dragoman_health.look()
        state.dragoman_health.follow(lambda: _end(state))
        await state.dragoman_prefetch.load_pinned()
        state.dragoman.follow()
        state.dragoman_prefetch.follow()


def _end(state: Any) -> None:
    """End this process, so that the supervisor starts a new one; vLLM itself waits 5 s."""
    state.server.should_exit = True


def _wire(engine: Any, state: Any, args: Namespace, settings: ServingSettings) -> GoldenCheck:
    folder = Path(args.model)
    served_name = state.openai_serving_models.base_model_paths[0].name
    registry = FileRegistry(settings.registry)
    versions: dict[str, tuple[str, str]] = {}
    metrics = process_metrics()
    tokenizer = BaseTokenizer.load(folder)
    ref = BaseModelRef.read(folder)
    model_config = state.openai_serving_chat.model_config
    # Asked for logits in their place, vLLM gives nothing to compare.
    comparable = "logits" not in model_config.logprobs_mode
    golden = GoldenCheck(
        engine,
        tokenizer,
        metrics,
        vocab_size=ref.vocab_size,
        max_tokens=model_config.max_model_len - 1,
        tolerance_nats=settings.golden_tolerance_nats if comparable else 0.0,
    )
    residency = Residency(engine, metrics, versions, golden)
    resolver = Resolver(
        registry,
        RunningBase(ref, folder, served_name),
        residency,
        # vLLM's own flag, after `--`, may have raised it.
        max_rank=args.max_lora_rank,
        alias_ttl_s=settings.alias_ttl_s,
    )
    models = adopt(state.openai_serving_models, ContractModels)
    models.catalogue = Catalogue(registry, ttl_s=_LISTING_TTL_S)
    models.residency = residency.tiers
    contracts = Contracts(resolver, models, tokenizer)
    run_folder = handed_run_folder()
    traffic = state.dragoman_traffic = Traffic(metrics, run_folder)
    state.dragoman_door = _door(metrics, engine.vllm_config.scheduler_config.max_num_seqs)
    state.dragoman_health = Health(engine, registry, traffic, run_folder)
    observed = ObservedEngine(engine, metrics, versions, traffic.is_draining)
    chat = adopt(state.openai_serving_chat, ContractChat)
    completion = adopt(state.openai_serving_completion, ContractCompletion)
    for handler in (chat, completion):
        handler.models, handler.contracts = models, contracts
        handler.engine_client = cast("Any", observed)
    state.openai_serving_models = models
    state.openai_serving_chat = chat
    state.openai_serving_completion = completion
    state.dragoman = residency
    state.dragoman_prefetch = _prefetcher(registry, resolver, residency, settings)
    return golden


def _door(metrics: Metrics, seats: int) -> Door:
    settings = DoorFile.handed()
    meter = Meter(open_ledger(settings.current().usage, cache_root()))
    backlog = Backlog(process_speed(), seats)
    return Door(
        settings.current,
        meter,
        Overload(backlog, Returns()),
        metrics,
    )


def _prefetcher(
    registry: FileRegistry, resolver: Resolver, residency: Residency, settings: ServingSettings
) -> Prefetcher:
    run_folder = handed_run_folder()
    prefetcher = Prefetcher(
        registry,
        resolver,
        residency.pin,
        pinned=[AdapterId.parse(name) for name, wish in settings.adapters.items() if wish.pinned],
        state=run_folder.last_used_file if run_folder is not None else None,
    )
    resolver.on_use = prefetcher.note
    return prefetcher


async def show_model(name: str, request: Request) -> Response:
    """Return the card of one model."""
    card = await request.app.state.openai_serving_models.show_model(name)
    if card is None:
        return plain_error(404, "adapter_not_found", f"model {name[:150]!r} does not exist")
    return JSONResponse(card.model_dump())


async def show_usage(request: Request) -> Response:
    """Return what the caller's key has used of its quota; of every key, to an admin's."""
    door: Door = request.app.state.dragoman_door
    return JSONResponse({"data": await door.usage(admitted.caller())})
