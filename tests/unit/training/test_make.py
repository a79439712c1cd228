"""Microagents really made, tiny ones: taught, examined exactly, written whole or not at all."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from foundry_task import Sums, SumsParams

from maker.errors import BadInput, TaskFailed
from maker.training.dataset import Basis, Dataset, ExtraExam, GroupedReplies, dataset_of, held_out
from maker.training.examine import examine
from maker.training.make import Made, make, renew_card
from maker.training.recipe import Recipe

pytestmark = pytest.mark.torch
TINY = Recipe(steps=250, batch=49, rate=1e-2, hidden=32, layers=1, heads=2)


def course(*, exam: int = 50, **params: Any) -> Dataset:
    return dataset_of(Sums(SumsParams(**params)), {"task": "sums"}, exam=exam)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made]:
    """Return a microagent that knows the 49 sums, and what was said of it."""
    folder = tmp_path_factory.mktemp("sums") / "model"
    return folder, make(course(), TINY, folder)


def test_a_lookup_is_learnt(sums: tuple[Path, Made]) -> None:
    """Every sum is greedily right, and the card says that all there are were shown."""
    folder, made = sums
    (found,) = made.found
    assert (found.basis, found.greedy_right, found.prompts) == ("lookup", 49, 49)
    card = json.loads((folder / "card.json").read_text())
    assert card == json.loads(json.dumps(made.card))
    assert card["classes"][0]["shown"] == 49
    assert card["bytes"] == (folder / "model.safetensors").stat().st_size < 60_000
    assert card["recipe"]["steps"] == 250
    page = (folder / "README.md").read_text()
    assert "a lookup, examined on all 49 prompts" in page
    assert '`"Add. 0+0="` | `"0"`' in page
    assert not list(folder.parent.glob("*.part"))


def test_a_training_goes_on_from_a_microagent(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """From its weights: what it knew it still knows after a batch, and the card tells both trainings."""
    on = replace(TINY, steps=1, rate=1e-4)
    made = make(course(), on, tmp_path / "model", begun=sums[0])
    assert made.found[0].greedy_right == 49
    assert make(course(), on, tmp_path / "fresh").found[0].greedy_right < 49
    again = make(course(), on, tmp_path / "again", begun=tmp_path / "model")
    assert [one["recipe"]["steps"] for one in again.card["before"]] == [250, 1]
    assert "before" not in sums[1].card
    page = (tmp_path / "again" / "README.md").read_text()
    assert "First 250 batches of 49" in page and "Then, from these weights on, with the examples of now: 1 b" in page


@pytest.mark.parametrize(
    ("recipe", "params", "said"),
    [
        ({"hidden": 64}, {}, "has another size"),
        ({}, {"digits": 3}, "writes other characters than the examples have"),
        ({}, {"whole": False}, "was trained on all prompts of class sum"),
    ],
)
def test_a_microagent_that_cannot_be_trained_on(
    sums: tuple[Path, Made], tmp_path: Path, recipe: dict[str, Any], params: dict[str, Any], said: str
) -> None:
    """Another size, other characters, and one that was shown what is held out now are told before any training."""
    with pytest.raises(BadInput, match=said):
        make(course(**params), replace(TINY, **recipe), tmp_path / "model", begun=sums[0])
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_card_is_not_trained_on(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """Nobody knows what it was shown."""
    shutil.copytree(sums[0], tmp_path / "model")
    (tmp_path / "model" / "card.json").unlink()
    with pytest.raises(BadInput, match="nobody knows what it was shown"):
        make(course(), TINY, tmp_path / "other", begun=tmp_path / "model")


def test_a_folder_without_a_model_is_not_trained_on(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """A mistyped name, and a card that does not say how the microagent was trained."""
    with pytest.raises(BadInput, match=f"there is no model in {tmp_path / 'typo'}"):
        make(course(), TINY, tmp_path / "other", begun=tmp_path / "typo")
    shutil.copytree(sums[0], tmp_path / "model")
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    del card["recipe"]
    (tmp_path / "model" / "card.json").write_text(json.dumps(card))
    with pytest.raises(BadInput, match="it does not say how the microagent was trained"):
        make(course(), TINY, tmp_path / "other", begun=tmp_path / "model")


def test_longer_prompts_have_room_in_a_model_that_is_trained_on(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """The examples of now need more tokens than those before: a server must take them."""
    longer = Dataset([replace(topic, most_tokens=200) for topic in course().topics], {"task": "sums"})
    made = make(longer, replace(TINY, steps=1), tmp_path / "model", begun=sums[0])
    assert sums[1].card["positions"] < 200 < made.card["positions"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["max_position_embeddings"] >= 200


def test_all_that_is_examined_is_looked_at_before_the_training(tmp_path: Path) -> None:
    """A kind that cannot be named ends no training after an hour, nor do characters that only an extra exam has."""

    def kind_of(prompt: str) -> str:
        raise TaskFailed(f"no kind of {prompt}")

    (topic,) = course().topics
    with pytest.raises(TaskFailed, match="no kind of"):
        make(
            Dataset([replace(topic, kind_of=kind_of)], {}),
            TINY,
            tmp_path / "model",
            on_batch=lambda *_: pytest.fail("it was trained"),
        )
    odd = Dataset([replace(topic, extra=[ExtraExam("odd", ["Add. 1+\u0661="])])], {})
    assert "\u0661" in make(odd, replace(TINY, steps=1), tmp_path / "model").card["characters"]


def test_an_exam_by_kind_goes_into_the_card(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """Figures of each kind of the exam and of an extra one; what the card says of the training stays as it was."""
    folder = tmp_path / "model"
    shutil.copytree(sums[0], folder)
    found = examine(folder, course(kinds=True), temperatures=[1.0])
    (one,) = found
    assert [(kind.exam, kind.kind, kind.prompts) for kind in one.kinds] == [
        ("", "with 0", 13), ("", "without 0", 36), ("zeros", "with 0", 7),
    ]  # fmt: skip
    renew_card(folder, course(kinds=True), found)
    before, card = (json.loads((at / "card.json").read_text()) for at in (sums[0], folder))
    assert [kind["kind"] for kind in card["classes"][0]["kinds"]] == ["with 0", "without 0", "with 0"]
    assert card["classes"][0]["shown"] == 49
    assert {**card, "classes": 0} == {**before, "classes": 0}
    page = (folder / "README.md").read_text()
    assert "| sum | its exam | without 0 | 1 | 36/36 |" in page and "| sum | zeros | with 0 | 1 | 7/7 |" in page
    assert "### By kind" not in (sums[0] / "README.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in sums[0].iterdir())


def test_a_card_of_something_else_stays(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """Figures of other classes than the card's are refused, and so is a folder without a card."""
    folder = tmp_path / "model"
    shutil.copytree(sums[0], folder)
    (one,) = sums[1].found
    with pytest.raises(BadInput, match="is of class sum, and the exam of class other"):
        renew_card(folder, course(), [replace(one, name="other")])
    assert (folder / "card.json").read_bytes() == (sums[0] / "card.json").read_bytes()
    (folder / "card.json").unlink()
    with pytest.raises(BadInput, match=r"has no card\.json"):
        renew_card(folder, course(), [one])


