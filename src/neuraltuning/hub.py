"""Names of pretrained parts: a folder, or a repository of the Hugging Face hub that is cached or can be reached.

Asks once before transformers does, which would retry for most of a minute where there is no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def pretrained_arguments(name: str, what: str) -> dict[str, Any]:
    """Keyword arguments for `from_pretrained(name, ...)`: code from repositories off, no network where none is needed.

    Args:
        name: a folder with a `config.json`, or a hub repository such as "HuggingFaceTB/SmolLM2-135M-Instruct".
        what: what it is the name of, for messages: "language model".

    Raises:
        InputError: no such folder, no model in it, no such repository, or a repository that is neither cached nor
            within reach.
    """
    path = Path(name).expanduser()
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"The folder {name} has no config.json, so it holds no {what} that transformers saved.")
        return {"trust_remote_code": False, "local_files_only": True}
    if path.exists() or not _REPOSITORY.fullmatch(name):
        raise InputError(
            f"There is no {what} {name!r}: give an existing folder or a Hugging Face name such as organisation/model."
        )
    return {"trust_remote_code": False, "local_files_only": _is_cached(name) or not _is_reachable(name, what)}


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def _is_reachable(name: str, what: str) -> bool:
    """True, or an InputError that says why not."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=10)
    except GatedRepoError as error:
        raise InputError(
            f"The {what} {name!r} needs its owner's permission: ask for it on its Hugging Face page, "
            "then log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"There is neither a folder nor a Hugging Face repository {name!r} for the {what}: check the spelling, "
            "or log in with `hf auth login` if it is private."
        ) from error
    except Exception as error:  # whatever HTTP library the hub client uses, it did not answer
        raise InputError(
            f"The {what} {name!r} is no folder, is not in the Hugging Face cache, and the hub can't be reached: "
            "give the path of a local copy, or connect and run the command again."
        ) from error
    return True
