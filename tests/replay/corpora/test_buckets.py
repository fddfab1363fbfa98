"""A bucket behind the protocol of S3 gives what a folder gives, and no secret of it is told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.corpora import fill
from tests.support.processes import ENVIRONMENT, GUARD, UNREACHABLE, USAGE

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'corpus' is not installed: no corpus is tested")
HOW = "pip install s3fs 'moto[server]': NO BUCKET IS TESTED"
FAILED = 2


def run(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "replay", "corpus", "run", *arguments, "--jobs", "1"]
    env = {"AWS_ACCESS_KEY_ID": "canary-key", "AWS_SECRET_ACCESS_KEY": "canary-secret"} | env
    env |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1"}
    return subprocess.run(
        words, cwd=folder, env=ENVIRONMENT | env, capture_output=True, encoding="utf-8", timeout=3 * GUARD
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("bucket") / "traces", 6).parent


@pytest.fixture(scope="module")
def endpoint(folder: Path) -> Iterator[str]:
    """A server that speaks S3, with the traces of the folder in its bucket `night`."""
    for library in ("s3fs", "moto"):
        pytest.importorskip(library, reason=HOW)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + GUARD
        while True:
            try:
                httpx.put(f"{url}/night").raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < until, "moto does not come up"
                time.sleep(0.1)
        for path in (folder / "traces").rglob("*.gz"):
            httpx.put(f"{url}/night/{path.relative_to(folder)}", content=path.read_bytes()).raise_for_status()
        yield url
    finally:
        server.kill()
        server.wait()


def rows(output: Path, table: str, *left_out: str) -> list[dict[str, object]]:
    read = [row for path in sorted((output / table).iterdir()) for row in parquet.read_table(path).to_pylist()]
    return [{key: value for key, value in row.items() if key not in left_out} for row in read]


def test_a_bucket_gives_what_a_folder_gives(folder: Path, endpoint: str) -> None:
    done = run(folder, "s3://night/traces", "-o", "of the bucket", "--format", "json", AWS_ENDPOINT_URL=endpoint)
    assert (done.returncode, json.loads(done.stdout)["traces"]) == (0, 6), done.stderr
    assert run(folder, "traces", "-o", "of the folder").returncode == 0
    for table in ("traces", "tasks", "findings"):
        assert rows(folder / "of the bucket", table, "trace") == rows(folder / "of the folder", table, "trace")
    assert [row["trace"] for row in rows(folder / "of the bucket", "traces")] == [
        f"s3://night/{row['trace']}" for row in rows(folder / "of the folder", "traces")
    ]


def test_what_a_bucket_cannot_give_is_a_row_and_no_secret_is_told(folder: Path, endpoint: str) -> None:
    there = "s3://night/traces/even/000.jsonl.gz"
    (folder / "some.txt").write_text(f"{there}\ns3://night/gone.jsonl\ns3://nobody/x.jsonl\n", encoding="utf-8")
    done = run(folder, "some.txt", "-o", "some", AWS_ENDPOINT_URL=endpoint)
    assert done.returncode == FAILED, done.stderr
    told = {row["trace"]: row["error"] for row in rows(folder / "some", "traces")}
    assert told[there] is None
    assert "s3://night/gone.jsonl: cannot be fetched: there is none" in str(told["s3://night/gone.jsonl"])
    assert "cannot be fetched" in str(told["s3://nobody/x.jsonl"])
    everything = [done.stdout, done.stderr, repr([rows(folder / "some", table) for table in ("traces", "tasks")])]
    assert "canary" not in "".join(everything)


def test_a_bucket_that_does_not_answer_is_told_as_such(folder: Path, endpoint: str) -> None:
    done = run(folder, "s3://night/traces", "-o", "x", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    assert "s3://night/traces: no answer: " in done.stderr
    assert "canary" not in done.stderr
    assert not (folder / "x").exists()


def test_the_library_that_a_bucket_needs_is_named(folder: Path) -> None:
    code = "import sys; sys.modules['s3fs'] = None; from replay.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "corpus", "run", "s3://night/traces", "-o", "x"]
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=GUARD)
    assert done.returncode == USAGE
    assert "s3fs" in done.stderr
    assert done.stderr.count("\n") == 1
