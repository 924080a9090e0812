"""Joins what one run of bench/gpu/run.sh measured and holds it against the bars.

    summary.py DIR [--write FILE]

DIR has encoder.jsonl, kernels.jsonl and torch.jsonl (a missing one leaves its bars open). Prints a table, writes everything
with commit and date to FILE, and exits with 1 when a bar is missed or could not be measured.
"""

import argparse
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# level 1: the peer's time over ours, at least
SPEEDUP_BARS = {"32x128": 1.0, "8x512": 1.0, "1x32": 1.5, "1x128": 1.5, "8x128": 1.5, "ragged64": 1.8}
# share of the measured bf16 matmul rate
MATMUL_SHARE_BAR = 0.6
# time over level 1's, at most computeFraction and so much more; the shapes have 4096 tokens and more
COST_MARGIN = 0.08
COST_TOKENS = 4096
COST_SHAPES = ("32x128", "8x512", "64x128", "ragged64")
COST_LEVELS = (0.5, 0.25, 0.1)
SMALLEST_COST_BAR = 0.45  # 1x32 at level 0.1
LATENCY_BAR_US = 150.0  # 1x32 at level 1, end to end
MIXED_IDEAL_BAR = 1.10
MIXED_SPLIT_BAR = 1.5
# what arrives together at a busy server, and what fills the card
MIXED_IDEAL_SHAPE = "32x128"
MIXED_SPLIT_SHAPE = "8x128"


