"""Model folders with files missing, cut off, swapped or of wrong JSON types: one line, or transformers' text; never a traceback, and never
text from weights of which a part was not read."""

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from greedy_text import ours, theirs
from tiny_families import VARIANTS, tiny

from eesd_core.errors import UserError
from eesd_core.loading import load_exit_layer
from eesd_core.model.load import load_target

DRAWS, NEW = 200, 3
WRONG = [None, True, "x", -1, 0, 3.5, 10**9, [], [1], {}, {"a": 1}, "../config.json"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, model_folder, engine) -> list[Path]:
    """One file of weights and an exit layer; several files; and every other family."""
    shards = tmp_path_factory.mktemp("shards")
    shutil.copytree(model_folder, shards, dirs_exist_ok=True)
    (shards / "model.safetensors").unlink()
    engine.target.model.save_pretrained(shards, max_shard_size="200KB")
    assert len(list(shards.glob("model-*.safetensors"))) > 1
    others = {family: variant for variant, (family, _) in VARIANTS.items() if family != "llama"}
    made = {variant: tmp_path_factory.mktemp("family") for variant in others.values()}
    for variant, folder in made.items():
        tiny(variant).save_pretrained(folder)
        engine.target.tokenizer.save_pretrained(folder)
    return [model_folder, shards, *made.values()]


def damage(folder: Path, random: Random) -> str:
    """Changes one file, or swaps two; says what it did."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    file, other = random.sample(files, 2)
    facts = None
    if file.suffix == ".json" and random.random() < 0.7:
        facts = json.loads(file.read_text())
    if isinstance(facts, dict) and facts:
        inner = facts
        key = random.choice(list(inner))
        while isinstance(inner[key], dict) and inner[key] and random.random() < 0.7:
            inner, key = inner[key], random.choice(list(inner[key]))
        inner[key] = random.choice(WRONG)
        file.write_text(json.dumps(facts))
        return f"{file.name}: {key} = {inner[key]!r}"
    data, how = file.read_bytes(), random.choice(("missing", "cut off", "empty", "swapped", "a folder", "noise"))
    match how:
        case "missing":
            file.unlink()
        case "cut off":
            file.write_bytes(data[: random.randrange(len(data))])
        case "empty":
            file.write_bytes(b"")
        case "swapped":
            file.write_bytes(other.read_bytes())
            other.write_bytes(data)
            how = f"swapped with {other.name}"
        case "a folder":
            file.unlink()
            file.mkdir()
        case "noise":
            at = random.randrange(min(len(data), 2000))
            file.write_bytes(data[:at] + random.randbytes(8) + data[at + 8 :])
    return f"{file.name}: {how}"


def outcome(folder: Path) -> str:
    """`refused`, `same`, or what is wrong."""
    try:
        target = load_target(folder, "cpu", "float32")
        load_exit_layer(target, None)
        ids = target.codec.encode("Once upon a time there was")
        written = ours(target, ids, NEW)
    except UserError as problem:
        return "refused" if "\n" not in str(problem) else f"several lines: {problem}"
    except Exception as problem:
        return f"raised {type(problem).__name__}: {problem}"
    try:
        expected = theirs(folder, ids, NEW)
    except Exception as problem:
        return f"wrote {written}, and transformers raises {type(problem).__name__}: {str(problem)[:100]}"
    return "same" if written == expected else f"wrote {written}, and transformers {expected}"


def test_damaged_folders(folders, tmp_path):
    random, count, wrong = Random(7), {"same": 0, "refused": 0}, []
    for number in range(DRAWS):
        folder = shutil.copytree(folders[number % len(folders)], tmp_path / str(number))
        done = damage(folder, random)
        found = outcome(folder)
        shutil.rmtree(folder)
        if found in count:
            count[found] += 1
        else:
            wrong.append((done, found))
    assert not wrong, "\n".join(map(str, wrong))
    assert count["refused"] > DRAWS // 3
