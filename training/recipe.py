"""Recipe: the strict YAML of one training run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator

from adapters.base_prompt import prompt_for_base
from adapters.errors import RecipeInvalid
from adapters.ids import AdapterId, LanguagePair
from adapters.manifest import Decoding, Id, Pair
from adapters.prompt import Example, PromptFormat
from adapters.strict.document import Document, Fault, line_of, parse
from adapters.strict.faults import faults_of, with_overrides
from adapters.strict.section import Section
from training.augment.rules import AugmentRules
from training.clean.rules import CleanRules
from training.corpus.source import Source
from training.fit.schedule import Schedule
from training.gate import GateRule
from training.methods.config import LoraMethod, Method
from training.methods.rates import learning_rate_of
from training.objective import Objective, Sft, check_method
from training.recipe_mixing import check_augment, check_mixing
from training.recipe_pairs import (
    check_pairs,
    check_prompt,
    check_sampling,
    check_sources,
    check_texts,
)
from training.sampling import SamplingRule
from training.split import SplitRule
from training.task import Task

SHIPPED: Final = Path(__file__).parent / "recipes"
_R = TypeVar("_R", bound="Recipe")


class PromptSection(Section):
    """What the adapter is asked; the chat template and the stop ids come from the base's card."""

    system: str | None = Field(default=None, description="may use {source} and {target}")
    user: str = Field(default="{text}", description="needs {text}, may use {source} and {target}")
    examples: tuple[Example, ...] = Field(default=(), strict=False)

    @field_validator("user")
    @classmethod
    def _user_renders(cls, text: str) -> str:
        try:
            PromptFormat(user=text, chat_template="", stop_token_ids=(0,))
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return text

    @field_validator("system")
    @classmethod
    def _system_renders(cls, text: str | None) -> str | None:
        try:
            (text or "").format(source="", target="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"only {{source}} and {{target}} are filled in, found {error}; "
                "write {{ and }} for braces"
            ) from error
        return text

    def complete(self, base: Path, *, examples: tuple[Example, ...] = ()) -> PromptFormat:
        """Return the whole format for the model in folder `base`, with `examples` added."""
        shown = (*self.examples, *examples)
        return prompt_for_base(base, user=self.user, system=self.system, examples=shown)


class EvaluateSection(Section):
    """How the candidate is scored."""

    segments: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=120, description="at most so many of the test part, or all"
    )
    shots: int = Field(default=3, ge=0, le=32, description="examples that the base is shown")
    zero_shot: bool | None = Field(
        default=None,
        description="measure the base without examples, too; if not said, of summaries only",
    )
    elsewhere: tuple[Source, ...] = Field(
        default=(),
        strict=False,
        description="text of other kinds or pairs, never trained on: what the adapter forgot",
        examples=["[{jsonl: news.jsonl, pair: en-fr, licence: CC0-1.0}]"],
    )
    elsewhere_segments: int = Field(default=60, ge=8, description="at most so many of each source")
    probes: bool = Field(
        default=True,
        description="ask the adapter texts that try to be obeyed, and occupations of both genders "
        "(of translations, by causal bases)",
    )
    samples: int = Field(default=12, ge=0, description="translations shown in the report")
    batch_size: int = Field(default=32, ge=1, description="segments decoded together")

    @property
    def limit(self) -> int | None:
        """Where a list of test segments is cut; None leaves it whole."""
        return None if self.segments == "all" else self.segments


