"""Commands that train and evaluate models, exit layers and other heads."""

import json
from dataclasses import replace
from pathlib import Path

from ..errors import UserError
from ..heads.kinds import KINDS
from .flags import MODELS, Parser, Shared, amount, check_folder, count, given, load_engine, number, path, rate, whole

EXIT = "exit"


def add_commands(commands, shared: Shared) -> None:
    model, said, *_ = shared
    base = commands.add_parser("train-base", help="train the embedded model (tokenizer, corpus, pre-training)")
    base.add_argument("--data", type=path, nargs="+", required=True, metavar="DIR", help="folders of .jsonl[.xz] files")
    base.add_argument("--work", type=path, default=Path("runs/base"), metavar="DIR", help="packed text and checkpoints; resumes from here")
    base.add_argument("--start", type=path, metavar="DIR", help="a checkpoint to go on from, with its tokenizer (default: from nothing)")
    base.add_argument("--out", type=path, default=Path("runs/model"), metavar="DIR", help="where the finished checkpoint goes")
    base.add_argument("--tokens", type=amount, default=20_000_000, metavar="N", help="training tokens in all; may be changed on resume")
    base.add_argument("--window", type=count, default=256, metavar="T", help="tokens a training row")
    base.add_argument("--rows", type=count, default=32, metavar="B", help="rows a step")
    base.add_argument("--rate", type=rate, default=4e-3, help="learning rate of the constant part")
    base.add_argument("--warmup", type=whole, default=100, metavar="STEPS", help="over which the rate rises to it")
    base.add_argument("--cooldown", type=number, default=0.3, help="share of the tokens over which the learning rate falls to zero")
    base.add_argument("--exit-pull", type=number, default=0.0, help="weight of the model's pull towards what its exit layer can foresee")
    base.add_argument("--unlikelihood", type=number, default=0.0, help="share of the last stage's rows that teach it not to repeat itself")
    base.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    mixing = commands.add_parser("mix", help="weights between two models of one training history")
    mixing.add_argument("first", type=path, metavar="DIR")
    mixing.add_argument("second", type=path, metavar="DIR")
    mixing.add_argument("--share", type=number, default=0.5, help="of the second model")
    mixing.add_argument("--out", type=path, required=True, metavar="DIR")

    sizes = commands.add_parser("sizes", help="candidates for the embedded model: depth, width, exit depth, vocabulary, trained alike")
    sizes.add_argument("sizes", nargs="+", metavar="SIZE", help="LAYERSxWIDTH[:EXIT[:VOCABULARY]], for example 20x256:1:6144")
    sizes.add_argument("--data", type=path, nargs="+", required=True, metavar="DIR", help="folders of .jsonl[.xz] files")
    sizes.add_argument("--validation", type=path, required=True, metavar="FILE", help="JSON Lines with a `text` field")
    sizes.add_argument("--prompts", type=path, metavar="FILE", help="JSON Lines with a `prompt` field (default: the page's examples)")
    sizes.add_argument("--tokens", type=amount, default=2_000_000, metavar="N", help="training tokens for each")
    sizes.add_argument(
        "--work", type=path, default=Path("runs/sizes"), metavar="DIR", help="packed text and checkpoints; resumes from here"
    )
    sizes.add_argument("--out", type=path, required=True, metavar="DIR")
    sizes.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    lessons = Parser(add_help=False)
    lessons.add_argument("--model", type=given, metavar="MODEL", help=f"the frozen one: {MODELS}")
    lessons.add_argument("--quantize", choices=["none", "4bit", "8bit"], default="none", help="of the frozen model")
    lessons.add_argument("--prompts", type=path, metavar="FILE", help="JSON Lines with a `prompt` field (default: the project's own)")
    lessons.add_argument("--data", type=path, nargs="+", metavar="DIR", help="or folders of text whose parts become prompts")
    lessons.add_argument("--work", type=path, default=Path("runs/distill"), metavar="DIR", help="the model's texts; resumes from here")
    lessons.add_argument("--out", type=path, required=True, metavar="DIR")
    lessons.add_argument("--generations", type=whole, default=4096, metavar="G", help="texts the model writes to learn from")
    lessons.add_argument("--prompt-tokens", type=count, default=32, metavar="N", help="longest prompt")
    lessons.add_argument("--new-tokens", type=count, default=224, metavar="N", help="that the model writes after each")
    lessons.add_argument("--steps", type=whole, default=1500, metavar="S", help="may be changed on resume; 0 keeps the model's exit layer")
    twin = "then train a twin of it that drafts when decoding is greedy (default: none)"
    lessons.add_argument("--greedy-steps", type=whole, default=0, metavar="S", help=twin)
    lessons.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    distill = commands.add_parser("distill", parents=[lessons], help="train an exit layer, or another head, on the model's own text")
    kinds = f"exit, {', '.join(KINDS)}; settings follow the others, as in feature:longest=4 (default: exit)"
    distill.add_argument("--head", default="exit", metavar="KIND[:SETTING=VALUE]", help=kinds)
    distill.add_argument("--exit-after", type=whole, metavar="N", help="the exit layer stands on the first N layers")
    kept = distill.add_argument_group("learning from texts that are kept with their states, instead of texts written here")
    texts = "folders of ids-NNNN and states-NNNN.safetensors; only texts of the first are held out to judge on"
    kept.add_argument("--texts", type=path, nargs="+", metavar="DIR", help=texts)
    kept.add_argument("--layers", type=count, default=1, metavar="L", help="decoder layers of the exit, 1 or 2")
    kept.add_argument(
        "--taps", type=whole, nargs="*", default=[], metavar="N", help="depths whose states it reads of the last verified row"
    )
    kept.add_argument(
        "--shortlist", type=whole, default=8192, metavar="S", help="frequent tokens that are drafted; 0: the whole vocabulary"
    )
    kept.add_argument("--bits", type=int, choices=[4, 16], default=4, help="of a stored weight; training rounds as it will be stored")
    kept.add_argument("--rows", type=count, default=16, metavar="B", help="texts a step")
    kept.add_argument("--rate", type=rate, default=2e-3, help="learning rate")
    kept.add_argument("--begin-with", type=path, metavar="DIR", help="a stored exit layer that learns on (default: anew)")
    sweep = commands.add_parser("sweep", parents=[lessons], help="exit depth against acceptance, cost, speedup: `distill` at every depth")
    sweep.add_argument("--depths", type=whole, nargs="+", metavar="N", help="exit depths (default: 1, and eighths of the model up to half)")

    replies = commands.add_parser("write-replies", help="have a model reply to many requests, or go on with texts, for heads to learn from")
    replies.add_argument("--model", type=given, metavar="NAME_OR_PATH", help="a Llama model (default: storyteller)")
    replies.add_argument("--openings", action="store_true", help="it goes on with texts that break off, instead of replying to requests")
    replies.add_argument("--passages", action="store_true", help="all requests quote a passage, so that replies repeat words of it")
    replies.add_argument("--given", action="store_true", help="it reads answers and passages of the files, and writes nothing")
    replies.add_argument("--data", type=path, required=True, metavar="DIR", help="requests and texts to quote: .jsonl[.xz] files")
    replies.add_argument("--out", type=path, required=True, metavar="DIR", help="parts of 256 texts; resumes from here")
    replies.add_argument("--requests", type=count, default=20_000, metavar="N", help="how many requests; may be raised on resume")
    replies.add_argument("--new-tokens", type=count, default=256, metavar="N", help="of a reply at most")
    replies.add_argument("--known", type=path, metavar="FILE", help="replies that were written before, such as those that are shipped")
    replies.add_argument("--from", dest="server", metavar="URL", help="have a server with OpenAI's chat completions write them")
    replies.add_argument("--served-as", metavar="NAME", help="the server's name for the model (default: the only one it has)")
    replies.add_argument("--at-once", type=count, default=16, metavar="N", help="requests to the server that are under way together")
    taps = "depths whose hidden states are kept beside the ids (default: none)"
    replies.add_argument("--taps", type=whole, nargs="*", default=[], metavar="DEPTH", help=taps)

    early = commands.add_parser("train-early", help="train a LoRA that lets a model meet its exit layer")
    early.add_argument("--model", type=given, required=True, metavar="NAME_OR_PATH", help="the model as it is")
    early.add_argument("--exit-layer", type=path, required=True, metavar="DIR", help="where the exit layer begins")
    early.add_argument("--texts", type=path, nargs="+", required=True, metavar="DIR", help=texts)
    early.add_argument("--first", type=whole, required=True, metavar="N", help="layers from number N on change")
    early.add_argument("--rank", type=count, default=16, metavar="R")
    pull = "weight of the chance that a draft is refused; 0: the model stays as it is"
    early.add_argument("--pull", type=number, default=0.3, metavar="W", help=pull)
    early.add_argument("--rows", type=count, default=16, metavar="B", help="texts a step")
    early.add_argument("--rate", type=rate, default=1e-3, help="learning rate of the LoRA")
    early.add_argument("--steps", type=whole, default=600, metavar="S", help="may be changed on resume")
    early.add_argument("--work", type=path, default=Path("runs/early"), metavar="DIR", help="resumes from here")
    early.add_argument("--out", type=path, required=True, metavar="DIR")
    early.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    push = commands.add_parser("push", help="publish an exit layer on the Hugging Face Hub")
    push.add_argument("folder", type=path, help="what `distill` wrote")
    push.add_argument("repository", help="owner/name")
    push.add_argument("--private", action="store_true")

    evaluate = commands.add_parser(
        "evaluate", parents=[model, said], help="how good model and exit layer are: loss, loops, agreement, samples"
    )
    evaluate.add_argument("--validation", type=path, metavar="FILE", help="JSON Lines with a `text` field, for bits per character")
    evaluate.add_argument("--prompts", type=path, metavar="FILE", help="JSON Lines with a `prompt` field (default: the page's examples)")
    evaluate.add_argument("--max-new-tokens", type=count, default=256, metavar="N")


