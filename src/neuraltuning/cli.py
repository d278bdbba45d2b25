"""The command line: parses, calls, prints. Each command imports what it runs, so that `--help` answers at once.

neuraltuning tune configs/quickstart.yaml --output runs/quickstart
neuraltuning evaluate runs/quickstart
neuraltuning report runs/quickstart
neuraltuning predict runs/quickstart --image cat.jpg --text "Please segment the cat." --out answers
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from neuraltuning import __version__
from neuraltuning.ablation.cli import ablate
from neuraltuning.analysis.cli import app as analyse_app
from neuraltuning.errors import InputError, NeuralTuningError, RunError
from neuraltuning.export.cli import export
from neuraltuning.interruption import interruptible
from neuraltuning.memory import keep_freed_memory
from neuraltuning.mmud.cli import app as mmud_app
from neuraltuning.serving.cli import serve
from neuraltuning.serving.demo.cli import demo

if TYPE_CHECKING:
    from neuraltuning.model import MultitaskModel
    from neuraltuning.prediction import Model
    from neuraltuning.prediction_requests import Request, RequestsFile

app = typer.Typer(
    name="neuraltuning",
    help="Tune one frozen language model to segment, reason, caption and draw.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Make data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(mmud_app, name="mmud")
app.command()(serve)
app.command()(demo)
app.command()(ablate)
app.command()(export)
app.add_typer(analyse_app, name="analyse")

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `neuraltuning tune` wrote.")]
ModelFolder = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder that `neuraltuning tune` wrote, or a model's own folder.")
]


def main() -> None:
    """Entry point: a user's error becomes one sentence on standard error and an exit status."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("neuraltuning").setLevel(logging.INFO)
    # peft imports it wherever it is installed, and it warns of a kernel that nothing here needs
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.warnoptions:  # what libraries say to each other's authors
        warnings.simplefilter("ignore", FutureWarning)
    try:
        app()
    except NeuralTuningError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        if not _is_disk_full(error):
            raise
        _fail("The disk is full: free some space, then run the command again.", RunError.exit_code)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"neuraltuning {__version__}")
        raise typer.Exit


@app.command()
def tune(
    configuration: Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the run, see configs/.")],
    output: Annotated[Path, typer.Option(help="Folder for the model, its checkpoints and logs.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: tuning.steps=20.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
) -> None:
    """Tune a model as a configuration says."""
    keep_freed_memory()
    with interruptible("Run the same command with --resume to go on from the last checkpoint."):
        from neuraltuning.configuration import load_settings
        from neuraltuning.training.settings import RunSettings

        settings = load_settings(RunSettings, configuration, overrides or ())

        from neuraltuning.training.run import tune as run_tuning

        typer.echo(run_tuning(settings, output, resume))


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to score; give it once for each. By default those of the run's configuration."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score only so many samples of a split.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for metrics.json; the run's by default.")] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(help="Compare drawn pictures in Inception-v3's features, of this file's weights.")
    ] = None,
) -> None:
    """Score a run's model on freely generated replies and write metrics.json."""
    _check_folder(run)
    with interruptible("Run the same command again to start over."):
        from neuraltuning.evaluation.evaluator import evaluate as run_evaluation

        typer.echo(run_evaluation(run, split, limit, output or run, inception_weights=inception_weights))


