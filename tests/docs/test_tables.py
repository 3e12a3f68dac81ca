from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_have_a_line_for_each_row(page):
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if "|---" in line:
            assert set(line.strip()) <= set("|-: "), f"{page}:{number}: {line}"
