"""A real browser for the tests of the page: Chromium, spoken to by its DevTools protocol over a pipe.

What is used of the protocol is described at https://chromedevtools.github.io/devtools-protocol/; messages are JSON,
each ended by a NUL. Chromium is the one that ``HOLDGATE_CHROMIUM`` names, or one on the path.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

__all__ = ["MISSING", "Browser", "Page", "chromium", "open_browser"]

MISSING = "no Chromium was found: install chromium, or name one in HOLDGATE_CHROMIUM"

_PATIENCE = 20.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--no-default-browser-check", "--hide-scrollbars", "--remote-debugging-pipe"),
)
_LAUNCH = """\
import fcntl, os, sys
given, taken = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(given, 3)
os.dup2(taken, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""The browser reads from descriptor 3 and writes to descriptor 4."""


def chromium() -> str | None:
    """The program, None when there is none."""
    named = os.environ.get("HOLDGATE_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """A running browser. Each page it opens has cookies and storage of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises RuntimeError with the browser's words."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._writer.write(json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(_PATIENCE):
            result = await answer
        if "error" in result:
            raise RuntimeError(f"{method}: {result['error']['message']}")
        return dict(result["result"])

    async def listen(self) -> None:
        """Take answers and events until the browser ends."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if "id" in message:
                    self._answers.pop(message["id"]).set_result(message)
                elif page := self._pages.get(message.get("sessionId", "")):
                    page.note(message["method"], message["params"])

    async def page(self, width: int = 1100, height: int = 900) -> "Page":
        """A new page in a window of this size (CSS pixels)."""
        context = await self.call("Target.createBrowserContext")
        target = await self.call(
            "Target.createTarget", url="about:blank", browserContextId=context["browserContextId"]
        )
        session = (await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))[
            "sessionId"
        ]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.resize(width, height)
        return page


class Page:
    """One page. ``problems`` has every error of its scripts, its console and its content security policy."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.problems: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return await self._browser.call(method, self._session, **parameters)

    def note(self, method: str, event: dict[str, Any]) -> None:
        """Take an event of the browser."""
        if method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.problems.append(str(details.get("exception", details).get("description", details["text"])))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(each.get("value", each)) for each in event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            entry = event["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}".strip())
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"a dialog opened: {event['message']}")

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def dark(self) -> None:
        """Prefer dark colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def goto(self, url: str) -> None:
        """Open an address and return once it has loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Return once a JavaScript expression is true."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    with contextlib.suppress(RuntimeError):  # the page may be between two documents
                        if await self.evaluate(f"Boolean({condition})"):
                            return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            raise AssertionError(f"it never came true: {condition}\n{self.problems}\n{shown}") from None

    async def text(self, selector: str) -> str:
        """The text that is seen of the first element."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def visible(self, selector: str) -> bool:
        """Whether the first element is there and takes room."""
        found = f"document.querySelector({json.dumps(selector)})"
        return bool(await self.evaluate(f"Boolean({found} && {found}.getClientRects().length)"))

    async def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, wherever it has to be scrolled from.

        What arrives meanwhile may move the element away from under the mouse: then it is pressed once more.
        """
        found = f"document.querySelector({json.dumps(selector)})"
        async with asyncio.timeout(_PATIENCE):
            while True:
                await self.until(f"{found}?.getClientRects().length")
                place = await self.evaluate(
                    f"(() => {{ const e = {found}; if (!e) return null; window.pressed = false;"
                    "e.addEventListener('click', () => { window.pressed = true; }, {once: true, capture: true});"
                    "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
                    "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
                )
                if place is None:
                    continue
                for kind in ("mousePressed", "mouseReleased"):
                    await self.call(
                        "Input.dispatchMouseEvent",
                        type=kind,
                        x=place[0],
                        y=place[1],
                        button="left",
                        clickCount=1,
                    )
                with contextlib.suppress(RuntimeError):  # the page may be between two documents
                    if await self.evaluate("window.pressed === false"):
                        continue
                return

    async def type(self, selector: str, text: str) -> None:
        """Click into a field and type."""
        await self.click(selector)
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press and release a key, such as ``Enter``, ``Tab`` or ``Escape``."""
        code = {"Enter": 13, "Tab": 9, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text
            )

    async def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page, or of what the window shows of it."""
        answer = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def open_browser(program: str) -> AsyncIterator[Browser]:
    """A browser for the length of the block; nothing of it is left afterwards."""
    to_browser, from_browser = os.pipe(), os.pipe()
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="holdgate-browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LAUNCH, str(to_browser[0]), str(from_browser[1]), program),
            *(*_FLAGS, f"--user-data-dir={profile}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(to_browser[0], from_browser[1]),
            start_new_session=True,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_browser[0], "rb")
        )
        writing, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(to_browser[1], "wb")
        )
        browser = Browser(reader, asyncio.StreamWriter(writing, protocol, None, loop))
        listening = asyncio.ensure_future(browser.listen())
        try:
            yield browser
        finally:
            with contextlib.suppress(TimeoutError, RuntimeError):
                await browser.call("Browser.close")
            try:
                async with asyncio.timeout(_PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            listening.cancel()
            writing.close()
            reading.close()
