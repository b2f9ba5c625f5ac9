"""``card``: the model card from what export and evaluate recorded, so that nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemd.core.errors import StemdError
from stemd.training import curve, notices
from stemd.training.judging import table
from stemd.training.keeping import read_json, whole

CURVE, POINTS = "curve.svg", "curve.jsonl"
_HELD_OUT = "held-out synthetic songs (another soundfont, voices that training never heard)"
_APART = "pieces of real songs that training never heard"
_SEEN = "songs that are not held out (training may have heard them, their soundfont or their voices)"


def write(folder: Path, scores: Sequence[Path], logs: Sequence[Path]) -> Path:
    """``MODEL_CARD.md`` in the model's folder, and the curve of ``logs``, in the order of the runs, beside it.

    A table for each of ``scores``; the first also says how fast it is. The curve's points are kept as such a log too,
    for the card of a model that goes on from this one.

    Raises:
        StemdError: STEMD-M004, the folder was not exported or the scores are of another model.
    """
    facts, record = read_json(folder / "training.json"), read_json(folder / "stemd.json")
    judged = [read_json(each) for each in scores]
    for path, each in zip(scores, judged, strict=True):
        if not facts or not each or each["sha256"] != record["files"][f"{folder.name}.safetensors"]["sha256"]:
            raise StemdError("STEMD-M004", f"{path} does not judge the weights in {folder}")
    if logs:
        points = curve.thinned(curve.read(logs, "distortion"))
        with whole(folder / POINTS) as file:
            file.write(curve.log(points, "distortion").encode())
        rising = curve.smoothed([(segments, -value) for segments, value in points])
        with whole(folder / CURVE) as file:
            file.write(curve.draw(rising, "mean SI-SDR of training mixtures, dB").encode())
    target = folder / "MODEL_CARD.md"
    with whole(target) as file:
        file.write(text(facts, judged, record).encode())
    return target


def text(facts: Mapping[str, Any], judged: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    """The card in Markdown."""
    name, course, speed = facts["name"], facts["course"], judged[0]["speed"]
    weights = record["files"][f"{name}.safetensors"]
    return f"""# Model card: {name}

**What it is.** A small music source separator (drums, bass, other, vocals; 44.1 kHz stereo) that makes the real engine
run on a machine without a network. An instance of `demucs.hdemucs.HDemucs`, spectrogram branch only, with
{facts["parameters"] / 1e6:.2f} M parameters in half precision, {weights["bytes"] / 1e6:.2f} MB. A fallback, not a
replacement for htdemucs, whose quality is far above it.

**How good.** {" ".join(_how_good(facts, each) for each in judged)}

**How it was made.** {_beginning(facts["origin"])} by `python -m stemd.training` (docs/training.md):
{facts["segments"]} segments of {course["segment"]:g} s, {facts["cpu_seconds"] / 3600:.2f} CPU hours, seed
{course["seed"]}. No weights and no output of any model of others were used.

**Training material and licences.** {_material(facts["material"])}
THIRD_PARTY_NOTICES.md beside this card has the notices. This is an engineers' statement, not legal advice.

**Scores.** SI-SDR is the mean over songs, SDR the median over songs of the median over seconds (not museval). *Absent
stem* is how loud a stem comes out that is not in the mixture, against the mixture (median; lower is better). *Ideal
mask* is about the most that a mask can reach.

{"".join(_scores(facts, each) for each in judged)}
**Speed** in stemd with default settings, on the machine that judged it and beside whatever else it did:
{speed["realtime"]} × realtime with {speed.get("threads")} threads ({speed["seconds"]:g} s of noise).

**Limits.**

- Nearly all its songs are composed by rules and few of its singers are people: real voices leak into `other`, melodic
  leads into `vocals`, and what is struck or begins like a bass drum into `drums`.
- It knows four-four time and the genres of its generator; orchestras, field recordings and noise are out of its range.
- It masks: attacks are smeared over a window of 4096 frames, and the phase is the mixture's.
- The four outputs need not add up to the mixture exactly.
- Do not judge stemd by it, and tell whoever gets its stems that it made them.

Versions: {", ".join(f"{key} {value}" for key, value in facts["versions"].items() if value)}.
SHA-256: {weights["sha256"]}
"""


def _how_good(facts: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    before = judged["scores"].get("previous nano", {}).get("si_sdr", {}).get("mean")
    now, floor, mixture = (
        judged["scores"][method]["si_sdr"]["mean"] for method in ("this model", "signal processing", "mixture")
    )
    compared = "" if before is None else f", the previous nano {before:.2f} dB"
    return (
        f"Mean SI-SDR on {_songs(facts, judged)}: {now:.2f} dB; the mixture {mixture:.2f} dB, "
        f"plain signal processing {floor:.2f} dB{compared}."
    )


def _scores(facts: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    return f"On {_songs(facts, judged)}:\n\n{table(judged['scores'])}\n\n"


def _songs(facts: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    """What it was judged on; held out is only what cannot have been in the material."""
    if judged["held_out"]:
        return f"{judged['songs']} {_HELD_OUT}"
    real = set(judged.get("real", ()))
    if real and judged.get("only_real") and real.isdisjoint(facts["material"].get("real", ())):
        return f"{judged['songs']} {_APART} ({', '.join(sorted(real))})"
    return f"{judged['songs']} {_SEEN}"


def _beginning(origin: str | None) -> str:
    return f"From the weights of the model {origin} (stemd's own)" if origin else "From scratch"


def _material(material: Mapping[str, Any]) -> str:
    shelves = material.get("shelves", [])
    fonts = sorted({shelf["soundfont"] for shelf in shelves})
    seeds = sorted({shelf["seed"] for shelf in shelves})
    counted = "each piece of each take of a real recording counts as one, and again if it was learnt from again"
    parts = [f"{material.get('songs', 0)} songs ({counted})."]
    if fonts:
        parts.append(
            f"Composed at random and rendered with {', '.join(fonts)}, own synthesisers and drum kits, "
            f"and voices of {' and '.join(notices.speakers(material))} (their audio output only) resynthesised with "
            f"WORLD; seeds of the words {seeds}."
        )
    if real := material.get("real"):
        credit = f" ({material['credit']})" if material.get("credit") else ""
        parts.append(f"Real multitracks: {', '.join(real)}{credit}.")
    return " ".join(parts)
