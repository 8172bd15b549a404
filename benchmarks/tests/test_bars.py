"""Ratios, bars and what makes a run a failed one."""

import math

import pytest
from harness.bars import BARS, Row, as_json, exit_status, failures, from_json, geometric_mean, verdicts
from harness.configurations import Configuration, grid, group

STEP = Configuration("step", "lstm", 1, 1, 64, 64)


def row(ours, peers, configuration=STEP, threads=1, **more):
    return Row(configuration, threads, {"librnn": ours, **peers}, **more)


def test_the_ratio_is_the_best_peers_time_over_librnns():
    assert row(2e-6, {"slow": 9e-6, "fast": 5e-6}).ratio == pytest.approx(2.5)
    assert row(2e-6, {"slow": 9e-6, "fast": 5e-6}).best == ("fast", 5e-6)


def test_a_peer_that_failed_is_not_the_best_one():
    measured = row(2e-6, {"slow": 9e-6, "wrong": 1e-6}, failures={"wrong": "wrong result"})
    assert measured.best == ("slow", 9e-6)


def test_another_way_of_calling_librnn_is_no_peer_and_has_no_bar():
    measured = row(2e-6, {"librnn:bound": 1e-6, "peer": 5e-6})
    assert measured.best == ("peer", 5e-6) and measured.ratio == pytest.approx(2.5)
    assert failures({}, [row(1.0, {}, failures={"librnn:bound": "wrong result"})], allow_missing=True)


def test_without_librnn_or_without_peers_there_is_no_ratio():
    assert Row(STEP, 1, {"peer": 1.0}).ratio is None
    assert row(1.0, {}).ratio is None
    assert row(1.0, {"peer": 2.0}, failures={"librnn": "wrong result"}).ratio is None


def test_a_row_passes_at_its_bar_and_not_below():
    least = BARS[group(STEP)][0]
    assert row(1.0, {"peer": least}).passed
    assert not row(1.0, {"peer": least * 0.999}).passed


def test_the_geometric_mean_of_a_number_and_its_inverse_is_one():
    assert geometric_mean([4.0, 0.25]) == pytest.approx(1.0)
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_a_group_needs_every_row_and_the_mean():
    other = Configuration("step", "gru", 1, 1, 32, 32)
    every, mean = BARS[group(STEP)]
    (verdict,) = verdicts([row(1.0, {"peer": every}), row(1.0, {"peer": mean * mean / every}, other)])
    assert verdict.passed and verdict.mean == pytest.approx(mean) and verdict.count == 2
    (verdict,) = verdicts([row(1.0, {"peer": every}), row(1.0, {"peer": every}, other)])
    assert verdict.every_passed and not verdict.mean_passed
    (verdict,) = verdicts([row(1.0, {"peer": every / 2}), row(1.0, {"peer": 100.0}, other)])
    assert verdict.mean_passed and not verdict.every_passed and verdict.worst.configuration == STEP


def test_a_row_without_a_ratio_fails_its_group():
    other = Configuration("step", "gru", 1, 1, 32, 32)
    (verdict,) = verdicts([row(1.0, {"peer": 10.0}), Row(other, 1, {"librnn": 1.0})])
    assert verdict.missing == 1 and not verdict.passed


def test_numbers_of_threads_are_judged_apart():
    found = verdicts([row(1.0, {"peer": 10.0}), row(1.0, {"peer": 1.0}, threads=2)])
    assert [(verdict.threads, verdict.passed) for verdict in found] == [(1, True), (2, False)]


def test_a_missing_peer_is_a_failed_run_and_named():
    reasons = failures({"torch": "ModuleNotFoundError"}, [row(1.0, {"peer": 10.0})])
    assert len(reasons) == 1 and "torch is missing" in reasons[0] and exit_status(reasons, []) == 1


def test_a_peer_that_fails_on_one_row_is_a_failed_run():
    reasons = failures({}, [row(1.0, {}, failures={"jax": "RuntimeError"})])
    assert len(reasons) == 1 and "jax failed on step lstm I64 H64" in reasons[0]


def test_allow_missing_forgives_peers_and_never_librnn():
    rows = [row(1.0, {}, failures={"jax": "x", "librnn": "wrong result"})]
    reasons = failures({"torch": "y"}, rows, allow_missing=True)
    assert len(reasons) == 1 and "librnn failed" in reasons[0]
    assert failures({"librnn": "z"}, [], allow_missing=True)


def test_bars_change_the_status_only_on_request():
    found = verdicts([row(1.0, {"peer": 1.0})])
    assert exit_status([], found) == 0
    assert exit_status([], found, require_bars=True) == 2
    assert exit_status(["a reason"], found, require_bars=True) == 1
    assert exit_status([], [], require_bars=True, limits_kept=True) == 0
    assert exit_status([], [], require_bars=True, limits_kept=False) == 2
    assert exit_status([], [], limits_kept=False) == 0


def test_a_row_survives_the_file():
    measured = row(1.0, {"peer": 2.0}, medians={"peer": 2.5}, errors={"peer": 0.5}, failures={"jax": "no"})
    assert from_json(as_json(measured)) == measured


def test_every_row_of_the_grid_has_a_bar():
    rows = grid()
    assert {group(configuration) for configuration in rows} == set(BARS)
    assert len({configuration.name for configuration in rows}) == len(rows)


def test_reset_before_stands_beside_every_reset_after_row():
    rows = set(grid())
    for c in rows:
        if c.cell == "gru":
            assert Configuration(c.kind, "gru-before", c.T, c.N, c.I, c.H, c.L, c.D) in rows


def test_sizes_that_are_multiples_of_nothing_are_in_the_grid():
    rows = grid()
    assert {24, 48, 96, 200, 384, 700} <= {c.H for c in rows}
    assert any(c.T % 2 and c.N % 2 and c.I % 2 and c.N > 1 for c in rows)


def test_flops_count_products_only():
    T, N, inputs, H = 3, 5, 7, 11
    forward = 2 * T * N * 4 * H * (inputs + H)
    assert Configuration("sequence", "lstm", T, N, inputs, H).flops == forward
    assert Configuration("training", "lstm", T, N, inputs, H).flops == 2 * forward + 2 * T * N * 4 * H * H
    assert math.isclose(Configuration("step", "gru", 1, 1, 8, 8, weights="bf16").weight_bytes, 2 * 3 * 8 * 16)
