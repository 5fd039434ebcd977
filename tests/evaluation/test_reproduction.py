"""Published numbers beside ours."""

import json
from pathlib import Path

import pytest

import rung
from rung.cli import main
from rung.errors import UserError
from rung.evaluation.reproduction import markdown, reproductions
from rung.training.recipes import Recipe, parse_recipe, recipe_names


def run_verb(*arguments: str) -> object:
    """The exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def recipe(name: str, model: str, published: float, text: Path) -> Recipe:
    return parse_recipe(
        name,
        f"""
        title = "A test"
        source = "Nobody 2026"
        published = {published}
        rung = "{model}"
        data = "{text}"
        [settings]
        split = "80/10/10"
        """,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "names.txt"
    path.write_text("\n".join(["anna", "bob", "carla", "dan"] * 60))
    return path


def test_the_loss_is_the_one_that_evaluate_measures_and_reached_means_as_low_as_published(tmp_path, text):
    run = rung.train("bigram", text, out=tmp_path / "easy", split="80/10/10")
    rung.train("bigram", text, out=tmp_path / "hard", split="80/10/10")
    easy, hard, absent = reproductions(
        tmp_path,
        [
            recipe("easy", "bigram", 5.0, text),
            recipe("hard", "bigram", 0.001, text),
            recipe("absent", "mlp", 2.0, text),
        ],
    )
    measured = rung.evaluate(run, split="validation").nats_per_token
    assert easy.ours == hard.ours == pytest.approx(measured)
    assert easy.reached is not None
    assert hard.reached is None
    assert (absent.ours, absent.reached) == (None, None)
    lines = [line for line in markdown([easy, hard, absent]).splitlines() if line.startswith("| `")]
    assert len(lines) == 3
    assert "not reached" in lines[1]
    assert "not run" in lines[2]


def test_the_time_is_that_of_the_first_evaluation_as_low_as_published(tmp_path, text):
    run = rung.train("neural-bigram", text, out=tmp_path / "n", split="80/10/10", steps=40, eval_every=10)
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    evaluations = [event for event in events if event["kind"] == "evaluation"]
    middle = evaluations[1]["nats_per_token"]
    (row,) = reproductions(tmp_path, [recipe("n", "neural-bigram", middle, text)])
    assert row.reached == next(e["seconds"] for e in evaluations if e["nats_per_token"] <= middle)
    assert row.steps == 40


def test_a_run_of_another_rung_is_refused(tmp_path, text):
    rung.train("bigram", text, out=tmp_path / "x", split="80/10/10")
    with pytest.raises(UserError, match="holds a run of bigram, but the recipe x is of mlp"):
        reproductions(tmp_path, [recipe("x", "mlp", 2.0, text)])


def test_the_verb_lists_every_recipe_and_names_the_nearest_of_a_wrong_one(tmp_path, capsys):
    out = ["--out", str(tmp_path / "none")]
    assert run_verb("recipes", *out, "--json") == 0
    told = json.loads(capsys.readouterr().out)["recipes"]
    assert [row["recipe"]["name"] for row in told] == recipe_names()
    assert run_verb("recipes", *out, "names-wavnet") == 2
    assert "did you mean 'names-wavenet'?" in capsys.readouterr().err
