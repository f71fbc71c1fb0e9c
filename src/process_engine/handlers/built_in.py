"""Every step type that comes with the engine."""

from __future__ import annotations

from process_engine.handlers.agent_task import AgentTaskHandler
from process_engine.handlers.gateway import GatewayHandler
from process_engine.handlers.human_approval import HumanApprovalHandler
from process_engine.handlers.notification import NotificationHandler
from process_engine.handlers.sub_process import SubProcessHandler
from process_engine.handlers.timer import TimerHandler
from process_engine.handlers.transform import TransformHandler
from process_engine.handlers.wait_for_event import WaitForEventHandler
from process_engine.runtime.ports import AgentGateway, Channels
from process_engine.runtime.registry import StepHandlerRegistry


def built_in_handlers(agents: AgentGateway, channels: Channels | None = None) -> StepHandlerRegistry:
    """A registry with every step type that comes with the engine; notifications need `channels`."""
    registry = StepHandlerRegistry()
    registry.register("agent_task", AgentTaskHandler(agents))
    registry.register("gateway", GatewayHandler())
    registry.register("timer", TimerHandler())
    registry.register("human_approval", HumanApprovalHandler())
    registry.register("transform", TransformHandler())
    registry.register("sub_process", SubProcessHandler())
    if channels is not None:
        registry.register("notification", NotificationHandler(channels))
    registry.register("wait_for_event", WaitForEventHandler())
    return registry
