"""The graph's numbers are calculus on paper and torch's; its picture is well-formed and shows every node."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.inspection import expression
from rung.inspection.expression import FUNCTIONS, expression_graph
from rung.inspection.graph import MODELS, SEED, Node, as_text, model_graph
from rung.inspection.graph_picture import as_svg
from rung.scratch.gradcheck import gradcheck

PAPER = "a = 2; b = -3; c = a*b + 10; tanh(c)"


def named(nodes: list[Node], name: str) -> tuple[float, float]:
    """The value and the gradient of a node that holds one number."""
    (node,) = (node for node in nodes if node.name == name)
    return float(node.output.value), float(node.output.gradient)


def test_on_paper():
    """c = 2 x -3 + 10 = 4; dtanh(c)/dc = 1 - tanh(4)^2, da = b times that, db = a times that."""
    nodes = expression_graph(PAPER)
    slope = 1 - math.tanh(4) ** 2
    assert named(nodes, "c") == pytest.approx((4, slope), rel=1e-3)
    assert named(nodes, "a") == pytest.approx((2, -3 * slope), rel=1e-3)
    assert named(nodes, "b") == pytest.approx((-3, 2 * slope), rel=1e-3)
    result = nodes[-1]
    assert result.kind == "result"
    assert float(result.output.value) == pytest.approx(math.tanh(4), abs=1e-4)
    assert [node.kind for node in nodes] == ["input", "input", "made", "constant", "made", "result"]
    assert [node.operation for node in nodes] == ["", "", "×", "", "+", "tanh"]
    assert [node.inputs for node in nodes] == [(), (), (0, 1), (), (2, 3), (4,)]


def test_the_worked_example_of_the_two_layer_network():
    """x = (.1, .3), w = (.4, -.2), W = .1, y = 1, E = (1 - yhat)^2 / 2: delta_o = .122, delta_h = .003, at rate 1/2."""
    nodes = expression_graph(
        "x = [0.1, 0.3]; w = [0.4, -0.2]; h = sum(w * x); a = sigmoid(h); W = 0.1; o = W * a; yhat = sigmoid(o);"
        "(1 - yhat)**2 / 2"
    )
    assert named(nodes, "h") == pytest.approx((-0.02, -0.003), abs=5e-4)
    assert named(nodes, "a")[0] == pytest.approx(0.495, abs=5e-4)
    assert named(nodes, "yhat")[0] == pytest.approx(0.512, abs=5e-4)
    assert named(nodes, "o")[1] == pytest.approx(-0.122, abs=5e-4)
    assert -0.5 * named(nodes, "W")[1] == pytest.approx(0.0302, abs=5e-5)


def test_what_is_used_twice_gets_both_gradients():
    """d(a^2 + 3a)/da = 2a + 3, and a name for the same value is no node of its own."""
    assert named(expression_graph("a = 5; b = a; a*b + 3*a"), "a") == (5, 13)
    assert len([n for n in expression_graph("a = 5; b = a; a*b") if n.kind == "input"]) == 1


def test_a_value_that_plays_no_part_has_no_gradient_to_speak_of():
    assert named(expression_graph("a = 2; b = 7; c = a * b; a + 1"), "b") == (7, 0)


EXPRESSIONS = [
    "x = 0.7; y = -1.3; x*y - y/x + 2*x**3 - (-y)",
    "x = 0.7; y = 1.3; exp(x) * log(y) + sqrt(y) / sigmoid(x)",
    "x = 0.7; y = 1.3; 2 / x - 3 / (1 + y) - x / 4",
    "x = [0.7, -0.2, 1.5]; y = 1.3; sum(y * x - y) + mean(x ** 2)",
    "x = [[1, 2], [3, 4.5]]; y = [[0.5], [-1]]; mean(relu(x @ y))",
    "x = [0.7, -0.2, 1.5]; y = 0.4; sum(softmax(x * y) * [1, 2, 3])",
    "x = 0.7; y = -1.3; leaky_relu(y) + elu(y * x) + selu(y) * x + gelu(x)",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_gradients_are_torchs(text: str):
    """The same text, executed with torch's functions."""
    functions = {
        "exp": torch.exp,
        "log": torch.log,
        "sqrt": torch.sqrt,
        "sigmoid": torch.sigmoid,
        "sum": torch.sum,
        "mean": torch.mean,
        "relu": torch.relu,
        "softmax": lambda x: torch.softmax(x, -1),
        "leaky_relu": torch.nn.functional.leaky_relu,
        "elu": torch.nn.functional.elu,
        "selu": torch.nn.functional.selu,
        "gelu": torch.nn.functional.gelu,
    }
    *given_, last = text.replace("[1, 2, 3])", "torch.tensor([1, 2, 3]))").split("; ")
    values = {}
    for statement in given_:
        name, number = statement.split(" = ")
        values[name] = torch.tensor(eval(number), dtype=torch.float64, requires_grad=True)
    eval(last, {"torch": torch, **functions, **values}).backward()
    nodes = expression_graph(text)
    for name, value in values.items():
        assert value.grad is not None
        (row,) = (node.output for node in nodes if node.name == name)
        if row.value.startswith("|"):
            found = [float(row.gradient.strip("|"))]
            assert found == pytest.approx([float(value.grad.norm())], rel=1e-2)
        else:
            found = [float(part) for part in row.gradient.replace("[", "").replace("]", "").split(",")]
            assert found == pytest.approx(value.grad.flatten().tolist(), rel=1e-3, abs=1e-4)


