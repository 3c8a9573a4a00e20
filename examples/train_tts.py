"""Learn to turn text into a mel spectrogram: LJ Speech, with PyTorch on a CPU.

    provisioner provision --dataset ljspeech
    python3 train_tts.py /data/index/ljspeech --seconds 60 --output tts.pt

It needs PyTorch (Debian: `apt install python3-torch`) and nothing else: an index is lines of JSON, and the sounds are WAV files.
Use it as a start for a program of your own: this model spreads the characters evenly over the sound. A real one learns how long
each of them lasts, and learns for days.
"""

from __future__ import annotations

import argparse
import json
import time
import wave
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import interpolate, pad
from torch.utils.data import DataLoader, Dataset

RATE = 22_050
WINDOW, HOP, MELS = 1_024, 256, 80
LONGEST = 10  # seconds: longer clips are left out, so that all steps take about as long
CHARACTERS = " abcdefghijklmnopqrstuvwxyz'\"-,.;:!?()"


def encoded(text: str) -> torch.Tensor:
    """Return the numbers of the characters of a text; 0 is for all that have none."""
    return torch.tensor([CHARACTERS.find(character) + 1 for character in text.lower()] or [0])


def mel_filters() -> torch.Tensor:
    """Return the weight of each frequency of a spectrum in each mel band."""
    highest = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(highest), MELS + 2) / 2595) - 1)
    frequencies = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


class Clips(Dataset):
    """The clips of one split: what is said, and its mel spectrogram."""

    def __init__(self, split: Path) -> None:
        """Read the lines of the index; a sound is read when it is asked for."""
        with (split / "metadata.jsonl").open(encoding="utf-8") as lines:
            rows = map(json.loads, lines)
            # `file_name` leads from the directory of the index to the sound, wherever the volume is mounted.
            self.clips = [(split / row["file_name"], row["normalized_text"]) for row in rows if row["duration"] <= LONGEST]
        self.filters, self.window = mel_filters(), torch.hann_window(WINDOW)

    def __len__(self) -> int:
        """Return how many clips there are."""
        return len(self.clips)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the characters of a clip, and its spectrogram: one row a band, one column a moment, values of about -1 to 1."""
        path, text = self.clips[place]
        with wave.open(str(path)) as file:
            samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
        spectrum = torch.stft(samples / 32_768, WINDOW, HOP, window=self.window, return_complex=True).abs()
        return encoded(text), torch.log(self.filters @ spectrum + 1e-5) / 5 + 1


def padded(clips: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Return the texts of some clips, their spectrograms in one tensor, and the length of each."""
    texts = [text for text, _ in clips]
    lengths = torch.tensor([mel.shape[1] for _, mel in clips])
    longest = int(lengths.max())
    return texts, torch.stack([pad(mel, (0, longest - mel.shape[1])) for _, mel in clips]), lengths


class TextToMel(nn.Module):
    """Reads characters with their neighbours, spreads them over time, and paints a spectrogram."""

    def __init__(self, width: int = 128) -> None:
        """Make layers with random weights."""
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS) + 1, width)
        self.encoder = nn.Sequential(
            nn.Conv1d(width, width, 5, padding=2), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2), nn.ReLU()
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(width, width, 5, padding=2), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2), nn.ReLU(),
            nn.Conv1d(width, MELS, 1),
        )  # fmt: skip

    def forward(self, texts: list[torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
        """Return a spectrogram for each text, of the length that is asked for."""
        longest = int(lengths.max())
        spread = []
        for text, length in zip(texts, lengths.tolist(), strict=True):
            characters = self.encoder(self.embedding(text).T[None])
            spread.append(pad(interpolate(characters, size=length, mode="linear"), (0, longest - length)))
        return self.decoder(torch.cat(spread))


def train(options: argparse.Namespace) -> TextToMel:
    """Return a model that has learned for as long as was asked for."""
    torch.manual_seed(options.seed)
    loader = DataLoader(
        Clips(options.index / "train"),
        options.batch,
        shuffle=True,
        collate_fn=padded,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    model = TextToMel()
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    step, end, losses = 0, time.monotonic() + options.seconds, []
    while True:  # once for each time that all clips were heard
        for texts, mels, lengths in loader:
            # What only fills a spectrogram up to the length of the longest does not count.
            is_sound = (torch.arange(mels.shape[2]) < lengths[:, None])[:, None]
            loss = ((model(texts, lengths) - mels).square() * is_sound).sum() / (is_sound.sum() * MELS)
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


def main() -> None:
    """Train, and save the model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("index", type=Path, help="the index of LJ Speech: /data/index/ljspeech")
    parser.add_argument("--seconds", type=float, default=60, help="end after so long (default: 60)")
    parser.add_argument("--steps", type=int, help="end after so many steps, if that is sooner")
    parser.add_argument("--batch", type=int, default=16, help="clips in a step (default: 16)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read sounds (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights and order (default: 0)")
    parser.add_argument("--output", type=Path, help="where to save the weights")
    options = parser.parse_args()
    model = train(options)
    if options.output:
        torch.save(model.state_dict(), options.output)


if __name__ == "__main__":
    main()
