"""A base model and a method in, what is trained out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    PromptTuningInit,
    get_peft_model,
)
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers
from peft.utils.constants import TRANSFORMERS_MODELS_TO_PREFIX_TUNING_POSTPROCESS_MAPPING
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, DynamicCache, PreTrainedModel

from adapters.errors import TrainingFailed
from training.methods.bottleneck import attach_bottlenecks
from training.methods.config import (
    RESIDUAL_INITS,
    AdaLoraMethod,
    BottleneckMethod,
    FullMethod,
    Ia3Method,
    LohaMethod,
    LokrMethod,
    LoraMethod,
    Method,
    PrefixMethod,
    PromptMethod,
)

# PEFT's own defaults for the phases of AdaLoRA are zero steps: no budget to learn from.
_ADALORA_WARM_UP: Final = 0.1
_ADALORA_FINAL: Final = 0.3
# Their keys and values PEFT arranges anew before they go into the cache.
_OTHER_CACHES: Final = tuple(TRANSFORMERS_MODELS_TO_PREFIX_TUNING_POSTPROCESS_MAPPING)
# Keys, values and the last layer of the MLP; the others PEFT knows by the model's type.
_IA3_NAMES: Final = (("k_proj", "v_proj", "down_proj"), ("k_proj", "v_proj", "fc2"))

Factors = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Adapted:
    """What is trained: `model` takes ids and labels; `base` is the pre-trained model in it.

    `begun` holds scaling * B and A of each module before training where the method took them out
    of the base (PiSSA, OLoRA, CorDA).
    """

    model: PeftModel | PreTrainedModel
    base: PreTrainedModel
    begun: Factors | None = None

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that training changes, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def load_base(
    folder: Path, method: Method, *, kind: Any = AutoModelForCausalLM, dtype: str = "auto"
) -> Any:
    """Return the model in `folder`, in its own precision or as the method quantises it.

    `dtype` is that of what is not quantised, by torch's name.
    """
    quantize = method.quantize if isinstance(method, LoraMethod) else "none"
    options: dict[str, Any] = {}
    if quantize == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=getattr(method, "double_quantize", True),
            bnb_4bit_compute_dtype=torch.bfloat16 if dtype == "auto" else getattr(torch, dtype),
        )
    elif quantize == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    model = kind.from_pretrained(folder, dtype=dtype, local_files_only=True, **options)
    if quantize == "nf4":
        _keep_gradients(model)
    return model


def _keep_gradients(model: nn.Module) -> None:
    # On CPUs with AVX-512 bf16, bitsandbytes 0.50 repacks 4-bit weights in the first forward of
    # `eval`, and its product with those has no gradient: after a measurement on dev, training would
    # go on with the lower layers cut off (chrF++ 42.7 in place of LoRA's 59.9).
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def attach(
    model: PreTrainedModel,
    method: Method,
    *,
    steps: int = 1000,
    calibrate: Callable[[nn.Module], None] | None = None,
    task: str = "CAUSAL_LM",
) -> Adapted:
    """Return `model` with what `method` trains, everything else frozen.

    `steps` are the optimizer steps to come (AdaLoRA plans its ranks by them); `calibrate` runs
    some of the training text through the model it is given (CorDA asks for it).
    """
    if isinstance(method, FullMethod):
        return _full(model, method)
    if isinstance(method, BottleneckMethod):
        attach_bottlenecks(model, method)
        return Adapted(model, model)
    config = _peft_config(model, method, steps, task)
    if isinstance(config, LoraConfig) and config.corda_config is not None:
        if calibrate is None:
            raise TrainingFailed("init: corda measures the training text first, found none")
        _maybe_include_all_linear_layers(config, model)  # it knows names only
        preprocess_corda(model, config, run_model=lambda: calibrate(model))
    adapted: Any = get_peft_model(model, config)
    if isinstance(method, PrefixMethod):
        _begin_as_text(adapted, method.tokens)
    base = adapted.get_base_model()
    residual = isinstance(method, LoraMethod) and method.init in RESIDUAL_INITS
    return Adapted(adapted, base, factors_of(adapted) if residual else None)


def factors_of(model: PeftModel) -> Factors:
    """Return scaling * B and A of each LoRA module, float32, as copies."""
    found: Factors = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            scaled = module.lora_B["default"].weight.detach().float() * module.scaling["default"]
            found[name] = (scaled, module.lora_A["default"].weight.detach().float().clone())
    return found


def _peft_config(model: PreTrainedModel, method: Method, steps: int, task: str) -> PeftConfig:
    builders: dict[type, Callable[..., PeftConfig]] = {
        LoraMethod: _lora,
        AdaLoraMethod: lambda m, **o: _adalora(m, steps, **o),
        LohaMethod: _loha,
        LokrMethod: _lokr,
        Ia3Method: lambda m, **o: _ia3(m, model, **o),
        PrefixMethod: lambda m, **o: PrefixTuningConfig(num_virtual_tokens=m.tokens, **o),
        PromptMethod: lambda m, **o: _prompt(m, model, **o),
    }
    return builders[type(method)](method, task_type=task)


def _targets(targets: str | tuple[str, ...]) -> str | list[str]:
    return targets if isinstance(targets, str) else list(targets)


def _lora(method: LoraMethod, **options: Any) -> LoraConfig:
    init: Any = True if method.init == "kaiming" else method.init
    return LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # annotated int, any number will do
        lora_dropout=method.dropout,
        target_modules=_targets(method.targets),
        use_rslora=method.rslora,
        use_dora=method.dora,
        init_lora_weights=init,
        corda_config=CordaConfig() if method.init == "corda" else None,
        bias="none",
        **options,
    )


def _adalora(method: AdaLoraMethod, steps: int, **options: Any) -> AdaLoraConfig:
    return AdaLoraConfig(
        target_r=method.rank,
        init_r=method.start_rank,
        tinit=int(_ADALORA_WARM_UP * steps),
        tfinal=int(_ADALORA_FINAL * steps),
        deltaT=max(1, steps // 100),
        total_step=steps,
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # annotated int
        lora_dropout=method.dropout,
        orth_reg_weight=method.orthogonal,
        target_modules=_targets(method.targets),
        **options,
    )


def _loha(method: LohaMethod, **options: Any) -> LoHaConfig:
    return LoHaConfig(
        r=method.rank,
        alpha=method.alpha,  # type: ignore[arg-type]  # annotated int
        rank_dropout=method.dropout,
        target_modules=_targets(method.targets),
        **options,
    )


def _lokr(method: LokrMethod, **options: Any) -> LoKrConfig:
    return LoKrConfig(
        r=method.rank,
        alpha=method.alpha,  # type: ignore[arg-type]  # annotated int
        rank_dropout=method.dropout,
        decompose_factor=method.factor,
        target_modules=_targets(method.targets),
        **options,
    )


def _ia3(_: Ia3Method, model: PreTrainedModel, **options: Any) -> IA3Config:
    names = {
        name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear)
    }
    chosen = next((row for row in _IA3_NAMES if names.issuperset(row)), None)
    if chosen is not None:
        options |= {"target_modules": list(chosen), "feedforward_modules": [chosen[-1]]}
    return IA3Config(**options)  # else PEFT knows the names by the model's type, or says so


def _prompt(method: PromptMethod, model: PreTrainedModel, **options: Any) -> PromptTuningConfig:
    # PEFT's own default is random numbers; words are where the base knows what to do with them.
    options["prompt_tuning_init"] = PromptTuningInit.SAMPLE_VOCAB
    if method.init_text:
        options |= {
            "prompt_tuning_init": PromptTuningInit.TEXT,
            "prompt_tuning_init_text": method.init_text,
            "tokenizer_name_or_path": model.config.name_or_path,
        }
    return PromptTuningConfig(num_virtual_tokens=method.tokens, **options)


def _begin_as_text(adapted: Any, tokens: int) -> None:
    """Let the prefix be what `tokens` words of the vocabulary leave in the base's cache.

    PEFT's own beginning is random numbers, which take attention away from the text: on Gemma 3
    270M the loss then starts above the base's, and 20 steps do not make up for it.
    """
    model = adapted.get_base_model()
    if model.config.is_encoder_decoder or model.config.model_type in _OTHER_CACHES:
        return
    text = model.config.get_text_config()
    ids = torch.randint(0, text.vocab_size, (1, tokens), device=model.device)
    cache = DynamicCache()  # without a config it keeps what a sliding window would drop
    with torch.no_grad():
        model(input_ids=ids, past_key_values=cache, use_cache=True)
    layers: list[Any] = list(cache.layers)
    begun = [(layer.keys, layer.values) for layer in layers]
    initialize_kv_prefix_from_past_key_values(adapted, past_key_values=begun)


def _full(model: PreTrainedModel, method: FullMethod) -> Adapted:
    # What is not saved, since it is computed (Marian's positions), must not be trained either.
    computed = [re.compile(pattern) for pattern in model._keys_to_ignore_on_save or ()]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(pattern.search(name) for pattern in computed))
    if not method.embeddings:
        for part in (model.get_input_embeddings(), model.get_output_embeddings()):
            if part is not None:
                part.requires_grad_(False)
    for parameter in model.parameters():
        if parameter.requires_grad:  # updates are smaller than what bf16 can tell apart
            parameter.data = parameter.data.float()
    return Adapted(model, model)
