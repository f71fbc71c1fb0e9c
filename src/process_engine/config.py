"""Settings files: where they are found, and what they say, with the place of every fault.

An `agents.yaml` names the agents that processes may call::

    agents:
      researcher: {kind: http, url: "http://…", headers: {Authorization: "Bearer ${TOKEN}"}, timeout: 60s}

    channels:
      slack: {url: "${SLACK_WEBHOOK}"}

It also names the channels that notifications are sent over; `kind` may be left out there where the name is
the word of a kind.

`${NAME}` in a value stands for an environment variable, `$${` for `${`. What came from the environment is
never shown again: a fault quotes the file as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from process_engine.definition.problems import did_you_mean, has_errors
from process_engine.definition.yaml_text import MAX_TEXT_BYTES, LoadedText, load
from process_engine.errors import ConfigurationInvalid

AGENTS_FILE = "agents.yaml"

Place = tuple[str | int, ...]
Settings = TypeVar("Settings", bound=BaseModel)

_AGENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a section is a list of.
_NOUNS = {"agents": "agent", "channels": "channel"}
_A_NOUN = {"agents": "an agent", "channels": "a channel"}


@dataclass(frozen=True, slots=True)
class AgentsFile(Generic[Settings]):
    """What an `agents.yaml` says: the settings of each agent by its name, in the order of the file."""

    path: Path
    agents: Mapping[str, Settings]


class Fault(NamedTuple):
    """Something in a settings file that cannot be used: `place` by keys, and two sentences."""

    place: Place
    message: str
    remedy: str = ""


class PlacedFault(NamedTuple):
    """A fault as people find it: `where` is file, line and column; `agent` None where the file is meant."""

    agent: str | None
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where} {self.message} {self.remedy}".rstrip()


@dataclass(frozen=True, slots=True)
class AgentsReading(Generic[Settings]):
    """What could be made of an `agents.yaml`, and what is wrong with the rest of it.

    `named` holds every agent that the file names, in its order, with the word under `kind` (empty without
    one). Each of them is in `agents`, or has at least one of the `faults`, which come in the order of the
    file.
    """

    path: Path
    named: Mapping[str, str]
    agents: Mapping[str, Settings]
    faults: Sequence[PlacedFault]


def find_agents_file(
    explicit: Path | None = None, *, definition: Path | None = None, directory: Path | None = None
) -> Path | None:
    """The agents file to use: the `explicit` one, else one beside the definition, else one in `directory`.

    None: there is none. `directory` is the current one unless given.

    Raises:
        ConfigurationInvalid: the explicit one does not exist.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise ConfigurationInvalid(
                f"there is no file {explicit}.", remedy="Check the path of the agents file."
            )
        return explicit
    beside = [definition.parent] if definition is not None else []
    candidates = (folder / AGENTS_FILE for folder in [*beside, directory or Path()])
    return next((path for path in candidates if path.is_file()), None)


def read_agents_file(
    path: Path, kinds: Mapping[str, type[Settings]], environment: Mapping[str, str]
) -> AgentsFile[Settings]:
    """Read the agents of a configuration; `kinds` are the settings classes by the word under `kind`.

    Validators of the classes find the folder of the file as `directory` in their context.

    Raises:
        ConfigurationInvalid: with a line for each fault in the file.
    """
    found = look_through_agents_file(path, kinds, environment)
    if found.faults:
        raise ConfigurationInvalid("\n".join(str(fault) for fault in found.faults))
    return AgentsFile(path, found.agents)


def look_through_agents_file(
    path: Path, kinds: Mapping[str, type[Settings]], environment: Mapping[str, str]
) -> AgentsReading[Settings]:
    """As `read_agents_file`, but a fault of one agent leaves the others usable.

    Raises:
        ConfigurationInvalid: the file cannot be read, or is no YAML that could be looked through.
    """
    text = read_text(path)
    reader = _Reader(kinds, environment, path.parent.resolve())
    agents = reader.agents(text.value)
    in_order = sorted(reader.faults, key=lambda fault: text.positions.of_key(fault.place))
    return AgentsReading(path, reader.named, agents, [_placed(path, text, fault) for fault in in_order])


def read_channels(
    path: Path, kinds: Mapping[str, type[Settings]], environment: Mapping[str, str]
) -> Mapping[str, Settings]:
    """The settings of each channel that a settings file names; empty where it names none.

    Validators of the classes find the folder of the file as `directory` in their context.

    Raises:
        ConfigurationInvalid: with a line for each fault of its channels.
    """
    text = read_text(path)
    reader = _Reader(kinds, environment, path.parent.resolve(), "channels")
    top = text.value
    channels = reader.section(cast("dict[str, object]", top) if isinstance(top, dict) else {})
    if reader.faults:
        in_order = sorted(reader.faults, key=lambda fault: text.positions.of_key(fault.place))
        raise ConfigurationInvalid("\n".join(str(_placed(path, text, fault)) for fault in in_order))
    return channels


