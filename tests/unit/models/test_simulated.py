"""The simulated model is a pure function of seed and prompt, and errs at the rates that it is given."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import pytest

from maker.errors import ModelUnusable
from maker.models.opening import open_model
from maker.models.settings import SimulatedSettings
from maker.models.simulated import MALFORMED, SimulatedModel
from maker.types import Finished, Request, Sample, Truth

DRAWS = 20_000


def oracle(prompt: str) -> Truth:
    return Truth(("right",), ("wrong 0", "wrong 1", "wrong 2"))


def model(**settings: Any) -> SimulatedModel:
    return SimulatedModel(SimulatedSettings(**settings), oracle)


def request(i: int = 1, **changes: Any) -> Request:
    return Request(i, "Rules. ", "Move?", 3, 100, 16, (), "move")._replace(**changes)


def draw(one: Request, **settings: Any) -> tuple[Sample, ...]:
    simulated = model(**settings)
    simulated.submit([one])
    (answer,) = simulated.poll(0)
    assert isinstance(answer, Finished)
    return answer.samples


def texts(one: Request, **settings: Any) -> list[str]:
    return [sample.text for sample in draw(one, **settings)]


def within_4_sigma(hits: int, p: float) -> bool:
    """Four standard deviations of the binomial; the seeds are fixed, so a pass stays a pass."""
    return abs(hits - DRAWS * p) <= 4 * math.sqrt(DRAWS * p * (1 - p))


class TestPurity:
    def test_same_seed_and_prompt_same_reply(self) -> None:
        one = request(n=50)
        assert draw(one, p=0.5) == draw(one._replace(id=2, system="other", kind="other"), p=0.5)

    def test_sample_i_is_drawn_with_seed_plus_i(self) -> None:
        many = draw(request(n=50), p=0.5)
        alone = tuple(draw(request(n=1, seed=100 + i), p=0.5)[0] for i in range(50))
        assert many == alone

    def test_another_prompt_is_another_draw(self) -> None:
        assert texts(request(n=50), p=0.5) != texts(request(n=50, prompt="Then?"), p=0.5)

    def test_what_else_is_open_changes_nothing(self) -> None:
        simulated = model(p=0.5)
        simulated.submit(request(i, seed=1000 * i) for i in range(5))
        together = {answer.id: answer for answer in simulated.poll(0)}
        for i in range(5):
            simulated.submit([request(i, seed=1000 * i)])
            assert simulated.poll(0) == [together[i]]

    def test_seeds_of_63_bits_are_taken(self) -> None:
        assert len(draw(request(seed=2**63 - 1))) == 3


class TestRates:
    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.99])
    def test_right_with_probability_p(self, p: float) -> None:
        assert within_4_sigma(texts(request(n=DRAWS), p=p).count("right"), p)

    @pytest.mark.parametrize(("p", "expected"), [(1.0, {"right"}), (0.0, {"wrong 0"})])
    def test_at_the_ends(self, p: float, expected: set[str]) -> None:
        assert set(texts(request(n=2000), p=p)) == expected

    def test_rivals_share_the_errors_evenly(self) -> None:
        counts = Counter(texts(request(n=DRAWS), p=0.4, rivals=3))
        assert set(counts) == {"right", "wrong 0", "wrong 1", "wrong 2"}
        assert all(within_4_sigma(counts[f"wrong {i}"], 0.2) for i in range(3))

    def test_malformed_is_drawn_first(self) -> None:
        """Of 20,000: 25 % malformed, 75 % · 80 % = 60 % right."""
        counts = Counter(texts(request(n=DRAWS), p=0.8, malformed=0.25))
        assert within_4_sigma(counts[MALFORMED], 0.25)
        assert within_4_sigma(counts["right"], 0.6)

    def test_common_at_1_is_one_answer_for_a_prompt(self) -> None:
        """Every vote on a step is the same, and over prompts a share p is right."""
        simulated = model(p=0.7, common=1.0)
        simulated.submit(request(i, prompt=str(i), n=3, seed=7 * i) for i in range(DRAWS))
        answers = [answer for answer in simulated.poll(0) if isinstance(answer, Finished)]
        assert all(len({sample.text for sample in answer.samples}) == 1 for answer in answers)
        assert within_4_sigma(sum(answer.samples[0].text == "right" for answer in answers), 0.7)

    def test_common_at_one_half_makes_errors_agree(self) -> None:
        """Two votes are both wrong with ¼ · ½ + ¾ · ¼ = 0.3125 at p = ½; independent ones with 0.25."""
        simulated = model(p=0.5, common=0.5)
        simulated.submit(request(i, prompt=str(i), n=2, seed=7 * i) for i in range(DRAWS))
        answers = [answer for answer in simulated.poll(0) if isinstance(answer, Finished)]
        both = sum(all(sample.text != "right" for sample in answer.samples) for answer in answers)
        assert within_4_sigma(both, 0.3125)

    def test_an_oracle_without_wrong_answers_is_always_right(self) -> None:
        simulated = SimulatedModel(SimulatedSettings(p=0.0), lambda prompt: Truth(("right",), ()))
        simulated.submit([request(n=100)])
        (answer,) = simulated.poll(0)
        assert isinstance(answer, Finished)
        assert {sample.text for sample in answer.samples} == {"right"}


class TestTokens:
    def test_are_characters_and_an_end_mark(self) -> None:
        simulated = model(p=1.0)
        simulated.submit([request()])
        assert simulated.poll(0) == [Finished(1, (Sample("right", 6),) * 3, len("Rules. Move?"), 18)]

    @pytest.mark.parametrize(
        ("limit", "sample"),
        [(6, Sample("right", 6)), (5, Sample("right", 5, cut=True)), (2, Sample("ri", 2, cut=True))],
    )
    def test_a_reply_is_cut_at_max_tokens(self, limit: int, sample: Sample) -> None:
        assert draw(request(n=1, max_tokens=limit), p=1.0) == (sample,)


class TestLife:
    def test_latency(self) -> None:
        simulated = model(latency_s=0.2)
        began = time.monotonic()
        simulated.submit([request()])
        assert simulated.poll(0.05) == []
        assert len(simulated.poll(5)) == 1
        assert 0.2 <= time.monotonic() - began < 1
        assert simulated.poll(5) == []
        assert time.monotonic() - began < 1

    @pytest.mark.parametrize("latency_s", [0.0, 0.05])
    def test_cancelled_requests_are_not_answered(self, latency_s: float) -> None:
        simulated = model(latency_s=latency_s)
        simulated.submit(request(i) for i in range(3))
        simulated.cancel([1, 99])
        assert [answer.id for answer in simulated.poll(1)] == [0, 2]

    def test_close_twice(self) -> None:
        simulated = model()
        simulated.submit([request()])
        simulated.close()
        simulated.close()
        assert simulated.poll(0) == []

    def test_a_task_without_an_oracle_is_refused(self) -> None:
        with pytest.raises(ModelUnusable, match="oracle"):
            open_model(SimulatedSettings(), None)


class TestTruths:
    """What studies draw from: classes, prompts that differ, rivals of unlike strength, flags that hit errors."""

    def test_p_by_class(self) -> None:
        settings = {"p": 0.9, "p_by_class": {"hard": 0.6}}
        assert within_4_sigma(texts(request(n=DRAWS, kind="hard"), **settings).count("right"), 0.6)
        assert within_4_sigma(texts(request(n=DRAWS), **settings).count("right"), 0.9)

    @pytest.mark.plan
    def test_prompts_differ_as_the_correlation_says(self) -> None:
        """Two votes on one prompt are both wrong with q^2 + rho p q: .04 + .048 = .088 at p = .8, rho = .3."""
        simulated = model(p=0.8, rho=0.3)
        simulated.submit(request(i, prompt=str(i), n=2, seed=7 * i) for i in range(DRAWS))
        answers = [answer for answer in simulated.poll(0) if isinstance(answer, Finished)]
        wrong = [sum(sample.text != "right" for sample in answer.samples) for answer in answers]
        assert within_4_sigma(sum(count == 2 for count in wrong), 0.088)
        assert within_4_sigma(sum(count > 0 for count in wrong), 0.312)

    @pytest.mark.plan
    def test_a_prompt_keeps_its_p(self) -> None:
        one = request(n=50)
        assert draw(one, p=0.5, rho=0.2) == draw(one._replace(id=9), p=0.5, rho=0.2)

    def test_rivals_have_shares(self) -> None:
        counts = Counter(texts(request(n=DRAWS), p=0.4, rivals=3, shares=(3.0, 2.0, 1.0)))
        for i, share in enumerate((0.3, 0.2, 0.1)):
            assert within_4_sigma(counts[f"wrong {i}"], share)

    def test_flags_hit_right_and_wrong_samples(self) -> None:
        """A raw error of 20 %, flags on 60 % of the wrong and 3 % of the right: .776 right, .08 wrong, .144 flagged."""
        counts = Counter(texts(request(n=DRAWS), p=0.8, flag_right=0.03, flag_wrong=0.6))
        assert within_4_sigma(counts["right"], 0.776)
        assert within_4_sigma(counts["wrong 0"], 0.08)
        assert within_4_sigma(counts[MALFORMED], 0.144)

    def test_shares_are_one_a_rival(self) -> None:
        with pytest.raises(ValueError, match="2 shares for 1 rivals"):
            SimulatedSettings(shares=(1.0, 2.0))

    def test_what_came_later_is_named_only_where_it_is_used(self) -> None:
        """Fingerprints of runs that do without stay what they were."""
        assert set(SimulatedSettings().identity()) == {"kind", "p", "rivals", "malformed", "common"}
        assert SimulatedSettings(rho=0.1).identity()["rho"] == 0.1


class TestSharedFate:
    def test_all_replies_of_a_request_are_one(self) -> None:
        said = Counter(len(set(texts(request(seed=seed, n=10), p=0.5, fate=0.4))) for seed in range(500))
        # Of ten independent replies all are alike once in 512 requests.
        assert abs(said[1] - 500 * 0.4) <= 4 * math.sqrt(500 * 0.4 * 0.6)

    def test_the_first_reply_is_what_it_was(self) -> None:
        for seed in range(50):
            assert texts(request(seed=seed), p=0.5, fate=0.5)[0] == texts(request(seed=seed), p=0.5)[0]

    def test_older_settings_say_nothing_of_it(self) -> None:
        assert not {"fate", "max_n"} & (SimulatedSettings().model_dump().keys() | SimulatedSettings().identity().keys())
        assert SimulatedSettings(fate=0.5, max_n=1).identity()["fate"] == 0.5
        assert model(max_n=3).most_n(0) == 3
