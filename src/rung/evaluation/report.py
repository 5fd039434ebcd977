"""The report of a climb: which rung is best, what each step up bought and cost, and one page that shows it.

`steps` turns nats per held-out block into paired comparisons with a plain sentence each; `headline` says who
won and where GPT stands; `render` makes the page. The page is one file that loads nothing: styles and plots
are inside it, and no script runs. Whatever a model wrote is shown as text, control characters made visible.

The dict that `render` takes is what `report.json` holds. `difference` is bits per byte of the later rung less
the earlier's, so negative is better.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rung.evaluation.statistics import ROUNDING, Difference, paired_bootstrap
from rung.measure import bits_of, unit_of
from rung.tasks import task_of
from rung.tasks.base import Task, columns_in

NEAR_NOTHING = 0.01
"""Bits per unit of which no difference is told as a share: it would be thousands of percent, and mean nothing."""


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


FEWEST_STEPS = 300
"""Fewer steps than these, and a network is barely trained. A gpt on Shakespeare loses 9 % of its loss between the steps
150 and 300, and then 6 % with each doubling; it passes the counted bigram after 40 steps and the n-gram after 700, so
what is measured before says how far it came, not how good it is (docs/log.md)."""


def is_barely_trained(rung: Mapping[str, Any]) -> bool:
    """Whether a rung of a report is a network that made too few steps to be judged."""
    made = rung.get("steps")
    return made is not None and made < FEWEST_STEPS


def barely_trained(made: int) -> str:
    """What is told of it."""
    return (
        f"barely trained: {made:,} step{'' if made == 1 else 's'}, and fewer than {FEWEST_STEPS} say little of a "
        "network; give a larger budget"
    )


def steps(
    rungs: Sequence[Mapping[str, Any]], nats: Mapping[str, np.ndarray], bytes: np.ndarray, *, seed: int = 0
) -> list[dict[str, Any]]:
    """One comparison for each step up the ladder, paired over the same held-out blocks.

    Args:
        rungs: the report's rungs, in ladder order; read are `name`, `bits_per_byte`, `parameters` and
            `train_seconds`.
        nats: name -> nats of each block (K,), from `Blocks.nats`.
        bytes: (K,) bytes of each block.
        seed: of the bootstrap.

    Returns the report's "steps": `from`, `to`, `difference`, `ci95`, `larger_than_noise`, `sentence`.
    """
    out = []
    for lower, upper in pairwise(rungs):
        found = paired_bootstrap(nats[lower["name"]], nats[upper["name"]], bytes, seed=seed)
        out.append(
            {
                "from": lower["name"],
                "to": upper["name"],
                "difference": found.difference,
                "ci95": None if found.ci95 is None else list(found.ci95),
                "larger_than_noise": found.larger_than_noise,
                "sentence": step_sentence(lower, upper, found),
            }
        )
    return out


def level_with_best(
    rungs: Sequence[Mapping[str, Any]], nats: Mapping[str, np.ndarray], bytes: np.ndarray, *, seed: int = 0
) -> list[str]:
    """The names of the rungs, the best left out, whose difference from the best is within the noise.

    Stored in the report as "level_with_best", so that the headline can say so. Arguments as for `steps`.
    """
    best = _best(rungs)
    return [
        rung["name"]
        for rung in rungs
        if rung is not best
        and not paired_bootstrap(nats[best["name"]], nats[rung["name"]], bytes, seed=seed).larger_than_noise
    ]


def step_sentence(lower: Mapping[str, Any], upper: Mapping[str, Any], found: Difference) -> str:
    """What a step up bought, what it cost, and whether that is more than noise, in one sentence."""
    step = f"The step from {lower['name']} to {upper['name']}"
    barely = [rung for rung in (lower, upper) if is_barely_trained(rung)]
    if barely:
        made = " and ".join(f"{rung['name']} made {rung['steps']:,}" for rung in barely)
        return (
            f"{step} is not judged: {made} training step{'' if barely[-1]['steps'] == 1 else 's'}, and a network with "
            f"fewer than {FEWEST_STEPS} is barely trained; give a larger budget."
        )
    share = _share(abs(found.difference), lower)
    in_brackets = _in_brackets(share)
    cost = (
        f"{_instead(upper['parameters'], lower['parameters'], count, ' parameters')} and "
        f"{_instead(upper['train_seconds'], lower['train_seconds'], duration, ' of training')}"
    )
    if abs(found.difference) < ROUNDING:
        nothing = "nothing, not one bit" if found.difference == 0 else "nothing beyond rounding"
        return f"{step} changes {nothing}, and takes {cost}."
    size = f"{bits(found.difference)} bits per {unit_of(lower)}"
    way = "better" if found.difference < 0 else "worse"
    if found.ci95 is None:
        noise = "but the held-out text is too short to tell that from noise"
        return f"{step} is {size} {way}{in_brackets}, {noise}; it takes {cost}."
    within = f"95% interval: {_range(found.ci95)}"
    if not found.larger_than_noise:
        bought = f"buys nothing that can be told from noise: {size} {way} ({'; '.join(filter(None, (share, within)))})"
        return f"{step} {bought}; it takes {cost}."
    bought = f"buys {size}" if found.difference < 0 else f"makes it worse by {size}"
    return f"{step} {bought}{in_brackets}, larger than the noise ({within}), and takes {cost}."


def sentences(report: Mapping[str, Any]) -> list[str]:
    """One sentence for each of the report's steps, made anew from its numbers."""
    rungs = {rung["name"]: rung for rung in report["rungs"]}
    return [
        step_sentence(
            rungs[step["from"]],
            rungs[step["to"]],
            Difference(
                step["difference"],
                None if step["ci95"] is None else (step["ci95"][0], step["ci95"][1]),
                step["larger_than_noise"],
            ),
        )
        for step in report["steps"]
    ]


