"""The block bootstrap against scipy's, the binomial, the textbook's standard error and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from rung.evaluation.statistics import (
    FLIPS,
    MIN_BLOCKS,
    bits_per_byte,
    bootstrap_interval,
    gathered,
    paired_bootstrap,
    paired_p_value,
    seed_noise,
)
from rung.text.blocks import MAX_BLOCKS, Blocks, blocks, common_blocks
from rung.text.stream import TokenStream

END = 5
BYTE_LENGTHS = np.array([1, 1, 2, 3, 7, 0])


def stream_of(lengths: list[int], seed: int = 0) -> TokenStream:
    rng = np.random.default_rng(seed)
    return TokenStream.of([rng.integers(0, END, length) for length in lengths], END)


def one_byte_stream(length: int) -> TokenStream:
    return TokenStream.of([np.zeros(length, np.int64)], END)


def made_up_blocks(k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of unlike sizes whose nats follow their bytes, with noise that isn't normal."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(500, 4000, k)
    return sizes * rng.gamma(20, 1.6 / 20, k), sizes


def ratio(nats: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
    return nats.sum(axis=axis) / (np.log(2) * sizes.sum(axis=axis))


def ends_of(
    nats: np.ndarray, sizes: np.ndarray, *, seed: int = 0, resamples: int = 2_000
) -> tuple[float, float]:
    ends = bootstrap_interval(nats, sizes, seed=seed, resamples=resamples)
    assert ends is not None
    return ends


# Arithmetic on paper.


def test_a_bit_for_every_byte_is_ln_two_nats_for_every_byte() -> None:
    assert bits_per_byte(np.log(2) * np.array([10, 30]), np.array([5, 15])) == pytest.approx(2)


def test_with_equal_blocks_of_two_costs_the_resamples_are_binomial() -> None:
    """Half of 40 blocks cost 1 bit a byte, half 3: a resample's measure is 1 + 2 Binomial(40, 1/2) / 40."""
    sizes = np.full(40, 1000)
    nats = np.log(2) * sizes * np.tile([1, 3], 20)
    expected = 1 + 2 * stats.binom(40, 0.5).ppf([0.025, 0.975]) / 40
    np.testing.assert_allclose(ends_of(nats, sizes, resamples=20_000), expected, atol=1e-9)


def test_blocks_that_all_cost_the_same_leave_no_doubt() -> None:
    sizes = np.arange(100, 150)
    np.testing.assert_allclose(ends_of(np.log(2) * 2.5 * sizes, sizes), [2.5, 2.5])


def test_what_float32_rounds_is_not_larger_than_the_noise() -> None:
    """The same blocks with every loss rounded to float32, and one part in 10 million off, all to one side."""
    nats, sizes = made_up_blocks(60, 0)
    found = paired_bootstrap(nats, nats * (1 + 1e-7), sizes)
    assert found.ci95 is not None
    assert found.ci95[0] > 0
    assert not found.larger_than_noise
    assert paired_bootstrap(nats, nats * 1.0001, sizes).larger_than_noise


# Authorities.


@pytest.mark.parametrize(("k", "seed"), [(25, 1), (120, 2)])
def test_interval_is_scipys(k: int, seed: int) -> None:
    nats, sizes = made_up_blocks(k, seed)
    theirs = stats.bootstrap(
        (nats, sizes), ratio, paired=True, method="percentile", n_resamples=20_000, batch=2_000, rng=seed
    )
    ours = ends_of(nats, sizes, resamples=20_000)
    # An end of the interval is a quantile estimated from 20,000 draws: 0.02 standard errors either side.
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=0.12 * float(theirs.standard_error))


