"""The peer of gpu_encoder_bench: the same encoder in PyTorch, bf16, on the same card.

    torch_peer.py [--shapes BENCH.jsonl] [--out FILE] [--compile-only] [--smoke]

BERT-base with random weights: one projection for q, k and v, scaled_dot_product_attention, exact GELU, mean pooling. Each
shape runs eagerly and through torch.compile, both called and replayed as a CUDA graph; whoever reads the record takes the
best. A batch of unequal lengths is padded and masked. Prints one JSON object per line, of kinds
- torch: versions and the device
- matmul: the rate of a bf16 matrix product, x [M, K] times a weight as nn.Linear keeps it [N, K]
- torch_forward: one shape in one variant; deviceMs by events around the forward, endToEndMs with the ids' way in and the
  result's way out.
--shapes reads the lengths that the bench wrote. --compile-only fills the compiler's cache and times nothing. --smoke runs a
tiny model on whatever device there is.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

DEFAULT_SHAPES = {
    "1x32": [32],
    "1x128": [128],
    "8x128": [128] * 8,
    "32x128": [128] * 32,
    "8x512": [512] * 8,
    "64x128": [128] * 64,
    "ragged64": [8 + 8 * i for i in range(64)],
}
# qkv, attention output, FFN up and FFN down of BERT-base: (N, K)
LAYER_SHAPES = {"qkv": (2304, 768), "attn_out": (768, 768), "ffn_up": (3072, 768), "ffn_down": (768, 3072)}
WARM_UP = 10
REPETITIONS = 60


class Layer(nn.Module):
    def __init__(self, hidden, heads, intermediate):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attn_out = nn.Linear(hidden, hidden)
        self.attn_norm = nn.LayerNorm(hidden, eps=1e-12)
        self.up = nn.Linear(hidden, intermediate)
        self.down = nn.Linear(intermediate, hidden)
        self.ffn_norm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x, mask):
        batch, length, hidden = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        context = context.transpose(1, 2).reshape(batch, length, hidden)
        x = self.attn_norm(x + self.attn_out(context))
        return self.ffn_norm(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self, layers, hidden, heads, intermediate, vocab):
        super().__init__()
        self.word = nn.Embedding(vocab, hidden)
        self.position = nn.Embedding(512, hidden)
        self.token_type = nn.Embedding(2, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-12)
        self.layers = nn.ModuleList(Layer(hidden, heads, intermediate) for _ in range(layers))

    def forward(self, ids, token_types, mask):
        """ids, token_types [B, S]; mask [B, S], or None where nothing is padded. Returns [B, E]."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.word(ids) + self.position(positions) + self.token_type(token_types))
        attention_mask = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, attention_mask)
        if mask is None:
            return x.float().mean(dim=1)
        weight = mask[:, :, None].float()
        return (x.float() * weight).sum(dim=1) / weight.sum(dim=1)


class Batch:
    """Ids on the host, and where the device reads them."""

    def __init__(self, lengths, vocab, device):
        longest = max(lengths)
        generator = torch.Generator().manual_seed(1)
        pinned = device.type == "cuda"
        self.host_ids = torch.randint(0, vocab, (len(lengths), longest), generator=generator)
        if pinned:
            self.host_ids = self.host_ids.pin_memory()
        self.ids = self.host_ids.to(device)
        self.token_types = torch.zeros_like(self.ids)
        self.mask = None
        if min(lengths) < longest:
            steps = torch.arange(longest, device=device)
            self.mask = steps[None, :] < torch.tensor(lengths, device=device)[:, None]

    def upload(self):
        self.ids.copy_(self.host_ids, non_blocking=True)

    def run(self, model):
        return model(self.ids, self.token_types, self.mask)


