"""The report of a run: what it says is what lies there, and what is missing is left out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import report_runs as runs
from PIL import Image
from report_runs import report
from rich.console import Console

from search.front.front import Front
from search.report import make_report
from search.report.network_table import make_network_table
from search.report.networks import read_retrained
from search.report.report import describe_loading
from search.report.run_results import read_run
from search.report.search_result import Score
from search.run import run_search
from space import InputError, load_arch_file, macs, params, save_arch
from space.utils.yaml_file import read_yaml, write_yaml

PICTURES = {
    "front.png",
    "arch-70.png",
    "arch-50.png",
    "arch-35.png",
    "hypervolume.png",
    "choices.png",
    "training.png",
    "retraining.png",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    runs.make_run(run, runs.digits_space(), trials=50, hand_made=False)
    return run


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "whole"))


def test_pictures_and_page_are_written(copy: Path) -> None:
    _, shown = report(copy)
    folder = copy / "report" / "main"
    assert {path.name for path in folder.iterdir()} == PICTURES | {"report.html"}
    for name in PICTURES:
        with Image.open(folder / name) as image:
            width, height = image.size
            colors = image.convert("RGB").getcolors(1 << 20)
        assert 900 <= width <= 1800, name
        # Training has a panel for each kind of loss and metric.
        assert 350 <= height <= (2000 if name == "training.png" else 1300), name
        assert len(colors or ()) > 30, name
    with Image.open(folder / "front.png") as image:
        assert image.size == (1200, 720)
    assert str(folder / "report.html") in shown.replace("\n", "")


def test_page_needs_no_other_file(copy: Path) -> None:
    page, _ = report(copy)
    sources = re.findall(r'(?:src|href|srcset|data|action)\s*=\s*"([^"]*)"', page)
    assert len(sources) == len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    outside_images = re.sub(r'"data:[^"]*"', "", page)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", outside_images)
    assert str(copy.parent) not in page


def test_rows_are_the_figures_of_the_arch_files(copy: Path) -> None:
    page, shown = report(copy)
    networks, unfinished = read_retrained(copy, "main")
    assert not unfinished
    assert [network.name for network in networks] == ["full", "70%", "50%", "35%"]
    final = make_network_table(networks, Score("top1"), Score("top1"))
    cells = {column.title: column.cells for column in final.columns}
    for i, network in enumerate(networks):
        file = load_arch_file(copy / "retrain" / "main" / network.name / "arch.yaml")
        assert (network.macs, network.params) == (
            macs(file.arch, file.shape),
            params(file.arch, file.shape),
        )
        for kind in ("inherited", "retrained"):
            (cell,) = (each[i] for title, each in cells.items() if title.endswith(kind))
            assert cell == f"{100 * file.metrics[kind]['top1']:.1f} %"
            assert cell in page
            assert cell in shown
        assert cells["images/s"][i] == f"{file.metrics['images_per_second']['value']:,.0f}"
        assert (copy / cells["file"][i]).exists()
    assert [len(row) for row in final.rows] == [len(final.columns)] * 4
    assert "cpu, batch 64, float32" in page


def test_speeds_of_earlier_versions_are_numbers_alone(copy: Path) -> None:
    path = copy / "retrain" / "main" / "50%" / "arch.yaml"
    file = load_arch_file(path)
    save_arch(path=path, **vars(file) | {"metrics": file.metrics | {"images_per_second": 4321.0}})
    assert "4,321" in report(copy)[0]


def test_two_lines_load_the_best_subnet(whole: Path) -> None:
    lines = describe_loading(read_run(whole, "main")).splitlines()
    assert lines[0] == f"# in the folder of the run, {whole.name}/"
    assert len(lines) == 3
    files = re.findall(r'"([^"]+)"', lines[2])
    assert files == ["retrain/main/70%/arch.yaml", "retrain/main/70%/subnet.safetensors"]


@pytest.mark.parametrize(
    ("removed", "says"),
    [
        ("supernet", "supernet/log.jsonl is missing"),
        ("search", "search/main is missing"),
        ("retrain", "retrain/main has no retrained network"),
        ("search/random", "No search by RandomSampler"),
        ("config.yaml", "config.yaml is missing"),
        ("search/main/journal.log", "has no journal here"),
        ("search/main/front.yaml", "has not ended"),
        ("retrain/main/50%/arch.yaml", "retrain/main/50% is not finished"),
    ],
)
def test_what_is_missing_is_named(copy: Path, removed: str, says: str) -> None:
    path = copy / removed
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert says in " ".join(read_run(copy, "main").missing)


def test_networks_say_their_task_where_the_config_is_missing(copy: Path) -> None:
    for path in copy.glob("retrain/main/*/arch.yaml"):
        write_yaml(path, read_yaml(path).data | {"task": {"name": "depth"}})
    (copy / "config.yaml").unlink()
    found = read_run(copy, "main")
    assert [each.name for each in found.test_scores] == ["rmse", "abs_rel", "delta1"]
    assert "config.yaml is missing" in " ".join(found.missing)


def test_pictures_of_what_is_missing_are_left_out(copy: Path) -> None:
    shutil.rmtree(copy / "supernet")
    (copy / "search" / "main" / "journal.log").unlink()
    (copy / "retrain" / "main" / "50%" / "arch.yaml").unlink()
    page, shown = report(copy)
    for says in ("log.jsonl is missing", "has no journal here", "50% is not finished"):
        assert says in page
        assert says in shown
    written = {path.name for path in (copy / "report" / "main").glob("*.png")}
    assert written == PICTURES - {"training.png", "arch-50.png"}


def test_each_stage_alone_has_a_report(copy: Path, tmp_path: Path) -> None:
    for stage in ("supernet", "search", "retrain"):
        run = tmp_path / "alone" / stage
        shutil.copytree(copy / stage, run / stage)
        page, _ = report(run)
        assert "Missing or outdated" in page


def test_pictures_of_archs_that_are_no_longer_there_go(copy: Path) -> None:
    old = report(copy)
    assert report(copy) == old
    shutil.rmtree(copy / "retrain" / "main" / "35%")
    page, _ = report(copy)
    assert not (copy / "report" / "main" / "arch-35.png").exists()
    assert "within 35%, at" in old[0]
    assert "within 35%, at" not in page


def test_without_retraining_three_of_the_front_are_shown(copy: Path) -> None:
    shutil.rmtree(copy / "retrain")
    found = read_run(copy, "main")
    front = Front.load(copy / "search" / "main" / "front.yaml")
    costs = [entry.metrics["macs"] for entry in front.entries]
    assert [network.macs for network in found.networks][::2] == [max(costs), min(costs)]
    assert not any(network.retrained for network in found.networks)
    page, _ = report(copy)
    assert "smallest of the front" in page
    assert "search split" in page


def test_torn_lines_of_a_log_are_skipped(copy: Path) -> None:
    log = copy / "supernet" / "log.jsonl"
    rows = log.read_bytes()
    log.write_bytes(rows + b'{"epoch": 30, "loss/lar')
    assert len(read_run(copy, "main").training) == 30
    log.write_bytes(b'\xff\xfe\n[1]\n{"epoch": "x"}\nnull\n' + rows + json.dumps({}).encode())
    assert len(read_run(copy, "main").training) == 30
    report(copy)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("supernet/log.jsonl", "no rows at all"),
        ("search/main/front.yaml", "schema: tokennas/front/1\n"),
        ("search/main/front.yaml", "a: [1, 2"),
        ("search/main/search.yaml", "schema: tokennas/search/1\nstudy: x\n"),
        ("search/main/journal.log", "not json\n{}\n"),
        ("retrain/main/50%/arch.yaml", "schema: tokennas/arch/2\n"),
        ("config.yaml", "- a list\n"),
        ("config.yaml", "a: 1\na: 2\n"),
    ],
)
def test_a_file_that_is_not_right_is_named_in_one_line(copy: Path, file: str, text: str) -> None:
    (copy / file).write_text(text)
    with pytest.raises(InputError) as error:
        make_report(copy, console=Console(quiet=True))
    assert str(copy / file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("retrained: {", "retrained: [1, 2]\n  x: {"), ("{value: ", "{valu: ")],
)
def test_metrics_of_the_wrong_kind_are_named(copy: Path, old: str, new: str) -> None:
    path = copy / "retrain" / "main" / "50%" / "arch.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=r"arch\.yaml: metrics\.(retrained|images_per_second)"):
        make_report(copy, console=Console(quiet=True))


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to report yet"):
        make_report(tmp_path)
    assert not (tmp_path / "report").exists()
    with pytest.raises(InputError, match="there is no such folder"):
        make_report(tmp_path / "nowhere")


def test_another_name_is_told_apart(copy: Path) -> None:
    with pytest.raises(
        InputError, match=r"no search 'x'; name one of these by --search\.name: main"
    ):
        make_report(copy, "x")
    shutil.rmtree(copy / "supernet")
    with pytest.raises(InputError, match="did you mean 'random'"):
        make_report(copy, "randon")
    page, _ = report(copy, "random")
    assert "RandomSampler" in page


@pytest.mark.parametrize(
    ("objectives", "budget"),
    [
        (["cross_entropy", "macs"], None),
        (["top1", "params"], "macs=60%"),
        (["top1", "macs", "tokens"], "macs=70%"),
        (["top1"], "macs=50%"),
        (["macs", "top1"], "params=90%"),
    ],
)
def test_any_objectives_have_a_report(
    tmp_path: Path, objectives: list[str], budget: str | None
) -> None:
    space = runs.digits_space()
    run_search(
        space=space,
        evaluate=lambda arch: runs.made_up_top1(arch, space),
        objectives=objectives,
        budget=budget,
        trials=12,
        folder=tmp_path / "search" / "main",
    )
    page, shown = report(tmp_path)
    assert (tmp_path / "report" / "main" / "front.png").stat().st_size > 10_000
    assert "best of the front" in page
    assert "best of the front" in shown


def test_a_search_in_which_all_fail_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the 3 evaluations succeeded"):
        run_search(
            space=runs.digits_space(),
            evaluate=lambda arch: {"top1": float("nan")},
            trials=3,
            folder=tmp_path / "search" / "main",
        )
    page, _ = report(tmp_path)
    assert "0 evaluations" in page
