"""What `hfnb.run` calls for ``engine="ray"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfnb.frame.given import Given
from hfnb.frame.prepare import Checked
from hfnb.frame.progress import Display
from hfnb.frame.result import RunResult, follow, follow_parts
from hfnb.journal_file import default_path
from hfnb.ray.cluster import Workers, check_ray, join
from hfnb.ray.options import ClusterOptions
from hfnb.ray.quiet import quiet
from hfnb.ray.rows import ClusterRows, read_rows


def place(options: Mapping[str, Any]) -> RayPlace:
    """Return a Ray cluster as a place for runs; it is joined when a run begins.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: An option is wrong.
    """
    check_ray()
    return RayPlace(ClusterOptions.of(options))


class RayPlace:
    """A Ray cluster, as `hfnb.frame.elsewhere.Place` has it."""

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options

    def read(
        self, given: Any, columns: tuple[str, ...], *, out: object, limit: int | None
    ) -> Given:
        """Find out what was given as rows; see `read_rows`."""
        return read_rows(given, columns, out=out, limit=limit)

    def run(self, checked: Checked, display: Display, *, part_rows: int | None) -> Any:
        """Run, wait for the end, and keep the result as the last one."""
        from hfnb.ray.model import portable

        portable(checked.model)  # before a cluster is started
        reading = isinstance(checked.given.source, ClusterRows)
        workers = join(self._options, reading=reading)
        with quiet():
            return self._run(checked, display, workers, part_rows)

    def _run(
        self, checked: Checked, display: Display, workers: Workers, part_rows: int | None
    ) -> Any:
        from hfnb.ray.dataset_run import DatasetRun
        from hfnb.ray.frame_run import FrameRun
        from hfnb.ray.parts_run import PartsRun, part_rows_of, resume_of
        from hfnb.ray.task import task_for

        own_journal = checked.job.journal == default_path()
        source, out = checked.given.source, checked.given.out
        if not isinstance(source, ClusterRows):
            task = task_for(checked, "frame", num_cpus=workers.num_cpus, own_journal=own_journal)
            return follow(RunResult(FrameRun(checked, task, workers)), display)
        if out is None:
            task = task_for(checked, "dataset", num_cpus=workers.num_cpus, own_journal=own_journal)
            run = DatasetRun(
                checked,
                task,
                workers,
                part_rows=part_rows,
                ordered=self._options.preserve_order,
            )
            return follow_parts(run.run, display)
        size = part_rows_of(checked, source, out, part_rows)
        task = task_for(
            checked,
            "parts",
            num_cpus=workers.num_cpus,
            own_journal=own_journal,
            resume=resume_of(source, out, size),
        )
        return follow_parts(PartsRun(checked, task, workers).run, display)