EXTREMES = [0.0, 5e-324, 1e-8, 1.0, 20.0, 40.0, 700.0, 745.0, 1e4, 1e154, 1e200, 1e308]


def same(ours: object, theirs: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=1e-9, atol=1e-320)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("sum", "mean")])
def test_functions_over_extremes_are_torchs(name: str):
    """Value and slope: where e^x overflows, where 1 - y cancels, at 0."""
    theirs = getattr(torch.nn.functional, name, None) or getattr(torch, name)
    x = np.array([sign * size for size in EXTREMES for sign in (1, -1)])
    if name in ("log", "sqrt"):
        x = x[x >= 0]
    wanted = torch.tensor(x, requires_grad=True)
    result = theirs(wanted, dim=-1) if name == "softmax" else theirs(wanted)
    weights = np.linspace(1, 2, len(x))
    with np.errstate(all="ignore"):
        y, saved = FUNCTIONS[name]().forward(x)
        (slope,) = FUNCTIONS[name]().backward(saved, weights)
    result.backward(torch.tensor(weights))
    same(y, result)
    assert wanted.grad is not None
    same(slope, wanted.grad)


@pytest.mark.parametrize("n", [0, 1, 2, 3, -1, -2, 0.5, 1.5])
def test_powers_over_extremes_are_torchs(n: float):
    x = np.array([sign * size for size in EXTREMES for sign in ((1, -1) if n == int(n) else (1,))])
    x = x[~np.signbit(x) | (x != 0)]
    wanted = torch.tensor(x, requires_grad=True)
    result = wanted**n
    with np.errstate(all="ignore"):
        y, saved = expression.Power(n).forward(x)
        (slope,) = expression.Power(n).backward(saved, np.ones_like(x))
    result.backward(torch.ones(len(x), dtype=torch.float64))
    same(y, result)
    assert wanted.grad is not None
    same(slope, wanted.grad)


def test_the_slope_of_a_quotient_needs_no_square():
    """d(b / a)/da = -b / a^2: -1e308 / 1e400 and -1e-300 / 1e-400, though a^2 is no float64."""
    for a, b, slope in ((1e200, 1e308, -1e-92), (1e-200, 1e-300, -1e100)):
        _, saved = expression.Divide().forward(np.array(b), np.array(a))
        assert expression.Divide().backward(saved, np.array(1.0))[1] == pytest.approx(slope)


def test_what_is_always_1_has_no_slope():
    assert named(expression_graph("a = 0; a ** 0"), "a") == (0, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_by_finite_differences(name: str):
    x = np.array([0.3, 0.7, 1.9])
    assert gradcheck(FUNCTIONS[name](), [x]) < 1e-6
    if name != "softmax":  # of one number it is always 1
        assert gradcheck(FUNCTIONS[name](), [np.array(0.7)]) < 1e-6


def test_operators_by_finite_differences():
    rng = np.random.default_rng(0)
    x, row = 1 + rng.random((3, 2)), 1 + rng.random(2)
    for module in (expression.Subtract(), expression.Divide()):
        assert gradcheck(module, [x, row]) < 1e-6
        assert gradcheck(module, [row, x]) < 1e-6
    assert gradcheck(expression.Power(-1.5), [x]) < 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str):
    """The loss begins near ln 5 for all that start undecided; every weight of the model is there, each once."""
    nodes = model_graph(name)
    loss = nodes[-1]
    assert (loss.kind, loss.operation, loss.output.gradient) == ("result", "CrossEntropy", "1")
    if name != "bigram":
        assert float(loss.output.value) == pytest.approx(math.log(5), abs=0.1)
    model, _, _ = MODELS[name](np.random.default_rng(SEED))
    there = [row.shape for node in nodes for row in node.weights if row.shape]
    assert sorted(there) == sorted("×".join(map(str, w.shape)) for w in model.parameters().values())


