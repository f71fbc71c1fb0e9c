"""The command `process-engine`, and `python -m process_engine`."""

from __future__ import annotations

import sys

from process_engine.cli.entry import run_command_line
from process_engine.cli.signals import ended_quietly
from process_engine.cli.streams import open_streams
from process_engine.cli.tools import Tools

# Given by name: `--help` must not wait for what only a run needs.
TOOLS = Tools(
    engine="process_engine.app:ExecutionEngine",
    agent_process="process_engine.testing.agent_process:start_agent_process",
    process_tests="process_engine.testing.trial:try_tests",
    dry_runs="process_engine.testing.dry_run:dry_run_file",
    sample_coverage="process_engine.testing.coverage:cover_file",
)


def main() -> None:
    """Run the command line of this process and end with its exit code."""
    open_streams()
    sys.exit(ended_quietly(lambda: run_command_line(TOOLS, sys.argv[1:])))


if __name__ == "__main__":
    main()
