#!/usr/bin/env python3
"""Offline parity reference for UniDiffuser, arXiv 2303.06555 (no hub access, CPU only, about 20 seconds).

What it does
------------
1. Builds every component of `diffusers.UniDiffuserPipeline` from a *tiny config* with seeded random weights
   (all norms and biases are randomised as well, otherwise missing affine parameters would go unnoticed), writes
   them in the Hugging Face layout with `save_pretrained` and, next to it, the same weights in the original
   thu-ml layout (`uvit_v{0,1}.pth`, `caption_decoder.pth`, `autoencoder_kl.pth`, plus .safetensors twins).
2. Runs the diffusers / transformers implementation and dumps inputs, intermediates and outputs.
3. Runs an independent reference written from the equations (float64 or float32, plain tensor algebra, thu-ml
   weight names) for the U-ViT, for the "fast" DPM-Solver++ of the original repository, for the original task
   samplers (t2i, i2t, i, t, joint, i2t2i, t2i2t) and for the training step, checks it against diffusers where both
   exist, and dumps it.

Every random number a sampler draws is recorded ("noise.NNN") so that a port can replay it; no RNG has to match.

Output (one directory):  manifest.json, hf/ (save_pretrained), orig/ (thu-ml layout), *.safetensors (tensors by group)

Usage:   python unidiffuser_oracle.py --out OUT_DIR [--version 0|1] [--seed 0] [--gelu gelu_new|gelu]
Tested:  diffusers 0.33.1 + transformers 4.51.3 (the last pair the pipeline was maintained for) and diffusers 0.42.1 +
         transformers 5.23.0 (pipeline deprecated but alive), torch 2.13 and 2.15. The two give the same numbers except: slow
         CLIP tokenizer without `ftfy` splits CJK characters, the tokenizers of 5.x write only tokenizer.json, and 5.x
         writes CLIPTextModel without the "text_model." key prefix - a loader should accept both spellings.
Only the public API of diffusers / transformers is used; no code of either project is copied.
"""
import argparse
import inspect
import json
import math
import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

import diffusers
import transformers
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UniDiffuserPipeline
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    GPT2Tokenizer,
)

PIPE_MOD = inspect.getmodule(UniDiffuserPipeline)  # the module whose `randn_tensor` we record
UniDiffuserModel = PIPE_MOD.UniDiffuserModel
UniDiffuserTextDecoder = PIPE_MOD.UniDiffuserTextDecoder

N_TRAIN = 1000
L_TEXT = 77
BOS, EOT, EOS = "<|startoftext|>", "<|endoftext|>", "<|EOS|>"


# --------------------------------------------------------------------------------------------------------------
# dumping
# --------------------------------------------------------------------------------------------------------------
class Dump:
    def __init__(self, root):
        self.root, self.meta = root, {}
        os.makedirs(root, exist_ok=True)

    def save(self, name, tensors, **meta):
        out = {}
        for k, v in tensors.items():
            v = torch.as_tensor(v)
            out[k] = v.detach().clone().contiguous().cpu()
        save_file(out, os.path.join(self.root, name + ".safetensors"))
        self.meta[name] = {
            "tensors": {k: {"shape": list(v.shape), "dtype": str(v.dtype)} for k, v in out.items()},
            **meta,
        }

    def finish(self, **top):
        with open(os.path.join(self.root, "manifest.json"), "w") as f:
            json.dump({**top, "groups": self.meta}, f, indent=1, default=str)


# --------------------------------------------------------------------------------------------------------------
# tiny byte-pair tokenizers (CLIP flavour and GPT-2 flavour), learnt from a handful of sentences
# --------------------------------------------------------------------------------------------------------------
CORPUS = (
    "an elephant under the sea . a living room with a television and a table . an astronaut riding a horse on the "
    "moon . a group of elephants walking in muddy water . a photo of a cat and a dog . the sea and the sun , the "
    "moon and the stars . a small kitchen with a low ceiling . two people are walking and one is holding an umbrella"
)


def byte_alphabet():
    """GPT-2's reversible byte -> printable character table: printable latin-1 bytes map to themselves, the other
    68 bytes map, in increasing order, to code points 256, 257, ..."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, nxt = {}, 256
    for b in keep:
        table[b] = chr(b)
    for b in range(256):
        if b not in table:
            table[b] = chr(nxt)
            nxt += 1
    return table


def learn_merges(words, n_merges):
    merges = []
    for _ in range(n_merges):
        count = {}
        for w in words:
            for a, b in zip(w, w[1:]):
                count[(a, b)] = count.get((a, b), 0) + 1
        if not count:
            break
        best = max(sorted(count), key=lambda p: count[p])
        merges.append(best)
        new = []
        for w in words:
            out, i = [], 0
            while i < len(w):
                if i + 1 < len(w) and (w[i], w[i + 1]) == best:
                    out.append(w[i] + w[i + 1])
                    i += 2
                else:
                    out.append(w[i])
                    i += 1
            new.append(out)
        words = new
    return merges


def write_bpe(folder, vocab, merges):
    os.makedirs(folder, exist_ok=True)
    v, m = os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt")
    with open(v, "w", encoding="utf-8") as f:
        json.dump({t: i for i, t in enumerate(vocab)}, f, ensure_ascii=False)
    with open(m, "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")
    return v, m


def build_tokenizers(folder):
    alphabet = byte_alphabet()
    chars = [alphabet[b] for b in sorted(alphabet, key=lambda b: ord(alphabet[b]))]
    # CLIP: words end in "</w>"
    words = [[alphabet[b] for b in w.encode()] for w in CORPUS.split()]
    words = [w[:-1] + [w[-1] + "</w>"] for w in words]
    merges = learn_merges(words, 90)
    vocab = chars + [c + "</w>" for c in chars] + [a + b for a, b in merges] + [BOS, EOT]
    v, m = write_bpe(os.path.join(folder, "clip_bpe"), vocab, merges)
    clip_tok = CLIPTokenizer(v, m, unk_token=EOT, bos_token=BOS, eos_token=EOT, pad_token=EOT, model_max_length=L_TEXT)
    # GPT-2: words carry their leading space
    words = [[alphabet[b] for b in (" " + w).encode()] for w in CORPUS.split()]
    merges = learn_merges(words, 90)
    vocab = chars + [a + b for a, b in merges] + [EOT]
    v, m = write_bpe(os.path.join(folder, "gpt2_bpe"), vocab, merges)
    gpt_tok = GPT2Tokenizer(v, m, unk_token=EOT, bos_token=EOT, eos_token=EOT)
    gpt_tok.add_special_tokens({"eos_token": EOS})  # gets the next free id, as in the original (50257 -> 50258 tokens)
    return clip_tok, gpt_tok


# --------------------------------------------------------------------------------------------------------------
# components
# --------------------------------------------------------------------------------------------------------------
# Every width is different on purpose: the hub test fixture uses 32 everywhere, which hides several shape bugs.
DIM = dict(
    text=48, prefix=24, clip_img=20, inner=48, heads=3, head_dim=16, depth=4, latent=8, image=32, n_embd=40,
    vae=[12, 16, 24],
)


def randomise(module, seed, gain=1.0):
    """Deterministic weights, independent of the libraries' init code. 1-d 'weight' ~ 1 + 0.2 N, biases ~ 0.1 N,
    matrices / convolutions ~ gain N / sqrt(fan_in), embeddings and position tables ~ 0.3 N."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            r = torch.randn(p.shape, generator=g, dtype=torch.float32)
            if "embed" in name and not name.endswith("proj.weight") or name.endswith(("wte.weight", "wpe.weight")):
                p.copy_(0.3 * r)
            elif p.ndim == 1:
                p.copy_(1 + 0.2 * r if name.endswith("weight") else 0.1 * r)
            else:
                fan_in = p[0].numel()
                if ".attn.c_" in name or ".mlp.c_" in name:  # GPT-2 Conv1D stores [in, out]
                    fan_in = p.shape[0]
                p.copy_(gain * r / math.sqrt(fan_in))
    return module.eval()


