"""A headless browser, spoken to over a pipe by the DevTools protocol: no port, no driver, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "google-chrome")


def find() -> str:
    """Return a browser's path; empty where the machine has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), "")


class Browser:
    """One tab of a browser; what the page says on its console is kept."""

    def __init__(self, program: str, folder: Path) -> None:
        """Start it with a profile of its own in `folder`."""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        def hand_over() -> None:
            # The protocol's places are 3 and 4; a pipe may have one of these numbers already.
            high = [os.dup2(fd, 30 + i) for i, fd in enumerate((theirs_in, theirs_out))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        flags += [f"--user-data-dir={folder}", "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank"]
        self._process = subprocess.Popen(
            [program, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=hand_over,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        """Use it in a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method and return its result; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                if "error" in said:
                    raise AssertionError(f"{method}: {said['error']}")
                return said["result"]
            self.events.append(said)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._in, 1 << 16)
            if not read:
                raise AssertionError("the browser has ended")
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for an event."""
        if any(map(wanted, self.events)):
            return
        while not wanted(said := self._next()):
            self.events.append(said)
        self.events.append(said)

    def open(self, file: Path) -> None:
        """Load a file to its end."""
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        self.until(lambda e: e.get("method") == "Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key of the keyboard."""
        text = {"Enter": "\r"}.get(key, "")
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text if kind == "keyDown" else "", windowsVirtualKeyCode=code)  # fmt: skip

    def look(self, *, dark: bool = False, width: int = 1000) -> None:
        """Be a screen of this width with this taste."""
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def paper(self) -> bytes:
        """Return the page as PDF, as it would be printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    @property
    def complaints(self) -> list[str]:
        """What went wrong in the page: on the console, in scripts, by its policy, over the network."""
        found = []
        for event in self.events:
            method, said = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown" or method == "Log.entryAdded":
                found.append(str(said))
            elif method == "Runtime.consoleAPICalled" and said.get("type") in ("error", "warning", "assert"):
                found.append(str(said))
            elif method == "Network.requestWillBeSent" and not said["request"]["url"].startswith("file:"):
                found.append(said["request"]["url"])
        return found
