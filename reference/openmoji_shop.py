"""Makes examples/openmoji-shop: a catalogue of OpenMoji drawings and a simulated log of searches and clicks.

    python reference/openmoji_shop.py openmoji-72.tar.gz examples/openmoji-shop

The catalogue is real: title, keywords, group and drawing of each emoji of five groups. The log is not: nobody
clicked. Each made-up user likes three kinds of things (subgroups of OpenMoji), four times out of five wants one of
them, and then either sees an item of that kind in the feed or searches for it by one or two of its keywords.
Needs Pillow. The same archive gives the same files.
"""

import csv
import io
import json
import random
import sys
import tarfile
from pathlib import Path

from PIL import Image

GROUPS = ["animals-nature", "food-drink", "travel-places", "activities", "objects"]
SMALLEST = 5  # items of a kind
USERS, EVENTS = 700, (8, 20)
SIDE, COLUMNS = 32, 32
START = 1_760_000_000  # seconds since 1970: the first event


def read(archive):
    pictures, rows = {}, None
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith("openmoji.json"):
                rows = json.load(tar.extractfile(member))
            elif member.name.endswith(".png"):
                pictures[Path(member.name).stem] = tar.extractfile(member).read()
    rows = [r for r in rows if r["group"] in GROUPS and not r["skintone"] and r["hexcode"] in pictures]
    kinds = [r["subgroups"] for r in rows]
    return [r for r in rows if kinds.count(r["subgroups"]) >= SMALLEST], pictures


def keywords(row):
    """Words by which people may look for an item: OpenMoji's keywords and the words of its kind."""
    words = [w.strip().lower() for w in row["tags"].split(",")] + row["subgroups"].split("-")
    return [w for w in dict.fromkeys(words) if w and " " not in w and w not in ("other", "animal")]


def log(rows):
    by_kind = {}
    for row in rows:
        by_kind.setdefault(row["subgroups"], []).append(row)
    kinds = sorted(by_kind)
    draw = random.Random(0)
    fame = {row["hexcode"]: draw.lognormvariate(0, 0.5) for row in rows}
    events = []
    for user in range(USERS):
        liked = draw.sample(kinds, 3)
        for _ in range(draw.randint(*EVENTS)):
            kind = draw.choices(liked, [4, 2, 1])[0] if draw.random() < 0.8 else draw.choice(kinds)
            choice = by_kind[kind]
            row = draw.choices(choice, [fame[r["hexcode"]] for r in choice])[0]
            words = keywords(row)
            query = ""
            if draw.random() < 0.45:
                query = " ".join(draw.sample(words, min(len(words), draw.choice([1, 1, 2]))))
            events.append([f"user-{user}", row["hexcode"], START + draw.randrange(60 * 86_400), query])
    return sorted(events, key=lambda e: e[2])


def main(archive, out):
    rows, pictures = read(archive)
    rows.sort(key=lambda r: r["order"] or 0)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(rows) // COLUMNS) * SIDE), "white")
    with open(out / "items.jsonl", "w") as file:
        for place, row in enumerate(rows):
            picture = Image.open(io.BytesIO(pictures[row["hexcode"]])).convert("RGBA")
            picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            at = (place % COLUMNS * SIDE, place // COLUMNS * SIDE)
            sheet.paste(picture, at, picture)
            tags = [row["group"], row["subgroups"], *keywords(row)]
            item = {"item": row["hexcode"], "title": row["annotation"], "tags": list(dict.fromkeys(tags))}
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    sheet.quantize(128, dither=Image.Dither.NONE).save(out / "pictures.png", optimize=True)
    with open(out / "events.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user", "item", "time", "query"])
        writer.writerows(log(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
