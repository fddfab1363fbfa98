"""Make the pictures that the README and docs/ show, from the recordings. Needs `.[test,docs]`,
Chromium, and npm for the diagram of the state machine.

python -m docs.screenshots
"""

import asyncio
import base64
import fcntl
import gzip
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from comfy_fsm.log.log import Log

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"
RECORDED = "fixtures/recordings/0.3.64"
RECORDINGS = DOCS.parent / RECORDED
LOG = "studio.log"
# Recordings up to so many seconds after their beginning, as though all had been made at once and had just been stopped.
CUTS = (
    (
        "fleet-small",
        5.0,
        {"127.0.0.1:8101": "gpu-1:8188", "127.0.0.1:8102": "gpu-2:8188", "127.0.0.1:8103": "gpu-3:8188"},
    ),
    ("socket-drop-unresolved", 9.0, {"127.0.0.1:8101": "gpu-4:8188"}),
    ("server-killed", 9.0, {"127.0.0.1:8103": "gpu-5:8188"}),
    ("interrupts", 9.0, {"127.0.0.1:8101": "gpu-4:8188"}),
)
WIDE, NARROW, SMALL, LINES = 140, 80, 40, 40  # columns and lines of a terminal
OPENS = b"j\r"  # the keys that select the first task and open its diagnosis
PHONE, DESK = 400, 1280  # pixels
SCHEMES = ("light", "dark")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip


