"""The command line in this process, for tests."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from neuraltuning.cli import main

Run = Callable[..., tuple[int, str, str]]
"""Arguments -> exit status, standard output, standard error."""


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs commands by their arguments."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuraltuning", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call
