"""The contracts that rungs answer to, one for each kind of answer, and what all have in common.

    LanguageModel   a distribution over the next token given what came before
    Classifier      a distribution over the labels given a text
    MaskedLanguageModel   a distribution over what is hidden in a text (`masked_model`)

NumPy arrays cross this boundary and natural logarithms are the unit: tokens are integers, log-probabilities
float32 or better. Shapes: B rows of a batch, T tokens, V vocabulary.

The document mark. One id, `end`, both ends a document and begins the next. A model is asked for the first
token of a document by advancing a fresh state with the mark; the last thing it predicts is the mark again.
So `score(tokens)` gives log p(tokens[0] | end), log p(tokens[1] | end, tokens[0]), ...

The window policy. A rung whose `context` is None remembers everything. A rung with a finite context states in
its docstring which history counts once a document is longer, and `score` and `advance` follow the same policy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np

from rung.errors import UserError
from rung.events import Event
from rung.opening import is_finite
from rung.text.stream import LabelledExamples, TokenStream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

State = Any
"""What a model remembers of B histories. Opaque; never changed in place by anything public."""

SCORE_TOKENS_AT_ONCE = 1 << 16


class Model(ABC):
    """What every rung has, whatever it answers.

    Attributes:
        rung: the rung's name on the ladder, as typed after `rung train`.
        config_class: the frozen dataclass of its hyperparameters.
        trained_by: the kind of training it takes, a key of `rung.training.trainers.TRAINERS`.
        distributed: whether several processes train one together.
        code: of a class in a user's own file (`rung.models.own`): the file, the class in it, the file's SHA-256.
        config: the frozen dataclass the model was built from.
        vocab_size: V, the number of ids, the mark included.
        end: the id of the document mark.
        codes: of a quantised run: its matrices in whole numbers, by name (`rung.models.quantisation`), for what can
            compute with them; all else has the float32 weights that they stand for.
    """

    rung: ClassVar[str]
    config_class: ClassVar[type]
    trained_by: ClassVar[str]
    distributed: ClassVar[bool] = False
    code: ClassVar[dict[str, str] | None] = None
    codes: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, config: DataclassInstance, vocab_size: int, end: int) -> None:
        self.config = config
        self.vocab_size = vocab_size
        self.end = end

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers the model is made of (counts or probabilities stored, or weights learned)."""

    @abstractmethod
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays that, with `describe()`, are the whole model: what `from_tensors` takes."""

    @property
    def shape(self) -> dict[str, Any]:
        """What a model of its kind must know of the data before it is made or loaded: arguments, by name."""
        return {"vocab_size": self.vocab_size, "end": self.end}

    @property
    def has_probabilities(self) -> bool:
        """Whether the scores are log-probabilities; without, a model can't be measured, sampled or mixed."""
        return True

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of the model."""
        return {**self.identity(), **self.shape, "config": asdict(self.config)}

    @classmethod
    def identity(cls) -> dict[str, Any]:
        """By what `run.json` finds the class again."""
        return {"rung": cls.rung} if cls.code is None else {"rung": cls.rung, "code": cls.code}

    def check_tokens(self, tokens: Any) -> np.ndarray:
        """`tokens` as int64. Raises UserError when an id is outside 0..V-1 or is not an integer."""
        array = np.asarray(tokens)
        if array.dtype.kind not in "iu" and array.size:
            raise UserError(f"tokens must be integers, not {array.dtype}")
        array = array.astype(np.int64, copy=False)
        if array.size and (array.min() < 0 or array.max() >= self.vocab_size):
            bad = int(array.min()) if array.min() < 0 else int(array.max())
            raise UserError(f"token {bad} is outside this model's vocabulary, 0 to {self.vocab_size - 1}")
        return array


class LanguageModel(Model):
    """A distribution over the next token given what came before.

    Attributes:
        context: the longest history, in tokens, that can matter; None = unbounded.
    """

    context: int | None

    @abstractmethod
    def start(self, batch: int = 1) -> State:
        """The state of `batch` histories in which nothing has been seen, not even the document mark."""

    @abstractmethod
    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        """Take in `tokens`, (B,) or (B, T), T >= 1; return the next token's log-probabilities (B, V) and the new state.

        The old state stays valid: it can be advanced again, with other tokens.
        """

    def advance_all(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """Take in `tokens` (B, T), T >= 1; after each of them, the next token's log-probabilities and the state.

        Returns (B, T, V), and T states: what T calls of `advance` return, for the price of one where a rung can read
        several tokens at once. Speculative decoding needs it: it learns what the model would have said along a draft,
        and goes on from where the draft was left. Let go of the states behind that place first: a cache
        that nobody else reads is written on in place, one that is still in use has to be copied.
        """
        log_probs, states = [], []
        for column in self.check_tokens(tokens).T:
            after, state = self.advance(state, column)
            log_probs.append(after)
            states.append(state)
        return np.stack(log_probs, axis=1), states

    @abstractmethod
    def select(self, state: State, rows: np.ndarray) -> State:
        """The state whose row i is row `rows[i]` of `state`; rows may repeat (to branch) or be left out."""

    @abstractmethod
    def score(self, tokens: np.ndarray) -> np.ndarray:
        """The log-probability in nats of every token of a document, (T,) -> (T,), or of B documents, (B, T) -> (B, T).

        The history before the first token is the document mark. The closing mark is scored only if it is there.
        """

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        """The log-probabilities (N,) of every token of every document, marks included; each document on its own.

        Documents of like length are scored together, padded at their ends (what comes after cannot matter).
        """
        lengths = np.diff(stream.starts)
        log_probs = np.empty(stream.n_tokens, np.float32)
        for group in _groups_of_like_length(lengths, SCORE_TOKENS_AT_ONCE):
            width = int(lengths[group].max())
            batch = np.full((len(group), width), self.end, np.int64)
            for row, document in enumerate(group):
                batch[row, : lengths[document]] = stream.document(document)
            scores = self.score(batch)
            for row, document in enumerate(group):
                begin = stream.starts[document] - 1
                log_probs[begin : begin + lengths[document]] = scores[row, : lengths[document]]
        return log_probs

    @classmethod
    @abstractmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""


class Classifier(Model):
    """A distribution over the labels given a text, or two.

    Attributes:
        labels: what they are called, L of them.
        delimiter: the id, V - 1, that stands between the two texts of an example; None where an example is one text.
        tokenizer: the kind that suits it; None = letters or words, as suits the texts.
        reads_bytes: whether it cuts the text itself, and gets it byte by byte.
    """

    tokenizer: ClassVar[str | None] = None
    reads_bytes: ClassVar[bool] = False

    def __init__(
        self,
        config: DataclassInstance,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.labels = list(labels)
        self.delimiter = delimiter

    @property
    def even_guess(self) -> float:
        """What an untrained one's training loss should be, nats an example: ln L, and what else it learns beside."""
        return math.log(len(self.labels))

    @property
    def shape(self) -> dict[str, Any]:
        shape = {**super().shape, "labels": self.labels}
        return shape if self.delimiter is None else {**shape, "delimiter": self.delimiter}

    @abstractmethod
    def log_probs(self, texts: TokenStream) -> np.ndarray:
        """The log-probability in nats of each label, (N, L), for each of the N documents.

        It does not depend on which documents stand beside one, nor on their order.
        """

    @classmethod
    @abstractmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        tensors: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""