def test_paired_difference_is_scipys() -> None:
    nats, sizes = made_up_blocks(80, 3)
    rng = np.random.default_rng(4)
    others = nats * rng.normal(1.01, 0.02, 80)

    def gain(nats_from: np.ndarray, nats_to: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
        return ratio(nats_to, sizes, axis) - ratio(nats_from, sizes, axis)

    theirs = stats.bootstrap(
        (nats, others, sizes), gain, paired=True, method="percentile", n_resamples=20_000, batch=2_000, rng=5
    )
    ours = paired_bootstrap(nats, others, sizes, resamples=20_000)
    assert ours.difference == pytest.approx(float(gain(nats, others, sizes, axis=0)), abs=1e-12)
    assert ours.ci95 is not None
    np.testing.assert_allclose(
        ours.ci95, theirs.confidence_interval, atol=0.12 * float(theirs.standard_error)
    )


def test_width_is_that_of_the_ratio_estimators_standard_error() -> None:
    """Cochran, Sampling Techniques, equation 2.39: s.e. of sum y / sum x from the residuals y - R x."""
    nats, sizes = made_up_blocks(400, 6)
    residuals = nats - nats.sum() / sizes.sum() * sizes
    error = np.sqrt(np.sum(residuals**2) / (400 * 399)) / sizes.mean() / np.log(2)
    ends = ends_of(nats, sizes, resamples=10_000)
    assert ends[1] - ends[0] == pytest.approx(2 * 1.96 * error, rel=0.06)


@pytest.mark.parametrize(("shift", "seed"), [(1.0, 31), (1.004, 32), (1.01, 33)])
def test_p_value_is_scipys_permutation_test_and_near_its_t_test(shift: float, seed: int) -> None:
    nats, _ = made_up_blocks(60, seed)
    others = nats * np.random.default_rng(seed).normal(shift, 0.02, 60)
    ours = paired_p_value(nats, others)
    theirs = stats.permutation_test(
        (nats, others),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        rng=1,
    ).pvalue
    # Each is a share of 10,000 draws: four standard errors of their difference, and one in 10,000.
    assert ours == pytest.approx(
        theirs, abs=4 * float(np.sqrt(2 * theirs * (1 - theirs) / FLIPS)) + 1 / FLIPS
    )
    assert ours == pytest.approx(stats.ttest_rel(nats, others).pvalue, abs=0.02)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 5), (10, 4)])
