"""The engine: values, modules that know their derivative, and the tape that remembers which was applied to what.

    x = Value(np.array([0.1, 0.3]))             a node: data, and after backward its gradient
    with Tape() as tape:                        what is applied inside is recorded
        loss = mean(tanh(layer(x)))
    tape.backward(loss)                         x.grad and every weight's .grad are there

A module is a function f of arrays with two methods:

    forward(*inputs)        -> (output, saved)  f itself, and what its derivative will need
    backward(saved, grad)   -> one gradient per input: grad is dJ/d output, and dJ/d input = grad * d output/d input

Applying a module writes one record (module, inputs, outputs, saved) on the tape of the `with` around it. `saved` lies
in the record, not in the module, so one module may be applied any number of times (shared weights, a network unrolled
over time). `Tape.backward` pops the records last to first: when a record's turn comes, everything that used its output
has been walked, so its gradient is complete. What was used twice gets two gradients, and they add up. One loop, no
recursion.

Here are the modules behind + * @, too. Their shapes broadcast as NumPy's do: an input that was stretched was used many
times, so its gradient is summed over the places where it was used (`unbroadcast`).

There is no hidden global state: without a `with Tape()` nothing is recorded, and the current tape is a context
variable, so threads have their own. Source: reverse accumulation, Linnainmaa 1970; as modules, Bottou & Gallinari 1991.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, ClassVar

import numpy as np

from rung.errors import UserError


class Value:
    """An array of floats and, after a backward pass, the gradient of the loss with respect to it.

    Attributes:
        data: the numbers.
        grad: dJ/d data, of data's shape; None until a backward pass reaches it. Passes add up.
        name: what error messages and drawings call it.
    """

    __slots__ = ("_owns_grad", "data", "grad", "name")

    def __init__(self, data: Any, name: str = "") -> None:
        data = np.asarray(data)
        if data.dtype.kind != "f":
            raise UserError(
                f"a value{' ' + name if name else ''} must hold floats to have a gradient, not {data.dtype};"
                " use .astype(float)"
            )
        self.data: np.ndarray = data
        self.grad: np.ndarray | None = None
        self.name = name
        self._owns_grad = False

    def add_grad(self, grad: np.ndarray) -> None:
        """Add to the gradient. The first array is kept as it is: it may be another value's too, so only a sum of our
        own is added to in place."""
        if self.grad is None:
            self.grad = grad
            self._owns_grad = False
        elif self._owns_grad:
            self.grad += grad
        else:
            self.grad = self.grad + grad
            self._owns_grad = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __repr__(self) -> str:
        return f"Value({self.name + ', ' if self.name else ''}shape {self.shape})"

    def __add__(self, other: Any) -> Value:
        return add(self, other)

    def __mul__(self, other: Any) -> Value:
        return multiply(self, other)

    def __matmul__(self, other: Any) -> Value:
        return matmul(self, other)

    def __neg__(self) -> Value:
        return multiply(self, -1.0)

    def __sub__(self, other: Any) -> Value:
        return self + (-other)

    __radd__ = __add__
    __rmul__ = __mul__
    __array_ufunc__ = None  # array * value is value * array, not an array of values


class Module:
    """A differentiable function of arrays, perhaps with weights of its own.

    A subclass either has `forward` and `backward` and is recorded as one application, or overrides `__call__` and
    applies other modules, which are recorded instead. Weights are `Value` attributes; `weights` names those that are
    handed to `forward` after the inputs. Parts are `Module` attributes or lists of them.

    Attributes:
        forward: from input arrays to the output (an array, or a tuple of them) and whatever `backward` needs.
        backward: from that and the gradient of each output to the gradient of each input, None for an integer one. It
            may use up the arrays saved, but must not write in the gradients it is given.
        training: whether Dropout drops and BatchNorm1d uses the batch's own statistics; set it with `train`.
        integer_inputs: the positions of inputs that are integers (ids, classes) and have no gradient.
    """

    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Sequence[np.ndarray | None]]
    training = True
    weights: ClassVar[tuple[str, ...]] = ()
    integer_inputs: ClassVar[tuple[int, ...]] = ()

    def _recorded(self, *inputs: Any) -> Any:
        """Apply the module, and record it when a tape is there. An input that is no Value is a constant."""
        return apply(self, *inputs, *[getattr(self, name) for name in self.weights])

    __call__: Callable[..., Any] = _recorded

    def parameters(self) -> dict[str, Value]:
        """Every weight by its dotted name (`layers.0.weight`), as torch would name it; one that is shared, once."""
        named, seen = {}, set()
        for path, module in self.modules().items():
            for name, value in vars(module).items():
                if isinstance(value, Value) and id(value) not in seen:
                    seen.add(id(value))
                    named[path + name] = value
        return named

    def modules(self) -> dict[str, Module]:
        """This module, as "", and every part by its dotted path, a point at the end."""
        found: dict[str, Module] = {}
        waiting: list[tuple[str, Module]] = [("", self)]
        while waiting:
            path, module = waiting.pop()
            found[path] = module
            parts = []
            for name, part in vars(module).items():
                if isinstance(part, Module):
                    parts.append((f"{path}{name}.", part))
                elif isinstance(part, list):
                    parts += [(f"{path}{name}.{i}.", p) for i, p in enumerate(part) if isinstance(p, Module)]
            waiting += reversed(parts)
        return found

    def train(self, training: bool = True) -> None:
        """Set `training` here and in every part."""
        for module in self.modules().values():
            module.training = training

    def __repr__(self) -> str:
        return type(self).__name__


Record = tuple[Module, tuple[Any, ...], tuple[Value, ...], Any]
"""Module, inputs (Values and constants), outputs, saved."""

_current: ContextVar[Tape | None] = ContextVar("tape", default=None)


class Tape:
    """What was applied inside the `with`, in order.

    Attributes:
        records: (module, inputs, outputs, saved) of each application; `backward` pops them.
        debug: look for NaN after every step forward and backward, and name the first module that makes one.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.records: list[Record] = []
        self.debug = debug
        self._outer: list[Token[Tape | None]] = []

    def __enter__(self) -> Tape:
        self._outer.append(_current.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._outer.pop())

    def backward(self, loss: Value) -> None:
        """Add dloss/dv to `v.grad` for every value v on the tape, and leave the tape empty.

        Raises UserError when `loss` is not one number, or nothing on this tape made it.
        """
        if loss.data.size != 1:
            raise UserError(
                f"backward starts from one number, not from shape {loss.shape}; take sum or mean first"
            )
        if not any(loss is output for record in reversed(self.records) for output in record[2]):
            raise UserError(
                "backward without a forward: nothing on this tape made this value; compute it inside 'with Tape()', "
                "and go backward once"
            )
        loss.add_grad(np.ones_like(loss.data))
        records = self.records
        while records:
            module, inputs, outputs, saved = records.pop()
            if len(outputs) == 1:
                if outputs[0].grad is None:
                    continue  # it plays no part in the loss
                grads = module.backward(saved, outputs[0].grad)
            else:
                if all(output.grad is None for output in outputs):
                    continue
                grads = module.backward(saved, *[_grad_or_zeros(output) for output in outputs])
            for position, (value, grad) in enumerate(zip(inputs, grads, strict=True)):
                if grad is not None and isinstance(value, Value):
                    if self.debug:
                        _check_nan(grad, f"the gradient of {module}'s input {position}")
                    value.add_grad(grad)


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is recorded, whatever tape is around."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def apply(module: Module, *inputs: Any) -> Any:
    """Run `module.forward` on the data of `inputs` and record it on the current tape, if there is one.

    Raises UserError, naming the module and the shapes, when they do not go together or integers come where floats must.
    """
    arrays = []
    for position, value in enumerate(inputs):
        if isinstance(value, Value):
            arrays.append(value.data)
        else:
            arrays.append(value)
            _check_dtype(module, position, value)
    try:
        output, saved = module.forward(*arrays)
    except (ValueError, IndexError) as error:
        shapes = ", ".join(str(np.shape(array)) for array in arrays)
        raise UserError(f"{module}: inputs of shapes {shapes} do not go together ({error})") from error
    outputs = tuple(map(Value, output)) if isinstance(output, tuple) else (Value(output),)
    tape = _current.get()
    if tape is not None:
        tape.records.append((module, inputs, outputs, saved))
        if tape.debug:
            for made in outputs:
                _check_nan(made.data, f"the output of {module}, application {len(tape.records)} on the tape,")
    return outputs if isinstance(output, tuple) else outputs[0]


