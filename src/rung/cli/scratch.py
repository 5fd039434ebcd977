"""`rung scratch ...`: the glass-box engine at the command line. Loaded only when asked for; NumPy, no torch.

Each verb trains, checks or draws with `rung.scratch`, writes pictures and says in a few lines what there is to see. The
three that learn points of the plane are in `scratch_classifiers`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from cyclopts import App, Parameter

from rung.cli.common import Text, flowing, read_value, show_json
from rung.cli.scratch_classifiers import check_seed, logistic, network, perceptron, picture_folder
from rung.files import atomic_path
from rung.inspection.expression import expression_graph
from rung.inspection.graph import MODELS, as_text, model_graph
from rung.inspection.graph_picture import as_svg
from rung.scratch import gradcheck

app = App(
    name="scratch",
    help="See inside: the classics, the tape and its gradients, in NumPy that hides nothing.",
    help_format="plaintext",
    default_parameter=Parameter(negative="", converter=read_value),
)
for classifier in (perceptron, logistic, network):
    app.command(classifier)

SVG = "graph.svg"


@app.command
def check(*, seed: int = 0, json: bool = False) -> int:
    """Hold every module's derivative against finite differences. Exit code 1 when one is wrong.

    Example: rung scratch check

    Args:
        seed: of the shapes and numbers.
        json: print the table as one JSON object, nothing else.
    """
    check_seed(seed)
    rows, reasons = [], []
    modules = gradcheck.modules_to_check(np.random.default_rng(seed))
    width = max(map(len, modules))
    if not json:
        print(f"{'module':<{width}}  worst relative error  ")
    for name, (module, inputs) in modules.items():
        try:
            worst, reason = gradcheck.gradcheck(module, inputs), None
        except gradcheck.WrongGradient as wrong:
            worst, reason = math.inf, str(wrong)
            reasons.append(reason)
        rows.append({"module": name, "error": worst, "passed": reason is None, "reason": reason})
        if not json:
            print(f"{name:<{width}}  {worst:>20.1e}  {'pass' if reason is None else 'FAIL'}")
    if json:
        show_json({"passed": not reasons, "modules": rows})
    else:
        print(f"{len(rows) - len(reasons)} of {len(rows)} modules agree with finite differences to 1e-6")
        for reason in reasons:
            print(f"rung: {reason}", file=sys.stderr)
    return 1 if reasons else 0


@app.command
def graph(what: Text, *, out: Path | None = None, force: bool = False, json: bool = False) -> int:
    """Draw the computation graph of an expression or a tiny model, with the value and the gradient of every node.

    Example: rung scratch graph "a = 2; b = -3; c = a*b + 10; tanh(c)"

    Args:
        what: statements with ; between them, the last one what the gradients are of: names, numbers, lists such as
            [0.1, 0.3], + - * / ** @ and tanh, sigmoid, relu, leaky_relu, elu, selu, gelu, softmax, exp, log, sqrt, sum,
            mean; or a model: bigram, mlp, rnn, gpt.
        out: the folder of the picture; by default runs/scratch-graph.
        force: overwrite the picture that is there.
        json: print the nodes as one JSON object, nothing else.
    """
    nodes = model_graph(what) if what in MODELS else expression_graph(what)
    folder = picture_folder("graph", out, (SVG,), force=force)
    with atomic_path(folder / SVG) as temporary:
        temporary.write_text(as_svg(nodes, what), encoding="utf-8")
    if json:
        show_json({"nodes": [asdict(node) for node in nodes], "svg": str(folder / SVG)})
        return 0
    print(as_text(nodes))
    print(f"picture: {folder / SVG}")
    return 0


flowing(perceptron, logistic, network, check, graph)
