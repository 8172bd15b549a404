#!/usr/bin/env python3
"""The benchmark of librnn against its peers: `make bench`, or `make bench BENCH_ARGS="--quick"`.

Installs the peers at pinned versions into build/bench-venv, runs librnn and all of them round-robin on the same work with 1 and
2 threads, compares every output with a float64 reference, and prints tables, the bars and what `--help` tells. A peer that is
missing or fails is a failed run (status 1).
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import environments  # noqa: E402  (standard library only)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="a few rows of each group, short times: about five minutes")
    add("--threads", default="1,2", help="numbers of threads, one table each (default: %(default)s)")
    add("--peers", default="", help="only these, by comma (librnn is always there); see --list")
    add("--kinds", default="", help="only these of step, sequence, training")
    add("--cells", default="", help="only these of lstm, gru, gru-before, rnn")
    add("--match", default="", help="only configurations whose name contains this, as 'H256'")
    add("--seconds", type=float, default=None, help="timing of each peer and configuration (default: 0.3; quick: 0.1)")
    add("--rounds", type=int, default=None, help="turns that this is cut into (default: 5; quick: 3)")
    add("--allow-missing", action="store_true", help="look at the others when a peer is missing or fails")
    add("--require-bars", action="store_true", help="status 2 if a bar is missed")
    add("--no-install", action="store_true", help="take build/bench-venv as it is")
    add("--no-footprint", action="store_true", help="leave out load time, memory and overheads of calls")
    add("--only-footprint", action="store_true", help="only these; needs no peers, a minute")
    add("--output", type=Path, default=Path("build/bench"), help="folder of results.json, results.md, chart.png, peers.log")
    add("--report", type=Path, help="measure nothing: table, bars and chart of a results.json")
    add("--list", action="store_true", help="the peers and the configurations")
    return parser.parse_args(argv)


def main():
    options = arguments()
    if options.only_footprint:  # NumPy is all that it needs, of whatever Python this is
        from harness import footprint

        return footprint.main(options.quick, options.require_bars)
    python = environments.FOLDER / "main/bin/python"
    if not (options.no_install or options.list or options.report):
        environments.install_all()  # what could not be installed fails when it is started, with its name
    if Path(sys.prefix).resolve() != python.parents[1].resolve() and python.exists() and not options.list:
        os.execv(str(python), [str(python), str(HERE / "run.py"), *sys.argv[1:], "--no-install"])
    from harness import command

    return command.main(options)


if __name__ == "__main__":
    sys.exit(main())
