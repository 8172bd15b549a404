"""The runner with workers that are no peers: what it takes for the best, and what it takes for a failure."""

import os
import sys
from pathlib import Path

import pytest
from harness import adapters, command, environments, footprint, overhead, runner
from harness.adapters.base import Adapter, reorder, restore
from harness.bars import failures
from harness.configurations import Configuration, grid, quick_grid
from harness.processes import ROOT

FAKE = Path(__file__).with_name("fake_worker.py")
SEQUENCE = Configuration("sequence", "lstm", 3, 2, 4, 5)


@pytest.fixture
def measure(monkeypatch, tmp_path):
    def measured(*names, configuration=SEQUENCE, build_timeout=30.0):
        known = {name: Adapter for name in names}
        monkeypatch.setattr(runner, "ADAPTERS", known)
        monkeypatch.setattr(runner, "ROOT", tmp_path)
        settings = runner.Settings(seconds=0.01, rounds=2, settle=lambda threads: 0.0, build_timeout=build_timeout)

        def start(name, threads):
            return [sys.executable, str(FAKE), name]

        with open(os.devnull, "wb") as log, runner.Runner(1, names, settings, log, start) as running:
            return running.measure(configuration), running.missing

    return measured


def test_minima_are_compared(measure):
    row, missing = measure("librnn", "slow", "fast")
    assert not missing and not row.failures
    assert row.times == {"librnn": 1e-3, "slow": 3e-3, "fast": 2e-3}
    assert row.medians["librnn"] == pytest.approx(1.5e-3)
    assert row.best == ("fast", 2e-3) and row.ratio == pytest.approx(2.0)
    assert max(row.errors.values()) < 1


def test_a_missing_peer_is_named(measure):
    row, missing = measure("librnn", "absent", "fast")
    assert list(missing) == ["absent"] and "No module named" in missing["absent"]
    assert row.ratio == pytest.approx(2.0)
    assert failures(missing, [row]) and not failures(missing, [row], allow_missing=True)


@pytest.mark.parametrize(
    "name, why", [("refuses", "RuntimeError: no"), ("dies", "ended (3)"), ("wrong", "wrong result: y is off by")]
)
def test_a_peer_that_fails_is_named_and_not_the_best(measure, name, why):
    row, _ = measure("librnn", name, "slow")
    assert list(row.failures) == [name] and why in row.failures[name]
    assert row.best == ("slow", 3e-3)


def test_a_peer_that_hangs_is_ended(measure):
    row, _ = measure("librnn", "hangs", build_timeout=2.0)
    assert "no answer within 2 s" in row.failures["hangs"]


def test_a_peer_that_cannot_do_the_work_is_no_failure(measure, monkeypatch):
    monkeypatch.setattr(Adapter, "limit", classmethod(lambda cls, c: "has no lstm"))
    row, missing = measure("fast")
    assert not row.times and not row.failures and not missing


def test_what_cannot_be_installed_is_named_and_the_rest_is_tried(monkeypatch, tmp_path):
    folder = tmp_path / "environments"
    folder.mkdir()
    (folder / "some.txt").write_text("# a comment\ngood==1\nodd==2+cpu   # or odd==2\nbad==3\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", folder)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "venv")
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    (tmp_path / "venv/some/bin").mkdir(parents=True)
    (tmp_path / "venv/some/bin/python").touch()
    calls = []

    def pip(python, *wanted):
        calls.append(wanted)
        return len(wanted) == 1 and wanted[0] in ("good==1", "odd==2")

    assert environments.install("some", pip) == ["bad==3"]
    assert ("odd==2",) in calls
    assert not (tmp_path / "venv/some/installed-requirements.txt").exists()
    assert environments.install("some", lambda *_: True) == []
    assert environments.install("some", lambda *_: pytest.fail("installed twice")) == []


