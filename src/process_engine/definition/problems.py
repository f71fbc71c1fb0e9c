"""Problems of a definition: what is wrong, where, and what to write instead."""

from __future__ import annotations

import difflib
import itertools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["error", "warning", "info"]

CATALOGUE: dict[str, str] = {
    # P0xx: the text and its YAML
    "P001": "The text is not UTF-8",
    "P002": "The document is too large",
    "P003": "The document is nested too deeply",
    "P004": "The text is not valid YAML",
    "P005": "A key is given twice",
    "P006": "A YAML tag is used",
    "P007": "Aliases blow the document up",
    "P008": "A control character is in the text",
    "P009": "A key is not text",
    "P010": "A number is not finite",
    "P011": "The document is not a mapping",
    "P012": "The file holds more than one document",
    "P013": "There are more problems than are listed",
    # P1xx: structure, keys and values
    "P101": "A key is not known here",
    "P102": "A required key is missing",
    "P103": "A value has the wrong kind",
    "P104": "A word is not one of the allowed ones",
    "P105": "A number is out of range",
    "P106": "A duration cannot be read",
    "P107": "A name or id is malformed",
    "P108": "A step type does not exist",
    "P110": "A feature is not run by this version",
    "P111": "A key has no effect",
    "P112": "One thing is given in two spellings",
    "P113": "A JSON Schema is not valid",
    "P114": "A default does not fit its own field",
    # P2xx: the graph
    "P201": "Two steps have the same id",
    "P202": "A step depends on an unknown step",
    "P203": "A step depends on itself",
    "P204": "Steps wait for each other",
    "P205": "A step is never reached",
    "P206": "A join waits for more edges than there are",
    "P207": "A join waits for more branches than can live together",
    "P208": "An unknown goto target",
    "P209": "A step waits for another because it reads it",
    "P210": "A goto leads to its own step",
    "P211": "A dependency is named twice",
    "P212": "Two outputs have the same name",
    # P3xx: expressions
    "P301": "An expression cannot be read",
    "P302": "An unknown root",
    "P303": "An unknown step in an expression",
    "P304": "An unknown input field",
    "P305": "A step is read that cannot have run before",
    "P306": "The output of a step that may be skipped is read without default",
    "P307": "A comparison that can never be meant",
    "P308": "Secrets are not allowed here",
    "P309": "item and index exist only inside for_each",
    "P310": "An unknown field of a root",
    "P311": "A condition is not true or false",
    "P312": "A condition never changes",
    "P313": "event exists only inside match",
    "P314": "errors of a step are read that does not run for each item",
    # P4xx: gateways and loops
    "P401": "A gateway without routes",
    "P402": "A route leads to an unknown step",
    "P403": "A gateway without default",
    "P404": "A loop without a bound",
    "P405": "A loop from a gateway that is not exclusive",
    "P406": "A route can never be taken",
    "P407": "A route leads to its own gateway",
    "P408": "A parallel gateway has conditions",
    "P409": "A bound without a loop",
    # P5xx: policies and limits
    "P501": "Retries and timeouts exceed the limit of the execution",
    "P502": "A delay is longer than its cap",
    "P503": "An error code is misspelt",
    "P504": "An error code is both retried and not",
    "P505": "A goto without target",
    "P506": "A target without goto",
    "P507": "A policy has no effect",
    "P508": "A compensation reads a step that need not have run",
    # P6xx: agents and settings of a step
    "P601": "No agent is named",
    "P602": "An unknown agent",
    "P603": "A timer without a time, or with two",
    "P604": "An unknown time zone",
    "P605": "A time of a timer cannot be read",
    "P606": "A reminder comes after the deadline",
    "P607": "An escalation comes after the deadline",
    "P608": "More decisions are needed than people can give",
    "P609": "The only one who may decide may have started it",
    "P610": "An approval that nobody has to give",
    "P611": "A rejection is read that never gets there",
    "P612": "A setting has no effect on this type of step",
    "P613": "A name that no event can have",
    "P614": "A match that does not look at the event",
    "P615": "A timeout_action without timeout",
    "P616": "A step that cannot run for each item of a list",
    "P617": "Items are called like something else",
    "P618": "The items of a for_each are no list, or too many",
    "P621": "A notification without a channel, or with both forms",
    "P622": "An unknown channel",
    "P623": "A channel lacks what it needs",
    "P624": "A field that none of the channels uses",
    "P625": "An address that nothing can be sent to",
    "P651": "A sub-process is not known",
    "P652": "A process calls itself without a condition",
    "P653": "Sub-processes are nested too deeply",
    # P7xx: triggers, and several processes together
    "P701": "Two triggers have the same id",
    "P702": "Two processes have a trigger with the same id",
    "P703": "Two files are the same version of a process",
    # P9xx: old forms
    "P901": "An old spelling of a key",
    "P902": "An old form of routes",
    "P903": "A step without type",
    "P904": "A long form of on_error",
    "P905": "An old word for what an approval says",
}
"""Title of every code. Codes are stable: one that is given up is never used again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a document.

    `line` and `column` are 1-based; 0 where a definition was not read from text.
    `message` says what is wrong and `suggestion` what to write instead (may be empty); both are sentences on
    one line: what cannot be seen of a text of the document is spelled out, so that it cannot pass for ours.
    `path` leads to the place in the canonical document, by keys and 0-based indexes.
    """

    code: str
    level: Level
    message: str
    line: int = 0
    column: int = 0
    suggestion: str = ""
    filename: str = "process.yaml"
    path: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        for name, text in (("message", self.message), ("suggestion", self.suggestion)):
            if not text.isprintable():
                object.__setattr__(self, name, "".join(map(_visible, text)))

    def __str__(self) -> str:
        place = f"{self.filename}:{self.line}:{self.column}" if self.line else self.filename
        return f"{self.code} {self.level} {place} {self.message} {self.suggestion}".rstrip()

    def in_file(self, filename: str) -> Problem:
        """The same problem, of the document in that file."""
        return self if filename == self.filename else replace(self, filename=filename)

    @property
    def title(self) -> str:
        return CATALOGUE[self.code]


def _visible(character: str) -> str:
    """The character itself, or its escape where it would steer a terminal, hide or reorder what is seen."""
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether a document with these problems must be refused; warnings and infos do not count."""
    return any(problem.level == "error" for problem in problems)


def in_reading_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems sorted by place, without repetitions; at one place errors come first."""
    ranks = {"error": 0, "warning": 1, "info": 2}
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda p: (p.line, p.column, ranks[p.level], p.code, p.message)))


# What a person may have misspelt; comparing longer words, or with more of them, costs seconds.
_LONGEST_WORD = 64
_MOST_WORDS = 500


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was most likely meant to be, or None."""
    if len(word) > _LONGEST_WORD:
        return None
    candidates = list(itertools.islice(known, _MOST_WORDS))
    by_folded = {candidate.casefold().replace("-", "_"): candidate for candidate in candidates}
    folded = word.casefold().replace("-", "_")
    found = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], *, kind: str = "", limit: int = 8) -> str:
    """A sentence that names the closest known word, else lists a few known ones; empty if there are none."""
    candidates = list(known)
    match = closest(word, candidates)
    if match is not None:
        return f"Did you mean `{match}`?"
    if not candidates:
        return ""
    listing = ", ".join(f"`{candidate}`" for candidate in candidates[:limit])
    more = ", …" if len(candidates) > limit else ""
    return f"Known {kind or 'here'}: {listing}{more}."
