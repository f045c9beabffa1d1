"""How far the workers are with the rows that they compute now, and whether they should stop.

One small actor beside the driver. Workers write to it a few times a second, the driver reads it.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

from hfnb.frame.progress import Progress
from hfnb.frame.runner import Run


class Under(NamedTuple):
    """A block that was begun, and that the driver does not have yet."""

    done: int
    failed: int
    reused: int
    answered: int


class Board:
    """What the actor holds."""

    def __init__(self) -> None:
        self._under: dict[str, Under] = {}
        self._stop = False

    def post(self, block: str, under: Under) -> bool:
        """Note how far a block is; return whether to stop."""
        self._under[block] = under
        return self._stop

    def end(self, block: str) -> None:
        """Forget a block: the driver has it, or it failed."""
        self._under.pop(block, None)

    def read(self) -> dict[str, Under]:
        """Return the blocks that were begun, and that the driver does not have yet."""
        return dict(self._under)

    def stop(self) -> dict[str, Under]:
        """Have the workers stop; return what the driver is still to get from them."""
        self._stop = True
        return dict(self._under)


def open_board() -> Any:
    """Start the actor on the driver's node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(Board)
        .options(
            num_cpus=0,
            max_restarts=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
        )
        .remote()
    )


class Poster:
    """A display that posts a block's progress to the board, and ends its run when told to.

    Args:
        board: The actor.
        block: What the block is called.
        run: Its run.
    """

    _WAIT_S = 2.0

    def __init__(self, board: Any, block: str, run: Run) -> None:
        self._board = board
        self._block = block
        self._run = run

    def update(self, progress: Progress) -> None:
        """Post how far the run is."""
        if told_to_stop(self._board, self._block, progress):
            self._run.cancel()

    def close(self, progress: Progress) -> None:
        """Post how far the run came."""
        self.update(progress)


def told_to_stop(board: Any, block: str, progress: Progress | None = None) -> bool:
    """Post how far a block is, and return whether to stop. Without a board nothing stops it."""
    import ray

    under = Under(0, 0, 0, 0)
    if progress is not None:
        under = Under(progress.done, progress.failed, progress.reused, progress.answered)
    # The board may be starting again: a block is worth more than its progress.
    with contextlib.suppress(ray.exceptions.RayError):
        return bool(ray.get(board.post.remote(block, under), timeout=Poster._WAIT_S))
    return False
