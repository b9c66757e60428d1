#!/usr/bin/env python3
"""Makes the parity fixtures of the `unidiffuser` crate.

Runs `unidiffuser_oracle.py` for both U-ViT versions in a temporary folder, keeps what the Rust tests compare against
(single precision is enough for a single-precision port), adds a few cases of its own (tokenizer round trips, a
full-size resampling case) and writes the README that names every tensor.

Usage:  python fixtures.py [--out ../crates/unidiffuser/tests/fixtures] [--work DIR]

With `--work` the oracle's output is kept there and reused by the next run.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
DEFAULT_OUT = os.path.join(HERE, "..", "crates", "unidiffuser", "tests", "fixtures")
TASKS = ("t2i", "t2i_empty", "i2t", "i", "t", "joint", "i2t2i", "t2i2t")
# Modalities drawn at the start, then at each of the network evaluations, in order.
INITIAL = ["z", "clip", "text"]
PER_EVALUATION = {
    "t2i": ["text"], "t2i_empty": [], "i2t": ["z", "clip"], "i": ["text"], "t": ["z", "clip"],
    "joint": ["z", "clip", "text"],
}
# (t_img, t_text) cases of the oracle that are kept, under the new names case0, case1, case2.
KEPT_CASES = (1, 3, 6)
TRACED_CASE = 1
# Parameters whose second-loss gradient and moving average are kept; the rest follows the same arithmetic.
SUBSET = ("norm.", "decoder_pred.", "text_out.", "clip_img_out.", "token_embedding.", "pos_embed_token",
          "patch_embed.", "text_embed.", "clip_img_embed.", "out_blocks.1.attn.qkv.", "out_blocks.1.norm1.",
          "in_blocks.0.norm2.", "mid_block.attn.proj.")
TOKEN_TEXTS = (
    "an elephant under the sea", "", "A Photo of  a CAT, isn't it?!", "caf\u00e9 na\u00efve \u4f60\u597d 123",
    " leading and trailing \t\n", "two people's umbrellas: 3.14 <b>&amp;</b>", "we'll they've I'm he'd DON'T",
    "\U0001f418 elephant\u200d\u00a0sea\u2014moon", "e\u0301 combining vs \u00e9", "snake_case a-b/c\\d \"q\" #1 @x",
)


def to32(t):
    return t.float() if t.dtype == torch.float64 else t


def write(folder, name, tensors):
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(tensors, os.path.join(folder, name + ".safetensors"))


def run_oracle(work, version):
    out = os.path.join(work, f"v{version}")
    if not os.path.exists(os.path.join(out, "manifest.json")):
        script = os.path.join(HERE, "unidiffuser_oracle.py")
        subprocess.run([sys.executable, script, "--out", out, "--version", str(version), "--gelu", "gelu_new"],
                       check=True)
    return out, json.load(open(os.path.join(out, "manifest.json"), encoding="utf-8"))


# ---- models ----------------------------------------------------------------------------------------------------
def copy_models(v0, v1, out):
    """`hf-v1` complete, `hf-v0` the U-ViT only. The tokenizer folders get the files that transformers 4 wrote
    (vocab.json, merges.txt, added_tokens.json, special_tokens_map.json) next to the tokenizer.json of version 5."""
    for name in ("hf-v0", "hf-v1"):
        shutil.rmtree(os.path.join(out, name), ignore_errors=True)
    shutil.copytree(os.path.join(v1, "hf"), os.path.join(out, "hf-v1"))
    shutil.copytree(os.path.join(v0, "hf", "unet"), os.path.join(out, "hf-v0", "unet"))
    for learnt, folder in (("clip_bpe", "clip_tokenizer"), ("gpt2_bpe", "text_tokenizer")):
        dst = os.path.join(out, "hf-v1", folder)
        for f in ("vocab.json", "merges.txt"):
            shutil.copy(os.path.join(v1, learnt, f), os.path.join(dst, f))
    clip = dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    write_json(os.path.join(out, "hf-v1", "clip_tokenizer", "special_tokens_map.json"),
               {"bos_token": "<|startoftext|>", **clip})
    gpt2 = os.path.join(out, "hf-v1", "text_tokenizer")
    n = len(json.load(open(os.path.join(gpt2, "vocab.json"), encoding="utf-8")))
    write_json(os.path.join(gpt2, "added_tokens.json"), {"<|EOS|>": n})
    write_json(os.path.join(gpt2, "special_tokens_map.json"),
               {"bos_token": "<|endoftext|>", "eos_token": "<|EOS|>", "unk_token": "<|endoftext|>"})


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        f.write("\n")


def original_keys(v0, v1, out):
    sources = {"uvit_v0": v0, "uvit_v1": v1, "autoencoder_kl": v1, "caption_decoder": v1}
    for name, root in sources.items():
        with safe_open(os.path.join(root, "orig", name + ".safetensors"), "pt") as f:
            lines = [f"{k} {list(f.get_slice(k).get_shape())}" for k in sorted(f.keys())]
        with open(os.path.join(out, f"{name}_original_keys.txt"), "w", encoding="utf-8") as f:
            f.write(f"# {name}.pth at the tiny size of the fixtures: {len(lines)} tensors\n")
            f.write("\n".join(lines) + "\n")


# ---- tensors ---------------------------------------------------------------------------------------------------
def uvit(root, out, version):
    src, dst = load_file(os.path.join(root, "uvit.safetensors")), {}
    for k in ("z", "clip", "text", "batch_t_img", "batch_t_text", "batch_data_type", "resized.z_in"):
        dst[k] = src[k]
    names = {f"case{old}.ref64.": f"case{new}.out." for new, old in enumerate(KEPT_CASES)}
    names.update({"batch.ref64.": "batch.out.", "resized.ref64.": "resized.out."})
    if version == 1:
        names[f"case{TRACED_CASE}.trace."] = f"case{KEPT_CASES.index(TRACED_CASE)}.trace."
    for k, v in src.items():
        for old, new in names.items():
            if k.startswith(old):
                dst[new + k[len(old):]] = to32(v[:1] if ".trace." in k else v)
    write(out, f"uvit_v{version}", dst)


def solvers(root, out):
    src = load_file(os.path.join(root, "solvers.safetensors"))
    keep = {k: v for k, v in src.items() if k in ("alphas_cumprod", "log_alpha_knots", "toy.x_init")}
    for k, v in src.items():
        if k.startswith("fast.") and k.split(".")[2] in ("out", "t", "orders", "grid"):
            keep[k] = v
        elif k.startswith("multistep.") and not k.endswith(".trace"):
            keep[k] = v
        elif k.endswith(".trace"):
            keep[k.replace(".trace", ".out")] = v[-1]
    write(out, "solvers", keep)


def tokenizer_cases(out):
    from transformers import AutoTokenizer

    clip = AutoTokenizer.from_pretrained(os.path.join(out, "hf-v1", "clip_tokenizer"))
    gpt2 = AutoTokenizer.from_pretrained(os.path.join(out, "hf-v1", "text_tokenizer"))
    rows = []
    for text in TOKEN_TEXTS:
        ids = gpt2(text).input_ids
        rows.append({
            "text": text,
            "clip_ids": clip(text).input_ids,
            "clip_decoded": clip.decode(clip(text).input_ids, skip_special_tokens=True,
                                        clean_up_tokenization_spaces=False),
            "gpt2_ids": ids,
            "gpt2_decoded": gpt2.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        })
        assert rows[-1]["gpt2_decoded"] == text, text
    write_json(os.path.join(out, "tokenizers.json"), {
        "cases": rows, "clip_bos": clip.bos_token_id, "clip_eos": clip.eos_token_id, "clip_pad": clip.pad_token_id,
        "gpt2_bos": gpt2.bos_token_id, "gpt2_eos": gpt2.eos_token_id,
    })


def text_encoder(root, meta, out):
    src = load_file(os.path.join(root, "text_encoder.safetensors"))
    write(out, "text_encoder", {k: src[k] for k in ("input_ids", "last_hidden_state", "low_dim")})
    write_json(os.path.join(out, "texts.json"), meta["groups"]["text_encoder"]["texts"])


def chirp(h, w):
    """A picture that any language can make: integer arithmetic only, fine detail towards the lower right."""
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    channels = [((x * x + 3 * y * y + 5 * x * y) // (64 + 16 * c) + 40 * c) % 256 for c in range(3)]
    return np.stack(channels, -1).astype(np.uint8)


def image_side(root, out):
    sys.path.insert(0, HERE)
    from unidiffuser_oracle import original_pixels
    from transformers import CLIPImageProcessor

    src, dst = load_file(os.path.join(root, "image_side.safetensors")), {}
    for new, old in enumerate((0, 2)):
        for k in ("image", "orig.crop", "orig.vae_in", "orig.clip_in", "diffusers.clip_in", "moments", "mean", "logvar",
                  "std", "clip_embed", "clip_last_hidden", "decoded"):
            dst[f"{new}.{k}"] = src[f"{old}.{k}"]
    dst["1.diffusers.vae_in"] = src["2.diffusers.vae_in"]
    big = chirp(427, 640)
    crop, _, clip_in = original_pixels(big, 512, 224)
    processor = CLIPImageProcessor(crop_size=224, size=224)
    direct = processor.preprocess(Image.fromarray(big), return_tensors="pt").pixel_values
    dst["big.image_rows"] = torch.from_numpy(big[::61].copy())
    dst["big.orig.crop512_rows"] = torch.from_numpy(crop[::32].copy())
    dst["big.orig.crop512_sums"] = torch.from_numpy(crop.astype(np.int64).sum(1))
    dst["big.orig.clip224_rows"] = clip_in[:, :, ::32].contiguous()
    dst["big.diffusers.clip224_rows"] = direct[:, :, ::32].contiguous()
    write(out, "image_side", dst)


def text_decoder(root, out):
    src = load_file(os.path.join(root, "text_decoder.safetensors"))
    dst = {"input_ids": src["input_ids"], "features": src["features"], "loss": to32(src["loss"])}
    dst["logits_every_5th"] = src["logits"][:, ::5]
    for k in src:
        if k.startswith("beam."):
            dst[k] = src[k].to(torch.int64)
    check_beams(root, dst)
    write(out, "text_decoder", dst)


def check_beams(root, group):
    """The beams must not hang on rounding: the same search in double precision has to find the same tokens."""
    sys.path.insert(0, HERE)
    from unidiffuser_oracle import UniDiffuserTextDecoder

    with torch.no_grad():
        decoder = UniDiffuserTextDecoder.from_pretrained(os.path.join(root, "hf", "text_decoder")).double().eval()
        eos = decoder.transformer.config.vocab_size - 1
        for i, code in enumerate(group["features"].double()):
            tokens, lengths = decoder.generate_beam(
                input_embeds=decoder.decode_prefix(code[None]), device="cpu", eos_token_id=eos)
            same = torch.equal(tokens.long(), group[f"beam.{i}.tokens"])
            assert same and torch.equal(lengths.long(), group[f"beam.{i}.lengths"]), f"beam {i} hangs on rounding"


def draws(task):
    """The modality of noise.000, noise.001, ... for 8 network evaluations."""
    if task in ("i2t2i", "t2i2t"):
        halves = ("i2t", "t2i") if task == "i2t2i" else ("t2i", "i2t")
        return [n for half in halves for n in INITIAL + 8 * PER_EVALUATION[half]]
    return INITIAL + 8 * PER_EVALUATION[task]


def tasks(root, out):
    for task in TASKS:
        src, dst = load_file(os.path.join(root, f"original_{task}.safetensors")), {}
        order = draws(task)
        noise = sorted(k for k in src if k.startswith("noise."))
        size = {"z": (1, 4, 8, 8), "clip": (1, 1, 20), "text": (1, 77, 24)}
        assert [tuple(src[k].shape) for k in noise] == [size[n] for n in order], task
        for k in noise:
            dst[k] = src[k]
        for k, v in src.items():
            if k.startswith(("out.", "mid.")):
                dst[k] = to32(v)
        for k in ("trace.t", "trace.grid", "trace.orders"):
            dst[k] = src[k]
        dst["trace.x0.last"] = to32(src["trace.x0"][-1])
        dst["trace.eps.first"] = to32(src["trace.eps"][0])
        if task in ("t2i", "t2i_empty", "t2i2t"):
            dst["cond.text"] = src["cond.text"]
        if task in ("i2t", "i2t2i"):
            dst.update({k: src[k] for k in ("cond.z", "cond.clip")})
        if task == "t2i_empty":
            dst["empty_text"] = src["empty_text"]
        write(out, f"original_{task}", dst)


def single_precision_error(root, out):
    """How far the same samplers drift from the double-precision result in single precision: the floor of any
    tolerance. The largest absolute difference divided by the largest absolute value, over all outputs."""
    sys.path.insert(0, HERE)
    from unidiffuser_oracle import DIM, RefUViT, original_sample

    weights = load_file(os.path.join(root, "orig", "uvit_v1.safetensors"))
    net = RefUViT(weights, DIM["heads"], DIM["latent"], dtype=torch.float32)
    result = {}
    for task in TASKS:
        src = load_file(os.path.join(out, f"original_{task}.safetensors"))
        queue = [src[k] for k in sorted(src) if k.startswith("noise.")]

        def replay(*shape):
            t = queue.pop(0)
            assert tuple(t.shape) == shape
            return t

        def sample(mode, **kw):
            return original_sample(net, mode, rec=replay, batch=1, steps=8, **kw)

        with torch.no_grad():
            if task == "t2i_empty":
                got = sample("t2i", cond=src["cond.text"], cfg_mode="empty_token", empty_text=src["empty_text"])
            elif task == "t2i":
                got = sample("t2i", cond=src["cond.text"])
            elif task == "i2t":
                got = sample("i2t", cond=(src["cond.z"], src["cond.clip"]))
            elif task == "i2t2i":
                got = sample("t2i", cond=sample("i2t", cond=(src["cond.z"], src["cond.clip"]))["text"])
            elif task == "t2i2t":
                mid = sample("t2i", cond=src["cond.text"])
                got = sample("i2t", cond=(mid["z"], mid["clip"]))
            else:
                got = sample(task)
        assert not queue, task
        worst = max((got[n].double() - src["out." + n].double()).abs().max() / src["out." + n].abs().max() for n in got)
        result[task] = float(f"{float(worst):.2e}")
    return result


def pipelines(root, manifest, out):
    """Runs of diffusers' pipeline with all its draws: the last state (of the joint run, whose end hangs on the last bit of
    the noise, every state and every guided prediction), what was decoded, and the manifest's part about them in
    `pipelines.json`."""
    facts = {}
    for name in ("inputs", "joint", "text2img", "text2img_noguidance_np", "img2text", "img", "text"):
        group = f"pipeline_{name}"
        src = load_file(os.path.join(root, group + ".safetensors"))
        keep = {k: v for k, v in src.items() if k.startswith(("noise.", "vae_noise.")) or k in ("images", "image")}
        if name == "joint":
            keep.update({k: src[k] for k in ("latents", "noise_pred")})
        elif "latents" in src:
            keep["latents"] = src["latents"][-1:]
        write(out, group, keep)
        facts[group] = {k: v for k, v in manifest["groups"][group].items() if k in ("prompt", "guidance_scale", "steps", "text")}
    write_json(os.path.join(out, "pipelines.json"), facts)


def train(root, out):
    src, main = load_file(os.path.join(root, "train.safetensors")), {}
    for k, v in src.items():
        name = k.split(".", 1)[1] if k.startswith(("grad_parts.", "ema.")) else None
        if k.startswith(("x0.", "step0.")) or k == "data_type":
            main[k] = v
        elif k.startswith(("step1.", "step2.")) and ".noisy." not in k and ".pred." not in k:
            main[k] = v
        elif name is not None and name.startswith(SUBSET):
            main[k] = v
    write(out, "train", main)
    for group, file in (("grad.", "train_grads"), ("final.", "train_final")):
        write(out, file, {k[len(group):]: v for k, v in src.items() if k.startswith(group)})


# ---- description -----------------------------------------------------------------------------------------------
def manifest(m, out, errors):
    groups = m["groups"]
    cases = groups["uvit"]["cases"]
    # Infinity is no JSON number, although diffusers writes it as one.
    scheduler = {k: str(v) if isinstance(v, float) and not np.isfinite(v) else v
                 for k, v in groups["solvers"]["scheduler_config"].items() if not k.startswith("_")}
    write_json(os.path.join(out, "manifest.json"), {
        "versions": {k: m[k] for k in ("torch", "diffusers", "transformers", "numpy")},
        "dims": m["dims"],
        "n_parameters_v1": m["n_parameters"],
        "uvit": {"cases": [cases[i] for i in KEPT_CASES], "data_type": 1, "batch": 2, "resized_t": [500.0, 20.0],
                 "traced_case": KEPT_CASES.index(TRACED_CASE)},
        "solvers": {"toy": "eps(x, n) = tanh(0.7 x) (0.4 + 0.5 n / 1000) + 0.05 cos(3 x)",
                    "scheduler": scheduler},
        "image_side": {"sizes_h_w": [[90, 61], [33, 70]], "big_h_w": [427, 640], "decode_factor": 0.8},
        "text_decoder": {k: groups["text_decoder"][k] for k in ("captions", "eos_token_id", "gelu", "beam")},
        "original": {"guidance_scale": 7.0, "network_evaluations": 8, "data_type": 1,
                     "draws": {t: draws(t) for t in TASKS}, "single_precision_relative_error": errors},
        "train": {k: groups["train"][k] for k in ("optimizer", "lr_and_losses", "optimised_loss")},
    })


def listing(out):
    """One line per tensor, runs of noise draws folded."""
    lines = []
    for f in sorted(os.listdir(out)):
        path = os.path.join(out, f)
        if not f.endswith(".safetensors"):
            continue
        lines += [f"### {f} ({os.path.getsize(path) / 1000:.0f} kB)", ""]
        with safe_open(path, "pt") as s:
            keys = sorted(s.keys())
            if f in ("train_grads.safetensors", "train_final.safetensors"):
                lines += [f"{len(keys)} tensors, the names and shapes of `uvit_v1_original_keys.txt`, F32.", ""]
                continue
            noise = [k for k in keys if k.startswith("noise.")]
            subset = [k for k in keys if k.startswith(("ema.", "grad_parts."))]
            for k in keys:
                if k in noise or k in subset:
                    continue
                t = s.get_slice(k)
                lines.append(f"- `{k}` {list(t.get_shape())} {t.get_dtype()}")
            if noise:
                lines.append(f"- `{noise[0]}` .. `{noise[-1]}` F32, shapes by modality (table above)")
            if subset:
                names = sorted({k.split(".", 1)[1] for k in subset})
                lines.append("- `ema.NAME` and `grad_parts.NAME` F32 for NAME in " + ", ".join(f"`{n}`" for n in names))
        lines.append("")
    return "\n".join(lines)


def readme(out):
    text = open(os.path.join(HERE, "fixtures_readme.md"), encoding="utf-8").read()
    with open(os.path.join(out, "README.md"), "w", encoding="utf-8") as f:
        f.write(text.rstrip("\n") + "\n\n## Every tensor\n\n" + listing(out).rstrip("\n") + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=DEFAULT_OUT)
    ap.add_argument("--work", help="keep and reuse the oracle's output here")
    args = ap.parse_args()
    out, work = os.path.abspath(args.out), args.work or tempfile.mkdtemp()
    os.makedirs(out, exist_ok=True)
    torch.set_num_threads(1)
    v0, m0 = run_oracle(work, 0)
    v1, m1 = run_oracle(work, 1)
    copy_models(v0, v1, out)
    original_keys(v0, v1, out)
    uvit(v0, out, 0)
    uvit(v1, out, 1)
    solvers(v1, out)
    tokenizer_cases(out)
    text_encoder(v1, m1, out)
    image_side(v1, out)
    text_decoder(v1, out)
    tasks(v1, out)
    pipelines(v1, m1, out)
    train(v1, out)
    errors = single_precision_error(v1, out)
    manifest(m1, out, errors)
    readme(out)
    if args.work is None:
        shutil.rmtree(work)
    size = sum(os.path.getsize(os.path.join(r, f)) for r, _, fs in os.walk(out) for f in fs)
    print(f"wrote {out} ({size / 1e6:.2f} MB); single-precision relative errors {errors}")


if __name__ == "__main__":
    main()
