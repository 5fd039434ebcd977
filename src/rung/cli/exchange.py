"""`rung export` and `rung import`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

NO_HEAD = "it came without a head for hidden tokens: it gives vectors, rung embed RUN FILE"


def export(run: Path, *, format: Literal["arpa", "hf", "word2vec"], out: Path, force: bool = False) -> int:
    """Write a run in another program's format.

    Example: rung export runs/gpt --format hf --out my-model

    Args:
        run: a run's folder.
        format: arpa, of ngram runs, one file (KenLM, SRILM and recognisers read it); hf, of gpt and bert runs, a folder
            for transformers (AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification and
            AutoTokenizer load it); word2vec, the vectors of any run that has some, or its embedding, one file: binary
            if it ends in .bin.
        out: the file to write, compressed if it ends in .gz, or the folder.
        force: write into a folder that is not empty.
    """
    from rung import api

    opened = api.load(run)
    if format == "hf":
        from rung.exchange.hugging_face import export_hf

        export_hf(opened, out, force=force)
    elif format == "word2vec":
        from rung.exchange.word_vectors import export_vectors

        n, left_out = export_vectors(opened, out)
        print(f"{n:,} words" + (f"; {left_out:,} left out, whose names hold white space" if left_out else ""))
    else:
        from rung.exchange.arpa import export_arpa, how_to_score

        export_arpa(opened, out)
        print("\n".join(how_to_score(opened, str(run), str(out))))
    print(f"written: {out}")
    return 0


def import_(
    format: Literal["arpa", "hf", "gguf", "vectors"],
    path: Path,
    *,
    out: Path | None = None,
    most: int | None = None,
    pairs: bool = False,
    force: bool = False,
) -> int:
    """Make a run of a model from elsewhere.

    Example: rung import hf path/to/gpt2 --out runs/theirs

    Args:
        format: arpa, an n-gram model as KenLM and SRILM write it, whose text is cut at white space; hf, a folder of
            transformers with config.json and model.safetensors (GPT-1, GPT-2, Llama or BERT, with or without a head);
            gguf, a file of llama.cpp (Llama or GPT-2, quantised or not; needs the package gguf);
            vectors, a file of word vectors: GloVe's, word2vec's (text or binary), fastText's .vec, packed (.gz) or not.
        path: the file or folder to read.
        out: the run's folder; by default runs/imported.
        most: of vectors: only the first so many words of the file.
        pairs: the model labels two texts, not one (a BertForSequenceClassification does not say).
        force: overwrite the run that is there.
    """
    from rung.errors import UserError
    from rung.run_folders import free_folder
    from rung.terminal import next_step

    folder = out if out is not None else free_folder("imported")
    if pairs and format != "hf":
        raise UserError("--pairs goes with hf; leave it out")
    if most is not None and format != "vectors":
        raise UserError("--most goes with vectors; leave it out")
    if format == "vectors":
        from rung.exchange.word_vectors import import_vectors

        run = import_vectors(path, folder, most=most, force=force)
        repeated = run.recipe["data"]["repeated"]
        again = f" ({repeated:,} words were there twice: the first counts)" if repeated else ""
        n, width = run.model.vectors.shape
        print(f"{n - 1:,} words of {width} numbers{again}\nrun: {run.folder}")
        print(f"next: rung vectors neighbours {run.folder} WORD")
        return 0
    if format in ("hf", "gguf"):
        from rung.exchange.hugging_face import import_gguf, import_hf

        if format == "hf":
            run = import_hf(path, folder, force=force, pairs=pairs)
        else:
            run = import_gguf(path, folder, force=force)
        if marks := run.recipe["data"].get("marks"):
            print(
                f"documents begin with bos, id {marks['bos_token_id']} there, and end with eos, {marks['eos_token_id']}"
            )
        reason = run.recipe["data"].get("no_tokenizer")
        if reason is not None:
            print(
                f"run: {run.folder}\nno tokeniser: {reason}; the run knows ids only: rung.load(...).model.score"
            )
            return 0
    else:
        from rung.exchange.arpa import import_arpa

        run = import_arpa(path, folder, force=force)
    task = run.task.name
    if task == "language":
        print(f"run: {run.folder}\nnext: {next_step(run.folder, writes=True)}")
    elif task == "masked":
        has_head = run.model.has_probabilities
        told = f'next: rung fill {run.folder} "... [MASK] ..."' if has_head else NO_HEAD
        print(f"run: {run.folder}\n{told}")
    else:
        print(f'run: {run.folder}\nnext: rung predict {run.folder} --text "..."')
    return 0
