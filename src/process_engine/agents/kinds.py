"""The kinds of agents there are: those that come with the engine, and those of installed distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic_core import PydanticUndefined

from process_engine.agents.settings import AgentSettings
from process_engine.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# Where a distribution names its kinds: one entry point each, `word = "module:SettingsClass"`.
GROUP = "process_engine.agents"
OWN = "the engine itself"


class _Offer(NamedTuple):
    """A settings class that somebody, named by `owner`, offers for a kind."""

    owner: str
    load: Callable[[], object]


class Kinds(Mapping[str, type[AgentSettings]]):
    """The settings class of each kind by its word; asking for one imports its module, and no other.

    `built_in` are the engine's, as `module:class`. Further ones are the entry points of `group`, looked up
    once, when a kind is first asked for. Asking for a kind that several offer, or whose entry point gives
    no settings class of that kind, raises `ConfigurationInvalid`; others are not affected.
    """

    def __init__(self, built_in: Mapping[str, str], group: str = GROUP) -> None:
        self._built_in = built_in
        self._group = group

    def __getitem__(self, kind: str) -> type[AgentSettings]:
        offers = self._offers[kind]
        if len(offers) > 1:
            owners = " and ".join(sorted(offer.owner for offer in offers))
            raise ConfigurationInvalid(
                f"kind `{kind}` is offered by {owners}.",
                remedy="Uninstall what you do not need, or have its kind renamed.",
            )
        return _loaded(kind, offers[0])

    def __contains__(self, kind: object) -> bool:
        return kind in self._offers

    def __iter__(self) -> Iterator[str]:
        return iter(self._offers)

    def __len__(self) -> int:
        return len(self._offers)

    @cached_property
    def _offers(self) -> dict[str, list[_Offer]]:
        offers = {kind: [_Offer(OWN, partial(_load, place))] for kind, place in self._built_in.items()}
        for point in sorted(_entry_points(self._group), key=lambda point: point.name):
            offers.setdefault(point.name, []).append(_Offer(_owner(point), point.load))
        return offers


def _loaded(kind: str, offer: _Offer) -> type[AgentSettings]:
    remedy = f"Repair or uninstall {offer.owner}."
    try:
        found = offer.load()
    except (Exception, SystemExit) as error:
        # The edge of foreign code: a broken distribution must not look like a fault of the engine.
        raise ConfigurationInvalid(
            f"kind `{kind}` of {offer.owner} cannot be loaded: {type(error).__name__}: {error}.",
            remedy=remedy,
        ) from error
    if not isinstance(found, type) or not issubclass(found, AgentSettings):
        raise ConfigurationInvalid(
            f"kind `{kind}` of {offer.owner} is no subclass of AgentSettings.", remedy=remedy
        )
    word = cast("object", found.model_fields["kind"].default)
    if word not in (kind, PydanticUndefined):
        raise ConfigurationInvalid(
            f"kind `{kind}` of {offer.owner} calls itself `{word}` in its class.", remedy=remedy
        )
    return found


def _load(place: str) -> object:
    module, _, name = place.partition(":")
    return cast("object", getattr(import_module(module), name))


def _entry_points(group: str) -> list[EntryPoint]:
    try:
        return list(metadata.entry_points(group=group))
    except Exception as error:
        raise ConfigurationInvalid(
            f"installed distributions cannot be searched for agent kinds: {type(error).__name__}: {error}.",
            remedy="Repair the installation: `pip check` may name the distribution.",
        ) from error


def _owner(point: EntryPoint) -> str:
    return f"an unnamed distribution ({point.value})" if point.dist is None else point.dist.name


KINDS: Mapping[str, type[AgentSettings]] = Kinds(
    {
        "http": "process_engine.agents.http:HttpSettings",
        "openai": "process_engine.agents.openai:OpenAiSettings",
        "command": "process_engine.agents.command:CommandSettings",
        "python": "process_engine.agents.python:PythonSettings",
        "echo": "process_engine.agents.echo:EchoSettings",
    }
)
