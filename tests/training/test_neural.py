"""Neural metrics against commands that read and write the files of the real ones.

comet-score is written after comet/cli/score.py of unbabel-comet 2.2.7; the prediction script after
metricx24/predict.py of google-research/metricx and its README.md, "Usage".
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from adapters.errors import MetricFailed
from training.evaluate.neural import NeuralMetric

# Both score a segment by the words that it shares with its reference, or else with its source.
_SHARE = """
def share(text, other):
    one, two = set(text.split()), set(other.split())
    return len(one & two) / max(len(one | two), 1)
"""
_COMET = f"""\
import json, sys
{_SHARE}
words = [word for word in sys.argv[1:] if word not in ("--quiet", "--enable-context")]
args = dict(zip(words[::2], words[1::2]))
unknown = set(args) - {{"-s", "-t", "-r", "--to_json", "--model", "--gpus"}}
if unknown:
    sys.exit(f"comet-score: error: Unrecognized arguments: {{unknown}}")
if args.get("--model") == "needs-references" and "-r" not in args:
    sys.exit("usage: comet-score\\ncomet-score: error: needs-references requires -r/--references")
named = {{"src": "-s", "mt": "-t", "ref": "-r"}}
texts = {{
    key: [line.strip() for line in open(args[option], encoding="utf-8").readlines()]
    for key, option in named.items()
    if option in args
}}
rows = [dict(zip(texts, row)) for row in zip(*texts.values())]
for number, row in enumerate(rows):
    row["COMET"] = share(row["mt"], row.get("ref", row["src"]))
    print(f"{{args['-t']}}\\tSegment {{number}}\\tscore: {{row['COMET']:.4f}}")
with open(args["--to_json"], "w", encoding="utf-8") as out:
    json.dump({{args["-t"]: rows}}, out, ensure_ascii=False, indent=4)
"""
_METRICX = f"""\
import json, os, sys
{_SHARE}
words = [word for word in sys.argv[1:] if word != "--qe"]
args = dict(zip(words[::2], words[1::2]))
for option in ("--tokenizer", "--model_name_or_path", "--max_input_length", "--batch_size"):
    if option not in args:
        sys.exit(f"predict.py: error: the following arguments are required: {{option}}")
# datasets.load_dataset keeps a copy of what it reads; the trainer takes a folder for its own.
os.makedirs(os.environ["HF_DATASETS_CACHE"], exist_ok=True)
open(os.path.join(os.environ["HF_DATASETS_CACHE"], "copy"), "w").close()
with open(args["--output_file"], "w") as out:
    for line in open(args["--input_file"]):
        row = json.loads(line)
        against = row["source"] if "--qe" in sys.argv else row["reference"]
        row["prediction"] = 25 * (1 - share(row["hypothesis"], against))
        out.write(json.dumps(row) + "\\n")
