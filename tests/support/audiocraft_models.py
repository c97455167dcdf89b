"""AudioGen and MAGNeT written from their papers and audiocraft's published description alone, in plain torch.

Modules carry audiocraft's names, so that their state dicts are what its files hold. No engine code is used, nor
transformers' MusicGen or EnCodec: one sound at a time, every formula spelled out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def _bare(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


# -- the language model ---------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * 2.0 * width**-0.5)
        self.out_proj = nn.Linear(width, width, bias=False)
        self.heads = heads

    def forward(self, queries: torch.Tensor, others: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        """[T, D] attends to [S, D]; ``added`` [T, S] to its scores."""
        by_query, by_key, by_value = self.in_proj_weight.chunk(3)
        q, k, v = (
            (rows @ weight.T).view(len(rows), self.heads, -1).transpose(0, 1)
            for rows, weight in ((queries, by_query), (others, by_key), (others, by_value))
        )
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if added is not None:
            scores = scores + added
        mixed = scores.softmax(dim=-1) @ v
        return self.out_proj(mixed.transpose(0, 1).reshape(len(queries), -1))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, scale: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attention = Attention(width, heads), Attention(width, heads)
        self.linear1 = nn.Linear(width, scale * width, bias=False)
        self.linear2 = nn.Linear(scale * width, width, bias=False)
        self.norm1, self.norm_cross, self.norm2 = (nn.LayerNorm(width, eps=1e-5) for _ in range(3))

    def forward(self, x: torch.Tensor, text: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, added)
        x = x + self.cross_attention(self.norm_cross(x), text, None)
        return x + self.linear2(functional.gelu(self.linear1(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, *, width: int, heads: int, layers: int, scale: int, books: int, codes: int, text: int) -> None:
        super().__init__()
        self.codes, self.books = codes, books
        self.emb = nn.ModuleList(nn.Embedding(codes + 1, width) for _ in range(books))
        self.transformer = _bare(layers=nn.ModuleList(Layer(width, heads, scale) for _ in range(layers)))
        self.out_norm = nn.LayerNorm(width, eps=1e-5)
        self.linears = nn.ModuleList(nn.Linear(width, codes, bias=False) for _ in range(books))
        description = _bare(output_proj=nn.Linear(text, width))
        self.condition_provider = _bare(conditioners=nn.ModuleDict({"description": description}))
        for norm in (each for each in self.modules() if isinstance(each, nn.LayerNorm)):
            nn.init.normal_(norm.weight, 1.0, 0.2)
            nn.init.normal_(norm.bias, 0.0, 0.2)

    def project(self, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.condition_provider.conditioners["description"].output_proj(states)  # type: ignore[union-attr, operator]
        return found

    def logits(self, codes: torch.Tensor, text: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """Return [K, T, V] of codes [K, T] and the projected text [L, D]."""
        x = sum(emb(row) for emb, row in zip(self.emb, codes, strict=True))
        half = x.shape[1] // 2
        phase = torch.arange(len(x))[:, None] / 10_000 ** (torch.arange(half) / (half - 1))
        x = x + torch.cat([phase.cos(), phase.sin()], dim=1)
        for layer in self.transformer.layers:  # type: ignore[union-attr]
            x = layer(x, text, added)
        x = self.out_norm(x)
        return torch.stack([linear(x) for linear in self.linears])


def causal(frames: int) -> torch.Tensor:
    return torch.full((frames, frames), -math.inf).triu(1)


def near(frames: int, reach: int) -> torch.Tensor:
    at = torch.arange(frames)
    return torch.where((at[:, None] - at[None]).abs() <= reach, 0.0, -math.inf)


# -- the codec ------------------------------------------------------------------------------------


class _Normed(nn.Module):
    """A convolution whose weight is a direction and a length (weight norm, as torch stored it before 2.0)."""

    def __init__(self, shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.randn(*shape))
        self.weight_g = nn.Parameter(torch.rand(shape[0], 1, 1) * 0.6 + 0.9)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.05)

    @property
    def weight(self) -> torch.Tensor:
        return self.weight_g * self.weight_v / self.weight_v.flatten(1).norm(dim=1)[:, None, None]


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = _bare(conv=_Normed((outputs, inputs, kernel), outputs))
        self.stride, self.dilation, self.span = stride, dilation, (kernel - 1) * dilation + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pad = self.span - self.stride
        left, right = pad - pad // 2, pad // 2
        windows = math.ceil((x.shape[-1] + pad - self.span) / self.stride) + 1
        more = (windows - 1) * self.stride + self.span - pad - x.shape[-1]
        x = functional.pad(x, (left, right + more))
        inner: Any = self.conv.conv
        return functional.conv1d(x, inner.weight, inner.bias, stride=self.stride, dilation=self.dilation)


class Raise(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convtr = _bare(convtr=_Normed((inputs, outputs, kernel), outputs))
        self.stride, self.pad = stride, kernel - stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner: Any = self.convtr.convtr
        x = functional.conv_transpose1d(x, inner.weight, inner.bias, stride=self.stride)
        right = self.pad // 2
        return x[..., self.pad - right : x.shape[-1] - right]


class Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        half = width // 2
        self.block = nn.Sequential(nn.ELU(), Conv(width, half, 3, dilation=dilation), nn.ELU(), Conv(half, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class Recurrent(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.permute(2, 0, 1)
        return (self.lstm(rows)[0] + rows).permute(1, 2, 0)


class Codec(nn.Module):
    """SEANet around a residual quantiser."""

    def __init__(self, *, filters: int, ratios: Sequence[int], width: int, books: int, codes: int) -> None:
        super().__init__()
        self.hop = math.prod(ratios)
        down: list[nn.Module] = [Conv(1, filters, 7)]
        size = filters
        for ratio in reversed(ratios):
            down += [Residual(size, 1), nn.ELU(), Conv(size, 2 * size, 2 * ratio, stride=ratio)]
            size *= 2
        down += [Recurrent(size, 2), nn.ELU(), Conv(size, width, 7)]
        up: list[nn.Module] = [Conv(width, size, 7), Recurrent(size, 2)]
        for ratio in ratios:
            up += [nn.ELU(), Raise(size, size // 2, 2 * ratio, ratio), Residual(size // 2, 1)]
            size //= 2
        up += [nn.ELU(), Conv(filters, 1, 7)]
        self.encoder, self.decoder = _bare(model=nn.Sequential(*down)), _bare(model=nn.Sequential(*up))
        layers = nn.ModuleList()
        for _ in range(books):
            book = nn.Module()
            book.register_buffer("inited", torch.ones(1))
            book.register_buffer("cluster_size", torch.ones(codes))
            book.register_buffer("embed", torch.randn(codes, width))
            book.register_buffer("embed_avg", torch.randn(codes, width))
            layers.append(_bare(_codebook=book))
        self.quantizer = _bare(vq=_bare(layers=layers))

    def _books(self) -> list[torch.Tensor]:
        return [layer._codebook.embed for layer in self.quantizer.vq.layers]  # type: ignore[union-attr, misc]

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return [1, T] of codes [K, frames]."""
        inner = sum(book[row] for book, row in zip(self._books(), codes, strict=False))
        found: torch.Tensor = self.decoder.model(inner.T[None])[0]  # type: ignore[operator, union-attr]
        return found

    def encode(self, wave: torch.Tensor) -> torch.Tensor:
        """Return codes [K, frames] of [1, T]."""
        rest = self.encoder.model(wave[None])[0].T  # type: ignore[operator]
        found = []
        for book in self._books():
            nearest = torch.cdist(rest, book).argmin(dim=1)
            found.append(nearest)
            rest = rest - book[nearest]
        return torch.stack(found)


