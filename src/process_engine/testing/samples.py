"""Samples of what a process may meet: its input, what agents answer, how people decide.

A file of them is a list, each sample with any of its keys::

    samples:
      - {name: a small amount, input: {amount: 20}}
      - {name: a large one, input: {amount: 1200}, decide: {ask: reject}, steps: {write: a letter}}

A file of tests of a process is one as well: each test is a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field

from process_engine.definition.document import Document
from process_engine.testing.process_tests import Given, ProcessTests, read_part

Choice = Literal["approve", "reject", "nobody"]
"""How people decide: they all approve, they all reject, or nobody does anything before the deadline."""

# More in one file is no file that anybody reads.
MAX_SAMPLES = 1_000


class Sample(Given, frozen=True):
    """One way in which the world may be; what is left out is made up."""

    name: str = Field(default="", description="What it is an example of.")
    decide: Choice | Mapping[str, Choice] = Field(
        default="approve", description="How people decide: in every step, or by the step's id."
    )

    def choice(self, step_id: str) -> Choice:
        """How people decide about this step."""
        return self.decide if isinstance(self.decide, str) else self.decide.get(step_id, "approve")


class Samples(Document, frozen=True):
    """A file of samples."""

    samples: Annotated[tuple[Sample, ...], Field(min_length=1, max_length=MAX_SAMPLES)] = Field(
        description="The samples, each from the beginning."
    )


class _Any(Document, frozen=True, extra="allow"):
    """Any file: looked at for what kind it is."""


def read_sample(path: Path) -> Sample:
    """The sample in a file; of a file of tests, what is given for all of them.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: with every problem and its place.
    """
    if "tests" not in _keys(path):
        return read_part(path, Sample, "answers")[0]
    return _of_given(read_part(path, ProcessTests, "tests")[0].given)


def read_samples(path: Path) -> Sequence[Sample] | ProcessTests:
    """The samples in a file, or the tests where it is a file of tests.

    Raises:
        NotFound: there is no such file.
        DefinitionInvalid: with every problem and its place.
    """
    if "tests" in _keys(path):
        return read_part(path, ProcessTests, "tests")[0]
    return read_part(path, Samples, "samples")[0].samples


def over(sample: Sample, *, input: Mapping[str, object], decide: Choice | None) -> Sample:
    """The sample with this input, and with these decisions if they are given."""
    return sample.model_copy(update={"input": input, "decide": decide or sample.decide})


def _of_given(given: Given) -> Sample:
    return Sample(input=given.input, started_by=given.started_by, agents=given.agents, steps=given.steps)


def _keys(path: Path) -> frozenset[str]:
    return frozenset(cast("Mapping[str, object]", read_part(path, _Any, "samples")[0].model_extra or {}))
