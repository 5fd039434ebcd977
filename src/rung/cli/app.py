"""The command line: verbs parse, call and show. What they do is in `rung.api`.

Exit codes: 0 done; 2 the user's input is at fault (one line on stderr); 1 our fault; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, Parameter

from rung.cli.climbing import climb
from rung.cli.common import flatten, flowing, read_value, worded
from rung.cli.comparing import compare, runs, show
from rung.cli.embedding import embed, nearest
from rung.cli.exchange import export, import_
from rung.cli.passages import count, trace
from rung.cli.predicting import predict
from rung.cli.recipes import recipes
from rung.cli.sampling import sample
from rung.cli.scoring import evaluate, score
from rung.cli.smaller import prune, quantise
from rung.cli.surroundings import speak_utf8, wait_politely
from rung.cli.tokenizing import tokenize
from rung.cli.training import check_resumed, train, train_best, train_command
from rung.errors import Stopped, UserError
from rung.errors import nearest as near_name
from rung.models import RUNGS, tasks_with
from rung.version import __version__

if TYPE_CHECKING:
    from rung.tasks.base import Task

HELP = """Train, measure, compare and use small language models on your own text.

Each verb has --help. --trust, with any that opens a run, imports the file of
a model that is somebody's own; --debug shows where an error arose.

