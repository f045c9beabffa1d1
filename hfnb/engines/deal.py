"""Deal a call's requests out to several engines as they draw them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from hfnb.engines.base import Request

MOST_HELD = 1024
"""Requests that lie before one engine while another one draws; of more, half go to that one."""


class Deal:
    """Requests, dealt out in turn, so that each engine gets some however eagerly another draws.

    They are read only as they are needed. An engine that is quicker takes over what lies before a
    slower one, so that neither waits and no more than `MOST_HELD` for each are in memory.

    Args:
        requests: All of them, in order.
        engines: How many engines there are.
    """

    def __init__(self, requests: Iterable[Request], engines: int) -> None:
        self._source = iter(requests)
        self._hands = [deque[Request]() for _ in range(engines)]
        self._under_way = [False] * engines
        self._lock = threading.Lock()

    def hand(self, at: int) -> Iterator[Request]:
        """Yield the requests of one engine, in a thread of its own."""
        while (request := self._next(at)) is not None:
            yield request

    def answered(self, at: int) -> None:
        """Note that an engine has answered: what it draws from now on, it draws for want of rows.

        Its first ones it may draw by the hundred, while the others have not even begun.
        """
        self._under_way[at] = True

    def _next(self, at: int) -> Request | None:
        with self._lock:
            own = self._hands[at]
            if not own:
                self._fill(own, takes_over=self._under_way[at])
            return own.popleft() if own else None

    def _fill(self, own: deque[Request], *, takes_over: bool) -> None:
        fullest = max(self._hands, key=len)
        if len(fullest) < MOST_HELD:
            for hand, request in zip(self._hands, self._source, strict=False):
                hand.append(request)
        if not own and (takes_over or len(fullest) >= MOST_HELD):
            own.extend(fullest.popleft() for _ in range(len(fullest) // 2))