"""
SOURCES = ["a small house", "two\nlines\r\nof it", ""]
HYPOTHESES = ["une petite maison", "deux\nlignes", ""]
REFERENCES = ["une petite hutte", "deux lignes", ""]
MODEL = ("--model_name_or_path", "google/metricx-24-hybrid-xl-v2p6")
PREDICT = ("--tokenizer", "google/mt5-xl", "--max_input_length", "1536", "--batch_size", "1")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, so that what is left behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment in which unbabel-comet 2.2.7 is installed."""
    dist = tmp_path / "site" / "unbabel_comet-2.2.7.dist-info"
    dist.mkdir(parents=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: unbabel-comet\nVersion: 2.2.7\n")
    run = f'#!/bin/sh\nPYTHONPATH={dist.parent} exec {sys.executable} -S "$@"\n'
    return executable(tmp_path / "bin" / "python3", run)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def comet(tmp_path: Path, python: Path) -> Path:
    return executable(tmp_path / "bin" / "comet-score", f"#!{python}\n{_COMET}")


@pytest.fixture
def metricx(tmp_path: Path) -> Path:
    """A clone of the repository."""
    script = executable(tmp_path / "clone" / "metricx24" / "predict.py", _METRICX)
    return script.parent.parent


def test_comet_scores_every_segment_and_is_given_times_a_hundred(
    comet: Path, temporary: Path
) -> None:
    metric = NeuralMetric("COMET", (str(comet), "--model", "Unbabel/XCOMET-XL", "--gpus", "0"))
    found = metric.score(SOURCES, HYPOTHESES, REFERENCES)
    # A line break within a segment is no end of a segment.
    assert found.segments == pytest.approx((50, 100, 0))
    assert found.value == pytest.approx(50)
    assert not found.lower_is_better
    assert found.signature == (
        "metric:COMET|model:Unbabel/XCOMET-XL|references:yes|unbabel-comet:2.2.7"
    )
    assert [*temporary.iterdir()] == []


def test_metricx_scores_errors_and_keeps_no_copy_of_the_texts(
    metricx: Path, temporary: Path
) -> None:
    command = (sys.executable, "-m", "metricx24.predict", *MODEL, *PREDICT)
    found = NeuralMetric("MetricX-24", command, metricx).score(SOURCES, HYPOTHESES, REFERENCES)
    assert found.segments == pytest.approx((12.5, 0, 25))
    assert found.value == pytest.approx(12.5)
    assert found.lower_is_better
    before, _, digest = found.signature.rpartition(":")
    assert before == (
        "metric:MetricX-24|model:google/metricx-24-hybrid-xl-v2p6|max_input_length:1536|"
        "references:yes|metricx24.predict"
    )
    assert digest.startswith("sha256-")
    assert [*temporary.iterdir()] == []


def test_without_references_comet_gets_none_and_metricx_is_told(
    comet: Path, metricx: Path, temporary: Path
) -> None:
    told = ["a house", "two lines", "x"]
    free = NeuralMetric("CometKiwi", (str(comet),)).score(SOURCES, told)
    assert free.segments == pytest.approx((200 / 3, 50, 0))
    assert "model:Unbabel/wmt22-comet-da|references:no" in free.signature
    command = (sys.executable, str(metricx / "metricx24" / "predict.py"), *MODEL, *PREDICT)
    other = NeuralMetric("MetricX-24", command).score(SOURCES, told)
    assert other.segments == pytest.approx((25 / 3, 12.5, 25))
    assert "references:no" in other.signature


def test_a_model_on_disk_is_named_by_what_it_is_and_not_where(comet: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    signatures = set()
    for weights in (b"one", b"other"):
        checkpoint.write_bytes(weights)
        metric = NeuralMetric("COMET", (str(comet), f"--model={checkpoint}"))
        signatures.add(metric.signature(by_reference=True))
    assert len(signatures) == 2
    assert all("model:model.ckpt sha256-" in one and str(tmp_path) not in one for one in signatures)


def test_a_command_that_fails_is_quoted(comet: Path, temporary: Path) -> None:
    metric = NeuralMetric("COMET", (str(comet), "--model", "needs-references"))
    with pytest.raises(MetricFailed, match=r"status 1 and said 'comet-score: error: .* by hand"):
        metric.score(SOURCES, HYPOTHESES)
    assert [*temporary.iterdir()] == []


def test_a_command_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(MetricFailed, match=r"no-such-score cannot be run .* install unbabel-comet"):
        NeuralMetric("COMET", ("no-such-score",)).score(SOURCES, HYPOTHESES, REFERENCES)


@pytest.mark.parametrize(("written", "told"), [
    ('{"t": []}', "expected 3 finite scores, found 0 of 0"),
    ('{"t": [{"COMET": 1}, {"COMET": NaN}, {"COMET": 0}]}', "found 2 of 3"),
    ('{"t": [{"score": 1}]}', "no scores that can be read .KeyError: 'COMET'"),
    ('[1, 2, 3]', "no scores that can be read .AttributeError"),
    ("", "no scores that can be read .JSONDecodeError"),
])  # fmt: skip
def test_scores_that_are_none_are_never_taken(tmp_path: Path, written: str, told: str) -> None:
    text = f"#!/bin/sh\nprintf '%s' '{written.replace(chr(39), '')}' > \"$3\"\n"
    broken = executable(tmp_path / "comet-score", text)
    with pytest.raises(MetricFailed, match=told):
        NeuralMetric("COMET", (str(broken),)).score(SOURCES, HYPOTHESES, REFERENCES)


@pytest.mark.parametrize("counts", [(3, 2, 3), (3, 3, 2), (0, 0, 0)])
def test_segments_without_all_their_texts_are_refused(counts: tuple[int, int, int]) -> None:
    sources, hypotheses, references = (["a"] * count for count in counts)
    with pytest.raises(MetricFailed, match="expected as many sources, hypotheses and references"):
        NeuralMetric("COMET", ("true",)).score(sources, hypotheses, references)


def test_a_metric_of_no_known_form_is_refused() -> None:
    with pytest.raises(MetricFailed, match="with comet or metricx in it"):
        NeuralMetric("BLEURT", ("true",)).score(["a"], ["b"], ["c"])


def test_a_tool_whose_version_cannot_be_asked_is_of_an_unknown_one(tmp_path: Path) -> None:
    wrapped = executable(tmp_path / "score", "#!/bin/sh\nexec something\n")
    missing = executable(tmp_path / "alone", f"#!{sys.executable} -S\n")
    for command in (wrapped, missing, tmp_path / "none"):
        signature = NeuralMetric("COMET", (str(command),)).signature(by_reference=True)
        assert signature.endswith("unbabel-comet:unknown")


def test_the_interpreter_of_a_long_path_is_found(tmp_path: Path, python: Path) -> None:
    # As pip writes it where the path is too long for a first line.
    text = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    long = executable(tmp_path / "comet-score", text)
    signature = NeuralMetric("COMET", (str(long),)).signature(by_reference=True)
    assert signature.endswith("unbabel-comet:2.2.7")


def test_what_is_preloaded_for_us_is_not_for_another_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    text = '#!/bin/sh\necho "preloaded ${LD_PRELOAD-nothing}" >&2\nexit 3\n'
    command = executable(tmp_path / "comet-score", text)
    with pytest.raises(MetricFailed, match="status 3 and said 'preloaded nothing'"):
        NeuralMetric("COMET", (str(command),)).score(["a"], ["b"], ["c"])
    assert os.environ["LD_PRELOAD"] == ""