def headline(report: Mapping[str, Any]) -> str:
    """The best rung and its bits per byte, the rungs that are level with it, and where GPT stands."""
    return " ".join(_verdict(report))


def _by_length(rungs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Which figure tells most over the length of the source: exact match, if any rung is ever exact."""
    rows = [row for rung in rungs for row in rung.get("by_length", ())]
    exact = max((row["exact_match"] for row in rows), default=0.0)
    return (
        ("chrf", "chrF")
        if exact < 0.05 and any("chrf" in row for row in rows)
        else ("exact_match", "exact match")
    )


def render(report: Mapping[str, Any]) -> str:
    """The page, as HTML in one string. The same report gives the same bytes.

    Args:
        report: what `report.json` holds; see the module.
    """
    from markupsafe import Markup

    from rung.evaluation import plots
    from rung.evaluation.drawing import RUNG_COLOURS
    from rung.evaluation.pages import template

    rungs = list(report["rungs"])
    best = next(rung for rung in rungs if rung["name"] == report["best"])
    neural = [
        (i, rung) for i, rung in enumerate(rungs) if rung["curve"]["train"] or rung["curve"]["validation"]
    ]
    first, *rest = _verdict(report)
    task = _task(report)
    held_out = report["data"]["parts"][report["split"]]
    return template("report.html").render(
        report=report,
        rungs=rungs,
        best=best,
        level=_level(report),
        verdict=first,
        lede=" ".join(rest),
        compared=list(zip(report["steps"], sentences(report), strict=True)),
        colours=RUNG_COLOURS,
        bars=Markup(plots.bars(rungs, report["best"], unit_of(best))),
        time=Markup(plots.against_time(rungs, unit_of(best))),
        losses=[(rung, Markup(plots.losses(rung, i, task.target))) for i, rung in neural],
        lengths=[Markup(plots.by_length(rungs, *_by_length(rungs)))] if best.get("by_length") else [],
        unit=unit_of(best),
        writes=task.writes,
        columns=columns_in(task.columns, rungs),
        column_value=lambda column, rung: column.shown(rung),
        two_lines=lambda heading: Markup("<br>").join(heading.split(" ", 1)),
        glossary=[
            (term, meaning.format(best=best["name"], bits=f"{bits_of(best):.3f}"))
            for term, meaning in task.glossary
        ],
        resampled=task.resampled,
        about=task.size_of(held_out),
        measured=task.measured_on(held_out),
        counted=list(held_out),
        by_steps=any(rung.get("steps") is not None for rung in rungs),
        bits_of=bits_of,
        quote=lambda path: shlex.quote(str(path)),
        count=count,
        duration=duration,
        size=size,
        bits=bits,
        signed=lambda value: ("−" if value < 0 else "+") + bits(value),
    )


def _task(report: Mapping[str, Any]) -> Task[Any]:
    return task_of(report.get("task", "language"))


def bits(value: float) -> str:
    """The size of a number of bits per byte: three decimals, more where a small one would read as nothing."""
    value = abs(value)
    if value == 0 or value >= 0.0095:
        return f"{value:.3f}"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def percent(share: float) -> str:
    """A share as a percentage with two figures."""
    hundred = 100 * share
    if hundred >= 9.95:
        return f"{hundred:,.0f}%"
    return f"{hundred:.1f}%" if hundred >= 0.1 else f"{hundred:.1g}%"


def count(number: float) -> str:
    """A number of things: `59,536`, then `3.21 million`, `1.24 billion`."""
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if number >= unit:
            return f"{_three_figures(number / unit)} {name}"
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """A time: `0.21 s`, `4.8 s`, `1 min 15 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.001 else "less than 1 ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(number: float) -> str:
    """A number of bytes: `412 kB`, `18.2 MB`."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{_three_figures(number / unit)} {name}"
    return f"{number:.0f} bytes"


def _share(bits: float, of: Mapping[str, Any]) -> str:
    """A difference as a percentage of a rung's bits per unit; nothing where those are too near nothing."""
    return percent(bits / bits_of(of)) if bits_of(of) >= NEAR_NOTHING else ""


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _three_figures(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _best(rungs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return min(rungs, key=bits_of)


def _level(report: Mapping[str, Any]) -> list[str]:
    """Who is level with the best. A report without the list still has the steps next to the best."""
    if "level_with_best" in report:
        return list(report["level_with_best"])
    near = [step for step in report["steps"] if report["best"] in (step["from"], step["to"])]
    return [
        step["to"] if step["from"] == report["best"] else step["from"]
        for step in near
        if not step["larger_than_noise"]
    ]


def _verdict(report: Mapping[str, Any]) -> list[str]:
    """The sentence that names the best, and what must be said beside it."""
    ranked = sorted(report["rungs"], key=bits_of)
    best = next(rung for rung in ranked if rung["name"] == report["best"])
    at = f"{bits_of(best):.3f} bits per {unit_of(best)}"
    if len(ranked) == 1:
        return [
            f"{best['name']} reaches {at}.",
            "It is the only rung that was trained, so there is nothing to compare it with.",
        ]
    level = _level(report)
    among = f"{_numeral(len(ranked))} rungs"
    if best["ci95"] is None:
        out = [
            f"{best['name']} has the lowest figure of {among}, {at}.",
            "The held-out text is too short to tell differences from noise.",
        ]
    elif level:
        names = _listed(level)
        out = [f"{best['name']} has the lowest figure of {among}, {at}, but {names} cannot be told from it."]
        if len(level) == 1:
            out.append("The difference between the two is within the noise.")
        else:
            out.append("Their differences from it are within the noise.")
    else:
        out = [f"{best['name']} is the best of {among}, at {at}."]
    # Where GPT stands is said even when it stands badly; if it stands first, who comes next.
    other = next((rung for rung in ranked if rung["name"] == "gpt" and rung is not best), ranked[1])
    if other is best:
        other = ranked[0]
    gap = bits_of(other) - bits_of(best)
    share = _share(gap, best)
    place = _ordinal(ranked.index(other))
    at = f"{bits_of(other):.3f}"
    stands = f"{other['name']} comes {place} at {at}, {bits(gap)}{_in_brackets(share)} behind"
    known = "level_with_best" in report or any(
        {step["from"], step["to"]} == {best["name"], other["name"]} for step in report["steps"]
    )
    if known and best["ci95"] is not None and other["name"] not in level:
        stands += ", a difference larger than the noise"
    barely = [rung["name"] for rung in ranked if is_barely_trained(rung)]
    if barely:
        are, it = ("is", "it") if len(barely) == 1 else ("are", "they")
        made = f"{are} barely trained, with fewer than {FEWEST_STEPS} steps"
        out_of = f"{_listed(barely)} {made}: how good {it} can be is not judged."
        return [*out, stands + ".", out_of]
    return [*out, stands + "."]


def _instead(new: float, old: float, show: Any, unit: str) -> str:
    if show(new) == show(old):
        return f"the same {show(new)}{unit}"
    return f"{show(new)}{unit} instead of {show(old)}"


def _range(ci95: tuple[float, float]) -> str:
    """An interval of differences in words: `0.010 better to 0.004 worse`."""
    low, high = ci95
    if low < 0 < high:
        return f"{bits(low)} better to {bits(high)} worse"
    way = "better" if low < 0 else "worse"
    small, large = sorted((abs(low), abs(high)))
    return f"{bits(small)} to {bits(large)} {way}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ordinal(index: int) -> str:
    return ORDINALS[index] if index < len(ORDINALS) else f"{index + 1}th"


def _numeral(number: int) -> str:
    return NUMERALS[number] if number < len(NUMERALS) else str(number)
