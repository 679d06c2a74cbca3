"""What `--archs` names, and what becomes of exported archs that are no longer on the front."""

import shutil
from dataclasses import replace

import pytest
from search_toys import Evaluate, toy_space

from search.cli.main import main
from search.front.front import Front
from search.pipeline.export import remove_stale
from search.pipeline.named_archs import file_stem, read_archs
from search.run import run_search
from space import InputError, load_arch_file, save_arch

SPACE = toy_space()


@pytest.fixture(scope="module")
def front():
    return run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=30)


@pytest.fixture
def exported(front, tmp_path):
    """A folder as an export leaves it."""
    folder = tmp_path / "export" / "main"
    folder.mkdir(parents=True)
    for entry in front.entries:
        save(entry.arch, folder / f"{file_stem(entry)}.yaml", entry.identity)
    front.save(folder / "front.yaml")
    return folder


def save(arch, path, identity="", search="main"):
    path.parent.mkdir(exist_ok=True)
    origin = {"search": search, "identity": identity}
    save_arch(arch, path, shape=SPACE.shape, origin=origin)
    return path


def names(*paths):
    return [each.name for each in read_archs(paths)]


def test_a_front_stands_for_its_archs_and_every_arch_comes_once(front, exported, tmp_path):
    wanted = [file_stem(entry) for entry in front.entries]
    assert len(wanted) > 3
    assert names(exported / "front.yaml") == wanted
    assert sorted(names(*exported.glob("*.yaml"))) == sorted(wanted)
    assert sorted(names(exported)) == sorted(wanted)
    front.save(tmp_path / "front.yaml")
    for path in (tmp_path / "front.yaml", tmp_path):
        found = read_archs([path])
        assert [each.file.arch for each in found] == [entry.arch for entry in front.entries]
        assert [each.name for each in found] == wanted


def test_a_folder_is_its_network_or_those_of_its_folders(tmp_path, monkeypatch):
    for name in ("50", "70"):
        save(SPACE.largest(), tmp_path / name / "arch.yaml")
    (tmp_path / "50" / "config.yaml").write_text("retrain: {}\n")
    assert names(tmp_path) == ["50", "70"]
    assert names(tmp_path / "50") == names(tmp_path / "50" / "arch.yaml") == ["50"]
    monkeypatch.chdir(tmp_path / "70")
    assert names("arch.yaml") == ["70"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"none: no arch files in this folder, no front\.yaml"):
        read_archs([tmp_path / "none"])


def first_of(front):
    """The front of another search, which has kept one arch alone."""
    return replace(front, entries=front.entries[:1])


def test_only_what_the_export_wrote_of_other_archs_goes(front, exported):
    now, old = first_of(front), [file_stem(each) for each in front.entries[1:]]
    file = load_arch_file(exported / f"{old[0]}.yaml")
    identity = front.entries[1].identity
    # The user's: another name, another search, no arch file, weights of its own.
    save(file.arch, exported / "mine.yaml", identity)
    save(file.arch, exported / "0001.00k_abcdef.yaml", identity)
    save(file.arch, exported / f"9999.00k_{identity[:6]}.yaml", identity, search="other")
    (exported / "0002.00k_abcdef.yaml").write_text("a: 1\n")
    (exported / f"{old[1]}.safetensors").write_bytes(b"weights")
    for stem in (old[0], old[2]):
        save(load_arch_file(exported / f"{stem}.yaml").arch, exported / stem / "arch.yaml")
        (exported / stem / "model.onnx").write_bytes(b"graph")
    (exported / old[0] / ".model.onnx.0123abcd.part").write_bytes(b"half of a graph")
    (exported / old[2] / "notes.txt").write_text("mine")
    (exported / old[3]).mkdir()
    (exported / old[3] / "README.md").write_text("mine, without an arch file")
    before = {path for path in exported.rglob("*") if path.is_file()}
    told = [*remove_stale(exported, now)]
    gone = before - set(exported.rglob("*"))
    assert {path for path in gone if path.parent == exported} == {
        exported / f"{stem}.yaml" for stem in old if stem != old[1]
    }
    assert not (exported / old[0]).exists()
    assert {path.name for path in (exported / old[2]).iterdir()} == {
        "arch.yaml",
        "model.onnx",
        "notes.txt",
    }
    assert f"archs removed, which are no longer on the front: {len(old) - 1}" in told
    assert (exported / old[3] / "README.md").exists()
    assert sum("but kept" in line for line in told) == 3
    assert not [line for line in remove_stale(exported, now) if "removed" in line]


def test_a_folder_without_a_front_keeps_all(front, exported):
    (exported / "front.yaml").unlink()
    before = sorted(exported.iterdir())
    assert not [*remove_stale(exported, first_of(front))]
    assert sorted(exported.iterdir()) == before


def test_a_longer_search_is_exported_without_the_archs_before(searched, run, capsys):
    """Those that a front no longer has would else be taken for points of it."""
    words = ["--run", str(run), "--search.name", "grown", "--search.sampler", "RandomSampler"]
    words += ["--search.objectives=[kl]"]
    folder = run / "export" / "grown"
    stems = []
    for trials in ("1", "10"):
        search = ["search", str(searched), *words, "--search.trials", trials]
        assert main(search) == 0
        export = ["export", str(searched), *words, "--format", "safetensors"]
        assert main(export) == 0
        stems.append({path.stem for path in folder.glob("*_*.yaml")})
        assert {path.name for path in folder.iterdir() if path.is_dir()} == stems[-1]
        assert set(names(*folder.glob("*.yaml"))) == stems[-1]
    assert stems[0] - stems[1]
    assert "no longer on the front" in capsys.readouterr().out
    shutil.rmtree(run / "search" / "grown")
    for archs in (folder, folder / "front.yaml"):
        assert main(["evaluate", str(searched), "--run", str(run), "--archs", str(archs)]) == 0
        shown = capsys.readouterr().out
        assert all(f"{stem} " in shown for stem in stems[1])


def test_an_export_brings_a_portfolio_of_an_earlier_front_up_to_date(searched, run):
    words = ["--run", str(run), "--search.name", "before", "--search.sampler", "RandomSampler"]
    assert main(["search", str(searched), *words, "--search.trials", "6"]) == 0
    export, portfolio = ["export", str(searched), *words], run / "export" / "before" / "portfolio"
    assert main(export) == 0
    assert not portfolio.exists()
    assert main([*export, "--format", "portfolio"]) == 0
    path = run / "search" / "before" / "front.yaml"
    first_of(Front.load(path)).save(path)
    assert len(Front.load(portfolio / "front.yaml")) > 1
    assert main(export) == 0
    assert Front.load(portfolio / "front.yaml").entries == Front.load(path).entries


def test_what_was_named_twice_is_refused_by_one_line(searched, tmp_path, capsys):
    for name in ("x", "y"):
        save(SPACE.largest(), tmp_path / name / "a.yaml")
    archs = [str(tmp_path / name / "a.yaml") for name in ("x", "y")]
    assert main(["export", str(searched), "--archs", *archs, "--format", "safetensors"]) == 2
    assert "two networks would share the folder a; rename one" in capsys.readouterr().err
