"""How many pairs a second the rules judge on one core.

    python -m training.clean.speed [--pairs 20000] [--rounds 5]

prints {"cheap", "all"}: the best round of every rule but the identification of languages, and of
all of them. The pairs are of one sentence each, in four languages, with numbers and markup that
differ from pair to pair (the same for everyone).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from typing import Final

from adapters.console import print_json
from adapters.ids import LanguagePair
from training.clean.rules import Cleaner, CleanRules
from training.corpus.segment import Segment

_TEXTS: Final = {
    "en": (
        "The controller restarts pod {n} as soon as its node has enough memory for it again.",
        "Run `helm upgrade app-{n} --wait` and look at [the notes](https://helm.sh/docs/{n}).",
        "Deleted {n} of {{total}} files from <b>{{folder}}</b>",
        "Save all",
    ),
    "fr": (
        "Le contrôleur redémarre le pod {n} dès que son nœud a de nouveau assez de mémoire.",
        "Lancez `helm upgrade app-{n} --wait` et lisez [les notes](https://helm.sh/fr/docs/{n}).",
        "{n} fichiers sur {{total}} supprimés de <b>{{folder}}</b>",
        "Tout enregistrer",
    ),
    "de": (
        "Der Controller startet Pod {n} neu, sobald sein Knoten wieder genug Speicher hat.",
        "Führen Sie `helm upgrade app-{n} --wait` aus und lesen Sie"
        " [die Hinweise](https://helm.sh/de/docs/{n}).",
        "{n} von {{total}} Dateien aus <b>{{folder}}</b> gelöscht",
        "Alles speichern",
    ),
    "ru": (
        "Контроллер перезапускает под {n}, когда на узле снова хватает памяти.",
        "Выполните `helm upgrade app-{n} --wait` и прочтите"
        " [заметки](https://helm.sh/ru/docs/{n}).",
        "Удалено файлов: {n} из {{total}} в <b>{{folder}}</b>",
        "Сохранить всё",
    ),
    "zh": (
        "一旦节点重新拥有足够的内存，控制器就会重新启动容器组 {n}。",
        "运行 `helm upgrade app-{n} --wait` 并阅读[说明](https://helm.sh/zh/docs/{n})。",
        "已从 <b>{{folder}}</b> 删除 {{total}} 个文件中的 {n} 个",
        "全部保存",
    ),
}


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pairs = made_pairs(arguments.pairs)
    cheap, every = Cleaner(CleanRules(other_language=None)), Cleaner(CleanRules())
    print_json(
        {
            "cheap": round(pairs_per_s(cheap, pairs, arguments.rounds)),
            "all": round(pairs_per_s(every, pairs, arguments.rounds)),
        }
    )
    return 0


def made_pairs(count: int) -> list[Segment]:
    """Return so many pairs, the same for everyone."""
    choice = random.Random(0)  # noqa: S311 - no secret
    pairs = []
    for line in range(count):
        target = choice.choice([*_TEXTS][1:])
        which, number = choice.randrange(len(_TEXTS[target])), choice.randrange(10_000)
        source, translation = (_TEXTS[name][which].format(n=number) for name in ("en", target))
        pair = LanguagePair("en", target)
        pairs.append(Segment(source, translation, "made", "made", line + 1, pair))
    return pairs


def pairs_per_s(cleaner: Cleaner, pairs: Sequence[Segment], rounds: int) -> float:
    """Return the pairs that are judged in a second of the best round."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for pair in pairs:
            cleaner.broken(pair)
        times.append(time.process_time() - started)
    return len(pairs) / min(times)


if __name__ == "__main__":
    sys.exit(main())
