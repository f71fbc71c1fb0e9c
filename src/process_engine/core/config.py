"""How an engine runs executions."""

from __future__ import annotations

import msgspec


class ExecutionConfig(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """How an engine runs executions; what is in force when one starts is stored with it.

    `max_concurrent_steps` bounds the attempts of one execution that run at once (0: no bound);
    `default_step_timeout` bounds an attempt of an agent task or notification that names no timeout (seconds,
    None: the type's own); `cancel_grace` is how long running attempts may still answer once an execution
    fails (seconds).
    """

    parallel_execution: bool = True
    stop_on_failure: bool = True
    max_concurrent_steps: int = 0
    default_step_timeout: float | None = None
    cancel_grace: float = 30.0

    @property
    def slots(self) -> int:
        """Attempts that may run at once; 0 means no bound."""
        return 1 if not self.parallel_execution else self.max_concurrent_steps
