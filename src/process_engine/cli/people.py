"""Who may decide: users and their groups, from a `people.yaml`.

::

    users: [ann, bob, carl]             # optional: nobody else is known then
    groups:
      legal: [ann, bob]

It is looked for in the current directory. Without one nobody is in a group, and every name is a user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from process_engine.cli.text import is_printable
from process_engine.config import read_text
from process_engine.core.approvals import GROUP
from process_engine.definition.problems import did_you_mean
from process_engine.errors import CommandRejected, ConfigurationInvalid

PEOPLE_FILE = "people.yaml"
# As long as an address may be; names are shown in every list of approvals.
MOST_CHARACTERS = 254

_KEYS = ("users", "groups")
_Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class People:
    """Users and groups as a file names them; `path` and `users` are None where nothing is said about them."""

    path: Path | None
    users: frozenset[str] | None
    groups: Mapping[str, Sequence[str]]

    def groups_of(self, user: str) -> tuple[str, ...]:
        """The groups that a user is in, by their names without `group:`, in the order of the file.

        Raises:
            CommandRejected: the file names the users, and not this one; or it is the name of a group.
        """
        self._require_user(user)
        return tuple(name for name, members in self.groups.items() if user in members)

    def require(self, name: str) -> None:
        """Refuse a user, or a `group:…`, that the file would have to name and does not.

        Raises:
            CommandRejected: there is no such user or group.
        """
        if not name.startswith(GROUP):
            self._require_user(name)
            return
        group = _name(name.removeprefix(GROUP))
        if self.path is not None and group not in self.groups:
            raise CommandRejected(
                f"{self.path} has no group {group!r}.",
                remedy=did_you_mean(group, self.groups, kind="groups") or "Add it under `groups`.",
            )

    def _require_user(self, user: str) -> None:
        _name(user)
        if self.users is not None and user not in self.users:
            raise CommandRejected(
                f"{self.path} has no user {user!r}.",
                remedy=did_you_mean(user, sorted(self.users), kind="users") or "Add them under `users`.",
            )


def read_people(explicit: Path | None) -> People:
    """What the `explicit` file says, else the one in the current directory; nothing where there is none.

    Raises:
        ConfigurationInvalid: with a line for each fault of the file.
    """
    path = Path(PEOPLE_FILE) if explicit is None else explicit
    if not path.is_file():
        if explicit is not None:
            raise ConfigurationInvalid(
                f"there is no file {path}.", remedy="Check the path of the people file."
            )
        return People(None, None, {})
    text = read_text(path)
    reader = _Reader()
    people = reader.people(path, text.value)
    if reader.faults:
        placed = sorted((text.positions.of_key(place), told) for place, told in reader.faults)
        raise ConfigurationInvalid(
            "\n".join(f"{path}:{mark.line}:{mark.column} {told}" for mark, told in placed)
        )
    return people


class _Reader:
    """One passage through a file; what cannot be used is gathered in `faults`: all are told at once."""

    def __init__(self) -> None:
        self.faults: list[tuple[_Place, str]] = []

    def people(self, path: Path, document: object) -> People:
        top = self._mapping(document, (), "the file")
        for key in top:
            if key not in _KEYS and not key.startswith("x-"):
                self._fault((key,), f"unknown key `{key}`. {did_you_mean(key, _KEYS)}")
        users = self._names(top["users"], ("users",)) if "users" in top else None
        groups = {
            name: self._group(name, members, users)
            for name, members in self._mapping(top.get("groups", {}), ("groups",), "`groups`").items()
        }
        return People(path, None if users is None else frozenset(users), groups)

    def _group(self, name: str, members: object, users: Sequence[str] | None) -> list[str]:
        place = ("groups", name)
        if not _is_name(name):
            self._fault(place, f"`{name[:64]}` is no name for a group: {_NAMES}")
        found = self._names(members, place)
        for member in found:
            if users is not None and member not in users:
                self._fault(place, f"group `{name}`: `{member}` is not under `users`. Add them there.")
        return found

    def _names(self, given: object, place: _Place) -> list[str]:
        """A list of users; each comes once."""
        where = f"`{'.'.join(map(str, place))}`"
        if not isinstance(given, list):
            self._fault(place, f"{where} must be a list of names, as in `[ann, bob]`.")
            return []
        found: list[str] = []
        for number, name in enumerate(cast("list[object]", given)):
            if not isinstance(name, str) or not _is_name(name):
                self._fault((*place, number), f"{where}: {str(name)[:64]!r} is no name: {_NAMES}")
            elif name in found:
                self._fault((*place, number), f"{where}: `{name}` is named twice. Remove one of them.")
            else:
                found.append(name)
        return found

    def _mapping(self, given: object, place: _Place, what: str) -> dict[str, object]:
        if not isinstance(given, dict):
            self._fault(place, f"{what} must be a mapping of keys to values.")
            return {}
        keys = cast("dict[object, object]", given)
        for key in keys:
            if not isinstance(key, str):
                self._fault((*place, str(key)), f"{what}: the key {key!r} must be text; put it in quotes.")
        return {key: value for key, value in keys.items() if isinstance(key, str)}

    def _fault(self, place: _Place, told: str) -> None:
        self.faults.append((place, told.rstrip()))


_NAMES = f"use visible text of at most {MOST_CHARACTERS} characters that does not begin with `{GROUP}`."


def _name(given: str) -> str:
    if not _is_name(given):
        raise CommandRejected(f"{given[:64]!r} is no name of somebody.", remedy=_NAMES.capitalize())
    return given


def _is_name(name: str) -> bool:
    fits = 0 < len(name) <= MOST_CHARACTERS and name == name.strip()
    return fits and is_printable(name) and "\n" not in name and not name.startswith(GROUP)
