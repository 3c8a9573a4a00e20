"""The expected rows of all indexes of the miniature collection, computed from the generator's input without reading files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import miniature
from tests.support.media import MP3_FRAME_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

Rows = dict[str, list[dict[str, Any]]]
"""Rows by split; ``file`` is the path in the tree."""


def expected_rows(dataset: str) -> Rows:
    """Return the expected rows of a data set's index, in their order."""
    found: Rows = {}
    for split, row in _ROWS[dataset]():
        found.setdefault(split, []).append(row)
    return found


def expected_problems(dataset: str) -> dict[str, int]:
    """Return how often each problem must be reported."""
    return {
        "fma_small": {"holds no audio": 1},
        "fma_large": {"holds no audio": 2},
        "lakh_midi": {"no MIDI file": 1},
        "libritts": {"a text of it is missing": len(miniature.LIBRITTS_WITHOUT_TEXT)},
        "musicnet": {"not in musicnet_metadata.csv": 1, "the notes cannot be read, or are missing": 1},
    }.get(dataset, {})


def _audio(file: str, frames: int, rate: int, **values: Any) -> dict[str, Any]:
    return {"file": file, "duration": frames / rate, "sampling_rate": rate, **values}


def _ljspeech() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, place in miniature.LJ_CLIPS:
        text, normalized = miniature.sentence(place)
        file = f"LJSpeech-1.1/wavs/{name}.wav"
        yield "train", _audio(file, 22050, 22050, id=name, text=text, normalized_text=normalized)


def _nsynth() -> Iterator[tuple[str, dict[str, Any]]]:
    for split, notes, frames in miniature.NSYNTH_SPLITS:
        made = [miniature.nsynth_note(f"nsynth-{split}-{place}") for place in range(notes)]
        for note in sorted(made, key=lambda note: str(note["note_str"])):
            values = {key: note[key] for key in ("note_str", "note", "instrument_str", "instrument", "pitch", "velocity")}
            values |= {key: note[f"{key}_str"] for key in ("instrument_family", "instrument_source", "qualities")}
            yield split, _audio(f"nsynth-{split}/audio/{note['note_str']}.wav", frames, 16000, **values)


def _libritts() -> Iterator[tuple[str, dict[str, Any]]]:
    for split in miniature.LIBRITTS_SPLITS:
        for name, speaker, chapter, place in miniature.libritts_utterances(split):
            is_missing, is_known = name in miniature.LIBRITTS_WITHOUT_TEXT, speaker != miniature.LIBRITTS_UNKNOWN
            text, normalized = (None, None) if is_missing else miniature.sentence(speaker + place)
            yield (
                split.replace("-", "."),
                _audio(
                    f"LibriTTS/{split}/{speaker}/{chapter}/{name}.wav",
                    4800,
                    24000,
                    id=name,
                    text=text,
                    normalized_text=normalized,
                    speaker=speaker,
                    sex="FM"[speaker % 2] if is_known else None,
                    speaker_name=f"Reader {speaker}" if is_known else None,
                    chapter=chapter,
                    subset=split,
                ),
            )


def _musicnet() -> Iterator[tuple[str, dict[str, Any]]]:
    for split, names in miniature.MUSICNET_RECORDINGS.items():
        for name in names:
            facts = miniature.musicnet_facts(name)
            if name == miniature.MUSICNET_NOT_LISTED:
                facts = dict.fromkeys(facts)
            notes = None if name == miniature.MUSICNET_WITHOUT_LABELS else miniature.musicnet_notes(name)
            file = f"musicnet/{split}_data/{name}.wav"
            yield split, _audio(file, 8820, 44100, id=str(name), **facts, notes=notes, score=miniature.musicnet_score(name))


_INSTRUMENTS = {"vn": "violin", "vc": "cello", "tpt": "trumpet", "tbn": "trombone"}


def _urmp() -> Iterator[tuple[str, dict[str, Any]]]:
    for piece, codes, named in miniature.URMP_PIECES:
        full = f"{piece}_{'_'.join(codes)}"
        common = {"piece": piece, "instruments": [_INSTRUMENTS[code] for code in codes]}
        files = {"score": f"{full}/Sco_{full}.mid", "video": f"{full}/Vid_{full}.mp4"}
        for number, (code, name) in enumerate(zip(codes, named, strict=True), 1):
            part = f"{number}_{name}_{piece}"
            pitches = miniature.urmp_pitches(part)
            values: dict[str, Any] = {
                "part": number,
                "instrument": _INSTRUMENTS[code],
                "notes": [
                    {"onset": round(moment * 0.1, 3), "frequency": float(pitch), "duration": 0.1}
                    for moment, pitch in enumerate(pitches[:4])
                ],
                "f0_times": [round(moment * 0.01, 3) for moment in range(len(pitches))],
                "f0": [float(pitch) for pitch in pitches],
            }
            yield "tracks", _audio(f"{full}/AuSep_{part}.wav", 4800, 48000, **common, **values, **files)
        nothing = dict.fromkeys(("part", "instrument", "notes", "f0_times", "f0"))
        yield "mix", _audio(f"{full}/AuMix_{full}.wav", 4800, 48000, **common, **nothing, **files)


def _fma(top: str) -> Iterator[tuple[str, dict[str, Any]]]:
    tracks, frames = (miniature.FMA_TRACKS, 28) if top == "fma_large" else (miniature.FMA_TRACKS[: miniature.FMA_SMALL], 8)
    for track in tracks:
        if track not in miniature.FMA_WITHOUT_AUDIO:
            facts = miniature.fma_track(track)
            split, _ = facts.pop("split"), facts.pop("genre_numbers")
            media = {"duration": round(frames * MP3_FRAME_SECONDS, 6), "sampling_rate": 44100}
            yield split, {"file": f"{top}/{track // 1000:03}/{track:06}.mp3", **media, **facts}


def _lakh() -> Iterator[tuple[str, dict[str, Any]]]:
    paths, matches = miniature.lakh_paths(), miniature.lakh_matches()
    for digest, song in sorted(miniature.lakh_songs().items()):
        if song != miniature.LAKH_BROKEN:
            known = {"id": digest, "paths": paths.get(digest), "matches": matches.get(digest, [])}
            nothing = dict.fromkeys(("track_id", "artist", "title"))
            yield "train", {"file": f"lmd_full/{digest[0]}/{digest}.mid", **known, **nothing}


_ROWS = {
    "ljspeech": _ljspeech,
    "nsynth": _nsynth,
    "libritts": _libritts,
    "musicnet": _musicnet,
    "urmp": _urmp,
    "fma_small": lambda: _fma("fma_small"),
    "fma_large": lambda: _fma("fma_large"),
    "lakh_midi": _lakh,
}