class Recipe(Section):
    """One run: which text, cleaned and split how, which base and method, and when it is good."""

    id: Id = Field(description="domain-source-target, or domain-mul", examples=["k8s-en-fr"])
    pairs: tuple[Pair, ...] = Field(
        default=(),
        strict=False,
        validate_default=True,
        description="what an adapter with the id domain-mul translates, the first by default",
        examples=["[en-de, en-fr, fr-en]"],
    )
    task: Task = Field(
        default="translation", description="decides the rules of cleaning, metrics and baselines"
    )
    objective: Objective = Field(
        default=Sft(), description="what is learnt from the text: sft, monolingual, dpo or cpo"
    )
    licence: str = Field(min_length=1, description="of the adapter", examples=["BSD-3-Clause"])
    base: str = Field(default="gemma3-270m", description="name or folder of the base model")
    limitations: str = Field(default="", description="what users of the adapter must know")
    data: tuple[Source, ...] = Field(
        min_length=1, strict=False, examples=["[{jsonl: pairs.jsonl, licence: CC0-1.0}]"]
    )
    clean: CleanRules = Field(default=CleanRules(), validate_default=True)
    split: SplitRule = SplitRule()
    sampling: SamplingRule = SamplingRule()
    augment: AugmentRules = AugmentRules()
    prompt: PromptSection = Field(default=PromptSection(), validate_default=True)
    decoding: Decoding = Decoding()
    method: Method = LoraMethod()
    schedule: Schedule = Field(default=Schedule(), validate_default=True)
    evaluate: EvaluateSection = Field(default=EvaluateSection(), validate_default=True)
    gate: GateRule = GateRule()
    seed: int = Field(default=0, ge=0)
    _folder: Path = PrivateAttr(default=Path())

    @field_validator("pairs")
    @classmethod
    def _pairs_of_id(
        cls, pairs: tuple[LanguagePair, ...], info: ValidationInfo
    ) -> tuple[LanguagePair, ...]:
        adapter_id: AdapterId | None = info.data.get("id")
        if adapter_id is None:
            return pairs
        return check_pairs(adapter_id, pairs)

    @field_validator("data")
    @classmethod
    def _text_for_pairs(cls, data: tuple[Source, ...], info: ValidationInfo) -> tuple[Source, ...]:
        objective: Objective = info.data.get("objective", Sft())
        if pairs := info.data.get("pairs"):
            check = check_texts if objective.kind == "monolingual" else check_sources
            check(data, pairs)
        return data

    @field_validator("method")
    @classmethod
    def _serves_the_objective(cls, method: Method, info: ValidationInfo) -> Method:
        if (objective := info.data.get("objective")) is not None:
            check_method(objective, method)
        return method

    @field_validator("clean")
    @classmethod
    def _rules_of_task(cls, rules: CleanRules, info: ValidationInfo) -> CleanRules:
        objective: Objective = info.data.get("objective", Sft())
        is_text = objective.kind == "monolingual"
        if is_text and "drop_identical" in rules.model_fields_set and rules.drop_identical:
            raise ValueError("drop_identical would drop all monolingual text; remove it")
        is_relaxed = is_text or info.data.get("task") == "summarization"
        return rules.relaxed() if is_relaxed else rules

    @field_validator("evaluate")
    @classmethod
    def _baselines_of_task(cls, section: EvaluateSection, info: ValidationInfo) -> EvaluateSection:
        if section.zero_shot is not None:
            return section
        is_asked = info.data.get("task") == "summarization" and section.shots > 0
        return section.model_copy(update={"zero_shot": is_asked})

    @field_validator("schedule")
    @classmethod
    def _suits_the_method(cls, schedule: Schedule, info: ValidationInfo) -> Schedule:
        method: Method | None = info.data.get("method")
        if method is not None and method.kind == "prefix" and schedule.gradient_checkpointing:
            raise ValueError(
                "gradient_checkpointing takes the cache away, where the method's prefix is; "
                "use gradient_checkpointing: false, and a smaller tokens_per_pass"
            )
        if method is None or schedule.learning_rate is not None:
            return schedule
        # Here, so that digest, manifest and report name the rate that was used.
        return schedule.model_copy(update={"learning_rate": learning_rate_of(method)})

    @field_validator("prompt")
    @classmethod
    def _tells_pairs_apart(cls, prompt: PromptSection, info: ValidationInfo) -> PromptSection:
        objective: Objective = info.data.get("objective", Sft())
        pairs: tuple[LanguagePair, ...] = info.data.get("pairs", ())
        if objective.kind != "monolingual":  # that reads text and asks nothing
            check_prompt([prompt.user, prompt.system or ""], pairs)
        if len(pairs) > 1 and prompt.examples:
            raise ValueError(
                "examples are shown for every pair, and these are of one; remove them, or write "
                "one recipe a pair"
            )
        return prompt

    @field_validator("sampling")
    @classmethod
    def _shares_of_pairs(cls, rule: SamplingRule, info: ValidationInfo) -> SamplingRule:
        if pairs := info.data.get("pairs"):
            check_sampling(rule, pairs)
        if (sources := info.data.get("data")) is not None:
            check_mixing(rule, sources)
        return rule

    @field_validator("augment")
    @classmethod
    def _has_prompts(cls, rules: AugmentRules, info: ValidationInfo) -> AugmentRules:
        check_augment(rules, info.data.get("objective", Sft()))
        return rules

    @property
    def pair(self) -> LanguagePair:
        """The languages of the adapter; of several pairs, the first."""
        return self.pairs[0]

    @property
    def folder(self) -> Path:
        """Where relative paths of the recipe start."""
        return self._folder

    @property
    def digest(self) -> str:
        """64 hex digits over every value: equal for recipes that ask for the same run."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()

    @classmethod
    def load(cls, name: str, *, overrides: Sequence[str] = (), folder: Path | None = None) -> Self:
        """Return the recipe in file `name`, or the shipped one of that name.

        `overrides` are `dotted.key=value`; relative paths start at `folder`, without one at the
        recipe's own. Raises RecipeInvalid with every fault at once, each
        with its line and how to mend it.
        """
        path = find_recipe(name)
        try:
            document = parse(path.read_text(encoding="utf-8"), _shown(path))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeInvalid(f"{path}: cannot be read ({error})") from error
        recipe, faults = _validate(cls, with_overrides(document, overrides))
        if recipe is None:
            raise RecipeInvalid("\n".join(map(str, sorted(faults, key=line_of))))
        recipe._folder = (folder or path.parent).resolve()
        return recipe


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given as a path or as a shipped name. Raises RecipeInvalid."""
    return find_shipped(name, SHIPPED, "recipe")


def find_shipped(name: str, folder: Path, what: str) -> Path:
    """Return the file `name`, or that of this name in `folder`. Raises RecipeInvalid."""
    shipped = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name in shipped:
        return shipped[name]
    raise RecipeInvalid(
        f"{name}: no such file, and no shipped {what}; shipped are {', '.join(shipped) or 'none'}"
    )


def _validate(cls: type[_R], document: Document) -> tuple[_R | None, list[Fault]]:
    if not document.faults and not isinstance(document.values, dict):
        fault = Fault(f"{document.name}:1", "expected keys such as `id: k8s-en-fr`, found none")
        return None, [fault]
    return faults_of(cls, document)


def _shown(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