class Add(Module):
    """a + b;  dJ/da = g,  dJ/db = g."""

    def forward(self, a: Any, b: Any) -> tuple[np.ndarray, Any]:
        return a + b, (np.shape(a), np.shape(b))

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return [unbroadcast(grad, shape) for shape in saved]


class Multiply(Module):
    """a * b, element by element;  dJ/da = g * b,  dJ/db = g * a."""

    def forward(self, a: Any, b: Any) -> tuple[np.ndarray, Any]:
        return a * b, (a, b)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        a, b = saved
        return unbroadcast(grad * b, np.shape(a)), unbroadcast(grad * a, np.shape(b))


class MatMul(Module):
    """a @ b on the last two axes, (..., N, K) @ (..., K, M) -> (..., N, M);  dJ/da = g b^T,  dJ/db = a^T g."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        if a.ndim < 2 or b.ndim < 2:
            raise ValueError("a matrix product needs two axes or more on each side")
        return a @ b, (a, b)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        a, b = saved
        grad_a, grad_b = grad @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ grad
        return unbroadcast(grad_a, a.shape), unbroadcast(grad_b, b.shape)


add, multiply, matmul = Add(), Multiply(), MatMul()
"""Ready to be applied, as they have neither weights nor settings; + * @ apply them."""


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`grad` summed over the axes along which `shape` was stretched."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(stretched, keepdims=True) if stretched else grad


def _grad_or_zeros(value: Value) -> np.ndarray:
    return np.zeros_like(value.data) if value.grad is None else value.grad


def _check_dtype(module: Module, position: int, value: Any) -> None:
    wants_integers = position in module.integer_inputs
    kind = np.asarray(value).dtype.kind
    if isinstance(value, np.ndarray) and (kind in "iu") != wants_integers:
        wanted = "integers" if wants_integers else "floats; use .astype(float)"
        raise UserError(
            f"{module}: input {position}, of shape {value.shape}, is {value.dtype} and must be {wanted}"
        )


def _check_nan(array: np.ndarray, what: str) -> None:
    if np.isnan(array).any():
        index = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
        raise UserError(f"{what} is NaN at {index}; nothing before it was")
