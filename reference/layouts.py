#!/usr/bin/env python3
"""Makes `crates/unidiffuser/tests/fixtures/layouts/`: one very small model with random weights in every layout that
published checkpoints have, written by the libraries themselves where they have a writer.

| folder | what it is |
|---|---|
| `diffusers/` | `save_pretrained`, safetensors, with the prefix `text_model.` |
| `bin/` | the same as PyTorch files: old container, shards, old attention names, missing head, prefix left out, both processors |
| `authors/` | `uvit_v1.pth`, `autoencoder_kl.pth`, `caption_decoder.pth`, CLIP-L/14 with both towers, the file of `clip` |
| `authors-v0/` | `uvit_v0.pth` alone |

`codes.safetensors` has inputs and outputs of the networks, computed by diffusers and transformers.

Usage:  python layouts.py [--out ../crates/unidiffuser/tests/fixtures/layouts]
"""
import argparse
import json
import os
import shutil
from collections import OrderedDict

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig

import unidiffuser_oracle as oracle

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_OUT = os.path.join(HERE, "..", "crates", "unidiffuser", "tests", "fixtures", "layouts")
# Every width differs, all are as small as the layers allow.
TEXT, CODE, CLIP_IMG, MODEL, HEADS, LATENT, IMAGE, GPT = 20, 6, 10, 16, 2, 4, 8, 12


def build(clip_tok, gpt_tok, version):
    """The components, by the classes of the libraries."""
    from diffusers import AutoencoderKL

    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(clip_tok), hidden_size=TEXT, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=oracle.L_TEXT, bos_token_id=clip_tok.bos_token_id,
        eos_token_id=clip_tok.eos_token_id, pad_token_id=clip_tok.pad_token_id))
    vision = oracle.CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE,
        patch_size=4, projection_dim=CLIP_IMG))
    vae = AutoencoderKL(
        sample_size=IMAGE, in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[4, 8], norm_num_groups=2, scaling_factor=0.18215)
    unet = oracle.UniDiffuserModel(
        text_dim=CODE, clip_img_dim=CLIP_IMG, num_text_tokens=oracle.L_TEXT, num_attention_heads=HEADS,
        attention_head_dim=MODEL // HEADS, in_channels=4, out_channels=4, num_layers=2, sample_size=LATENT, patch_size=2,
        activation_fn="gelu", num_embeds_ada_norm=1000, norm_type="layer_norm", block_type="unidiffuser",
        pre_layer_norm=False, use_timestep_embedding=False, ff_final_dropout=True,
        use_data_type_embedding=version == 1)
    decoder = oracle.UniDiffuserTextDecoder(
        prefix_length=oracle.L_TEXT, prefix_inner_dim=TEXT, prefix_hidden_dim=CODE, vocab_size=len(gpt_tok),
        n_positions=oracle.L_TEXT + 67, n_embd=GPT, n_layer=2, n_head=2, n_inner=40, activation_function="gelu_new")
    for i, module in enumerate([text, vision, vae, unet, decoder]):
        oracle.randomise(module, 500 + i)
    wte = decoder.transformer.transformer.wte.weight
    decoder.transformer.lm_head.weight = torch.nn.Parameter(wte.detach().clone())
    return dict(text_encoder=text, image_encoder=vision, vae=vae, unet=unet, text_decoder=decoder)


def with_prefix(sd):
    """The names of transformers 4."""
    return OrderedDict((k if k.startswith("text_model.") else "text_model." + k, v) for k, v in sd.items())


