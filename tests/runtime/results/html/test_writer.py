import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from biounet_edge import INDICATORS, Category, OutputError, PredictionFailure
from biounet_edge.bundle.manifest import OperatingPoint
from biounet_edge.photographs.decoding import decode
from biounet_edge.photographs.discovery import InputImage
from biounet_edge.results.html import REPORT_NAME, ReportWriter, writer
from biounet_edge.results.html.card import percents
from biounet_edge.results.html.card_file import PART_NAME

HOSTILE = "\"><img src=x onerror=alert(1)>'&amp;</li></ol><script>alert(2)</script>\n\u202e\udcff.jpg"


class Tags(HTMLParser):
    """Collects start tags, and complains about any that is not closed in its turn."""

    EMPTY = frozenset({"meta", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def report(tmp_path, bundle):
    """Makes a writer into a fresh folder."""
    return lambda total=1, level="full": ReportWriter(tmp_path / "out", bundle, level, "a <device>", total)


@pytest.fixture
def read(tmp_path):
    return lambda: (tmp_path / "out" / REPORT_NAME).read_text(encoding="utf-8")


def image(stem: str) -> InputImage:
    return InputImage(Path(f"{stem}.jpg"), stem)


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".tmp-")]


def test_report_has_a_card_per_prediction_and_the_errors_at_its_end(report, read, predict, bundle):
    with report(3) as page:
        page.write(image("b"), predict("in/b.jpg"))
        page.write(image("bad"), PredictionFailure("in/bad.jpg", "the file is empty"))
        page.write(image("a"), predict("in/a.jpg"))
    text = read()
    cards = [attributes for attributes in Tags(text).named("li") if attributes.get("class") == "card"]
    assert [card["data-name"] for card in cards] == ["b.jpg", "a.jpg"]
    assert [card["data-order"] for card in cards] == ["1", "3"]
    assert "2 photographs read" in text
    assert text.index("the file is empty") > text.rindex('class="card"')
    assert bundle.manifest.notice in text
    assert "Incomplete" not in text
    assert "a &lt;device&gt;" in text


def test_card_shows_notes_and_no_warning_of_a_familiar_photograph(report, read, predict):
    with report() as page:
        page.write(image("a"), replace(predict(), notes=("out of focus: <little> detail",)))
    assert "<li>out of focus: &lt;little&gt; detail</li>" in read()
    assert 'class="warning"' not in read()


def test_report_lists_what_has_no_card_by_its_kind(report, read):
    reasons = {"cut": Category.REFUSED, "later": Category.RETRY, "film": Category.SKIPPED}
    with report(4) as page:
        for name, category in reasons.items():
            page.write(image(name), PredictionFailure(name, "no", "ab", category))
        page.write(image("cat"), PredictionFailure("cat", "not assessed", "ab", Category.UNFAMILIAR, 0.5))
    titles = re.findall(r'<h2 id="[a-z]+-title">([^<]+)</h2>', read())
    assert titles == ["Unfamiliar: not assessed (1)", "Not read (2)", "Left out (1)"]
    assert "Incomplete" not in read()


def test_card_shows_the_sum_step_by_step(report, read, predict, bundle):
    prediction = predict(contributions=(0.5, -0.25, 1, 0, 2))
    with report() as page:
        page.write(image("a"), prediction)
    values = re.findall(r'<td class="value">([^<]+)</td>', read())
    numbers = [float(value.replace("\N{MINUS SIGN}", "-")) for value in values]
    assert numbers == pytest.approx(
        [bundle.manifest.melanoma.bias, 0.5, -0.25, 1, 0, 2, sum(numbers[:-1])], abs=2e-3
    )
    assert f"<strong>{prediction.melanoma_probability:.1%}</strong>" in read()


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.4996, 0.5, ("49.96%", "50.00%")),
        (0.49999, 0.5, ("49.999%", "50.000%")),
        (0.50031, 0.50042, ("50.03%", "50.04%")),
        (0.5, 0.5, ("50.0%", "50.0%")),
        (0.5004, 0.5, ("50.0%", "50.0%")),
        (0.1234, 0.5, ("12.3%", "50.0%")),
        (0.4999999999999999, 0.5, ("49.99999999999999%", "50.00000000000000%")),
    ],
)
def test_percents_agree_with_the_decision(probability, threshold, shown):
    assert percents(probability, threshold) == shown


def test_card_says_which_indicators_are_absent(report, read, predict):
    with report() as page:
        page.write(image("a"), predict())
    states = re.findall(r'<tr class="(present|absent)"><th scope="row"><span class="swatch (\w+)">', read())
    assert states == [
        ("present" if name in ("pigment_network", "streaks") else "absent", name) for name in INDICATORS
    ]


@pytest.fixture
def undecided_page(tmp_path, undecided_bundle, predict_undecided):
    """A report of one photograph by a bundle without an operating point of streaks."""
    with ReportWriter(tmp_path / "out", undecided_bundle, "full", "cpu", 1) as page:
        page.write(image("a"), predict_undecided())
    return (tmp_path / "out" / REPORT_NAME).read_text(encoding="utf-8")


