"""The HTTP model against a server that answers anything; ``benchmarks.recovery.fuzz_model`` goes on for minutes."""

from __future__ import annotations

import random

from benchmarks.recovery.fuzz_model import KINDS, fuzz


def test_whatever_a_server_answers_is_a_sample_or_a_failure() -> None:
    """Each answered once, none that was broken off votes, what was drawn is counted; with a new seed each time."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"python -m benchmarks.recovery.fuzz_model --seed {seed}")
    answers, drawn = fuzz(seed, rounds=1)
    assert answers.total() > 100
    assert len(drawn.kinds) > len(KINDS) // 2
