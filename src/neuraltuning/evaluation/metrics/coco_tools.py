"""The two Java programs of the COCO caption tools: the PTB tokenizer and METEOR 1.5 (package pycocoevalcap).

Started by `captions.py` only. Java and the package are optional: `why_missing` says in a sentence what to install.
METEOR takes about 12 s of one core and 1.3 GB to load its paraphrases, so one process serves the whole program, and
`warm_up` lets it load while replies are still being generated.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuraltuning.errors import RunError
from neuraltuning.evaluation.metrics.interval import Floats, divide

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that the COCO tools drop. Brackets are listed in capitals but arrive in lower case, so they stay: theirs."""

METEOR_STATISTICS = 23
_CHUNKS = 20
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75
_MATCHER_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
"""METEOR 1.5's parameters for English, ranking task: exact, stem, synonym and paraphrase matches."""


def why_missing() -> str | None:
    """A sentence that says what is missing and how to get it; None where everything is there."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return (
            "BLEU, METEOR, ROUGE-L and CIDEr-D need the package pycocoevalcap: pip install 'neuraltuning[metrics]' "
            "(and Java)."
        )
    if shutil.which("java") is None:
        return (
            "BLEU, METEOR, ROUGE-L and CIDEr-D need Java for the PTB tokenizer and METEOR, and there is no `java` on "
            "the PATH: install a runtime (for example: apt-get install default-jre-headless)."
        )
    return None


def ptb_tokenize(texts: Sequence[str]) -> list[str]:
    """Tokens of each text as COCO scores them: PTB tokens in lower case without punctuation, joined by spaces.

    Line breaks of any kind become spaces first: the COCO wrapper matches lines to captions by position and shifts all
    that follow a caption with, say, U+2028 in it.

    Raises:
        RunError: Java failed.
    """
    if not texts:
        return []
    lines = [" ".join(text.split()) for text in texts]
    # -encoding: Java would otherwise read and write in the locale's encoding, which is ASCII in many containers.
    command = ["java", "-cp", "stanford-corenlp-3.4.1.jar", "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    finished = subprocess.run(
        command, cwd=_folder("tokenizer"), input="\n".join(lines) + "\n", capture_output=True, encoding="utf-8"
    )
    tokenized = finished.stdout.split("\n")[:-1]
    if finished.returncode != 0 or len(tokenized) != len(lines):
        raise RunError(
            f"The PTB tokenizer (Java) returned {len(tokenized)} lines for {len(lines)} captions with exit status "
            f"{finished.returncode}: {finished.stderr.strip()[-300:]}"
        )
    return [" ".join(word for word in line.split() if word not in PUNCTUATION) for line in tokenized]


class Meteor:
    """A running METEOR process, which starts to load at construction and answers when it is ready.

    The protocol and options are the COCO tools'. Use `shared_meteor` rather than starting a second one.
    """

    def __init__(self) -> None:
        command = [
            "java",
            "-Dfile.encoding=UTF-8",
            "-Xmx2G",
            "-jar",
            "meteor-1.5.jar",
            "-",
            "-",
            "-stdio",
            "-l",
            "en",
            "-norm",
        ]
        self._process = subprocess.Popen(
            command,
            cwd=_folder("meteor"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def statistics(self, hypothesis: str, references: Sequence[str]) -> Floats:
        """(23,) sufficient statistics of a tokenized text against the best of its tokenized references.

        They add up over texts; `meteor` turns sums into a score.

        Raises:
            RunError: the process ended, most often for want of 2 GB of memory.
        """
        # "|||" separates the protocol's fields.
        fields = ["SCORE", *(text.replace("|||", "") for text in (*references, hypothesis))]
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(" ||| ".join(fields).replace("  ", " ") + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        numbers = answer.split()
        if len(numbers) != METEOR_STATISTICS:
            self.close()
            raise RunError(
                f"METEOR (Java) ended or answered {answer.strip()[:100]!r} instead of its statistics; it needs about "
                "2 GB of free memory."
            )
        statistics = np.array(numbers, dtype=np.float64)
        if statistics[_CHUNKS] == 1 and (_matchers(statistics).sum(axis=(0, 1)) == statistics[:2]).all():
            statistics[_CHUNKS] = 0.0  # a text that matches as a whole isn't fragmented, as METEOR's own sums have it
        return statistics

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def warm_up() -> None:
    """Starts METEOR where it can run, so that it loads while other work goes on; optional, and harmless twice."""
    if why_missing() is None:
        shared_meteor()


@functools.lru_cache(maxsize=1)
def shared_meteor() -> Meteor:
    """The program's one METEOR process; it ends with the program."""
    process = Meteor()
    atexit.register(process.close)
    return process


def meteor(sums: Floats) -> Floats:
    """METEOR of summed statistics (Denkowski and Lavie 2014, section 2, with METEOR 1.5's parameters).

    Args:
        sums: (R, 23) statistics in the order of METEOR's `SCORE` reply: words of text and of reference, function words
            of each; for each of the four matchers matched content words of text and reference and matched function
            words of each; chunks; matched words of text and reference.

    Returns:
        (R,) scores in 0..1; 0 where nothing matches.
    """
    lengths, functions = sums[:, 0:2], sums[:, 2:4]
    word_weights = np.array([_DELTA, 1.0 - _DELTA])
    weighted_matches = np.einsum("rmkt,m,k->rt", _matchers(sums), np.array(_MATCHER_WEIGHTS), word_weights)
    weighted_lengths = _DELTA * (lengths - functions) + (1.0 - _DELTA) * functions
    precision, recall = np.nan_to_num(divide(weighted_matches, weighted_lengths)).T
    mean = np.nan_to_num(divide(precision * recall, _ALPHA * precision + (1.0 - _ALPHA) * recall))

    fragmentation = np.nan_to_num(divide(sums[:, _CHUNKS], sums[:, 21:23].mean(axis=1)))
    return mean * (1.0 - _GAMMA * fragmentation**_BETA)


def _matchers(statistics: Floats) -> Floats:
    """(..., 23) -> (..., 4, 2, 2): matched words by matcher, content or function word, and text or reference."""
    return statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 2, 2)


def _folder(part: str) -> Path:
    """The folder of pycocoevalcap's `part`, where its jar lies."""
    package = importlib.util.find_spec("pycocoevalcap")
    assert package is not None and package.submodule_search_locations is not None, "checked by why_missing"
    return Path(package.submodule_search_locations[0]) / part
