"""Tags for a file of any size, sentence by sentence, in order and in constant memory.

    no --out          {"tokens": ["the", "cows"], "tags": ["DT", "NNS"]}, one a sentence
    --out X.jsonl     each whole record (of lines: the line and its number) with these two added
    --out X.conll     a word, a tab, its tag; an empty line after a sentence
    --out X.conllu    ten columns, the tag where the training's was (UPOS unless --column said XPOS)

A line is a sentence, cut at white space and around punctuation, or, where its words are apart already, at white space
alone. A row may hold a list of words instead. A file of .conllu or .conll is read for its words. A bad record gives
{"error": "where: what"}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rung.errors import UserError
from rung.evaluation.filter import NEURAL_BATCH_BYTES, Part, open_output
from rung.evaluation.scored_records import with_fields
from rung.models.base import Counted
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.text.formats import split_suffixes
from rung.text.record_batches import BATCH_BYTES, RecordBatch, open_records
from rung.text.tagged import encode_sentences, word_counts
from rung.text.tagged_formats import CONLLU, TagColumns, words_of_file

RESERVED = frozenset(("tokens", "tags", "error"))
SENTENCES_AT_ONCE = 1024
COLUMNED = (".conll", ".conllu")
_WORD = re.compile(r"\w+(?:['’.\-/@&]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class TaggedSentence:
    """What a tagger makes of one sentence: its words, and a tag for each."""

    tokens: list[str]
    tags: list[str]


def cut(text: str, *, words: bool = False) -> list[str]:
    """The words of a sentence: what white space parts, and punctuation by itself unless `words` are apart already."""
    return text.split() if words else _WORD.findall(text)


def tag_sentences(run: Run, sentences: Iterable[str | Sequence[str]]) -> Iterator[TaggedSentence]:
    """What the run's tagger makes of each sentence, its text or its words, in order and as they are needed."""
    each = iter(sentences)
    while batch := list(islice(each, SENTENCES_AT_ONCE)):
        yield from tagged(run, [cut(one) if isinstance(one, str) else list(one) for one in batch])


def tagged(run: Run, sentences: Sequence[list[str]]) -> list[TaggedSentence]:
    """Of a batch; an empty word is none."""
    kept = [[word for word in sentence if word] for sentence in sentences]
    stream = encode_sentences(run.tokenizer, kept)
    assert word_counts(stream, run.model.delimiter).tolist() == [len(one) for one in kept]
    names = iter(run.model.tags[tag] for tag in run.model.decode(stream).tolist())
    return [TaggedSentence(words, [next(names) for _ in words]) for words in kept]


class PredictingTags:
    """One pass over a file.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe.
    """

    def __init__(
        self,
        run: Run,
        file: str,
        *,
        field: str | None = None,
        words: bool = False,
        out: Path | None = None,
    ) -> None:
        """Nothing is predicted yet.

        Args:
            run: of a tagger.
            file: lines, rows, or words in columns (.conllu, .conll); - for standard input.
            field: of rows: which one holds the sentence, or its words; by default the words of the training, or text.
            words: whether the words of lines are apart already, at white space.
            out: a .jsonl, .conll or .conllu to write to, perhaps .gz or .zst. It appears when all is done.

        Raises UserError when a name or a suffix is wrong.
        """
        if out is not None:
            check_no_run(out)
        self._run, self._out, self._words = run, out, words
        self._columned = split_suffixes(Path(file))[0] in COLUMNED
        self._form = _form(out)
        if out is not None and Path(file).exists() and out.exists() and out.samefile(file):
            raise UserError(f"--out {out} is the file that is read; name another")
        if self._columned:
            if field is not None:
                raise UserError(f"--field {field} does not fit: {file} holds words in columns")
            self._file = file
            self.size: int | None = None
            if not Path(file).is_file():
                raise UserError(f"there is no file {file}")
            return
        lists = TagColumns(**run.recipe["data"]["columns"]).words if field is None else field
        self._records = open_records(file, field, whole=out is not None, reserved=RESERVED, words=lists)
        self.size = self._records.size

    def parts(self) -> Generator[Part]:
        """Do it, a part at a time. Every part is written before it is given; closed early, it leaves no file."""
        with ExitStack() as stack:
            write = None if self._out is None else stack.enter_context(open_output(self._out)).write
            for sentences, records, errors, position in self._batches():
                found = tagged(self._run, sentences)
                lines = [
                    self._line(one, record, error)
                    for one, (record, error) in zip(found, records, strict=True)
                ]
                if write is not None:
                    write("".join(lines).encode("utf-8"))
                yield Part("".join(lines), len(lines), len(lines), errors, position)

    def _batches(self) -> Iterator[tuple[list[list[str]], list[tuple[str, str | None]], list[str], int]]:
        """Sentences, the record of each with what is wrong with it, the errors, and how far the file is read."""
        if self._columned:
            columns = TagColumns(**self._run.recipe["data"]["columns"])
            each = words_of_file(self._file, columns)
            while batch := list(islice(each, SENTENCES_AT_ONCE)):
                yield batch, [("{}", None)] * len(batch), [], 0
            return
        at_once = BATCH_BYTES if isinstance(self._run.model, Counted) else NEURAL_BATCH_BYTES
        for batch in self._records.batches(at_once):
            sentences, records = [], []
            for place, text in enumerate(batch.texts):
                error = batch.errors.get(place)
                own = batch.words.get(place)
                sentences.append([] if error else cut(text, words=self._words) if own is None else own)
                records.append((self._record(batch, place), error))
            yield sentences, records, [*batch.errors.values()], self._records.position

    def _line(self, one: TaggedSentence, record: str, error: str | None) -> str:
        if self._form == "jsonl":
            fields = {
                name: json.dumps(value, ensure_ascii=False)
                for name, value in (("tokens", one.tokens), ("tags", one.tags))
            }
            if error is not None:
                fields = {"error": json.dumps(error, ensure_ascii=False)}
            own = json.loads(record)
            if own.get("tokens") == one.tokens and error is None:
                del fields["tokens"]  # the record has them
            return with_fields(record, fields, frozenset(own) & RESERVED)
        if error is not None or not one.tokens:
            return f"# {error}\n\n" if error is not None and self._form == "conllu" else ""
        if self._form == "conll":
            return "".join(f"{word}\t{tag}\n" for word, tag in zip(one.tokens, one.tags, strict=True)) + "\n"
        place = CONLLU.index(self._run.recipe["data"]["columns"].get("column") or "upos")
        lines = []
        for i, (word, tag) in enumerate(zip(one.tokens, one.tags, strict=True), 1):
            cells = [str(i), word, *["_"] * (len(CONLLU) - 2)]
            cells[place] = tag
            lines.append("\t".join(cells) + "\n")
        return "".join(lines) + "\n"

    def _record(self, batch: RecordBatch, place: int) -> str:
        """The record that tags are written beside."""
        if self._out is None:
            return "{}"
        if batch.rows is not None:
            return batch.rows[place] or "{}"
        own = {"line": batch.first + place}
        if place in batch.errors:
            return json.dumps(own)
        return json.dumps({**own, "text": batch.texts[place]}, ensure_ascii=False)


def _form(out: Path | None) -> str:
    """jsonl, conll or conllu. Raises UserError for a name that says none of them."""
    if out is None:
        return "jsonl"
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    suffix = split_suffixes(out)[0]
    if suffix not in (".jsonl", *COLUMNED):
        raise UserError(
            f"--out {out} does not say what it is to hold: end its name in .jsonl, .conll or .conllu, then perhaps .gz "
            "or .zst"
        )
    return suffix[1:]
