"""A small list of cells, and runs of it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.cells import Cells, read_cells
from benchmarks.results import Run, Sample

MODULE = "tests.unit.benchmarks.fake_engine"

LIST = f"""
[figures]
steps_per_second = {{ title = "steps", unit = "steps/s", digits = 0 }}
cpu_us_per_step = {{ title = "CPU", unit = "µs", digits = 0 }}
wall_us_per_step = {{ title = "time", unit = "µs", digits = 0 }}
p50_ms = {{ title = "half", unit = "ms", digits = 1 }}
p99_ms = {{ title = "nearly all", unit = "ms", digits = 1 }}
acknowledged_steps = {{ title = "acknowledged", unit = "steps", digits = 0 }}
lost_steps = {{ title = "lost", unit = "steps", digits = 0 }}

[[engine]]
name = "ours"
title = "ours"
module = "{MODULE}"

[[engine]]
name = "bare"
title = "bare"
module = "{MODULE}"

[[engine]]
name = "swift"
title = "Swift"
module = "{MODULE}"
peer = true
packages = ["swift==1"]

[[engine]]
name = "lame"
title = "Lame"
module = "{MODULE}"
peer = true
packages = ["lame==1"]

[[cell]]
name = "killed"
title = "killed once"
what = "Killed."
measure = "kill"
parameters = {{ steps = 5 }}
engines = ["ours", "swift", "lame"]
figures = ["acknowledged_steps", "lost_steps"]
rounds = [1, 1]
bars = [{{ figure = "lost_steps", at_most = 0, tier = "bench" }}]

[[cell]]
name = "chain"
title = "a chain"
what = "Steps."
measure = "throughput"
parameters = {{ shape = "chain", size = 3, concurrency = 1 }}
engines = ["ours", "bare", "swift", "lame"]
figures = ["steps_per_second", "cpu_us_per_step", "p50_ms", "p99_ms"]
bars = [
    {{ figure = "steps_per_second", at_least = 0.5, over = "bare", tier = "bench" }},
    {{ figure = "steps_per_second", at_least = 2, over = "best-peer", tier = "proof" }},
    {{ figure = "p50_ms", at_most = 1, over = "best-peer", tier = "proof" }},
]

[[cell]]
name = "long"
title = "a long chain"
what = "Many steps."
measure = "throughput"
parameters = {{ shape = "chain", size = 300, concurrency = 1 }}
engines = ["ours"]
figures = ["cpu_us_per_step"]
rounds = [1, 2]
longest_seconds = 5
bars = [{{ figure = "cpu_us_per_step", at_most = 1.3, over = "chain", tier = "bench" }}]
"""


def cells_of(tmp_path: Path, text: str = LIST) -> Cells:
    """The list that a file with `text` holds."""
    path = tmp_path / "cells.toml"
    path.write_text(text, encoding="utf-8")
    return read_cells(path)


def run_of(cells: Cells, *samples: Sample) -> Run:
    """A run that has measured this much."""
    run = Run(cells, {"date": "today"}, {})
    run.samples += samples
    run.syncs_per_second += [1000.0, 1100.0]
    return run


def speed(engine: str, value: float, round: int = 0, cell: str = "chain") -> Sample:
    """A sample of one round; faster engines take less of everything."""
    figures = {"steps_per_second": value, "cpu_us_per_step": 1e6 / value}
    return Sample(cell, engine, round, figures, [1 / value])


def saved_samples(directory: Path) -> list[dict[str, object]]:
    """The samples of the one run whose raw figures are in a directory."""
    (path,) = directory.glob("*.json")
    return json.loads(path.read_text(encoding="utf-8"))["samples"]