def write_replies(arguments) -> int:
    from ..train.replies.collect import write_replies

    a = arguments
    if a.server and (a.openings or a.passages or a.given or not a.model):
        raise UserError("a server writes replies to requests: give their --model, and leave --openings, --passages and --given out")
    if a.server:
        from ..train.replies.remote import replies_from

        replies_from(a.server, a.served_as, a.model, a.data, a.out, a.requests, a.new_tokens, a.at_once)
        return 0
    if a.given:
        from ..train.replies.given import read_given

        if a.openings or a.passages or a.known:
            raise UserError("--given reads what the files hold: leave --openings, --passages and --known out")
        read_given(a.model, a.data, a.out, a.requests, tuple(sorted(set(a.taps))))
        return 0
    write_replies(a.model, a.data, a.out, a.requests, a.new_tokens, tuple(sorted(set(a.taps))), a.known, a.openings, a.passages)
    return 0


def train_base(arguments) -> int:
    from ..train.pretrain import PretrainConfig, train_base

    shape = {"window": arguments.window, "rows": arguments.rows}
    rates = {"learning_rate": arguments.rate, "warmup_steps": arguments.warmup, "cooldown": arguments.cooldown}
    aims = {"exit_pull": arguments.exit_pull, "unlikelihood": arguments.unlikelihood}
    config = replace(PretrainConfig(), tokens=arguments.tokens, **shape, **rates, **aims)
    train_base(arguments.data, arguments.work, arguments.start, arguments.out, config, arguments.device)
    return 0