def build_components(args, clip_tok, gpt_tok):
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_tok), hidden_size=DIM["text"], intermediate_size=96, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=L_TEXT, hidden_act="quick_gelu", layer_norm_eps=1e-5,
            bos_token_id=clip_tok.bos_token_id, eos_token_id=clip_tok.eos_token_id, pad_token_id=clip_tok.pad_token_id,
        )
    )
    image_encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=40, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, image_size=DIM["image"],
            patch_size=8, projection_dim=DIM["clip_img"], hidden_act="quick_gelu", layer_norm_eps=1e-5,
        )
    )
    # four groups on 12, 16 and 24 channels: no group has one channel, every level change needs a 1x1 shortcut
    vae = AutoencoderKL(
        sample_size=DIM["image"], in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=DIM["vae"], norm_num_groups=4, scaling_factor=0.18215,
    )
    unet = UniDiffuserModel(
        text_dim=DIM["prefix"], clip_img_dim=DIM["clip_img"], num_text_tokens=L_TEXT,
        num_attention_heads=DIM["heads"], attention_head_dim=DIM["head_dim"], in_channels=4, out_channels=4,
        num_layers=DIM["depth"], sample_size=DIM["latent"], patch_size=2, activation_fn="gelu",
        num_embeds_ada_norm=1000, norm_type="layer_norm", block_type="unidiffuser", pre_layer_norm=False,
        use_timestep_embedding=False, ff_final_dropout=True, use_data_type_embedding=args.version == 1,
    )
    decoder = UniDiffuserTextDecoder(
        prefix_length=L_TEXT, prefix_inner_dim=DIM["text"], prefix_hidden_dim=DIM["prefix"], vocab_size=len(gpt_tok),
        n_positions=192, n_embd=DIM["n_embd"], n_layer=3, n_head=4, n_inner=72, activation_function=args.gelu,
        resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1, layer_norm_epsilon=1e-5,
    )
    for i, m in enumerate([text_encoder, image_encoder, vae, unet, decoder]):
        randomise(m, args.seed * 100 + i)
    with torch.no_grad():
        wte = decoder.transformer.transformer.wte.weight
        wte[gpt_tok.eos_token_id] *= args.eos_gain  # so that some beams finish early
        # equal values, separate storage: ModelMixin.save_pretrained refuses to write tied tensors as safetensors
        decoder.transformer.lm_head.weight = torch.nn.Parameter(wte.clone())
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", solver_order=3
    )
    return dict(
        vae=vae, text_encoder=text_encoder, image_encoder=image_encoder,
        clip_image_processor=CLIPImageProcessor(crop_size=DIM["image"], size=DIM["image"]),
        clip_tokenizer=clip_tok, text_decoder=decoder, text_tokenizer=gpt_tok, unet=unet, scheduler=scheduler,
    )


# --------------------------------------------------------------------------------------------------------------
# weight names: diffusers -> thu-ml
# --------------------------------------------------------------------------------------------------------------
def unet_to_original(sd):
    out = {}
    plain = {
        "vae_img_in.proj": "patch_embed.proj", "text_in": "text_embed", "clip_img_in": "clip_img_embed",
        "transformer.norm_out": "norm", "vae_img_out": "decoder_pred", "clip_img_out": "clip_img_out",
        "text_out": "text_out",
    }
    for a, b in plain.items():
        for s in ("weight", "bias"):
            out[f"{b}.{s}"] = sd[f"{a}.{s}"]
    out["pos_embed"] = sd["pos_embed"]
    if "data_type_token_embedding.weight" in sd:
        out["token_embedding.weight"] = sd["data_type_token_embedding.weight"]
        out["pos_embed_token"] = sd["data_type_pos_embed_token"]
    names = {k.split(".attn1.")[0] for k in sd if ".attn1.to_q.weight" in k}
    for src in names:
        dst = src[len("transformer.transformer_"):]
        if dst.endswith(".block"):
            dst = dst[: -len(".block")]
            skip = src[: -len(".block")] + ".skip."
            for s in ("weight", "bias"):
                out[f"{dst}.skip_linear.{s}"] = sd[skip + "skip_linear." + s]
                out[f"{dst}.norm1.{s}"] = sd[skip + "norm." + s]
        out[f"{dst}.attn.qkv.weight"] = torch.cat([sd[f"{src}.attn1.to_{c}.weight"] for c in "qkv"])
        for s in ("weight", "bias"):
            out[f"{dst}.attn.proj.{s}"] = sd[f"{src}.attn1.to_out.0.{s}"]
            out[f"{dst}.norm2.{s}"] = sd[f"{src}.norm1.{s}"]  # note the shift: diffusers norm1 = original norm2
            out[f"{dst}.norm3.{s}"] = sd[f"{src}.norm3.{s}"]
            out[f"{dst}.mlp.fc1.{s}"] = sd[f"{src}.ff.net.0.proj.{s}"]
            out[f"{dst}.mlp.fc2.{s}"] = sd[f"{src}.ff.net.2.{s}"]
    return {k: v.clone() for k, v in out.items()}


