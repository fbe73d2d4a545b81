"""Signed-in browsers and the brake on guessing."""

import pytest

from gateway.api.browser import (
    IDLE_SECONDS,
    LIFETIME_SECONDS,
    SESSIONS_PER_USER,
    BrowserSessions,
    Throttle,
)
from tests.gateway.management import SteppedClock


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def sessions(clock: SteppedClock) -> BrowserSessions:
    return BrowserSessions(clock)


@pytest.fixture
def throttle(clock: SteppedClock) -> Throttle:
    return Throttle(clock)


class TestSessions:
    def test_a_cookie_finds_its_session(self, sessions: BrowserSessions) -> None:
        cookie, session = sessions.open("carol")
        assert sessions.find(cookie) is session
        assert session.user == "carol"
        assert len(cookie) > 40
        assert cookie != session.csrf

    @pytest.mark.parametrize("cookie", ["", "x", "\x80" * 99])
    def test_nobody_is_found_by_a_made_up_cookie(self, sessions: BrowserSessions, cookie: str) -> None:
        sessions.open("carol")
        assert sessions.find(cookie) is None

    def test_a_closed_session_is_gone(self, sessions: BrowserSessions) -> None:
        cookie, _ = sessions.open("carol")
        sessions.close(cookie)
        sessions.close(cookie)
        assert sessions.find(cookie) is None

    def test_an_idle_session_ends_and_a_used_one_goes_on(
        self, sessions: BrowserSessions, clock: SteppedClock
    ) -> None:
        cookie, _ = sessions.open("carol")
        for _ in range(3):
            clock.ahead += IDLE_SECONDS - 1
            assert sessions.find(cookie)
        # To look without using it keeps nobody signed in.
        clock.ahead += IDLE_SECONDS - 1
        assert sessions.find(cookie, touch=False)
        clock.ahead += 2
        assert sessions.find(cookie) is None

    def test_no_session_lasts_for_ever(self, sessions: BrowserSessions, clock: SteppedClock) -> None:
        cookie, _ = sessions.open("carol")
        while clock.ahead + IDLE_SECONDS / 2 < LIFETIME_SECONDS:
            clock.ahead += IDLE_SECONDS / 2
            assert sessions.find(cookie)
        clock.ahead += IDLE_SECONDS / 2 + 1
        assert sessions.find(cookie) is None

    def test_a_user_has_so_many_browsers(self, sessions: BrowserSessions) -> None:
        first, _ = sessions.open("carol")
        other, _ = sessions.open("dave")
        cookies = [sessions.open("carol")[0] for _ in range(SESSIONS_PER_USER)]
        assert sessions.find(first) is None
        assert all(sessions.find(cookie) for cookie in (other, *cookies))

    def test_there_are_only_so_many_sessions(
        self, sessions: BrowserSessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.api.browser.SESSIONS", 3)
        cookies = [sessions.open(f"user{number}")[0] for number in range(4)]
        assert [sessions.find(cookie) is not None for cookie in cookies] == [False, True, True, True]

    def test_sessions_that_are_over_are_forgotten(
        self, sessions: BrowserSessions, clock: SteppedClock
    ) -> None:
        cookie, _ = sessions.open("carol")
        clock.ahead += IDLE_SECONDS + 1
        sessions.open("dave")
        clock.ahead -= IDLE_SECONDS + 1
        assert sessions.find(cookie) is None

    def test_the_csrf_token_is_compared_whole(self, sessions: BrowserSessions) -> None:
        _, session = sessions.open("carol")
        assert session.csrf_matches(session.csrf)
        for wrong in (None, "", session.csrf[:-1], session.csrf + "x", "ü"):
            assert not session.csrf_matches(wrong)


class TestThrottle:
    def test_the_first_failures_are_free_and_then_each_waits_longer(
        self, throttle: Throttle, clock: SteppedClock
    ) -> None:
        assert [throttle.begin("carol", "10.0.0.1") for _ in range(5)] == [0.0] * 5
        waits = []
        for _ in range(12):
            wait = throttle.begin("carol", "10.0.0.1")
            assert wait > 0
            waits.append(round(wait))
            clock.ahead += wait + 0.01
            assert throttle.begin("carol", "10.0.0.1") == 0.0
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]

    def test_others_and_elsewhere_are_not_slowed_down(self, throttle: Throttle) -> None:
        for _ in range(6):
            throttle.begin("carol", "10.0.0.1")
        assert throttle.begin("carol", "10.0.0.1") > 0
        assert throttle.begin("dave", "10.0.0.1") == 0.0
        assert throttle.begin("carol", "10.0.0.2") == 0.0

    def test_one_password_for_every_user_is_slow_too(self, throttle: Throttle) -> None:
        waits = [throttle.begin(f"user{number}", "10.0.0.1") for number in range(60)]
        assert waits[:50] == [0.0] * 50
        assert all(wait > 0 for wait in waits[50:])

    def test_success_forgives(self, throttle: Throttle) -> None:
        for _ in range(30):
            assert throttle.begin("carol", "10.0.0.1") == 0.0
            throttle.succeeded("carol", "10.0.0.1")
        throttle.succeeded("nobody", "10.0.0.9")

    def test_after_a_while_it_is_forgotten(self, throttle: Throttle, clock: SteppedClock) -> None:
        for _ in range(6):
            throttle.begin("carol", "10.0.0.1")
        clock.ahead += 901.0
        assert [throttle.begin("carol", "10.0.0.1") for _ in range(5)] == [0.0] * 5

    def test_it_remembers_only_so_many(self, throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Throttle, "REMEMBERED", 10)
        for number in range(100):
            throttle.begin("carol", f"10.0.0.{number}")
        assert len(throttle._attempts) == 10
