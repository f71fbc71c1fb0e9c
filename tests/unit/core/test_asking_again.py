"""A step that is tried again by hand asks what it asked before, whatever has settled since."""

from process_engine.core.results import Completed
from process_engine.testing.executions import execution_of


def test_a_retry_asks_the_same_although_what_a_join_did_not_wait_for_has_come_meanwhile():
    keys = {"join": "any", "message": "{{ steps.b.output | default('nothing') }}"}
    run = execution_of("a & b -> f", f=keys).started().completed("a")
    first = (run.step("f").visit, run.step("f").request)
    run = run.failed("f", "AGENT_ERROR").answers("b", Completed("something"), attempt=1)
    assert run.status == "failed"
    assert run.step("b").status == "completed"

    again = run.retried_as_a_whole()

    assert again.running() == ["f"]
    assert (again.step("f").visit, again.step("f").request) == first
