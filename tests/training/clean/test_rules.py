"""Each rule drops what it is for, and lets a good neighbour stay."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from adapters.ids import LanguagePair
from training.clean.rules import Cleaner, CleanRules
from training.corpus.segment import Segment

LONG = "The controller restarts the pod as soon as its node has enough memory for it again."
LONG_FR = "Le contrôleur redémarre le pod dès que son nœud a de nouveau assez de mémoire."
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def broken(source: str, target: str, pair: str = "en-fr", **rules: object) -> str | None:
    cleaner = Cleaner(CleanRules.model_validate(rules))
    return cleaner.broken(Segment(source, target, "d", "p", 1, LanguagePair.parse(pair)))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Add", "Hinzufügen"),
        ("OK", "D'accord"),
        ("  - a\n\n\tb ", "  - c\n\n\td "),
        ("```\n    x = 1\n```\n\nRun it.", "```\n    x = 1\n```\n\nLancez-le."),
        ("Show %s of %s", "%s sur %s"),
        ("%(count)d selected", "%(count)d sélectionnés"),
        ("v1.2", "v1.2 "),
        ("© 2024", "© 2024, tous droits réservés"),
        ("&Open…", "&Ouvrir…"),
        ("*", "—"),
        ("Yes/No", "Oui/Non"),
        (LONG, LONG_FR),
    ],
)
def test_what_is_good_stays(source: str, target: str) -> None:
    kept = broken(source, target, drop_identical=False)
    assert kept is None


@pytest.mark.parametrize(
    ("source", "target", "rule"),
    [
        ("", "a", "empty"),
        ("a", " \n", "empty"),
        ("Python", "Python", "identical"),
        ("Python ", "Python", "identical"),
        ("a" * 1001, "b", "too_long"),
        ("a", "b" * 1001, "too_long"),
        ("a " * 151, "b " * 100, "too_many_words"),
        ("a b c " * 50, "b c d " * 50, "average_word"),
        ("Save", "Enregistrer le document en cours et quitter", "length_ratio"),
        ("Open the file", "Ouvrezlefichierquevousvenezdetelechargeravantdepartir", "length_ratio"),
        (f"{LONG} now", f"{LONG_FR} {'ouvrez' * 7}", "long_word"),
        ("Now it is spaced out", "M a i n t e n a n t   e s p a c é", "average_word"),
    ],
)
def test_lengths_have_their_limits(source: str, target: str, rule: str) -> None:
    assert broken(source, target) == rule


def test_korean_words_are_short_and_good() -> None:
    source = "Restart the kernel and run all cells"
    assert broken(source, "커널 재시작 후 모든 셀 실행", "en-ko") is None


def test_a_long_path_or_checksum_is_no_long_word() -> None:
    path = "kubernetes.io/config/apps/v1/deployments/last-applied-configuration"
    assert broken(f"Remove {path} first", f"Supprimez d'abord {path}") is None
    assert broken(f"The checksum {HASH} is good", f"La somme {HASH} est bonne") is None


def test_chinese_needs_no_spaces() -> None:
    text = "控制器会在节点重新拥有足够内存之后立即重新启动这个容器组并且继续运行剩余的任务"
    source = f"{LONG} It then goes on with all that is left to do."
    assert broken(source, text, "en-zh") is None
    cleaner = Cleaner(CleanRules())
    assert cleaner.broken(Segment(source, text, "d", "p", 1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Le contrôleur redémarre".encode().decode("latin-1"),
        "It\u2019s here".encode().decode("cp1252"),
        "Привет мой друг".encode().decode("cp1251"),
        "příliš žluťoučký kůň".encode().decode("cp1250", "replace"),
        "caf\ufffd",
        "a\x00b",
        "锟斤拷 a",
        "half \ud800",
    ],
)
def test_garbled_text_goes_on_either_side(text: str) -> None:
    assert broken("The controller restarts", text) == "garbled"
    assert broken(text, "Le contrôleur redémarre") == "garbled"
    assert broken("The controller restarts", text, drop_garbled=False) != "garbled"


@pytest.mark.parametrize(
    "text",
    [
        "À l\u2019été, « déjà »… naïf — 50 €",
        "Größe ändern: „Übung“",
        "Різні Річки, Російська",
        "C'est où ? Là…",
        "a\tb\r\nc",
        "❤️ 👩‍💻",
        "ÇA VA, ÉTÉ!",
        "São Paulo \u2013 àquela",
    ],
)
def test_accents_and_quotes_are_not_garbled(text: str) -> None:
    assert broken("The controller restarts the pod", text, "en-mul") is None


def test_a_target_that_keeps_the_words_of_its_source_goes() -> None:
    source = "Install the latest version of the chart with all of its dependencies now"
    assert broken(source, source.replace("Install", "INSTALL") + ".", max_copied=0.7) == "copied"
    assert broken(source, source + "!") == "copied"
    assert broken(source, source + "!", max_copied=None) == "language"
    assert broken("Red Hat, Google, IBM and SUSE", "Red Hat, Google, IBM et SUSE") is None


def test_text_without_letters_goes_and_a_version_stays() -> None:
    assert broken("+-----+-----+-----+", "+-----+-----+----+") == "letters"
    assert broken("1.2.3", "1.2.3-rc.1") is None
    assert broken("`a && b || c ; {}`", "`a && b || d ; {}`") is None


@pytest.mark.parametrize(
    ("source", "target", "rule"),
    [
        ("{name} and {name}", "{name}", "placeholders"),
        ("%s files", "fichiers", "placeholders"),
        ("files", "%s fichiers", "placeholders"),
        ("<b>Bold</b>", "<b>Gras<b>", "placeholders"),
        ("See https://helm.sh/docs now", "Voir maintenant", "addresses"),
        ("See https://helm.sh/docs", "Voir https://spam.example/docs", "addresses"),
        ("Write to a@helm.sh", "Écrivez à b@helm.sh", "addresses"),
        ("In 2019 it had 250 members", "En 2018 il y avait 120 membres", "numbers"),
        ("Go on. " + "It is so. " * 7, "Continuez ainsi, " + "puis encore, " * 7, "sentences"),
        ("Go on and on and on", "Allez, allez, allez, allez, allez,", "loops"),
    ],
)
def test_what_both_sides_must_tell_is_compared(source: str, target: str, rule: str) -> None:
    assert broken(source, target) == rule


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("See https://en.wikipedia.org/wiki/A", "Voir https://fr.wikipedia.org/wiki/B"),
        ("See https://google.com/a.", "Voir https://www.google.fr/a."),
        ("Over 10,000 users, 1.5 GB", "Plus de 10 000 utilisateurs, 1,5 Go"),
        ("2 files in 2024", "deux fichiers en 2024"),
        ("On October 31, 2020 at 5:30 PM", "Le 31/10/2020 à 17:30"),
        ("Is it? Yes. It is!", "L'est-ce ? Oui, ce l'est !"),
        ("no, no, no, no", "non, non, non, non"),
    ],
)
def test_what_translators_change_with_good_reason_stays(source: str, target: str) -> None:
    assert broken(source, target) is None


def test_digits_of_other_scripts_are_the_same_numbers() -> None:
    assert broken("In 2019 it had 250 members", "كان لديه 250 عضوا في عام ٢٠١٩", "en-ar") is None


def test_a_loop_of_chinese_characters_is_a_loop() -> None:
    assert broken("Start the container", "启动容器启动容器启动容器启动容器", "en-zh") == "loops"
    assert broken("Ha ha ha ha ha!", "哈哈哈哈哈！", "en-zh") is None


def test_blocked_words_are_words_phrases_or_characters_in_any_case() -> None:
    words = ["darn", "go away", "可恶"]
    assert broken("Darn it", "Zut", blocked_words=words) == "blocked"
    assert broken("Please Go Away", "Partez", blocked_words=words) == "blocked"
    assert broken("Oh no", "真可恶啊", "en-zh", blocked_words=words) == "blocked"
    assert broken("Darned socks", "Chaussettes reprisées", blocked_words=words) is None
    with pytest.raises(ValidationError):
        CleanRules.model_validate({"blocked_words": [""]})


def test_a_preference_for_what_it_rejects_goes() -> None:
    one = Segment("Save", "Enregistrer", "d", "p", 1, None, "Enregistrer ")
    assert Cleaner(CleanRules()).broken(one) == "equal_sides"


def test_every_rule_can_be_switched_off() -> None:
    off = {
        name: False if isinstance(info.default, bool) else None
        for name, info in CleanRules.model_fields.items()
        if name != "blocked_words"
    }
    assert Cleaner(CleanRules.model_validate(off)).names == ("empty", "equal_sides")
    assert broken("Python", "Python", drop_identical=False) is None
    assert broken("%s", "nothing", match_placeholders=False) is None


def test_names_are_in_the_order_in_which_rules_are_tried() -> None:
    names = Cleaner(CleanRules(blocked_words=("x",))).names
    assert names[:2] == ("empty", "equal_sides")
    known = ("identical", "too_long", "length_ratio", "placeholders")
    assert tuple(name for name in names if name in known) == known
    assert names[-1] == "blocked"
    assert not {"duplicate", "other_translation"} & {*names}


def test_rules_reach_a_worker_as_they_are() -> None:
    rules = CleanRules(max_chars=7, blocked_words=("x",))
    assert pickle.loads(pickle.dumps(rules)) == rules  # noqa: S301 - our own


def test_text_for_other_tasks_is_not_compared_with_its_other_side() -> None:
    relaxed = Cleaner(CleanRules().relaxed())
    compared = {"identical", "copied", "too_long", "too_many_words", "length_ratio"}
    compared |= {"placeholders", "addresses", "numbers", "sentences"}
    assert not compared & {*relaxed.names}
    assert {"garbled", "script", "language", "loops"} <= {*relaxed.names}
    assert "numbers" in Cleaner(CleanRules(min_numbers_shared=0.7).relaxed()).names


@pytest.mark.parametrize("share", [0.4, 1.1])
def test_near_duplicates_share_half_at_least(share: float) -> None:
    with pytest.raises(ValidationError):
        CleanRules(near_duplicates=share)
