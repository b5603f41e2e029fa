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
    page = f"import Tabs from '@theme/Tabs';\n\n{note}\n:::tip\nGo.\n:::\n\n## Up {{/* #up */}}\n"
    assert [block.text for block in blocks(page)] == [
        'See {{< glossary_tooltip term_id="pod" >}}.',
        "Go.",
        "Up",
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
    found = [(a.source.text, a.target.text) for a in pairs_of([*commented(page)])]
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
    assert (segments[1].path, segments[1].line) == (str(page), 15)


def test_a_document_is_the_end_of_its_path(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "zh" / "pods" / "_index.md"
    page.parent.mkdir(parents=True)
    page.write_text(COMMENTED, encoding="utf-8")
    documents = {segment.document for segment in read_commented(page, Reading(EN_FR))}
    assert documents == {"zh/pods/_index.md"}


@pytest.mark.parametrize(
    "text", ["", "---\n", "---\na: [\n---\n", "<!--", "- " * 5000, "> " * 5000]
)
def test_odd_pages_are_read_without_harm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(text)
    assert list(read_commented(path, Reading(EN_FR))) == []
    assert len(list(read_pages(path, path, Reading(EN_FR)))) <= 1


def from_comments(page: str) -> list[tuple[str, str]]:
    return [(a.source.text, a.target.text) for a in pairs_of([*commented(blocks(page))])]


@pytest.mark.parametrize("begin", ["<!--\n", "<!---\n", "<!--\n---\n"])
def test_front_matter_in_a_comment_is_paired_by_its_keys(begin: str) -> None:
    end = "---\n" if begin.endswith("---\n") and begin.startswith("<!--\n") else ""
    page = (
        "---\nweight: 3\ntitle: 开\ndescription: >\n  第一。\n---\n"
        f"{begin}reviewers:\n- someone\ntitle: Open\ndescription: >\n  First.\nweight: 3\n{end}"
        "-->\n"
    )
    assert from_comments(page) == [("Open", "开"), ("First.", "第一。")]


IN_LISTS = """\
<!--
1. Start the tool:
-->
1. 启动工具：

   ```shell
   tool start
   ```

   <!--
   If it does not answer, wait:

   * a second
   * or two
   -->
   如果没有响应，请等待：

   * 一秒
   * 或两秒

<!--
1. Stop it.
-->
2. 停止它。

   {{< note >}}
   <!--
   It may start again.
   -->
   它可能会再次启动。
   {{< /note >}}
"""


def test_comments_in_a_list_are_paired_with_what_stands_in_it() -> None:
    assert from_comments(IN_LISTS) == [
        ("Start the tool:", "启动工具："),
        ("If it does not answer, wait:", "如果没有响应，请等待："),
        ("a second", "一秒"), ("or two", "或两秒"),
        ("Stop it.", "停止它。"),
        ("It may start again.", "它可能会再次启动。"),
    ]  # fmt: skip


def test_layout_before_a_translation_shifts_nothing() -> None:
    page = (
        "<!--\n## Budgets\n\nFirst come the pods.\n\nThen comes all that is left.\n-->\n"
        '## 预算 {#budgets}\n\n{{< feature-state state="stable" >}}\n\n首先是 Pod。\n\n'
        "然后是其余的。\n"
    )
    assert from_comments(page) == [
        ("Budgets", "预算"),
        ("First come the pods.", "首先是 Pod。"),
        ("Then comes all that is left.", "然后是其余的。"),
    ]


def test_a_heading_of_another_level_is_the_same_heading() -> None:
    page = "<!--\n#### In use\n\nIt waits for `mydb`.\n-->\n### 使用\n\n它等待 `mydb`。\n\n---\n"
    assert from_comments(page) == [("In use", "使用"), ("It waits for `mydb`.", "它等待 `mydb`。")]


def test_items_that_a_translator_moved_are_not_paired_by_their_place() -> None:
    page = (
        "<!--\n* Tools such as `sed` are at hand.\n* Builders work alone.\n"
        '* They may read {{< tip text="secrets" id="secret" >}} of others.\n* All is safe.\n-->\n'
        "* 可以使用 `sed` 之类的工具。\n* 一切都是安全的。\n* 构建者可以独立工作。\n"
        '* 它们可以读取其他的 {{< tip text="机密" id="secret" >}}。\n'
    )
    assert from_comments(page) == [
        ("Tools such as `sed` are at hand.", "可以使用 `sed` 之类的工具。"),
        (
            'They may read {{< tip text="secrets" id="secret" >}} of others.',
            '它们可以读取其他的 {{< tip text="机密" id="secret" >}}。',
        ),
    ]


def test_two_paragraphs_made_one_are_paired_with_neither() -> None:
    page = (
        "<!--\n## Budget\n\nSo that all stays up, set a [budget](/docs/budget) first.\n\n"
        "If some node matters to you, then [read on](/docs/more) and follow the guide.\n-->\n"
        "## 预算\n\n为了让一切保持运行，请先设置一个[预算](/zh-cn/docs/budget)，"
        "而如果某个节点对你很重要，请[继续阅读](/zh-cn/docs/more)并遵循本指南的说明。\n\n"
        "<!--\nAnother text about what comes next, which is translated.\n-->\n"
        "另一段有译文的文字，介绍接下来的内容。\n"
    )
    assert [source for source, _ in from_comments(page)] == [
        "Budget",
        "Another text about what comes next, which is translated.",
    ]


def test_a_translation_may_begin_where_its_comment_ends() -> None:
    page = "<!-- The first text. -->第一段文字。\n\n<!--\nThe second text.\n--> 第二段文字。\n"
    assert from_comments(page) == [
        ("The first text.", "第一段文字。"),
        ("The second text.", "第二段文字。"),
    ]


def test_comments_in_a_sentence_are_no_text_and_in_code_they_are() -> None:
    (block,) = blocks("A <!-- hidden --> text about `<!-- marks -->` and `<!--`.")
    assert block.text == "A  text about `<!-- marks -->` and `<!--`."


def test_code_that_a_translator_left_out_is_no_reason_after_a_comment() -> None:
    page = "<!--\nRun `kubectl drain` on the node first.\n-->\n首先，请在该节点上运行排空命令。\n"
    assert len(from_comments(page)) == 1


def test_front_matter_cannot_multiply(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    merges = "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    path.write_text(f"---\na0: &a0 {{x: y}}\n{merges}title: Yes\n---\n")
    assert [s.source for s in read_pages(path, path, Reading(EN_FR))] == ["Yes"]


def test_pages_of_another_build_may_be_large(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.md", tmp_path / "b.md"
    ours.write_text("a\n\n" * 3000)
    theirs.write_text("b\n\n" * 3001)
    assert list(read_pages(ours, theirs, Reading(EN_FR))) == []