Example: rung climb my.txt
"""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)

VERBS: dict[str, Callable[..., int]] = {
    "climb": climb,
    "recipes": recipes,
    "evaluate": evaluate,
    "compare": compare,
    "runs": runs,
    "show": show,
    "predict": predict,
    "embed": embed,
    "nearest": nearest,
    "score": score,
    "sample": sample,
    "prune": prune,
    "quantise": quantise,
    "tokenize": tokenize,
    "count": count,
    "trace": trace,
    "export": export,
    "import": import_,
}

TEXT_VERBS = ("sample", "fill", "count", "graph", "nearest")
"""Those that take any text as an argument."""
OPTION_CUTOFF = 0.6


def app_for(arguments: list[str]) -> App:
    """The command line, with only as much of it imported as `arguments` need."""
    app = App(
        name="rung",
        help=HELP,
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative="", converter=read_value),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    if arguments[:1] in (["climb"], ["train"]):
        from rung.training.config import TrainingConfig
        from rung.training.experiment import AgainOptions, RunOptions

        flatten(train, run=AgainOptions)
        # Only the verb that is typed: a task's options are not loaded for the others.
        for typed, verb in ((["climb"], climb), (["train", "best"], train_best)):
            if arguments[: len(typed)] == typed:
                options = task_typed(arguments).options_class
                kinds: dict[str, Any] = {"training": TrainingConfig, "options": options, "run": RunOptions}
                if verb is climb:
                    from rung.evaluation.ways import WaysOptions

                    kinds["start"] = WaysOptions
                flatten(verb, **kinds)
    if arguments[:1] in (["evaluate"], ["compare"]):
        from rung.text.options import ReadOptions

        flatten(evaluate if arguments[0] == "evaluate" else compare, options=ReadOptions)
    if arguments[:1] == ["sample"]:
        from rung.generation.beam import BeamSettings
        from rung.generation.constraint_settings import ConstraintSettings
        from rung.generation.settings import Sampling

        flatten(sample, how=Sampling, search=BeamSettings, form=ConstraintSettings)
    # A flag of several values takes them all: --prune 0 1 1, --runs A B C.
    trainer = App(
        name="train",
        default_command=train,
        default_parameter=Parameter(negative="", consume_multiple=True, converter=read_value),
    )
    app.command(trainer)
    summaries = {
        **{name: summary for rungs in RUNGS.values() for name, (_, summary) in rungs.items()},
        "best": "the lowest loss for the minutes: counts, transformers of some sizes, and their mixture",
        **(_installed() if arguments[:1] == ["train"] else {}),
        "./FILE.py:CLASS": "a model of your own (docs/own-model.md)",
    }
    for place, (name, summary) in enumerate(
        summaries.items()
    ):  # help lists them as they stand on the ladders
        if arguments[:2] != ["train", name]:
            trainer.command(_listed_only, name=name, help=summary, sort_key=place)
        elif name == "best":
            trainer.command(train_best, name=name)
    typed = next(iter(arguments[1:2]), "") if arguments[:1] == ["train"] else ""
    if typed and not typed.startswith("-") and typed != "best":
        trainer.command(
            train_command(typed, task_typed(arguments).name, _typed(arguments, "--preset")), name=typed
        )
    flowing(*VERBS.values())
    for name, verb in VERBS.items():
        app.command(verb, name=name)
    if arguments[:1] == ["fill"]:
        from rung.cli.filling import fill

        flowing(fill)
        app.command(fill, name="fill")
    else:  # help shows its line without loading it
        app.command(
            _listed_only, name="fill", help="Which token stands behind [MASK]? How often is it found?"
        )
    app.command(
        "rung.cli.vectors:app", name="vectors", help="What stands near what? Word vectors and embeddings."
    )
    app.command("rung.cli.scratch:app", name="scratch", help="See inside: the engine in NumPy, its pictures.")
    return app


def check_options(app: App, arguments: list[str]) -> None:
    """Refuse what is written like an option and is none of the verb's, wherever it stands.

    An argument that begins with dashes is still reached: behind --, or as --text=--so.
    """
    _, apps, rest = app.parse_commands(arguments)
    before = rest[: rest.index("--")] if "--" in rest else rest
    typed = [
        part.split("=")[0] for part in before if re.fullmatch(r"--[A-Za-z][\w-]*(=.*)?", part, re.DOTALL)
    ]
    if not typed:
        return
    arguments_of = (
        apps[-1].assemble_argument_collection(parse_docstring=False) if apps[-1].default_command else ()
    )
    known = {name for argument in arguments_of for name in argument.names} | {"--help", "--version"}
    known = {name for name in known if not name.startswith("--no-")}  # cyclopts' own; ours have none
    for option in typed:
        if option not in known:
            # The dashes, which all have, would make any short name near to any other.
            near = near_name(option[2:], [name[2:] for name in known], OPTION_CUTOFF).replace("'", "'--", 1)
            verb = " ".join(["rung", *arguments[: len(apps) - 1]])
            text = "; a text that begins so goes last, behind --" if apps[-1].name[0] in TEXT_VERBS else ""
            raise UserError(f"unknown option {option}{near} ({verb} --help lists them{text})")


def task_typed(arguments: list[str]) -> Task[Any]:
    """The task that is meant, by the rungs that are named, the flags that only one has, and the data."""
    from rung.tasks import task_from, task_of

    flags = {part.split("=")[0][2:] for part in arguments if part.startswith("--")}
    if arguments[0] == "train":
        # The best is a mixture of language models.
        rungs = ["mix" if name == "best" else name for name in arguments[1:2] if not name.startswith("-")]
    else:
        rungs = _typed_rungs(arguments)
    return task_of(task_from(rungs, flags, (part for part in arguments if not part.startswith("-"))))


def _typed_rungs(arguments: list[str]) -> list[str]:
    return [name.strip() for name in _typed(arguments, "--rungs").split(",") if name.strip()]


def _typed(arguments: list[str], option: str) -> str:
    """The value of an option, as it stands there."""
    for i, part in enumerate(arguments):
        if part == option or part.startswith(f"{option}="):
            return part.partition("=")[2] or next(iter(arguments[i + 1 : i + 2]), "")
    return ""


def _installed() -> dict[str, str]:
    """The rungs that installed packages offer, and the line that help shows."""
    from rung.models.own import installed

    return {name: f"of an installed package: {entry.value}" for name, entry in installed().items()}


def _listed_only() -> None:
    """Stands for a rung in the list of commands; the real one is imported when its name is typed."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    wait_politely()
    speak_utf8()
    sys.exit(_guarded(arguments, debug))


