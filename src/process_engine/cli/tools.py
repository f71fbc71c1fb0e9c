"""What the command line is handed from above, so that it need not know how an engine is put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from process_engine.cli.lazily import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from process_engine.core.events import Event
    from process_engine.definition.document import ProcessDefinition
    from process_engine.runtime.engine import Engine
    from process_engine.runtime.feed import EventBus
    from process_engine.runtime.ports import AgentGateway, Channels, ExecutionRepository
    from process_engine.runtime.view import ProcessExecution


class EngineFactory(Protocol):
    """Makes an engine with every step type, not entered yet."""

    def __call__(
        self,
        repositories: ExecutionRepository,
        agents: AgentGateway,
        *,
        channels: Channels | None = None,
        event_bus: EventBus | None = None,
        recover: bool = True,
        serve_inbox: bool = True,
    ) -> Engine: ...


class LoggedCall(Protocol):
    """One call as the agent itself saw it; `repeated` says that it gave a remembered answer."""

    @property
    def agent(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def step_id(self) -> str: ...
    @property
    def visit(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def repeated(self) -> bool: ...


class Agents(Protocol):
    """HTTP agents in a process of their own, with a log of their calls."""

    @property
    def url(self) -> str: ...

    def url_of(self, agent: str) -> str:
        """Where the agent of that name takes calls."""
        ...

    def calls(self) -> Sequence[LoggedCall]:
        """Every call so far, in the order of arrival."""
        ...


class AgentsFactory(Protocol):
    """Starts agents that answer as `behaviours` say, by name; leaving the context ends them."""

    def __call__(
        self, behaviours: Mapping[str, Mapping[str, object]], *, log: Path
    ) -> AbstractContextManager[Agents]: ...


class TriedTest(Protocol):
    """A test of a process that was carried out; it passed if there are no mismatches."""

    @property
    def name(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def mismatches(self) -> Sequence[str]: ...


class TriesTests(Protocol):
    """Carries out the tests in a file, one after the other."""

    def __call__(self, path: Path) -> Iterator[TriedTest]: ...


class DryRun(Protocol):
    """A process carried out without the world; `made_up` are the steps whose answers nobody had given."""

    @property
    def execution(self) -> ProcessExecution: ...
    @property
    def events(self) -> Sequence[Event]: ...
    @property
    def made_up(self) -> Sequence[str]: ...
    @property
    def remarks(self) -> Sequence[str]: ...


class RunsDry(Protocol):
    """Carries a process out without the world; `gather` makes the input of that in the file of answers."""

    def __call__(
        self,
        process: Path,
        definition: ProcessDefinition,
        *,
        answers: Path | None,
        decide: str | None,
        gather: Callable[[Mapping[str, object]], Mapping[str, object]],
    ) -> DryRun: ...


class SampleRun(Protocol):
    """One sample carried out; `refused` says why it was not started."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str | None: ...
    @property
    def path(self) -> Sequence[str]: ...
    @property
    def refused(self) -> str | None: ...


class Coverage(Protocol):
    """What the samples of a file reach; a route is (gateway, target)."""

    @property
    def runs(self) -> Sequence[SampleRun]: ...
    @property
    def steps(self) -> Sequence[str]: ...
    @property
    def routes(self) -> Sequence[tuple[str, str]]: ...
    @property
    def unreached_steps(self) -> Sequence[str]: ...
    @property
    def unreached_routes(self) -> Sequence[tuple[str, str]]: ...


class Covers(Protocol):
    """Carries out every sample, or test, of a file."""

    def __call__(self, process: Path, definition: ProcessDefinition, samples: Path) -> Coverage: ...


class Tools(NamedTuple):
    """The factories, each as `module:name`; a factory is loaded when it is first asked for."""

    engine: str
    agent_process: str
    process_tests: str
    dry_runs: str
    sample_coverage: str

    @property
    def make_engine(self) -> EngineFactory:
        return cast("EngineFactory", load(self.engine))

    @property
    def try_tests(self) -> TriesTests:
        return cast("TriesTests", load(self.process_tests))

    @property
    def dry_run(self) -> RunsDry:
        return cast("RunsDry", load(self.dry_runs))

    @property
    def cover(self) -> Covers:
        return cast("Covers", load(self.sample_coverage))

    @property
    def start_agents(self) -> AgentsFactory:
        return cast("AgentsFactory", load(self.agent_process))
