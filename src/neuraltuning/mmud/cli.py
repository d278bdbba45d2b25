"""The commands `neuraltuning mmud ...`. Each imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuraltuning.errors import InputError, RunError
from neuraltuning.interruption import interruptible

if TYPE_CHECKING:
    from neuraltuning.mmud.annotate import Estimate
    from neuraltuning.mmud.client import Service

app = typer.Typer(
    help="Build an MMUD of your own: annotate, filter, tag, review, split, describe.", no_args_is_help=True
)

Work = Annotated[Path, typer.Argument(metavar="WORK", help="Working folder.")]
Model = Annotated[str, typer.Option(help="Name that the server calls the model by.")]
KeyVariable = Annotated[str, typer.Option(help="Environment variable that holds the server's key.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Requests under way at once.")]
RequestsPerMinute = Annotated[float | None, typer.Option(min=0.01, help="Requests a minute at most; no limit.")]
InputPrice = Annotated[float, typer.Option(min=0.0, help="Price of a million input tokens, in any currency.")]
OutputPrice = Annotated[float, typer.Option(min=0.0, help="Price of a million output tokens.")]
Budget = Annotated[float | None, typer.Option(min=0.0, help="What the folder's requests may cost; no limit.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")]
Retries = Annotated[int, typer.Option(min=0, help="Further tries after 429, 5xx, a time-out or a cut connection.")]
Prompts = Annotated[Path | None, typer.Option(help="Folder of your own prompts; the package's by default.")]


@app.command()
def annotate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data set that `neuraltuning data convert` wrote.")],
    work: Work,
    address: Annotated[str, typer.Option(help="OpenAI-compatible address: http://localhost:8000/v1")],
    model: Model,
    key_variable: KeyVariable = "OPENAI_API_KEY",
    concurrency: Concurrency = 8,
    requests_per_minute: RequestsPerMinute = None,
    input_price: InputPrice = 0.0,
    output_price: OutputPrice = 0.0,
    budget: Budget = None,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply at most.")] = 1024,
    prompts: Prompts = None,
    language: Annotated[str, typer.Option(help="Language that the prompt asks for, ISO 639-1.")] = "en",
    attempts: Annotated[int, typer.Option(min=1, help="Replies asked for until one is usable.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many of the first images.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again about images that failed.")] = False,
    max_failed: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of images without annotation that is no error.")
    ] = 0.05,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate requests, tokens and cost; send none.")] = False,
) -> None:
    """Have a vision-language model write a caption, a question and its answer for each image."""
    with interruptible("What was answered is kept: run the same command again for the rest."):
        from neuraltuning.mmud import annotate as step
        from neuraltuning.mmud.budget import Prices
        from neuraltuning.mmud.client import Service
        from neuraltuning.mmud.workspace import SETTINGS, Workspace

        service = Service(
            address=address,
            model=model,
            key_variable=key_variable,
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            timeout=timeout,
            retries=retries,
            max_tokens=max_tokens,
            prices=Prices(input_price, output_price),
            budget=budget,
        )
        settings = step.Settings(
            prompts=prompts, language=language, attempts=attempts, limit=limit, retry_failed=retry_failed
        )
        if dry_run:
            with tempfile.TemporaryDirectory() as temporary:  # a folder is begun by what is not only asked for
                folder = work if (work / SETTINGS).is_file() else Path(temporary)
                _print_estimate(step.estimate(Workspace.create(folder, data), service, settings), service)
            return
        workspace = Workspace.create(work, data)
        summary = step.annotate(workspace, service, settings)
        if reasons := summary.reasons():
            _print_shares(("no annotation because", "images"), reasons.most_common(), summary.images)
        cost = f", cost {summary.spent:.2f}" if service.prices.known else ""
        typer.echo(f"Annotated {summary.annotated:,} of {summary.images:,} images{cost}: {workspace.annotations.path}")
        if summary.missing > max_failed:
            first = next((f", the first is {f.id} ({f.reason}: {f.detail})" for f in summary.failures.values()), "")
            raise RunError(
                f"{summary.images - summary.annotated:,} of {summary.images:,} images have no annotation, more than "
                f"{max_failed:.0%} (--max-failed): see {workspace.failures.path}{first}. Run again for those that "
                "were not answered, with --retry-failed for the others too."
            )


@app.command("filter")
def filter_(
    work: Work,
    rules: Annotated[str, typer.Option(help="Rules to apply.")] = "meaningless,length,blind",
    address: Annotated[
        str | None, typer.Option(help="OpenAI-compatible address of a text-only model; the embedded one by default.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name that the server calls the model by.")] = None,
    key_variable: KeyVariable = "OPENAI_API_KEY",
    concurrency: Concurrency = 8,
    requests_per_minute: RequestsPerMinute = None,
    input_price: InputPrice = 0.0,
    output_price: OutputPrice = 0.0,
    budget: Budget = None,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 256,
    prompts: Prompts = None,
) -> None:
    """Reject annotations that are meaningless, too short or long, or answerable without the image."""
    if (address is None) != (model is None):
        raise InputError("Give --address and --model together, or neither for the embedded model.")
    with interruptible("What was judged is kept: run the same command again for the rest."):
        from neuraltuning.mmud import filter as step
        from neuraltuning.mmud.budget import Prices
        from neuraltuning.mmud.client import Service
        from neuraltuning.mmud.workspace import Workspace

        service = None
        if address is not None and model is not None:
            service = Service(
                address=address,
                model=model,
                key_variable=key_variable,
                concurrency=concurrency,
                requests_per_minute=requests_per_minute,
                timeout=timeout,
                retries=retries,
                max_tokens=max_tokens,
                prices=Prices(input_price, output_price),
                budget=budget,
            )
        workspace = Workspace(work)
        summary = step.filter_annotations(workspace, step.parse_rules(rules), service, prompts)
        rows = [*((rule, summary.rejected[rule]) for rule in step.RULES), ("kept", summary.kept)]
        _print_shares(("rejected by", "annotations"), rows, summary.verdicts)
        cost = f", cost {summary.spent:.2f}" if service is not None and service.prices.known else ""
        typer.echo(f"Kept {summary.kept:,} of {summary.verdicts:,} annotations{cost}: {workspace.verdicts.path}")
        if summary.open:
            raise RunError(
                f"{summary.open:,} annotations have no verdict, because the model at {address} gave no answer: see "
                f"{workspace.blind_failures.path}, then run the same command again."
            )


def _print_estimate(estimate: Estimate, service: Service) -> None:
    typer.echo(
        f"{estimate.left:,} of {estimate.images:,} images are left: {estimate.left:,} requests, more where replies "
        "can't be used. Nothing was sent."
    )
    typer.echo(
        f"About {estimate.input_tokens:,} input tokens and {estimate.output_tokens:,} output tokens, "
        f"{estimate.most_output_tokens:,} with the longest replies."
    )
    if service.prices.known:
        budget = "" if service.budget is None else f", budget {service.budget:.2f}"
        typer.echo(
            f"Cost: about {estimate.cost:.2f}, with the longest replies {estimate.most:.2f}; spent before "
            f"{estimate.spent:.2f}{budget}."
        )


def _print_counts(*rows: tuple[str, int]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "count")
    for name, count in rows:
        table.add_row(name, f"{count:,}")
    Console().print(table)


def _print_shares(titles: tuple[str, str], rows: Iterable[tuple[str, int]], total: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, "share")
    for name, count in rows:
        table.add_row(name, f"{count:,}", f"{count / max(total, 1):.1%}")
    Console().print(table)


@app.command()
def tag(work: Work) -> None:
    """Put <OBJ-i> behind each mention of an annotated object in the answers that the filter kept."""
    with interruptible("What was tagged is kept: run the same command again for the rest."):
        from neuraltuning.mmud.tag import tag_answers
        from neuraltuning.mmud.workspace import Workspace

        workspace = Workspace(work)
        summary = tag_answers(workspace)
        if not summary.filtered:
            typer.echo("`neuraltuning mmud filter` did not run: all annotations are tagged.", err=True)
        elif summary.waiting:
            typer.echo(
                f"{summary.waiting:,} annotations have no verdict yet and are left: run neuraltuning mmud filter.",
                err=True,
            )
        _print_counts(
            ("items tagged", summary.items),
            ("items without any tag", summary.without_tag),
            ("tags placed", summary.tags),
            ("objects without a mention", summary.unplaced),
            ("unclear mentions", summary.unclear),
        )
        typer.echo(workspace.taggings.path)


@app.command("score-tags")
def score_tags(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="JSON-lines file of hand-tagged answers, a data set, or scenes.")
    ],
    split: Annotated[str, typer.Option(help="Split of a data set.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many of its first images.")] = None,
) -> None:
    """Score the tagger against answers that people have tagged."""
    from neuraltuning.data.source import open_split
    from neuraltuning.mmud import tag_score

    if Path(source).is_file():
        answers = tag_score.read_tagged(Path(source))
    else:
        answers = tag_score.tagged_answers(open_split(source, split, seed=0, size=limit))
    found = tag_score.score_tags(answers)
    _print_counts(
        ("answers", found.answers),
        ("tags set by hand", found.expected),
        ("tags placed", found.placed),
        ("of these right", found.right),
    )
    typer.echo(f"precision {found.precision:.3f}, recall {found.recall:.3f}")


@app.command()
def review(
    work: Work,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on this computer; 0 takes a free one.")] = 8765,
    reviewer: Annotated[str, typer.Option(help="Your name; the page asks by default.")] = "",
) -> None:
    """Check what was tagged on a local web page: accept, edit, move or delete tags, reject with a reason."""
    from neuraltuning.mmud.review.queue import ReviewQueue
    from neuraltuning.mmud.review.server import serve
    from neuraltuning.mmud.workspace import Workspace

    queue = ReviewQueue(Workspace(work))

    def ready(address: str) -> None:
        typer.echo(f"{len(queue.items):,} items to review at {address} (Ctrl-C ends; every decision is kept)")

    with interruptible("Every decision is kept: run the same command again to go on."):
        serve(queue, port, reviewer, ready)


@app.command("review-agreement")
def review_agreement(work: Work) -> None:
    """Say how far reviewers agree: on accepting, and on the tags of what both accepted."""
    from rich.console import Console
    from rich.table import Table

    from neuraltuning.mmud.review.agreement import agreement
    from neuraltuning.mmud.review.queue import ReviewQueue
    from neuraltuning.mmud.workspace import Workspace

    found = agreement(ReviewQueue(Workspace(work)).decisions())
    for name, counts in found.decisions.items():
        typer.echo(f"{name}: {counts['accept']:,} accepted, {counts['reject']:,} rejected")
    if not found.pairs:
        typer.echo("No item was reviewed by two people yet.")
        return
    table = Table("", "items", "equal", "kappa", "both accept", "same tags")
    rows = [(" and ".join(pair.reviewers), pair) for pair in found.pairs]
    for name, pair in rows + ([("all", found.together)] if len(rows) > 1 else []):
        shares = ["-" if share is None else f"{share:.0%}" for share in (pair.equal, pair.tags)]
        kappa = "-" if pair.kappa is None else f"{pair.kappa:.2f}"
        table.add_row(name, f"{pair.items:,}", shares[0], kappa, f"{pair.both_accepted:,}", shares[1])
    Console(width=120, markup=False).print(table)


@app.command("review-export")
def review_export(
    work: Work,
    tasks: Annotated[Path, typer.Argument(metavar="TASKS", help="JSON file for the tasks.")],
) -> None:
    """Write what was tagged as tasks for Label Studio, with masks and tags, and the labelling configuration beside."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.mmud.review.label_studio_export import export_tasks
        from neuraltuning.mmud.review.queue import ReviewQueue
        from neuraltuning.mmud.workspace import Workspace

        queue = ReviewQueue(Workspace(work))
        configuration = export_tasks(queue, tasks)
        typer.echo(f"{len(queue.items):,} tasks: {tasks}")
        typer.echo(f"labelling configuration: {configuration}")