def sizes(arguments) -> int:
    from ..train.pretrain import PretrainConfig
    from ..train.sizes import Size, compare_sizes

    a = arguments
    config = replace(PretrainConfig(), tokens=a.tokens)
    compare_sizes([Size.parse(text) for text in a.sizes], a.data, a.validation, a.prompts, a.work, a.out, config, a.device)
    return 0


def mix(arguments) -> int:
    from ..train.mix import mix

    mix(arguments.first, arguments.second, arguments.share, arguments.out)
    print(f"written to {arguments.out}")
    return 0


def distill(arguments) -> int:
    from ..train.distill import DistillConfig, distill

    a = arguments
    kind, *settings = a.head.split(":")
    if kind == EXIT and a.exit_after is None:
        raise UserError("an exit layer stands on the first N layers: say --exit-after N, or train another --head")
    if kind == EXIT and settings:
        raise UserError("the settings of an exit layer are --exit-after, --layers and --taps")
    if a.begin_with and not a.texts:
        raise UserError("--begin-with is for learning from texts that are kept: give --texts their folder too")
    if kind != EXIT and not a.texts:
        raise UserError(f"a {kind} head learns from texts that are kept: write some with `write-replies`, and give --texts their folder")
    check_folder(a.out)
    if a.texts:
        from ..train.distill_texts import HeadConfig, TextsConfig, distill_texts

        pace = {"shortlist": a.shortlist, "bits": a.bits, "rows": a.rows}
        pace |= {"steps": a.steps, "greedy_steps": a.greedy_steps, "learning_rate": a.rate}
        if kind == EXIT:
            config = TextsConfig(a.exit_after, layers=a.layers, taps=tuple(a.taps), **pace)
        else:
            config = HeadConfig(kind, settings_of(settings) | ({"taps": a.taps} if a.taps else {}), **pace)
        distill_texts(a.model, a.texts, a.work, a.out, config, a.device, a.begin_with)
        return 0
    config = DistillConfig(a.exit_after, a.generations, a.prompt_tokens, a.new_tokens, steps=a.steps, greedy_steps=a.greedy_steps)
    distill(a.model, a.data, a.prompts, a.work, a.out, config, a.device, a.quantize)
    return 0


