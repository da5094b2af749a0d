"""The page as it is served, and in a headless browser: from a click to the downloaded masks."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from vos.annotate.cli import main
from vos.annotate.project import Project
from vos.command.cli import main as track

if find_spec("gradio") is None:  # importing it takes two seconds, also in processes that run none of these tests
    pytest.skip("the page needs gradio: pip install '.[annotate]'", allow_module_level=True)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZE, COUNT = (256, 454), 8  # (H, W)
ARGUMENTS = ("--tracker", "persam")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, published: Callable[..., Any]) -> Path:
    """A video of two objects beside a file that is none of the page's business."""
    path = tmp_path_factory.mktemp("clip") / "two things.mp4"
    frames = published("frames_multi")["frames"]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in (0, 1, 2, 3, 2, 1, 0, 1):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[index][:, : SIZE[1]]))))
        container.mux(stream.encode())
    (path.parent / "private.txt").write_text("k3ep out")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(clip: Path, place: Path, attacked: bool = False) -> Iterator[tuple[int, Path]]:
    """The command as a user runs it, in a folder of its own: its port, and where its temporary files lie.

    What the framework says of requests that the page never sends is not looked at if it is ``attacked``.
    """
    (place / "here.txt").write_text("k3ep out")
    temporary = place / "tmp"
    temporary.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "vos.annotate.cli", str(clip), "--port", str(port), *ARGUMENTS]
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    assert line.startswith(f"http://127.0.0.1:{port}"), process.stderr.read()
    yield port, temporary
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and rest == ""
    assert errors.splitlines()[-1 if attacked else 0 :] == ["vos-annotate: stopped; what was not downloaded is gone"]
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def server(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """One for all tests that change nothing there."""
    with serving(clip, tmp_path_factory.mktemp("server"), attacked=True) as running:
        yield running


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request, with nothing added or tidied up on the way."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def test_nothing_but_the_page_is_served(server: tuple[int, Path], clip: Path) -> None:
    port, temporary = server
    assert ask(port, "/")[0] == 200
    [folder] = temporary.glob("vos-annotate-*")
    secret = folder / "given" / "secret.png"
    secret.write_bytes(b"k3ep out")
    place = str(temporary.parent)
    for path in (
        "/etc/passwd",
        "/etc/hostname",
        str(clip),
        f"{clip.parent}/private.txt",
        f"{place}/here.txt",
        "here.txt",
        str(secret),
        f"{folder}/page/../given/secret.png",
        f"{folder}/page/%2e%2e/given/secret.png",
        f"{folder}/page/..%2fgiven/secret.png",
        "http://127.0.0.1:1/x",
        "https://example.org/",
    ):
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy="):
            status, body = ask(port, route + path.replace(" ", "%20"))
            assert status in (400, 403, 404) and b"root:" not in body and b"k3ep out" not in body, (route, path, status)
    for path in (
        "/static/../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/docs",
        "/gradio_api/vibe-code",
    ):
        status, body = ask(port, path)
        assert status in (400, 403, 404) and b"root:" not in body, path
    secret.unlink()


def test_uploads_are_taken_from_the_page_alone_and_no_other_file_is_read(server: tuple[int, Path], clip: Path) -> None:
    port, temporary = server
    [folder] = temporary.glob("vos-annotate-*")

    def upload(size: int, **headers: str) -> tuple[int, bytes]:
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="../../a.png"\r\n\r\n'
        headers |= {"Content-Type": "multipart/form-data; boundary=b"}
        return ask(port, "/gradio_api/upload", "POST", head + b"x" * size + b"\r\n--b--\r\n", **headers)

    for origin in ({}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Origin": "http://127.0.0.1:1"}):
        assert upload(1, **origin)[0] == 403, origin
    own = {"Origin": f"http://127.0.0.1:{port}"}
    with suppress(ConnectionError):  # cut off in the middle
        assert upload(33 * 1024 * 1024, **own)[0] == 413
    status, body = upload(100_000, **own)
    [path] = json.loads(body)
    assert status == 200 and Path(path).resolve().parent.parent == folder / "page" and Path(path).name == "a.png"
    components = json.loads(ask(port, "/config")[1])
    button = next(each["id"] for each in components["components"] if each["props"].get("elem_id") == "photograph")
    event = next(each["id"] for each in components["dependencies"] if [button, "upload"] in each["targets"])
    for number, other in enumerate((str(clip.parent / "private.txt"), "/etc/hostname", str(folder / "page" / ".."))):
        file = {"path": other, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
        asked = {"data": [file, 1], "fn_index": event, "session_hash": f"s{number}", "event_data": None}
        sent = json.dumps(asked).encode()
        assert ask(port, "/gradio_api/queue/join", "POST", sent, **{"Content-Type": "application/json"})[0] == 200
        answers = ask(port, f"/gradio_api/queue/data?session_hash=s{number}")[1].decode()
        assert '"success":false' in answers and "k3ep out" not in answers, answers
        assert Path(other).exists()
    assert not (folder / "photographs").exists()


def test_other_hosts_and_large_requests_are_refused(server: tuple[int, Path]) -> None:
    port, _ = server
    assert ask(port, "/gradio_api/queue/join", "POST", b"x" * 70_000)[0] == 413
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "[::2]",
        "",
        "127.0.0.1@evil.example",
    ):
        assert ask(port, "/", Host=host)[0] == 400, host
    for host in (f"localhost:{port}", "LocalHost", f"127.0.0.1:{port}", f"[::1]:{port}", "[::1]"):
        assert ask(port, "/", Host=host)[0] == 200, host
    chunks = iter([b"x" * 30_000] * 4)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request(
        "POST", "/gradio_api/queue/join", chunks, {"Content-Type": "application/json"}, encode_chunked=True
    )
    with suppress(http.client.HTTPException, ConnectionError):  # cut off in the middle
        assert connection.getresponse().status >= 400
    connection.close()
    assert ask(port, "/")[0] == 200


def test_serving_asks_no_other_host(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "page"))
    from vos.annotate.server import serve

    asked = []
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any, original: Callable[..., Any] = original) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
                asked.append(address)
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, connect)
    original_look_up = socket.getaddrinfo

    def look_up(host: str | None, *rest: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", None):
            asked.append(host)
        return original_look_up(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with Project(clip, tmp_path / "work") as project:
        port = free_port()
        served, url = serve(project, port=port)
        try:
            with urllib.request.urlopen(url) as page:
                text = page.read().decode()
                policy = page.headers["Content-Security-Policy"]
            with pytest.raises(Exception, match="cannot be served there"):
                serve(project, port=port)
        finally:
            served.close()
    assert asked == []
    assert "default-src 'self'" in policy
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(?:https?:)?//[^>]+>""", text)
    assert loaded == []


def test_of_names_that_arrive_in_any_order_the_last_typed_counts(clip: Path, tmp_path: Path) -> None:
    from vos.annotate.page import Page  # imports gradio

    with Project(clip, tmp_path / "work") as project:
        project.add_object()
        page, one, other = Page(project), SimpleNamespace(session_hash="a"), SimpleNamespace(session_hash="b")
        for name, moment, request in (("fu", 2.0, one), ("fur", 3.0, one), ("f", 1.0, one)):
            page._rename(1, name, moment, request)
        assert project.names == {1: "fur"}
        page._rename(1, "coat", 0.5, other)  # of another page, whose moments count from another start
        assert project.names == {1: "coat"}


def test_mistakes_are_one_line(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for arguments, message in (
        ([tmp_path / "none.mp4"], "none.mp4: no such file"),
        ([text], "text.mp4: is not a video"),
        ([clip, "--tracker", "x"], "x: no such tracker; installed are: "),
        ([clip, "--model", "x"], "x: no such segmenter"),
        ([clip, "--host", "192.0.2.1"], "--host 192.0.2.1"),
    ):
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("vos-annotate: ") and message in error and error.count("\n") == 1
    monkeypatch.setattr("vos.annotate.cli.find_spec", lambda name: None)
    assert main([str(clip)]) == 2
    assert "pip install 'vos-track[annotate]'" in capsys.readouterr().err


class Tab:
    """The page in a browser; clicks are in frame pixels."""

    def __init__(self, page: Any, port: int) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("request", lambda request: self._check(request.url, port))
        page.on(
            "response",
            lambda response: response.status >= 400 and self.problems.append(f"{response.status} {response.url}"),
        )
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#picture img")
        self.state("no masks yet")

    def _check(self, url: str, port: int) -> None:
        if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:")):
            self.problems.append(url)

    def click(self, x: float, y: float) -> None:
        self.click_share("#picture img", (x + 0.5) / SIZE[1], (y + 0.5) / SIZE[0])

    def click_share(self, image: str, x: float, y: float) -> None:
        """Click on an image of the page, at shares of its width and height, once its place is known: it is loaded."""
        self.page.wait_for_function(
            "image => (image => image && image.complete && image.naturalWidth)(document.querySelector(image))",
            arg=image,
        )
        box = self.page.locator(image).bounding_box()
        self.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])

    def state(self, text: str) -> None:
        self.page.locator("#state", has_text=text).wait_for()

    def picture(self) -> np.ndarray:
        """What the browser shows, at frame size."""
        source = self.page.locator("#picture img").get_attribute("src")
        with Image.open(io.BytesIO(self.page.request.get(source).body())) as image:
            return np.asarray(image.convert("RGB").resize(SIZE[::-1], Image.Resampling.BOX)).astype(int)

    def changed(self, before: np.ndarray) -> np.ndarray:
        """The picture, once it is another one."""
        end = time.monotonic() + 120
        while np.array_equal(now := self.picture(), before):
            assert time.monotonic() < end, "the picture stays as it is"
            time.sleep(0.05)
        return now

    def idle(self) -> None:
        self.page.wait_for_function(
            "!document.querySelector('#track').disabled && document.querySelector('#stop').disabled"
        )


@pytest.fixture
def tab(clip: Path, tmp_path: Path) -> Iterator[Tab]:
    """A tab of a browser with a server of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium found; on Debian: apt-get install chromium")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the browser is driven by playwright: pip install '.[test]'"
    )
    place = tmp_path / "server"
    place.mkdir()
    with serving(clip, place) as (port, _), sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1300, "height": 800}, accept_downloads=True)
        context.set_default_timeout(120_000)
        yield Tab(context.new_page(), port)
        browser.close()


def masks_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((folder / "masks").iterdir())]


def test_from_a_click_to_the_downloaded_masks(tab: Tab, clip: Path, tmp_path: Path) -> None:
    page = tab.page
    plain = tab.picture()
    tab.click(150, 130)  # inside the first object
    tab.state("marked")
    marked = tab.changed(plain)
    red = (marked[..., 0] - marked[..., 1] - plain[..., 0] + plain[..., 1]) > 20
    assert red[100:160, 110:190].mean() > 0.3 and red[:, 400:].mean() < 0.01  # the tint, where it was clicked
    page.locator("#name textarea").press_sequentially("fur & <b>")
    page.locator("#objects", has_text="1 fur & <b>").wait_for()
    page.click("#new")
    page.locator("#objects label").nth(1).wait_for()
    page.keyboard.press("b")
    page.locator("#help", has_text="two opposite corners").wait_for()
    tab.click(284, 90)
    crossed = tab.changed(marked)
    lines = np.abs(crossed - marked).sum(axis=2)  # through the first corner, over the whole picture
    assert lines[:80, 284].mean() > 60 and lines[90, 300:].mean() > 60 and lines[:80, 200:280].mean() < 5
    tab.click(370, 204)
    tab.changed(crossed)

    page.click("#track")
    tab.idle()
    tab.state("Frame 7 of 0–7")
    page.locator("#progress", has_text="7 of 7 frames").wait_for()
    last = tab.picture()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    tab.state("Frame 4 of 0–7")
    tab.state("tracked")
    before = tab.changed(last)

    page.keyboard.press("1")
    page.locator("#name textarea").evaluate(
        "field => new Promise(done => setInterval(() => field.value.startsWith('fur') && done(), 20))"
    )
    tab.click(90, 45)  # a new box on frame 4, by two clicks
    tab.changed(before)
    tab.click(280, 200)
    tab.state("marked")
    page.click("#track")
    tab.idle()
    tab.state("Frame 7 of 0–7")
    with page.expect_download() as download:
        page.click("#prepare")
    assert download.value.suggested_filename == "two things-vos.zip"
    download.value.save_as(tmp_path / "got.zip")
    assert tab.problems == []

    ours, whole, rest = tmp_path / "ours", tmp_path / "whole", tmp_path / "rest"
    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        archive.extractall(ours)
    assert {path.name for path in ours.iterdir()} == {"masks", "overlay.mp4", "objects.csv", "annotation.json"}
    masks = masks_of(ours)
    for out, start in ((whole, 0), (rest, 4)):
        given = ours / "masks" / f"{start:05d}.png"
        arguments = [clip, "--first-mask", given, "--start", start, "-o", out, "--save", "masks", "--quiet", *ARGUMENTS]
        assert track([str(argument) for argument in arguments]) == 0
    expected = masks_of(whole)[:4] + masks_of(rest)
    assert len(masks) == COUNT and all(np.array_equal(one, other) for one, other in zip(masks, expected, strict=True))
    assert not np.array_equal(masks[5], masks_of(whole)[5])  # the correction made a difference
    assert '"1": "fur & <b>"' in (ours / "annotation.json").read_text()


LATE = """
const ask = window.fetch;
window.fetch = async (...request) => {
  const response = await ask(...request);
  if (!String(request[0].url || request[0]).includes("queue/data")) return response;
  const late = new TransformStream({
    async transform(chunk, stream) { await new Promise(done => setTimeout(done, 200)); stream.enqueue(chunk); }
  });
  return new Response(response.body.pipeThrough(late), response);
};
"""
"""Makes the answers of the server come late, as on a busy machine; those to requests come as fast as ever."""


def test_no_click_is_lost_when_answers_come_late(tab: Tab) -> None:
    page = tab.page
    page.add_init_script(LATE)
    page.reload()
    tab.state("no masks yet")
    tab.problems.clear()  # the first page's stream of answers was cut off
    for count in (1, 2):
        page.locator("#name textarea").press_sequentially("fur")
        page.locator("#objects", has_text=f"{count} fur").wait_for()
        page.click("#new")
        page.locator("#objects label").nth(count).wait_for(timeout=30_000)
    page.locator("#name textarea").press_sequentially("paw")
    page.click("#objects label:nth-of-type(1)")  # at once: the name belongs to the object that it was typed for
    page.locator("#objects", has_text="3 paw").wait_for()
    assert page.locator("#objects label").all_inner_texts() == ["1 fur", "2 fur", "3 paw"]
    assert tab.problems == []


def test_an_object_is_marked_as_gone(tab: Tab) -> None:
    page = tab.page
    tab.click(150, 130)
    tab.state("marked")
    page.click("#track")
    tab.idle()
    tab.state("Frame 7 of 0–7")
    page.locator("#progress", has_text="7 of 7 frames").wait_for()
    for frame in (6, 5):
        page.keyboard.press("ArrowLeft")
        tab.state(f"Frame {frame} of 0–7")
    tab.state("tracked")
    before = tab.picture()
    page.keyboard.press("g")
    tab.state("marked")
    gone = tab.changed(before)
    page.keyboard.press("z")
    tab.state("tracked")
    assert np.abs(tab.changed(gone) - before).mean() < 1
    page.click("#gone")
    tab.state("marked")
    page.click("#track")
    tab.idle()
    tab.state("Frame 7 of 0–7")
    page.locator("#progress", has_text="2 of 2 frames").wait_for()
    assert tab.problems == []


def test_no_click_is_lost_while_the_picture_loads(tab: Tab) -> None:
    page = tab.page
    page.keyboard.press("b")
    page.locator("#help", has_text="two opposite corners").wait_for()
    held: list[Any] = []
    page.route("**/gradio_api/file=**", lambda route: held.append(route))
    box = page.locator("#picture img").bounding_box()
    tab.click(90, 45)
    page.wait_for_function("!document.querySelector('#picture img').naturalWidth")  # the one with the corner is due
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    page.unroute("**/gradio_api/file=**")  # and what is held goes on
    tab.state("marked")
    assert held and tab.problems == []
