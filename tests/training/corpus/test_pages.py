"""Markdown in two languages: its blocks, what belongs together, and originals in comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.ids import LanguagePair
from training.corpus.markdown.align import align
from training.corpus.markdown.blocks import blocks
from training.corpus.markdown.comments import commented, pairs_of
from training.corpus.markdown.pages import read_commented, read_pages
from training.corpus.reading import Page, Reading

EN_FR = LanguagePair("en", "fr")
ENGLISH = """\
---
title: Install the tool
weight: 3
---

# Install {#install}

Get the tool from [its page](https://example.org/tool), which
needs `python3` and 20 MB.

```sh
pip install tool
```

- Run `tool --version`.
- Read [the guide](/guide).
  It is short.

| Option | Meaning |
|---|---|
| `--fast` | go fast |

> Never run it as root.

## Remove

Type `tool --remove`.
"""
FRENCH = """\
---
title: "Installer l'outil"
weight: 3
---

# Installer {#install}

Prenez l'outil sur [sa page](https://example.org/tool) ; il lui faut `python3` et 20 MB.

```sh
pip install tool
```

- Lancez `tool --version`.
- Lisez [le guide](/fr/guide).
  Il est court.

| Option | Sens |
|---|---|
| `--fast` | aller vite |

> Ne le lancez jamais en root.

## Supprimer

Tapez `tool --remove`.
"""


def pairs(english: str, french: str) -> list[tuple[str, str]]:
    return [(a.source.text, a.target.text) for a in align(blocks(english), blocks(french))]


def test_blocks_have_their_kind_line_and_markup() -> None:
    found = [(block.kind, block.text, block.line) for block in blocks(ENGLISH)]
    assert found == [
        ("front:title", "Install the tool", 1),
        ("h1", "Install", 6),
        ("p", "Get the tool from [its page](https://example.org/tool), which needs `python3` and "
              "20 MB.", 8),
        ("code", "pip install tool\n", 11),
        ("li1", "Run `tool --version`.", 15),
        ("li1", "Read [the guide](/guide). It is short.", 16),
        ("cell", "Option", 19), ("cell", "Meaning", 19),
        ("cell", "`--fast`", 21), ("cell", "go fast", 21),
        ("quote", "Never run it as root.", 23),
        ("h2", "Remove", 25),
        ("p", "Type `tool --remove`.", 27),
    ]  # fmt: skip


def test_soft_breaks_are_joined_as_the_writing_wants() -> None:
    (block,) = blocks("第一行，\n第二行 and\nEnglish  \nnew line\\\nlast")
    assert block.text == "第一行，第二行 and English\nnew line\\\nlast"


def test_layout_is_left_out_and_spoken_shortcodes_stay() -> None:
    note = '{{< note >}}\nSee {{< glossary_tooltip term_id="pod" >}}.\n{{< /note >}}\n'
    page = f"{note}\n:::tip\nGo.\n:::\n"
    assert [block.text for block in blocks(page)] == [
        'See {{< glossary_tooltip term_id="pod" >}}.',
        "Go.",
    ]


def test_pages_of_the_same_build_are_paired_throughout() -> None:
    found = pairs(ENGLISH, FRENCH)
    assert len(found) == 12
    assert found[0] == ("Install the tool", "Installer l'outil")
    assert found[-1] == ("Type `tool --remove`.", "Tapez `tool --remove`.")
    assert not any("pip install" in source for source, _ in found)


def test_a_paragraph_that_one_side_lacks_shifts_nothing() -> None:
    without = FRENCH.replace("- Lancez `tool --version`.\n", "")
    found = pairs(ENGLISH, without)
    assert (
        "Read [the guide](/guide). It is short.",
        "Lisez [le guide](/fr/guide). Il est court.",
    ) in found
    assert not any(source.startswith("Run") for source, _ in found)
    extra = FRENCH.replace("## Supprimer\n", "## Note\n\nUne note du traducteur.\n\n## Supprimer\n")
    found = pairs(ENGLISH, extra)
    assert found[-1] == ("Type `tool --remove`.", "Tapez `tool --remove`.")
    assert not any("traducteur" in target for _, target in found)


def test_what_differs_in_code_is_not_paired() -> None:
    english = "One paragraph.\n\nUse `alpha` here.\n"
    french = "Un paragraphe.\n\nUtilisez `beta` ici.\n\nEncore un.\n"
    assert not any("alpha" in source for source, _ in pairs(english, french))


COMMENTED = """\
---
title: Pod 的服务质量
---
<!--
title: Quality of service of Pods
weight: 85
-->

<!-- overview -->

<!--
This page explains how a class is given to
each Pod.
-->
本页说明如何为每个 Pod
设置服务质量类。

<!-- body -->

<!--
## Classes
-->
## 类   {#classes}

### Guaranteed

<!--
#### Criteria

All of these hold:

* Every Container has a memory limit.
* The limit equals the request.
-->
#### 判据   {#criteria}

以下各项均成立：

* 每个容器都有内存限制。
* 限制等于请求。

```yaml
kind: Pod
```

{{< note >}}
<!--
This is a note about `kubelet`.
-->
这是关于 `kubelet` 的说明。
{{< /note >}}

<!--
Nobody translated this sentence yet.
-->
"""


def test_originals_in_comments_are_paired_with_what_follows() -> None:
    page = blocks(COMMENTED)
    found = [(a.source.text, a.target.text) for a in pairs_of(page, [*commented(page)])]
    assert found == [
        ("Quality of service of Pods", "Pod 的服务质量"),
        (
            "This page explains how a class is given to each Pod.",
            "本页说明如何为每个 Pod 设置服务质量类。",
        ),
        ("Classes", "类"),
        ("Criteria", "判据"),
        ("All of these hold:", "以下各项均成立："),
        ("Every Container has a memory limit.", "每个容器都有内存限制。"),
        ("The limit equals the request.", "限制等于请求。"),
        ("This is a note about `kubelet`.", "这是关于 `kubelet` 的说明。"),
    ]  # fmt: skip


def test_how_much_of_a_page_was_aligned_is_told(tmp_path: Path) -> None:
    page, english, french = (tmp_path / name for name in ("zh.md", "en.md", "fr.md"))
    for path, text in ((page, COMMENTED), (english, ENGLISH), (french, FRENCH)):
        path.write_text(text, encoding="utf-8")
    how = Reading(EN_FR)
    segments = [*read_commented(page, how), *read_pages(english, french, how)]
    assert how.pages == [Page(str(page), 9, 8), Page(str(french), 12, 12)]
    assert (segments[1].document, segments[1].line) == (str(page), 15)


@pytest.mark.parametrize(
    "text", ["", "---\n", "---\na: [\n---\n", "<!--", "- " * 5000, "> " * 5000]
)
def test_odd_pages_are_read_without_harm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(text)
    assert list(read_commented(path, Reading(EN_FR))) == []
    assert len(list(read_pages(path, path, Reading(EN_FR)))) <= 1
