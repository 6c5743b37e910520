"""Replies written in batches are the model's own: token by token, state by state, and by its law."""

import json
import lzma
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import byte_tokenizer, tiny_model

from eesd_core.cli import main
from eesd_core.errors import UserError
from eesd_core.model.load import load_target
from eesd_core.model.target import Target
from eesd_core.train.lessons import states_of
from eesd_core.train.replies.collect import restore, turn_behind
from eesd_core.train.replies.given import Given
from eesd_core.train.replies.openings import LEAST, MOST, Openings
from eesd_core.train.replies.passages import SHORTEST, Passages
from eesd_core.train.replies.requests import WORDS, Requests, excerpt
from eesd_core.train.replies.store import REPLIES, load_ids, load_replies, parts, save_part, save_replies
from eesd_core.train.replies.writer import Text, Writer, run

ENDS = frozenset([0])


def in_floats(weight: torch.Tensor):
    return partial(torch.nn.functional.linear, weight=weight)


TAPS = (1, 4)


@pytest.fixture(scope="module")
def model():
    return tiny_model(3).float()


def prompts() -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(1, 257, length).tolist() for length in (5, 40, 1, 17, 90, 8, 8, 33, 2, 61)]


def texts(draw=(0.0, 0.0)):
    return (Text(number, list(ids), *draw, first=len(ids)) for number, ids in enumerate(prompts()))


def test_more_texts_than_places_are_each_what_generate_writes(model):
    writer = Writer(model, TAPS, ENDS, places=3, pack=in_floats)
    written = {text.number: (text, states) for text, states in run(writer, texts(), 12, lambda text: None)}
    for number, prompt in enumerate(prompts()):
        text, states = written[number]
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=0, pad_token_id=0)[0].tolist()
        assert text.ids == expected and text.turns == [(len(prompt), len(expected))]
        with torch.no_grad():
            hidden = model.model(torch.tensor([text.ids[:-1]]), output_hidden_states=True).hidden_states
        assert states.shape == (len(text.ids) - 1, 2, 64)
        assert torch.allclose(states[:, 0].float(), hidden[1][0], atol=0.05, rtol=0.02)  # bf16


def test_in_8_bits_states_are_nearly_those_of_the_model(model):
    for text, states in run(Writer(model, TAPS, ENDS, places=3), texts(), 2, lambda text: None):
        with torch.no_grad():
            hidden = model.model(torch.tensor([text.ids[:-1]]), output_hidden_states=True).hidden_states[1][0]
        assert (states[:, 0].float() - hidden).norm() < 0.03 * hidden.norm()


def test_a_reply_is_followed_by_another_request_in_the_same_text(model):
    ends = frozenset(range(0, 257, 2))  # replies are short
    more = iter([[5, 6, 7], [8, 9]])
    written = list(run(Writer(model, (), ends, places=2, pack=in_floats), texts(), 12, lambda text: next(more, None)))
    longer = [text for text, _ in written if len(text.turns) > 1]
    assert longer and len(written) == len(prompts())
    for text in longer:
        (_, end), (begin, _) = text.turns[:2]
        assert text.ids[end - 1] in ends and text.ids[end:begin] in ([5, 6, 7], [8, 9])
        begun = torch.tensor([text.ids[:begin]])
        again = model.generate(begun, max_new_tokens=12, do_sample=False, eos_token_id=sorted(ends), pad_token_id=0)
        assert again[0].tolist() == text.ids[: again.shape[1]]


@pytest.mark.parametrize(("temperature", "min_p"), [(1.0, 0.0), (0.8, 0.1)])
def test_tokens_are_drawn_by_the_law(model, temperature, min_p):
    writer, count = Writer(model, (), ENDS, places=1), 4000
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -4.0] + [-30.0] * 252])
    law = (logits[0] / temperature).softmax(-1)
    law = torch.where(law >= min_p * law.max(), law, 0)
    law /= law.sum()
    counts = torch.zeros(257)
    for number in range(count):
        writer.places[0] = Text(number, [1], temperature, min_p)
        counts[writer.choose(logits, [0])[0]] += 1
    assert (counts / count - law).abs().sum() / 2 < 0.03
    assert min_p == 0 or counts[law == 0].sum() == 0


