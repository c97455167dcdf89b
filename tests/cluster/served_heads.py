"""Real heads, each an ``audio-pool serve`` of its own, that share a database, sounds and durable jobs."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import psutil
import psycopg
from tests.support.fault_proxy import FaultProxy
from tests.support.served import Served
from tests.support.waiting import PATIENCE_S

from audio_pool import AudioClient

__all__ = ["ServedHeads", "asking", "freeze", "thaw", "through"]

LONG_S = 300.0
"""A lease that does not end by itself while a test lasts, however busy the machine is."""


def asking(head: Served, **options: Any) -> AudioClient:
    """A client of this head alone."""
    return AudioClient(head.bind, timeout_s=PATIENCE_S, **options)


def freeze(head: Served) -> None:
    """Have a head stand still, as its machine would: its workers, too."""
    for process in _processes(head):
        process.suspend()


def thaw(head: Served) -> None:
    """Have it go on."""
    for process in _processes(head):
        process.resume()


def _processes(head: Served) -> list[psutil.Process]:
    server = psutil.Process(head.process.pid)
    return [server, *server.children(recursive=True)]


def through(proxy: FaultProxy, url: str) -> str:
    """Return the address of a database as it is reached through a proxy."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    return f"postgresql://ap@{proxy.address[0]}:{proxy.address[1]}/{name}"


class ServedHeads(contextlib.ExitStack):
    """Starts heads by name, and the same again at the same place."""

    def __init__(self, url: str, place: Path, *, lease_s: float = LONG_S, **sections: Any) -> None:
        super().__init__()
        self.url, self.place = url, place
        self._sections: dict[str, Any] = {**sections, "jobs": {"lease_s": lease_s, **sections.get("jobs", {})}}
        self._live: list[Served] = []
        for folder in ("audio", "renditions"):
            (place / "files" / folder).mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *, url: str = "", startup: str = "", **sections: Any) -> Served:
        """Start a head.

        Args:
            url: how it reaches the database, where that is not how everybody does.
            startup: Python that its process runs before anything else.
        """
        own = self.place / name
        (own / "cache").mkdir(parents=True, exist_ok=True)
        for folder in ("audio", "renditions"):
            with contextlib.suppress(FileExistsError):
                (own / "cache" / folder).symlink_to(self.place / "files" / folder)
        env = {}
        if startup:
            (own / "startup").mkdir(exist_ok=True)
            (own / "startup" / "sitecustomize.py").write_text(startup)
            env["PYTHONPATH"] = os.pathsep.join((str(own / "startup"), str(own / "package")))
        store = {"store": url or self.url, "store_connect_s": 1.0, "store_timeout_s": 5.0}
        wanted = {**self._sections, **sections}
        wanted["cache"] = {**store, **wanted.get("cache", {})}
        wanted["jobs"] = {"dir": str(self.place / "jobs"), **self._sections["jobs"], **sections.get("jobs", {})}
        head = Served(own, bind=f"ipc://{own}/s", env=env, **wanted)
        self._live.append(head)
        self.callback(head.close)
        return head

    def diary(self) -> list[str]:
        """The prompts of all sounds made, by whichever head."""
        return [line for own in {head.place: head for head in self._live}.values() for line in own.diary()]

    def rows(self, statement: str, *values: object) -> list[Any]:
        """What the database answers."""
        with psycopg.connect(self.url, autocommit=True, options="-c search_path=audio_pool") as db:
            found = db.execute(statement, values)
            return found.fetchall() if found.description else []

    def count_ends(self) -> None:
        """Have the database note each end of a job, whoever writes it."""
        self.rows("CREATE TABLE ends (request_id text, state text, path text)")
        self.rows(
            "CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO audio_pool.ends VALUES (new.request_id, new.state, new.path); RETURN new; END $$"
        )
        self.rows(
            "CREATE TRIGGER ended AFTER UPDATE ON jobs FOR EACH ROW"
            " WHEN (new.finished_at IS DISTINCT FROM old.finished_at AND new.finished_at IS NOT NULL)"
            " EXECUTE FUNCTION note_end()"
        )
