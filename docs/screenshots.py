"""Make the pictures that the README and docs/ show, from the recordings. Needs `.[test]` and Chromium.

python -m docs.screenshots
"""

import asyncio
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
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from comfy_fsm.log.log import Log

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"
RECORDINGS = DOCS.parent / "fixtures" / "recordings" / "0.3.64"
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
COLUMNS, LINES = 132, 40
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


async def write(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(*lines())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "comfy_fsm", *arguments]


def draw_terminal(folder: Path) -> None:
    """The last picture that the command drew on a terminal of this size."""
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execve(
            sys.executable, command("watch", LOG), os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        )
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    drawn, until = b"", time.monotonic() + 3.0
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            drawn += os.read(terminal, 65_536)
    os.write(terminal, b"q")
    os.waitpid(process, 0)
    draw("watch", f"python -m comfy_fsm watch {LOG}", drawn.split(b"\x1b[H")[-2].decode().replace("\r", ""))


def draw(name: str, title: str, text: str) -> None:
    """Text with colours of a terminal as an SVG; its fonts are the reader's, so it loads nothing."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=True)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=title, unique_id=name), flags=re.DOTALL)
    (PICTURES / f"{name}.svg").write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()), encoding="utf-8")


def draw_replay() -> None:
    words = ["-m", "replay", "fixtures/recordings/0.3.64/socket-drop.jsonl.gz"]
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [sys.executable, *words], cwd=DOCS.parent, env=os.environ | colours, capture_output=True, text=True, check=True
    )
    draw("replay", " ".join(["python", *words]), done.stdout)


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


def draw_page(folder: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={folder / 'browser'}"):
        options.add_argument(flag)
    serving = subprocess.Popen(command("serve", LOG, "--port", "0"), cwd=folder, stdout=subprocess.PIPE, text=True)
    browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        size = {"width": 1280, "height": 1240, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert serving.stdout is not None
        browser.get(serving.stdout.readline().strip())
        time.sleep(2)
        browser.save_screenshot(str(PICTURES / "serve.png"))
    finally:
        browser.quit()
        serving.send_signal(signal.SIGTERM)
        serving.communicate()


def main() -> None:
    os.environ["PYTHONPATH"] = str(DOCS.parent)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder) / LOG))
        draw_terminal(Path(folder))
        draw_page(Path(folder))
    draw_replay()


if __name__ == "__main__":
    main()