def test_parts_keep_ids_turns_and_states(model, tmp_path):
    written = list(run(Writer(model, TAPS, ENDS, places=3, pack=in_floats), texts((0.8, 0.1)), 12, lambda text: None))
    save_part(tmp_path, 0, written, TAPS)
    assert parts(tmp_path) == [0]
    kept = load_ids(tmp_path, 0)
    begin = 0
    for (text, _), end, number in zip(written, kept["ends"].tolist(), kept["number"].tolist()):
        assert kept["ids"][begin:end].tolist() == text.ids and number == text.number
        assert kept["reply"][begin:end].nonzero().flatten().tolist() == list(range(text.first, len(text.ids)))
        begin = end
    assert (tmp_path / "states-0000.safetensors").stat().st_size > begin * 2 * 64 * 2


def test_requests_are_the_same_whoever_asks(tmp_path):
    lines = [{"prompt": f"Do {i}", "source": "a"} for i in range(5)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "books.jsonl").write_text(json.dumps({"text": "One sentence. " * 200}))
    (tmp_path / "openstax.jsonl").write_text(json.dumps({"text": "A fact about cells. " * 200}))
    (tmp_path / "self-dialogues.jsonl").write_text(json.dumps({"text": "Hello there.\nHi.\n" * 40}))
    first, second = Requests(tmp_path), Requests(tmp_path)
    drawn = [first.draw(number) for number in range(200)]
    assert drawn == [second.draw(number) for number in range(200)] and len(set(drawn)) > 60
    assert any(text.startswith(WORDS["story"][0][:15]) for text in drawn) and not any("{" in text for text in drawn)
    assert {first.follow_up(number) for number in range(60)} > {None}
    for name in ("openstax", "self-dialogues"):
        (tmp_path / f"{name}.jsonl").unlink()
    fewer = Requests(tmp_path)
    assert len({fewer.draw(number) for number in range(200)}) > 60  # of the kinds that there are


def test_a_folder_without_requests_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no requests"):
        Requests(tmp_path)
    good = json.dumps({"text": "A tale."}) + "\n"
    for bad in ("{", "[1]", '{"title": "x"}', '{"prompt": 3}'):
        (tmp_path / "broken.jsonl").write_text(f"{good}\n{bad}")
        with pytest.raises(UserError, match="line 3 of"):
            Requests(tmp_path)
    (tmp_path / "broken.jsonl").unlink()
    whole = lzma.compress(good.encode() * 90)
    for cut in (whole[:-20], b"nothing of the kind"):
        (tmp_path / "cut.jsonl.xz").write_bytes(cut)
        with pytest.raises(UserError, match="cannot be read"):
            Requests(tmp_path)


def test_an_excerpt_is_whole_sentences():
    text = excerpt("One two three. Four five six! Seven eight nine? " * 20, np.random.default_rng(3), 6, 9)
    assert text[-1] in ".!?" and 6 <= len(text.split()) <= 12


def test_other_kinds_of_models_are_refused(model):
    model.config.attention_bias = True
    with pytest.raises(UserError, match="Llama models"):
        Writer(model, (), ENDS)
    model.config.attention_bias = False


def test_the_next_turn_stands_behind_the_replys_end_token(model):
    tokenizer = byte_tokenizer()
    turn, reply = "{{ m['role'] }}:{{ m['content'] }}<|endoftext|>", "{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}" + reply
    target = Target(model, tokenizer, "tiny")
    target.end_ids = ENDS
    begun = target.codec.encode_chat([{"role": "user", "content": "a"}])
    whole = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "<|endoftext|>"}]
    text = [*begun, *target.codec.encode("b"), 0, *turn_behind(target, "<|endoftext|>")]
    assert text == target.codec.encode_chat(whole)


