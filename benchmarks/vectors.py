"""Skip-gram and CBOW beside gensim's Word2Vec on the same words, in the same run.

    python benchmarks/vectors.py TEXT QUESTIONS [PEER] [SEEDS]

TEXT is a file of prose, a paragraph a document; QUESTIONS word2vec's questions-words.txt; PEER a Python that has gensim
(by default this one); SEEDS how many seeds, by default 2. Both learn from the same lists of words (`bare-word`, five
times or more in the text) with the same settings: 100 numbers, window 5, 5 noise words, subsampling 1e-3, 5 epochs.
gensim's rates are its own. Printed, means over seeds: words a second, occurrences of all epochs over the seconds of
training alone (no reading, no counting, no compiling), with one worker and with gensim's default of three; and the
share of right answers among the analogies whose words all have a vector, judged by ours for both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rung.inspection.word_questions import analogies, total
from rung.models.base import fitted
from rung.models.vectors.files import read_vectors
from rung.models.vectors.table import WordTable
from rung.models.vectors.word2vec import CBOW, CBOWConfig, SkipGram, SkipGramConfig
from rung.tasks.vectors import words_alone
from rung.text.sources import open_source
from rung.text.tokenizers import BareWordTokenizer

EPOCHS = 5
OURS = {"skipgram": (SkipGram, SkipGramConfig), "cbow": (CBOW, CBOWConfig)}
THEIRS = """
import json, sys, time
from gensim.models import Word2Vec
documents = json.load(open(sys.argv[1]))
skipgram, workers, seed, out = sys.argv[2] == "skipgram", int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
model = Word2Vec(vector_size=100, window=5, min_count=1, negative=5, sg=skipgram, workers=workers, seed=seed, epochs=5)
model.build_vocab(documents)
began = time.perf_counter()
model.train(documents, total_examples=model.corpus_count, epochs=5)
print(time.perf_counter() - began)
model.wv.save_word2vec_format(out, binary=True)
"""


def main(text: str, questions: str, peer: str = sys.executable, seeds: str = "2") -> None:
    texts = list(open_source(text, documents="paragraphs"))
    tokenizer = BareWordTokenizer.train(texts, None, unknown=True, min_count=5)
    words = words_alone(tokenizer.encode_many(texts), tokenizer)
    n = words.n_tokens - words.n_documents
    print(
        f"{text}: {n:,} words in {words.n_documents:,} documents, {tokenizer.vocab_size - 2:,} different ones"
    )
    rates: dict[tuple[str, str], list[float]] = {}
    shares: dict[tuple[str, str], list[float]] = {}

    def judge(key: tuple[str, str], names: list[str], vectors: np.ndarray, seconds: float) -> None:
        every = total(analogies(WordTable(names, vectors, "it"), Path(questions)))
        rates.setdefault(key, []).append(EPOCHS * n / seconds)
        shares.setdefault(key, []).append(every.accuracy or 0.0)
        asked = f"{every.right:,} of {every.asked:,} right"
        print(f"{key[0]:<9} {key[1]:<17} {EPOCHS * n / seconds:>11,.0f} words/s  {asked}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        listed, saved = Path(folder) / "words.json", Path(folder) / "theirs.bin"
        rows = [words.document(i)[:-1].tolist() for i in range(words.n_documents)]
        listed.write_text(json.dumps([[tokenizer.words[i] for i in row] for row in rows if row]))
        for seed in range(1, 1 + int(seeds)):
            for name, (rung, config) in OURS.items():
                rung.warm_up()
                began = time.perf_counter()
                model = fitted(
                    rung.fit(config(epochs=EPOCHS), words, tokenizer.vocab_size, tokenizer.end, seed=seed)
                )
                seconds = time.perf_counter() - began
                judge(
                    (name, "rung"), tokenizer.words[:-1], model.vectors[: tokenizer.vocab_size - 2], seconds
                )
                for workers in ("1", "3"):
                    told = subprocess.run(
                        [peer, "-c", THEIRS, str(listed), name, workers, str(seed), str(saved)],
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    found = read_vectors(saved)
                    judge((name, f"gensim, {workers} worker"), found.words, found.vectors, float(told.stdout))
    for key in rates:
        speed = statistics.mean(rates[key])
        ratio = statistics.mean(rates[key[0], "rung"]) / speed
        right = ", ".join(f"{share:.3f}" for share in shares[key])
        print(f"{key[0]:<9} {key[1]:<17} {speed:>11,.0f} words/s (ours: {ratio:.2f} times it)  right {right}")


if __name__ == "__main__":
    main(*sys.argv[1:])