def everything(folder: Path, prompt: str, temperature: float) -> Iterator[tuple[str, float]]:
    """Yield replies of up to three characters with their probabilities, token by token, without the checker's code."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    begun = tokenizer(prompt)["input_ids"]
    found: list[tuple[list[int], float]] = [([], 1.0)]
    for _ in range(4):
        going = []
        for tokens, chance in found:
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([begun + tokens])).logits[0, -1].double()
            for token, share in enumerate(torch.softmax(logits / temperature, -1).tolist()):
                if token == tokenizer.eos_token_id:
                    yield tokenizer.decode(tokens), chance * share
                elif chance * share > 1e-4:
                    going.append(([*tokens, token], chance * share))
        found = going


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_checker_is_exact(sums: tuple[Path, Made], temperature: float) -> None:
    """Its probabilities are those of all short replies, added up by what they are: right, a rival, or neither."""
    from maker.training.building import read_model
    from maker.training.exact_evaluation import evaluate_exactly

    folder, _ = sums
    (topic,) = course().topics
    for prompt in topic.exam[8:40:13]:
        question = topic.grouped(prompt)
        found = evaluate_exactly(read_model(folder), [prompt], topic.grouped, [temperature])[temperature]
        told = dict(everything(folder, prompt, temperature))
        expected = [sum(told.get(text, 0.0) for text in texts) for texts in (question.right, *question.rivals)]
        assert found.right[0] == pytest.approx(expected[0], rel=0.03)
        assert found.rivals[0] == pytest.approx(sum(expected[1:]), rel=0.05, abs=1e-3)
        assert found.rival[0] == pytest.approx(max(expected[1:]), rel=0.05, abs=1e-3)
        assert found.greedy[0]


def test_samples_come_as_the_checker_says(sums: tuple[Path, Made]) -> None:
    """4,000 replies drawn at temperature 3 are right, or a rival, as often as was read off, within 4 sigma."""
    import torch

    from maker.training.building import read_model
    from maker.training.exact_evaluation import evaluate_exactly

    loaded = read_model(sums[0])
    (topic,) = course().topics
    prompt = topic.exam[24]
    found = evaluate_exactly(loaded, [prompt], topic.grouped, [3.0])[3.0]
    question = topic.grouped(prompt)
    torch.manual_seed(0)
    inputs = loaded.tokenizer([prompt], return_tensors="pt")
    drawn = loaded.model.generate(
        **inputs, max_new_tokens=4, do_sample=True, temperature=3.0, top_k=0, num_return_sequences=4000
    )
    texts = loaded.tokenizer.batch_decode(drawn[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    rivals = {text for group in question.rivals for text in group}
    for chance, count in (
        (found.right[0], sum(text in question.right for text in texts)),
        (found.rivals[0], sum(text in rivals for text in texts)),
    ):
        assert abs(count - 4000 * chance) < 4 * math.sqrt(4000 * chance * (1 - chance))


def test_an_exam_says_the_same_again(sums: tuple[Path, Made]) -> None:
    """The folder alone gives the figures of its card; at other temperatures other ones."""
    folder, made = sums
    assert examine(folder, course()) == list(made.found)
    (found,) = examine(folder, course(), temperatures=[2.5])
    assert [heat.temperature for heat in found.heats] == [2.5]
    assert found.heats[0].error > made.found[0].heats[-1].error


def test_long_exams_are_read_in_parts(sums: tuple[Path, Made], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many prompts are read at a time, the figures are the same but for rounding."""
    monkeypatch.setattr("maker.training.exact_evaluation.SLICE", 10)
    monkeypatch.setattr("maker.training.exact_evaluation.TOKENS", 100)
    folder, made = sums
    (found,) = examine(folder, course())
    (before,) = made.found
    assert (found.greedy_right, found.prompts) == (before.greedy_right, before.prompts)
    for heat, other in zip(found.heats, before.heats, strict=True):
        assert heat.error == pytest.approx(other.error, rel=0.05)