def test_texts_are_put_together_again_from_replies_alone(model, tmp_path):
    tokenizer = byte_tokenizer()
    turn, reply = "{{ m['role'] }}:{{ m['content'] }}<|endoftext|>", "{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer.chat_template = "{% for m in messages %}" + turn + "{% endfor %}" + reply
    target = Target(model, tokenizer, "tiny")
    target.end_ids = ENDS

    class Asked:
        def draw(self, number):
            return f"ask {number}"

        def follow_up(self, number):
            return "more" if number % 2 else None

    begun = [target.codec.encode_chat([{"role": "user", "content": f"ask {number}"}]) for number in range(5)]
    texts = [Text(number, list(ids), 0.8, 0.5, first=len(ids)) for number, ids in enumerate(begun)]
    writer = Writer(model, (), frozenset(range(0, 257, 2)) | ENDS, places=2)

    def next_turn(text):
        if text.number % 2 and len(text.turns) < 2:
            text.ids[-1] = 0  # every end token is the model's own one
            return turn_behind(target, "more")

    written = list(run(writer, iter(texts), 12, next_turn))
    save_part(tmp_path, 0, written, ())
    save_replies(tmp_path)
    assert sum(len(replies.turns) for replies in load_replies(tmp_path / REPLIES)) > 5
    again = {text.number: text for text in restore(target, Asked(), tmp_path / REPLIES)}
    assert {n: (t.ids, t.turns) for n, t in again.items()} == {t.number: (t.ids, t.turns) for t, _ in written}
    with pytest.raises(UserError, match="holds no replies"):
        list(restore(target, Asked(), tmp_path / "ids-0000.safetensors"))


@pytest.fixture
def tales(tmp_path):
    """A folder with two sources, and one of texts that models are judged on."""
    for name, text in (("tales-00", "Once there was a fox who lived by the sea. "), ("plays", "Who is there? said the owl at night. ")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text * 6}) + "\n")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "secret.jsonl").write_text(json.dumps({"text": "never to be seen " * 9}) + "\n")
    return tmp_path


def test_openings_are_the_same_whoever_asks(tales):
    drawn = [Openings(tales).draw(number) for number in range(40)]
    assert drawn == [Openings(tales).draw(number) for number in range(40)] and len(set(drawn)) > 20
    assert all(LEAST <= len(text.split()) <= MOST for text in drawn)
    assert {bool("fox" in text or "sea" in text) for text in drawn} == {True, False} and not any("never" in text for text in drawn)


def test_requests_about_a_passage_quote_it(tmp_path):
    story = " ".join(f"The fox met owl number {n} in the wood." for n in range(60))
    question = f"{story[:SHORTEST]} Whom did the fox meet?"
    rows = [{"text": story}, {"prompt": "What is rain?", "response": "Water."}, {"prompt": question, "response": "Owls."}]
    (tmp_path / "tales.jsonl").write_text("\n".join(map(json.dumps, rows)))
    passages = Passages(tmp_path)
    drawn = [passages.draw(number) for number in range(60)]
    assert drawn == [Passages(tmp_path).draw(number) for number in range(60)]
    assert all("The fox met owl number" in request and "rain" not in request for request in drawn)
    assert {question in request for request in drawn} == {True, False} and not any(map(passages.follow_up, range(60)))
    (tmp_path / "tales.jsonl").write_text("\n".join(map(json.dumps, rows[:2])))
    with pytest.raises(UserError, match="questions about a passage"):
        Passages(tmp_path)


