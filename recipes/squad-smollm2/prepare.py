"""Writes data/train.jsonl, data/shown.jsonl and data/dev.jsonl beside this file. passages.json says by their digests which passages those are.

python prepare.py dev-v1.1.json              SQuAD 1.1's dev set, as it is published
python prepare.py some.jsonl more.jsonl      or rows with title, context and questions, each with a question and an answer
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Row = dict[str, Any]


def rows(file: Path) -> Iterator[Row]:
    """A passage with its questions and the first answer to each."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".jsonl":
        yield from map(json.loads, text.splitlines())
        return
    for article in json.loads(text)["data"]:
        for passage in article["paragraphs"]:
            questions = [{"question": q["question"].strip(), "answer": q["answers"][0]["text"]} for q in passage["qas"]]
            yield {"title": article["title"].replace("_", " "), "context": passage["context"].strip(), "questions": questions}


def digest(context: str) -> str:
    """What a passage is known by."""
    return hashlib.sha256(context.encode()).hexdigest()[:12]


def main(files: list[str]) -> None:
    """Find the passages in the files and write them by split."""
    if not files:
        sys.exit(__doc__)
    try:
        found = {digest(row["context"]): row for file in files for row in rows(Path(file))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{', '.join(files)} cannot be read as SQuAD, nor as rows with title, context and questions: {error!r}")
    (HERE / "data").mkdir(exist_ok=True)
    for split, wanted in json.loads((HERE / "passages.json").read_text(encoding="utf-8")).items():
        if missing := [name for name in wanted if name not in found]:
            sys.exit(f"{len(missing)} of the {len(wanted)} passages of {split} are not in {', '.join(files)}")
        lines = [json.dumps(found[name], ensure_ascii=False) for name in wanted]
        (HERE / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"data/{split}.jsonl: {len(lines)} passages, {sum(len(found[name]['questions']) for name in wanted)} questions")


if __name__ == "__main__":
    main(sys.argv[1:])
