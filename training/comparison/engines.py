"""Engines as a comparison names them: what translates for a row, or makes training text."""

from __future__ import annotations

import os

import httpx

from adapters.errors import RecipeInvalid
from adapters.ids import LanguagePair
from training.comparison.spec import OFFLINE, EndpointSystem
from training.synthesis.asking import USER, Asking
from training.synthesis.endpoint import Endpoint, Server
from training.synthesis.offline import FastTranslate
from training.synthesis.translator import Translator


def engine_of(endpoint: EndpointSystem | None, pair: LanguagePair) -> Translator:
    """Return what asks `endpoint`; without one, the offline teacher of `pair`.

    Raises RecipeInvalid for an address or a key that is not there, SynthesisFailed where the
    teacher is not installed or does not know the languages, PromptInvalid.
    """
    if endpoint is None:
        return FastTranslate(pair)
    asking = Asking(pair, endpoint.prompt or USER, endpoint.system, more=endpoint.body)
    return Endpoint(_server(endpoint), asking)


def told(endpoint: EndpointSystem | None) -> str:
    """Return the engine in a few words."""
    if endpoint is None:
        return f"{OFFLINE}, offline"
    return f"{endpoint.model} behind an endpoint, {endpoint.concurrency} requests at a time"


def _server(endpoint: EndpointSystem) -> Server:
    key = os.environ.get(endpoint.key_env) if endpoint.key_env else None
    if endpoint.key_env and not key:
        raise RecipeInvalid(
            f"endpoint.key_env {endpoint.key_env}: that variable is not set, or is empty"
        )
    server = Server(endpoint.url, endpoint.model, key, endpoint.concurrency)
    try:
        _ = server.completions
    except httpx.InvalidURL as error:
        raise RecipeInvalid(f"endpoint.url {endpoint.url}: {error}") from None
    return server