class GradientModel(Model):
    """A rung whose weights are learned by gradient descent, whatever does the learning.

    Attributes:
        training_defaults: fields of `TrainingConfig` that suit this rung, where the user leaves them open.
        batch_tokens: where documents are short, so many rows are put in a batch that it has about this many tokens;
            None = as many rows as for long ones.
        fine_tuning_lr: the peak rate at which weights from elsewhere, of which nothing else is known, learn its task.
        sees_examples: whether a new one takes the training part, `examples`, as what is counted does: for its words.
    """

    training_defaults: ClassVar[Mapping[str, Any]]
    fine_tuning_lr: ClassVar[float] = 6.25e-5
    batch_tokens: ClassVar[int | None] = None
    sees_examples: ClassVar[bool] = False

    @classmethod
    def published_training(cls, config: Any) -> Mapping[str, Any]:
        """Fields of `TrainingConfig`: how the published model was trained that a configuration names, if it does."""
        return {}

    @classmethod
    def resolve_config(cls, config: Any, *, vocab_size: int, train_tokens: int, longest_document: int) -> Any:
        """`config` with each field that was left open (None) set to what suits the data.

        Args:
            config: as the user gave it.
            vocab_size: V, the mark included.
            train_tokens: how many tokens there are to learn from, closing marks included.
            longest_document: the most tokens in one training document, its closing mark included.

        Raises UserError when a field does not go with the data.
        """
        return config


