"""Pictures of the captions page for the documents, taken in a real browser while the real server captions a clip.

    python -m benchmarks.screenshots --output docs/page

Takes half a minute for each. The type is Inter where it is installed (Debian: fonts-inter), else the system's own.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import soundfile
from PIL import Image
from playwright.sync_api import Browser

import voicewire.client
from benchmarks import chromium
from benchmarks.served import served

CLIP = Path(voicewire.client.__file__).parent / "clips" / "art-of-printing.opus"
COLOURS = 128


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be seen.

    Attributes:
        name: of the file.
        address: of the page, with what it asks for.
        size: of the window, in CSS pixels.
        scheme: what the reader's system prefers.
        listens_s: how long the page listens first.
        points: a word that the mouse points at.
    """

    name: str
    address: str
    size: tuple[int, int]
    scheme: str = "light"
    listens_s: float = 22.4
    points: int | None = None


PICTURES = (
    Picture("light", "/?start=1", (1280, 720), points=4),
    Picture("dark", "/?start=1&tokens=on", (1280, 720), "dark"),
    Picture("phone", "/?start=1", (390, 780), listens_s=12.5),
    Picture("overlay", "/?overlay=1&background=24343d", (1280, 360), listens_s=12.5),
)


def take(browser: Browser, base_url: str, picture: Picture, folder: Path) -> Path:
    """Listens, looks, and leaves a small PNG."""
    width, height = picture.size
    context = browser.new_context(
        base_url=base_url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(picture.address)
    page.wait_for_timeout(picture.listens_s * 1000)
    if picture.points is not None:
        page.locator(".word").nth(picture.points).hover()
    path = folder / f"{picture.name}.png"
    page.screenshot(path=path)
    context.close()
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/page"), help="folder of the pictures")
    parser.add_argument("--only", choices=[picture.name for picture in PICTURES], help="one of them alone")
    options = parser.parse_args()
    path = chromium.find()
    if path is None:
        sys.exit(f"no Chromium: `apt-get install chromium`, or name one in {chromium.VARIABLE}")
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served() as url:
        microphone = Path(folder) / "talk.wav"
        samples, rate = soundfile.read(CLIP, dtype="float32")
        soundfile.write(microphone, samples, rate)
        with chromium.launched(path, microphone) as browser:
            for picture in PICTURES:
                if options.only in (None, picture.name):
                    taken = take(browser, url.replace("ws:", "http:"), picture, options.output)
                    print(f"{taken}: {taken.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
