"""Learn to name the pitch of a note: NSynth, with PyTorch on a CPU.

    provisioner provision --dataset nsynth
    python3 train_notes.py /data/index/nsynth --seconds 60 --output notes.pt

It needs PyTorch (Debian: `apt install python3-torch`) and nothing else: an index is lines of JSON, and the sounds are WAV files.
Use it as a start for a program of your own; a real model is larger, and learns for hours.
"""

from __future__ import annotations

import argparse
import json
import time
import wave
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

RATE = 16_000
SAMPLES = RATE  # of each note its first second
PITCHES = 128
WINDOW = 1_024


class Notes(Dataset):
    """The notes of one split: the start of each sound, and its MIDI pitch."""

    def __init__(self, split: Path) -> None:
        """Read the lines of the index; a sound is read when it is asked for."""
        with (split / "metadata.jsonl").open(encoding="utf-8") as lines:
            rows = map(json.loads, lines)
            # `file_name` leads from the directory of the index to the sound, wherever the volume is mounted.
            self.notes = [(split / row["file_name"], row["pitch"]) for row in rows]

    def __len__(self) -> int:
        """Return how many notes there are."""
        return len(self.notes)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        """Return a sound of fixed length, from -1 to 1, and its pitch."""
        path, pitch = self.notes[place]
        with wave.open(str(path)) as file:
            samples = torch.frombuffer(bytearray(file.readframes(SAMPLES)), dtype=torch.int16)
        sound = torch.zeros(SAMPLES)
        sound[: len(samples)] = samples / 32_768
        return sound, pitch


class PitchModel(nn.Module):
    """A spectrum whose frequencies are in octaves, which a few layers read."""

    def __init__(self) -> None:
        """Make layers with random weights."""
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW))
        self.layers = nn.Sequential(
            nn.LayerNorm(WINDOW // 2 + 1),
            nn.Linear(WINDOW // 2 + 1, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, PITCHES),
        )

    def forward(self, sounds: torch.Tensor) -> torch.Tensor:
        """Return the scores of all pitches for each sound."""
        spectra = torch.stft(sounds, WINDOW, hop_length=WINDOW // 4, window=self.window, return_complex=True).abs()
        return self.layers(torch.log(spectra.mean(2) + 1e-4))


def train(options: argparse.Namespace) -> PitchModel:
    """Return a model that has learned for as long as was asked for."""
    torch.manual_seed(options.seed)
    notes = Notes(options.index / "train")
    loader = DataLoader(notes, options.batch, shuffle=True, num_workers=options.workers, persistent_workers=options.workers > 0)
    model = PitchModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    step, end, losses = 0, time.monotonic() + options.seconds, []
    while True:  # once for each time that all notes were heard
        for sounds, pitches in loader:
            loss = nn.functional.cross_entropy(model(sounds), pitches)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
            done = step == options.steps or time.monotonic() > end
            if done or step == 1 or step % 10 == 0:
                print(f"step {step}: loss {sum(losses) / len(losses):.4f}", flush=True)  # the mean since the line before
                losses = []
            if done:
                return model


def accuracy(model: PitchModel, split: Path, workers: int) -> float:
    """Return the share of the notes of a split whose pitch the model names."""
    right = total = 0
    model.eval()
    with torch.no_grad():
        for sounds, pitches in DataLoader(Notes(split), 64, num_workers=workers):
            right += int((model(sounds).argmax(1) == pitches).sum())
            total += len(pitches)
    return right / total


def main() -> None:
    """Train, try the model on notes that it has not heard, and save it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("index", type=Path, help="the index of NSynth: /data/index/nsynth")
    parser.add_argument("--seconds", type=float, default=60, help="end after so long (default: 60)")
    parser.add_argument("--steps", type=int, help="end after so many steps, if that is sooner")
    parser.add_argument("--batch", type=int, default=64, help="notes in a step (default: 64)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read sounds (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights and order (default: 0)")
    parser.add_argument("--output", type=Path, help="where to save the weights")
    options = parser.parse_args()
    model = train(options)
    if (options.index / "valid").is_dir():
        print(f"valid: {accuracy(model, options.index / 'valid', options.workers):.1%} of the pitches are right")
    if options.output:
        torch.save(model.state_dict(), options.output)


if __name__ == "__main__":
    main()