class GradientLanguageModel(GradientModel, LanguageModel):
    """A language model whose weights are learned by gradient descent, from rows of tokens.

    Attributes:
        recurrent: whether a row of a batch goes on where that row stopped in the batch before.
        reads_blocks: whether each target rests on a block of inputs of its own, so that it is an example by itself.
    """

    recurrent: ClassVar[bool] = False
    reads_blocks: ClassVar[bool] = False

    @property
    def history(self) -> int:
        """H, how many inputs a row has to the left of the first that it is to answer."""
        return 0

    @property
    def max_window(self) -> int | None:
        """The most tokens a training row can have; None = any number."""
        return None

    @property
    def window(self) -> int:
        """How many tokens a training row has if the user doesn't say."""
        return 64


class Counted(Model):
    """A rung that is counted, or fitted in one go: no torch, no checkpoints.

    Attributes:
        seeded: whether chance has a part in it; `fit` takes a `seed` then.
        starts_from_vectors: whether `fit` takes `vectors`, a `WordTable` to begin with, or None.
    """

    trained_by = "counting"
    seeded: ClassVar[bool] = False
    starts_from_vectors: ClassVar[bool] = False

    @classmethod
    def warm_up(cls) -> None:
        """Load and compile what `fit` needs, once an installation, so that it is not taken for training time."""


class CountedModel(Counted, LanguageModel):
    """A language model that is counted.

    Attributes:
        counts_copies: whether a text can be made to count for more by counting it several times.
    """

    counts_copies: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, stream: TokenStream, vocab_size: int, end: int) -> Iterator[Event | Self]:
        """Count `stream`. Yields events (notes on fallbacks taken) and, last, the model.

        Where the class is `distributed`, it takes a `group` too, whose processes count together.
        """


class CountedClassifier(Counted, Classifier):
    """A classifier that is counted."""

    @classmethod
    @abstractmethod
    def fit(
        cls,
        config: Any,
        examples: LabelledExamples,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> Iterator[Event | Self]:
        """Count the training part; what is to be chosen is chosen on validation. Yields events and, last, the model."""


M = TypeVar("M", bound=Counted)


def fitted(events: Iterator[Event | M]) -> M:
    """The model that a `fit` yields last; its events are dropped."""
    *_, model = events
    assert isinstance(model, Counted)
    return cast(M, model)


def _groups_of_like_length(lengths: np.ndarray, tokens_at_once: int) -> Iterator[Sequence[int]]:
    """Rows, shortest first, in groups whose padded size stays near `tokens_at_once`."""
    group: list[int] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if group and (len(group) + 1) * lengths[row] > tokens_at_once:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def check_tensors(expected: dict[str, tuple[int, ...]], tensors: dict[str, np.ndarray]) -> None:
    """Raises UserError naming a tensor that is too many, missing, of another shape, or not all finite numbers."""
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if expected != found:
        name = next(name for name in [*expected, *found] if expected.get(name) != found.get(name))
        raise UserError(
            f"the weights don't fit the model: {name} should be {expected.get(name, 'absent')}"
            f" and is {found.get(name, 'absent')}; use the configuration they were saved with"
        )
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise UserError(f"the weights are no model: {name} holds a number that is infinite or NaN")


def check_size(config: Any, tensors: Mapping[str, np.ndarray], *others: int | None) -> None:
    """Raises UserError when a network of this configuration can't have these weights, before one is built to see.

    Depth and widths are sides of matrices: no two of them, multiplied, are more than there are weights, and none of
    `others` is.
    """
    sizes = [getattr(config, name, None) or 1 for name in ("n_layer", "n_embd", "n_hidden")]
    n_weights = sum(tensor.size for tensor in tensors.values())
    if max([math.prod(sorted(sizes)[1:]), *(size or 0 for size in others)]) > n_weights:
        raise UserError(f"the weights don't fit the model: {config} has more than {n_weights:,} of them")