@app.command()
def predict(
    model: ModelFolder,
    text: Annotated[str | None, typer.Option(help='What to do: "Please segment the cat."')] = None,
    image: Annotated[Path | None, typer.Option(help="The picture that the text is about.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures, each asked the same text.")] = None,
    requests: Annotated[Path | None, typer.Option(help="JSON-lines file of requests, see docs/prediction.md.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for masks, pictures and reply.json.")] = Path("predictions"),
    batch_size: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of drawn pictures.")] = 0,
) -> None:
    """Answer one request, or many in batches."""
    if requests is not None and (text, image, images) != (None, None, None):
        raise InputError("--requests brings its own texts and images: leave out --text, --image and --images.")
    if requests is None and text is None:
        raise InputError('Say what to do: --text "Please segment the cat.", or --requests FILE.jsonl.')
    if image is not None and images is not None:
        raise InputError("Give either --image or --images, not both.")
    _check_folder(model)

    with interruptible("What was answered is kept: run the same command again to answer the rest."):
        from neuraltuning.data.images import open_image
        from neuraltuning.prediction_answers import model_stamp
        from neuraltuning.prediction_requests import RequestsFile, folder_requests, make_request

        many: RequestsFile | list[Request]
        if requests is not None:
            many = RequestsFile(requests)
        elif images is not None:
            many = folder_requests(images, text or "", seed)
        else:
            many = []
            fields = {"text": text, "image": None if image is None else str(image), "seed": seed}
            one = make_request(fields, "--text")
            if image is not None:
                open_image(image)  # refused now rather than after the model was loaded

        from neuraltuning.device import best_device
        from neuraltuning.model import MultitaskModel
        from neuraltuning.model_folder import find_model

        folder = find_model(model)
        loaded = MultitaskModel.from_pretrained(folder).to(best_device())
        if many:
            _predict_many(loaded, many, out, batch_size, model_stamp(folder))
        else:
            _predict_one(loaded, one, out, model_stamp(folder))


@app.command()
def report(run: RunFolder) -> None:
    """Write report.html: scores, curves and pictures of a run on one page."""
    _check_folder(run)
    from neuraltuning.report.page import write_report

    typer.echo(write_report(run))


@data_app.command("scenes")
def data_scenes(
    directory: Annotated[Path, typer.Argument(help="Folder for the images and annotations of one split.")],
    split: Annotated[str, typer.Option(help="Split to write: train, validation, test, ...")] = "train",
    size: Annotated[int | None, typer.Option(min=1, help="Number of scenes; the split's own by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same one gives the same scenes.")] = 0,
) -> None:
    """Write scenes of the embedded data set to disk."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.data.scenes import write_scenes

        typer.echo(write_scenes(directory, split, size, seed))


@data_app.command("convert")
def data_convert(
    folder: Annotated[
        Path, typer.Argument(help="Folder with the published files; a ZIP, or a folder in one (a.zip/b), will do.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--from",
            help="refcoco, refcoco+, refcocog, refclef, grefcoco, mmud, reasonseg, duts, dut-omron, ecssd, "
            "coco-captions, vqav2, textvqa, snli-ve, food-101; coco, llava or jsonl for your own.",
        ),
    ],
    images: Annotated[Path, typer.Option(help="Folder with the pictures, or a ZIP.")],
    target: Annotated[Path, typer.Option("--to", help="Folder for the converted data set.")],
    split_by: Annotated[str | None, typer.Option(help="Division into splits: unc, umd, google, berkeley.")] = None,
    max_left_out: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of a split's records that may be left out.")
    ] = 0.01,
    pictures_beside: Annotated[
        bool, typer.Option("--pictures-beside", help="Keep pictures as files beside the shards, not inside.")
    ] = False,
) -> None:
    """Convert a published data set to one that `tune` and `evaluate` read."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.data.convert import MANIFEST, convert, summary

        manifest = convert(
            kind, folder, images, target, split_by=split_by, max_left_out=max_left_out, beside=pictures_beside
        )
        typer.echo("\n".join(summary(manifest)))
        for name, split in manifest["splits"].items():
            for bad in split["left_out"]:
                typer.echo(f"{name}, {bad['record']} is left out: {bad['reason']}", err=True)
        typer.echo(target / MANIFEST)


