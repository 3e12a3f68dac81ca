from biounet_edge.results.text import printable


def test_printable_escapes_control_codes_and_undecoded_bytes():
    assert printable("病 a\n\x1b\udcff") == "病 a\\n\\x1b\\udcff"
