"""The report is one page that loads nothing, shows every number, and runs nothing that a model wrote."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.evaluation import plots
from rung.evaluation.report import (
    bits,
    count,
    duration,
    headline,
    level_with_best,
    percent,
    render,
    sentences,
    size,
    step_sentence,
    steps,
)
from rung.evaluation.statistics import (
    ROUNDING,
    Difference,
    bits_per_byte,
    bootstrap_interval,
    paired_bootstrap,
)

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = "</pre></main><script>alert(1)</script><img src=x onerror=alert(2)> \"'&amp; {{ 7 * 7 }} {% raw %}"


def made_up_rung(
    name: str, value: float, *, neural: bool = False, interval_known: bool = True
) -> dict[str, Any]:
    curve: dict[str, Any] = {"train": [], "validation": []}
    if neural:
        curve["train"] = [[i, 0.02 * i, value * 0.68 + 2 / i] for i in range(1, 3001)]
        curve["validation"] = [
            [i, 0.02 * i, value * 0.69 + 2 / i, value + 3 / i] for i in range(100, 3001, 100)
        ]
    return {
        "name": name,
        "run": f"runs/{name}",
        "bits_per_byte": value,
        "ci95": [value - 0.0213, value + 0.0234] if interval_known else None,
        "nats_per_token": value * 0.6931,
        "perplexity": float(np.exp(value * 0.6931)),
        "parameters": 10_123 + len(name),
        "train_seconds": 60.0 if neural else 0.21,
        "tokens_per_second": 38_765,
        "bytes_on_disk": 412_331,
        "sample": f"A sample of {name}.\nTwo lines.",
        "notes": [f"A note on {name}."],
        "settings": {"order": 7},
        "curve": curve,
    }


def made_up_report(rungs: list[dict[str, Any]]) -> dict[str, Any]:
    part = {"documents": 11, "tokens": 250_655, "bytes": 251_713}
    told = []
    for lower, upper in pairwise(rungs):
        gain = upper["bits_per_byte"] - lower["bits_per_byte"]
        ci95 = [gain - 0.01, gain + 0.01] if lower["ci95"] else None
        told.append(
            {
                "from": lower["name"],
                "to": upper["name"],
                "difference": gain,
                "ci95": ci95,
                "larger_than_noise": ci95 is not None and abs(gain) > 0.01,
                "sentence": "",
            }
        )
    return {
        "data": {
            "name": "plays",
            "sha256": "9f2c4e7a" * 8,
            "documents_mode": "files",
            "parts": {"train": {**part, "tokens": 4_512_334}, "validation": part, "test": part},
            "split": "90/5/5",
        },
        "tokenizer": {"kind": "char", "vocab_size": 261},
        "budget": "1.25 minutes each",
        "seed": 1337,
        "command": "rung climb plays --minutes 1.25",
        "split": "test",
        "tokens": 250_655,
        "bytes": 251_713,
        "documents": 11,
        "machine": "two cores",
        "versions": {"rung": "0.1.0", "numpy": "2.4.6"},
        "created": "2026-10-20 14:03",
        "rungs": rungs,
        "steps": told,
        "best": min(rungs, key=lambda rung: rung["bits_per_byte"])["name"],
    }


def four_rungs() -> dict[str, Any]:
    return made_up_report(
        [
            made_up_rung("bigram", 3.4731),
            made_up_rung("ngram", 2.2894),
            made_up_rung("neural-bigram", 3.4763, neural=True),
            made_up_rung("gpt", 2.4127, neural=True),
        ]
    )


def one_rung() -> dict[str, Any]:
    return made_up_report([made_up_rung("bigram", 3.4731, interval_known=False)])


class Page(HTMLParser):
    """What a browser would find: elements in order, attributes, the text of `pre` and of everything shown."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.samples: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.samples.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.samples[-1] += data
        if "style" not in self.open:
            self.text += data


def shown(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text)


# The page loads nothing and runs nothing.


@pytest.mark.parametrize("report", [one_rung(), four_rungs()], ids=["one rung", "four rungs"])
def test_page_is_self_contained(report: dict[str, Any]) -> None:
    html = render(report)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert "://" not in html
    assert "@import" not in html
    assert not {"script", "iframe", "object", "embed", "img", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "poster"), (tag, name)
        if name in ("href", "xlink:href"):
            assert value.startswith(("#", "data:,")), (tag, value)
    for address in re.findall(r"url\(([^)]*)\)", html):
        assert address.startswith("#")
    policy = next(
        value for tag, name, value in page.attributes if name == "content" and "default-src" in value
    )
    assert "default-src 'none'" in policy