@data_app.command("check")
def data_check(
    source: Annotated[str, typer.Argument(help="Folder that `neuraltuning data convert` wrote, or its address.")],
    output: Annotated[
        Path | None,
        typer.Option(help="JSON file for the list of findings; FOLDER/check.json, or of an address ./check.json."),
    ] = None,
    configuration: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration of a run, whose model's rows the texts have to fit."),
    ] = None,
) -> None:
    """Read every record of a data set and list what would spoil a training or a score."""
    with interruptible("Nothing was changed: run the same command again to start over."):
        from rich.console import Console
        from rich.table import Table

        from neuraltuning.data.check import KINDS, check
        from neuraltuning.files import write_json

        packer, max_left_out = None, 1.0
        if configuration is not None:
            from neuraltuning.configuration import load_settings
            from neuraltuning.model import MultitaskModel
            from neuraltuning.packing import Packer
            from neuraltuning.training.settings import RunSettings

            settings = load_settings(RunSettings, configuration)
            packer = Packer(MultitaskModel.build(settings.model, settings.seed), settings.data.row_length)
            max_left_out = settings.data.max_left_out
        findings = check(source, packer, max_left_out)
        path = output or Path("." if "://" in source else source) / "check.json"
        write_json(path, findings.as_dict())
        table = Table("", *(f"{split} ({size:,})" for split, size in findings.samples.items()), "for example")
        for kind, meaning in KINDS.items():
            counts = [findings.counts[kind, split] for split in findings.samples]
            if any(counts):
                first = next(problem for problem in findings.problems if problem.kind == kind)
                example = f"{first.split}, {first.sample}: {first.detail}"
                table.add_row(f"{kind}: {meaning}", *map(str, counts), example)
        Console(width=160).print(table if table.row_count else "Nothing was found.")
        if packer is None:
            typer.echo(
                "Whether texts are too long was not looked at: name a run's configuration by --config.", err=True
            )
        typer.echo(path)
        if fatal := findings.fatal:
            raise RunError(
                f"Training or scoring would fail on {len(fatal)} records, the first is {fatal[0].sample} of "
                f"{fatal[0].split}: {fatal[0].detail.removesuffix('.')}. They are listed in {path}; mend them and "
                "convert again."
            )


@data_app.command("show")
def data_show(
    source: Annotated[str, typer.Argument(help="Folder that `neuraltuning data convert` wrote, or scenes.")],
    output: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("samples.html"),
    split: Annotated[str, typer.Option(help="Split to show.")] = "train",
    limit: Annotated[int, typer.Option(min=0, help="Samples to show, evenly spread over the split.")] = 24,
) -> None:
    """Write a page that shows samples with their masks and phrases, and statistics beside MMUD's."""
    with interruptible("Nothing was written: run the same command again to start over."):
        from neuraltuning.report.data_page import write_data_page

        typer.echo(write_data_page(source, split, limit, output))


def _predict_one(model: Model, request: Request, out: Path, stamp: str) -> None:
    from neuraltuning.prediction import answer_request

    reply = answer_request(model, request, out, stamp=stamp)
    typer.echo(reply.text)
    parts = [(len(reply.masks), "mask"), (len(reply.images), "picture")]
    counted = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in parts if count]
    typer.echo(f"Wrote {' and '.join([*counted, 'reply.json'])} to {out}.", err=True)


def _predict_many(
    model: MultitaskModel, requests: RequestsFile | list[Request], out: Path, batch_size: int, stamp: str
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from neuraltuning.prediction import MODEL, answer_requests
    from neuraltuning.prediction_answers import REPLY_FILE
    from neuraltuning.serving.engine import Engine

    columns = (TextColumn("Answering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    already, failed, first = 0, 0, ""
    ahead = 2 * batch_size  # the next ones are ready when a place is free
    engine = Engine({MODEL: model}, max_batch=batch_size, max_waiting=ahead)
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(requests))
            for answer in answer_requests(engine, requests, out, ahead=ahead, stamp=stamp):
                if answer.error is not None:
                    failed += 1
                    first = first or f"{answer.request.id}: {answer.error}"
                    progress.console.print(f"{answer.request.id}: {answer.error}", markup=False, highlight=False)
                already += answer.reply is None and answer.error is None
                progress.advance(task)
    finally:
        engine.close(0.0)
    before = f" ({already} of them before)" if already else ""
    typer.echo(f"Answered {len(requests) - failed} of {len(requests)} requests{before}: {out}/*/{REPLY_FILE}")
    if failed:
        raise RunError(f"{failed} of {len(requests)} requests could not be answered, the first is {first}")


def _check_folder(folder: Path) -> None:
    """Refuses what is plainly no run before torch is imported."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; `neuraltuning tune` writes one.")


def _fail(sentence: str, status: int) -> NoReturn:
    typer.echo(sentence, err=True)
    sys.exit(status)


def _is_disk_full(error: BaseException) -> bool:
    """Whether an error of any library means that (safetensors, for one, raises its own with the system's words)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)
