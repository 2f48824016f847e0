"""What generated models' parts are made from, and those that are functions of a tensor alone.

A part maps `(rows, width)` to `(rows, width)`. It is made from a `Pick`, which tells variants
apart by one small number, and from the width, a multiple of 4. Beside its tensor it is given
`world`: the model's other arguments, what the parts before it gave, and lists for further
losses and outputs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

#: Makers of parts by the names that descriptions have for them, from a `Pick` and a width.
PARTS = {}


class Pick:
    """Choices that follow from one number; 0 takes the first option everywhere."""

    def __init__(self, seed):
        self.left = seed

    def __call__(self, *options):
        self.left, at = divmod(self.left, len(options))
        return options[at]


def part(name):
    """Register a part under a name."""

    def register(made):
        PARTS[name] = made
        return made

    return register


class Applied(nn.Module):
    """One of several functions of the tensor alone, perhaps after a linear layer."""

    def __init__(self, pick, width, functions):
        super().__init__()
        self.function = pick(*functions)
        self.linear = pick(nn.Linear(width, width), None)

    def forward(self, x, world):
        return self.function(x if self.linear is None else self.linear(x))


class Fresh(Applied):
    """The function may change what it is given: nobody else has it."""

    def forward(self, x, world):
        return self.function(x * 1.5 if self.linear is None else self.linear(x))


def applied(name, *functions, kind=Applied):
    PARTS[name] = lambda pick, width: kind(pick, width, functions)


def doubled(view):
    """Change a view of what was just made, and go on with the whole."""

    def function(h):
        view(h).mul_(2)
        return h

    return function


def shifted(x):
    found = torch.zeros_like(x)
    found[:, 1:] = x[:, :-1]
    found[:, 0] += x[:, -1]
    return found


def filled(x):
    found = x.new_empty(x.shape)
    for at, row in enumerate(x.unbind(0)):
        found[at] = row * (at + 1)
    return found


def images(x):
    """As two channels of a height of two."""
    return x.view(x.shape[0], 2, 2, -1)


def rows_of(x):
    """As two channels of a length."""
    return x.view(x.shape[0], 2, -1)


applied(
    "activation",
    *(torch.tanh, torch.sigmoid, functional.gelu, functional.silu, functional.softplus),
    *(functional.mish, functional.hardswish, functional.elu, functional.selu, torch.sin),
    *(functional.relu, functional.leaky_relu, functional.logsigmoid, functional.hardtanh),
    *(functional.softsign, functional.tanhshrink, functional.celu, torch.atan, torch.erf),
    *(lambda x: torch.exp(-x.square()), lambda x: x.abs().add(1).log(), functional.relu6),
)
applied(
    "inplace",
    *(torch.relu_, nn.ELU(inplace=True), nn.Hardtanh(inplace=True), nn.SiLU(inplace=True)),
    *(functional.leaky_relu_, torch.tanh_, torch.sigmoid_, nn.Dropout(0.3, inplace=True)),
    *(lambda h: h.mul_(2), lambda h: h.add_(1).mul_(0.5), lambda h: h.clamp_(-1, 1)),
    *(lambda h: h.sub_(h.mean(0)), lambda h: torch.tanh(h).add_(h), lambda h: h.exp_().log1p_()),
    *(doubled(lambda h: h[:, ::2]), doubled(lambda h: h[0]), doubled(lambda h: h.t())),
    *(doubled(lambda h: h.view(-1)[2:]), doubled(lambda h: h.narrow(1, 1, 2))),
    *(doubled(lambda h: h.unflatten(1, (2, -1)).select(1, 0)), doubled(lambda h: h.diagonal())),
    *(lambda h: h.masked_fill_(h < 0, 0.1), lambda h: h.index_fill_(1, h.new_zeros(1).long(), 2)),
    kind=Fresh,
)
applied(
    "softmax",
    *(lambda x: x.softmax(-1) * 2, lambda x: x.log_softmax(-1), lambda x: x.softmax(0)),
    *(lambda x: functional.softmin(x, 1), lambda x: x - x.logsumexp(1, keepdim=True)),
    *(lambda x: functional.gumbel_softmax(x), lambda x: functional.gumbel_softmax(x, hard=True)),
)
applied(
    "scan",
    *(lambda x: x.cumsum(1) * 0.3, lambda x: x.cumsum(0) * 0.3, lambda x: x.tanh().cumprod(1)),
    *(
        lambda x: x.logcumsumexp(1) * 0.3,
        lambda x: x.cummax(1)[0],
        lambda x: x.diff(dim=1, n=1, append=x[:, :1]),
    ),
)
applied(
    "order",
    *(lambda x: x.sort(1)[0], lambda x: x.sort(dim=1, descending=True, stable=True)[0]),
    *(
        lambda x: torch.cat([x.topk(2, 1)[0], x[:, 2:]], 1),
        lambda x: x - x.median(1, keepdim=True)[0],
    ),
    *(lambda x: x - x.kthvalue(2, 1, keepdim=True)[0], lambda x: x - x.max(1, keepdim=True)[0]),
    *(lambda x: x - x.amax(0), lambda x: x.gather(1, x.argsort(1)), lambda x: x - x.min()),
    *(lambda x: x.take_along_dim(x.detach().argsort(0), 0), lambda x: x - x.aminmax(dim=0)[0]),
)
applied(
    "where",
    *(
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: x.clamp(-1, 0.5),
        lambda x: x.clamp(max=0.3),
    ),
    *(lambda x: torch.minimum(x, x.mean()), lambda x: torch.maximum(x, x.flip(0))),
    *(lambda x: x.masked_fill(x > 0.5, 0), lambda x: x * (x > 0), lambda x: torch.nan_to_num(x)),
    *(lambda x: torch.lerp(x, x.flip(1), 0.3), lambda x: torch.addcmul(x, x, x, value=0.1)),
    *(lambda x: x.masked_scatter(x > 0, x.flip(0)), lambda x: x.copysign(x.roll(1, 0))),
)
applied(
    "views",
    *(lambda x: x.t().contiguous().t(), lambda x: x.view(-1).view_as(x), lambda x: x[None][0]),
    *(
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda x: torch.cat(x.split([1, x.shape[1] - 1], 1)[::-1], 1),
    ),
    *(
        lambda x: torch.stack(x.unbind(0)),
        lambda x: torch.stack([row * 2 for row in x.unbind(1)], 1),
    ),
    *(lambda x: x + x[0].expand_as(x), lambda x: x + x[:, :1].expand(-1, x.shape[1])),
    *(
        lambda x: x + x.narrow(1, 1, 1),
        lambda x: x[:, None].squeeze(1) * 1.1,
        lambda x: x[..., ::1] + x[-1],
    ),
    *(
        lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1),
        lambda x: x.reshape(2, -1).t().reshape(x.shape),
    ),
    *(
        lambda x: x.movedim(0, 1).mT,
        lambda x: x.swapaxes(0, 1).swapaxes(0, 1),
        lambda x: x.view(-1)[:].view(x.shape),
    ),
    *(
        lambda x: x.as_strided(x.shape, x.stride()) if x.is_contiguous() else x,
        lambda x: x.unsqueeze(0).expand(3, -1, -1)[1],
    ),
    *(
        lambda x: x + x.diagonal().sum(),
        lambda x: x.repeat(1, 2)[:, : x.shape[1]],
        lambda x: x.tile(2, 1)[1:][: x.shape[0]],
    ),
    *(
        lambda x: x.repeat_interleave(2, 1)[:, ::2],
        lambda x: x.unfold(1, 2, 2).sum(-1).repeat(1, 2),
        lambda x: x.contiguous().detach().view(-1).view(x.shape) + x,
    ),
)
applied(
    "moved",
    *(lambda x: x.roll(1, 1), lambda x: x.flip(0), lambda x: x.tril(), lambda x: x.rot90(2)),
    *(
        lambda x: functional.pad(x, (1, 0))[:, :-1],
        lambda x: (
            functional.pad(images(x), (1, 1, 1, 1), mode="reflect")[..., 1:-1, 1:-1].flatten(1)
            if x.shape[1] > 4
            else x
        ),
    ),
    *(
        lambda x: functional.pad(rows_of(x), (1, 1), mode="circular")[..., 2:].flatten(1),
        shifted,
        filled,
    ),
    *(
        lambda x: functional.pixel_shuffle(x.view(x.shape[0], 4, -1, 1), 2).flatten(1),
        lambda x: functional.glu(torch.cat([x, x.flip(1)], 1)),
    ),
    *(
        lambda x: functional.channel_shuffle(images(x), 2).flatten(1),
        lambda x: functional.pad(rows_of(x), (2, 0), mode="replicate")[..., :-2].flatten(1),
    ),
)
applied(
    "pooling",
    *(
        lambda x: functional.max_unpool1d(
            *functional.max_pool1d(x[:, None], 2, return_indices=True), 2
        ).flatten(1),
    ),
    *(
        lambda x: functional.max_pool1d(x[:, None], 3, 1, 1)[:, 0],
        lambda x: functional.avg_pool1d(x[:, None], 3, 1, 1)[:, 0],
    ),
    *(
        lambda x: functional.max_pool2d(images(x), (2, 1)).flatten(1).repeat(1, 2),
        lambda x: functional.avg_pool2d(images(x), 2, ceil_mode=True).mean((1, 2, 3))[:, None] + x,
    ),
    *(
        lambda x: functional.adaptive_avg_pool1d(x[:, None], x.shape[1] // 2)[:, 0].repeat(1, 2),
        lambda x: (
            functional.adaptive_max_pool2d(images(x), 1).flatten(1).repeat(1, x.shape[1] // 2)
        ),
    ),
    *(
        lambda x: functional.lp_pool1d(x.abs()[:, None] + 0.1, 2, 2)[:, 0].repeat(1, 2),
        lambda x: functional.max_pool2d(images(x), 2, 1, 1)[..., :2, : x.shape[1] // 4].flatten(1),
    ),
    *(
        lambda x: (
            functional.fractional_max_pool2d(images(x), 1, output_size=(1, 1))
            .flatten(1)
            .repeat(1, x.shape[1] // 2)
        ),
    ),
)
applied(
    "resized",
    *(
        lambda x: functional.interpolate(x[:, None], scale_factor=2)[:, 0, ::2],
        lambda x: functional.interpolate(x[:, None], size=x.shape[1] * 2, mode="linear")[
            :, 0, 1::2
        ],
    ),
    *(
        lambda x: functional.interpolate(
            images(x), scale_factor=2, mode="bilinear", align_corners=True
        )[..., ::2, 1::2].flatten(1),
    ),
    *(
        lambda x: functional.interpolate(images(x), scale_factor=2, mode="bicubic")[
            ..., ::2, 1::2
        ].flatten(1),
        lambda x: functional.interpolate(images(x), scale_factor=2, mode="nearest-exact")[
            ..., ::2, ::2
        ].flatten(1),
    ),
    *(
        lambda x: (
            functional.interpolate(images(x), scale_factor=0.5, mode="area").flatten(1).repeat(1, 4)
        ),
    ),
)
applied(
    "folded",
    *(
        lambda x: functional.fold(
            functional.unfold(images(x), (2, 1)), (2, x.shape[1] // 4), (2, 1)
        ).flatten(1),
    ),
    *(
        lambda x: (
            functional.fold(
                functional.unfold(images(x), 2, padding=1), (2, x.shape[1] // 4), 2, padding=1
            ).flatten(1)
            * 0.3
        ),
    ),
    *(lambda x: functional.unfold(images(x), 1).flatten(1),),
)
applied(
    "products",
    *(
        lambda x: torch.einsum("bi,bj->bi", x, x) * 0.1,
        lambda x: torch.einsum("bi,cj,ci->bi", x, x, x) * 0.05,
    ),
    *(
        lambda x: (rows_of(x) @ rows_of(x).mT @ rows_of(x)).flatten(1) * 0.1,
        lambda x: torch.bmm(x[:, :, None], x[:, None]).sum(2) * 0.2,
    ),
    *(
        lambda x: torch.baddbmm(
            rows_of(x), rows_of(x) @ rows_of(x).mT, rows_of(x), alpha=0.1
        ).flatten(1),
    ),
    *(
        lambda x: x @ (x.t() @ x).softmax(-1),
        lambda x: torch.addmm(x, x, x.t() @ x, alpha=0.05),
        lambda x: x * torch.mv(x, x[0])[:, None] * 0.1,
    ),
    *(
        lambda x: x + torch.tensordot(x, x, 2) * 0.01,
        lambda x: x + torch.outer(x[:, 0], x[0]) * 0.1,
        lambda x: torch.kron(x, x[:1, :1]),
    ),
)
applied(
    "statistics",
    *(
        lambda x: functional.normalize(x, dim=1),
        lambda x: (x - x.mean(0)) / (x.std(0) + 1),
        lambda x: x / (1 + x.norm()),
    ),
    *(
        lambda x: x / (x.var(1, keepdim=True, correction=0) + 1).sqrt(),
        lambda x: x * functional.cosine_similarity(x, x.flip(0), dim=1)[:, None],
    ),
    *(
        lambda x: x + torch.cdist(x, x.flip(0) + 3).mean(1, keepdim=True) * 0.1,
        lambda x: x.renorm(2, 0, 1.0),
        lambda x: x - x.prod(1, keepdim=True),
    ),
    *(
        lambda x: functional.local_response_norm(rows_of(x), 2).flatten(1),
        lambda x: x / (1 + torch.linalg.vector_norm(x, 3, dim=1, keepdim=True)),
    ),
)
applied(
    "algebra",
    *(
        lambda x: x @ torch.linalg.inv(x.t() @ x + 3 * torch.eye(x.shape[1], dtype=x.dtype)),
        lambda x: torch.linalg.solve(
            x.t() @ x + 3 * torch.eye(x.shape[1], dtype=x.dtype), x.t()
        ).t(),
    ),
    *(
        lambda x: x + torch.logdet(x.t() @ x + torch.eye(x.shape[1], dtype=x.dtype)) * 0.1,
        lambda x: x @ torch.linalg.cholesky(x.t() @ x + torch.eye(x.shape[1], dtype=x.dtype)) * 0.3,
    ),
    *(
        lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * 2, n=x.shape[1], dim=1),
        lambda x: torch.view_as_real(
            torch.view_as_complex(x.reshape(x.shape[0], -1, 2)) * 1j
        ).flatten(1),
    ),
    *(
        lambda x: torch.fft.fft(x, dim=1).abs() * 0.5,
        lambda x: x @ torch.matrix_exp(x.t() @ x * 0.1) * 0.2,
    ),
)
applied(
    "noise",
    *(
        lambda x: x + torch.randn_like(x),
        lambda x: x * torch.rand(x.shape, dtype=x.dtype),
        lambda x: x * torch.bernoulli(torch.full_like(x, 0.5)),
    ),
    *(
        lambda x: x[torch.randperm(x.shape[0])],
        lambda x: x + torch.empty_like(x).normal_(),
        lambda x: functional.rrelu(x, training=True),
    ),
    *(
        lambda x: x + torch.randint(0, 3, x.shape),
        lambda x: x[torch.multinomial(torch.ones(4), 2).clamp(max=1)].repeat(x.shape[0], 1)[
            : x.shape[0]
        ],
    ),
    *(
        lambda x: x * torch.distributions.Normal(x.detach(), 1.0).sample(),
        lambda x: torch.distributions.Normal(x, 0.1).rsample(),
        lambda x: x + torch.normal(0.0, 1.0, x.shape).to(x.dtype),
    ),
    *(
        lambda x: torch.bernoulli(x.detach().sigmoid()) * x,
        lambda x: x + x.new_empty(x.shape).uniform_(-1, 1),
        lambda x: x + x.new_empty(x.shape).exponential_(),
    ),
)
applied(
    "dropout",
    *(
        nn.Dropout(0.3),
        nn.AlphaDropout(0.3),
        lambda x: functional.dropout1d(rows_of(x), 0.4).flatten(1),
    ),
    *(
        lambda x: functional.dropout2d(images(x), 0.4).flatten(1),
        lambda x: functional.feature_alpha_dropout(images(x), 0.4, training=True).flatten(1),
    ),
    *(
        lambda x: functional.dropout(x, 0.2),
        lambda x: functional.dropout(x, 0.0),
        nn.Dropout(1.0),
        lambda x: functional.dropout(x, 0.5, training=False),
    ),
    *(
        lambda x: functional.dropout(x, 0.5) + functional.dropout(x, 0.5),
        lambda x: functional.dropout3d(images(x)[:, :, None], 0.4).flatten(1),
    ),
)
applied(
    "no_grad",
    *(
        lambda x: x - x.detach().mean(),
        lambda x: x * x.data.abs(),
        lambda x: x + torch.no_grad()(torch.tanh)(x),
    ),
    *(
        lambda x: x + (x.round() - x).detach(),
        lambda x: x.detach() * 2 + x * 0.5,
        lambda x: x - x.clone().detach().t().mean(1),
    ),
)
applied(
    "cast",
    *(
        lambda x: x.float().to(x.dtype),
        lambda x: x.to(torch.float16).to(x.dtype) * 0.5 + x,
        lambda x: x.double().tanh().to(x.dtype),
    ),
    *(
        lambda x: x + (x > 0).sum(1, keepdim=True),
        lambda x: x + x.argmax(1, keepdim=True),
        lambda x: x * x.sign().long(),
    ),
)