def test_ids_are_there_once_and_references_lead_somewhere() -> None:
    html = render(four_rungs())
    ids = [value for _, name, value in Page(html).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for target in re.findall(r"(?:url\(|href=\")#([^)\"]+)", html):
        assert target in ids


def test_page_follows_the_readers_scheme() -> None:
    html = render(four_rungs())
    assert "prefers-color-scheme: dark" in html
    for drawing in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL):
        assert not re.findall(r"(?:fill|stroke): (?!none|var\(--)[^;\"]+", drawing)
        for variable in re.findall(r"var\((--[a-z0-9-]+)\)", drawing):
            assert len(re.findall(rf"{variable}:", html)) == 2  # once for light, once for dark


def test_the_same_report_is_the_same_page_and_nothing_else_is_touched() -> None:
    report = four_rungs()
    before, settings_before = copy.deepcopy(report), dict(mpl.rcParams)
    assert render(report) == render(json.loads(json.dumps(report)))
    assert report == before
    assert dict(mpl.rcParams) == settings_before


def test_sentences_need_no_plotting_and_the_page_no_torch() -> None:
    program = """
import sys
import rung.evaluation.report
assert not {"torch", "matplotlib", "jinja2"} & set(sys.modules)
import rung.evaluation.plots
assert not {"torch", "matplotlib.pyplot"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# Every number is shown.


def test_every_rungs_numbers_are_shown() -> None:
    report = four_rungs()
    text = shown(render(report))
    for rung in report["rungs"]:
        assert rung["name"] in text
        assert f"{rung['bits_per_byte']:.3f}" in text
        assert f"{rung['ci95'][0]:.3f} – {rung['ci95'][1]:.3f}" in text
        assert f"{rung['nats_per_token']:.3f}" in text
        assert f"{rung['perplexity']:.2f}" in text
        assert f"{rung['parameters']:,}" in text
        assert "38,765" in text
        assert "412 kB" in text
        assert f"A sample of {rung['name']}." in text
        assert f"A note on {rung['name']}." in text
    assert "0.21 s" in text
    assert "1 min" in text
    for sentence in sentences(report):
        assert sentence in text
    assert headline(report).split(". ")[0] in text


def test_facts_are_shown() -> None:
    report = four_rungs()
    text = shown(render(report))
    for fact in ("plays", "9f2c4e7a" * 8, "files", "90/5/5", "char", "261", "1.25 minutes each", "1337"):
        assert fact in text
    for fact in ("250,655", "251,713", "4,512,334", "two cores", "numpy 2.4.6", "2026-10-20 14:03"):
        assert fact in text
    assert "rung climb plays --minutes 1.25" in text
    assert "rung sample runs/ngram" in text
    assert "ln 2" in text


def test_best_rung_is_marked_once() -> None:
    html = render(four_rungs())
    assert html.count('class="best"') == 1
    assert re.search(r'class="best".*?</tr>', html, flags=re.DOTALL)[0].count("2.289") == 1  # type: ignore[index]


def test_only_rungs_that_learned_have_loss_curves() -> None:
    assert render(four_rungs()).count('aria-label="Training and validation loss of') == 2
    assert 'aria-label="Training and validation loss of' not in render(one_rung())


def test_a_missing_interval_is_said_to_be_missing() -> None:
    text = shown(render(one_rung()))
    assert "no interval" in text
    assert "too short" in text


# Whatever a model writes is only text.


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    benign, hostile = four_rungs(), four_rungs()
    for rung in hostile["rungs"]:
        rung["sample"] = HOSTILE
        rung["notes"] = [HOSTILE]
        rung["settings"] = {HOSTILE: HOSTILE}
    hostile["data"]["name"] = hostile["command"] = hostile["machine"] = HOSTILE
    page = Page(render(hostile))
    assert page.tags == Page(render(benign)).tags
    assert page.samples[0] == "\n" + HOSTILE
    assert "alert(1)" in page.text


def test_hostile_names_are_shown_in_the_plots_too() -> None:
    names, plain = ("<b id=x>&\"'$x^2$", "日本\x00"), ("a" * 16, "abc")
    html, other = (
        render(made_up_report([made_up_rung(one, 3.1, neural=True), made_up_rung(two, 2.9, neural=True)]))
        for one, two in (names, plain)
    )
    assert "<b id" not in html
    assert "日本␀" in html
    assert Page(html).tags == Page(other).tags


def test_control_characters_are_made_visible() -> None:
    report = one_rung()
    report["rungs"][0]["sample"] = "\x00\x07\x1b[31m\r\n\x7f\x85\ud800\t☃ 🎭 ‮end"
    html = render(report)
    assert Page(html).samples[0] == "\n␀␇␛[31m␍\n␡\ufffd\ufffd\t☃ 🎭 ‮end"
    html.encode("utf-8")


@settings(deadline=None, max_examples=8)
@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z"])))
def test_readable_text_is_shown_as_it_is(sample: str) -> None:
    report = one_rung()
    report["rungs"][0]["sample"] = sample
    assert Page(render(report)).samples[0] == "\n" + sample


@settings(deadline=None, max_examples=8)
@given(st.text(st.characters()))
def test_any_text_can_be_written_to_a_file_and_changes_no_element(sample: str) -> None:
    report = one_rung()
    tags = Page(render(report)).tags
    report["rungs"][0]["sample"] = sample
    html = render(report)
    html.encode("utf-8")
    assert Page(html).tags == tags
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", html)


# Plots.


def test_plots_are_well_formed_and_their_words_are_text() -> None:
    rungs = four_rungs()["rungs"]
    drawings = [plots.bars(rungs, "ngram"), plots.losses(rungs[3], 3), plots.against_time(rungs)]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.tag == "svg"
        assert root.get("role") == "img"
        assert len(drawing) < 60_000  # 3,000 points of training loss are thinned
    words = ["".join(ElementTree.fromstring(drawing).itertext()) for drawing in drawings]
    for rung in rungs:
        assert rung["name"] in words[0]
        assert rung["name"] in words[2]
        assert f"{rung['bits_per_byte']:.3f}" in words[0]
    assert "training" in words[1]
    assert "validation" in words[1]


def test_bars_are_as_long_as_the_numbers() -> None:
    rungs = four_rungs()["rungs"]
    lengths = []
    for path in ElementTree.fromstring(plots.bars(rungs, "ngram")).iter("path"):
        if "--rung-" in path.get("style", ""):
            across = [float(pair.split()[0]) for pair in re.findall(r"[ML] ([\d. ]+)", path.get("d", ""))]
            lengths.append(max(across) - min(across))
    values = np.array([rung["bits_per_byte"] for rung in rungs])
    np.testing.assert_allclose(np.array(lengths) / lengths[0], values / values[0], rtol=1e-4)


def test_odd_runs_can_be_drawn() -> None:
    """A run that diverged, one too short to be evaluated, one that took no time, many rungs."""
    diverged = made_up_rung("gpt", 2.5, neural=True)
    diverged["curve"]["train"][100:] = [[i, 0.02 * i, float("nan")] for i in range(101, 3001)]
    unseen = made_up_rung("rnn", 2.6)
    unseen["curve"]["train"] = [[1, 0.0, 5.5]]
    instant = made_up_rung("lstm", 2.7)
    instant["curve"]["validation"] = [[0, 0.0, 5.5, 8.0]]
    instant["train_seconds"] = 0.0
    rungs = [diverged, unseen, instant, *(made_up_rung(f"rung-{i}", 2.0 + i / 100) for i in range(9))]
    Page(render(made_up_report(rungs)))


# The sentences say what the numbers say.


LOWER = {"name": "a", "bits_per_byte": 2.0, "parameters": 59_536, "train_seconds": 0.21}
UPPER = {"name": "b", "bits_per_byte": 1.9, "parameters": 3_214_551, "train_seconds": 75.2}


def test_a_step_that_buys_something() -> None:
    said = step_sentence(LOWER, UPPER, Difference(-0.1, (-0.12, -0.08), True))
    assert said == (
        "The step from a to b buys 0.100 bits per byte (5.0%), larger than the noise "
        "(95% interval: 0.080 to 0.120 better), and takes 3.21 million parameters instead of 59,536 "
        "and 1 min 15 s of training instead of 0.21 s."
    )


def test_a_step_that_makes_it_worse_is_said_to() -> None:
    said = step_sentence(LOWER, UPPER, Difference(0.3, (0.25, 0.35), True))
    assert "worse by 0.300 bits per byte (15%)" in said
    assert "larger than the noise (95% interval: 0.250 to 0.350 worse)" in said
    assert "buys" not in said
    assert "better" not in said


@pytest.mark.parametrize(("gain", "way"), [(-0.004, "better"), (0.004, "worse")])
def test_a_step_within_the_noise_is_said_to_be(gain: float, way: str) -> None:
    said = step_sentence(LOWER, UPPER, Difference(gain, (gain - 0.02, gain + 0.02), False))
    assert "nothing that can be told from noise" in said
    assert f"0.0040 bits per byte {way}" in said or f"0.004 bits per byte {way}" in said
    assert "larger than" not in said


def test_without_an_interval_nothing_is_claimed() -> None:
    said = step_sentence(LOWER, UPPER, Difference(-0.5, None, False))
    assert "too short to tell" in said
    assert "larger than" not in said


def test_no_share_of_what_is_near_nothing() -> None:
    """2.286 bits are 14,522,473 % of 0.0000157: a number that says nothing."""
    lower, upper = {**LOWER, "bits_per_byte": 1.574e-5}, {**UPPER, "bits_per_byte": 2.286}
    for found in (
        Difference(2.286, (2.1, 2.4), True),
        Difference(2.286, (-2.1, 2.4), False),
        Difference(2.286, None, False),
    ):
        said = step_sentence(lower, upper, found)
        assert "2.286 bits per byte" in said
        assert "%" not in said.replace("95%", "")


def test_a_difference_of_rounding_is_none() -> None:
    said = step_sentence(LOWER, {**LOWER, "name": "b"}, Difference(1e-8, (0.9e-8, 1.1e-8), False))
    assert "changes nothing beyond rounding" in said


def test_no_difference_at_all() -> None:
    said = step_sentence(LOWER, {**LOWER, "name": "b"}, Difference(0.0, (0.0, 0.0), False))
    assert "changes nothing" in said
    assert "the same 59,536 parameters" in said


@settings(deadline=None, max_examples=50)
@given(
    st.floats(-8, 8),
    st.floats(0, 2),
    st.floats(0, 1e5),
    st.integers(1, 10**10),
)
def test_a_step_is_one_sentence_that_takes_no_sides(gain: float, half: float, took: float, size: int) -> None:
    larger = abs(gain) > half and abs(gain) >= ROUNDING
    upper = {**UPPER, "train_seconds": took, "parameters": size}
    said = step_sentence(LOWER, upper, Difference(gain, (gain - half, gain + half), larger))
    assert said.startswith("The step from a to b ")
    assert said.endswith(".")
    assert said.count(". ") == 0
    assert "\n" not in said
    assert ("larger than the noise" in said) == larger
    if larger:
        assert ("buys" in said) == (gain < 0)
        assert ("worse" in said) == (gain > 0)


# Steps from blocks.


def blocks_of_four() -> tuple[list[dict[str, Any]], dict[str, np.ndarray], np.ndarray]:
    """Four rungs over 120 blocks: c is no better than b but for noise, d is worse than c."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1500, 2500, 120)
    hard = rng.normal(1.6, 0.2, 120)
    level = {"a": 0.8, "b": 0.0, "c": 0.0, "d": 0.1}
    nats = {name: sizes * (hard + more + rng.normal(0, 0.02, 120)) for name, more in level.items()}
    rungs = []
    for name in level:
        rung = made_up_rung(name, bits_per_byte(nats[name], sizes))
        ends = bootstrap_interval(nats[name], sizes)
        rung["ci95"] = None if ends is None else list(ends)
        rungs.append(rung)
    return rungs, nats, sizes


