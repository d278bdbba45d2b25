"""The commands `neuraltuning analyse ...`. Each imports what it runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuraltuning.analysis.results import ATTENTION, COST, NEURONS
from neuraltuning.errors import InputError
from neuraltuning.interruption import interruptible

if TYPE_CHECKING:
    from neuraltuning.model_settings import ModelSettings

app = typer.Typer(help="Look into tuned models: neurons, attention, cost.", no_args_is_help=True)

AGAIN = "Nothing was written: run the same command again to start over."

Split = Annotated[str, typer.Option(help="Split whose examples are read.")]


@app.command()
def neurons(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that was tuned by neural tuning.")],
    split: Split = "validation",
    samples: Annotated[int, typer.Option(min=1, help="Images, each with one example of each task.")] = 48,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the tokens from which on a neuron is active for a task.")
    ] = 0.5,
    own_replies: Annotated[
        bool, typer.Option("--own-replies", help="Count over what the model replies, not over the true replies.")
    ] = False,
    related: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK+TASK", help="Pair of related tasks; referring and reasoning segmentation."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results; RUN/analysis by default.")] = None,
) -> None:
    """Count which neurons each task uses, and test whether related tasks share more."""
    with interruptible(AGAIN):
        pairs = None if related is None else [_pair(text) for text in related]

        from neuraltuning.analysis.neurons import RELATED, analyse_neurons
        from neuraltuning.analysis.neurons_files import summary, write_neurons

        with _progress() as report:
            found, rates = analyse_neurons(
                run,
                split=split,
                samples=samples,
                threshold=threshold,
                own_replies=own_replies,
                related=(RELATED,) if pairs is None else pairs,
                report=report,
            )
        path = write_neurons(output or NEURONS.in_run(run).parent, found, rates)
        typer.echo("\n".join(summary(found)))
        typer.echo(path)


@app.command()
def attention(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or a model's own folder.")],
    image: Annotated[Path | None, typer.Option(help="The picture that the text is about.")] = None,
    text: Annotated[str | None, typer.Option(help='The request: "Please segment the cat."')] = None,
    reply: Annotated[str | None, typer.Option(help="The reply to look into; the model's own by default.")] = None,
    split: Annotated[str | None, typer.Option(help="In place of a picture: a split's true replies.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples of the split.")] = 32,
    word: Annotated[list[str] | None, typer.Option(help="A word of the reply to follow beside <OBJ>.")] = None,
    layer: Annotated[int | None, typer.Option(min=0, help="Layer whose heads are drawn one by one, from 0.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results; RUN/analysis/attention by default.")
    ] = None,
) -> None:
    """Draw where <OBJ> and words of a reply look in the image."""
    if (split is None) == (image is None):
        raise InputError("Give either --image with --text, or --split.")
    if (text is None) != (image is None) or (image is None and (reply is not None or word)):
        raise InputError(
            '--image needs --text "Please segment the cat."; --text, --reply and --word go with an --image.'
        )
    with interruptible(AGAIN):
        from neuraltuning.analysis.attention import RESULT, analyse_attention, ask, open_model, split_replies, summary
        from neuraltuning.data.images import open_image

        picture = None if image is None else open_image(image)
        replies = [] if split is None else split_replies(run, split, samples)
        model = open_model(run)
        if picture is not None and image is not None and text is not None:
            replies = [ask(model, picture, text, reply, image.name)]
        folder = output or ATTENTION.in_run(run).parent
        with _progress() as report:
            found = analyse_attention(model, replies, folder, words=word or (), layer=layer, report=report)
        typer.echo("\n".join(summary(found)))
        typer.echo(folder / RESULT)


@app.command()
def cost(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|CONFIG]", help="A run's folder, whose model is measured too, or a YAML file of configs/."
        ),
    ] = None,
    llm: Annotated[str | None, typer.Option(help="llama2-7b, llama2-13b, or a folder with a config.json.")] = None,
    encoder: Annotated[str | None, typer.Option(help="clip-vit-large-patch14, or a folder.")] = None,
    image_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an image; the encoder's.")] = None,
    text_tokens: Annotated[int, typer.Option(min=1, help="Tokens of prompt and reply.")] = 100,
    split: Annotated[str, typer.Option(help="Split of the example that a run's model is measured on.")] = "validation",
    output: Annotated[Path | None, typer.Option(help="JSON file; RUN/analysis/cost.json of a run.")] = None,
) -> None:
    """Count what a pass costs, by parts and tuning methods; without weights, for LLaMA2-7B with CLIP-ViT-L/14."""
    if run is not None and run.is_dir() and (llm is not None or encoder is not None):
        raise InputError("A run has its own --llm and --encoder; give its configuration file to change them.")
    with interruptible(AGAIN):
        from rich.console import Console

        from neuraltuning.analysis.cost_report import cost_record, cost_tables
        from neuraltuning.analysis.known_models import is_papers_pair
        from neuraltuning.analysis.system_cost import system_costs
        from neuraltuning.files import write_json

        settings = _model_settings(run, llm, encoder)
        costs = system_costs(settings, image_tokens=image_tokens, text_tokens=text_tokens)
        measured = None
        if run is not None and run.is_dir():
            from neuraltuning.analysis.measured_cost import measure_cost

            measured = measure_cost(run, split)
            output = output or COST.in_run(run)
        papers = is_papers_pair(settings.llm, settings.encoder)
        record = cost_record(settings.llm, settings.encoder, text_tokens, costs, measured, papers=papers)
        Console(width=140).print(cost_tables(record), highlight=False)
        if output is not None:
            write_json(output, record)
            typer.echo(output)


def _model_settings(run: Path | None, llm: str | None, encoder: str | None) -> ModelSettings:
    from neuraltuning.analysis.known_models import CLIP_L, LLAMA2_7B
    from neuraltuning.model_settings import ModelSettings

    if run is None:
        # the picture decoder has no part in the pass, and its prior draws from another encoder's embeddings
        return ModelSettings(llm=llm or LLAMA2_7B, encoder=encoder or CLIP_L, decoders={"mask": {}})
    if run.is_dir():
        from neuraltuning.analysis.run_examples import run_settings

        return run_settings(run).model
    from neuraltuning.configuration import load_settings
    from neuraltuning.training.settings import RunSettings

    model = load_settings(RunSettings, run).model
    changes = {name: value for name, value in (("llm", llm), ("encoder", encoder)) if value is not None}
    return model.model_copy(update=changes)


def _pair(text: str) -> tuple[str, str]:
    first, separator, second = (part.strip() for part in text.partition("+"))
    if not separator or not first or not second or first == second:
        raise InputError(f"--related {text}: write two tasks: referring_segmentation+reasoning_segmentation.")
    return first, second


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error that takes (what is done, how many are done, of how many)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        line = progress.add_task("", total=None)
        yield lambda what, done, of: progress.update(line, description=what, completed=done, total=of)