@app.command("review-import")
def review_import(
    work: Work,
    annotations: Annotated[Path, typer.Argument(metavar="ANNOTATIONS", help="Label Studio's export, as JSON.")],
) -> None:
    """Take over what people did in Label Studio with the tasks of `review-export`."""
    with interruptible("What was imported is kept: run the same command again to go on."):
        from neuraltuning.mmud.review.label_studio_import import import_annotations
        from neuraltuning.mmud.review.queue import ReviewQueue
        from neuraltuning.mmud.workspace import Workspace

        outcome = import_annotations(ReviewQueue(Workspace(work)), annotations)
        typer.echo(
            f"{outcome.imported:,} reviews imported, {outcome.known:,} were known; {outcome.skipped:,} annotations "
            f"were skipped by their annotators, {outcome.unanswered:,} tasks have none"
        )
        if outcome.masks:
            typer.echo(f"{outcome.masks:,} have masks drawn or deleted; masks are not imported.", err=True)
        for problem in outcome.problems:
            typer.echo(problem, err=True)
        if outcome.problems:
            raise RunError(
                f"{len(outcome.problems):,} could not be imported, listed above; mend them in Label Studio, export and "
                "import again."
            )


@app.command()
def split(
    work: Work,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder for the data set.")],
    validation: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the items; MMUD's is 0.0385.")] = 0.0385,
    test: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the items; MMUD's is 0.0385.")] = 0.0385,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the division.")] = 0,
    keep_splits: Annotated[
        bool, typer.Option("--keep-splits", help="Leave each image in the split that it came from.")
    ] = False,
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Take what nobody reviewed too.")] = False,
) -> None:
    """Write what was kept, tagged and accepted as a data set that `tune` and `evaluate` read."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.data.convert import MANIFEST, summary
        from neuraltuning.mmud.split import split as run_split

        manifest = run_split(
            work,
            target,
            validation=validation,
            test=test,
            seed=seed,
            keep_splits=keep_splits,
            unreviewed=unreviewed,
        )
        typer.echo("\n".join(summary(manifest)))
        for reason, count in manifest["built"]["left_out"].items():
            typer.echo(f"{count:,} items are left out: {reason}", err=True)
        typer.echo(target / MANIFEST)


@app.command()
def describe(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder of a data set.")],
) -> None:
    """Write a data card for a data set: counts, figure A.7, licences, the models used and known limits."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.mmud.describe import describe as run_describe

        typer.echo(run_describe(target))