def test_steps_compare_neighbours_on_the_same_blocks() -> None:
    rungs, nats, sizes = blocks_of_four()
    told = steps(rungs, nats, sizes, seed=3)
    assert [(step["from"], step["to"]) for step in told] == [("a", "b"), ("b", "c"), ("c", "d")]
    for step, lower, upper in zip(told, rungs[:-1], rungs[1:], strict=True):
        expected = paired_bootstrap(nats[lower["name"]], nats[upper["name"]], sizes, seed=3)
        assert step["difference"] == pytest.approx(upper["bits_per_byte"] - lower["bits_per_byte"])
        assert expected.ci95 is not None
        assert step["ci95"] == list(expected.ci95)
        assert step["larger_than_noise"] == expected.larger_than_noise
        assert step["sentence"] == step_sentence(lower, upper, expected)
    assert [step["larger_than_noise"] for step in told] == [True, False, True]
    assert [step["difference"] < 0 for step in told][::2] == [True, False]
    report = {**made_up_report(rungs), "steps": json.loads(json.dumps(told))}
    assert sentences(report) == [step["sentence"] for step in told]


def test_one_rung_takes_no_step() -> None:
    rungs, nats, sizes = blocks_of_four()
    assert steps(rungs[:1], nats, sizes) == []
    assert level_with_best(rungs[:1], nats, sizes) == []


