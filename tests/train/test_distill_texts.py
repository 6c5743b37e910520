"""Distillation from kept texts: the cheap way of computing is the plain one, no request is both learned from and judged on, rounding is
part of the lesson, and training resumes."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.heads import files
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.heads.four_bits import fake_quantize
from eesd_core.heads.kinds import KINDS, kind_of, load_heads
from eesd_core.heads.shortlist import Shortlist
from eesd_core.model.load import load_target
from eesd_core.train import distill_texts as module
from eesd_core.train.distill_texts import HeadConfig, TextsConfig, as_stored, distill_texts, judge, loss_of, per_place
from eesd_core.train.lessons import Lessons, states_of
from eesd_core.train.listed_loss import hard_loss, soft_loss
from eesd_core.train.muon import orthogonal
from eesd_core.train.students import deep_of, even_rounds, hidden_at, random_rounds, rows_of

SMALL = TextsConfig(2, shortlist=40, rows=4, steps=12, warmup_steps=4)
DEPTHS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def target(model_folder):
    target = load_target(model_folder, "cpu", "float32")
    target.see_whole_rows()
    return target


@pytest.fixture(scope="module")
def folder(target, tmp_path_factory):
    """Two parts of short texts that the tiny model wrote behind random requests, some of two turns; the second part has no states."""
    folder, generator = tmp_path_factory.mktemp("texts"), torch.Generator().manual_seed(3)
    for part in range(2):
        written = torch.randint(1, 257, (160, 6), generator=generator)
        own = [False] * 6
        for _ in range(2):
            for _ in range(6):
                logits = target.head_rows(target.norm(states_of(target, written, (target.depth,))[target.depth][:, -1:]))[:, 0]
                drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                drawn[1::2] = logits[1::2].argmax(-1)
                written = torch.cat([written, drawn[:, None]], 1)
            own += [True] * 6 + [False] * 2
            written = torch.cat([written, torch.tensor([[9, 10]]).expand(160, 2)], 1)
        lengths = [20 if number % 4 == 0 else 12 - number % 3 for number in range(160)]  # of two turns, or of one
        ids = [id for text, length in zip(written.tolist(), lengths) for id in text[:length]]
        reply = [told for length in lengths for told in own[:length]]
        ends, temperatures = torch.tensor(lengths).cumsum(0).tolist(), [1.0, 0.0] * 80
        found = torch.stack(list(states_of(target, written, DEPTHS).values()), 2)  # (160, T, depths, D)
        rows = [torch.cat([text[: length - 1], torch.zeros(1, 4, 64)]) for text, length in zip(found, lengths)]
        kept = {"ids": torch.tensor(ids).to(torch.uint16), "reply": torch.tensor(reply), "ends": torch.tensor(ends, dtype=torch.int32)}
        save_file(kept | {"temperature": torch.tensor(temperatures)}, folder / f"ids-{part:04d}.safetensors")
        if part == 0:
            states = torch.cat(rows).bfloat16()
            save_file({str(d): states[:, i].contiguous() for i, d in enumerate(DEPTHS)}, folder / f"states-{part:04d}.safetensors")
    return folder


@pytest.fixture(scope="module")
def lessons(folder):
    return Lessons(folder)


def test_texts_are_read_as_they_were_kept(lessons, target):
    assert len(lessons.texts) + len(lessons.held) == 320 and 3 < len(lessons.held) < 30
    texts = [next(text for text in lessons.texts if text.part == part) for part in (0, 1)]
    for text in texts:  # with states, and without
        batch = lessons.batch(target, [text, texts[0]], (2, 4))
        for row, length in enumerate(batch.lengths.tolist()):
            ids = batch.ids[row : row + 1, :length]
            for depth, states in states_of(target, ids, (2, 4)).items():
                torch.testing.assert_close(batch.states[depth][row : row + 1, : length - 1], states[:, :-1], rtol=0.02, atol=0.05)
    batch = lessons.batch(target, texts, (2,))
    listed = torch.zeros(257, dtype=torch.bool)
    listed[:128] = True
    for row, length in enumerate(batch.lengths.tolist()):
        ids, reply = batch.ids[row].tolist(), batch.reply[row].tolist()
        expected = [reply[t + 1] and (ids[t + 1] < 128 or ids[t + 1] in ids[: t + 1]) for t in range(length - 1)]
        assert batch.judged(listed)[row, : length - 1].tolist() == expected and any(expected) and not all(expected)


def test_no_request_is_both_learned_from_and_judged_on(lessons):
    def request(text):
        return tuple(lessons.ids[text.begin : text.begin + int(lessons.reply[text.begin : text.end].int().argmax())].tolist())

    assert not {request(text) for text in lessons.texts} & {request(text) for text in lessons.held}


def test_batches_are_the_same_wherever_training_goes_on(lessons):
    def take(first, count):
        return [texts for _, texts in zip(range(count), lessons.batches(lessons.texts, 4, 1, first))]

    whole = take(0, 40)
    assert take(17, 23) == whole[17:] and len({text for texts in whole for text in texts}) > 80


def test_the_listed_loss_is_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    rows, finals = (torch.randn(shape, 16, generator=generator) for shape in (90, 600))
    columns = torch.randint(90, (600,), generator=generator)
    divergence = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    for ours, plain in (
        (soft_loss, lambda h: divergence((h @ rows.T).log_softmax(-1), (finals @ rows.T).log_softmax(-1))),
        (lambda h, *_: hard_loss(h, columns, rows), lambda h: torch.nn.functional.cross_entropy(h @ rows.T, columns)),
    ):
        both = [torch.randn(600, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
        losses = ours(both[0], finals, rows), plain(both[1])
        torch.testing.assert_close(*losses)
        for loss in losses:
            (3 * loss).backward()
        torch.testing.assert_close(both[0].grad, both[1].grad)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("taps", [(), (3, 4)])
def test_judged_rows_are_those_of_whole_rows_with_rounded_weights(lessons, target, layers, taps):
    layer = ExitLayer(target, 2, layers=layers, taps=taps, start=2)
    if taps:
        layer.mix.weight.data.normal_(std=0.02, generator=torch.Generator().manual_seed(2))
    batch = lessons.batch(target, lessons.texts[:3], (2, *taps))
    judged = torch.nn.functional.pad(batch.judged(torch.ones(257, dtype=torch.bool)), (0, 1))
    deep = deep_of(layer, batch, 5)
    assert (deep is None) == (not taps)
    found = hidden_at(target, layer, batch.states[2], deep, judged, 4)
    expected = as_stored(layer, 4).rows_hidden(target, batch.states[2], deep)[judged]
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    plain = layer.rows_hidden(target, batch.states[2], deep)[judged]
    assert (found - plain).abs().mean() > 3 * (found - expected).abs().mean()


def test_deep_states_are_of_rows_verified_before(lessons, target):
    layer = ExitLayer(target, 2, taps=(4,))
    batch = lessons.batch(target, lessons.texts[:2], (2, 4))
    deep = deep_of(layer, batch, 1)
    waits = []
    for row in range(2):
        for place in range(1, int(batch.lengths[row]) - 1):
            same = [p for p in range(place) if torch.equal(deep[row, place], batch.states[4][row, p])]
            assert same, "a row that no pass had verified"
            waits.append(place - same[-1])
    assert min(waits) == 1 and max(waits) > 1
    assert not deep[:, 0].any()


def test_rounding_is_in_the_loss_and_gradients_pass_it(lessons, target):
    layer, words = ExitLayer(target, 2).requires_grad_(True), Shortlist(target, torch.arange(40))
    listed = torch.zeros(257, dtype=torch.bool).index_fill_(0, words.ids, True)
    batch = lessons.batch(target, lessons.texts[:4], (2, 4))
    loss, count = loss_of(target, layer, batch, words, listed, SMALL, 0, False)
    loss.backward()
    stored = as_stored(layer, 4)
    again, _ = loss_of(target, stored, batch, words, listed, replace(SMALL, bits=16), 0, False)
    torch.testing.assert_close(loss, again, rtol=0.05, atol=0.01)
    assert count == batch.judged(listed).sum() and all(p.grad is not None and p.grad.any() for p in layer.parameters())
    weight = layer.layers[0].mlp.up_proj.weight
    assert not torch.equal(fake_quantize(weight), weight)


def test_agreement_over_the_whole_vocabulary_is_the_plain_one(lessons, target):
    """And with a shortlist what it misses is counted: a target's choice that is neither in it nor in the text before."""
    layer, texts = ExitLayer(target, 2), lessons.held[:6]
    found = judge(target, layer, lessons, texts, Shortlist(target, torch.arange(257)), replace(SMALL, bits=16))
    short = judge(target, layer, lessons, texts, Shortlist(target, torch.arange(40)), replace(SMALL, bits=16))
    agreed, missed, unseen, count, stored = 0, 0, 0, 0, as_stored(layer, 16)
    for text in texts:
        batch = lessons.batch(target, [text], (2, 4))
        early, late = stored.rows(target, batch.states[2])[0], target.head_rows(target.norm(batch.states[4]))[0]
        ids = batch.ids[0].tolist()
        for place in range(len(ids) - 1):
            if batch.reply[0, place + 1]:
                best = int(late[place].argmax())
                count += 1
                agreed += int(early[place].argmax()) == best
                missed += best >= 40
                unseen += best >= 40 and best not in ids[: place + 1]
    assert found["held_out_places"] == count and found["held_out_agreement"] == round(agreed / count, 4)
    assert short["missed_by_shortlist"] == round(missed / count, 4) and short["missed_with_context"] == round(unseen / count, 4)
    assert found["missed_by_shortlist"] == 0 and short["held_out_agreement"] <= 1 - short["missed_with_context"]


