"""The report of a sweep: a page in HTML that is one file, with its groups, its figures and its jobs."""

from collections.abc import Mapping, Sequence

from ratespike.analysis import Comparison, web_page
from ratespike.analysis.tables import FRONT, columns, front, heading, notes
from ratespike.metrics import names
from ratespike.tracking.runs import Entity, Run
from ratespike.tracking.status import ERROR

STEPS_COMPARED = (5, 10, 20, 30)
_OF_A_JOB = (names.RATE_ACCURACY, names.SPIKING_ACCURACY, names.SYNAPTIC_OPERATIONS, names.OPERATIONS_OVER_PLAIN)


def page_of_sweep(parent: Run, best: str, comparison: Comparison, figures: Mapping[str, bytes], jobs: Sequence[Entity]) -> str:
    """A page in HTML of a sweep.

    Args:
        parent: the sweep's run.
        best: what to say of its best run.
        comparison: of the jobs that have finished.
        figures: the content of PNG files, by name.
        jobs: all runs below the parent.
    """
    shown = columns(comparison, STEPS_COMPARED)
    header, rows = front(comparison)
    groups = [[column.cell(group) for column in shown] for group in comparison.groups]
    parts = [
        web_page.paragraph(best),
        web_page.heading(heading(comparison)),
        web_page.table(groups, header=[column.title for column in shown]),
        *map(web_page.paragraph, notes(comparison)),
        *([web_page.paragraph(FRONT), web_page.table(rows, header=header)] if len(rows) > 1 else []),
        web_page.heading("Figures"),
        *web_page.pictures(figures),
        web_page.heading("Jobs"),
        web_page.table(map(_cells, jobs), header=["job", "status", *(metric.label for metric in _OF_A_JOB), "run", "error"]),
    ]
    return web_page.page(parent.name, parts)


def _cells(job: Entity) -> list[str]:
    """The row of a job; what it has not measured is empty."""
    measured = []
    for metric in _OF_A_JOB:
        value = job.data.metrics.get(f"test/{metric.name}")
        measured.append("" if value is None else metric.unit.show(value))
    return [job.info.run_name, job.info.status, *measured, job.info.run_id, job.data.tags.get(ERROR, "")]