def test_the_rung_level_with_the_best_is_found() -> None:
    rungs, nats, sizes = blocks_of_four()
    best = min(("b", "c"), key=lambda name: nats[name].sum())
    other = "c" if best == "b" else "b"
    assert level_with_best(rungs, nats, sizes) == [other]
    report = {**made_up_report(rungs), "level_with_best": [other]}
    assert f"{other} cannot be told from it" in headline(report)
    html = render(report)
    assert html.count('<span class="badge quiet">level</span>') == 1
    assert '<span class="badge">best</span>' not in html


# The headline.


def test_headline_says_where_gpt_stands_when_it_is_behind() -> None:
    said = headline({**four_rungs(), "level_with_best": []})
    assert said == (
        "ngram is the best of four rungs, at 2.289 bits per byte. "
        "gpt comes second at 2.413, 0.123 (5.4%) behind, a difference larger than the noise."
    )


def test_headline_makes_no_claim_that_was_not_measured() -> None:
    """Without the list of level rungs or a step from ngram to gpt, the noise between the two is unknown."""
    assert "noise" not in headline(four_rungs())


def test_headline_says_who_comes_second_when_gpt_is_best() -> None:
    report = made_up_report(
        [made_up_rung("bigram", 3.5), made_up_rung("ngram", 2.3), made_up_rung("gpt", 2.0)]
    )
    assert headline(report) == (
        "gpt is the best of three rungs, at 2.000 bits per byte. "
        "ngram comes second at 2.300, 0.300 (15%) behind, a difference larger than the noise."
    )


