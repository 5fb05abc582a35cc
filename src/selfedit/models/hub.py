"""The Hugging Face hub: JSON, safetensors and tokenizer files of a model, or an answer within seconds that they cannot be had."""

from __future__ import annotations

import threading
from pathlib import Path

from selfedit.errors import ModelError
from selfedit.models.libraries import first_line

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
UNWANTED = ["*/*", "consolidated*.safetensors"]
PATIENCE_S = 4.0


def snapshot(name: str, *, folder: Path | None = None, offline: bool = False) -> Path:
    """Fetch the model `name` (`org/name`) into the hub's own cache, or into `folder`. What was fetched before is found without a network.

    Raises ModelError, one line that names the model, when the hub cannot be reached, does not know it or does not give it out.
    """
    import huggingface_hub
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    why = "offline" if offline else _no_answer(name)
    try:
        path = huggingface_hub.snapshot_download(
            name, local_dir=folder, local_files_only=why is not None, allow_patterns=WANTED, ignore_patterns=UNWANTED
        )
    except errors.GatedRepoError as error:
        raise ModelError(f"{name} is gated: accept its terms on its page of the Hugging Face hub, then log in with: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"the Hugging Face hub has no model '{name}' (if it is private, log in with: hf auth login)") from error
    except errors.LocalEntryNotFoundError as error:
        why = why or "it stopped answering"
        raise ModelError(f"cannot fetch {name} from the Hugging Face hub ({why}); check the network, or give a model's folder") from error
    except (HTTPError, OSError, ValueError) as error:
        raise ModelError(f"cannot fetch {name} from the Hugging Face hub: {first_line(error)}; try again, or give a model's folder") from error
    return Path(path)


def _no_answer(name: str) -> str | None:
    """Why the hub does not answer, asked in a thread: a name server that is silent knows no time limit. None when it does, be it with a refusal."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    answers: list[str | None] = []

    def ask() -> None:
        try:
            huggingface_hub.model_info(name, timeout=PATIENCE_S)
            answers.append(None)
        except HfHubHTTPError:
            answers.append(None)
        except Exception as error:  # whatever the HTTP library raises; a thread's error would be lost
            answers.append(first_line(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_S + 1)
    return answers[0] if answers else f"no answer in {PATIENCE_S:.0f} s"
