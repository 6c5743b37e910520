"""Exit layers from a folder or from the Hugging Face Hub, and publishing them there. Safetensors and JSON only."""

import json
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from ..errors import UserError
from ..model.checkpoint import split_revision
from .files import FACTS, WEIGHTS

CARD = """\
---
library_name: eesd
base_model: {base}
tags: [speculative-decoding, early-exit]
---
An exit layer for early-exiting speculative decoding (EESD, arXiv 2406.03853) of {base}, on top of its first {depth} layers.
`exit_layer.json` holds the facts of its training and what it was measured at.
"""


def find_exit_layer(name: str) -> Path:
    """The folder of an exit layer. `name`: a folder, or `owner/name` or `owner/name@revision` on the Hub, whose files are fetched once.
    Raises UserError if they cannot be fetched."""
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        return Path(name)
    repository, revision = split_revision(name)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[FACTS, WEIGHTS]))
    except Exception as problem:  # network, rights, names: the possible exceptions are not documented
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(f"no exit layer can be fetched from {name} ({reason}): check the name, the revision and the network") from None


def push(folder: Path, repository: str, private: bool, api: HfApi | None = None) -> str:
    """Publish an exit layer that `distill` wrote. Returns the URL of the commit, whose revision others can pin. Raises UserError if files
    are missing or the Hub refuses."""
    if missing := [name for name in (FACTS, WEIGHTS) if not (folder / name).is_file()]:
        raise UserError(f"{folder} lacks {missing[0]}: give the folder that `distill` wrote")
    facts = json.loads((folder / FACTS).read_text())
    card = CARD.format(base=facts.get("base_model", "its base model"), depth=facts["exit_after"])
    if not (folder / "README.md").exists():
        (folder / "README.md").write_text(card)
    api = api or HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=[FACTS, WEIGHTS, "README.md"])
    except Exception as problem:
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise UserError(
            f"the Hub refused {repository} ({reason}): log in with `hf auth login`, and check the name and the network"
        ) from None
    return str(getattr(done, "commit_url", done))
