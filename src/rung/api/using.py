"""The calls that use runs: measuring, scoring, writing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rung.embeddings import open_vectors, vectors_of
from rung.evaluation.comparison import Comparison
from rung.evaluation.comparison import compare as _compare
from rung.evaluation.embedding import embed_texts
from rung.evaluation.evaluate import evaluate as _evaluate
from rung.evaluation.nearest import Neighbour
from rung.evaluation.nearest import nearest as _nearest
from rung.evaluation.predictions import check_classifier, predict_texts
from rung.evaluation.scored_pairs import score_pairs
from rung.evaluation.tagged_predictions import tag_sentences
from rung.evaluation.translations import translate
from rung.generation.beam import BeamSettings
from rung.generation.completion import Completion
from rung.generation.completion import complete as _complete
from rung.generation.constraint_settings import ConstraintSettings, constraint_from
from rung.generation.masked import MaskFilling
from rung.generation.masked import fill as _fill
from rung.generation.prompts import generate_each
from rung.generation.sampling import Sample, Sampling
from rung.generation.speculative import open_draft
from rung.measure import Measure, checked
from rung.models.vectors.table import WordTable
from rung.process_group import launched
from rung.runs import Run, load, load_filler, load_language_model, load_scorer
from rung.signatures import takes
from rung.tasks.text_scores import Score, score_texts
from rung.text.options import ReadOptions
from rung.training import torchrun
from rung.training.experiment import split_settings

if TYPE_CHECKING:
    import numpy as np

    from rung.inspection.tokenization import Tokenization


@takes(ReadOptions)
def evaluate(
    run: Run | str | Path, data: str | Path | None = None, *, split: str = "test", **how: Any
) -> Measure:
    """Measure a run on a split of its own data, or on the whole of other data.

    Args:
        run: a finished run or its folder.
        data: any source; None = the run's own.
        split: train, validation or test, of the run's own.
        how: how to read `data`; below.

    Raises UserError when the split or the data aren't there.
    """
    run = _opened(run)
    (options,) = split_settings(how, ReadOptions)
    if data is None and launched():
        return checked(torchrun.measure_run(run, split), str(run.folder))
    return _evaluate(run, data, split=split, options=ReadOptions(**options))


def compare(
    runs: Iterable[Run | str | Path],
    data: str | Path | Iterable[str | Path] = (),
    *,
    split: str = "test",
    seed: int = 0,
    **how: Any,
) -> Comparison:
    """Measure runs of one task on the same texts, each text by itself; the differences, and which are noise.

    Args:
        runs: finished runs or their folders; the first is what the others are held against.
        data: any sources; none = the runs' own `split`, which has to be the same for all.
        split: train, validation or test, of the runs' own data.
        seed: of the resampling.
        how: the fields of `ReadOptions`: how to read `data`.

    Raises UserError when the runs have no measure or no text in common.
    """
    (options,) = split_settings(how, ReadOptions)
    sources = [data] if isinstance(data, str | Path) else list(data)
    opened = [_opened(run) for run in runs]
    return _compare(opened, sources, split=split, options=ReadOptions(**options), seed=seed)


def predict(
    run: Run | str | Path, texts: Iterable[str | Sequence[str]], seconds: Iterable[str] | None = None
) -> Iterator[Any]:
    """What a classifier makes of each text, in order and as they are needed: `label`, `probabilities`.

    Of a tagger: what it makes of each sentence, `tokens` and `tags`. Of a translator: the text that it writes, `text`
    and `log_prob`, the best of 4 beams.

    Args:
        run: a run of a classifier or a tagger, or its folder.
        texts: any texts; of a tagger sentences, or lists of words.
        seconds: the other of each two texts, where it was trained on pairs.

    Raises UserError for a run without labels, and where the number of texts an example has is not that of the training.
    """
    opened = _opened(run)
    if opened.task.name == "tagging" and seconds is None:
        return tag_sentences(opened, texts)
    if opened.task.name == "translation" and seconds is None:
        return (best[0] for best in translate(opened, cast("Iterable[str]", texts)))
    return predict_texts(check_classifier(opened), cast("Iterable[str]", texts), seconds)


def embed(
    run: Run | str | Path, texts: Iterable[str], *, pooling: str | None = None, normalize: bool = False
) -> np.ndarray:
    """Vectors of texts, (N, C) float32, in order.

    Args:
        run: a run of a network, or its folder.
        texts: any texts.
        pooling: mean of the network's states, first or last; None = as the run learned it, or mean.
        normalize: divide each by its length.

    Raises UserError for a run that makes no vectors.
    """
    return embed_texts(_opened(run), texts, pooling, normalize=normalize)


def nearest(
    run: Run | str | Path,
    query: str,
    file: str | Path,
    n: int = 5,
    *,
    pooling: str | None = None,
    field: str | None = None,
) -> list[Neighbour]:
    """The `n` texts of a file that are nearest to a query, the nearest first: `row`, `cosine`, `text`.

    Args:
        run: a run of a network, or its folder.
        query: a text.
        file: lines, records, or vectors that `rung embed` wrote; of any size.
        n: how many.
        pooling: as in `embed`.
        field: which JSON field or column holds the text.

    Raises UserError for a run that makes no vectors, and a file of other vectors than the run's.
    """
    return _nearest(_opened(run), query, str(file), n, pooling=pooling, field=field)


def score(
    run: Run | str | Path, texts: Iterable[str], targets: Iterable[str] | None = None
) -> Iterator[Score]:
    """Score texts one by one, each as a document of its own; of a translator their translations, `targets`, given them.

    Raises UserError for a run of another task, and where texts and targets are not as many.
    """
    run = load_scorer(run)
    if targets is None:
        load_language_model(run)
        return score_texts(run.model, run.tokenizer, texts)
    return score_pairs(run, texts, targets)


@takes(Sampling, BeamSettings, ConstraintSettings)
def generate(
    run: Run | str | Path, prompt: str = "", *, draft: str | None = None, **settings: Any
) -> list[Sample]:
    """Texts that continue `prompt`.

    Args:
        draft: a run's folder, or lookup: who guesses ahead (`rung.generation.speculative`).
        settings: how to draw, how to search, and what form the text has to have; below.
    """
    return next(generate_many(run, [prompt], draft=draft, **settings))


@takes(Sampling, BeamSettings, ConstraintSettings)
def generate_many(
    run: Run | str | Path, prompts: Iterable[str], *, draft: str | None = None, **settings: Any
) -> Iterator[list[Sample]]:
    """`generate` for each prompt, in order and as they are needed; many go side by side, each as if it were alone."""
    run = load_language_model(run)
    how, search, form = split_settings(settings, Sampling, BeamSettings, ConstraintSettings)
    return generate_each(
        run.model,
        run.tokenizer,
        prompts,
        Sampling(**how),
        BeamSettings(**search),
        constraint_from(ConstraintSettings(**form), run.tokenizer),
        None if draft is None else open_draft(draft, run),
    )


def complete(run: Run | str | Path, prefix: str, n: int = 5) -> list[Completion]:
    """The `n` likeliest ways to finish the word that `prefix` ends in, or to say the next, with their probabilities.

    Likeliest first. Raises UserError for n below 1. See `rung.generation.completion`.
    """
    run = load_language_model(run)
    return _complete(run.model, run.tokenizer, prefix, n)


def fill(run: Run | str | Path, text: str, *, n_best: int = 5, beams: int = 16) -> list[MaskFilling]:
    """The likeliest ways to fill every [MASK] of `text`, each one token (`rung.generation.masked`)."""
    run = load_filler(run)
    return _fill(run.model, run.tokenizer, text, n_best=n_best, beams=beams)


def tokenize(
    run: Run | str | Path, data: str | Path | None = None, *, text: str | None = None, **how: Any
) -> Tokenization:
    """How `data`, or one text, is cut into tokens: `tokens_per_word`, `tokens_per_byte`, the first `pieces`.

    Args:
        run: a run or its folder; or a kind of tokeniser, which then learns from `data` (a folder so called is ./word).
        data: any source.
        text: cut this instead.
        how: by name, of a kind its settings as in `rung.text.tokenizers.train_tokenizer`; `documents` and `field`: how
            to read `data`; `show`: how many pieces to give, by default 100; `out`: a file for all of them, a document
            a line (`rung.inspection.tokenization`).

    Raises UserError when something in the input is at fault.
    """
    from rung.inspection.tokenization import tokenize as cut

    return cut(run, data, text=text, **how)


def vectors(source: Run | str | Path) -> WordTable:
    """The word vectors of a run (of a network its embedding), or of a file: `.neighbours(word)`, `.analogies(words)`.

    Raises UserError where there are none.
    """
    return vectors_of(source) if isinstance(source, Run) else open_vectors(source)


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load(run)
