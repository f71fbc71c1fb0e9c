"""`dry-run`: what a process would do, step by step, without doing any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from process_engine.cli import outcomes
from process_engine.cli.documents import event_document, execution_document
from process_engine.cli.inputs import gather_input
from process_engine.cli.printing import print_document
from process_engine.cli.rehearsing import lines_of
from process_engine.cli.reporting import Reporter
from process_engine.cli.screen import Screen
from process_engine.cli.story import failure_text
from process_engine.cli.summary import tell_outputs
from process_engine.cli.text import span
from process_engine.cli.tools import Coverage, DryRun, SampleRun, Tools
from process_engine.cli.validating import read_process


def dry_run(
    tools: Tools,
    *,
    file: Path,
    fields: Sequence[str],
    document: str | None,
    answers: Path | None,
    decide: str | None,
    coverage: Path | None,
    strict: bool,
    as_json: bool,
    no_color: bool,
) -> int:
    """Carry a process out with answers that are made up, or tell what a file of samples leaves out."""
    if coverage is not None and (fields or document is not None or answers is not None or decide is not None):
        raise click.UsageError("--coverage takes everything from its file: leave the other options out.")
    if strict and coverage is None:
        raise click.UsageError("--strict belongs to --coverage.")
    definition, warnings = read_process(file, None)
    if not as_json:
        Reporter(as_json=False, no_color=no_color).problems(warnings)
    screen = Screen(no_color=no_color)
    if coverage is not None:
        covered = tools.cover(file, definition, coverage)
        _tell_coverage(covered, screen, as_json=as_json)
        return _code_of(covered, strict=strict)
    run = tools.dry_run(
        file,
        definition,
        answers=answers,
        decide=decide,
        gather=lambda present: gather_input(definition, document, fields, present),
    )
    if as_json:
        print_document(_document(run))
    else:
        _tell(run, screen)
    return outcomes.of_status(run.execution.status)


# ---------------------------------------------------------------- one run


def _tell(run: DryRun, screen: Screen) -> None:
    for line in lines_of(run.events):
        screen.say(line)
    execution = run.execution
    screen.say()
    begun, ended = execution.created_at, execution.completed_at
    took = f"  in {span(ended - begun)} of its own time" if ended is not None else ""
    screen.say(f"{execution.status}  {execution.process_name} {execution.version}{took}")
    if execution.error is not None:
        step = f" in step {execution.error.step_id}" if execution.error.step_id else ""
        screen.say(f"Failed{step}: {failure_text(execution.error)}", style="red")
    for blocker in execution.blockers:
        screen.say(f"Waits: {blocker.kind} {blocker.step_id or ''}".rstrip())
    if execution.outputs:
        tell_outputs(execution.outputs, screen)
    _tell_what_was_made_up(run, screen)


def _tell_what_was_made_up(run: DryRun, screen: Screen) -> None:
    if run.made_up or run.remarks:
        screen.say()
    for remark in run.remarks:
        screen.say(f"Note: {remark}")
    if run.made_up:
        screen.say(f"Answers were made up for {', '.join(run.made_up)}; --answers FILE gives others.")


def _document(run: DryRun) -> dict[str, object]:
    execution = execution_document(run.execution)
    del execution["id"]
    return execution | {
        "made_up": run.made_up,
        "remarks": run.remarks,
        "events": [event_document(event) for event in run.events if event.public],
    }


# ---------------------------------------------------------------- coverage


def _tell_coverage(covered: Coverage, screen: Screen, *, as_json: bool) -> None:
    if as_json:
        print_document(_coverage_document(covered))
        return
    for run in covered.runs:
        screen.say(f"{run.status or 'refused':<10} {run.name}: {run.refused or ' → '.join(run.path)}")
    screen.say()
    steps, routes = len(covered.steps), len(covered.routes)
    screen.say(f"{steps - len(covered.unreached_steps)} of {steps} steps were started.")
    for step in covered.unreached_steps:
        screen.say(f"    no sample reaches {step}", style="yellow")
    if routes:
        screen.say(f"{routes - len(covered.unreached_routes)} of {routes} routes were taken.")
    for gateway, target in covered.unreached_routes:
        screen.say(f"    no sample takes {gateway} → {target}", style="yellow")


def _coverage_document(covered: Coverage) -> Mapping[str, object]:
    return {
        "samples": [_sample_document(run) for run in covered.runs],
        "steps": {"all": covered.steps, "unreached": covered.unreached_steps},
        "routes": {
            "all": [_route_document(route) for route in covered.routes],
            "unreached": [_route_document(route) for route in covered.unreached_routes],
        },
    }


def _sample_document(run: SampleRun) -> Mapping[str, object]:
    return {"name": run.name, "status": run.status, "path": run.path, "refused": run.refused}


def _route_document(route: tuple[str, str]) -> Mapping[str, object]:
    return {"gateway": route[0], "target": route[1]}


def _code_of(covered: Coverage, *, strict: bool) -> int:
    """Refused where a sample was not even started; with `strict`, failed where something is not reached."""
    if any(run.refused is not None for run in covered.runs):
        return outcomes.REFUSED
    missing = covered.unreached_steps or covered.unreached_routes
    return outcomes.FAILED if strict and missing else outcomes.COMPLETED