class _Reader(Generic[Settings]):
    """One passage through a section of a file; what cannot be used is gathered in `faults`: all are told at
    once."""

    def __init__(
        self,
        kinds: Mapping[str, type[Settings]],
        environment: Mapping[str, str],
        directory: Path,
        section: str = "agents",
    ) -> None:
        self.faults: list[Fault] = []
        self.named: dict[str, str] = {}
        self._kinds = kinds
        self._environment = environment
        self._directory = directory
        self._section = section

    def agents(self, document: object) -> dict[str, Settings]:
        top = self._mapping(document, (), "the file")
        for key in top:
            if key not in _NOUNS and not key.startswith("x-"):
                self._fault((key,), f"unknown key `{key}`.", did_you_mean(key, _NOUNS))
        if "agents" not in top and "channels" not in top:
            self._fault(
                (), "the key `agents` is missing.", "Write `agents:` and below it one name per agent."
            )
        return self.section(top)

    def section(self, top: Mapping[str, object]) -> dict[str, Settings]:
        """What the section says, by name; what stands beside it is not looked at."""
        named = self._mapping(top.get(self._section, {}), (self._section,), f"`{self._section}`")
        made = {name: self._entry(name, given) for name, given in named.items()}
        return {name: settings for name, settings in made.items() if settings is not None}

    def _entry(self, name: str, given: object) -> Settings | None:
        place = (self._section, name)
        sound = _AGENT_NAME.fullmatch(name) is not None
        if not sound:
            self._fault(
                place,
                f"`{name[:64]}` is no name for {_A_NOUN[self._section]}.",
                "Use letters, digits, `_`, `-` and `.`, 64 at most.",
            )
        keys = self._mapping(given, place, _who(place))
        own = {key: value for key, value in keys.items() if not key.startswith("x-")}
        if self._section == "channels" and name in self._kinds:
            own.setdefault("kind", name)
        kind = own.get("kind")
        self.named[name] = kind if isinstance(kind, str) else ""
        model = self._model(place, kind) if isinstance(given, dict) else None
        settings = None if model is None else self._validated(place, model, own)
        return settings if sound else None

    def _model(self, agent: Place, kind: object) -> type[Settings] | None:
        """The settings class of a kind; asking for it imports it, which may fail for foreign kinds."""
        place = agent if kind is None else (*agent, "kind")
        who = _who(agent)
        try:
            if isinstance(kind, str) and kind in self._kinds:
                return self._kinds[kind]
            self._fault(place, f"{who}: {_kind_fault(kind)}", self._kind_remedy(kind))
        except ConfigurationInvalid as error:
            self._fault(place, f"{who}: {error.message}", error.remedy)
        return None

    def _validated(self, place: Place, model: type[Settings], written: dict[str, object]) -> Settings | None:
        known = len(self.faults)
        values = {key: self._resolved(value, (*place, key)) for key, value in written.items()}
        try:
            settings = model.model_validate(values, context={"directory": self._directory})
        except ValidationError as error:
            # Faults of the same value come once: an unset variable is the reason, not its emptiness.
            reported = {fault.place for fault in self.faults[known:]}
            found = [_explained(detail, place, model, written) for detail in error.errors(include_url=False)]
            self.faults += [fault for fault in found if fault.place not in reported]
            return None
        return settings if len(self.faults) == known else None

    def _resolved(self, value: object, place: Place) -> object:
        """`value` with environment variables filled in; keys stay as they are written."""
        match value:
            case str():
                return _VARIABLE.sub(lambda match: self._variable(match, place), value)
            case dict():
                given = cast("dict[str, object]", value)
                return {key: self._resolved(item, (*place, key)) for key, item in given.items()}
            case list():
                items = cast("list[object]", value)
                return [self._resolved(item, (*place, index)) for index, item in enumerate(items)]
            case _:
                return value

    def _variable(self, match: re.Match[str], place: Place) -> str:
        name = match[1]
        if name is None:
            return "${"
        what = f"{_who(place)}: `{_key_text(place)}`"
        if not match[2] or not _VARIABLE_NAME.fullmatch(name):
            self._fault(
                place, f"{what} holds a `${{` that names no variable.", "Write ${NAME}, or $${ for itself."
            )
        elif name not in self._environment:
            self._fault(
                place,
                f"{what} needs the environment variable {name}, which is not set.",
                f"Set {name}, or write $${{{name}}} if the text itself is meant.",
            )
        return self._environment.get(name, "")

    def _mapping(self, value: object, place: Place, what: str) -> dict[str, object]:
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        self._fault(place, f"{what} must be a mapping of keys to values.")
        return {}

    def _kind_remedy(self, kind: object) -> str:
        if isinstance(kind, str):
            return did_you_mean(kind, self._kinds, kind="kinds")
        return f"Write `kind: ` and one of {', '.join(self._kinds)}."

    def _fault(self, place: Place, message: str, remedy: str = "") -> None:
        self.faults.append(Fault(place, message, remedy))


