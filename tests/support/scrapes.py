"""Scrapes: the metrics of a client as Prometheus reads them."""

import asyncio
import urllib.request
from contextlib import closing

from prometheus_client.parser import text_string_to_metric_families


async def get(url: str) -> str:
    with closing(await asyncio.to_thread(urllib.request.urlopen, url, None, 30)) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.read().decode()


def families(text: str) -> dict[str, float]:
    """Every sample of a scrape, by its name and labels as they are written."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
