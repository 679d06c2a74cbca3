"""The names of files, and of lines in lists of names."""

import pytest

from space import InputError
from supernet.data.file_patterns import FilePattern, read_lines, read_names

ODD = ("a.b.c", "a b", "[1]", "a[0-9]b", "ü", "x?y", "#5%", "-d")


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def find(root, pattern):
    return FilePattern("images", pattern, root).find()


def refused(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_is_whatever_the_star_stands_for(tmp_path):
    root = tmp_path / "root [1] of *?"
    make(root, *(f"rgb/{name}.png" for name in ODD), "rgb/other.jpg", "rgb/more/x.png")
    assert find(root, "rgb/*.png") == {name: root / f"rgb/{name}.png" for name in sorted(ODD)}
    assert [*find(root, "./rgb//a*c.png")] == [".b."]


def test_brackets_and_question_marks_of_a_pattern_are_themselves(tmp_path):
    make(tmp_path, "cam[0]/1?.png", "cam0/1x.png", "cam[0]/1x.png")
    assert [*find(tmp_path, "cam[0]/*?.png")] == ["1"]


def test_any_suffix(tmp_path):
    make(tmp_path, "a.jpg", "b.c.PNG", "d")
    assert [*find(tmp_path, "*.*")] == ["a", "b.c"]
    assert [*find(tmp_path, "*")] == ["a.jpg", "b.c.PNG", "d"]
    make(tmp_path, "a.png")
    message = refused(find, tmp_path, "*.*")
    assert message == f"{tmp_path}/a.png: has the same name, 'a', as a.jpg beside it"


def test_parts_of_several_stars_are_joined(tmp_path):
    make(tmp_path, "aachen/aachen_0_rgb.png", "ulm/ulm_1_rgb.png", "ulm/ulm_1_gt.png")
    assert [*find(tmp_path, "*/*_rgb.png")] == ["aachen/aachen_0", "ulm/ulm_1"]


def test_two_stars_are_any_folders_links_too(tmp_path):
    make(tmp_path, "rgb/0.png", "rgb/a/1.png", "rgb/a/b/2.png", "far/3.png", "rgb/a/no.txt")
    (tmp_path / "rgb/link").symlink_to(tmp_path / "far")
    assert [*find(tmp_path, "rgb/**/*.png")] == ["0", "a/1", "a/b/2", "link/3"]
    assert [*find(tmp_path, "**/*.txt")] == ["rgb/a/no"]


def test_hidden_files_and_folders_do_not_match_but_dead_links_do(tmp_path):
    make(tmp_path, "rgb/0.png", "rgb/._0.png", "rgb/.cache/1.png")
    (tmp_path / "rgb/2.png").mkdir()
    (tmp_path / "rgb/3.png").symlink_to(tmp_path / "gone.png")
    assert [*find(tmp_path, "rgb/*.png")] == ["0", "3"]
    assert [*find(tmp_path, "**/*.png")] == ["rgb/0", "rgb/3"]


def test_an_absolute_pattern_replaces_the_root(tmp_path):
    make(tmp_path, "one/0.png")
    assert [*find(tmp_path / "gone", str(tmp_path / "one/*.png"))] == ["0"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("rgb/0.png", "'rgb/0.png' matches one file; a star must stand for the names"),
        ("rgb/0.*", "'rgb/0.*' matches one file"),
        ("rgb/**", "'rgb/**' has `**` in a name; it stands for folders, as in `rgb/**/*.png`"),
        ("rgb/**.png", "has `**` in a name"),
        ("rgb/***/*.png", "has `**` in a name"),
    ],
)
def test_patterns_without_a_meaning_are_refused(tmp_path, pattern, message):
    assert message in refused(FilePattern, "data.dataset.images", pattern, tmp_path)
    assert refused(FilePattern, "data.dataset.images", pattern, tmp_path).startswith(
        "data.dataset.images: "
    )


def test_where_nothing_matches_the_folder_is_described(tmp_path):
    make(tmp_path, *(f"rgb/{i}.webp" for i in range(5)))
    (tmp_path / "empty").mkdir()
    place = f"images: no file matches {tmp_path}"
    for pattern, reason in (
        ("rgb/*.png", f"{tmp_path}/rgb holds 0.webp, 1.webp, 2.webp, ..."),
        ("empty/*.png", f"{tmp_path}/empty holds nothing"),
        ("gone/*/*.png", f"there is no folder {tmp_path}/gone"),
    ):
        assert refused(find, tmp_path, pattern) == f"{place}/{pattern}: {reason}"


def test_lists_of_any_editor_are_read(tmp_path):
    make(tmp_path, "a.png", "b c.png", "d.png", "e.png")
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeffd\r\n\r\nb c \r\n  a\n\n".encode())
    assert read_names(path, find(tmp_path, "*.png")) == ["d", "b c", "a"]
    assert [number for number, _ in read_lines(path)] == [1, 3, 4]


def test_what_is_wrong_with_a_list_is_told_with_its_line(tmp_path):
    make(tmp_path, "rgb/kitchen_1.jpg", "depth/kitchen_1.png", "rgb/sub/x.jpg", "depth/y.png")
    found = [find(tmp_path, pattern) for pattern in ("rgb/**/*.jpg", "depth/**/*.png")]
    path = tmp_path / "train.txt"

    def complaint(text):
        path.write_text(text)
        message = refused(read_names, path, *found)
        assert message.startswith(str(path))
        return message.removeprefix(str(path))

    assert complaint("kitchen_1\nsub/x\nkitchen_1\n") == ":3: 'kitchen_1' is listed twice"
    path_meant = "; a name is what the stars stand for, here "
    for line, name in (
        ("kitchen_1.jpg", "kitchen_1"),
        ("./rgb/kitchen_1.jpg", "kitchen_1"),
        ("depth/kitchen_1.png", "kitchen_1"),
        ("rgb/kitchen_1.jpg depth/kitchen_1.png 518.8", "kitchen_1"),
        ("/sub/x.jpg /y.png", "sub/x"),
        ("x.jpg", "sub/x"),
    ):
        assert complaint(f"y\n\n{line}\n") == (
            f":3: no file has the name {line!r}{path_meant}{name!r}"
        )
    assert complaint("kitchn_1\n").endswith("'kitchn_1'; did you mean 'kitchen_1'?")
    assert complaint("zzz\n") == ":1: no file has the name 'zzz'"
    assert complaint("\n \n") == ": holds no names"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in refused(read_names, path, *found)
