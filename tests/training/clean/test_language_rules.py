"""Script and language: what a pair says it is, it must be; short texts are not judged."""

from __future__ import annotations

import pytest

from adapters.ids import LanguagePair
from training.clean import language_id, script, writing
from training.clean.rules import Cleaner, CleanRules
from training.clean.view import Side
from training.corpus.segment import Segment

EN = "The controller restarts the pod as soon as its node has enough memory for it again."
IN_LANGUAGE = {
    "fr": "Le contrôleur redémarre le pod dès que son nœud a de nouveau assez de mémoire.",
    "de": "Der Controller startet den Pod neu, sobald sein Knoten wieder genug Speicher hat.",
    "es": "El controlador reinicia el pod en cuanto su nodo vuelve a tener memoria suficiente.",
    "pt": "O controlador reinicia o pod assim que o nó volta a ter memória suficiente para ele.",
    "ru": "Контроллер перезапускает под, когда на узле снова хватает памяти.",
    "uk": "Контролер перезапускає под, щойно на його вузлі знову вистачає пам'яті.",
    "zh": "一旦节点重新拥有足够的内存，控制器就会重新启动该容器组，并继续执行"
    "剩余的任务，直到全部完成。",
    "zh_hant": "一旦節點重新擁有足夠的記憶體，控制器就會重新啟動該容器組，並繼續"
    "執行剩餘的任務，直到完成。",
    "ja": "ノードに十分なメモリが戻ると、コントローラーはすぐにポッドを再起動し、"
    "残りの作業を続けます。",
    "ko": "노드에 메모리가 다시 충분해지면 컨트롤러는 즉시 파드를 다시 시작하고 "
    "남은 작업을 계속합니다.",
    "th": "ตัวควบคุมจะเริ่มพ็อดใหม่ทันทีที่โหนดมีหน่วยความจำเพียงพออีกครั้ง",
    "ar": "تعيد وحدة التحكم تشغيل الحاوية بمجرد أن تتوفر للعقدة ذاكرة كافية مرة أخرى.",
    "hi": "जैसे ही नोड के पास फिर से पर्याप्त मेमोरी होती है, नियंत्रक पॉड को पुनः आरंभ करता है।",
}
CLEANER = Cleaner(CleanRules())


def broken(source: str, target: str, pair: str) -> str | None:
    return CLEANER.broken(Segment(source, target, "d", "p", 1, LanguagePair.parse(pair)))


@pytest.mark.parametrize("language", IN_LANGUAGE)
def test_a_translation_in_its_language_stays_in_both_directions(language: str) -> None:
    assert broken(EN, IN_LANGUAGE[language], f"en-{language}") is None
    assert broken(IN_LANGUAGE[language], EN, f"{language}-en") is None


@pytest.mark.parametrize("language", IN_LANGUAGE)
def test_english_in_place_of_the_translation_goes(language: str) -> None:
    other = "A pod is started again by its controller once there is memory left on the node."
    assert broken(EN, other, f"en-{language}") in {"script", "language"}


@pytest.mark.parametrize(
    ("pair", "text", "rule"),
    [
        ("en-fr", IN_LANGUAGE["de"], "language"),
        ("en-de", IN_LANGUAGE["fr"], "language"),
        ("en-es", IN_LANGUAGE["fr"], "language"),
        ("en-zh", IN_LANGUAGE["ja"], "language"),
        ("en-ja", IN_LANGUAGE["ko"], "script"),
        ("en-ru", IN_LANGUAGE["fr"], "script"),
        ("en-fr", IN_LANGUAGE["ru"], "script"),
        ("en-zh", IN_LANGUAGE["ru"], "script"),
    ],
)
def test_another_language_goes(pair: str, text: str, rule: str) -> None:
    assert broken(EN, text, pair) == rule


def test_both_sides_are_looked_at() -> None:
    assert broken(IN_LANGUAGE["de"], IN_LANGUAGE["fr"], "en-fr") == "language"
    assert broken(IN_LANGUAGE["ru"], IN_LANGUAGE["fr"], "en-fr") == "script"


@pytest.mark.parametrize(
    ("pair", "source", "target"),
    [
        ("en-zh", "Service Mesh", "Service Mesh 服务网格"),
        ("en-zh", "Use the Custom Resource API", "使用 Custom Resource API"),
        ("en-ru", "Kubernetes", "Kubernetes (k8s)"),
        ("en-zh", "Run `helm install --debug --dry-run`", "`helm install --debug --dry-run` 运行"),
        ("en-ja", "[Kubernetes](https://kubernetes.io/docs/home)", "[K8s](https://kubernetes.io)"),
        ("en-fr", "Commit, push, merge", "Commit, push, merge !"),
        ("en-xx", EN, IN_LANGUAGE["fr"]),
        ("en-tlh", EN, "tlhIngan maH taHjaj 'ej wo' batlh wIchoqjaj reH qeylIS quv"),
    ],
)
def test_short_texts_names_code_and_unknown_languages_are_not_judged(
    pair: str, source: str, target: str
) -> None:
    assert broken(source, target, pair) is None


def test_a_pair_without_languages_is_not_judged() -> None:
    assert CLEANER.broken(Segment(EN, IN_LANGUAGE["ru"], "d", "p", 1)) is None


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("zh_hant", "hani"),
        ("zh_cn", "hani"),
        ("sr_latn", "latn"),
        ("sr_cyrl", "cyrl"),
        ("pt_br", "latn"),
        ("sr", None),
        ("tlh", None),
    ],
)
def test_a_language_has_its_script_unless_it_names_another(
    language: str, expected: str | None
) -> None:
    assert writing.script_of(language) == expected


def test_marks_belong_to_their_letters() -> None:
    text = "नमस्ते दुनिया"
    assert writing.letters(text) == len(text) - 1
    assert script.share_of_own(Side(text, "hi")) == 1.0


def test_a_foreign_word_in_chinese_counts_as_one_letter() -> None:
    assert script.share_of_own(Side("使用 Kubernetes", "zh")) == pytest.approx(2 / 3)
    assert script.share_of_own(Side("Kubernetes on bare metal", "zh")) == 0.0
    assert script.share_of_own(Side("ServiceAccount (namespaced)", "zh")) == 1.0
    assert script.share_of_own(Side("JUPYTER NOTEBOOK для GITHUB", "ru")) == pytest.approx(1 / 4)


def test_languages_that_identifiers_mix_up_are_not_dropped_for_one_another() -> None:
    norwegian = "Kontrolleren starter poden på nytt så snart noden igjen har nok minne til den."
    for language in ("nb", "no", "nn"):
        assert not language_id.is_of_other(norwegian, language, least=0.5)
    assert language_id.is_of_other(norwegian, "fr", least=0.5)
