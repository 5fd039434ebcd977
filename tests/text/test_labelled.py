"""Examples with labels: where they are read from, how they are split, what a document of a pair is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.builtin import names_of_one_sex
from rung.text.examples import Columns, is_labelled, read_examples
from rung.text.facts import notes
from rung.text.labelled import decode_examples, encode_examples, prepare_labelled, retokenized
from rung.text.options import LabelOptions
from rung.text.splits import Split, stratified_groups
from rung.text.tokenizers import train_tokenizer


def jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_lines_as_fast_text_has_them(tmp_path: Path):
    path = tmp_path / "cooking.txt"
    path.write_text(
        "__label__sauce How much does potato starch affect?\n\n__label__bread  Knead it.\n", "utf-8"
    )
    found = read_examples(path, Columns())
    assert found.labels == ["sauce", "bread"]
    assert found.texts == ["How much does potato starch affect?", "Knead it."]
    assert is_labelled(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("__label__a __label__b text", "line 2 has 2 labels, a and b; a text has one"),
        ("no label here", "line 2 has no label: it should begin with __label__"),
        ("__label__ text", "line 2 has no '__label__'; give each text a label"),
    ],
)
def test_a_line_without_one_label_is_named(line: str, message: str, tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text(f"__label__a fine\n{line}\n", "utf-8")
    with pytest.raises(UserError, match=message):
        read_examples(path, Columns())


def test_plain_text_has_no_labels(tmp_path: Path):
    path = tmp_path / "x.txt"
    path.write_text("just text\n", "utf-8")
    assert not is_labelled(path)
    with pytest.raises(UserError, match=r"labels need rows .* or lines that begin with __label__"):
        read_examples(path, Columns())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": "x", "label": "y"}, "no field 'b'"),
        ({"a": "x", "b": None, "label": "y"}, "record 2 has no 'b'; give each example both texts"),
        ({"a": "x", "b": 3, "label": "y"}, "'b' is int, not text"),
        ({"a": "x", "b": "z", "label": ["p", "q"]}, "'label' is a list; a text has one label"),
        ({"a": "x", "b": "z", "label": float("nan")}, "record 2 has no .label."),
    ],
)
def test_what_an_example_lacks_is_named_with_its_record(row: dict[str, object], message: str, tmp_path: Path):
    path = jsonl(tmp_path / "x.jsonl", [{"a": "x", "b": "z", "label": "y"}, row])
    with pytest.raises(UserError, match=message):
        read_examples(path, Columns(text="a", second="b"))


def test_a_column_has_one_use():
    with pytest.raises(UserError, match="--second text is the column of the text itself"):
        Columns(second="text")
    with pytest.raises(UserError, match="--group label is --label's column"):
        Columns(group="label")
    Columns(group="text")  # the same text on one side of the split only


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6))
@pytest.mark.parametrize("kind", ["byte", "word"])
def test_pairs_are_two_texts_with_one_delimiter_between(kind: str, pairs: list[tuple[str, str]]):
    tokenizer = train_tokenizer(kind, ["some words, and others"], None)
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    stream = encode_examples(tokenizer, firsts, seconds)
    delimiter = tokenizer.vocab_size
    for i in range(len(pairs)):
        ids = stream.document(i).tolist()
        assert ids.count(delimiter) == 1
        assert ids == [*tokenizer.encode(firsts[i]), delimiter, *tokenizer.encode(seconds[i]), tokenizer.end]
    assert decode_examples(tokenizer, stream, delimiter) == (firsts, seconds)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 12), min_size=30, max_size=200), st.integers(0, 9))
def test_no_group_is_torn(groups: list[int], seed: int):
    labels = np.random.default_rng(seed).integers(0, 3, len(groups))
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    numbers = np.array([number[group] for group in groups])
    parts = stratified_groups(labels, numbers, Split(0.6, 0.2, 0.2))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(groups)))
    whose = [set(numbers[rows]) for rows in parts.values()]
    assert sum(map(len, whose)) == len(set.union(*whose))


def test_groups_share_out_the_labels():
    """400 groups of five of one label each, half of each label: every part has its share of both."""
    groups = np.repeat(np.arange(400), 5)
    labels = groups % 2
    parts = stratified_groups(labels, groups, Split(0.8, 0.1, 0.1))
    for part, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        np.testing.assert_array_equal(np.bincount(labels[parts[part]]), [1000 * share, 1000 * share])


def test_held_out_files_leave_the_data_whole(tmp_path: Path):
    rows = [{"text": f"word {i}", "label": "ab"[i % 2]} for i in range(40)]
    data = jsonl(tmp_path / "data.jsonl", rows)
    val = jsonl(tmp_path / "val.jsonl", [{"text": "word 3", "label": "b"}, {"text": "new", "label": "a"}])
    corpus = prepare_labelled(data, tmp_path / "d", LabelOptions(val=str(val)))
    assert {part: len(corpus.labelled(part).labels) for part in corpus.splits} == {
        "train": 40,
        "validation": 2,
    }
    assert corpus.facts["in_training"]["validation"] == 0.5
    test = jsonl(tmp_path / "test.jsonl", [{"text": "x", "label": "never"}])
    with pytest.raises(UserError, match=r"label 'never' was not there in training .labels: a, b"):
        prepare_labelled(data, tmp_path / "e", LabelOptions(test=str(test)))


def test_other_tokens_are_the_same_examples(tmp_path: Path):
    rows = [{"a": f"word {i}", "b": f"{i} über", "label": i % 3} for i in range(60)]
    data = jsonl(tmp_path / "data.jsonl", rows)
    options = LabelOptions(field="a", second="b", tokenizer="word")
    corpus = prepare_labelled(data, tmp_path / "d", options)
    again = retokenized(corpus, tmp_path / "e", LabelOptions(field="a", second="b", tokenizer="byte"))
    assert (corpus.tokenizer.kind, again.tokenizer.kind) == ("word", "byte")
    for part in corpus.splits:
        texts = [decode_examples(c.tokenizer, c.stream(part), c.delimiter) for c in (corpus, again)]
        assert texts[0] == texts[1]
        np.testing.assert_array_equal(corpus.labelled(part).labels, again.labelled(part).labels)
    direct = prepare_labelled(data, tmp_path / "f", LabelOptions(field="a", second="b", tokenizer="byte"))
    assert direct.facts == again.facts


def test_a_text_of_single_words_is_read_by_letters(tmp_path: Path):
    names = [{"text": name, "label": i % 2} for i, name in enumerate(["anna", "ben", "clara", "dan"] * 5)]
    assert (
        prepare_labelled(jsonl(tmp_path / "n.jsonl", names), tmp_path / "n", LabelOptions()).tokenizer.kind
        == "char"
    )
    texts = [{"text": f"{row['text']} was here", "label": row["label"]} for row in names]
    assert (
        prepare_labelled(jsonl(tmp_path / "t.jsonl", texts), tmp_path / "t", LabelOptions()).tokenizer.kind
        == "word"
    )


def test_balanced_weights_are_scikit_learns(tmp_path: Path):
    from sklearn.utils.class_weight import compute_class_weight

    rows = [{"text": str(i), "label": "often" if i % 5 else "rare"} for i in range(100)]
    options = LabelOptions(class_weights="balanced")
    corpus = prepare_labelled(jsonl(tmp_path / "x.jsonl", rows), tmp_path / "x", options)
    labels = np.asarray(corpus.labelled("train").labels)
    theirs = compute_class_weight("balanced", classes=np.arange(2), y=labels)
    weights = corpus.examples().weights
    assert weights is not None
    np.testing.assert_allclose(weights, theirs)
    with pytest.raises(UserError, match="--class-weights even is unknown"):
        LabelOptions(class_weights="even")


def test_numbers_are_in_order(tmp_path: Path):
    rows = [{"text": "x", "label": n} for n in (10, 9, -1, 2.5)]
    assert prepare_labelled(jsonl(tmp_path / "x.jsonl", rows), tmp_path / "x", LabelOptions()).labels == [
        "-1",
        "2.5",
        "9",
        "10",
    ]


def test_names_of_one_sex():
    """Ninety-one of a hundred are more than nine tenths, ninety are not."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        ("F", "Ann", 91),
        ("M", "Ann", 9),
        ("F", "Kim", 90),
        ("M", "Kim", 10),
        ("M", "Bob", 7),
        ("F", "Ada", 99),
    ]
    columns = {"sex": [s for s, _, _ in rows], "name": [n for _, n, _ in rows], "n": [k for _, _, k in rows]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns | {"year": [2000] * len(rows)}), buffer)
    assert names_of_one_sex(buffer.getvalue(), 0.9) == [("ada", "F"), ("ann", "F"), ("bob", "M")]


def test_rare_labels_and_empty_texts_are_told(tmp_path: Path):
    rows = [
        {"text": "" if i < 3 else f"word {i}", "label": "rare" if i == 9 else "ab"[i % 2]} for i in range(60)
    ]
    told = notes(prepare_labelled(jsonl(tmp_path / "x.jsonl", rows), tmp_path / "x", LabelOptions()).facts)
    assert any("1 label has fewer than 5 examples (rare)" in note for note in told)
    assert any("3 texts are empty" in note for note in told)
