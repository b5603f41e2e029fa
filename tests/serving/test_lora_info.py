from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from serving.lora_info import LoraInfo


def test_one_series_of_now_names_ids() -> None:
    registry, info = CollectorRegistry(), LoraInfo()
    registry.register(info)
    info.note(4, {"a-en-fr@111": 2, "b-en-de@222": 1}, {"c-en-fr@333": 1})
    # Two versions of one id; vLLM keeps a version with no request left, as a zero.
    info.note(4, {"b-en-de@222": 1, "b-en-de@444": 3, "a-en-fr@111": 0}, {})
    (family,) = registry.collect()
    (sample,) = family.samples
    assert sample.name == "dragoman_lora_requests_info"
    assert sample.labels == {
        "max_lora": "4",
        "running_lora_adapters": "b-en-de",
        "waiting_lora_adapters": "",
    }
    assert abs(sample.value - time.time()) < 60
