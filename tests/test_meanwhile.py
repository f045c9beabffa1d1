"""Work that is done beside a wait."""

from __future__ import annotations

import threading

import pytest

from hfnb import meanwhile


def test_what_is_offered_is_done_on_another_thread_before_the_wait_ends() -> None:
    begun, done = threading.Event(), list[threading.Thread]()

    def work() -> None:
        begun.wait(10)
        done.append(threading.current_thread())

    with meanwhile.offer(work), meanwhile.beside():
        assert done == []
        begun.set()
    assert len(done) == 1
    assert done[0] is not threading.current_thread()


def test_a_failure_of_the_work_is_dropped_and_one_of_the_wait_is_not() -> None:
    with meanwhile.offer(lambda: 1 / 0), meanwhile.beside():
        pass
    done = []
    with (
        pytest.raises(KeyError),
        meanwhile.offer(lambda: done.append(1)),
        meanwhile.beside(),
    ):
        raise KeyError
    assert done == [1]


def test_nothing_is_done_where_nothing_is_offered_any_more() -> None:
    done = []
    with meanwhile.offer(lambda: done.append(1)):
        pass
    with meanwhile.beside():
        pass
    assert done == []
