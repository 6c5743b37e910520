"""A proof is remembered under all that it depends on, and made anew where any of it changes."""

import copy

import pytest
import torch

from eesd_core import proofs
from eesd_core.heads.fingerprint import fingerprint
from eesd_core.proofs import proof_name, remembered


@pytest.fixture
def target(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "cache"))
    target = copy.copy(engine.target)
    target.fingerprint = fingerprint(target)
    return target


def test_what_held_is_not_proved_again(target):
    asked = []
    for _ in range(3):
        assert remembered(target, lambda target: asked.append(1) or True)
    assert len(asked) == 1


def test_what_did_not_hold_is(target):
    asked = []
    for _ in range(3):
        assert not remembered(target, lambda target: asked.append(1))
    assert len(asked) == 3


def test_a_folder_that_cannot_be_written_costs_time_alone(target, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EESD_CACHE", str(tmp_path / "file"))
    assert remembered(target, lambda target: True) and not remembered(target, lambda target: False)


def test_every_fact_counts(target, monkeypatch):
    names = [proof_name(target)]
    assert proof_name(target) == names[0]

    def changed() -> None:
        names.append(proof_name(target))

    monkeypatch.setattr(target, "fingerprint", "0123")
    changed()
    monkeypatch.setattr(target, "precision", "q8")
    changed()
    monkeypatch.setattr(target, "context", 100)
    changed()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    changed()
    monkeypatch.setattr(proofs, "processor", lambda: "abacus")
    changed()
    monkeypatch.setattr(proofs, "_version", lambda name: "0.0.1")
    changed()
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    changed()
    monkeypatch.setattr(proofs, "CODE", proofs.CODE[1:])
    changed()
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("change", [{"fingerprint": None}, {"device": torch.device("meta")}])
def test_what_is_not_known_is_not_remembered(target, change):
    for name, value in change.items():
        setattr(target, name, value)
    assert proof_name(target) is None
    assert remembered(target, lambda target: True) and not remembered(target, lambda target: False)
