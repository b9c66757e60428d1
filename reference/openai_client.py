"""The official OpenAI client from PyPI draws, varies, edits and embeds on a Trefoil server.

    python -m venv venv && venv/bin/pip install openai
    trefoil serve &
    venv/bin/python reference/openai_client.py http://127.0.0.1:8080/v1
"""

import base64
import io
import struct
import sys
import zlib

from openai import BadRequestError, OpenAI


def chunks(png: bytes):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        yield kind, data
        at += 12 + length


def size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", next(data for kind, data in chunks(png) if kind == b"IHDR")[:8])


def main() -> None:
    base = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/v1"
    client = OpenAI(base_url=base, api_key=sys.argv[2] if len(sys.argv) > 2 else "none")

    names = [model.id for model in client.models.list()]
    assert "unidiffuser" in names, names

    drawn = client.images.generate(
        model="unidiffuser", prompt="a red apple", n=2, size="auto", response_format="b64_json", extra_body={"seed": 7}
    )
    assert len(drawn.data) == 2 and drawn.created > 1_700_000_000
    pictures = [base64.b64decode(one.b64_json) for one in drawn.data]
    again = client.images.generate(prompt="a red apple", n=1, extra_body={"seed": 7})
    assert base64.b64decode(again.data[0].b64_json) == pictures[0], "the same seed, the same picture"
    width, height = size(pictures[0])
    print(f"generate: {len(drawn.data)} pictures of {width}x{height}")

    def file(png: bytes) -> io.BytesIO:
        stream = io.BytesIO(png)
        stream.name = "picture.png"
        return stream

    varied = client.images.create_variation(image=file(pictures[0]), n=2)
    assert len(varied.data) == 2 and size(base64.b64decode(varied.data[0].b64_json)) == (width, height)
    print("create_variation: 2 pictures")

    edited = client.images.edit(image=file(pictures[0]), prompt="a green apple", n=1)
    assert size(base64.b64decode(edited.data[0].b64_json)) == (width, height)
    print("edit: 1 picture")

    vectors = client.embeddings.create(model="unidiffuser", input=["red apple", "guitar"])
    for one in vectors.data:
        assert abs(sum(v * v for v in one.embedding) - 1) < 1e-4
    print(f"embeddings: {len(vectors.data)} vectors of {len(vectors.data[0].embedding)} numbers")

    try:
        client.images.generate(prompt="a red apple", quality="hd")
    except BadRequestError as error:
        assert "unknown field `quality`" in error.message and "`negative_prompt`" in error.message, error
        print("unknown fields are refused with the list of those that are known")
    else:
        raise AssertionError("an unknown field was taken")


if __name__ == "__main__":
    main()
