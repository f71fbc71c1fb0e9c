import pytest

from process_engine.core.backoff import MAX_RETRY_AFTER_SECONDS, Retry, delay_seconds
from process_engine.testing.executions import execution_of


def delays(retry: Retry, attempts=range(2, 7)) -> list[float]:
    return [delay_seconds(retry, attempt, salt="e/s/1") for attempt in attempts]


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [("exponential", [2, 6, 18, 54, 100]), ("linear", [2, 4, 6, 8, 10]), ("fixed", [2, 2, 2, 2, 2])],
)
def test_the_delay_grows_by_its_formula_up_to_the_maximum(backoff, expected):
    retry = Retry(initial_delay=2, backoff=backoff, multiplier=3, max_delay=100, jitter=False)

    assert delays(retry) == expected


def test_jitter_stays_within_a_half_and_one_and_a_half_and_spreads():
    retry = Retry(initial_delay=10, backoff="fixed", max_delay=1000)
    drawn = [delay_seconds(retry, 2, salt=f"e/{number}/1") for number in range(500)]

    assert 5 <= min(drawn) < 5.5
    assert 14.5 < max(drawn) < 15


def test_jitter_is_fixed_by_execution_step_visit_and_attempt():
    retry = Retry(initial_delay=10, backoff="fixed", max_delay=1000)
    places = [("e1/a/1", 2), ("e2/a/1", 2), ("e1/b/1", 2), ("e1/a/2", 2), ("e1/a/1", 3)]

    first = [delay_seconds(retry, attempt, salt=salt) for salt, attempt in places]
    assert first == [delay_seconds(retry, attempt, salt=salt) for salt, attempt in places]
    assert len(set(first)) == len(places)


def test_jitter_never_exceeds_the_maximum():
    retry = Retry(initial_delay=10, backoff="fixed", max_delay=10)

    assert max(delay_seconds(retry, 2, salt=str(number)) for number in range(100)) == 10


def test_retry_after_wins_where_it_is_longer():
    retry = Retry(initial_delay=10, jitter=False)

    assert delay_seconds(retry, 2, salt="", retry_after=3) == 10
    assert delay_seconds(retry, 2, salt="", retry_after=400) == 400, "even beyond max_delay"
    assert delay_seconds(retry, 2, salt="", retry_after=1e9) == MAX_RETRY_AFTER_SECONDS


def test_a_hundredth_attempt_does_not_overflow():
    assert delay_seconds(Retry(multiplier=100.0, jitter=False), 100, salt="") == 300


def test_the_event_tells_the_delay_that_the_policy_gives():
    policy = {"max_attempts": 4, "initial_delay": "2s", "backoff": "linear", "jitter": False}
    run = execution_of("a", a={"retry": policy}).started()
    told = []
    for _ in range(3):
        run = run.failed("a")
        told.append((run.events[0].delay_seconds, (run.events[0].due - run.now).total_seconds()))
        run = run.retried("a")

    assert told == [(2, 2), (4, 4), (6, 6)]


def test_the_agent_may_ask_for_a_longer_wait():
    run = execution_of("a").started().failed("a", retry_after=120)

    assert run.events[0].delay_seconds == 120