def test_card_says_probability_only_without_an_operating_point(undecided_page):
    states = re.findall(r'<tr class="(\w+)"><th scope="row"><span class="swatch (\w+)">', undecided_page)
    assert [name for state, name in states if state == "undecided"] == ["streaks"]
    assert [state for state, _ in states] == ["present", "absent", "undecided", "absent", "absent"]
    assert 'Streaks<span class="finding">probability only, 100%</span>' in undecided_page


def test_page_names_the_indicators_without_an_operating_point(undecided_page):
    assert "Probability only, without operating point, mask or heatmap: streaks." in undecided_page
    assert not re.search(r"at or above its operating point: [^.]*streaks", undecided_page.replace("%, ", " "))


def test_page_has_no_layer_box_without_an_operating_point(undecided_page):
    boxes = [tag["id"] for tag in Tags(undecided_page).named("input")]
    assert "show-globules" in boxes
    assert "show-streaks" not in boxes


def test_page_without_any_operating_point_says_so(tmp_path, undecided_bundle, predict_undecided):
    points = {name: OperatingPoint(presence=None, mask=0.5) for name in INDICATORS}
    manifest = undecided_bundle.manifest.model_copy(update={"operating_points": points})
    with ReportWriter(tmp_path, replace(undecided_bundle, manifest=manifest), "full", "cpu", 1) as page:
        page.write(image("a"), predict_undecided())
    assert "at or above its operating point: none has one." in (tmp_path / REPORT_NAME).read_text(
        encoding="utf-8"
    )


def test_page_of_a_bundle_with_all_operating_points_does_not_speak_of_probability_only(report, read, predict):
    with report() as page:
        page.write(image("a"), predict())
    assert "robability only" not in read()


def test_names_and_reasons_cannot_add_markup(report, read, predict):
    with report(2) as page:
        page.write(image(HOSTILE), predict(HOSTILE))
        page.write(image("b"), PredictionFailure(HOSTILE, HOSTILE))
    tags = Tags(read())
    assert len(tags.named("script")) == 1
    assert len(tags.named("img")) == 1
    assert not any(key.startswith("on") for _, attributes in tags.tags for key in attributes)
    shown = next(card for card in tags.named("li") if "data-name" in card)["data-name"]
    assert (
        shown
        == HOSTILE.replace("\n", "\\n")
        .replace("\u202e", "\\u202e")
        .replace("\udcff", "\\udcff")
        .split("/")[-1]
    )


def test_page_allows_nothing_but_its_own_style_and_script(report, read, predict):
    with report() as page:
        page.write(image("a"), predict())
    tags = Tags(read())
    policy = next(meta["content"] for meta in tags.named("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in tags.tags)
    addresses = [a[key] for _, a in tags.tags for key in ("src", "href", "action", "srcset") if key in a]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttp", read())


def test_large_run_has_its_photographs_beside_the_page(report, read, predict, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "EMBEDDED", 1)
    stems = ["sub/a b#?%", "c"]
    with report(2) as page:
        for stem in stems:
            page.write(image(stem), predict(f"{stem}.jpg"))
    assert "img-src data: &#x27;self&#x27; file:;" in read()
    sources = [attributes["src"] for attributes in Tags(read()).named("img")]
    assert [unquote(source) for source in sources] == [f"report/{stem}.jpg" for stem in stems]
    for source in sources:
        assert decode(tmp_path / "out" / unquote(source)).shape == (90, 120, 3)


def test_interrupted_run_leaves_a_report_of_what_was_done(report, read, predict, tmp_path):
    def run() -> None:
        with report(9) as page:
            page.write(image("a"), predict())
            page.write(image("b"), PredictionFailure("b", "no"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert "Incomplete: the run ended after 2 of 9 photographs." in read()
    assert Tags(read()).named("article")
    assert leftovers(tmp_path) == []


def test_report_appears_only_at_the_end(report, predict, tmp_path):
    with report() as page:
        page.write(image("a"), predict())
        assert [path.name for path in (tmp_path / "out").iterdir()] == [PART_NAME]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [REPORT_NAME]


def test_link_in_place_of_the_cards_is_not_followed(report, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out" / PART_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputError, match=r"report.html cannot be written \("):
        report()
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_in_place_of_the_cards_is_an_error(report, tmp_path):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / PART_NAME)
    with pytest.raises(OutputError, match=r"\(\.report\.part is not a regular file\)"):
        report()


def test_report_that_cannot_be_put_in_place_is_an_error(report, predict, tmp_path):
    (tmp_path / "out" / REPORT_NAME / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"report.html cannot be written \("), report() as page:
        page.write(image("a"), predict())
    assert leftovers(tmp_path) == []


def test_output_that_is_a_file_is_an_error(report, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"report.html cannot be written \("):
        report()


@pytest.mark.parametrize(
    ("level", "boxes"), [("classify", []), ("cam", ["heatmaps"]), ("full", ["masks", "heatmaps"])]
)
def test_page_offers_the_layers_of_the_level(report, read, predict, level, boxes):
    with report(level=level) as page:
        page.write(image("a"), predict(level=level))
    names = [box["id"].removeprefix("show-") for box in Tags(read()).named("input")]
    assert names == boxes + (list(INDICATORS) if boxes else []) + ["explanations"]