def data_typed(arguments: list[str]) -> list[str]:
    """`--data A:0.6 --data B:0.4` of train and climb as the one name of several texts, where DATA stands.

    Raises UserError for a text that is named in both ways.
    """
    if arguments[:1] not in (["train"], ["climb"]):
        return arguments
    last = arguments.index("--") if "--" in arguments else len(arguments)
    names, rest, i = [], [], 0
    while i < last:
        part = arguments[i]
        if part == "--data" and i + 1 < last:
            names.append(arguments[i + 1])
            i += 1
        elif part.startswith("--data="):
            names.append(part.partition("=")[2])
        else:
            rest.append(part)
        i += 1
    if not names:
        return arguments
    from rung.text.mixture import joined

    before = 2 if arguments[0] == "train" else 1
    if len(rest) > before and not rest[before].startswith("-"):
        raise UserError(f"{rest[before]} and --data {names[0]}: name the texts in one way, each with --data")
    return [*rest[:before], joined(names), *rest[before:], *arguments[last:]]


def one_batch_typed(arguments: list[str]) -> list[str]:
    """`--overfit-one-batch` alone, with the number of examples that it is without one."""
    flag = "--overfit-one-batch"
    if arguments[:1] != ["train"] or flag not in arguments:
        return arguments
    place = arguments.index(flag)
    if arguments[place + 1 : place + 2] and re.fullmatch(r"\d[\d_.kKmMeE]*", arguments[place + 1]):
        return arguments
    from rung.training.config import EXAMPLES

    return [*arguments[:place], f"{flag}={EXAMPLES}", *arguments[place + 1 :]]


def trust_typed(arguments: list[str]) -> tuple[list[str], bool | str]:
    """What --trust or --trust=FILE says, and the arguments without it; it goes with every verb that opens a run."""
    last = arguments.index("--") if "--" in arguments else len(arguments)
    said = [part for part in arguments[:last] if part == "--trust" or part.startswith("--trust=")]
    if not said:
        return arguments, False
    rest = [part for part in arguments[:last] if part not in said] + arguments[last:]
    return rest, said[-1].partition("=")[2] or True


def _guarded(arguments: list[str], debug: bool) -> int:
    arguments, trust = trust_typed(arguments)
    warnings.showwarning = _tell
    try:
        if trust:
            from rung.models.own import trusting

            with trusting(trust):
                return _result(arguments)
        return _result(arguments)
    except (UserError, CycloptsError) as error:
        if debug:
            traceback.print_exc()
        message = worded(error) if isinstance(error, CycloptsError) else str(error)
        return _fault(message, 130 if isinstance(error, Stopped) else 2)
    except KeyboardInterrupt:
        print("rung: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more when it closes stdout.
        sys.stderr.close()
        return 0
    except MemoryError:
        if debug:
            traceback.print_exc()
        return _fault("out of memory: lower --batch-size, --context or the model's size", 2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return _fault(f"cannot write: {error.strerror}; make room, or write elsewhere", 2)
        if isinstance(error, OSError) and error.errno in NO_ENTRY and error.filename is not None:
            return _fault(f"{error.filename}: {error.strerror}; name another, or mend its permissions", 2)
        from rung.models.own import place_of

        if (place := place_of(error)) is not None:
            return _fault(f"{place}: {type(error).__name__}: {error} (--debug shows how it came to it)", 2)
        return _fault(f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)


def _result(arguments: list[str]) -> int:
    if "WORLD_SIZE" in os.environ:  # torchrun's: several processes, one of which does as it is told
        from rung.training.torchrun import run_as_one

        result = run_as_one(lambda: _obey(arguments))
    else:
        result = _obey(arguments)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


_told: set[str] = set()
_show_warning = warnings.showwarning


def _tell(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
    """Ours in one line on stderr, once; others' as Python has it, less NumPy's of overflows."""
    if category is RuntimeWarning:
        return
    if not category.__module__.startswith("rung."):
        _show_warning(message, category, *where, **how)
    elif str(message) not in _told:
        _told.add(str(message))
        print(f"rung: {message}", file=sys.stderr)


def _obey(arguments: list[str]) -> Any:
    arguments = one_batch_typed(data_typed(arguments))
    if (
        arguments[:1] == ["train"]
        and len(arguments) > 1
        and not arguments[1].startswith("-")
        and arguments[1] != "best"
    ):
        tasks_with(arguments[1])  # an unknown name is told what is near it
    if arguments[:1] == ["train"]:
        check_resumed(arguments[1:])
    app = app_for(arguments)
    check_options(app, arguments)
    return app(arguments)


def _fault(message: str, code: int) -> int:
    print("rung: " + " ".join(message.split()), file=sys.stderr)
    return code
