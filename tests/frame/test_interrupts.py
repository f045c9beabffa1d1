"""A run that is ended early leaves what was finished, and no worker."""

import signal
import threading
from typing import Any

import pandas as pd
import pytest

import hfnb
from tests.frame.support import workers

DF = pd.DataFrame({"x": range(300)}, index=range(300, 0, -1))


def interrupt_main() -> None:
    """Do what Ctrl-C does, from any thread."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def interrupted_after(rows: int, **options: Any) -> tuple[KeyboardInterrupt, hfnb.EchoEngine]:
    def answer(prompt: str) -> str:
        if engine.calls == rows:
            interrupt_main()
        return prompt

    engine = hfnb.EchoEngine(answer=answer, delay_s=0.02)
    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.run(DF, "{x}", engine, **{"progress": False, **options})
    return caught.value, engine


def check_partial(partial: Any, at_least: int) -> None:
    assert partial is hfnb.last_result()
    statuses = partial.rows["status"].tolist()
    done = statuses.count("ok")
    assert at_least <= done < len(DF)
    assert statuses == ["ok"] * done + ["cancelled"] * (len(DF) - done)
    assert partial.data["output"].tolist()[:done] == [str(x) for x in range(done)]
    assert partial.data["output"].isna().sum() == len(DF) - done
    assert partial.data.index.equals(DF.index)
    assert (partial.stats.ok, partial.stats.cancelled) == (done, len(DF) - done)
    assert partial.rows["error"].isna().all()
    assert f"{len(DF) - done} cancelled" in repr(partial)


def test_an_interrupt_keeps_the_finished_rows_and_ends_the_worker() -> None:
    interrupt, engine = interrupted_after(5)
    check_partial(interrupt.result, at_least=4)  # type: ignore[attr-defined]
    assert workers() == []
    calls = engine.calls
    assert calls < len(DF)
    assert threading.Event().wait(0.05) is False
    assert engine.calls == calls


@pytest.mark.parametrize("progress", [True, lambda progress: None])
def test_an_interrupt_under_each_display_is_the_same(progress: Any) -> None:
    interrupt, _ = interrupted_after(3, progress=progress)
    check_partial(interrupt.result, at_least=2)  # type: ignore[attr-defined]


def test_an_interrupt_inside_a_progress_function_is_the_same() -> None:
    """It was called once more to close the display, and its second interrupt lost the rest."""

    def stop(progress: hfnb.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.run(DF, "{x}", hfnb.EchoEngine(delay_s=0.02), progress=stop)
    check_partial(caught.value.result, at_least=1)  # type: ignore[attr-defined]
    assert workers() == []


def test_a_progress_function_that_fails_ends_the_run() -> None:
    """Its error came without the partial result when it failed in the last call too."""

    def fail(progress: hfnb.Progress) -> None:
        raise RuntimeError("no display")

    engine = hfnb.EchoEngine(delay_s=0.02)
    with pytest.raises(RuntimeError, match="no display") as caught:
        hfnb.run(DF, "{x}", engine, progress=fail)
    check_partial(caught.value.result, at_least=1)  # type: ignore[attr-defined]
    assert workers() == []
    assert engine.calls < len(DF)


def test_a_progress_function_that_fails_at_the_end_leaves_the_whole_result() -> None:
    def fail(progress: hfnb.Progress) -> None:
        raise RuntimeError("no display")

    with pytest.raises(RuntimeError, match="no display") as caught:
        hfnb.run(DF, "{x}", hfnb.EchoEngine(), progress=fail)
    result = caught.value.result  # type: ignore[attr-defined]
    assert result.stats.ok == len(DF)
    assert hfnb.last_result() is result


def test_a_progress_function_that_fails_does_not_hide_what_the_engine_raised() -> None:
    def answer(prompt: str) -> str:
        raise MemoryError("all gone")

    def fail(progress: hfnb.Progress) -> None:
        raise RuntimeError("no display")

    with pytest.raises(MemoryError, match="all gone"):
        hfnb.run(DF, "{x}", hfnb.EchoEngine(answer=answer), progress=fail)


def test_a_second_interrupt_does_not_wait_for_a_long_step() -> None:
    """It came out of the handler of the first one, without the partial result."""
    release = threading.Event()
    events: list[threading.Event] = []

    class Stuck(hfnb.EchoEngine):
        def generate(self, requests: Any, generation: Any, **options: Any) -> Any:
            events.append(options["cancel"])
            for completion in super().generate(requests, generation, **options):
                yield completion
                release.wait(30)

    def interrupt_twice() -> None:
        while not events:
            threading.Event().wait(0.01)
        interrupt_main()
        events[0].wait(30)
        threading.Event().wait(0.1)
        interrupt_main()

    impatient = threading.Thread(target=interrupt_twice)
    impatient.start()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            hfnb.run(DF, "{x}", Stuck(), progress=False)
        assert workers() != []
        check_partial(caught.value.result, at_least=1)  # type: ignore[attr-defined]
    finally:
        release.set()
        impatient.join()
        for thread in threading.enumerate():
            if thread.name in ("hfnb-run", "hfnb-memory"):
                thread.join()


def test_a_run_after_an_interrupt_is_whole() -> None:
    interrupted_after(2)
    result = hfnb.run(DF, "{x}", hfnb.EchoEngine(), progress=False)
    assert result.stats.ok == len(DF)
    assert hfnb.last_result() is result


def test_a_keyboard_interrupt_raised_by_users_code_in_the_worker_reaches_the_caller() -> None:
    def answer(prompt: str) -> str:
        if prompt == "2":
            raise KeyboardInterrupt
        return prompt

    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.run(DF, "{x}", hfnb.EchoEngine(answer=answer), progress=False)
    assert caught.value.result.stats.ok == 2  # type: ignore[attr-defined]
