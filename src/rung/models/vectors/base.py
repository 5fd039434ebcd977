"""The contract of word vectors, beside those of `rung.models.base`.

    s(w, c) = u_w . v_c      v_c the vector of a neighbour, u_w the output row of a word

Vectors that came without output rows (of a file) say nothing about pairs: they can be looked at and started from, but
not measured.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np

from rung.errors import UserError
from rung.models.base import Counted
from rung.models.vectors.noise import Alias, noise_of
from rung.opening import check_array, check_below, check_finite
from rung.text.stream import TokenStream

MEASURED_AGAINST = 5
"""So many noise words stand beside each word when a model is measured, whatever it was trained with."""


class WordVectors(Counted):
    """A row of numbers a token.

    Attributes:
        vectors: (V, E) float32; a token that is no word has zeros.
        outputs: (V, E) float32, what scores a word by its neighbours; None where they came without.
        counts: (V,) int64, how often each word occurred in training; 0 = it is none. None as above.
        by_pairs: whether a word is told by its neighbours one by one, or by their mean.
    """

    by_pairs: ClassVar[bool] = True

    def __init__(
        self,
        config: Any,
        vocab_size: int,
        end: int,
        vectors: np.ndarray,
        outputs: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.vectors, self.outputs, self.counts = vectors, outputs, counts

    @property
    @abstractmethod
    def window(self) -> int:
        """How many words to each side are neighbours."""

    @property
    def has_probabilities(self) -> bool:
        return self.outputs is not None

    @property
    def n_parameters(self) -> int:
        return self.vectors.size + (0 if self.outputs is None else self.outputs.size)

    def word_costs(self, words: TokenStream) -> np.ndarray:
        """What it costs to tell each word from `MEASURED_AGAINST` noise words, by its neighbours.

        Args:
            words: documents that hold nothing but words that were in training.

        Returns (M, 2), of the M words that have a neighbour, in order: the loss, nats, averaged over the neighbours
        where it goes by pairs; and whether the word scored above all noise, 1 or 0. The noise of a document is always
        the same, for every model of one vocabulary. Raises UserError when there are no output rows.
        """
        from rung.models.vectors import kernels

        if self.outputs is None or self.counts is None:
            raise UserError(
                f"these vectors ({self.rung}) came without the rows that score pairs of words: they can't be measured; "
                "ask rung vectors similarity or analogy"
            )
        lengths = np.diff(words.starts) - 1
        out = np.empty((int(lengths[lengths > 1].sum()), 3))
        ids = np.asarray(words.ids).astype(np.int64)
        seeds = [crc32(ids[a:b].tobytes()) for a, b in zip(words.starts[:-1], words.starts[1:], strict=True)]
        stay, other = Alias.of(noise_of(self.counts))
        how = self.window, MEASURED_AGAINST
        starts = np.asarray(words.starts, np.int64)
        kernels.word_costs(
            ids, starts, np.array(seeds, np.uint64), stay, other, self.vectors, self.outputs, *how, out
        )
        return out[:, [0 if self.by_pairs else 1, 2]]

    def tensors(self) -> dict[str, np.ndarray]:
        found = {"vectors": self.vectors, "outputs": self.outputs, "counts": self.counts}
        return {name: array for name, array in found.items() if array is not None}

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        arrays = {name: np.array(array) for name, array in tensors.items()}
        check_array("vectors", arrays["vectors"], "f4", [vocab_size, config.width])
        check_finite("vectors", arrays["vectors"])
        if "outputs" in arrays:
            check_array("outputs", arrays["outputs"], "f4", [vocab_size, config.width])
            check_finite("outputs", arrays["outputs"])
            check_array("counts", arrays["counts"], "i8", [vocab_size])
            check_below("counts", arrays["counts"], 1 << 53)
            if not arrays["counts"].any():
                raise ValueError("counts holds no word")
        return cls(config, vocab_size, end, arrays["vectors"], arrays.get("outputs"), arrays.get("counts"))
