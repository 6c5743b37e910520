"""A file of results replaces an earlier one only when it is whole: on a full disk the earlier one stays."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .errors import UserError


def plain(path: Path) -> bool:
    """Whether the path is a file that another may replace, or nothing yet. A pipe, a terminal or a link is written where it is."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write instead of `path`. It becomes `path` at the end of the block, and is removed if the block raises. Raises UserError
    where safetensors cannot write: its own error is none of the system's."""
    if not plain(path):
        yield path
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # of this process: several may train one head
    try:
        yield part
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except SafetensorError as problem:
        raise UserError(f"{path} cannot be written ({' '.join(str(problem).split())[:120]}): choose another path, or make room") from None
    finally:
        part.unlink(missing_ok=True)