def _who(place: Place) -> str:
    """Whom a fault at a place is about."""
    return f"{_NOUNS[str(place[0])]} `{place[1]}`"


def _kind_fault(kind: object) -> str:
    if kind is None:
        return "`kind` is missing."
    return f"unknown kind `{kind[:64]}`." if isinstance(kind, str) else "`kind` must be a word."


# ---------------------------------------------------------------- what the models say, in plain sentences

_EXPECTED = {
    "string_type": "must be text",
    "string_sub_type": "must be text",
    "mapping_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "model_type": "must be a mapping of keys to values",
    "path_type": "must be text",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_digits": "must be a number of at most {max_digits} digits",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "byte_size": "must be a size such as 512KiB",
    "byte_size_unit": "must be a size such as 512KiB",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}


def _explained(
    detail: ErrorDetails, agent: Place, model: type[BaseModel], written: Mapping[str, object]
) -> Fault:
    """A fault that a model found; it quotes nothing that came from the environment."""
    place = (*agent, *_written_part(detail["loc"], written))
    key = _key_text(place)
    who = _who(agent)
    if detail["type"] == "extra_forbidden":
        return Fault(place, f"{who}: unknown key `{key}`.", _similar(key, model))
    if detail["type"] == "missing":
        missing = ".".join(str(part) for part in detail["loc"])
        return Fault(place, f"{who}: the key `{missing}` is missing.", _described(model, missing))
    return Fault(place, f"{who}: `{key}`: {_sentence(detail, _filled_in(place, agent, written))}.")


def _similar(key: str, model: type[BaseModel]) -> str:
    # A key inside another one belongs to a model that is not known here.
    known = [] if "." in key else [field.alias or name for name, field in model.model_fields.items()]
    return did_you_mean(key, known)


def _sentence(detail: ErrorDetails, filled_in: bool) -> str:
    context = detail.get("ctx", {})
    if detail["type"] in _EXPECTED:
        return _EXPECTED[detail["type"]].format_map(context)
    if detail["type"] == "sentence":
        return detail["msg"].rstrip(".")
    if filled_in:
        return "cannot be used with the value that the environment gives"
    if detail["type"] == "value_error":
        return str(context.get("error", "cannot be used")).rstrip(".")
    return detail["msg"].rstrip(".")


def _described(model: type[BaseModel], key: str) -> str:
    field = model.model_fields.get(key)
    return f"`{key}`: {field.description}" if field is not None and field.description else ""


def _written_part(location: Iterable[str | int], written: object) -> Iterator[str | int]:
    """The beginning of a model's location that is a place in the file; models add words of their own."""
    for part in location:
        if isinstance(written, dict) and part in written:
            written = cast("dict[object, object]", written)[part]
        elif isinstance(written, list) and isinstance(part, int):
            written = cast("list[object]", written)[part]
        else:
            return
        yield part


def _filled_in(place: Place, agent: Place, written: Mapping[str, object]) -> bool:
    """Whether anything at `place` comes from the environment."""
    value: object = written
    for part in place[len(agent) :]:
        value = cast("dict[str | int, object]", value)[part]
    return "${" in str(value)


def _key_text(place: Place) -> str:
    """A place inside an agent as people write it: `headers.Authorization`."""
    return ".".join(str(part) for part in place[2:])


# ---------------------------------------------------------------- the text and its places


def read_text(path: Path) -> LoadedText:
    """A settings file as YAML, with the places of everything in it.

    Raises:
        ConfigurationInvalid: it cannot be read, or is no YAML, with a line for each problem.
    """
    try:
        with path.open("rb") as file:
            # One byte more than is accepted: enough for the reader to refuse it.
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationInvalid(
            f"{path} cannot be read: {reason}.", remedy="Check its path and rights."
        ) from error
    text = load(content)
    if has_errors(text.problems):
        named = (replace(problem, filename=str(path)) for problem in text.problems)
        raise ConfigurationInvalid("\n".join(str(problem) for problem in named))
    return text


def _placed(path: Path, text: LoadedText, fault: Fault) -> PlacedFault:
    mark = text.positions.of_key(fault.place)
    agent = str(fault.place[1]) if len(fault.place) > 1 and fault.place[0] == "agents" else None
    return PlacedFault(agent, f"{path}:{mark.line}:{mark.column}", fault.message, fault.remedy)