def captured(function):
    """`function` as a CUDA graph: a function that replays it and returns its output."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()

    def replay():
        graph.replay()
        return output

    return replay


def device_times(function, repetitions=REPETITIONS):
    for _ in range(WARM_UP):
        function()
    times = []
    for _ in range(repetitions):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return times


def end_to_end_times(batch, function):
    times = []
    for i in range(WARM_UP + REPETITIONS):
        begin = time.perf_counter()
        batch.upload()
        function().cpu()
        if i >= WARM_UP:
            times.append((time.perf_counter() - begin) * 1e3)
    return times


def report(sink, **fields):
    print(json.dumps(fields), file=sink, flush=True)


def measure_matmuls(sink, device):
    """Random data: products of zeros run faster, because they draw less power."""
    products = {"8192": (8192, 8192, 8192)}
    for rows in (4096, 8192, 16640):
        for name, (columns, depth) in LAYER_SHAPES.items():
            products[f"{name}/{rows}"] = (rows, columns, depth)
    for name, (rows, columns, depth) in products.items():
        x = torch.randn(rows, depth, device=device, dtype=torch.bfloat16)
        # several weights in turn, so that a small one comes from memory as it does in a model
        weights = [torch.randn(columns, depth, device=device, dtype=torch.bfloat16) for _ in range(4)]

        def products_in_turn():
            for weight in weights:
                F.linear(x, weight)

        ms = statistics.median(device_times(captured(products_in_turn), 30)) / len(weights)
        report(sink, kind="matmul", name=name, M=rows, N=columns, K=depth, ms=ms,
               tflops=2 * rows * columns * depth / ms / 1e9)


def measure_shape(sink, model, name, batch, tokens):
    compiled = torch.compile(model, dynamic=False)
    variants = {
        "eager": lambda: lambda: batch.run(model),
        "eager-graph": lambda: captured(lambda: batch.run(model)),
        "compiled": lambda: lambda: batch.run(compiled),
        "compiled-graph": lambda: captured(lambda: batch.run(compiled)),
    }
    for variant, make in variants.items():
        try:
            function = make()
            times = device_times(function)
            waits = end_to_end_times(batch, function)
        except Exception as error:  # one variant's failure must not hide the others' numbers
            print(f"{name} {variant}: {error}", file=sys.stderr)
            report(sink, kind="torch_failure", shape=name, variant=variant, error=type(error).__name__)
            continue
        report(sink, kind="torch_forward", shape=name, variant=variant, tokens=tokens,
               paddedTokens=batch.ids.numel(), deviceMs=statistics.median(times),
               endToEndMs=statistics.median(waits), repetitions=len(times))


def read_shapes(path):
    with open(path, encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.startswith("{")]
    return {record["shape"]: record["lengths"] for record in records if record["kind"] == "lengths"}


def smoke(sink):
    """Eager on any device: that the code runs, no more."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Encoder(2, 128, 4, 256, 100).to(device, torch.bfloat16).eval()
    for lengths in ([8], [5, 17, 40]):
        output = Batch(lengths, 100, device).run(model)
        report(sink, kind="smoke", lengths=lengths, shape=list(output.shape), finite=bool(output.isfinite().all()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes")
    parser.add_argument("--out")
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    sink = open(arguments.out, "w", encoding="utf-8") if arguments.out else sys.stdout
    torch.manual_seed(1)
    with torch.inference_mode():
        if arguments.smoke:
            smoke(sink)
            return
        device = torch.device("cuda")
        report(sink, kind="torch", torch=torch.__version__, cuda=torch.version.cuda,
               device=torch.cuda.get_device_name(device))
        shapes = read_shapes(arguments.shapes) if arguments.shapes else DEFAULT_SHAPES
        model = Encoder(12, 768, 12, 3072, 30522).to(device, torch.bfloat16).eval()
        if not arguments.compile_only:
            measure_matmuls(sink, device)
        for name, lengths in shapes.items():
            # what was compiled for the shape before would be kept as a guard to check on every call
            torch.compiler.reset()
            batch = Batch(lengths, 30522, device)
            if arguments.compile_only:
                batch.run(torch.compile(model, dynamic=False))
            else:
                measure_shape(sink, model, name, batch, sum(lengths))


if __name__ == "__main__":
    main()
