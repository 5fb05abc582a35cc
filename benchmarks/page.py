"""Writes the figures into docs/performance.md, between its marks: `python -m benchmarks.page`. The benchmarks do it when they end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import LINES, Row, reached, read, shown, spread

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: written by python -m benchmarks.page -->", "<!-- end of figures -->"
HEAD = "| work | against | selfedit | it | ratio | spread | whole machine | at least | aim | reached |\n|---|---|---|---|---|---|---|---|---|---|"


def figures(results: Path) -> str:
    """The machine, the promises and what else was measured, in words and tables."""
    machine, rows = read(results)
    promised = {(line.work, line.against) for line in LINES}
    main = [r for r in rows if (r["work"], r["against"]) in promised]
    beside = [r for r in rows if (r["work"], r["against"]) not in promised and r["bench"] != "profile"]
    profile = [r for r in rows if r["bench"] == "profile"]
    parts = [about(machine, rows), HEAD + "\n" + "\n".join(map(line, main)), limit(rows), rounds(rows), memory(rows)]
    if beside:
        parts += ["Measured beside it, without a promise:", HEAD + "\n" + "\n".join(map(line, beside))]
    if profile:
        parts += [
            "Where the time of training goes, one thread:",
            "| | share |\n|---|---|\n" + "\n".join(f"| {r['against']} | {shown(r, 'value')} |" for r in profile),
        ]
    return "\n\n".join(part for part in parts if part)


def about(machine: dict[str, str], rows: Sequence[Row]) -> str:
    """Where the figures come from."""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers", "peft", "accelerate"))
    revisions = sorted({str(r["revision"])[:8] for r in rows})
    quick = " These are figures of a quick run, to see that it works; not to be reported." if any(r["quick"] for r in rows) else ""
    device = f", {machine['gpu']}" if "gpu" in machine else ""
    cores = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB{device}"
    return f"Measured on {cores}; {versions}; revision {', '.join(revisions)}; seed {', '.join(sorted({str(r['seed']) for r in rows}))}.{quick}"


def line(row: Row) -> str:
    """A row of the table."""
    rates = [f"{row[key]:g} {row['rate_unit']}" if key in row else "" for key in ("rate", "against_rate")]
    wall = f"{row['wall_ratio']:g}x" if "wall_ratio" in row else ""
    cells = [
        row["work"],
        row["against"],
        *rates,
        f"**{shown(row, 'value')}**",
        spread(row),
        wall,
        shown(row, "at_least"),
        shown(row, "aim"),
        reached(row),
    ]
    return "| " + " | ".join(cells) + " |"


def limit(rows: Sequence[Row]) -> str:
    """The arithmetic limit in words."""
    found = next((r for r in rows if "mflop_a_token" in r), None)
    if found is None:
        return ""
    return (
        f"The limit: training costs {found['mflop_a_token']:g} MFLOP a token. The fastest of the model's own products runs at "
        f"{found['products_gflops']:g} GFLOP/s on one thread, all of them in their proportion at {found['products_mix_gflops']:g}, a large square "
        f"one at {found['square_gflops']:g}. At the first of these rates nobody could train more than {found['against_rate']:g} tokens a second; the "
        f"engine trains {found['rate']:g}, {found['value']:g} %."
    )


def rounds(rows: Sequence[Row]) -> str:
    """What a round is made of."""
    found = [r for r in rows if "parts" in r]
    if not found:
        return ""
    who = {"the engine": found[0]["parts"]} | {r["against"]: r["against_parts"] for r in found}
    names = list(found[0]["parts"])
    head = "| CPU-seconds of a round | " + " | ".join(names) + " |\n|---|" + "---|" * len(names)
    return head + "\n" + "\n".join(f"| {name} | " + " | ".join(f"{parts[key]:g}" for key in names) + " |" for name, parts in who.items())


def memory(rows: Sequence[Row]) -> str:
    """What flat means in figures."""
    found = [r for r in rows if r["bench"] in ("memory", "jobs")]
    facts = [f"{key.replace('_', ' ')}: {value:g}" for r in found for key, value in r.items() if key.startswith(("ms_", "gb_", "model_alone"))]
    return f"Behind the last rows: {'; '.join(facts)}." if facts else ""


def write() -> None:
    """Put the figures of results.json into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{figures(RESULTS)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
