"""ARPA files in: what KenLM reads scores as there, and what it refuses is refused with the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import kenlm
import numpy as np
import pytest

from rung.errors import UserError
from rung.exchange.arpa_reading import read_arpa
from rung.models.counting.ngram import NGram
from rung.text.tokenizers import WhitespaceTokenizer

FOREIGN = """\
\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.7\ta\t-0.25
-0.8\tb\t-0.5
-1.1\té\t-0.125

\\2-grams:
-0.4\t<s> a\t-0.1
-0.5\ta b\t-0.2
-0.6\tb é\t-0.3
-0.2\té </s>

\\3-grams:
-0.1\t<s> a b
-0.15\ta b é

\\end\\
"""

LINES = ["a b é", "a", "", "b b a zebra a b é é", "é a b", "b é b é b"]


def ours(path: Path, line: str) -> float:
    """log10 P(line) by the model that we read."""
    model, names = read_arpa(path)
    ids = WhitespaceTokenizer(names[:-1], names.index("<unk>")).encode(line)
    return float(model.score(np.append(ids, model.end)).sum() / np.log(10))


def check_kenlm_agrees(path: Path, lines: list[str]) -> None:
    theirs = kenlm.Model(str(path))
    for line in lines:
        assert ours(path, line) == pytest.approx(theirs.score(line), rel=1e-5, abs=1e-4)


def test_a_file_from_elsewhere_scores_as_kenlm_does(tmp_path: Path) -> None:
    path = tmp_path / "foreign.arpa"
    path.write_text(FOREIGN, encoding="utf-8")
    model, names = read_arpa(path)
    assert names == ["<unk>", "a", "b", "é", "</s>"]
    assert names[model.end] == "</s>"
    check_kenlm_agrees(path, LINES)


@pytest.mark.parametrize("weight", ["-0.5", "1.2"])
def test_gaps_that_other_pruners_leave_are_filled_as_kenlm_fills_them(tmp_path: Path, weight: str) -> None:
    """The trigram "a b é" stands there without the bigram "b é" that it ends in; that may come to more than 1, and is
    no damage."""
    path = tmp_path / "gap.arpa"
    more = "".join(f"-0.9\t{pair}\n" for pair in ("a a", "b a", "é a", "b b", "é é", "a é", "<s> b", "<s> é"))
    text = FOREIGN.replace("-0.6\tb é\t-0.3\n", more).replace("ngram 2=4", "ngram 2=11")
    path.write_text(text.replace("b\t-0.5\n", f"b\t{weight}\n"), encoding="utf-8")
    check_kenlm_agrees(path, [line for line in LINES if weight == "-0.5" or "b é" not in line])
    model, _ = read_arpa(path)
    NGram.from_tensors(model.config, model.vocab_size, model.end, model.tensors())


@pytest.mark.parametrize(
    "changes",
    [
        {"<unk>": "<UNK>"},
        {"<unk>": "<UNK>", "-0.2\té </s>": "-0.2\té </s>\n-0.3\té <UNK>", "ngram 2=4": "ngram 2=5"},
        {"-1.2\t<unk>\n": "", "ngram 1=6": "ngram 1=5"},
        {"-99\t<s>": "0\t<s>"},
        {"-0.25": "-25e-2"},
        {"-0.7\ta": "-inf\ta"},
        {"\n": "\r\n"},
        {"a b": "a\tb", "b é": "b  é"},
        {"-0.5\ta b": "\n-0.5\ta b"},
        {"\\data\\": "\n# made by hand\n\\data\\"},
        {"\\end\\\n": "\\end\\"},
        {"ngram 3=2": "ngram 3=  2"},
        {"-0.2\té </s>": "-0.2\té </s>\n-9\té <s>\n-9\t</s> a", "ngram 2=4": "ngram 2=6"},
    ],
    ids=str,
)
def test_what_other_programs_write_is_read_as_kenlm_reads_it(tmp_path: Path, changes: dict[str, str]) -> None:
    """Unknown words in capitals (SRILM, CMU), none, probabilities of <s>, line ends, white space, comments."""
    text = FOREIGN
    for find, put in changes.items():
        text = text.replace(find, put)
    assert text != FOREIGN
    path = tmp_path / "theirs.arpa"
    path.write_bytes(text.encode())
    check_kenlm_agrees(path, LINES)


@pytest.mark.parametrize("inside", ["\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff"])
def test_a_word_ends_where_kenlm_ends_it(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "theirs.arpa"
    path.write_text(FOREIGN.replace("é", f"New{inside}York"), encoding="utf-8")
    check_kenlm_agrees(path, [f"a b New{inside}York", f"New{inside}York b", f"a{inside}b", f"a b {inside}"])


@pytest.mark.parametrize("inside", ["\v", "\f"])
def test_a_word_with_a_form_feed(tmp_path: Path, inside: str) -> None:
    """The Python module cuts lines by itself, there too; KenLM's vocabulary has the word."""
    path = tmp_path / "theirs.arpa"
    path.write_text(FOREIGN.replace("é", f"New{inside}York"), encoding="utf-8")
    theirs, before, after = kenlm.Model(str(path)), kenlm.State(), kenlm.State()
    theirs.BeginSentenceWrite(before)
    score = theirs.BaseScore(before, f"New{inside}York", after) + theirs.BaseScore(after, "</s>", before)
    assert ours(path, f"New{inside}York") == pytest.approx(score, abs=1e-5)