def test_headline_places_gpt_even_when_it_is_last() -> None:
    report = made_up_report(
        [made_up_rung("bigram", 2.5), made_up_rung("ngram", 2.3), made_up_rung("gpt", 3.0)]
    )
    assert "gpt comes third at 3.000, 0.700 (30%) behind" in headline(report)


def test_headline_names_a_draw() -> None:
    report = made_up_report([made_up_rung("ngram", 2.3), made_up_rung("gpt", 2.305)])
    said = headline(report)
    assert "gpt cannot be told from it" in said
    assert "within the noise" in said
    assert "is the best" not in said
    assert "larger than" not in said


def test_headline_of_one_rung_compares_nothing() -> None:
    assert "bigram reaches 3.473 bits per byte." in headline(one_rung())


def test_headline_without_intervals_claims_no_winner() -> None:
    rungs = [made_up_rung("ngram", 2.3, interval_known=False), made_up_rung("gpt", 2.0, interval_known=False)]
    said = headline(made_up_report(rungs))
    assert "too short" in said
    assert "is the best" not in said
    assert "larger than" not in said


# Numbers as words.


def test_numbers_as_words() -> None:
    assert [count(n) for n in (0, 59_536, 3_214_551, 22e6, 1.24e9)] == [
        "0",
        "59,536",
        "3.21 million",
        "22.0 million",
        "1.24 billion",
    ]
    assert [duration(s) for s in (0, 0.21, 4.83, 59.7, 75, 3600, 7500)] == [
        "less than 1 ms",
        "0.21 s",
        "4.8 s",
        "1 min",
        "1 min 15 s",
        "1 h 00 min",
        "2 h 05 min",
    ]
    assert [size(n) for n in (12, 412_331, 999_900, 18_221_400)] == [
        "12 bytes",
        "412 kB",
        "1000 kB",
        "18.2 MB",
    ]
    assert [percent(x) for x in (0.5, 0.0996, 0.054, 0.0004)] == ["50%", "10%", "5.4%", "0.04%"]
    assert [bits(x) for x in (-1.2345, 0.0099, 0.0042, 0)] == ["1.234", "0.010", "0.0042", "0.000"]


def test_no_step_is_judged_by_a_network_that_is_barely_trained():
    """Nor by how few steps it says; a rung that counts makes none and is judged."""
    found = Difference(-0.1, (-0.12, -0.08), True)
    counted = {**LOWER, "steps": None}
    barely, trained = {**UPPER, "steps": 299}, {**UPPER, "steps": 300}
    said = step_sentence(counted, barely, found)
    assert "is not judged" in said
    assert "made 299" in said
    assert "buys" not in said
    assert step_sentence(counted, trained, found) == step_sentence(LOWER, UPPER, found)


def test_the_page_shows_steps_and_epochs_and_who_is_barely_trained():
    rungs = [
        {**made_up_rung("bigram", 3.4731), "steps": None, "epochs": None},
        {**made_up_rung("gpt", 2.4127, neural=True), "steps": 1_234, "epochs": 0.56},
        {**made_up_rung("mlp", 2.9, neural=True), "steps": 123, "epochs": 0.07},
    ]
    page = render(made_up_report(rungs))
    for fact in ("<th>Steps</th>", "1,234", "0.56", "mlp is barely trained"):
        assert fact in page
    assert "<th>Steps</th>" not in render(made_up_report(rungs[:1]))