def test_it_learns_resumes_and_saves_a_twin(folder, model_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "LOOKS", 6)
    few = TextsConfig(2, shortlist=40, rows=4, steps=12, greedy_steps=8)
    flags = ["--shortlist", "40", "--rows", "4", "--steps", "12", "--greedy-steps", "8", "--device", "cpu"]
    folders = ["--texts", str(folder), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert main(["distill", "--model", str(model_folder), "--exit-after", "2", *folders, *flags]) == 0
    facts = json.loads((tmp_path / "out" / "exit_layer.json").read_text())["training"]
    target = load_target(model_folder, "cpu", "float32")
    stored = ExitLayer.load(tmp_path / "out", target)
    assert stored.bits == 4 and stored.greedy is not None and stored.exit_after == 2
    assert [places for places, _ in facts["curve"]] == sorted(places for places, _ in facts["curve"]) and len(facts["curve"]) == 2
    assert facts["held_out_agreement"] > 0 and facts["bits"] == 4
    again = distill_texts(str(model_folder), [folder], tmp_path / "work", tmp_path / "again", few, "cpu")
    assert "resuming at step 12" in capsys.readouterr().out and again["held_out_agreement"] == facts["held_out_agreement"]
    more = distill_texts(str(model_folder), [folder], tmp_path / "work", tmp_path / "more", replace(few, steps=18), "cpu")
    assert len(more["curve"]) == 3 and more["curve"][:2] == facts["curve"]
    with pytest.raises(UserError, match="other settings"):
        distill_texts(str(model_folder), [folder], tmp_path / "work", tmp_path / "out", replace(few, rows=3), "cpu")


def test_a_stored_exit_layer_learns_on(folder, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOKS", 6)
    config, made = TextsConfig(2, shortlist=40, rows=4, steps=12, taps=(3, 4)), []
    for out, before in (("first", None), ("second", tmp_path / "first")):
        made.append(distill_texts(str(model_folder), [folder], tmp_path / out / "work", tmp_path / out, config, "cpu", before))
    assert made[1]["curve_before"] == list(map(list, made[0]["curve"])) and made[1]["curve"][0][1] >= made[0]["curve"][0][1]
    with pytest.raises(UserError, match="--exit-after 2 --layers 1 --taps 3 4 --shortlist 40"):
        distill_texts(str(model_folder), [folder], tmp_path / "w", tmp_path / "o", replace(config, taps=()), "cpu", tmp_path / "first")


def test_bad_folders_are_one_line(folder, tmp_path):
    with pytest.raises(UserError, match="too few texts"):
        Lessons(tmp_path)
    (tmp_path / "ids-0000.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="broken"):
        Lessons(tmp_path)
    save_file({"ids": torch.zeros(3)}, tmp_path / "ids-0000.safetensors")
    with pytest.raises(UserError, match="lacks ends"):
        Lessons(tmp_path)


@pytest.mark.parametrize("ids, said", [([5] * 4000, "4000 tokens, more than the context"), ([5, 300], "the id 300")])
def test_texts_that_the_model_cannot_read_are_one_line(folder, model_folder, tmp_path, capsys, ids, said):
    kept = {"ids": torch.tensor(ids), "reply": torch.tensor([False] + [True] * (len(ids) - 1)), "ends": torch.tensor([len(ids)])}
    save_file(kept | {"temperature": torch.zeros(1)}, tmp_path / "ids-0000.safetensors")
    folders = ["--texts", str(folder), str(tmp_path), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert main(["distill", "--model", str(model_folder), *folders, "--head", "feature"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and said in told


def test_muons_updates_are_orthogonal():
    for shape in ((20, 64), (64, 20)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert values.min() > 0.5 and values.max() < 1.4


HEADS = tuple(KINDS)


@pytest.mark.parametrize("kind", HEADS)
def test_other_heads_learn_resume_and_are_judged_in_rounds(folder, model_folder, tmp_path, capsys, kind):
    few = HeadConfig(kind, shortlist=40, rows=4, steps=30)
    flags = ["--shortlist", "40", "--rows", "4", "--steps", "30", "--device", "cpu", "--head", kind]
    folders = ["--texts", str(folder), "--work", str(tmp_path / "work"), "--out", str(tmp_path / kind)]
    assert main(["distill", "--model", str(model_folder), *folders, *flags]) == 0
    target = load_target(model_folder, "cpu", "float32")
    stored = load_heads(tmp_path, target)[kind]
    facts = stored.facts["training"]
    assert stored.bits == 4 and stored.shortlist is not None and facts["bits"] == 4
    assert len(facts["agreement_per_place"]) == len(facts["acceptance_per_position"]) == min(6, stored.longest)  # a reply has six tokens
    assert facts["agreement_per_place"][0] == facts["acceptance_per_position"][0] and 0 <= facts["accepted_per_round"] <= 6
    capsys.readouterr()
    again = distill_texts(str(model_folder), [folder], tmp_path / "work", tmp_path / "again", few, "cpu")
    assert "resuming at step 30" in capsys.readouterr().out
    assert again["held_out_agreement"] == facts["held_out_agreement"]
    with pytest.raises(UserError, match="other settings"):
        distill_texts(str(model_folder), [folder], tmp_path / "work", tmp_path / "out", replace(few, bits=16), "cpu")


@pytest.mark.parametrize("kind", HEADS)
def test_steps_lower_the_loss_of_other_heads(lessons, target, kind):
    config = HeadConfig(kind, shortlist=40, rows=8, steps=60, learning_rate=0.01)
    head, words = config.made(target).float(), Shortlist(target, torch.arange(40))
    listed = torch.zeros(257, dtype=torch.bool).index_fill_(0, words.ids, True)

    def loss() -> float:
        with torch.no_grad():
            batches = [lessons.batch(target, lessons.texts[i : i + 8], (*head.taps, 4)) for i in range(0, 64, 8)]
            return sum(loss_of(target, head, batch, words, listed, config, 0, False)[0].item() for batch in batches) / 8

    before = loss()
    head.requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3)
    for step in range(40):
        batch = lessons.batch(target, lessons.texts[8 * (step % 8) : 8 * (step % 8) + 8], (*head.taps, 4))
        loss_of(target, head, batch, words, listed, config, step, False)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    head.requires_grad_(False)
    assert loss() < 0.8 * before


def test_rounds_cut_replies_alone(lessons, target):
    batch = lessons.batch(target, lessons.texts[:4], (2,))
    follows = torch.nn.functional.pad(batch.reply[:, 1:], (0, 1))
    for start in (random_rounds(batch, 1), even_rounds(batch, 4)):
        places = torch.arange(start.shape[1]).expand_as(start)
        assert (start <= places).all() and (start.diff(dim=1) >= 0).all()
    assert torch.equal(start[~follows], places[~follows])  # where nothing is drafted
    for row in range(4):
        first = int(follows[row].int().argmax())
        count = int(follows[row, first : first + 6].sum())  # of one reply
        assert count >= 4 and (start[row, first : first + count] - first).tolist() == [i // 4 * 4 for i in range(count)]


def test_agreement_by_places_is_the_plain_count():
    rounds = [[True, True, False], [True, False, True], [False, True], [True, True, True]]
    assert per_place(rounds) == {
        "agreement_per_place": [0.75, 0.75, 0.667], "acceptance_per_position": [0.75, 0.667, 0.5], "accepted_per_round": 1.5,
    }  # fmt: skip


def test_a_head_reads_what_drafting_would_have(lessons, target):
    """Nothing of the target behind the pending token, and no token to come, changes what is said."""
    head = kind_of("feature")(target)
    batch = lessons.batch(target, lessons.texts[:2], head.taps)
    start = even_rounds(batch, 4)
    before = rows_of(target, head, batch, 0, start)
    place = int(start[0, -3])
    states = {depth: states.clone() for depth, states in batch.states.items()}
    for changed in states.values():
        changed[0, place:] += 1.0
    ids = batch.ids.clone()
    ids[0, -2:] = 3
    after = rows_of(target, head, batch._replace(states=states, ids=ids), 0, start)
    torch.testing.assert_close(before[0, :-2], after[0, :-2], rtol=1e-4, atol=1e-4)


def test_wrong_settings_of_a_head_are_one_line(folder, model_folder, tmp_path, capsys):
    folders = ["--texts", str(folder), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--model", str(model_folder)]
    for head in ("nothing", "feature:x=1", "feature:mlp", "feature:longest=99"):
        assert main(["distill", *folders, "--head", head]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert main(["distill", *folders, "--head", "feature", "--greedy-steps", "5"]) == 2
    assert main(["distill", "--out", str(tmp_path / "out"), "--head", "feature"]) == 2
    assert main(["distill", "--out", str(tmp_path / "out")]) == 2


def test_other_folders_are_learned_from_and_not_judged_on(folder, lessons):
    both = Lessons(folder, folder.parent / "nothing", _renamed(folder))
    assert [text.row for text in both.held] == [text.row for text in lessons.held]
    assert len(both.texts) == 2 * len(lessons.texts) + len(lessons.held)
    assert both.given == int(lessons.reply.sum()) and lessons.given == 0


def _renamed(folder):
    """The same texts in another folder."""
    other = folder.with_name("others")
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    return other


def test_heads_take_the_exit_layers_list(tmp_path):
    """If it is as long as the one asked for; then it is in memory once."""
    files.write(tmp_path, {"exit_after": 1}, 16, {"norm.weight": torch.ones(4)}, {}, torch.tensor([3, 5, 8]))
    target = SimpleNamespace(source=SimpleNamespace(heads=tmp_path), vocab=9, end_ids=frozenset([0]))
    lessons = SimpleNamespace(counts=lambda vocab: torch.arange(vocab))
    assert module.chosen(tmp_path, lessons, target, 3).tolist() == [3, 5, 8]
    assert module.chosen(tmp_path, lessons, target, 2).tolist() == [0, 8]