def vae_to_original(sd, n_levels):
    out = {}
    for k, v in sd.items():
        n = k.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        for i in range(n_levels):
            n = n.replace(f"down_blocks.{i}.resnets", f"down.{i}.block")
            n = n.replace(f"down_blocks.{i}.downsamplers.0", f"down.{i}.downsample")
            n = n.replace(f"up_blocks.{i}.resnets", f"up.{n_levels - 1 - i}.block")
            n = n.replace(f"up_blocks.{i}.upsamplers.0", f"up.{n_levels - 1 - i}.upsample")
        for i in range(2):
            n = n.replace(f"mid_block.resnets.{i}", f"mid.block_{i + 1}")
        if "mid_block.attentions.0." in n:
            n = n.replace("mid_block.attentions.0.", "mid.attn_1.")
            for a, b in (("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                n = n.replace(f"attn_1.{a}.", f"attn_1.{b}.")
            if v.ndim == 2:
                v = v[:, :, None, None]  # 1x1 convolutions in the original
        out[n] = v.clone()
    return out


def decoder_to_original(sd, n_layer, n_positions):
    """caption_decoder.pth: everything below 'module.' (DataParallel), GPT-2 below 'gpt.', causal-mask buffers of old
    transformers, and a frozen CLIP text model below 'clip' that the loader must ignore."""
    out = {}
    for k, v in sd.items():
        k = "gpt." + k[len("transformer."):] if k.startswith("transformer.") else k
        out["module." + k] = v.clone()
    for i in range(n_layer):
        mask = torch.tril(torch.ones(n_positions, n_positions, dtype=torch.uint8))[None, None]
        out[f"module.gpt.transformer.h.{i}.attn.bias"] = mask
        out[f"module.gpt.transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    out["module.clip.unused"] = torch.zeros(3)
    return out


# --------------------------------------------------------------------------------------------------------------
# independent reference: U-ViT (thu-ml names)
# --------------------------------------------------------------------------------------------------------------
class RefUViT:
    def __init__(self, w, heads, latent, patch=2, chans=4, dtype=torch.float64):
        self.w = {k: v.to(dtype) for k, v in w.items()}
        self.heads, self.latent, self.patch, self.chans, self.dtype = heads, latent, patch, chans, dtype
        self.dim = w["norm.weight"].numel()
        self.half_depth = 1 + max(int(k.split(".")[1]) for k in w if k.startswith("in_blocks."))
        self.v1 = "token_embedding.weight" in w

    def lin(self, x, n):
        y = x @ self.w[n + ".weight"].T
        return y + self.w[n + ".bias"] if n + ".bias" in self.w else y

    def ln(self, x, n, eps=1e-5):
        m = x.mean(-1, keepdim=True)
        v = ((x - m) ** 2).mean(-1, keepdim=True)  # biased variance
        return (x - m) / torch.sqrt(v + eps) * self.w[n + ".weight"] + self.w[n + ".bias"]

    def time_token(self, t, batch):
        t = torch.as_tensor(t, dtype=self.dtype).reshape(-1).expand(batch)
        half = self.dim // 2
        freq = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=self.dtype) / half)
        a = t[:, None] * freq[None]
        return torch.cat([torch.cos(a), torch.sin(a)], -1)[:, None]  # cos first; no MLP (mlp_time_embed=False)

    def attention(self, x, n):
        B, L, C = x.shape
        q, k, v = self.lin(x, n + ".qkv").reshape(B, L, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2)) * (C // self.heads) ** -0.5
        y = torch.softmax(a, -1) @ v
        return self.lin(y.transpose(1, 2).reshape(B, L, C), n + ".proj")

    def block(self, x, n, skip=None):
        if skip is not None:
            x = self.ln(self.lin(torch.cat([x, skip], -1), n + ".skip_linear"), n + ".norm1")
        x = self.ln(x + self.attention(x, n + ".attn"), n + ".norm2")
        h = self.lin(x, n + ".mlp.fc1")
        h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))  # exact GELU
        return self.ln(x + self.lin(h, n + ".mlp.fc2"), n + ".norm3")

    def __call__(self, z, clip, text, t_img, t_text, data_type=1, trace=None):
        z, clip, text = z.to(self.dtype), clip.to(self.dtype), text.to(self.dtype)
        B, C, H, W = z.shape
        p = self.patch
        # 2x2 stride-2 convolution == matmul over (C, p1, p2)-ordered patches
        x = z.reshape(B, C, H // p, p, W // p, p).permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * p * p)
        x = x @ self.w["patch_embed.proj.weight"].reshape(self.dim, -1).T + self.w["patch_embed.proj.bias"]
        toks = [self.time_token(t_img, B), self.time_token(t_text, B)]
        pos = self.w["pos_embed"]
        if self.v1:
            d = torch.as_tensor(data_type).reshape(-1).expand(B)
            toks.append(self.w["token_embedding.weight"][d][:, None])
            pos = torch.cat([pos[:, :2], self.w["pos_embed_token"], pos[:, 2:]], 1)
        n_head = len(toks)
        toks += [self.lin(text, "text_embed"), self.lin(clip, "clip_img_embed"), x]
        x = torch.cat(toks, 1)
        lt = text.shape[1]
        if (H, W) != (self.latent, self.latent):  # original code: bilinear, align_corners=False, image part only
            g, cut = self.latent // p, n_head + lt + 1
            img = pos[:, cut:].reshape(1, g, g, -1).permute(0, 3, 1, 2)
            img = F.interpolate(img, (H // p, W // p), mode="bilinear").permute(0, 2, 3, 1).reshape(1, -1, self.dim)
            pos = torch.cat([pos[:, :cut], img], 1)
        x = x + pos
        tr = trace if trace is not None else {}
        tr["tokens"] = x
        skips = []
        for i in range(self.half_depth):
            x = self.block(x, f"in_blocks.{i}")
            tr[f"in_blocks.{i}"] = x
            skips.append(x)
        x = self.block(x, "mid_block")
        tr["mid_block"] = x
        for i in range(self.half_depth):
            x = self.block(x, f"out_blocks.{i}", skips.pop())
            tr[f"out_blocks.{i}"] = x
        x = self.ln(x, "norm")
        tr["norm"] = x
        y_text, y_clip, y_img = x[:, n_head:n_head + lt], x[:, n_head + lt:n_head + lt + 1], x[:, n_head + lt + 1:]
        y = self.lin(y_img, "decoder_pred")  # channel fastest: (p1, p2, C)
        y = y.reshape(B, H // p, W // p, p, p, self.chans).permute(0, 5, 1, 3, 2, 4).reshape(B, self.chans, H, W)
        return y, self.lin(y_clip, "clip_img_out"), self.lin(y_text, "text_out")


# --------------------------------------------------------------------------------------------------------------
# independent reference: schedule and the original repository's sampler (single-step DPM-Solver++ "fast", order 3)
# --------------------------------------------------------------------------------------------------------------
def betas64():
    return torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, N_TRAIN, dtype=torch.float64) ** 2


class RefSchedule:
    """alpha_t^2 = abar, sigma_t^2 = 1 - abar, lambda = log(alpha / sigma); log(alpha) is piecewise linear in
    continuous time with knots t = n / 1000, n = 1..1000, extended linearly outside."""

    def __init__(self, dtype=torch.float64):
        self.t = torch.arange(1, N_TRAIN + 1, dtype=dtype) / N_TRAIN
        self.la = (0.5 * torch.log1p(-betas64())).cumsum(0).to(dtype)

    @staticmethod
    def interp(x, xs, ys):
        i = torch.searchsorted(xs, x.reshape(1)).clamp(1, len(xs) - 1)[0]
        return ys[i - 1] + (x - xs[i - 1]) * (ys[i] - ys[i - 1]) / (xs[i] - xs[i - 1])

    def log_alpha(self, t):
        return self.interp(t, self.t, self.la)

    def coef(self, t):
        la = self.log_alpha(t)
        sigma = torch.sqrt(1 - torch.exp(2 * la))
        return torch.exp(la), sigma, la - torch.log(sigma)

    def t_of_lambda(self, lam):
        la = -0.5 * F.softplus(-2 * lam)  # log alpha = -1/2 log(1 + e^(-2 lambda))
        return self.interp(la, self.la.flip(0), self.t.flip(0))


def fast_orders(steps):
    k = steps // 3
    return [3] * (k - 1) + [2, 1] if steps % 3 == 0 else [3] * k + [steps % 3]


def fast_solver(eps_fn, x, steps, dtype=torch.float64, trace=None):
    """eps_fn(x, t in (0, 1]) -> noise; `steps` = number of network evaluations; t from 1 to 1/1000, linear in t."""
    sch = RefSchedule(dtype)
    grid = torch.linspace(1.0, 1.0 / N_TRAIN, steps + 1, dtype=dtype)
    data = []

    def x0(x, t):
        a, s, _ = sch.coef(t)
        e = eps_fn(x, t)
        d = (x - s * e) / a
        data.append((t.clone(), x.clone(), e.clone(), d.clone()))
        return d

    i = 0
    for o in fast_orders(steps):
        s, t = grid[i], grid[i + o]
        (_, ss, ls), (at, st, lt) = sch.coef(s), sch.coef(t)
        h = lt - ls
        d0 = x0(x, s)
        base = (st / ss) * x - at * torch.expm1(-h) * d0
        if o == 1:
            x = base
        else:
            r1 = (sch.coef(grid[i + 1])[2] - ls) / h
            t1 = sch.t_of_lambda(ls + r1 * h)
            a1, s1, _ = sch.coef(t1)
            d1 = x0((s1 / ss) * x - a1 * torch.expm1(-r1 * h) * d0, t1)
            if o == 2:
                x = base - (0.5 / r1) * at * torch.expm1(-h) * (d1 - d0)
            else:
                r2 = (sch.coef(grid[i + 2])[2] - ls) / h
                t2 = sch.t_of_lambda(ls + r2 * h)
                a2, s2, _ = sch.coef(t2)
                p22 = torch.expm1(-r2 * h) / (r2 * h) + 1
                x2 = (s2 / ss) * x - a2 * torch.expm1(-r2 * h) * d0 + (r2 / r1) * a2 * p22 * (d1 - d0)
                d2 = x0(x2, t2)
                x = base + (1 / r2) * at * (torch.expm1(-h) / h + 1) * (d2 - d0)
        i += o
    if trace is not None:
        trace["t"] = torch.stack([d[0] for d in data])
        for j, n in enumerate(("x", "eps", "x0"), 1):
            trace[n] = torch.stack([d[j] for d in data])
        trace["orders"] = torch.tensor(fast_orders(steps))
        trace["grid"] = grid
    return x


class Recorder:
    def __init__(self, seed):
        self.g, self.log = torch.Generator().manual_seed(seed), []

    def __call__(self, *shape):
        r = torch.randn(shape, generator=self.g)
        self.log.append(r)
        return r

    def tensors(self):
        return {f"noise.{i:03d}": v for i, v in enumerate(self.log)}


def flat(*xs):
    return torch.cat([x.reshape(x.shape[0], -1) for x in xs], -1)


def original_sample(net, mode, rec, batch, steps, scale=7.0, data_type=1, cond=None, empty_text=None,
                    cfg_mode="true_uncond", trace=None):
    """The task samplers of sample_multi_v*.py. out = cond + scale * (cond - uncond); a fresh noise is drawn at every
    network evaluation for the modality that is marginalised. `cond`: text (t2i) or (z, clip) (i2t)."""
    zs, cs, ts = (batch, 4, DIM["latent"], DIM["latent"]), (batch, 1, DIM["clip_img"]), (batch, L_TEXT, DIM["prefix"])
    nz, nc, nt = (int(np.prod(s[1:])) for s in (zs, cs, ts))
    z0, c0, t0 = rec(*zs), rec(*cs), rec(*ts)  # all three are always drawn, in this order
    N = float(N_TRAIN)

    def eps(x, t):
        n = t * N
        img = lambda: (x[:, :nz].reshape(zs), x[:, nz:nz + nc].reshape(cs))
        if mode == "joint":
            z, c = img()
            y = x[:, nz + nc:].reshape(ts)
            out = flat(*net(z, c, y, n, n, data_type))
            if scale == 0:
                return out
            zn, cn, yn = rec(*zs), rec(*cs), rec(*ts)
            u_t = net(zn, cn, y, N, n, data_type)[2]
            u_z, u_c, _ = net(z, c, yn, n, N, data_type)
            return out + scale * (out - flat(u_z, u_c, u_t))
        if mode in ("t2i", "i"):
            z, c = img()
            if mode == "i":
                return flat(*net(z, c, rec(*ts), n, N, data_type)[:2])
            out = flat(*net(z, c, cond, n, 0.0, data_type)[:2])
            if scale == 0:
                return out
            if cfg_mode == "empty_token":
                un = flat(*net(z, c, empty_text, n, 0.0, data_type)[:2])
            else:
                un = flat(*net(z, c, rec(*ts), n, N, data_type)[:2])
            return out + scale * (out - un)
        y = x.reshape(ts)
        if mode == "t":
            return flat(net(rec(*zs), rec(*cs), y, N, n, data_type)[2])
        out = net(cond[0], cond[1], y, 0.0, n, data_type)[2]
        if scale == 0:
            return flat(out)
        un = net(rec(*zs), rec(*cs), y, N, n, data_type)[2]
        return flat(out + scale * (out - un))

    start = {"joint": flat(z0, c0, t0), "t2i": flat(z0, c0), "i": flat(z0, c0), "i2t": flat(t0), "t": flat(t0)}[mode]
    x = fast_solver(eps, start.to(net.dtype), steps, net.dtype, trace)
    if mode in ("t2i", "i", "joint"):
        out = {"z": x[:, :nz].reshape(zs), "clip": x[:, nz:nz + nc].reshape(cs)}
        if mode == "joint":
            out["text"] = x[:, nz + nc:].reshape(ts)
        return out
    return {"text": x.reshape(ts)}


# --------------------------------------------------------------------------------------------------------------
# independent reference: pixel pipeline of the original repository
# --------------------------------------------------------------------------------------------------------------
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711])


def original_pixels(arr, size, clip_size):
    """uint8 HWC -> (crop uint8 [size, size, 3], vae input [1,3,size,size] in [-1,1], clip input)."""
    h, w = arr.shape[:2]
    c = min(h, w)
    crop = arr[(h - c) // 2:(h + c) // 2, (w - c) // 2:(w + c) // 2]
    crop = np.array(Image.fromarray(crop).resize((size, size), Image.LANCZOS)).astype(np.uint8)
    vae_in = torch.from_numpy((crop / 127.5 - 1.0).astype(np.float32)).permute(2, 0, 1)[None]
    small = np.array(Image.fromarray(crop).resize((clip_size, clip_size), Image.BICUBIC))
    clip_in = torch.from_numpy(((small / 255.0 - CLIP_MEAN) / CLIP_STD).astype(np.float32)).permute(2, 0, 1)[None]
    return crop, vae_in, clip_in


def test_image(h, w, seed):
    yy, xx = np.mgrid[0:h, 0:w]
    g = np.random.RandomState(seed)
    ch = [127 + 90 * np.sin(xx / (4 + 3 * k) + yy / (7 + k)) + g.normal(0, 12, (h, w)) for k in range(3)]
    return np.clip(np.stack(ch, -1), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------------
def close(a, b, tol, what):
    d = (a.double() - b.double()).abs().max().item()
    ok = d <= tol
    print(f"  [{'ok' if ok else 'FAIL'}] {what}: max abs diff {d:.3e} (tol {tol:g})")
    if not ok:
        sys.exit(f"parity failure: {what}")
    return d


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True)
    ap.add_argument("--version", type=int, default=1, choices=(0, 1))
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--steps", type=int, default=8, help="network evaluations / scheduler steps of the sampler traces")
    ap.add_argument("--gelu", default="gelu_new", choices=("gelu_new", "gelu"),
                    help="GPT-2 activation: gelu_new = original checkpoint, gelu = hub config of the diffusers port")
    ap.add_argument("--eos-gain", type=float, default=3.0, help="scales the <|EOS|> row of the tied output head")
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    dump = Dump(args.out)
    hf, orig = os.path.join(args.out, "hf"), os.path.join(args.out, "orig")
    os.makedirs(orig, exist_ok=True)

    # ---- 1. components, both layouts -------------------------------------------------------------------------
    clip_tok, gpt_tok = build_tokenizers(args.out)
    comp = build_components(args, clip_tok, gpt_tok)
    pipe = UniDiffuserPipeline(**comp)
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(hf, safe_serialization=True)
    w = unet_to_original(comp["unet"].state_dict())
    files = {
        f"uvit_v{args.version}": w,
        "caption_decoder": decoder_to_original(comp["text_decoder"].state_dict(), 3, 192),
        "autoencoder_kl": vae_to_original(comp["vae"].state_dict(), 3),
    }
    for n, sd in files.items():
        torch.save(sd, os.path.join(orig, n + ".pth"))
        save_file({k: v.contiguous().clone() for k, v in sd.items()}, os.path.join(orig, n + ".safetensors"))
    n_par = sum(v.numel() for v in w.values())
    print(f"U-ViT v{args.version}: {n_par} parameters, {len(w)} tensors")

    g = torch.Generator().manual_seed(args.seed + 7)
    rnd = lambda *s: torch.randn(s, generator=g)
    B = 2
    z, c, y = rnd(B, 4, DIM["latent"], DIM["latent"]), rnd(B, 1, DIM["clip_img"]), rnd(B, L_TEXT, DIM["prefix"])

    # ---- 2. U-ViT: diffusers versus the reference, all intermediates ----------------------------------------
    print("U-ViT forward")
    ref64 = RefUViT(w, DIM["heads"], DIM["latent"])
    cases = [(0, 0), (1, 1000), (1000, 0), (0, 1000), (500, 500), (999, 37), (980.02, 1000.0)]
    group = {"z": z, "clip": c, "text": y}
    for i, (a, b) in enumerate(cases):
        tr = {}
        out = ref64(z, c, y, a, b, 1, tr)
        t = lambda v: torch.tensor([v]) if isinstance(v, int) else torch.tensor([v], dtype=torch.float32)
        got = comp["unet"](z, c, y, timestep_img=t(a), timestep_text=t(b), data_type=1)
        for n, o, q in zip(("z", "clip", "text"), got, out):
            group[f"case{i}.diffusers.{n}"] = o
            group[f"case{i}.ref64.{n}"] = q
        close(flat(*got), flat(*out), 2e-4 if isinstance(a, float) else 5e-5, f"diffusers vs reference, t = ({a}, {b})")
        if i in (1, 4):
            group.update({f"case{i}.trace.{k}": v for k, v in tr.items()})
    # per-sample timesteps and data types: what training needs
    ti, tt, dt = torch.tensor([17.0, 803.0]), torch.tensor([999.0, 2.0]), torch.tensor([0, 1])
    group.update(batch_t_img=ti, batch_t_text=tt, batch_data_type=dt)
    out = ref64(z, c, y, ti, tt, dt)
    got = comp["unet"](z, c, y, timestep_img=ti, timestep_text=tt, data_type=dt)
    for n, o, q in zip(("z", "clip", "text"), got, out):
        group[f"batch.diffusers.{n}"], group[f"batch.ref64.{n}"] = o, q
    close(flat(*got), flat(*out), 2e-4, "diffusers vs reference, per-sample timesteps")
    # another latent size: the original interpolates the position table (square latents only: its un-patchify takes
    # sqrt(number of image tokens) for both sides); diffusers raises
    zb = rnd(B, 4, 12, 12)
    group["resized.z_in"] = zb
    for n, q in zip(("z", "clip", "text"), ref64(zb, c, y, 500.0, 20.0)):
        group[f"resized.ref64.{n}"] = q
    dump.save("uvit", group, cases=cases)

    # ---- 3. noise schedule and solvers ----------------------------------------------------------------------
    print("solvers")
    sch = RefSchedule()
    group = {"betas": betas64(), "alphas_cumprod": torch.cumprod(1 - betas64(), 0), "log_alpha_knots": sch.la}
    toy = lambda x, n: torch.tanh(0.7 * x) * (0.4 + 0.5 * n / 1000.0) + 0.05 * torch.cos(3 * x)
    x = rnd(2, 50).double()
    group["toy.x_init"] = x
    for steps in (50, 20, 9, 7):
        tr = {}
        group[f"fast.{steps}.out"] = fast_solver(lambda v, t: toy(v, t * 1000.0), x, steps, trace=tr)
        group.update({f"fast.{steps}.{k}": v for k, v in tr.items()})
    for steps in (50, 20, 9, 3):
        s = DPMSolverMultistepScheduler.from_config(comp["scheduler"].config)
        s.set_timesteps(steps)
        v, hist = x.float(), []
        for t in s.timesteps:
            v = s.step(toy(v, float(t)), t, v).prev_sample
            hist.append(v)
        group[f"multistep.{steps}.timesteps"] = s.timesteps
        group[f"multistep.{steps}.sigmas"] = s.sigmas
        group[f"multistep.{steps}.trace"] = torch.stack(hist)
    dump.save("solvers", group, note="toy noise model: tanh(.7x)(.4+.5n/1000)+.05cos(3x); n = 1000 t (fast), integer timestep (multistep)",
              scheduler_config=dict(comp["scheduler"].config))

    # ---- 4. tokenizers, encoders, VAE, text decoder ---------------------------------------------------------
    print("encoders and decoders")
    texts = ["an elephant under the sea", "", "A Photo of  a CAT, isn't it?!", "caf\u00e9 na\u00efve \u4f60\u597d 123", "the sea " * 60]
    tok = clip_tok(texts, padding="max_length", max_length=L_TEXT, truncation=True, return_tensors="pt").input_ids
    hid = comp["text_encoder"](tok, output_hidden_states=True)
    low = comp["text_decoder"].encode(hid[0])
    group = {"input_ids": tok, "last_hidden_state": hid[0], "low_dim": low}
    group.update({f"hidden.{i}": h for i, h in enumerate(hid.hidden_states)})
    dump.save("text_encoder", group, texts=texts)

    group, meta = {}, {}
    for i, (h, ww) in enumerate([(90, 61), (48, 48), (33, 70)]):
        arr = test_image(h, ww, i)
        crop, vae_in, clip_in = original_pixels(arr, DIM["image"], DIM["image"])
        pil = Image.fromarray(arr)
        vip = pipe.image_processor.preprocess(pil)
        cip = comp["clip_image_processor"].preprocess(pil, return_tensors="pt").pixel_values
        mom = comp["vae"].encode(vae_in).latent_dist
        emb = comp["image_encoder"](clip_in)
        group.update({
            f"{i}.image": torch.from_numpy(arr), f"{i}.orig.crop": torch.from_numpy(crop), f"{i}.orig.vae_in": vae_in,
            f"{i}.orig.clip_in": clip_in, f"{i}.diffusers.vae_in": vip, f"{i}.diffusers.clip_in": cip,
            f"{i}.moments": mom.parameters, f"{i}.mean": mom.mean, f"{i}.logvar": mom.logvar, f"{i}.std": mom.std,
            f"{i}.clip_embed": emb.image_embeds, f"{i}.clip_last_hidden": emb.last_hidden_state,
            f"{i}.decoded": comp["vae"].decode(0.8 * mom.mean).sample,
        })
        meta[i] = {"size": [h, ww], "diffusers_vae_in": list(vip.shape)}
    big = test_image(427, 640, 9)  # real resolutions, for the resamplers only
    crop, _, clip_in = original_pixels(big, 512, 224)
    cip = CLIPImageProcessor(crop_size=224, size=224).preprocess(Image.fromarray(big), return_tensors="pt").pixel_values
    group.update({"big.image": torch.from_numpy(big), "big.orig.crop512": torch.from_numpy(crop),
                  "big.orig.clip224": clip_in, "big.diffusers.clip224": cip})
    dump.save("image_side", group, images=meta)

    dec = comp["text_decoder"]
    ids = torch.randint(0, len(gpt_tok), (2, 9), generator=g)
    out, hidden = dec(ids, hid[0][:2])
    # training loss of the text decoder: labels = 77 zeros followed by the tokens, shifted by one inside GPT-2 (the
    # zeros are NOT masked: the model is also trained to predict token 0 inside the prefix)
    lab = torch.cat([torch.zeros(2, L_TEXT, dtype=torch.long), ids], 1)
    ce = F.cross_entropy(out.logits[:, :-1].flatten(0, 1).double(), lab[:, 1:].flatten())
    close(ce, dec(ids, hid[0][:2], labels=ids)[0].loss, 1e-4, "text decoder loss")
    group = {"input_ids": ids, "prefix": hid[0][:2], "prefix_low": hidden, "logits": out.logits, "loss": ce}
    feats = torch.cat([low[:3], rnd(3, L_TEXT, DIM["prefix"])])
    caps = []
    for i in range(len(feats)):
        toks, lens = dec.generate_captions(feats[i:i + 1], gpt_tok.eos_token_id, device="cpu")
        beams, blens = dec.generate_beam(input_embeds=dec.decode_prefix(feats[i:i + 1]), device="cpu", eos_token_id=gpt_tok.eos_token_id)
        group.update({f"beam.{i}.tokens": beams, f"beam.{i}.lengths": blens})
        caps.append(gpt_tok.decode(toks[0][: int(lens[0])], skip_special_tokens=True))
    group["features"] = feats
    dump.save("text_decoder", group, captions=caps, eos_token_id=gpt_tok.eos_token_id, gelu=args.gelu,
              beam=dict(beam_size=5, entry_length=67, temperature=1.0))
    print("   best-beam lengths:", [int(group[f"beam.{i}.lengths"][0]) for i in range(len(feats))])

    # ---- 5. the diffusers pipeline, every mode, with all its random draws -----------------------------------
    print("diffusers pipeline")
    image = Image.fromarray(test_image(DIM["image"], DIM["image"], 3))
    draw = PIPE_MOD.randn_tensor

    def trace_pipeline(name, **kw):
        rec, preds, lats = [], [], []

        def recorder(shape, generator=None, device=None, dtype=None, layout=None):
            r = draw(shape, generator=generator, device=device, dtype=dtype)
            rec.append(r.clone())
            return r

        inner = pipe._get_noise_pred

        def noise_pred(*a, **k):
            r = inner(*a, **k)
            preds.append(r.clone())
            return r

        PIPE_MOD.randn_tensor, pipe._get_noise_pred = recorder, noise_pred
        vae_noise = []
        post = diffusers.models.autoencoders.vae
        post_draw = post.randn_tensor

        def vae_recorder(shape, **k):
            r = post_draw(shape, **k)
            vae_noise.append(r.clone())
            return r

        post.randn_tensor = vae_recorder
        try:
            out = pipe(num_inference_steps=args.steps, output_type=kw.pop("output_type", "latent"),
                       generator=torch.Generator().manual_seed(args.seed + 11),
                       callback=lambda i, t, l: lats.append(l.clone()), **kw)
        finally:
            PIPE_MOD.randn_tensor = draw
            pipe._get_noise_pred = inner
            post.randn_tensor = post_draw
        group = {f"noise.{i:03d}": v for i, v in enumerate(rec)}
        group.update({f"vae_noise.{i}": v for i, v in enumerate(vae_noise)})
        group.update(noise_pred=torch.stack(preds), latents=torch.stack(lats), timesteps=pipe.scheduler.timesteps)
        if out.images is not None:
            im = out.images
            group["images"] = torch.as_tensor(np.stack([np.asarray(p) for p in im]) if isinstance(im, list) else im)
        dump.save("pipeline_" + name, group, text=out.text, order_of_draws=[list(v.shape) for v in rec])
        print(f"   {name}: {len(rec)} draws, text {out.text!r:.40}")
        return out

    gs = 8.0
    pipe.set_joint_mode(); trace_pipeline("joint", guidance_scale=gs)
    pipe.set_text_to_image_mode(); trace_pipeline("text2img", prompt=texts[0], guidance_scale=gs)
    trace_pipeline("text2img_noguidance_np", prompt=texts[0], guidance_scale=1.0, output_type="np")
    pipe.set_image_to_text_mode(); trace_pipeline("img2text", image=image, guidance_scale=gs)
    pipe.set_image_mode(); trace_pipeline("img", output_type="np")
    pipe.set_text_mode(); trace_pipeline("text")
    pipe.reset_mode()
    dump.save("pipeline_inputs", {"image": torch.from_numpy(np.asarray(image).copy())}, prompt=texts[0], guidance_scale=gs,
              steps=args.steps)

    # ---- 6. the original samplers (reference implementation) ------------------------------------------------
    print("original samplers (reference)")
    for mode in ("t2i", "t2i_empty", "i2t", "i", "t", "joint", "i2t2i", "t2i2t"):
        rec, tr = Recorder(args.seed + 23), {}
        group, cond_text, cond_img = {}, low[:1], (z[:1], c[:1])
        kw = dict(steps=args.steps, batch=1, rec=rec)
        if mode == "t2i":
            res = original_sample(ref64, "t2i", cond=cond_text, trace=tr, **kw)
        elif mode == "t2i_empty":
            res = original_sample(ref64, "t2i", cond=cond_text, cfg_mode="empty_token", empty_text=low[1:2], trace=tr, **kw)
        elif mode == "i2t":
            res = original_sample(ref64, "i2t", cond=cond_img, trace=tr, **kw)
        elif mode == "i2t2i":  # latents are handed over directly: no caption decoding, no VAE round trip
            mid = original_sample(ref64, "i2t", cond=cond_img, **kw)
            group["mid.text"] = mid["text"]
            res = original_sample(ref64, "t2i", cond=mid["text"], trace=tr, **kw)
        elif mode == "t2i2t":
            mid = original_sample(ref64, "t2i", cond=cond_text, **kw)
            group.update({f"mid.{k}": v for k, v in mid.items()})
            res = original_sample(ref64, "i2t", cond=(mid["z"], mid["clip"]), trace=tr, **kw)
        else:
            res = original_sample(ref64, mode, trace=tr, **kw)
        group.update({f"out.{k}": v for k, v in res.items()})
        group.update({f"trace.{k}": v for k, v in tr.items()})
        group.update(rec.tensors())
        group.update({"cond.text": cond_text, "cond.z": cond_img[0], "cond.clip": cond_img[1], "empty_text": low[1:2]})
        dump.save("original_" + mode, group, scale=7.0, steps=args.steps)

    # ---- 7. training step ------------------------------------------------------------------------------------
    print("training step (reference, float32)")
    torch.set_grad_enabled(True)
    Bt = 3
    abar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas64(), 0)])  # index n = 0..1000
    x0 = (rnd(Bt, 4, 8, 8), rnd(Bt, 1, DIM["clip_img"]), rnd(Bt, L_TEXT, DIM["prefix"]))
    names = ("z", "clip", "text")
    group = {f"x0.{n}": v for n, v in zip(names, x0)}
    params = {k: torch.nn.Parameter(v.clone()) for k, v in w.items()}
    ema = {k: v.clone() for k, v in w.items()}
    opt = torch.optim.AdamW(list(params.values()), lr=2e-4, weight_decay=0.03, betas=(0.9, 0.9))
    warm = 5
    lrs = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(s / warm, 1))  # the very first update has lr = 0
    dts = torch.tensor([0, 1, 1])
    losses = []
    for step in range(3):
        n_img = torch.randint(1, N_TRAIN + 1, (Bt,), generator=g)
        n_txt = torch.randint(1, N_TRAIN + 1, (Bt,), generator=g)
        eps = tuple(rnd(*v.shape) for v in x0)
        noisy = []
        for v, e, n in zip(x0, eps, (n_img, n_img, n_txt)):  # one timestep per image, shared by latent and CLIP token
            s = (-1,) + (1,) * (v.ndim - 1)
            noisy.append(abar[n].sqrt().float().reshape(s) * v + (1 - abar[n]).sqrt().float().reshape(s) * e)
        net = RefUViT(w, DIM["heads"], DIM["latent"], dtype=torch.float32)
        net.w = params
        pred = net(*noisy, n_img.float(), n_txt.float(), dts)
        per = [((p - e) ** 2).flatten(1) for p, e in zip(pred, eps)]
        loss_concat = torch.cat(per, 1).mean(1)  # mean over the concatenated vector (the paper's objective / D)
        loss_parts = sum(p.mean(1) for p in per)  # alternative: sum of per-modality means
        opt.zero_grad()
        if step == 0:
            gp = torch.autograd.grad(loss_parts.mean(), list(params.values()), retain_graph=True, allow_unused=True)
            group.update({f"grad_parts.{k}": v for k, v in zip(params, gp) if v is not None})
        loss_concat.mean().backward()
        if step == 0:
            group.update({f"grad.{k}": p.grad.clone() for k, p in params.items() if p.grad is not None})
        lr = opt.param_groups[0]["lr"]
        opt.step()
        lrs.step()
        for k in ema:
            ema[k].mul_(0.99).add_(params[k].detach(), alpha=0.01)
        group.update({f"step{step}.n_img": n_img, f"step{step}.n_text": n_txt, f"step{step}.loss_concat": loss_concat,
                      f"step{step}.loss_parts": loss_parts})
        group.update({f"step{step}.eps.{n}": v for n, v in zip(names, eps)})
        group.update({f"step{step}.noisy.{n}": v for n, v in zip(names, noisy)})
        group.update({f"step{step}.pred.{n}": v for n, v in zip(names, pred)})
        losses.append((lr, float(loss_concat.mean()), float(loss_parts.mean())))
    group.update({f"final.{k}": p for k, p in params.items()})
    group.update({f"ema.{k}": v for k, v in ema.items()})
    group["data_type"] = dts
    dump.save("train", group, optimizer=dict(name="AdamW", lr=2e-4, betas=[0.9, 0.9], eps=1e-8, weight_decay=0.03,
              warmup_steps=warm, ema=0.99), lr_and_losses=losses, optimised_loss="loss_concat.mean()")
    torch.set_grad_enabled(False)
    print("   (lr, loss_concat, loss_parts):", [tuple(round(v, 6) for v in l) for l in losses])

    dump.finish(torch=torch.__version__, diffusers=diffusers.__version__, transformers=transformers.__version__,
                numpy=np.__version__, args=vars(args), dims=DIM, n_parameters=n_par)
    size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(args.out) for f in fs)
    print(f"wrote {args.out} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