def read(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def of_kind(records, kind):
    return [record for record in records if record["kind"] == kind]


class Bars:
    def __init__(self):
        self.rows = []

    def hold(self, name, value, bound, at_least):
        """value None: not measured."""
        passed = value is not None and (value >= bound if at_least else value <= bound)
        self.rows.append({"bar": name, "value": value, "bound": bound, "atLeast": at_least, "passed": passed})

    def at_least(self, name, value, bound):
        self.hold(name, value, bound, True)

    def at_most(self, name, value, bound):
        self.hold(name, value, bound, False)

    def table(self):
        lines = []
        for row in self.rows:
            value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
            verdict = "ok" if row["passed"] else "open" if row["value"] is None else "MISSED"
            lines.append(f"{row['bar']:<58} {value:>12}  {'>=' if row['atLeast'] else '<='} {row['bound']:<7.3f} {verdict}")
        return lines


def ratio(numerator, denominator):
    return None if numerator is None or denominator is None else numerator / denominator


def peer_best(torch, shape, field):
    """The best variant's time: every way of running the peer counts."""
    times = [r[field] for r in of_kind(torch, "torch_forward") if r["shape"] == shape]
    return min(times, default=None)


def hold_bars(encoder, kernels, torch):
    bars = Bars()
    forwards = {
        (r["shape"], r["level"]): r for r in of_kind(encoder, "forward") if r["variant"] == "auto"
    }

    def ours(shape, level, field):
        record = forwards.get((shape, level))
        return None if record is None else record[field]

    for shape, bound in SPEEDUP_BARS.items():
        peer = peer_best(torch, shape, "endToEndMs")
        bars.at_least(f"level 1 over PyTorch, {shape}", ratio(peer, ours(shape, 1, "endToEndMs")), bound)

    peaks = [r["tflops"] for r in of_kind(torch, "matmul") if r["name"] == "8192"]
    peak = peaks[0] if peaks else None
    for shape in ("64x128", "ragged64"):  # 8192 tokens and more
        bars.at_least(f"share of the matmul rate, {shape}", ratio(ours(shape, 1, "tflops"), peak), MATMUL_SHARE_BAR)

    for shape in COST_SHAPES:
        for level in COST_LEVELS:
            cost = ratio(ours(shape, level, "deviceMs"), ours(shape, 1, "deviceMs"))
            fraction = ours(shape, level, "computeFraction")
            bars.at_most(f"time over level 1, {shape} at {level}", cost, (fraction or level) + COST_MARGIN)
    cost = ratio(ours("1x32", 0.1, "deviceMs"), ours("1x32", 1, "deviceMs"))
    bars.at_most("time over level 1, 1x32 at 0.1", cost, SMALLEST_COST_BAR)

    mixed = {r["shape"]: r for r in of_kind(encoder, "mixed")}
    fill = mixed.get(MIXED_IDEAL_SHAPE, {})
    bars.at_most(f"mixed levels over their ideal sum, {MIXED_IDEAL_SHAPE}",
                 ratio(fill.get("deviceMs"), fill.get("idealMs")), MIXED_IDEAL_BAR)
    busy = mixed.get(MIXED_SPLIT_SHAPE, {})
    bars.at_least(f"mixed levels over a forward for each, {MIXED_SPLIT_SHAPE}",
                  ratio(busy.get("splitMs"), busy.get("deviceMs")), MIXED_SPLIT_BAR)

    latency = ours("1x32", 1, "endToEndMs")
    bars.at_most("microseconds end to end, 1x32", None if latency is None else latency * 1e3, LATENCY_BAR_US)
    return bars


def print_measurements(encoder, kernels, torch):
    for record in of_kind(encoder, "device"):
        print(f"{record['name']}, {record['numSms']} SMs" + (", EMULATED" if record["emulated"] else ""))
    for record in of_kind(kernels, "copy"):
        print(f"copy {record['gbPerS']:.0f} GB/s")
    for record in of_kind(torch, "matmul"):
        print(f"torch matmul {record['name']:<15} {record['tflops']:7.1f} TFLOP/s")
    print(f"{'forward':<10} {'path':<20} {'level':>5} {'device ms':>10} {'end to end':>10} {'TFLOP/s':>8} {'torch ms':>9}")
    for record in of_kind(encoder, "forward"):
        if record["variant"] != "auto" and record["level"] not in (1, 0.1):
            continue
        peer = peer_best(torch, record["shape"], "endToEndMs") if record["level"] == 1 else None
        print(f"{record['shape']:<10} {record['variant']:<20} {record['level']:>5} {record['deviceMs']:>10.4f} "
              f"{record['endToEndMs']:>10.4f} {record['tflops']:>8.1f} {'' if peer is None else format(peer, '9.4f')}")
    for record in of_kind(encoder, "mixed"):
        print(f"mixed {record['shape']:<10} {record['deviceMs']:.4f} ms, ideal {record['idealMs']:.4f}, "
              f"a forward for each level {record['splitMs']:.4f}")
    for record in of_kind(kernels, "linear"):
        if record["level"] == 1 or record["M"] >= COST_TOKENS:
            print(f"linear {record['layer']:<9} {record['implementation']:<6} {record['level']:>5} "
                  f"{record['M']:>6}x{record['N']}x{record['K']:<5} {record['us']:9.1f} us {record['tflops']:7.1f} TFLOP/s")
    for record in of_kind(kernels, "attention"):
        print(f"attention {record['shape']:<10} {record['us']:9.1f} us {record['tflops']:7.1f} TFLOP/s")
    for record in of_kind(kernels, "layer_norm"):
        print(f"layer_norm {record['M']:>6} rows {record['us']:9.1f} us {record['gbPerS']:7.0f} GB/s")
    for record in of_kind(encoder, "failure") + of_kind(torch, "torch_failure"):
        print("failed:", {key: value for key, value in record.items() if key != "kind"})


def git(*arguments):
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    encoder, kernels, torch = (read(arguments.folder / f"{name}.jsonl") for name in ("encoder", "kernels", "torch"))
    bars = hold_bars(encoder, kernels, torch)
    print_measurements(encoder, kernels, torch)
    print("\n".join(bars.table()))
    if arguments.write:
        record = {
            "commit": git("rev-parse", "HEAD"),
            "modified": bool(git("status", "--porcelain", "--untracked-files=no", "--", "native", "cmake")),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "bars": bars.rows,
            "records": encoder + kernels + torch,
        }
        arguments.write.write_text(json.dumps(record, indent=1) + "\n")
    sys.exit(0 if all(row["passed"] for row in bars.rows) else 1)


if __name__ == "__main__":
    main()