@pytest.mark.parametrize(
    "nodes", [expression_graph(PAPER), *map(expression_graph, EXPRESSIONS), *map(model_graph, MODELS)]
)
def test_the_picture_shows_every_node_apart_from_the_others(nodes: list[Node]):
    svg = as_svg(nodes, "a < b & c")
    assert svg == as_svg(nodes, "a < b & c")
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    cards = [group.find(f"{space}rect") for group in root.iter(f"{space}g")]
    assert len(cards) == len(nodes)
    boxes = [
        tuple(float(card.attrib[key]) for key in ("x", "y", "width", "height"))
        for card in cards
        if card is not None
    ]
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in boxes[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    texts = {text.text for text in root.iter(f"{space}text")}
    assert {node.output.value for node in nodes} <= texts
    assert {f"∂ {node.output.gradient}" for node in nodes if node.output.gradient} <= texts
    assert "a < b & c" in texts


def test_as_text():
    lines = as_text(expression_graph(PAPER)).splitlines()
    assert len(lines) == 7
    assert lines[0].split() == ["value", "gradient"]
    assert lines[1].split() == ["a", "input", "2", "-0.004023"]
    assert lines[-1].split() == ["tanh(c)", "0.9993", "1"]


def test_a_long_chain_is_folded_and_no_recursion():
    text = "a = 0.5; " + "".join(f"a = tanh(a + {i}); " for i in range(80)) + "a * 2"
    nodes = expression_graph(text)
    assert len(nodes) == 1 + 80 * 3 + 2
    ElementTree.fromstring(as_svg(nodes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("# nothing", "empty"),
        ("a = 2 +* 3", "character 8 .* invalid syntax"),
        ("tanh(q)", "character 6 .* q has no value yet"),
        ("gtp", "did you mean 'gpt'"),
        ("a = 2; tan(a)", "character 8 .* no function 'tan'.*did you mean 'tanh'"),
        ("a = 2; a^2", r"\^ is written \*\*"),
        ("a = 2; a % 2", "unknown operator"),
        ("a = 0; 1/a", "character 8 .* not finite"),
        ("a = -1; log(a)", "character 9 .* not finite"),
        ("a = 1e400", "not finite"),
        ("a = [1, 2]; a * a", r"shape \(2,\).*sum"),
        ("a = [1, 2]; b = [1, 2, 3]; sum(a * b)", r"character 32 .*\(2,\), \(3,\)"),
        ("a = 2", "computes nothing"),
        ("1 + 1", "computes nothing"),
        ("__import__('os').system('true')", "no function"),
        ("a = 2; a.real", "only names"),
        ("a = (lambda: 3)()", "no function"),
        ("a = 'x'", "'x' is no number"),
        ("a = True", "True is no number"),
        ("a = 2j", "2j is no number"),
        ("é = 2; é * ü", "character 12 .* ü has no value"),
        ("a = 2\nb = a * c", "line 2, character 9"),
        ("a = 2; a ** a", "exponent"),
        ("for i in 3: 2", "statement"),
        ("a = b = 2", "statement"),
        ("a, b = 2, 3", "statement"),
        ("import os", "statement"),
        ("tanh = 2", "function"),
        ("a = [1, [2]]; sum(a)", "one length"),
        ("a = []; sum(a)", "a list holds numbers"),
        ("a = 2; b = [a]; sum(b)", "a list holds numbers"),
        ("a = 2; tanh(a, a)", "one value"),
        ("a = 2; tanh(*a)", "one value"),
        ("9 ** 9 ** 9 * a", "not finite"),
        ("-" * 1900 + "1", "nested|nothing"),
        ("(" * 500 + "1" + ")" * 500, "nested"),
        ("a" * 2001, "2,001"),
        ("a = 1\0", "null"),
    ],
)
def test_what_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said):
        expression_graph(text)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab=;+-*/()[],.12 \n\t\f\rλ@^tanh", max_size=30))
def test_any_text_is_drawn_or_refused_in_words(text: str):
    try:
        nodes = expression_graph(text)
    except UserError:
        return
    ElementTree.fromstring(as_svg(nodes, text))