@pytest.mark.parametrize("record", [None, {"text": " "}, {"prompt": "Who is there?", "response": "An owl."}])
def test_a_folder_without_texts_is_one_line(record, tmp_path, model_folder, capsys):
    (tmp_path / "data" / "eval").mkdir(parents=True)
    (tmp_path / "data" / "eval" / "secret.jsonl").write_text(json.dumps({"text": "never to be seen " * 9}) + "\n")
    if record:
        (tmp_path / "data" / "asked.jsonl").write_text(json.dumps(record) + "\n")
    flags = ["--model", str(model_folder), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--requests", "2"]
    assert main(["write-replies", *flags, "--openings"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "JSON Lines" in said and str(tmp_path / "data") in said


def test_the_command_goes_on_with_openings_and_resumes(tales, model_folder, tmp_path, capsys):
    """The tiny model has no chat template: it cannot be asked."""
    flags = ["--model", str(model_folder), "--data", str(tales), "--out", str(tmp_path / "out"), "--new-tokens", "5", "--requests"]
    assert main(["write-replies", *flags, "4"]) == 2
    assert main(["write-replies", *flags, "4", "--openings", "--known", "x"]) == 2
    assert main(["write-replies", *flags, "4", "--openings", "--passages"]) == 2
    assert capsys.readouterr().err.count("\n") == 3
    for count in ("4", "6"):
        assert main(["write-replies", *flags, count, "--openings"]) == 0
    found = [load_ids(tmp_path / "out", part) for part in parts(tmp_path / "out")]
    assert [sorted(part["number"].tolist()) for part in found] == [[0, 1, 2, 3], [4, 5]]
    assert sum(int(part["reply"].sum()) for part in found) == 30 and not list((tmp_path / "out").glob("states-*"))
    ids = found[0]["ids"][: found[0]["ends"][0]].tolist()
    asked = byte_tokenizer()(Openings(tales).draw(int(found[0]["number"][0])))["input_ids"]
    assert ids[: len(asked)] == asked and len(ids) == len(asked) + 5


def test_given_texts_are_read_once_with_the_states_of_the_model(model_folder, tmp_path):
    data, out, chatty = tmp_path / "data", tmp_path / "given", shutil.copytree(model_folder, tmp_path / "chatty")
    settings = json.loads((chatty / "tokenizer_config.json").read_text())
    reply = "{% if add_generation_prompt %}assistant:{% endif %}"
    settings["chat_template"] = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}{% endfor %}" + reply
    (chatty / "tokenizer_config.json").write_text(json.dumps(settings))
    data.mkdir()
    answer = "It was the best of answers, and the longest of them, so that it taught the head something."
    rows = [{"prompt": f"Question {n}?", "response": answer, "source": "x"} for n in range(5)]
    rows += [{"prompt": "Too short an answer?", "response": "Yes."}, {"prompt": "Far too long a question? " * 40, "response": answer}]
    (data / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = " ".join(f"This is sentence number {n} of a story." for n in range(60))
    (data / "fairytales.jsonl").write_text(json.dumps({"text": told}))
    given = Given(data)
    assert len(given.pairs) == 6 and given.pairs == Given(data).pairs
    flags = ["write-replies", "--given", "--model", str(chatty), "--data", str(data), "--out", str(out), "--taps", "2", "1"]
    assert main(flags) == 0 and main(flags) == 0  # the second time there is nothing to do
    target = load_target(chatty, "cpu", "float32")
    ids, states = load_ids(out, 0), load_file(out / "states-0000.safetensors")
    assert parts(out) == [0] and len(ids["ends"]) == 6 and set(states) == {"1", "2"}
    begin = 0
    for number, end in zip(ids["number"].tolist(), ids["ends"].tolist()):
        whole, own = ids["ids"][begin:end].long(), ids["reply"][begin:end]
        assert own.int().diff().abs().sum() == 1 and own[-1]  # one reply, to the end
        assert target.tokenizer.decode(whole[own]).strip()[1:20] in given.pairs[number][1]
        hidden = states_of(target, whole[None, :-1], (1, 2))
        for depth in (1, 2):
            assert torch.allclose(states[str(depth)][begin : end - 1].float(), hidden[depth][0], atol=0.05, rtol=0.02)  # bf16
        begin = end
    assert main([*flags, "--openings"]) == 2
    (data / "asked.jsonl").unlink()
    (data / "fairytales.jsonl").unlink()
    with pytest.raises(UserError, match="holds no texts"):
        Given(data)