def test_seed_noise_is_welchs_t_test(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    ones, others = rng.normal(2.1, 0.01, n), rng.normal(2.11, 0.03, m)
    found = seed_noise(ones, others)
    assert found is not None
    theirs = stats.ttest_ind(ones, others, equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-5)  # pyright: ignore[reportAttributeAccessIssue]
    assert found.standard_error == pytest.approx(np.hypot(stats.sem(ones), stats.sem(others)))
    beside_fixed = seed_noise(ones, np.array([2.11]), fixed=(False, True))
    assert beside_fixed is not None
    assert beside_fixed.p == pytest.approx(stats.ttest_1samp(ones, 2.11).pvalue, rel=1e-5)  # pyright: ignore
    assert seed_noise(ones, others[:1]) is None


# Simulated truth.


def test_intervals_hold_the_truth_about_as_often_as_they_say_though_neighbours_agree() -> None:
    """Tokens of one byte whose costs are an AR(1) process with mean 2 nats: 2 / ln 2 bits per byte."""
    rng = np.random.default_rng(7)
    stream = one_byte_stream(19_999)
    cut = blocks(stream, BYTE_LENGTHS[stream.ids[1:]], block_bytes=500)
    held = 0
    trials = 300
    for _ in range(trials):
        noise = np.asarray(signal.lfilter([1], [1, -0.9], rng.normal(0, 0.2, 20_500)))[500:]
        ends = ends_of(cut.nats(-(2 + noise)), cut.bytes, seed=int(rng.integers(1 << 30)), resamples=500)
        held += ends[0] <= 2 / np.log(2) <= ends[1]
    assert 0.89 <= held / trials <= 0.985


def test_models_that_are_equally_good_are_seldom_called_different() -> None:
    """Both models' blocks vary together and apart; neither is better on average. 1 in 20 is a false alarm."""
    rng = np.random.default_rng(8)
    alarms = 0
    trials = 300
    for _ in range(trials):
        sizes = rng.integers(1500, 2500, 60)
        hard = rng.normal(1.6, 0.3, 60)
        one, other = (sizes * (hard + rng.normal(0, 0.03, 60)) for _ in range(2))
        alarms += paired_bootstrap(one, other, sizes, resamples=500).larger_than_noise
    assert alarms / trials <= 0.1


def test_pairing_sees_what_two_intervals_cannot() -> None:
    rng = np.random.default_rng(9)
    sizes = rng.integers(1500, 2500, 100)
    hard = sizes * rng.normal(1.6, 0.3, 100)
    easier = hard - sizes * rng.normal(0.01, 0.01, 100)
    assert ends_of(hard, sizes)[0] < ends_of(easier, sizes)[1]  # side by side, the intervals overlap
    found = paired_bootstrap(hard, easier, sizes)
    assert found.larger_than_noise
    assert found.ci95 is not None
    assert found.ci95[1] < 0


# Identities of the comparison.


def test_a_model_beside_itself() -> None:
    nats, sizes = made_up_blocks(50, 10)
    assert paired_bootstrap(nats, nats.copy(), sizes) == (0.0, (0.0, 0.0), False)


def test_the_other_way_round_only_the_sign_changes() -> None:
    nats, sizes = made_up_blocks(50, 11)
    others = made_up_blocks(50, 12)[0]
    there, back = paired_bootstrap(nats, others, sizes), paired_bootstrap(others, nats, sizes)
    assert there.ci95 is not None
    assert back.ci95 is not None
    assert there.difference == pytest.approx(-back.difference)
    np.testing.assert_allclose(there.ci95, [-back.ci95[1], -back.ci95[0]], atol=1e-12)
    assert there.larger_than_noise == back.larger_than_noise


def test_a_bit_more_for_every_byte_moves_the_interval_by_a_bit() -> None:
    nats, sizes = made_up_blocks(50, 13)
    here, there = ends_of(nats, sizes), ends_of(nats + np.log(2) * sizes, sizes)
    np.testing.assert_allclose(there, np.array(here) + 1)


def test_one_seed_one_interval() -> None:
    nats, sizes = made_up_blocks(1000, 14)
    assert bootstrap_interval(nats, sizes, seed=3) == bootstrap_interval(nats, sizes, seed=3)
    assert bootstrap_interval(nats, sizes, seed=3) != bootstrap_interval(nats, sizes, seed=4)


@settings(deadline=None, max_examples=20)
@given(st.integers(MIN_BLOCKS, 200), st.integers(0, 1 << 30))
def test_the_order_of_the_blocks_does_not_matter_and_the_measure_lies_inside(k: int, seed: int) -> None:
    nats, sizes = made_up_blocks(k, seed)
    shuffled = np.random.default_rng(seed).permutation(k)
    ends, again = ends_of(nats, sizes), ends_of(nats[shuffled], sizes[shuffled])
    assert ends[0] <= bits_per_byte(nats, sizes) <= ends[1]
    np.testing.assert_allclose(ends, again, atol=0.12 * (ends[1] - ends[0]))


@pytest.mark.parametrize("k", [0, 1, MIN_BLOCKS - 1])
def test_too_few_blocks_have_no_interval_and_tell_nothing(k: int) -> None:
    nats, sizes = np.linspace(1, 2, k), np.full(k, 10)
    assert bootstrap_interval(nats, sizes) is None
    if k:
        found = paired_bootstrap(nats, nats + 5, sizes)
        assert found.ci95 is None
        assert not found.larger_than_noise
        assert found.difference == pytest.approx(k * 5 / (k * 10 * np.log(2)))


def test_documents_without_a_byte_are_blocks_like_others() -> None:
    """Only their marks cost; a draw that holds no byte at all is not a measure."""
    sizes = np.array([0] * 9 + [100])
    ends = ends_of(np.where(sizes > 0, 160.0, 1.0), sizes)
    assert np.isfinite(ends).all()
    assert bootstrap_interval(np.ones(20), np.zeros(20)) is None


def test_p_values_of_equally_good_models_are_uniform() -> None:
    """One in ten is below 0.1, whatever the blocks' sizes: the test is exact."""
    rng = np.random.default_rng(40)
    below = 0
    for _ in range(200):
        hard = rng.gamma(4, 500, 30)
        p = paired_p_value(hard + rng.normal(0, 20, 30), hard + rng.normal(0, 20, 30))
        assert p is not None
        below += p <= 0.1
    assert stats.binomtest(below, 200, 0.1).pvalue > 0.001


def test_p_value_has_no_direction_and_equal_models_have_one_of_one() -> None:
    one, other = made_up_blocks(40, 41)[0], made_up_blocks(40, 42)[0]
    assert paired_p_value(one, other) == paired_p_value(other, one)
    assert paired_p_value(one, one) == 1
    assert paired_p_value(one, 2 * one) == 1 / (FLIPS + 1)
    assert paired_p_value(one[: MIN_BLOCKS - 1], other[: MIN_BLOCKS - 1]) is None
    assert paired_p_value(one, np.where(np.arange(40), other, np.inf)) is None


def test_what_is_put_together_has_the_same_sum() -> None:
    nats, sizes = made_up_blocks(1003, 43)
    fewer = gathered(nats, sizes, most=100)
    assert [len(column) for column in fewer] == [92, 92]
    assert bits_per_byte(*fewer) == pytest.approx(bits_per_byte(nats, sizes))
    assert gathered(nats, sizes)[0] is nats


# Cutting.


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5000), st.integers(50, 500), st.integers(0, 1 << 30))
def test_tokens_of_two_kinds_are_cut_at_the_same_bytes(length: int, block_bytes: int, seed: int) -> None:
    """One stream has a token a byte, the other tokens of 0 to 7 bytes; both spell the same bytes."""
    rng = np.random.default_rng(seed)
    counts = [np.append(np.ones(length, np.int64), 0)]
    long = BYTE_LENGTHS[rng.integers(0, len(BYTE_LENGTHS), length)]
    long = long[np.cumsum(long) <= length]
    counts.append(np.append(np.append(long, np.ones(length - long.sum(), np.int64)), 0))
    streams = [TokenStream(np.zeros(len(row) + 1, np.int64), np.array([1, len(row) + 1])) for row in counts]
    one, other = common_blocks(list(zip(streams, counts, strict=True)), block_bytes=block_bytes)
    np.testing.assert_array_equal(one.bytes, other.bytes)
    assert one.bytes.sum() == length
    # Alone, the finer stream is cut as it always was.
    alone = common_blocks([(streams[0], counts[0])], block_bytes=block_bytes)[0]
    np.testing.assert_array_equal(
        alone.boundaries, blocks(streams[0], counts[0], block_bytes=block_bytes).boundaries
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(1, 2000),
    st.integers(0, 1 << 30),
)
def test_every_token_is_in_one_block(lengths: list[int], many: int, block_bytes: int, seed: int) -> None:
    stream = stream_of(lengths, seed)
    cut = blocks(stream, BYTE_LENGTHS[stream.ids[1:]], many_documents=many, block_bytes=block_bytes)
    assert cut.boundaries[0] == 0
    assert cut.boundaries[-1] == stream.n_tokens
    assert (np.diff(cut.boundaries) > 0).all()
    assert len(cut) == len(cut.boundaries) - 1

    log_probs = -np.random.default_rng(seed).random(stream.n_tokens).astype(np.float32)
    nats = cut.nats(log_probs)
    for k in range(len(cut)):
        inside = slice(cut.boundaries[k], cut.boundaries[k + 1])
        assert cut.bytes[k] == BYTE_LENGTHS[stream.ids[1:][inside]].sum()
        assert nats[k] == pytest.approx(-log_probs[inside].astype(np.float64).sum(), abs=1e-9)
    if len(lengths) >= many:
        np.testing.assert_array_equal(cut.boundaries + 1, stream.starts)
    elif cut.bytes.sum():
        assert (cut.bytes > 0).all()


