"""``audio-pool engines``: which engines there are, what each may be used for, what is missing.

Owns: the table. Must not know: any engine by name.
"""

from __future__ import annotations

import json
from typing import Any

import click

from audio_pool.engines import engine_info, engine_names, missing_modules
from audio_pool.errors import EngineUnavailable

__all__ = ["engines"]


def _row(name: str) -> dict[str, Any]:
    import msgspec

    try:
        info = engine_info(name)
    except EngineUnavailable as exc:
        return {"name": name, "available": False, "missing": str(exc)}
    missing = missing_modules(info)
    extra = f"pip install 'audio-pool[{info.extra}]'" if info.extra else f"install {', '.join(missing)}"
    return {
        **msgspec.to_builtins(info),
        "available": not missing,
        "missing": f"{', '.join(missing)}: {extra}" if missing else "",
    }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def engines(as_json: bool) -> None:
    """List the engines: licence, rate, longest sound, available or what is missing."""
    rows = [_row(name) for name in engine_names()]
    if as_json:
        click.echo(json.dumps({"engines": rows}))
        return
    click.echo(f"{'engine':14} {'kind':10} {'rate':>7} {'ch':>2} {'longest':>8}  {'licence':34} available")
    for row in rows:
        rate = "any" if row.get("any_rate") else row.get("sample_rate") or "-"
        longest = f"{row['longest_s']:g} s" if row.get("kind") == "generator" else "-"
        licence = str(row.get("licence", "?")) + ("" if row.get("commercial_use") else " (non-commercial)")
        state = "yes" if row["available"] else f"no: {row['missing']}"
        click.echo(
            f"{row['name']:14} {row.get('kind', '?'):10} {rate!s:>7} {row.get('channels') or '-':>2} {longest:>8}"
            f"  {licence:34.34} {state}"
        )
