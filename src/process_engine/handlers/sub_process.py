"""Sub-processes: another process runs as an execution of its own."""

from __future__ import annotations

from process_engine.handlers.inline import DecidedInline


class SubProcessHandler(DecidedInline):
    """Asks for another execution; its end comes as a command, not as an answer of a handler."""

    step_type = "sub_process"
