"""The report in a real browser: it renders, its controls work, and nothing leaves the page."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from biounet_edge import PredictionFailure
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.results.html import REPORT_NAME, ReportWriter, writer

NAMES = ["b10.jpg", "b9.jpg", "a.jpg"]
LOADED = """(async () => {
  const image = document.querySelector('.photograph');
  await image.decode();
  return image.naturalWidth;
})()"""
SHOWN = "Array.from(document.querySelectorAll('.card'), (card) => card.dataset.name)"


@pytest.fixture
def written(tmp_path, bundle, predict) -> Path:
    """A report of three photographs, the second of highest probability, and a failure."""
    with ReportWriter(tmp_path, bundle, "full", "cpu", 4) as page:
        for name, last in zip(NAMES, (1, 3, 2), strict=True):
            page.write(InputImage(Path(name), name), predict(name, (0.5, -0.25, 1, 0, last)))
        page.write(InputImage(Path("bad.jpg"), "bad"), PredictionFailure("bad.jpg", "the file is empty"))
    return tmp_path / REPORT_NAME


@pytest.fixture
def opened(browser, written):
    browser.requests.clear()
    browser.complaints.clear()
    browser.colours("light")
    browser.open(written)
    browser.run(LOADED)
    return browser


def pixels(browser, selector: str) -> np.ndarray:
    """What is seen of an element, RGB."""
    image = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR_RGB)
    box = browser.run(f"(({{x, y, width, height}}) => [x, y, width, height])"
                      f"(document.querySelector('{selector}').getBoundingClientRect())")  # fmt: skip
    x, y, width, height = map(round, box)
    return image[y : y + height, x : x + width]


def visible(browser, selector: str) -> bool:
    return browser.run(f"document.querySelector('{selector}').getClientRects().length > 0")


def choose(browser, order: str) -> list[str]:
    browser.run(
        f"document.getElementById('order').value = '{order}';"
        "document.getElementById('order').dispatchEvent(new Event('change'))"
    )
    return browser.run(SHOWN)


def test_page_renders_without_a_request_or_a_complaint(opened):
    assert opened.complaints == []
    assert opened.requests[0].startswith("file:")
    assert all(request.startswith("data:image/") for request in opened.requests[1:])
    assert opened.run(LOADED) == 120
    skin = pixels(opened, ".picture")[10:20, -20:-10].mean((0, 1))
    np.testing.assert_allclose(skin, [224, 180, 160], atol=15)


def test_policy_stops_a_request(opened):
    script = """new Promise((done) => {
      const image = new Image();
      image.onerror = () => done('stopped');
      image.src = 'http://127.0.0.1:9/';
    })"""
    assert opened.run(script) == "stopped"
    assert any("Content Security Policy" in complaint for complaint in opened.complaints)


def test_order_can_be_chosen(opened):
    assert opened.run(SHOWN) == NAMES
    assert choose(opened, "highest") == ["b9.jpg", "a.jpg", "b10.jpg"]
    assert choose(opened, "lowest") == ["b10.jpg", "a.jpg", "b9.jpg"]
    assert choose(opened, "name") == ["a.jpg", "b9.jpg", "b10.jpg"]
    assert choose(opened, "input") == NAMES


def test_masks_and_heatmaps_can_be_shown_and_hidden(opened):
    assert visible(opened, ".mask.streaks")
    assert not visible(opened, ".heatmap.streaks")
    with_mask = pixels(opened, ".picture")
    opened.run("document.getElementById('show-masks').click()")
    assert not visible(opened, ".mask.streaks")
    without = pixels(opened, ".picture")
    opened.run("document.getElementById('show-heatmaps').click()")
    assert visible(opened, ".heatmap.streaks")
    with_heatmap = pixels(opened, ".picture")
    assert np.abs(with_mask.astype(int) - without).max() > 50
    assert np.abs(with_heatmap.astype(int) - without).max() > 50


def test_one_indicator_can_be_hidden(opened):
    opened.run("document.getElementById('show-streaks').click()")
    assert not visible(opened, ".mask.streaks")
    assert visible(opened, ".mask.pigment_network")


def test_mask_lies_where_it_should_on_the_photograph(opened):
    before = pixels(opened, ".picture").astype(int)
    opened.run("document.getElementById('show-masks').click()")
    changed = np.abs(before - pixels(opened, ".picture")).max(-1) > 8
    height, width = changed.shape
    assert changed[: height // 2 - 8, : width // 2 - 8].mean() > 0.9  # pigment network: upper left quarter
    assert changed[3 * height // 4 + 8 :, 3 * width // 4 + 8 :].mean() > 0.9  # streaks: lower right corner
    assert changed[: height // 2 - 8, width // 2 + 8 :].mean() == 0


def test_explanations_can_be_hidden(opened):
    assert visible(opened, ".explanation")
    opened.run("document.getElementById('show-explanations').click()")
    assert not visible(opened, ".explanation")
    assert visible(opened, ".probability")


def test_enlarged_view_works_with_the_keyboard(opened):
    choose(opened, "highest")
    opened.run("document.querySelectorAll('button.picture')[1].focus()")
    opened.press("Enter", "\r")
    title = "document.querySelector('#enlarged h2')?.textContent"
    assert opened.run("document.getElementById('enlarged').open")
    assert opened.run(title) == "a.jpg"
    for key, name in [
        ("ArrowRight", "b10.jpg"),
        ("ArrowRight", "b9.jpg"),
        ("ArrowLeft", "b10.jpg"),
        ("Home", "b9.jpg"),
    ]:
        opened.press(key)
        assert opened.run(title) == name
    opened.run("document.getElementById('show-masks').focus()")
    opened.press(" ", " ")
    assert not visible(opened, "#enlarged .mask.streaks")
    opened.press("Escape")
    opened.run(
        "new Promise((done) => setTimeout(done, 100))"
    )  # the dialog says a moment later that it closed
    assert not opened.run("document.getElementById('enlarged').open")
    assert opened.run("document.activeElement.getAttribute('aria-label')") == "Enlarge b9.jpg"
    assert not visible(opened, ".toolbar ~ main .mask.streaks")


def test_controls_have_names_and_visible_focus(opened):
    unnamed = (
        "Array.from(document.querySelectorAll('button, input, select')).filter((control) => "
        "!control.labels?.length && !control.ariaLabel && !control.textContent.trim()).length"
    )
    assert opened.run(unnamed) == 0
    opened.press("Tab", "\t")
    assert opened.run("document.activeElement.textContent") == "Skip to the photographs"
    opened.run("document.querySelector('button.picture').focus()")
    assert opened.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_colour_schemes(opened, scheme):
    """Contrast of at least 4.5 to 1, as WCAG 2.2 asks for text of this size (criterion 1.4.3)."""
    opened.colours(scheme)
    script = """
    Array.from(document.querySelectorAll('h2, dd, .decision, .finding, .value, .folder, .notice'), (text) => {
      let back = text;
      while (getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
      return [getComputedStyle(text).color, getComputedStyle(back).backgroundColor];
    })
    """
    for pair in {tuple(pair) for pair in opened.run(script)}:
        light = [luminance([int(part) for part in text[4:-1].split(", ")]) for text in pair]
        assert (max(light) + 0.05) / (min(light) + 0.05) >= 4.5, pair


def luminance(colour: list[int]) -> float:
    """Relative luminance by WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_page_fits_a_narrow_window(opened):
    opened.resize(360, 800)
    try:
        assert opened.run("document.documentElement.scrollWidth") <= 360
    finally:
        opened.resize(1440, 1000)


def test_print_hides_the_controls_and_keeps_the_notice(opened, bundle):
    opened.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert not visible(opened, ".toolbar")
        assert visible(opened, ".notice")
        assert opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        opened.call("Emulation.setEmulatedMedia", media="")
    assert opened.pdf().startswith(b"%PDF")


def test_print_leaves_the_enlarged_view_out(opened):
    opened.run("document.querySelector('button.picture').click()")
    assert visible(opened, "#enlarged")
    opened.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert not visible(opened, "#enlarged")
        assert visible(opened, ".card:last-child")
        assert opened.run("getComputedStyle(document.documentElement).overflowY") == "visible"
    finally:
        opened.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("width", [1000, 360])  # with the toolbar held at the top, and with only the notice
def test_focus_stays_clear_of_the_bars(opened, width):
    opened.resize(width, 500)
    try:
        for index in (2, 1, 0):
            opened.run(f"document.querySelectorAll('button.picture')[{index}].focus()")
            assert opened.run(
                "document.activeElement.getBoundingClientRect().top + 1 >= Math.max("
                "...Array.from(document.querySelectorAll('body > .notice, .toolbar'), "
                "(bar) => bar.getBoundingClientRect().bottom))"
            )
    finally:
        opened.resize(1440, 1000)


def test_skip_link_moves_the_focus(opened):
    opened.press("Tab", "\t")
    opened.press("Enter", "\r")
    assert opened.run("document.activeElement.id") == "gallery"


def test_hostile_names_are_shown_as_they_are(browser, bundle, predict, tmp_path):
    name = '"><img src=x onerror=alert(1)>&amp;<script>alert(2)</script><!--.jpg'.replace("/", "\u2215")
    reason = "</li></ul></section><script>document.title = 'taken'</script>"
    with ReportWriter(tmp_path, bundle, "full", "cpu", 2) as page:
        page.write(InputImage(Path("a.jpg"), name), predict(name))
        page.write(InputImage(Path("b.jpg"), "b"), PredictionFailure(name, reason))
    browser.complaints.clear()
    browser.open(tmp_path / REPORT_NAME)
    assert browser.run("[document.scripts.length, document.images.length]") == [1, 1]
    assert (
        browser.run("document.title")
        == f"Dermoscopy report, {bundle.manifest.name} {bundle.manifest.version}"
    )
    assert browser.run("document.querySelector('.card h2').textContent") == name
    assert browser.run("document.querySelector('#errors span').textContent") == reason
    browser.run("document.querySelector('button.picture').click()")
    assert browser.run("document.querySelector('#enlarged .photograph').alt") == f"Photograph {name}"
    assert browser.complaints == []


def test_photographs_beside_the_page_are_shown(browser, bundle, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "EMBEDDED", 0)
    stem = "sub/a b#?%"
    with ReportWriter(tmp_path, bundle, "full", "cpu", 1) as page:
        page.write(InputImage(Path("a.jpg"), stem), predict())
    browser.complaints.clear()
    browser.open(tmp_path / REPORT_NAME)
    assert browser.run(LOADED) == 120
    assert browser.complaints == []