def settings_of(parts: list[str]) -> dict[str, int]:
    """NAME=VALUE parts as a dictionary. Raises UserError."""
    found = {}
    for part in parts:
        name, _, value = part.partition("=")
        if not value.isdecimal():
            raise UserError(f"a head's setting is NAME=VALUE with a whole number, not {part[:40]!r}")
        found[name] = int(value)
    return found


def sweep(arguments) -> int:
    from ..train.distill import DistillConfig
    from ..train.sweep import sweep as run_sweep

    a = arguments
    check_folder(a.out)
    config = DistillConfig(1, a.generations, a.prompt_tokens, a.new_tokens, steps=a.steps, greedy_steps=a.greedy_steps)
    run_sweep(a.model, a.depths, a.data, a.prompts, a.work, a.out, config, a.device, a.quantize)
    return 0


def train_early(arguments) -> int:
    from ..train.early import EarlyConfig, train_early

    a = arguments
    check_folder(a.out)
    config = EarlyConfig(a.first, a.rank, a.pull, a.rows, a.steps, a.rate)
    train_early(a.model, a.exit_layer, a.texts, a.work, a.out, config, a.device)
    return 0


def push(arguments) -> int:
    from ..heads.hub import push as push_to_hub

    print(push_to_hub(arguments.folder, arguments.repository, arguments.private))
    return 0


def evaluate(arguments) -> int:
    from ..train.evaluate import evaluate

    engine = load_engine(arguments)
    report = evaluate(engine.target, engine.exit_layer, arguments.validation, arguments.prompts, arguments.max_new_tokens)
    if arguments.json:
        print(json.dumps(report))
    return 0


COMMANDS = {
    "train-base": train_base, "sizes": sizes, "mix": mix, "distill": distill, "sweep": sweep, "push": push, "evaluate": evaluate,
    "write-replies": write_replies, "train-early": train_early,
}  # fmt: skip
