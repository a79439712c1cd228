"""The seed rule: a sample's seed follows from its place in the run, and from nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.voting.seeds import ChainSeeds

REPLIES = 128


def test_every_place_changes_the_seed() -> None:
    """Run seed, path, index, epoch, rung and vote each make another seed."""
    places = [
        (0, (), 0, 0, 0, 0),
        (1, (), 0, 0, 0, 0),
        (-1, (), 0, 0, 0, 0),
        (0, (0,), 0, 0, 0, 0),
        (0, (1,), 0, 0, 0, 0),
        (0, (1, 0), 0, 0, 0, 0),
        (0, (10,), 0, 0, 0, 0),
        (0, (), 1, 0, 0, 0),
        (0, (), 0, 1, 0, 0),
        (0, (), 0, 0, 1, 0),
        (0, (), 0, 0, 0, 1),
    ]
    seeds = {ChainSeeds(run, path).at(*rest) for run, path, *rest in places}
    assert len(seeds) == len(places)


@pytest.mark.parametrize(
    ("one", "other"), [((1, (2, 3)), (12, (3,))), ((1, (23,)), (1, (2, 3))), ((11, ()), (1, (1,)))]
)
def test_run_seed_and_path_are_kept_apart(one: tuple[int, tuple[int, ...]], other: tuple[int, tuple[int, ...]]) -> None:
    """No run seed and path together look like another pair."""
    assert ChainSeeds(*one).at(0, 0, 0, 0) != ChainSeeds(*other).at(0, 0, 0, 0)


@given(
    st.integers(), st.lists(st.integers(0, 2**40), max_size=4).map(tuple), st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_seeds_fit_a_signed_number(
    run: int, path: tuple[int, ...], index: int, epoch: int, rung: int, vote: int
) -> None:
    """Every seed lies in [0, 2^62), so that seed + i fits 63 bits; asked twice, it is the same."""
    seeds = ChainSeeds(run, path)
    seed = seeds.at(index, epoch, rung, vote)
    assert 0 <= seed < 2**62
    assert seeds.at(index, epoch, rung, vote) == seed == ChainSeeds(run, path).at(index, epoch, rung, vote)


def test_no_two_requests_share_a_reply() -> None:
    """Over 10^5 places no request's range of 128 seeds meets another's; by chance one in 10^6 such sets would."""
    chains = [ChainSeeds(run, path) for run in (0, 1) for path in ((), (0,), (1,))]
    places = itertools.product(chains, range(2500), (0,), (0, 1), (0, 3, 4, 5))
    seeds = sorted(chain.at(index, epoch, rung, vote) for chain, index, epoch, rung, vote in places)
    assert len(seeds) == 120_000
    assert min(after - before for before, after in itertools.pairwise(seeds)) >= REPLIES


def test_seeds_are_stable() -> None:
    """A resumed run must ask with the seeds of the version that began it."""
    assert ChainSeeds(0).at(0, 0, 0, 0) == 1719578829583807359
