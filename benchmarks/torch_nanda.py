"""The plain PyTorch script of the same step: what a user would run instead of jaxgen."""

import math

import torch
from torch import nn

from jaxgen.condition import Condition


class Transformer(nn.Module):
    """One layer, no LayerNorm; every position is computed, the last one is read."""

    def __init__(self, vocabulary: int, length: int, width: int, heads: int, mlp_width: int):
        super().__init__()
        self.heads = heads
        draw = lambda *shape, scale: nn.Parameter(torch.randn(*shape) / math.sqrt(scale))  # noqa: E731
        self.embed = draw(vocabulary, width, scale=width)
        self.positions = draw(length, width, scale=width)
        self.query, self.key, self.value, self.output = (draw(width, width, scale=width) for _ in range(4))
        self.w_in, self.b_in = draw(width, mlp_width, scale=width), nn.Parameter(torch.zeros(mlp_width))
        self.w_out, self.b_out = draw(mlp_width, width, scale=width), nn.Parameter(torch.zeros(width))
        self.unembed = draw(width, vocabulary, scale=vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed[tokens] + self.positions
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(x @ self.query), split(x @ self.key), split(x @ self.value)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        hidden_later = torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), diagonal=1)
        pattern = scores.masked_fill(hidden_later, -torch.inf).softmax(-1)
        x = x + (pattern @ v).transpose(1, 2).flatten(-2) @ self.output
        x = x + torch.relu(x @ self.w_in + self.b_in) @ self.w_out + self.b_out
        return (x @ self.unembed)[:, -1]


class Script:
    """Full-batch AdamW; the warm-up of ten steps is left out, as it costs nothing."""

    def __init__(self, condition: Condition, device: str = "cpu"):
        torch.manual_seed(0)
        torch.set_default_device(device)
        shape, model, optimizer = condition.task.shape(), condition.model, condition.optimizer
        train = condition.task.table(0)["train"]
        self.inputs = torch.tensor(train.inputs, dtype=torch.long)
        self.targets = torch.tensor(train.targets[:, 0], dtype=torch.long)
        self.model = Transformer(shape.vocabulary, shape.length, model.width, model.heads, model.mlp_width)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            betas=(optimizer.b1, optimizer.b2),
            capturable=device != "cpu",
        )

    def step(self) -> None:
        loss = nn.functional.cross_entropy(self.model(self.inputs), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()
        if self.inputs.is_cuda:
            torch.cuda.synchronize()


class Graph(Script):
    """The same as one CUDA graph a step, which is launched at once."""

    def __init__(self, condition: Condition):
        super().__init__(condition, "cuda")
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            super().steps(3)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.graph.replay()
        torch.cuda.synchronize()
