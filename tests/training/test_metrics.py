from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from adapters.ids import LanguagePair
from training.evaluate import metrics
from training.evaluate.bootstrap import SEED, compare, compare_mean, resampled
from training.evaluate.scoreboard import TestSet
from training.evaluate.scores import Outputs, score

words = st.lists(st.sampled_from(["le", "chat", "dort", "是", "%1", "Ouvrir…", "x"]), max_size=6)
texts = words.map(" ".join)
REFERENCES = [f"Ouvrir le fichier numéro {n} dans un nouvel onglet" for n in range(60)]
GOOD = [text.replace("nouvel", "autre") if n % 3 else text for n, text in enumerate(REFERENCES)]
ROWS = list(zip(GOOD, REFERENCES, strict=True))
BAD = [text.replace("Ouvrir le fichier", "Open file") for text in REFERENCES]


@pytest.mark.parametrize("language", ["fr", "zh", "th"])
@settings(max_examples=25)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=12))
def test_our_scores_are_sacrebleus(language: str, rows: list[tuple[str, str]]) -> None:
    hypotheses, references = [h for h, _ in rows], [r for _, r in rows]
    own = {
        CHRF(word_order=2): metrics.chrf_metric(),
        BLEU(tokenize=metrics.bleu_tokenizer(language)): metrics.bleu_metric(language),
        TER(normalized=language == "zh", asian_support=language == "zh"): metrics.ter_metric(
            language
        ),
    }
    for theirs, ours in own.items():
        expected = theirs.corpus_score(hypotheses, [references]).score
        assert ours.score(hypotheses, references).value == pytest.approx(expected, abs=1e-9)
        assert ours.signature == str(theirs.get_signature())


def test_each_segment_has_its_own_chrf() -> None:
    expected = [CHRF(word_order=2).sentence_score(h, [r]).score for h, r in ROWS]
    assert metrics.chrf_of_each(GOOD, REFERENCES) == pytest.approx(expected)


def test_scores_travel_with_their_signatures() -> None:
    assert "nw:2" in metrics.chrf(GOOD, REFERENCES).signature
    assert "tok:13a" in metrics.bleu(GOOD, REFERENCES, language="fr").signature
    assert "tok:zh" in metrics.bleu(["你好"], ["你好"], language="zh_hans").signature
    assert "version:2.6" in metrics.bleu(GOOD, REFERENCES, language="fr").signature


@pytest.mark.parametrize(
    ("language", "tokenizers"),
    [
        ("zh", {"zh"}),
        ("zh_hant", {"zh"}),
        ("ja", {"ja-mecab", "char"}),
        ("th", {"char"}),
        ("de", {"13a"}),
    ],
)
def test_bleu_splits_words_as_the_language_needs(language: str, tokenizers: set[str]) -> None:
    assert metrics.bleu_tokenizer(language) in tokenizers


def test_a_difference_is_significant_to_either_side() -> None:
    better, worse = compare(GOOD, BAD, REFERENCES), compare(BAD, GOOD, REFERENCES)
    assert better.gain == pytest.approx(-worse.gain)
    assert better.p_value == worse.p_value == pytest.approx(1 / 1001)
    assert better.ci95[0] < better.value < better.ci95[1]
    assert better.gain_ci95[0] > 0 > worse.gain_ci95[1]


def test_a_system_is_not_better_than_itself() -> None:
    same = compare(GOOD, GOOD, REFERENCES)
    assert (same.gain, same.p_value) == (0.0, 1.0)


def test_a_lucky_system_is_not_significant() -> None:
    # Better on half of the segments and as much worse on the other half.
    mixed = [GOOD[n] if n % 2 else BAD[n] for n in range(60)]
    other = [BAD[n] if n % 2 else GOOD[n] for n in range(60)]
    assert compare(mixed, other, REFERENCES).p_value > 0.05


def test_the_seed_decides_the_resamples() -> None:
    first = compare(GOOD, BAD, REFERENCES)
    assert first == compare(GOOD, BAD, REFERENCES, seed=SEED)
    assert first.gain_ci95 != compare(GOOD, BAD, REFERENCES, seed=1).gain_ci95


@pytest.mark.parametrize("metric", [metrics.chrf_metric(), metrics.bleu_metric("fr")])
def test_p_values_are_sacrebleus(metric: metrics.Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    # Close to each other, so that p is no corner case.
    near = [GOOD[n] if n % 2 else text for n, text in enumerate(REFERENCES)]
    mixed = [text if n % 2 else GOOD[n] for n, text in enumerate(REFERENCES)]
    theirs: Any = PairedTest(
        [("mixed", mixed), ("near", near)], {"x": metric._metric}, [REFERENCES], test_type="bs"
    )()[1]
    expected = next(value for key, value in theirs.items() if key != "System")[1].p_value
    ours = resampled(metric, near, REFERENCES).against(resampled(metric, mixed, REFERENCES))
    assert 0.002 < ours.p_value < 1
    assert ours.p_value == expected


def test_the_manifest_gets_both_scores_with_base_and_significance() -> None:
    outputs = Outputs(sources=BAD, references=REFERENCES, candidate=GOOD, base=BAD)
    test = TestSet("t", LanguagePair("en", "fr"), BAD, REFERENCES)
    chrf, bleu, ter = score(outputs, test).scores()
    assert (chrf.metric, bleu.metric, ter.metric) == ("chrF++", "BLEU", "TER")
    assert chrf.base_value is not None
    assert chrf.value > chrf.base_value
    assert chrf.p_value is not None
    assert chrf.p_value < 0.05
    assert chrf.ci95 is not None


def test_a_mean_counts_each_test_set_the_same_however_large() -> None:
    small = (GOOD[:10], BAD[:10], REFERENCES[:10])
    large = (BAD, GOOD, REFERENCES)
    mean, one, other = compare_mean([small, large]), compare(*small), compare(*large)
    assert mean.value == pytest.approx((one.value + other.value) / 2)
    assert mean.gain == pytest.approx((one.gain + other.gain) / 2)
    assert mean.gain_ci95[0] < mean.gain < mean.gain_ci95[1]
    assert compare_mean([large]) == other
