"""The report as text: a table for the terminal and CSV."""

import csv
import io

from ..cli.terminal import printable

COLUMNS = (
    "group", "x", "temperature", "acceptance", "new_tokens", "method", "drafter", "controller", "category", "prompts",
    "speedup", "low", "high", "median_speedup", "speedup_over_fastest_plain", "tokens_per_second", "acceptance_rate",
    "mean_accepted_length", "mean_accepted_low", "mean_accepted_high", "target_passes_per_token", "draft_passes_per_token", "draft_share",
    "verify_share", "overhead_share", "joules_per_token", "peak_bytes", "regret_percent", "identical", "compared",
)  # fmt: skip


def to_csv(report: dict) -> str:
    """One line per group, method and category; what is known of a method as a whole is in its line `all`."""
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    lines.writeheader()
    for group in report["groups"]:
        setting = {"group": group["name"], "x": group["x"], "new_tokens": group["new_tokens"]}
        setting |= {name: group["sampling"][name] for name in ("temperature", "acceptance")}
        for name, row in group["methods"].items():
            head = setting | {"method": name} | {key: row[key] for key in ("drafter", "controller")}
            lines.writerow(head | {"category": "all"} | _spread(row["speedup"]) | _whole(row))
            for category, spread in row["categories"].items():
                lines.writerow(head | {"category": _cell(category)} | _spread(spread))
    return text.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet must not take a category for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _spread(spread: dict) -> dict:
    low, high = spread["interval"]
    return {"prompts": spread["prompts"], "speedup": spread["overall"], "low": low, "high": high, "median_speedup": spread["median"]}


def _whole(row: dict) -> dict:
    names = ("tokens_per_second", "acceptance_rate", "mean_accepted_length", "target_passes_per_token", "draft_passes_per_token")
    found = {name: row[name] for name in (*names, "joules_per_token", "peak_bytes", "identical", "compared")}
    found |= {f"{stage}_share": share for stage, share in (row["time"] or {}).items()}
    found["mean_accepted_low"], found["mean_accepted_high"] = row["mean_accepted_interval"]
    found["speedup_over_fastest_plain"] = row["speedup_over_fastest_plain"]["overall"]
    return found | {"regret_percent": row["regret"]["percent"] if row["regret"] else None}


def print_report(report: dict) -> None:
    model, machine = report["model"], report["machine"]
    depths = f"{model['layers']} layers, exit after {model.get('exit_after', '-')}"
    print(f"{printable(model['name'])}, {model['dtype']}, {model['exactness']}, {depths}")
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name, note in report["notes"].items():
        print(f"{name}: {printable(note)}")
    for group in report["groups"]:
        sampling = ", ".join(f"{name} {value}" for name, value in group["sampling"].items())
        size = f"{len(group['prompts'])} prompts, {group['new_tokens']} new tokens, {group['repeats']} repeats"
        print(f"\n{group['title']}: {size}, {sampling}")
        print("speedup over vanilla and tokens per round on all prompts together, with 95 % intervals; median: of the prompts' own")
        print(f"the fastest without drafts is {group['fastest_plain']}")
        width = max(map(len, group["methods"]))
        titles = "tokens/s  speedup  (interval)   median  over fastest  acceptance  tokens/round  (interval)"
        titles += "   draft  verify   rest   regret  identical"
        print(f"{'method':>{width}}  {titles}")
        for name, row in group["methods"].items():
            print(f"{name:>{width}}  {_line(row)}")
        for name, row in group["methods"].items():
            if (regret := row["regret"]) and name != regret["against"] and not row["controller"].startswith("fixed"):
                print(f"speed of {name}, with its 90 % interval: {_against(regret)}")


def _against(regret: dict) -> str:
    pairs = ((regret["against"], regret["speed"]), ("beta", regret["over_beta"]))
    return ", ".join(f"{p['overall']:.3f} times {name}'s ({p['interval'][0]:.3f}-{p['interval'][1]:.3f})" for name, p in pairs if p)


def _line(row: dict) -> str:
    low, high = row["speedup"]["interval"]
    rate = "-" if row["acceptance_rate"] is None else f"{row['acceptance_rate']:.3f}"
    stages = "    -       -      -" if row["time"] is None else "  ".join(f"{share:5.1%}" for share in row["time"].values())
    regret = "-" if row["regret"] is None else f"{row['regret']['percent']:+.1f}%"
    same = "same law" if row["identical"] is None else f"{row['identical']} of {row['compared']}"
    speed = f"{row['tokens_per_second']:8.1f}  {row['speedup']['overall']:6.2f}x  ({low:.2f}-{high:.2f})  {row['speedup']['median']:6.2f}x"
    over, (least, most) = f"{row['speedup_over_fastest_plain']['overall']:11.2f}x", row["mean_accepted_interval"]
    rounds = f"{row['mean_accepted_length']:12.2f}  ({least:.2f}-{most:.2f})"
    return f"{speed}  {over}  {rate:>10}  {rounds}  {stages}  {regret:>7}  {same}"