def test_many_documents_are_whole_blocks() -> None:
    stream = stream_of([3] * 200)
    np.testing.assert_array_equal(blocks(stream, BYTE_LENGTHS[stream.ids[1:]]).boundaries, 4 * np.arange(201))


def test_a_crowd_of_documents_is_put_together_at_its_marks() -> None:
    stream = stream_of(list(np.random.default_rng(0).integers(0, 6, 12_345)))
    cut = blocks(stream, BYTE_LENGTHS[stream.ids[1:]])
    assert MAX_BLOCKS / 2 < len(cut) <= MAX_BLOCKS
    assert np.isin(cut.boundaries + 1, stream.starts).all()


@pytest.mark.parametrize(
    ("length", "expected"),
    [(100_000, 50), (40_000, 20), (5_000, 20), (1_000, 10), (250, 2), (150, 1), (1, 1), (0, 1)],
)
def test_few_documents_are_cut_into_stretches(length: int, expected: int) -> None:
    stream = one_byte_stream(length)
    cut = blocks(stream, BYTE_LENGTHS[stream.ids[1:]])
    assert len(cut) == expected
    assert np.ptp(cut.bytes) <= 1
    assert cut.bytes.sum() == length


def test_long_tokens_are_not_cut() -> None:
    """Ten tokens of a thousand bytes: twenty blocks are wanted, ten is all that can be had."""
    stream = TokenStream.of([np.zeros(10, np.int64)], 1)
    cut = blocks(stream, np.array([1000, 0])[stream.ids[1:]])
    np.testing.assert_array_equal(cut.boundaries, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
    np.testing.assert_array_equal(cut.bytes, np.full(10, 1000))


def test_nothing_held_out_is_no_block() -> None:
    cut = blocks(TokenStream.of([], END), np.empty(0, np.int64))
    assert len(cut) == 0
    assert cut.nats(np.empty(0, np.float32)).shape == (0,)


def test_scores_of_another_text_are_refused() -> None:
    cut = Blocks(np.array([0, 2, 4]), np.array([3, 3]))
    with pytest.raises(ValueError, match="4 tokens"):
        cut.nats(np.zeros(5))
