"""What stored runs rest on stays what it was: sizes, draws at a seed, costs, identities, files."""

import json

import golden


def test_spaces_give_what_they_always_gave(tmp_path):
    expected = json.loads(golden.FILE.read_text(encoding="utf-8"))
    found = golden.all_golden(tmp_path)
    assert len(found) == len(expected) > golden.SPACES + 15
    for seed, (now, before) in enumerate(zip(found, expected, strict=True)):
        assert {"space": seed, **now} == {"space": seed, **before}