def test_mistakes_are_trained_in(tmp_path: Path) -> None:
    """With slip the legal wrong replies come about as often as is asked for, and nothing else does."""
    made = make(course(digits=4), Recipe(steps=400, batch=48, rate=1e-2, slip=0.2, hidden=32, layers=1, heads=2),
                tmp_path / "model", temperatures=[1.0])  # fmt: skip
    (heat,) = made.found[0].heats
    assert made.found[0].greedy_right == 16
    assert heat.error == pytest.approx(0.2, abs=0.05)
    assert heat.other < 0.04
    assert "Its mistakes are trained in" in (tmp_path / "model" / "README.md").read_text()


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    """Weights are the same to the bit, whatever was drawn before; another seed gives other ones."""
    import torch

    recipe = Recipe(steps=5, batch=8, hidden=32, layers=1, heads=1)
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(7)
        make(course(), Recipe(**{**vars_of(recipe), "seed": seed}), tmp_path / name)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def vars_of(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__slots__}


def test_what_is_held_out_is_never_shown(tmp_path: Path) -> None:
    """Of a class that is not whole no batch holds a prompt of the held-out part; its exam holds nothing else."""
    from maker.training.make import _survey
    from maker.training.train import _Examples

    taught = course(words=True, exam=40)
    survey = _survey(taught)
    import random

    recipe = Recipe()
    letters = {number: character for character, number in survey.alphabet.vocabulary.items()}
    shown = ["".join(letters[token] for token in one.prompt) for one in itertools.islice(
        _Examples(random.Random(0), taught, survey.alphabet, recipe, survey.positions), 3000)]  # fmt: skip
    words = [prompt for prompt in shown if "?" in prompt]
    assert len(words) > 800
    assert not any(map(held_out, words))
    # The sums are a lookup: of these the hash keeps none away.
    assert any(held_out(prompt) for prompt in shown if "+" in prompt)
    made = make(taught, Recipe(steps=3, batch=8, hidden=32, layers=1, heads=1), tmp_path / "model")
    assert [(one.basis, one.at_most is None) for one in made.found] == [("lookup", True), ("held out", False)]
    assert made.found[1].prompts == 40


def test_a_lookup_is_not_examined_as_if_it_were_none(sums: tuple[Path, Made]) -> None:
    """A model that was shown all prompts says nothing on those that are held out of another course."""
    with pytest.raises(BadInput, match="was trained on all prompts of class sum"):
        examine(sums[0], course(whole=False))


