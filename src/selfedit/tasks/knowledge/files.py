"""Finding and opening files of text. What is left out is said; what cannot be read is an error of one line that says what to do."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import regex as re

from selfedit.errors import DataError

MARKDOWN = (".md", ".markdown")
SUFFIXES = (".txt", *MARKDOWN, ".jsonl")

_PANDOC = "convert it to text first, for example with pandoc"
_ADVICE = {
    ".pdf": "convert it to text first, for example with pdftotext",
    **dict.fromkeys((".html", ".htm", ".xhtml", ".docx", ".odt", ".rtf", ".epub", ".rst", ".tex", ".ipynb", ".org"), _PANDOC),
    **dict.fromkeys((".csv", ".tsv", ".xlsx", ".parquet"), "write each row as a sentence, or as a line of JSON with 'title' and 'context'"),
}
_OTHERWISE = "if it holds plain text, give it the ending .txt"


def find_files(paths: Sequence[Path], say: Callable[[str], None]) -> list[Path]:
    """The files of text among the paths and in their folders (recursive, sorted by name, hidden ones skipped), each once, by whatever name.

    Links to files are followed, links to folders are not. What a folder has beside is told to `say`, a line for each folder. Raises DataError.
    """
    found: dict[tuple[int, int] | str, Path] = {}
    for path in paths:
        inside = _in_folder(path, say) if os.path.isdir(path) else [(path, _named(path))]  # noqa: PTH112 (is_dir raises where looking is forbidden)
        for file, status in inside:
            identity = (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(file)
            first = found.setdefault(identity, file)
            if first != file:
                say(f"{file} is the same file as {first}; it is read once")
    return list(found.values())


def _named(path: Path) -> os.stat_result:
    """The status of a file that was given by name, if it can be read."""
    status = _status(path)
    if isinstance(status, str):
        raise DataError(f"{path} {status}")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is neither a file nor a folder")
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise DataError(f"{path} is JSON; write one object a line and name it {path.stem}.jsonl")
    if suffix and suffix not in SUFFIXES:
        kind = suffix[1:].upper() if suffix in _ADVICE else "of another kind"
        raise DataError(f"{path} is {kind}, and selfedit reads {', '.join(SUFFIXES)}; {_ADVICE.get(suffix, _OTHERWISE)}")
    return status


def _status(path: Path) -> os.stat_result | str:
    """The status of a file, or what is wrong with it."""
    try:
        return path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            return f"is a broken link (to {path.readlink()})"
        return "does not exist; check the path" + ("" if path.is_absolute() else ", which counts from the current folder")
    except OSError as error:
        loops = error.errno == errno.ELOOP
        return "is a link that leads to itself" if loops else f"cannot be read: {error.strerror or error}"


def _in_folder(path: Path, say: Callable[[str], None]) -> list[tuple[Path, os.stat_result]]:
    found: list[tuple[Path, os.stat_result]] = []
    others: Counter[str] = Counter()
    odd: list[str] = []
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(path, onerror=closed.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        odd += [f"{Path(folder, name)} is a link to a folder" for name in subfolders if Path(folder, name).is_symlink()]
        for file in [Path(folder, name) for name in sorted(names) if not name.startswith(".")]:
            status = _status(file)
            if isinstance(status, str):
                odd.append(f"{file} {status}")
            elif file.suffix.lower() not in SUFFIXES:
                others[file.suffix.lower() or "no ending"] += 1
            elif not stat.S_ISREG(status.st_mode):
                odd.append(f"{file} is not a regular file")
            else:
                found.append((file, status))
    left_out = _left_out(others, odd + [f"{error.filename} cannot be read: {error.strerror}" for error in closed])
    if not found:
        raise DataError(f"no documents in {path}{f' ({left_out})' if left_out else ''}; selfedit reads {', '.join(SUFFIXES)}")
    if left_out:
        say(f"{path}: left out {left_out}")
    return sorted(found, key=lambda entry: entry[0])


def _left_out(others: Counter[str], odd: Sequence[str]) -> str:
    kinds = ", ".join(f"{suffix} {number}" if number > 1 else suffix for suffix, number in others.most_common(8)) + (", …" if len(others) > 8 else "")
    counted = f"{others.total()} {'file of another kind' if others.total() == 1 else 'files of other kinds'} ({kinds})"
    more = [f"and {len(odd) - 5} more"] if len(odd) > 5 else []
    return "; ".join([*([counted] if others else []), *odd[:5], *more])


# ---------------------------------------------------------------- reading


def read_file(file: Path, max_bytes: int) -> str:
    """The text of a regular file, line ends as `\\n`. Its size is looked at first: nothing large is ever opened. Raises DataError."""
    status = _status(file)
    if isinstance(status, str):
        raise DataError(f"{file} {status}")
    _fits(file, status, max_bytes)
    try:
        # A pipe that took the file's place in the meantime is not waited for.
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as opened:
            _fits(file, os.fstat(opened.fileno()), max_bytes)
            data = opened.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    text = _decode(data, file).replace("\r\n", "\n").replace("\r", "\n")
    if not clean(text).strip():
        raise DataError(f"{file} is empty; remove it or write something in it")
    if text[:1000].lstrip().lower().startswith(("<!doctype html", "<html")):
        raise DataError(f"{file} is HTML; {_PANDOC}")
    return text


def _fits(file: Path, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{file} is not a regular file")
    if status.st_size > max_bytes:
        raise DataError(f"{file} has {status.st_size:,} bytes, more than {max_bytes:,}; split it or raise documents.max_bytes")


def _decode(data: bytes, file: Path) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{file} is UTF-16; save it as UTF-8")
    if data.startswith(b"%PDF"):
        raise DataError(f"{file} is a PDF; {_ADVICE['.pdf']}")
    if b"\0" in data:
        raise DataError(f"{file} is binary (NUL at byte {data.index(0)}), not text; remove it or convert it to text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at, line = error.start, data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file} is not UTF-8: byte 0x{data[at]:02x} at position {at} (line {line}); save it as UTF-8") from error


# ---------------------------------------------------------------- cleaning

_SOFT_HYPHEN = re.compile(r"\u00ad[ \t]*\n[ \t]*(\S+)[ \t]*")
_LIGATURE = re.compile(r"[\ufb00-\ufb06]")
_BREAK = re.compile(r"[\v\f\x1c-\x1e\x85\u2028\u2029]")
_BLANK = re.compile(r"(?![ ])\p{Zs}")
_UNSEEN = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]|(?![\n\t])\p{Cc}|(?![\u200c\u200d])(?=\p{Default_Ignorable_Code_Point})\p{Cf}|[\ufff9-\ufffb]")


def clean(text: str) -> str:
    """The text in one spelling (NFC), without what is not seen: byte order marks, directions, soft hyphens, control characters.

    Joiners stay, which Persian and Indian scripts need. Every kind of space is a space, every kind of line break a line break. A word that a soft
    hyphen divides between two lines is whole.
    """
    text = _LIGATURE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), _SOFT_HYPHEN.sub(r"\1\n", text))
    return unicodedata.normalize("NFC", _UNSEEN.sub("", _BLANK.sub(" ", _BREAK.sub("\n", text))))
