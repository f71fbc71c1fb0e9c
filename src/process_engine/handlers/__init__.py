"""One module per type of step that runs outside the core."""

from __future__ import annotations

from process_engine.handlers.agent_task import AgentTaskHandler
from process_engine.handlers.notification import NotificationHandler

__all__ = ["AgentTaskHandler", "NotificationHandler"]