def test_a_folder_that_is_there(sums: tuple[Path, Made], tmp_path: Path) -> None:
    """A microagent is replaced where that is asked for, another folder or a file never is."""
    recipe = Recipe(steps=1, batch=1, hidden=32, layers=1, heads=1)
    with pytest.raises(BadInput, match="exists already"):
        make(course(), recipe, sums[0])
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    for out in (mine, mine / "letter.txt"):
        with pytest.raises(BadInput, match="is not a microagent"):
            make(course(), recipe, out, force=True)
    with pytest.raises(BadInput, match="does not exist"):
        make(course(), recipe, tmp_path / "no" / "model")
    make(course(), recipe, tmp_path / "model")
    made = make(course(), Recipe(steps=2, batch=1, hidden=32, layers=1, heads=1), tmp_path / "model", force=True)
    assert json.loads((tmp_path / "model" / "card.json").read_text())["recipe"]["steps"] == 2
    assert made.card["recipe"]["steps"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


@pytest.mark.parametrize("where", ["training", "exam"])
def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Neither half a model nor a file beside it; one that was there stays as it was."""
    recipe = Recipe(steps=2, batch=1, hidden=32, layers=1, heads=1)
    make(course(), recipe, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if where == "exam":
        monkeypatch.setattr("maker.training.exact_evaluation.evaluate_exactly", interrupt)
    for name in ("model", "other"):
        with pytest.raises(KeyboardInterrupt):
            make(course(), recipe, tmp_path / name, force=True, on_batch=interrupt if where == "training" else None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


@pytest.mark.parametrize("temperatures", [[], [0.0], [1.0, -1.0]])
def test_temperatures_that_cannot_be(tmp_path: Path, temperatures: list[float]) -> None:
    """At 0 there is nothing to read off but the greedy reply, which is told anyway."""
    with pytest.raises(BadInput, match="temperatures = "):
        make(course(), TINY, tmp_path / "model", temperatures=temperatures)


def test_a_folder_without_a_model(tmp_path: Path, sums: tuple[Path, Made]) -> None:
    """No model, a card of something else, and a task that the model's characters cannot write are told."""
    with pytest.raises(BadInput, match="there is no model in"):
        examine(tmp_path, course())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(BadInput, match="no model can be read"):
        examine(tmp_path, course())
    with pytest.raises(BadInput, match="the model's tokenizer"):
        examine(sums[0], course(words=True))
    (tmp_path / "card.json").write_text("[]")
    with pytest.raises(BadInput, match="is not a microagent's card"):
        examine(tmp_path, course())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("weights", "no model can be read"),
        ("card", "is not a microagent's card"),
        ("kind", "holds a GPT2LMHeadModel"),
        ("end", "holds a tokenizer without an end token"),
    ],
)
def test_a_folder_that_is_damaged_or_of_another_kind(
    sums: tuple[Path, Made], tmp_path: Path, fault: str, said: str
) -> None:
    """Weights that were cut off, a card without its classes, another architecture, and no end token are told."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "model"
    shutil.copytree(sums[0], folder)
    weights, card, settings = folder / "model.safetensors", folder / "card.json", folder / "tokenizer_config.json"
    if fault == "weights":
        weights.write_bytes(weights.read_bytes()[:500])
    elif fault == "card":
        card.write_text(json.dumps(json.loads(card.read_text()) | {"classes": [{}]}))
    elif fault == "kind":
        GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder)
    else:
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": None}))
    with pytest.raises(BadInput, match=said):
        examine(folder, course())


def test_a_prompt_that_is_too_long_for_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of examples that shows long prompts late is told, instead of a model that has no room for them."""
    from maker.training.dataset import Source, Topic
    from maker.types import Truth

    def prompt(i: int) -> str:
        return "1" * (200 if held_out(str(i)) and i > 1 << 40 else 3)

    source = Source(1.0, 1 << 50, prompt)
    topic = Topic("one", Basis.HELD_OUT, [source], ["111"], 4, lambda text: Truth(["1"], []),
                  lambda text: GroupedReplies(text, ("1",), ()))  # fmt: skip
    monkeypatch.setattr("maker.training.make.SCANNED", 1)
    with pytest.raises(BadInput, match="takes 202 tokens with its reply, but the model has room for 64"):
        make(Dataset([topic], {}), Recipe(steps=40, batch=20, hidden=32, layers=1, heads=1), tmp_path / "model")


def test_a_whole_set_that_is_not_whole(tmp_path: Path) -> None:
    """A prompt of another set that the whole one lacks is told before anything is trained."""
    from maker.errors import TaskFailed
    from maker.plugin import ExampleSet

    class More(Sums):
        def examples(self) -> list[ExampleSet]:
            return [*super().examples(), ExampleSet("sum", 3, lambda i: f"{i}+9=")]

    with pytest.raises(TaskFailed, match=r"the prompt 'Add. .[+]9=', which it lacks"):
        make(dataset_of(More(SumsParams()), {}), TINY, tmp_path / "model")


def test_slip_wants_an_oracle(tmp_path: Path) -> None:
    """A run's steps know hardly any wrong replies."""
    with pytest.raises(BadInput, match="--slip needs wrong but legal replies"):
        make(Dataset([], {}, by_run=True), Recipe(slip=0.1), tmp_path / "model")
