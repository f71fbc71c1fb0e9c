"""What a process is: one class per thing a document may hold, one class per step type.

The classes accept the canonical form (and the short forms the language itself has); old spellings
are normalised by `parsing`. Every value is frozen and compares by content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self, cast, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    model_serializer,
    model_validator,
)

from process_engine.definition.parts import (
    ChannelName,
    ChannelNames,
    ConditionSource,
    Delay,
    Document,
    ExpressionSite,
    Join,
    JsonSchema,
    MaxVisits,
    Names,
    Path,
    ProcessName,
    Quorum,
    StepName,
    TemplateText,
    Text,
    Timeout,
    Urgency,
    Version,
    VersionOrLatest,
    braced,
    outputs_as_list,
)
from process_engine.definition.policies import Budget, Defaults, ErrorPolicy, Limits, OnError, RetryPolicy
from process_engine.ids import DefinitionHash

__all__ = [
    "MAX_STEPS",
    "STEP_TYPES",
    "AgentCall",
    "AgentTask",
    "AnyStep",
    "Budget",
    "Compensation",
    "Defaults",
    "Document",
    "ErrorPolicy",
    "Escalation",
    "ExpressionSite",
    "ForEach",
    "Gateway",
    "InputField",
    "InputSpec",
    "Limits",
    "ManualTrigger",
    "Notification",
    "OutputSpec",
    "ProcessDefinition",
    "RetryPolicy",
    "Roles",
    "Route",
    "Step",
    "StructuredOutput",
    "SubProcess",
    "Timer",
]

# Far more than any real process has, so that nothing here is unbounded.
MAX_STEPS = 2_000


# Input and outputs


class InputField(Document, frozen=True):
    """One field of the input; the keys below `enum` are those of JSON Schema."""

    type: Literal["string", "integer", "number", "boolean", "array", "object"] = Field(
        description="The kind of the value."
    )
    required: StrictBool = Field(default=False, description="Whether a start without it is refused.")
    default: object = Field(
        default=None, description="The value where none is given; without it the field reads as null."
    )
    description: str = Field(default="", description="What it is for.")
    enum: tuple[object, ...] | None = Field(
        default=None, min_length=1, description="The only values allowed."
    )
    minimum: StrictInt | StrictFloat | None = Field(default=None, description="The smallest number allowed.")
    maximum: StrictInt | StrictFloat | None = Field(default=None, description="The largest number allowed.")
    exclusive_minimum: StrictInt | StrictFloat | None = Field(
        default=None, alias="exclusiveMinimum", description="Every number must be larger than this."
    )
    exclusive_maximum: StrictInt | StrictFloat | None = Field(
        default=None, alias="exclusiveMaximum", description="Every number must be smaller than this."
    )
    multiple_of: StrictInt | StrictFloat | None = Field(
        default=None, alias="multipleOf", gt=0, description="Every number must be a multiple of this."
    )
    min_length: StrictInt | None = Field(
        default=None, alias="minLength", ge=0, description="Fewest characters."
    )
    max_length: StrictInt | None = Field(
        default=None, alias="maxLength", ge=0, description="Most characters."
    )
    pattern: str | None = Field(
        default=None, description="A regular expression that must match somewhere; without look-around."
    )
    format: str | None = Field(
        default=None, description="A format of JSON Schema, such as `email` or `date`."
    )
    items: JsonSchema | None = Field(default=None, description="JSON Schema of the items of an array.")
    min_items: StrictInt | None = Field(default=None, alias="minItems", ge=0, description="Fewest items.")
    max_items: StrictInt | None = Field(default=None, alias="maxItems", ge=0, description="Most items.")
    unique_items: StrictBool | None = Field(
        default=None, alias="uniqueItems", description="Whether items must differ."
    )
    properties: JsonSchema | None = Field(default=None, description="JSON Schema of each field of an object.")
    additional_properties: StrictBool | JsonSchema | None = Field(
        default=None, alias="additionalProperties", description="Whether an object may hold other fields."
    )

    @property
    def has_default(self) -> bool:
        """Whether a default is given; an explicit null counts."""
        return "default" in self.model_fields_set

    def schema_of_value(self) -> dict[str, object]:
        """The JSON Schema that a value of this field must fit."""
        plain = cast("dict[str, object]", self.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        own = ("required", "default", "description")
        return {key: item for key, item in plain.items() if key not in own and not key.startswith("x-")}


class InputSpec(Document, frozen=True):
    """What an execution may be started with: a map of fields, a JSON Schema, or neither (any object).

    In a document, `input` is the map itself, or a mapping whose only key is `schema`. An empty map declares
    nothing.
    """

    fields: Mapping[str, InputField] | None = Field(default=None, description="The fields by name.")
    json_schema: JsonSchema | None = Field(
        default=None,
        alias="schema",
        description="A JSON Schema of the whole input; references stay within it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_map_or_schema(cls, value: object) -> object:
        if not isinstance(value, Mapping) or is_schema_form(cast("Mapping[object, object]", value)):
            return cast("object", value)
        given = cast("Mapping[object, object]", value)
        own = {key: item for key, item in given.items() if isinstance(key, str) and key.startswith("x-")}
        fields = {key: item for key, item in given.items() if key not in own}
        return {"fields": fields or None} | own

    @classmethod
    def empty_keys(cls, given: object) -> Iterator[Path]:
        """See the base class; the keys here are the names of the fields."""
        if isinstance(given, dict) and not is_schema_form(cast("Mapping[object, object]", given)):
            for name, declared in cast("Mapping[str, object]", given).items():
                yield from ((name, *path) for path in InputField.empty_keys(declared))

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        plain: dict[str, object] = handler(self)
        fields = cast("dict[str, object] | None", plain.get("fields"))
        if fields is not None:
            return fields | dict(self.extensions)
        schema = plain.get("schema", plain.get("json_schema"))
        return ({} if schema is None else {"schema": schema}) | dict(self.extensions)


def is_schema_form(given: Mapping[object, object]) -> bool:
    """Whether an `input` is `{schema: …}`: no other key, and no field that happens to be called schema."""
    keys = {key for key in given if not (isinstance(key, str) and key.startswith("x-"))}
    return keys == {"schema"}


class OutputSpec(Document, frozen=True):
    """One output of the process; `source` is evaluated once every step is settled."""

    name: Text = Field(description="The key in the outputs.")
    source: Annotated[object, BeforeValidator(braced), TemplateText()] = Field(
        description="An expression, or any value that holds some."
    )
    description: str = Field(default="", description="What it is.")


# Steps


class StructuredOutput(Document, frozen=True):
    """What an answer must look like; one that does not fit the schema is INVALID_OUTPUT."""

    json_schema: JsonSchema = Field(alias="schema", description="JSON Schema of the answer.")
    repair_attempts: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        default=1,
        description="How often the agent is asked to mend an answer that does not fit. "
        "No effect in this version.",
    )


class AgentCall(Document, frozen=True):
    """What is asked of which agent."""

    agent: Text | None = Field(
        default=None,
        description="The name of an agent of agents.yaml, as it is; `defaults.agent` where it is left out.",
    )
    message: Annotated[object, TemplateText()] = Field(
        description="What the agent is asked: text, or any value, whose types are kept."
    )
    model: Annotated[Text | None, TemplateText()] = Field(
        default=None, description="The model the agent should use; passed on to it."
    )
    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = Field(
        default=None, description="The temperature the agent should use; passed on to it."
    )
    system: Annotated[Text | None, TemplateText()] = Field(
        default=None, description="The system prompt; passed on to the agent."
    )
    output: StructuredOutput | None = Field(
        default=None, description="What the answer must look like; anything where it is left out."
    )


class Compensation(AgentCall, frozen=True):
    """What undoes a completed step when the process fails or is cancelled.

    Its expressions are evaluated when the step completes, and read the step's own output too.
    """

    request_fields: ClassVar[tuple[str, ...]] = ("agent", "message", "model", "temperature", "system")

    type: Literal["agent_task"] = Field(default="agent_task", description="The kind of work.")
    timeout: Timeout | None = Field(default=None, description="The longest an attempt may take.")
    retry: RetryPolicy | None = Field(default=None, description="How often it is tried.")


class ForEach(Document, frozen=True):
    """Runs a step once for each item of a list; its output is the list of what they gave, in its order."""

    items: Annotated[object, TemplateText()] = Field(
        description="The list, or an expression that yields it: at most 100,000 items, fixed for the visit."
    )
    variable: Annotated[str, Field(pattern="^[a-z_][a-z0-9_]{0,63}$")] = Field(
        default="item",
        alias="as",
        description="A name of the item in what the step asks, beside `item`; `index` counts from 0.",
    )
    max_concurrency: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        default=5,
        description="So many items may have begun and not ended, those that wait to be tried again included.",
    )
    on_item_error: Literal["fail", "collect"] = Field(
        default="fail",
        description="An item that has failed for good fails the step, and the rest is cancelled, or "
        "is passed over: null in the output and `{index, code, message}` in `steps.ID.errors`.",
    )


class Roles(Document, frozen=True):
    """Who else has to do with a step."""

    executor: Text | None = Field(default=None, description="The agent that carries the step out.")
    monitors: Names = Field(default=(), description="Agents that may pause, retry or cancel the step.")
    informed: Names = Field(default=(), description="Agents that get the step's outcome.")


class Step(Document, frozen=True):
    """What every step has, whatever its type."""

    request_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that are rendered for an attempt, and so are part of what the attempt is asked."""
    takes_defaults: ClassVar[bool] = False
    """Whether `defaults` hold for it, and the engine's own timeout: it does work outside."""

    runs_per_item: ClassVar[bool] = False
    """Whether a step of this type can have `for_each`."""

    id: StepName = Field(description="The step's id, unique in the process; expressions read `steps.ID`.")
    type: str = Field(description="The kind of step.")
    name: str = Field(default="", description="A title for people; the id where it is left out.")
    description: str = Field(default="", description="What the step is for.")
    depends_on: Names = Field(
        default=(),
        description="The steps this one waits for: an id or a list. The target of a route depends on its "
        "gateway without saying so.",
    )
    condition: ConditionSource | None = Field(
        default=None,
        description="Evaluated once per visit, when the edges allow the step; false: the step is skipped.",
    )
    join: Join = Field(
        default="all",
        description="When the edges allow the step: once all are settled, at the first live one, or at so "
        "many live ones.",
    )
    timeout: Timeout | None = Field(
        default=None,
        description="The longest one attempt may take. An agent task or a notification without it takes that "
        "of `defaults`, then the engine's, then 5 minutes or 30 seconds; a sub-process may take an hour; "
        "other types have none.",
    )
    retry: RetryPolicy | None = Field(
        default=None,
        description="How often the step is tried. Where it is left out, agent tasks and notifications take "
        "that of `defaults`; then agent tasks three attempts on transient failures, other types one.",
    )
    on_interrupt: Literal["retry", "ask", "fail"] = Field(
        default="retry",
        description="What happens to an attempt that was running when the engine died: it is repeated at "
        "once, the execution pauses until somebody resumes it, or the step fails with INTERRUPTED.",
    )
    on_error: OnError | None = Field(
        default=None,
        description="What happens once the step has failed for good; `fail_process` where it is left out.",
    )
    compensation: Compensation | None = Field(
        default=None,
        description="What undoes a completed visit of the step once the execution fails or is cancelled.",
    )
    for_each: ForEach | None = Field(
        default=None,
        description="Run the step once for each item of a list; on agent_task and transform.",
    )
    roles: Roles | None = Field(default=None, description="Who else has to do with the step.")

    @model_serializer(mode="wrap")
    def _with_type(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # The type is a default of its class, yet what tells the classes apart when it is read again.
        plain = self.flattened(handler(self))
        return plain | {"type": self.type}


class AgentTask(AgentCall, Step, frozen=True):
    """Asks an agent; the output is what it answered, parsed where it is JSON."""

    request_fields = ("agent", "message", "model", "temperature", "system")
    runs_per_item = True
    takes_defaults = True

    type: Literal["agent_task"] = Field(default="agent_task", description="An agent is asked.")


class Route(Document, frozen=True):
    """One way out of a gateway."""

    condition: ConditionSource | None = Field(
        default=None, description="When the route holds; always if left out."
    )
    target: Text = Field(description="The step it leads to.")
    max_visits: MaxVisits | None = Field(
        default=None,
        description="The most visits of the target, where it comes before the gateway: there it is required.",
    )


class Gateway(Step, frozen=True):
    """Decides which steps run: the first route that holds, every one that holds, or all."""

    type: Literal["gateway"] = Field(default="gateway", description="The process divides.")
    gateway_type: Literal["exclusive", "inclusive", "parallel"] = Field(
        default="exclusive",
        description="The first route that holds, every one that holds, or all, without asking conditions.",
    )
    routes: tuple[Route, ...] = Field(
        default=(), description="The ways out, in the order in which they are tried."
    )
    default_route: Text | None = Field(
        default=None,
        description="The step to go to where no route holds; without it the gateway fails with NO_ROUTE.",
    )


class Timer(Step, frozen=True):
    """Waits for a span (`delay`) or for a moment (`until`)."""

    type: Literal["timer"] = Field(default="timer", description="The process waits.")
    delay: Annotated[Delay | None, TemplateText()] = Field(
        default=None, description="How long to wait: a duration, or an expression that yields one."
    )
    until: Annotated[Text | None, TemplateText()] = Field(
        default=None,
        description="A timestamp, an expression that yields one, or a time of day such as `09:30`: the next "
        "one. What has passed is due at once.",
    )
    timezone: Text = Field(
        default="UTC", description="Where a time of day, or a timestamp without offset, holds."
    )


class Transform(Step, frozen=True):
    """Makes a value out of others, without asking anybody."""

    runs_per_item = True

    type: Literal["transform"] = Field(default="transform", description="A value is made.")
    value: Annotated[object, TemplateText()] = Field(
        description="The value: any YAML with expressions, whose types are kept."
    )


class Escalation(Document, frozen=True):
    """Further people who may decide once nobody has for a while."""

    escalate_to: Names = Field(description="Users and `group:…` who may decide as well from then on.")
    after: Timeout = Field(description="How long after the request; the step's `timeout` still ends it.")


TimeoutAction = Literal["fail", "approve", "reject", "skip"] | Escalation


# How long people have where a step does not say: long enough for the other side of the world, short enough
# that nobody forgets what was asked.
APPROVAL_SECONDS = 86_400.0


class HumanApproval(Step, frozen=True):
    """Asks people, and waits for what they decide."""

    type: Literal["human_approval"] = Field(default="human_approval", description="People decide.")
    title: Annotated[Text | None, TemplateText()] = Field(
        default=None, description="What is to be decided, in a line; the step's name where it is left out."
    )
    description: Annotated[str, TemplateText()] = Field(
        default="", description="What people need to know to decide: text, expressions allowed."
    )
    assignees: Annotated[Names, TemplateText()] = Field(
        default=(), description="Who may decide: users and `group:…`; anybody where it is left out."
    )
    required_approvals: Quorum = Field(default=1, description="So many people have to approve.")
    rejections_needed: Quorum = Field(default=1, description="So many rejections reject it.")
    form: JsonSchema | None = Field(
        default=None, description="JSON Schema of what is filled in with an approval."
    )
    timeout_action: TimeoutAction = Field(
        default="fail",
        description="What happens when nobody has decided within `timeout` (24h): the step fails with "
        "APPROVAL_TIMEOUT, counts as approved or as rejected, or is skipped and everything after it goes on. "
        "With `{escalate_to, after}` others may decide as well before it fails.",
    )
    require_comment_on_reject: StrictBool = Field(
        default=True, description="Whether a rejection needs a comment."
    )
    separation_of_duties: StrictBool = Field(
        default=False, description="Whether who started the execution must not decide."
    )
    reminders: tuple[Timeout, ...] = Field(
        default=(), description="How long after the request people are reminded, each time."
    )
    on_reject: Literal["fail", "continue"] = Field(
        default="fail",
        description="A rejection fails the step with APPROVAL_REJECTED, or is a normal outcome which a "
        "gateway can read.",
    )


class SubProcess(Step, frozen=True):
    """Runs another process as an execution of its own, and waits for it."""

    request_fields = ("input",)

    type: Literal["sub_process"] = Field(default="sub_process", description="Another process runs.")
    process: ProcessName = Field(description="The name of the process.")
    version: VersionOrLatest = Field(
        default=None, description="Its version; `latest`, or nothing, for the newest one there is."
    )
    input: Annotated[Mapping[str, object] | Text, TemplateText()] = Field(
        default_factory=dict[str, object],
        description="What it is started with: a mapping, or an expression that yields one. Types are kept.",
    )
    wait: StrictBool = Field(
        default=True,
        description="Whether to wait for its end; else its id, as `{execution_id}`, once it is started.",
    )
    output_key: Text | None = Field(
        default=None, description="The field of its outputs to be the output; all where it is left out."
    )


class Notification(Step, frozen=True):
    """Tells somebody; complete once every channel has taken it, and not before."""

    request_fields = ("channel", "channels", "message", "subject", "recipients", "url", "urgency")
    takes_defaults = True

    type: Literal["notification"] = Field(default="notification", description="Somebody is told.")
    channel: ChannelName | None = Field(
        default=None,
        description="The way to tell it: `slack`, `email`, `webhook`, `log`, or a name of the configuration.",
    )
    channels: ChannelNames = Field(
        default=(), description="Several ways, in place of `channel`: all of them have to take it."
    )
    message: Annotated[object, TemplateText()] = Field(
        description="What is told: text, or any value, which people get as its JSON."
    )
    subject: Annotated[Text | None, TemplateText()] = Field(
        default=None, description="What it is about, in a line; the step's name where it is left out."
    )
    recipients: Annotated[Names, TemplateText()] = Field(
        default=(),
        description="Addresses that an e-mail goes to: one, a list, or expressions that yield them.",
    )
    url: Annotated[Text | None, TemplateText()] = Field(
        default=None, description="Where a webhook is sent; the configured address where it is left out."
    )
    urgency: Urgency = Field(default="normal", description="How much it matters to who is told.")

    @property
    def ways(self) -> tuple[str, ...]:
        """The channels, however they are written."""
        return self.channels if self.channel is None else (self.channel, *self.channels)


class WaitForEvent(Step, frozen=True):
    """Waits for an event that somebody publishes; the output is its payload."""

    type: Literal["wait_for_event"] = Field(
        default="wait_for_event", description="The process waits for an event."
    )
    event: Annotated[Text, TemplateText()] = Field(
        description="The name of the event, expressions allowed; rendered when the wait begins. What was "
        "published before, since the execution was started, counts as well."
    )
    match: ConditionSource | None = Field(
        default=None,
        description="A condition about the event, whose payload it reads as `event`; every event of that "
        "name fits where it is left out. An event that lacks what the condition reads does not fit.",
    )
    timeout_action: Literal["fail", "skip", "continue"] = Field(
        default="fail",
        description="What happens when no such event was published within `timeout`: the step fails with "
        "TIMEOUT, is skipped and everything after it goes on, or completes with null.",
    )


AnyStep = AgentTask | Gateway | Timer | HumanApproval | Transform | Notification | WaitForEvent | SubProcess
STEP_TYPES: dict[str, type[Step]] = {
    str(kind.model_fields["type"].default): kind for kind in cast("tuple[type[Step], ...]", get_args(AnyStep))
}
"""The classes by the word for them in a document; a new type is a class and its name in the union."""

"""Types of the language that this version does not run."""


# The whole


class ManualTrigger(Document, frozen=True):
    """A start by hand, which every process allows."""

    id: Text = Field(description="The trigger's id.")
    type: Literal["manual"] = Field(default="manual", description="Started by hand.")
    description: str = Field(default="", description="What it is for.")
    enabled: StrictBool = Field(default=True, description="Whether it may be used.")


class ProcessDefinition(Document, frozen=True):
    """One process: what it takes, what it does, what it gives."""

    name: ProcessName = Field(description="The process's name, by which its executions are listed.")
    version: Version = Field(
        default="1",
        description="For people; quoted where it holds a dot. An execution keeps the definition it began "
        "with, whatever becomes of the file.",
    )
    description: str = Field(default="", description="What the process is for.")
    labels: Mapping[str, str] = Field(
        default_factory=dict[str, str],
        description="Words to search executions by. No effect in this version.",
    )
    input: InputSpec = Field(
        default_factory=lambda: InputSpec(),
        description="What an execution may be started with, checked before anything is written; any object "
        "where it is left out.",
    )
    defaults: Defaults = Field(
        default_factory=lambda: Defaults(),
        description="What holds for agent tasks and notifications that do not set their own.",
    )
    limits: Limits = Field(default_factory=lambda: Limits(), description="Bounds of a whole execution.")
    triggers: tuple[ManualTrigger, ...] = Field(
        default=(),
        description="What starts the process. No effect in this version: any process can be started by hand.",
    )
    steps: tuple[Annotated[AnyStep, Field(discriminator="type")], ...] = Field(
        min_length=1, max_length=MAX_STEPS, description="What the process does: at least one step."
    )
    outputs: Annotated[tuple[OutputSpec, ...], BeforeValidator(outputs_as_list)] = Field(
        default=(),
        description="What it gives: a map of name to source, or a list. Left out: the output of each "
        "completed step that nothing depends on, by its id.",
    )

    def step(self, step_id: str) -> Step | None:
        """The first step of that id, or None."""
        return next((step for step in self.steps if step.id == step_id), None)

    def canonical_json(self) -> bytes:
        """This definition as UTF-8 JSON: sorted keys, no defaults, durations as written.

        Equal bytes stand for equal definitions, and the bytes are themselves a valid document.
        """
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()

    @cached_property
    def content_hash(self) -> DefinitionHash:
        """SHA-256 of `canonical_json`, as 64 hexadecimal digits."""
        return DefinitionHash(hashlib.sha256(self.canonical_json()).hexdigest())

    @classmethod
    def from_canonical(cls, content: bytes) -> Self:
        """The definition that `canonical_json` was written from.

        Raises:
            pydantic.ValidationError: the bytes are no such definition.
        """
        return cls.model_validate_json(content)
