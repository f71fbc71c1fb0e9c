"""The names for those who embed the engine, in one place."""

from __future__ import annotations

from process_engine.app import ExecutionEngine, built_in_handlers
from process_engine.core.config import ExecutionConfig
from process_engine.definition.expressions import ExpressionEvaluator
from process_engine.definition.graph import DependencyResolver
from process_engine.handlers.agent_task import AgentTaskHandler
from process_engine.handlers.gateway import GatewayHandler
from process_engine.handlers.human_approval import HumanApprovalHandler
from process_engine.handlers.notification import NotificationHandler
from process_engine.handlers.sub_process import SubProcessHandler
from process_engine.handlers.timer import TimerHandler
from process_engine.handlers.transform import TransformHandler
from process_engine.handlers.wait_for_event import WaitForEventHandler
from process_engine.repositories.memory import MemoryRepository
from process_engine.repositories.sqlite import SqliteRepository as ProcessExecutionRepository
from process_engine.runtime.feed import EventBus, EventFeed, InMemoryEventBus
from process_engine.runtime.outputs import OutputStorage
from process_engine.runtime.ports import (
    AgentGateway,
    AgentReply,
    AgentRequest,
    PublishedVersion,
    StepContext,
    StepHandler,
)
from process_engine.runtime.registry import StepHandlerRegistry
from process_engine.runtime.view import ProcessExecution, StepExecution

__all__ = [
    "AgentGateway",
    "AgentReply",
    "AgentRequest",
    "AgentTaskHandler",
    "DependencyResolver",
    "EventBus",
    "EventFeed",
    "ExecutionConfig",
    "ExecutionEngine",
    "ExpressionEvaluator",
    "GatewayHandler",
    "HumanApprovalHandler",
    "InMemoryEventBus",
    "MemoryRepository",
    "NotificationHandler",
    "OutputStorage",
    "ProcessExecution",
    "ProcessExecutionRepository",
    "PublishedVersion",
    "StepContext",
    "StepExecution",
    "StepHandler",
    "StepHandlerRegistry",
    "SubProcessHandler",
    "TimerHandler",
    "TransformHandler",
    "WaitForEventHandler",
    "built_in_handlers",
]
