from __future__ import annotations

import pytest

from adapters.ids import LanguagePair
from training.evaluate.fault import Fault
from training.evaluate.faults import Answered, at_risk, count, fault_of
from training.evaluate.memorised import memorised

EN_FR = LanguagePair("en", "fr")
SOURCE = "Could not open %1 after 30 seconds, please try again later."
REFERENCE = "Impossible d'ouvrir %1 après 30 secondes, veuillez réessayer plus tard."


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (REFERENCE, None),
        ("Échec de l'ouverture de %1 au bout de 30 secondes, réessayez plus tard.", None),
        ("  ", Fault.EMPTY),
        (SOURCE, Fault.COPIED),
        ("could not open %1 after 30 seconds,  please try again later.", Fault.COPIED),
        ("Impossible d'ouvrir " * 6, Fault.LOOP),
        ("Could not open it: the system was waiting much too long for %1, 30 s", Fault.LANGUAGE),
        ("%1 konnte nach 30 Sekunden nicht geöffnet werden, bitte später noch", Fault.LANGUAGE),
        (f"{REFERENCE} Merci de votre patience, nous faisons tout ce que nous pouvons pour vous "
         "aider, et vous demandons de bien vouloir nous excuser pour la gêne occasionnée. Notre "
         "équipe travaille sans relâche pour rétablir le service aussi vite que possible, et elle "
         "reviendra vers vous dès que ce sera fait, au plus tard demain matin.", Fault.LENGTH),
        (REFERENCE.replace("%1 ", ""), Fault.PLACEHOLDERS),
        (REFERENCE.replace("%1", "<b>%1</b>"), Fault.PLACEHOLDERS),
        (REFERENCE.replace("30", "45").replace("plus tard", "dans 12 minutes"), Fault.NUMBERS),
    ],
)  # fmt: skip
def test_each_fault_is_seen_and_only_the_first(answer: str, fault: Fault | None) -> None:
    assert fault_of(Answered(SOURCE, REFERENCE, answer), EN_FR) == fault


@pytest.mark.parametrize(
    ("source", "reference", "answer"),
    [
        ("JupyterLab 4.5", "JupyterLab 4.5", "JupyterLab 4.5"),  # nothing to translate
        ("OK", "D'accord", "Bon"),  # too short to be of a language
        ("Hello %s", "Bonjour", "Salut"),  # the reference drops it as well
        ("Chapter 12 and 14", "Chapitres douze et quatorze", "Chapitres douze à quatorze"),
        ("", "", ""),
    ],
)
def test_what_the_reference_does_as_well_is_no_fault(
    source: str, reference: str, answer: str
) -> None:
    assert fault_of(Answered(source, reference, answer), EN_FR) is None


def test_rates_are_of_all_answers() -> None:
    found = count([None, Fault.LOOP, Fault.LOOP, None])
    assert found.rate(Fault.LOOP) == 0.5
    assert found.to_json() == {**dict.fromkeys(map(str, Fault), 0.0), "loop": 50.0}
    assert count([]).rate(Fault.LOOP) == 0.0


def test_not_every_text_could_lose_a_placeholder_or_a_number() -> None:
    sources = ["Open %1", "Open", "Page 12", "Save"]
    risk = at_risk(sources, [None, None, None, Fault.PLACEHOLDERS])
    assert (risk[Fault.PLACEHOLDERS], risk[Fault.NUMBERS], risk[Fault.LOOP]) == (2, 1, 4)


def test_memorised_are_wrong_answers_that_were_trained_on() -> None:
    trained_on = ["Enregistrer le fichier sous…", "Ouvrir un nouvel onglet", "Annuler"]
    answers = ["enregistrer le  fichier sous…", "Ouvrir un nouvel onglet", "Annuler", "Fermer"]
    references = ["Ouvrir le fichier", "Ouvrir un nouvel onglet", "Interrompre", "Fermer"]
    assert memorised(answers, references, trained_on) == [True, False, False, False]
