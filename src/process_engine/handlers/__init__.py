"""One module per type of step that runs outside the core."""

from __future__ import annotations

from process_engine.handlers.agent_task import AgentTaskHandler

__all__ = ["AgentTaskHandler"]
