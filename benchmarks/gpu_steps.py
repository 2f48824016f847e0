"""Training steps of published sizes for `gpu.py`, and the same in sizes that a CPU can try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from training_steps import Case, Loss, UNet, words


@dataclass(frozen=True)
class Step:
    """How a step is made, and in what it computes.

    `make` takes whether a size for a CPU is wanted, and how many examples make a
    batch (None: the published number).
    """

    make: Callable[[bool, int | None], Case]
    dtype: torch.dtype = torch.float32

    def case(self, device: torch.device, tiny: bool, batch: int | None = None) -> Case:
        """The step on a device; what is no floating-point number keeps its type."""
        torch.manual_seed(0)
        with device:
            case = self.make(tiny, batch)
        module = case.module.to(device, self.dtype)
        given = tuple(
            t.to(device, self.dtype if t.is_floating_point() else t.dtype) for t in case.batch
        )
        return Case(module, given, case.blocks)


def gpt2(tiny: bool, batch: int | None) -> Case:
    """GPT-2 small with its dropout, 8 sequences of 1,024 tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 2, "vocab_size": 500} if tiny else {}
    config = GPT2Config(use_cache=False, bos_token_id=0, eos_token_id=0, **sizes)
    module = Loss(GPT2LMHeadModel(config), "input_ids", "ForCausalLM")
    made = words(batch or 8, 64 if tiny else 1024, config.vocab_size)
    return Case(module, made, lambda m: [*m.model.transformer.h])


def llama(tiny: bool, batch: int | None) -> Case:
    """Sixteen layers of 1,024, 4 sequences of 2,048 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    width = 64 if tiny else 1024
    config = LlamaConfig(
        num_hidden_layers=2 if tiny else 16,
        hidden_size=width,
        intermediate_size=2 * width if tiny else 2816,
        num_attention_heads=2 if tiny else 16,
        vocab_size=500 if tiny else 32000,
        use_cache=False,
    )
    made = words(batch or 4, 64 if tiny else 2048, config.vocab_size)
    return Case(
        Loss(LlamaForCausalLM(config), "input_ids"), made, lambda m: [*m.model.model.layers]
    )


def bert(tiny: bool, batch: int | None) -> Case:
    """BERT base that tells masked words, 32 sequences of 512 tokens."""
    from transformers import BertConfig, BertForMaskedLM

    sizes: dict[str, Any] = {}
    if tiny:
        sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 128, "vocab_size": 500}
    config = BertConfig(**sizes)
    module = Loss(BertForMaskedLM(config), "input_ids", "ForMaskedLM")
    made = words(batch or 32, 64 if tiny else 512, config.vocab_size)
    return Case(module, made, lambda m: [*m.model.bert.encoder.layer])


def t5(tiny: bool, batch: int | None) -> Case:
    """T5 base, 8 pairs of sequences of 512 tokens."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes: dict[str, Any] = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
    if tiny:
        sizes = {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
        sizes["vocab_size"] = 500
    config = T5Config(use_cache=False, decoder_start_token_id=0, **sizes)
    made = words(batch or 8, 64 if tiny else 512, config.vocab_size)
    return Case(
        Loss(T5ForConditionalGeneration(config), "input_ids"),
        made,
        lambda m: [*m.model.encoder.block, *m.model.decoder.block],
    )


def vit(tiny: bool, batch: int | None) -> Case:
    """ViT-B/16, 64 images of 224 × 224."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes: dict[str, Any] = {}
    if tiny:
        sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 128, "image_size": 64}
    config = ViTConfig(num_labels=1000, **sizes)
    module = Loss(ViTForImageClassification(config), "pixel_values")
    return Case(module, images(batch or 64, 64 if tiny else 224), _vit_layers)


def _vit_layers(module: Any) -> list[nn.Module]:
    """Its blocks, whatever the version of transformers calls them."""
    inner = module.model.vit
    return [*(inner.encoder.layer if hasattr(inner, "encoder") else inner.layers)]


def resnet50(tiny: bool, batch: int | None) -> Case:
    """ResNet-50, 128 images of 224 × 224."""
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes: dict[str, Any] = {}
    if tiny:
        sizes = {"depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 8}
    config = ResNetConfig(num_labels=1000, **sizes)
    module = Loss(ResNetForImageClassification(config), "pixel_values")
    return Case(
        module, images(batch or (4 if tiny else 128), 32 if tiny else 224), _blocks("resnet")
    )


def _blocks(name: str) -> Callable[[Any], list[nn.Module]]:
    """What finds the blocks of all stages of a net that its model calls so."""
    return lambda m: [
        block for stage in getattr(m.model, name).encoder.stages for block in stage.layers
    ]


def convnext(tiny: bool, batch: int | None) -> Case:
    """ConvNeXt-T, 64 images of 224 × 224."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    sizes: dict[str, Any] = {}
    if tiny:
        sizes = {"depths": [1, 1], "hidden_sizes": [16, 32], "num_stages": 2}
    config = ConvNextConfig(num_labels=1000, **sizes)
    module = Loss(ConvNextForImageClassification(config), "pixel_values")
    return Case(
        module, images(batch or (4 if tiny else 64), 32 if tiny else 224), _blocks("convnext")
    )


def unet(tiny: bool, batch: int | None) -> Case:
    """A U-Net 64 wide and 4 deep, 16 images of 256 × 256."""
    x, labels = torch.randn(2, batch or (2 if tiny else 16), 3, *2 * [32 if tiny else 256])
    module = UNet(8, 2) if tiny else UNet(64, 4)
    return Case(module, (x, labels), lambda m: [*m.down, *m.up])


def images(batch: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, and a class for each."""
    return torch.randn(batch, 3, side, side), torch.arange(batch) % 1000


STEPS = {
    "gpt2": Step(gpt2),
    "llama": Step(llama, torch.bfloat16),
    "bert": Step(bert, torch.bfloat16),
    "t5": Step(t5),
    "vit": Step(vit, torch.bfloat16),
    "resnet50": Step(resnet50),
    "unet": Step(unet),
    "convnext": Step(convnext),
}
