#!/usr/bin/env python3
"""One network of a folder of `full_size write`, by diffusers or transformers: timed, and compared with Trefoil's output.

    python full_size.py FOLDER unet --runs 2 --threads 2 --compare /tmp/unet.safetensors

`cargo xtask verify --full` runs it. Standard output has two lines of JSON: one when the network is loaded, one with times
in seconds, memory in bytes and, for each output, the largest difference over the largest magnitude of ours.
"""
import argparse
import json
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file

LEVELS = (500.25, 820.5)
TOKENS = 10
BEAMS = 5


def memory(field):
    """A line of /proc/self/status in bytes; zero on other systems."""
    try:
        for line in open("/proc/self/status"):
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def unet(folder, inputs):
    from diffusers.pipelines.deprecated.unidiffuser import UniDiffuserModel

    net = UniDiffuserModel.from_pretrained(os.path.join(folder, "unet"), torch_dtype=torch.float32)
    level = lambda i: torch.tensor([LEVELS[i]])

    def run():
        z, clip, text = net(inputs["z"], inputs["clip"], inputs["text"], timestep_img=level(0), timestep_text=level(1),
                            data_type=1)
        return {"z": z, "clip": clip, "text": text}

    return net, run


def vae(folder, inputs):
    from diffusers import AutoencoderKL

    net = AutoencoderKL.from_pretrained(os.path.join(folder, "vae"), torch_dtype=torch.float32)
    return net, lambda: {"picture": net.decode(inputs["latent"]).sample}


def text_encoder(folder, inputs):
    from transformers import CLIPTextModel

    net = CLIPTextModel.from_pretrained(os.path.join(folder, "text_encoder"), torch_dtype=torch.float32)
    return net, lambda: {"hidden": net(inputs["ids"].long()).last_hidden_state}


def image_encoder(folder, inputs):
    from transformers import CLIPVisionModelWithProjection

    net = CLIPVisionModelWithProjection.from_pretrained(os.path.join(folder, "image_encoder"), torch_dtype=torch.float32)
    return net, lambda: {"embedding": net(inputs["pixels"]).image_embeds}


def text_decoder(folder, inputs):
    from diffusers.pipelines.deprecated.unidiffuser import UniDiffuserTextDecoder

    net = UniDiffuserTextDecoder.from_pretrained(
        os.path.join(folder, "text_decoder"), torch_dtype=torch.float32, low_cpu_mem_usage=False)
    # The head is the token table; loading may leave the two apart.
    net.transformer.lm_head.weight = net.transformer.transformer.wte.weight

    def run():
        prefix = net.decode_prefix(inputs["code"])
        ids, _ = net.generate_beam(input_embeds=prefix, device="cpu", beam_size=BEAMS, entry_length=TOKENS,
                                   eos_token_id=-1)
        return {"ids": ids.float()}

    return net, run


def scores(net, inputs, ids):
    """Mean log-probability of each beam's tokens, in one pass."""
    prefix = net.decode_prefix(inputs["code"]).expand(len(ids), -1, -1)
    words = net.transformer.transformer.wte(ids.long())
    logits = net.transformer(inputs_embeds=torch.cat([prefix, words], 1)).logits
    logs = logits[:, prefix.shape[1] - 1:-1].log_softmax(-1)
    return logs.gather(2, ids.long()[:, :, None]).mean((1, 2))


NETWORKS = {f.__name__: f for f in (unet, vae, text_encoder, image_encoder, text_decoder)}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("folder")
    ap.add_argument("network", choices=NETWORKS)
    ap.add_argument("--runs", type=int, default=2)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--compare", metavar="FILE")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    inputs = load_file(os.path.join(args.folder, "inputs.safetensors"))
    before = memory("VmRSS")
    start = time.perf_counter()
    net, run = NETWORKS[args.network](args.folder, inputs)
    net.eval()
    load, peak_loading = time.perf_counter() - start, memory("VmHWM")
    print(json.dumps({"ready": True}), flush=True)
    times = []
    for _ in range(args.runs + 1):
        start = time.perf_counter()
        outputs = run()
        times.append(time.perf_counter() - start)
    peak = memory("VmHWM")
    differences = {}
    if args.compare:
        ours = load_file(args.compare)
        if args.network == "text_decoder":
            outputs["scores"] = scores(net, inputs, outputs["ids"])
        for name, theirs in outputs.items():
            theirs = theirs.float().reshape(ours[name].shape)
            differences[name] = ((ours[name] - theirs).abs().max() / theirs.abs().max()).item()
    # diffusers has a second patch embedding that nothing uses.
    used = ((n, p) for n, p in net.named_parameters() if not n.startswith("transformer.pos_embed.proj."))
    parameters = {p.data_ptr(): p.numel() for _, p in used}
    print(json.dumps(dict(
        parameters=sum(parameters.values()), load=load, first=times[0], times=times[1:], before=before,
        peak_loading=peak_loading, peak=peak, differences=differences, torch=torch.__version__)))


if __name__ == "__main__":
    main()