def clip_package(sd, prefix, projection):
    """The names of OpenAI's package: fused projections, transposed projection of the embedding."""
    out = OrderedDict()
    inner = {k[len("vision_model."):]: v for k, v in sd.items() if k.startswith("vision_model.")}
    names = {
        "embeddings.class_embedding": "class_embedding", "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding", "pre_layrnorm.weight": "ln_pre.weight",
        "pre_layrnorm.bias": "ln_pre.bias", "post_layernorm.weight": "ln_post.weight",
        "post_layernorm.bias": "ln_post.bias",
    }
    for ours, theirs in names.items():
        out[prefix + theirs] = inner[ours].clone()
    layers = 1 + max(int(k.split(".")[2]) for k in inner if k.startswith("encoder.layers."))
    for i in range(layers):
        src, dst = f"encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
        for s in ("weight", "bias"):
            out[f"{dst}attn.in_proj_{s}"] = torch.cat([inner[f"{src}self_attn.{c}_proj.{s}"] for c in "qkv"])
            out[f"{dst}attn.out_proj.{s}"] = inner[f"{src}self_attn.out_proj.{s}"].clone()
            out[f"{dst}ln_1.{s}"] = inner[f"{src}layer_norm1.{s}"].clone()
            out[f"{dst}ln_2.{s}"] = inner[f"{src}layer_norm2.{s}"].clone()
            out[f"{dst}mlp.c_fc.{s}"] = inner[f"{src}mlp.fc1.{s}"].clone()
            out[f"{dst}mlp.c_proj.{s}"] = inner[f"{src}mlp.fc2.{s}"].clone()
    out[prefix + projection] = sd["visual_projection.weight"].T.contiguous()
    return out


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, sort_keys=True)
        f.write("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=DEFAULT_OUT)
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    path = lambda *parts: os.path.join(out, *parts)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    clip_tok, gpt_tok = oracle.build_tokenizers(path("tokens"))
    parts = build(clip_tok, gpt_tok, 1)

    # ---- diffusers, safetensors ----
    for name, module in parts.items():
        module.save_pretrained(path("diffusers", name), safe_serialization=True)
    text_sd = with_prefix(parts["text_encoder"].state_dict())
    save_file(text_sd, path("diffusers", "text_encoder", "model.safetensors"), metadata={"format": "pt"})
    for learnt, folder in (("clip_bpe", "clip_tokenizer"), ("gpt2_bpe", "text_tokenizer")):
        shutil.copytree(path("tokens", learnt), path("diffusers", folder))
    write_json(path("diffusers", "model_index.json"), {"_class_name": "UniDiffuserPipeline"})
    oracle.DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", solver_order=3,
    ).save_pretrained(path("diffusers", "scheduler"))

    # ---- the same as PyTorch files ----
    shutil.copytree(path("diffusers"), path("bin"))
    for name in parts:
        for f in os.listdir(path("bin", name)):
            if f.endswith(".safetensors"):
                os.remove(path("bin", name, f))
    unet_sd = {k: v.clone() for k, v in parts["unet"].state_dict().items()}
    names = sorted(unet_sd)
    halves = {1: names[: len(names) // 2], 2: names[len(names) // 2:]}
    shard = "diffusion_pytorch_model-0000{}-of-00002.bin"
    for i, keys in halves.items():
        torch.save({k: unet_sd[k] for k in keys}, path("bin", "unet", shard.format(i)))
    write_json(path("bin", "unet", "diffusion_pytorch_model.bin.index.json"),
               {"metadata": {}, "weight_map": {k: shard.format(i) for i, keys in halves.items() for k in keys}})
    # names of diffusers before 2023, in the old container
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    vae_sd = OrderedDict()
    for k, v in parts["vae"].state_dict().items():
        if ".attentions." in k:
            for new, name in old.items():
                k = k.replace(new, name)
        vae_sd[k] = v.clone()
    torch.save(vae_sd, path("bin", "vae", "diffusion_pytorch_model.bin"), _use_new_zipfile_serialization=False)
    bare = OrderedDict((k.removeprefix("text_model."), v.clone()) for k, v in text_sd.items())
    bare["embeddings.position_ids"] = torch.arange(oracle.L_TEXT)[None]
    torch.save(bare, path("bin", "text_encoder", "pytorch_model.bin"))
    torch.save(parts["image_encoder"].state_dict(), path("bin", "image_encoder", "pytorch_model.bin"))
    decoder_sd = {k: v.clone() for k, v in parts["text_decoder"].state_dict().items()}
    # a tied head may stand alone
    del decoder_sd["transformer.transformer.wte.weight"]
    torch.save(decoder_sd, path("bin", "text_decoder", "diffusion_pytorch_model.bin"))
    processor = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    os.makedirs(path("bin", "image_processor"))
    write_json(path("bin", "image_processor", "preprocessor_config.json"), processor)

    # ---- the authors' files ----
    os.makedirs(path("authors"))
    w = oracle.unet_to_original(parts["unet"].state_dict())
    torch.save(OrderedDict(w), path("authors", "uvit_v1.pth"))
    torch.save(oracle.vae_to_original(parts["vae"].state_dict(), 2), path("authors", "autoencoder_kl.pth"))
    decoder = oracle.decoder_to_original(parts["text_decoder"].state_dict(), 2, oracle.L_TEXT + 67)
    decoder = {k: v for k, v in decoder.items() if not k.endswith(".attn.bias")}  # the large masks, but one
    decoder["module.gpt.transformer.h.0.attn.bias"] = torch.tril(torch.ones(1, 1, 9, 9, dtype=torch.uint8))
    decoder["module.gpt.lm_head.weight"] = decoder["module.gpt.transformer.wte.weight"]
    torch.save(decoder, path("authors", "caption_decoder.pth"))
    # what a folder does not say: heads of another width than 64, groups other than 32
    write_json(path("authors", "config.json"), {
        "uvit": {"num_heads": HEADS}, "caption_decoder": {"n_head": 2}, "autoencoder": {"norm_num_groups": 2},
        "image_encoder": {"num_attention_heads": 2}})
    both = CLIPModel(CLIPConfig(
        text_config=parts["text_encoder"].config.to_dict(), vision_config=parts["image_encoder"].config.to_dict(),
        projection_dim=8))
    large = OrderedDict((k, v.clone()) for k, v in both.state_dict().items())
    large.update((k, v.clone()) for k, v in text_sd.items())
    large["text_model.embeddings.position_ids"] = torch.arange(oracle.L_TEXT)[None]
    folder = path("authors", "clip-vit-large-patch14")
    both.config.save_pretrained(folder)
    torch.save(large, os.path.join(folder, "pytorch_model.bin"))
    for f in ("vocab.json", "merges.txt"):
        shutil.copy(path("tokens", "clip_bpe", f), os.path.join(folder, f))
    shutil.copytree(path("tokens", "gpt2_bpe"), path("authors", "gpt2"))
    package = clip_package(parts["image_encoder"].state_dict(), "visual.", "proj")
    package["logit_scale"] = torch.tensor(4.6)
    package["positional_embedding"] = torch.zeros(7, 4)  # of the text tower, which is not read
    package["token_embedding.weight"] = torch.zeros(5, 4)
    package["input_resolution"] = torch.tensor(IMAGE)
    torch.save(package, path("authors", "ViT-B-32.pt"))
    os.makedirs(path("authors-v0"))
    v0 = OrderedDict((k, v) for k, v in w.items() if k not in ("token_embedding.weight", "pos_embed_token"))
    torch.save(v0, path("authors-v0", "uvit_v0.pth"))

    # ---- what the networks compute ----
    g = torch.Generator().manual_seed(9)
    rnd = lambda *shape: torch.randn(shape, generator=g)
    ids = clip_tok(["the sea and the moon"], padding="max_length", max_length=oracle.L_TEXT, return_tensors="pt").input_ids
    hidden = parts["text_encoder"](ids)[0]
    z, c = rnd(1, 4, LATENT, LATENT), rnd(1, 1, CLIP_IMG)
    y = parts["text_decoder"].encode(hidden)
    out_z, out_c, out_y = parts["unet"](z, c, y, timestep_img=torch.tensor([300.0]), timestep_text=torch.tensor([20.0]),
                                        data_type=1)
    pixels = rnd(1, 3, IMAGE, IMAGE)
    tokens = torch.tensor([[3, 5, 7]])
    codes = dict(
        ids=ids, hidden=hidden, text=y, z=z, clip=c, out_z=out_z, out_clip=out_c, out_text=out_y, pixels=pixels,
        mean=parts["vae"].encode(pixels).latent_dist.mean, decoded=parts["vae"].decode(z).sample,
        embedding=parts["image_encoder"](pixels).image_embeds, tokens=tokens,
        logits=parts["text_decoder"](tokens, hidden)[0].logits,
    )
    save_file({k: v.clone().contiguous() for k, v in codes.items()}, path("codes.safetensors"))
    shutil.rmtree(path("tokens"))
    size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(out) for f in fs)
    print(f"wrote {out} ({size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