def test_every_requirement_is_pinned():
    for name in environments.names():
        for line in environments.requirements((environments.REQUIREMENTS / f"{name}.txt").read_text()):
            assert all("==" in requirement for requirement in line)


def test_every_adapter_has_an_environment():
    assert {adapter.environment for adapter in adapters.ADAPTERS.values()} <= set(environments.names())


def test_a_peer_stands_for_all_its_ways():
    assert command.chosen_peers("torch") == ["librnn", "librnn:bound", "torch", "torch:cell", "torch:aten"]
    assert command.chosen_peers("keras:xla") == ["librnn", "librnn:bound", "keras:xla"]
    assert command.chosen_peers("") == list(adapters.ADAPTERS)
    with pytest.raises(SystemExit, match="no such peer: mxnet"):
        command.chosen_peers("mxnet")


def test_every_row_has_librnn_and_a_peer():
    for c in grid() + quick_grid():
        able = [name for name, adapter in adapters.ADAPTERS.items() if adapter.limit(c) is None]
        assert able[0] == "librnn" and len(able) > 2, c.name


def test_reset_before_has_the_peers_that_offer_it():
    c = Configuration("sequence", "gru-before", 100, 1, 64, 64)
    able = {name for name, adapter in adapters.ADAPTERS.items() if adapter.limit(c) is None}
    assert {"onnxruntime", "openvino", "onednn"} <= able and "torch" not in able


def test_gates_are_restored():
    import numpy as np

    rows = np.arange(12).reshape(12, 1)
    assert reorder(rows, (0, 3, 1, 2))[:, 0].tolist() == [0, 1, 2, 9, 10, 11, 3, 4, 5, 6, 7, 8]
    assert (restore(reorder(rows, (0, 3, 1, 2)), (0, 3, 1, 2)) == rows).all()


def test_rows_are_chosen_by_kind_cell_and_name():
    chosen = runner.select(grid(), ["step"], ["gru", "rnn"], "H256")
    assert {(c.kind, c.cell, c.H) for c in chosen} == {("step", "gru", 256), ("step", "rnn", 256)}


def test_a_measure_at_its_limit_does_not_pass():
    values = {"load_ms": 15.0, "size_mb": 9.9, "import_ms": 100.0}
    assert [(one.value, one.passed) for one in footprint.held({"values": values})] == [
        (15.0, False), (9.9, True), (100.0, None),
    ]  # fmt: skip


def test_a_call_is_held_against_the_same_call_from_c():
    measured = {
        "values": {"load_ms": 1.0},
        "calls": {"python": {"stream.step()": 0.75, "layer(x)": 7.0, "cell(x, (h, c))": 9.0},
                  "c": {"rnn_stream_step": 0.25, "rnn_network_run_arrays": 2.5, "rnn_lstm_forward": 1.0}},
    }  # fmt: skip
    assert [(one.case.statement, one.difference, one.passed) for one in footprint.calls(measured)] == [
        ("stream.step()", 0.5, False), ("layer(x)", 4.5, True), ("cell(x, (h, c))", 8.0, None),
    ]  # fmt: skip
    assert not footprint.passed(measured)
    measured["calls"]["python"]["stream.step()"] = 0.5
    assert footprint.passed(measured)
    assert not footprint.passed({**measured, "values": {"load_ms": 15.0}})
    assert "stream.step()       0.500    0.250    0.250    0.5 PASS" in footprint.text(measured)


def test_every_statement_runs_and_is_one_call_that_the_program_in_c_makes():
    """And each limit of the calls has a row."""
    librnn = pytest.importorskip("librnn")
    for statement, names in overhead.names().items():
        eval(statement, dict(names))
    assert librnn.get_num_threads() >= 1
    program = (ROOT / "benchmarks/c/bench.c").read_text()
    assert all(f'"{case.c_call}"' in program for case in overhead.CASES)
    assert [case.limit for case in overhead.CASES if case.limit] == [0.5, 1.0, 5.0]