def test_texts_are_cut_where_kenlm_cuts(tmp_path: Path) -> None:
    path = tmp_path / "theirs.arpa"
    path.write_text(FOREIGN, encoding="utf-8")
    assert ours(path, "\r a\0b\0\0é\t\n") == ours(path, "a b é")


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("\\end\\\n", "", "is cut short: \\end\\ is missing"),
        (
            FOREIGN[FOREIGN.index("-0.15") :],
            "",
            "is cut short: the header promises 2 3-grams, and there are 1",
        ),
        ("\\end\\", "\\end\\\nmore", "line 25 stands after \\end\\"),
        ("\\3-grams:", "\\4-grams:", "line 20 should read \\3-grams:, not '\\4-grams:'"),
        ("-0.5\ta b\t-0.2", "-0.5\ta c\t-0.2", "line 16 has the word 'c', which is not among the 1-grams"),
        ("-0.5\ta b\t-0.2", "-0.5\ta\t-0.2 x y", "line 16 should be a number, 2 words and perhaps a number"),
        ("-0.5\ta b\t-0.2", "half\ta b\t-0.2", "line 16 has 'half' for a number"),
        ("-0.5\ta b\t-0.2", "-0_5\ta b\t-0.2", "line 16 has '-0_5' for a number"),
        ("-0.5\ta b", "-0,5\ta b", "line 16 has '-0,5' for a number; write it with a decimal point"),
        ("-0.5\ta b", "nan\ta b", "line 16 has a probability that is no number"),
        ("-0.5\ta b", "0.5\ta b", "line 16 has a probability above 1"),
        ("-0.5\ta b", "inf\ta b", "line 16 has a probability above 1"),
        ("-0.8\tb\t-0.5", "-0.8\tb\tnan", "line 11 has a backoff weight that is no finite number"),
        ("-0.8\tb\t-0.5", "-0.8\tb\t-inf", "line 11 has a backoff weight that is no finite number"),
        ("-0.1\t<s> a b", "-0.1\t<s> a b\t-1", "line 21 has a backoff weight, which the longest"),
        ("ngram 1=6", "ngram 1=7", "line 14 comes too early: the header promises 7 1-grams, and there are 6"),
        (
            "ngram 2=4",
            "ngram 2=3",
            "line 18 should read \\3-grams:, not '-0.2 é </s>'; there are more n-grams",
        ),
        ("ngram 3=2", "ngram 3=1", "line 22 should read \\end\\, not '-0.15"),
        ("ngram 2=4\n", "", "line 3 should read 'ngram 2=' and a count, not 'ngram 3=2'"),
        ("ngram 1=6\nngram 2=4\nngram 3=2\n", "", "line 3 should say how many 1-grams there are"),
        ("<s>", "<S>", "has no <s> among its 1-grams, so its lines have no beginning"),
        ("</s>", "</S>", "has no </s> among its 1-grams, so its lines have no end"),
        ("a b é\n", "b a é\n", "line 22 has a 3-gram whose first 2 words are no 2-gram"),
        ("\\data\\", "data", "is no ARPA file: none of its lines reads \\data\\"),
        (FOREIGN, "", "is empty"),
        (
            FOREIGN,
            "mmap lm http://kheafield.com/code format version 5\n\0",
            "is no ARPA file but a KenLM binary",
        ),
        (FOREIGN, "iARPA\n\n" + FOREIGN, "is no ARPA file but IRSTLM's own iARPA format"),
    ],
)
def test_what_kenlm_refuses_is_refused_in_one_line(tmp_path: Path, find: str, put: str, message: str) -> None:
    path = tmp_path / "damaged.arpa"
    path.write_text(FOREIGN.replace(find, put), encoding="utf-8")
    with pytest.raises(OSError, match="Cannot read model"):
        kenlm.Model(str(path))
    with pytest.raises(UserError) as error:
        read_arpa(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        (b"-0.5\ta b\t-0.2\n", b"-0.5\ta b\t-0.2\n-0.4\ta b\n", "line 17 has the n-gram of line 16 again"),
        (
            b"-0.8\tb\t-0.5\n",
            b"-0.8\tb\t-0.5\n-0.8\tb\n",
            "line 12 has 'b', which was among the 1-grams before",
        ),
        (b"<unk>\n", b"<unk>\n-2\t<UNK>\n", "line 8 has '<UNK>', which was among the 1-grams before"),
        (b"-0.8\tb\t-0.5\n", b"-0.8\tb\t30\n", "line 11 has a backoff weight above 10^17, which no"),
        ("é".encode(), "é".encode("latin-1"), r"line 12 has the word '\xe9', which is no UTF-8; convert"),
    ],
)
def test_what_kenlm_takes_and_we_refuse(tmp_path: Path, find: bytes, put: bytes, message: str) -> None:
    """The same n-gram twice, of which one would be lost; weights that are none; bytes that no text of ours has."""
    text = FOREIGN.encode().replace(find, put)
    if put.count(b"\n") > 1:
        order = b"ngram 2=" if b"a b" in put else b"ngram 1="
        count = int(text[text.index(order) + 8 :][:1])
        text = text.replace(b"%s%d" % (order, count), b"%s%d" % (order, count + 1))
    path = tmp_path / "damaged.arpa"
    path.write_bytes(text)
    kenlm.Model(str(path))
    with pytest.raises(UserError) as error:
        read_arpa(path)
    assert message in str(error.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_arpa(tmp_path / "nowhere.arpa")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(FOREIGN.encode())[:40])
    with pytest.raises(UserError, match="can't be read"):
        read_arpa(tmp_path / "cut.gz")