# -- AudioGen's sampler ---------------------------------------------------------------------------


def audiogen_codes(
    model: LanguageModel,
    text: torch.Tensor,
    *,
    frames: int,
    luck: torch.Generator,
    guidance: float = 3.0,
    temperature: float = 1.0,
    top_k: int = 250,
    top_p: float = 1.0,
    prompt: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return [K, frames] of one window: codebook k comes k steps late, each step reads everything anew.

    Args:
        luck: draws the Gumbel noise, [K, V] a step.
        prompt: [K, P] codes that are given.
    """
    books, nothing = model.books, torch.zeros(1, model.out_norm.weight.shape[0])
    begun = 0 if prompt is None else prompt.shape[1]
    codes = torch.full((books, frames), -1)
    if prompt is not None:
        codes[:, :begun] = prompt
    for step in range(1 + begun, frames + books):
        grid = torch.full((books, step), model.codes)
        for book in range(books):
            for at in range(1, step):
                if 0 <= at - 1 - book < frames:
                    grid[book, at] = codes[book, at - 1 - book]
        assert (grid >= 0).all()
        logits = model.logits(grid, text, causal(step))[:, -1]
        if guidance > 1:
            plain = model.logits(grid, nothing, causal(step))[:, -1]
            logits = plain + guidance * (logits - plain)
        logits = logits / (temperature or 1.0)
        uniform = torch.rand(logits.shape, generator=luck).clamp(min=2.0**-25)
        chances = torch.softmax(logits, dim=-1)
        if 0 < top_k < model.codes:
            chances = _narrowed(chances, 0.0, top_k)
        if top_p < 1:
            chances = _narrowed(chances / chances.sum(dim=1, keepdim=True), top_p, 0)
        noisy = chances.log() - (torch.log(-torch.log(uniform)) if temperature else 0.0)
        for book, token in enumerate(noisy.argmax(dim=1).tolist()):
            frame = step - 1 - book
            if 0 <= frame < frames and codes[book, frame] < 0:
                codes[book, frame] = token
    return codes


# -- MAGNeT's sampler -----------------------------------------------------------------------------


def magnet_codes(
    model: LanguageModel,
    text: torch.Tensor,
    without: torch.Tensor | None,
    *,
    frames: int,
    luck: torch.Generator,
    steps: Sequence[int],
    temperature: float,
    top_p: float,
    top_k: int = 0,
    guidance: tuple[float, float],
    reach: int,
    span: int = 3,
    stride1: bool = False,
    prompt: torch.Tensor | None = None,
    keep: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return [K, frames] (whole spans of them), by the paper's section 3: codebook by codebook, span by span.

    Args:
        model: its codes count stands for a masked token.
        luck: draws a token from its chances, for all positions of a step at once.
        text, without: projected states of the prompt, and of what guidance leads away from (None: no guidance).
        guidance: at a codebook's first step and where nothing is masked any more.
        prompt: [K, P] codes that are given.
        keep: bool [P], those of them that stay; None: all.
    """
    given = 0 if prompt is None else prompt.shape[1]
    if not stride1:
        frames = frames // span * span
    codes = torch.full((model.books, frames), model.codes)
    stays = torch.zeros(frames, dtype=torch.bool)
    if prompt is not None:
        stays[:given] = True if keep is None else keep
        codes[:, stays] = prompt[:, stays[:given]]
    fixed = stays if stride1 else stays.view(-1, span).all(dim=1)
    for book, count in enumerate(steps):
        scores = torch.zeros(frames if stride1 else frames // span)
        scores[fixed] = -1e4
        free = int((~fixed).sum())
        row = torch.full((frames,), model.codes)
        for step, time in enumerate(torch.linspace(0, 1, count)):
            share = torch.cos(time * math.pi * 0.5)
            wanted = max(int((share * free).item()), 1)
            if stride1:
                row[_worst_overlapping(scores, wanted, span)] = model.codes
            else:
                for cell in scores.topk(wanted).indices.tolist():
                    row[cell * span : (cell + 1) * span] = model.codes
                chosen = set(scores.topk(wanted).indices.tolist())
            if prompt is not None:
                row[stays] = prompt[book, stays[:given]]
            codes[book] = row
            added = torch.zeros(frames, frames) if book == 0 else near(frames, reach)
            logits = model.logits(codes, text, added)[book]
            if without is not None:
                plain = model.logits(codes, without, added)[book]
                scale = float(share) * guidance[0] + (1 - float(share)) * guidance[1]
                logits = plain + (logits - plain) * scale
            chances = torch.softmax(logits / max(temperature * (count - 1 - step) / count, 1e-2), dim=-1)
            drawn = torch.multinomial(_narrowed(chances, top_p, top_k), 1, generator=luck)[:, 0]
            absent = row == model.codes
            row = torch.where(absent, drawn, row)
            codes[book] = row
            likely = chances.gather(1, drawn[:, None])[:, 0]
            if stride1:
                scores = torch.where(absent, -likely.log(), -1e4)
            else:
                best = 1 - likely.view(-1, span).amax(dim=1)
                scores = torch.tensor([float(best[c]) if c in chosen else -1e4 for c in range(len(best))])
    return codes


def _narrowed(chances: torch.Tensor, top_p: float, top_k: int) -> torch.Tensor:
    """Keep the likeliest tokens only, one row at a time."""
    if not top_p and not top_k:
        return chances
    kept = torch.zeros_like(chances)
    ordered, order = chances.sort(dim=1, descending=True)
    for row, out, values, tokens in zip(chances, kept, ordered.tolist(), order, strict=True):
        count, total = 0, 0.0
        while count < len(values) and (total <= top_p if top_p else count < top_k):
            total += values[count]
            count += 1
        out[tokens[:count]] = row[tokens[:count]]
    return kept


def _worst_overlapping(scores: torch.Tensor, wanted: int, span: int) -> torch.Tensor:
    """Mask the fewest worst spans that bring the masked tokens as near to ``wanted`` as bisection comes."""
    order = sorted(range(len(scores) - span + 1), key=lambda at: -float(scores[at : at + span].sum()))
    wanted = max(wanted, span)

    def covered(count: int) -> torch.Tensor:
        mask = torch.zeros(len(scores), dtype=torch.bool)
        for at in order[:count]:
            mask[at : at + span] = True
        return mask

    low, high = wanted // span, wanted - span + 1
    middle = round(0.5 * (low + high))
    mask = covered(middle)
    while low < middle < high:
        mask = covered(middle)
        low, high = (low, middle) if int(mask.sum()) > wanted else (middle, high)
        middle = round(0.5 * (low + high))
    return mask
