"""What a person sees first of a run in MLflow: the note on top of its page, and a report that is one file."""

from collections.abc import Iterator, Mapping

from ratespike.analysis import markup, web_page
from ratespike.config.invocation import command_line
from ratespike.config.job import Job
from ratespike.config.naming import asked_for
from ratespike.config.relevance import affects_result
from ratespike.config.schemas import EvaluateConfig, RunConfig
from ratespike.metrics import Results
from ratespike.parameters import flat
from ratespike.pipeline import summary
from ratespike.tracking.runs import REPORT, Run
from ratespike.tracking.views import artifact_page


def note_of_run(job: Job[RunConfig], run: Run, results: Results) -> str:
    """The command, the results in a line and a link to the report, in Markdown; MLflow folds what is longer."""
    report = markup.link("report: results, settings that differ, figures", artifact_page(run, REPORT))
    return "\n\n".join([markup.code(_command(job)), summary.in_words(results), report])


def page_of_run(job: Job[RunConfig], run: Run, results: Results, figures: Mapping[str, bytes], *, is_slice: bool) -> str:
    """A page in HTML with the run's results, its settings and its figures.

    Args:
        job: its configuration.
        run: the run, for its name and how long it took.
        results: on the test images.
        figures: the content of PNG files, by name.
        is_slice: whether only some of the test images were used.
    """
    default = "the run whose network it simulates" if _is_evaluation(job) else "the command without arguments"
    changed = list(changed_settings(job))
    images = f"{results.n_images} test images{', a slice' * is_slice}"
    parts = [
        web_page.command(_command(job)),
        web_page.paragraph(f"{images}; run {run.id} in experiment {run.experiment}"),
        web_page.table(summary.rows(results, run)),
        web_page.heading(f"Settings that differ from those of {default}"),
        web_page.table(changed, header=("setting", "here", "there")) if changed else web_page.paragraph("none"),
        web_page.heading("Figures"),
        *web_page.pictures(figures),
    ]
    return web_page.page(run.name, parts)


def changed_settings(job: Job[RunConfig]) -> Iterator[tuple[str, str, str]]:
    """The settings that differ from those of the same command without arguments: name, value, value there.

    Args:
        job: its configuration, and that of the command without arguments; an evaluation's are those of its network's run.
    """
    default = dict(flat(job.default))
    for name, value in flat(job.plain):
        if affects_result(name) and default.get(name) != value:
            yield name, str(value), str(default.get(name, ""))


def _command(job: Job[RunConfig]) -> str:
    return command_line("evaluate" if _is_evaluation(job) else "train", asked_for(job.overrides)).rstrip()


def _is_evaluation(job: Job[RunConfig]) -> bool:
    return isinstance(job.config, EvaluateConfig)