def lines() -> list[bytes]:
    """The lines of the cuts, the last of each seen now, merged by time."""
    now, found = time.time(), list[tuple[float, bytes]]()
    for name, seconds, servers in CUTS:
        text = gzip.decompress((RECORDINGS / f"{name}.jsonl.gz").read_bytes()).decode("utf-8", "surrogateescape")
        for old, new in servers.items():
            text = text.replace(old, new)
        times = [(json.loads(line)["at"], line) for line in text.splitlines()]
        kept = [(at, line) for at, line in times if at - times[0][0] <= seconds]
        shift = now - kept[-1][0]
        for at, line in kept:
            shifted = re.sub(r'"at":[\d.]+', f'"at":{at + shift:.6f}', line, count=1)
            found.append((at + shift, shifted.encode("utf-8", "surrogateescape")))
    return [line for _, line in sorted(found, key=lambda each: each[0])]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def on_terminal(words: list[str], folder: Path, columns: int, seconds: float | None = None, keys: bytes = b"") -> str:
    """What a command draws on a terminal: until it ends, or for some seconds, after which `q` ends it. Keys are pressed
    after half of them.
    """
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execve(sys.executable, words, os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    drawn, until = b"", time.monotonic() + (seconds or 60.0)
    half = until - (seconds or 60.0) / 2
    try:
        while time.monotonic() < until:
            if keys and time.monotonic() > half:
                os.write(terminal, keys)
                keys = b""
            if select.select([terminal], [], [], 0.1)[0]:
                drawn += os.read(terminal, 65_536)
        os.write(terminal, b"q")
    except OSError:  # it has ended
        pass
    os.waitpid(process, 0)
    os.close(terminal)
    return drawn.decode().replace("\r", "")


def draw_watch(folder: Path, columns: int, name: str = "watch", keys: bytes = b"") -> None:
    """The last picture that `watch` drew."""
    drawn = on_terminal(command("comfy_fsm", "watch", LOG), folder, columns, seconds=6.0, keys=keys)
    draw(f"{name}-{columns}", f"comfy-fsm watch {LOG}", drawn.split("\x1b[H")[-2], columns)


def draw_output(name: str, columns: int, *words: str) -> None:
    """What a replay prints."""
    drawn = on_terminal(command("replay", *words), DOCS.parent, columns)
    draw(f"{name}-{columns}", " ".join(["comfy-replay", *words]), drawn, columns)


def draw(name: str, title: str, text: str, columns: int) -> None:
    """Text with the colours of a dark and a light terminal as an SVG; fonts are the reader's, so it loads nothing."""
    for suffix, theme in (("", SVG_EXPORT_THEME), ("-light", DEFAULT_TERMINAL_THEME)):
        console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(text), soft_wrap=True)
        svg = console.export_svg(title=title, unique_id=name, theme=theme)
        svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
        lines = "".join(f"{line.rstrip()}\n" for line in svg.splitlines())
        (PICTURES / f"{name}{suffix}.svg").write_text(lines, encoding="utf-8")


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={folder / 'browser'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def draw_machine(folder: Path, browser: webdriver.Chrome) -> None:
    """The diagram of reference/machine.md, by mermaid of npm: what renders the page may know no mermaid."""
    subprocess.run(["npm", "pack", "--silent", "mermaid@11"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(folder.glob("mermaid-*.tgz"))) as packed:
        script = packed.extractfile("package/dist/mermaid.min.js")
        assert script is not None
        (folder / "mermaid.js").write_bytes(script.read())
    diagram = (DOCS / "reference" / "machine.md").read_text("utf-8").partition("```mermaid\n")[2].partition("```")[0]
    diagram = re.sub(r"^ +(classDef|Class) .*\n", "", diagram.rpartition("---\n")[2], flags=re.MULTILINE)
    (folder / "machine.html").write_text('<meta charset="utf-8"><script src="mermaid.js"></script>', encoding="utf-8")
    browser.get((folder / "machine.html").as_uri())
    browser.set_script_timeout(120)
    svg = browser.execute_async_script(
        "const [text, done] = arguments;"
        "mermaid.initialize({startOnLoad: false, htmlLabels: false, theme: 'neutral', deterministicIds: true});"
        "mermaid.render('machine', text).then(({svg}) => done(svg), error => done(String(error)))",
        diagram,
    )
    assert svg.startswith("<svg"), svg
    svg = svg.replace('style="', 'style="background: white; ', 1)
    (PICTURES / "machine.svg").write_text(svg + "\n", encoding="utf-8")


def draw_page(folder: Path, browser: webdriver.Chrome) -> None:
    words = command("comfy_fsm", "serve", LOG, "--port", "0")
    serving = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        address = serving.stdout.readline().strip()
        for width in (DESK, PHONE):
            for scheme in SCHEMES:
                photograph(browser, address, width, scheme, f"serve-{width}-{scheme}", settle=3.0)
                browser.execute_script("document.querySelector('.open').click()")
                time.sleep(1.0)
                shoot(browser, f"serve-task-{width}-{scheme}")
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate()


def draw_picture(folder: Path, browser: webdriver.Chrome) -> None:
    """The page of `replay picture`, with its finding selected."""
    page = folder / "interrupts.html"
    words = command("replay", "picture", f"{RECORDED}/interrupts.jsonl.gz", "-o", str(page), "--utc")
    subprocess.run(words, cwd=DOCS.parent, check=True, stdout=subprocess.DEVNULL)
    address = page.as_uri()
    for width in (DESK, PHONE):
        for scheme in SCHEMES:
            photograph(browser, address, width, scheme, f"picture-{width}-{scheme}", settle=0.5)
            browser.execute_script("select({flag: 0})")
            time.sleep(0.5)
            shoot(browser, f"picture-{width}-{scheme}")


def draw_site(folder: Path, browser: webdriver.Chrome) -> None:
    """The documentation as it is rendered."""
    site = folder / "site"
    subprocess.run([sys.executable, "-m", "sphinx", "-q", str(DOCS), str(site)], check=True)
    for width in (DESK, PHONE):
        for scheme in SCHEMES:
            photograph(browser, (site / "tutorial.html").as_uri(), width, scheme, f"docs-{width}-{scheme}", settle=0.5)


def photograph(browser: webdriver.Chrome, address: str, width: int, scheme: str, name: str, settle: float) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < DESK}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    browser.get(address)
    time.sleep(settle)
    shoot(browser, name)


def shoot(browser: webdriver.Chrome, name: str) -> None:
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})
    (PICTURES / f"{name}.webp").write_bytes(base64.b64decode(shot["data"]))


def draw_all(folder: Path) -> None:
    for columns in (NARROW, WIDE):
        draw_watch(folder, columns)
        draw_output("replay", columns, f"{RECORDED}/socket-drop.jsonl.gz")
        draw_output("diagnose", columns, f"{RECORDED}/errors.jsonl.gz", "--diagnose")
    draw_watch(folder, SMALL)
    for columns in (NARROW, WIDE):
        draw_watch(folder, columns, "watch-task", OPENS)
    with chromium(folder) as browser:
        draw_page(folder, browser)
        draw_picture(folder, browser)
        draw_site(folder, browser)
        draw_machine(folder, browser)


async def main() -> None:
    """Draw with the log open, as a program that is at work has it."""
    os.environ["PYTHONPATH"] = str(DOCS.parent)
    with tempfile.TemporaryDirectory() as folder:
        async with await Log.open(Path(folder) / LOG) as log:
            await log.append(*lines())
            await asyncio.to_thread(draw_all, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
