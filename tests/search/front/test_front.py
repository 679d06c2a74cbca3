"""The front against its definition, and its file."""

import itertools
import random
from dataclasses import replace

import pytest
import toy_task
import yaml
from search_toys import Evaluate, drive, problem_of, records_of, study_of, toy_space

from search.front.front import Front
from search.front.front_file import FrontEntry
from search.front.hypervolume import Archive, apply_signs, build_archive, worst_values
from search.problem.objectives import Objective, parse_objectives
from search.run import run_search
from space import InputError, macs, params
from supernet.tasks.registry import directions as task_directions

SPACE = toy_space()


def random_values(rng, count, objectives):
    # Few different values, so that ties and equal points turn up.
    return [
        None if rng.random() < 0.1 else tuple(float(rng.randint(0, 6)) for _ in objectives)
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_the_front_is_what_nothing_dominates(seed):
    rng = random.Random(seed)
    names = rng.sample(["top1=max", "kl=min", "speed=max", "macs=min"], rng.randint(1, 4))
    problem = problem_of(SPACE, names)
    values = random_values(rng, 60, names)
    excess = [rng.choice([-1.0, 0.0, 0.5]) for _ in values]
    records = records_of(SPACE, values, excess)
    front = Front.of(problem, records)

    def better(a, b):
        pairs = [
            (x - y) * (-1 if each.direction == "min" else 1)
            for x, y, each in zip(a, b, problem.objectives, strict=True)
        ]
        return all(pair >= 0 for pair in pairs) and any(pair > 0 for pair in pairs)

    inside = [r for r in records if r.values is not None and r.excess["latency_ms"] <= 0]
    expected = {r.number for r in inside if not any(better(o.values, r.values) for o in inside)}
    assert {entry.trial for entry in front.entries} == expected
    rank = next((i for i, each in enumerate(problem.objectives) if each.name != "macs"), 0)
    ranked = [entry.values[rank] for entry in front.entries]
    assert ranked == sorted(ranked, reverse=problem.objectives[rank].direction == "max")
    assert (front.evaluations, front.failed) == (60, values.count(None))


@pytest.mark.parametrize("seed", range(20))
def test_the_steps_are_the_hypervolume_of_the_evaluations_so_far(seed):
    rng = random.Random(seed)
    names = rng.sample(["top1=max", "kl=min", "speed=max"], rng.randint(1, 3))
    problem = problem_of(SPACE, names)
    records = records_of(SPACE, random_values(rng, 25, names))
    front = Front.of(problem, records)
    archive = Archive(apply_signs(front.reference, problem.objectives))
    grown, volume = dict(front.steps), 0.0
    for count, record in enumerate(records, start=1):
        if record.values is not None:
            archive.add(apply_signs(record.values, problem.objectives))
        volume = grown.get(count, volume)
        assert volume == pytest.approx(archive.volume)


def test_searches_are_compared_with_one_reference():
    objectives = parse_objectives(["top1", "macs"])
    records = records_of(SPACE, [(0.5, 4.0), None, (0.7, 6.0), (0.4, 7.0)])
    assert worst_values(records, objectives) == (0.4, 7.0)
    assert worst_values([], objectives) == (0.0, 0.0)
    steps = build_archive(records, objectives, (0.0, 10.0))[1]
    assert steps == [(1, 0.5 * 6), (3, pytest.approx(0.5 * 6 + 0.2 * 4))]


def test_an_empty_front_is_one():
    front = Front.of(problem_of(SPACE), records_of(SPACE, [None, None]))
    assert (len(front), front.steps, front.best(), front.rows()) == (0, (), None, [])


@pytest.fixture(scope="module")
def front():
    return run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=80)


def test_the_best_within_limits(front):
    full = macs(SPACE.largest(), SPACE.shape)
    for share in (35, 50, 70, 100):
        best = front.best(macs=f"{share}%")
        within = [e for e in front.entries if e.metrics["macs"] <= full * share / 100]
        assert best is max(within, key=lambda entry: entry.values[0], default=None)
        assert front.best(macs=full * share / 100) is best
        assert front.best(flops=2 * full * share / 100) is best
    assert front.best() is front.entries[0]
    assert front.best(macs="1%") is None
    fewest = min(front.entries, key=lambda entry: entry.metrics["macs"])
    assert front.best(macs=fewest.metrics["macs"]) is fewest
    assert front.best(macs=fewest.metrics["macs"] - 1) is None
    assert front.best(macs="60%", params=params(front.best(macs="60%").arch, SPACE.shape))
    slowest = min(entry.values[0] for entry in front.entries)
    assert front.best(top1=slowest) is front.entries[0], "of accuracy, at least so much"
    assert front.best(top1=2.0) is None


def test_what_is_no_limit_is_refused(front):
    with pytest.raises(InputError, match=r"unknown 'mcas'; did you mean 'macs'"):
        front.best(mcas=3)
    with pytest.raises(InputError, match="per cent needs"):
        front.best(latency_ms="50%")
    with pytest.raises(InputError, match="must be a number"):
        front.best(macs="few")


def test_rows_have_the_objectives_first(front):
    rows = front.rows()
    assert [list(row)[:3] for row in rows] == [["trial", "top1", "macs"]] * len(front)
    for row, entry in zip(rows, front.entries, strict=True):
        assert row == {"trial": entry.trial, **entry.metrics}


def test_a_saved_front_loads_as_it_was(front, tmp_path):
    front.save(tmp_path / "front.yaml")
    assert Front.load(tmp_path / "front.yaml") == front
    strange = Objective("own.score", "max", lambda arch: 0.5)
    other = run_search(
        space=SPACE,
        evaluate=Evaluate(SPACE),
        objectives=["latency_ms=min", strange, "activation_memory"],
        trials=15,
    )
    other.save(tmp_path / "other.yaml")
    assert Front.load(tmp_path / "other.yaml") == other
    empty = Front.of(problem_of(SPACE), [], 'ended: "so" #1')
    empty.save(tmp_path / "empty.yaml")
    assert Front.load(tmp_path / "empty.yaml") == empty


def test_a_front_too_long_for_a_file_is_written_in_part(tmp_path):
    shape, arch = SPACE.shape, SPACE.largest()
    known = {"macs": float(macs(arch, shape))}
    entries = tuple(
        FrontEntry(arch, f"{i:016x}", i, (1 - i / 1e5, 0.0), known, 0.1) for i in range(10_000)
    )
    long = Front(parse_objectives(["top1", "kl"]), entries, shape, known, 10_000, reference=(0, 0))
    long.save(tmp_path / "front.yaml")
    short = Front.load(tmp_path / "front.yaml")
    assert 500 < len(short) <= 8000 // 6
    assert short.left_out == 10_000 - len(short)
    # The next best one is another, so the errors of the leads do not hold.
    ends = tuple(replace(each, error=None) for each in (entries[0], entries[-1]))
    assert (short.entries[0], short.entries[-1]) == ends
    assert not any(short.leads)
    gaps = [b.trial - a.trial for a, b in itertools.pairwise(short.entries)]
    assert max(gaps) - min(gaps) <= 1
    short.save(tmp_path / "again.yaml")
    assert Front.load(tmp_path / "again.yaml") == short


def test_a_search_leaves_its_front_in_its_folder(tmp_path):
    front = run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=15, folder=tmp_path)
    assert Front.load(tmp_path / "front.yaml") == front


def test_constraints_keep_archs_off_the_front():
    study = study_of(SPACE, 60, budget="latency_ms=3")
    drive(study, Evaluate(SPACE))
    front = Front.of(study.problem, study.records)
    assert len(front) > 0
    assert all(entry.metrics["latency_ms"] <= 3 for entry in front.entries)


def _set(*path):
    *steps, last = path[:-1]

    def change(data):
        for step in steps:
            data = data[step]
        data[last] = path[-1]

    return change


def _drop(*path):
    *steps, last = path

    def change(data):
        for step in steps:
            data = data[step]
        del data[last]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("schema", "tokennas/front/2"), ["schema", "tokennas/front/1"]),
        (_set("extra", 3), ["extra", "unknown key"]),
        (_drop("entries"), ["missing 'entries'"]),
        (_drop("entries", 0, "trial"), ["entries[0]", "missing 'trial'"]),
        (_set("entries", 0, "trail", 3), ["entries[0].trail", "did you mean 'trial'"]),
        (_set("entries", 0, "trial", "x"), ["entries[0].trial", "an integer of at least 0", "'x'"]),
        (_set("entries", 0, "identity", 3), ["entries[0].identity", "text"]),
        (_set("entries", 0, "values", [1]), ["entries[0].values", "2 numbers"]),
        (_set("entries", 0, "values", [1, float("nan")]), ["entries[0].values", "2 numbers"]),
        (_set("entries", 0, "metrics", "macs", 5), ["entries[0].metrics.macs", "does not fit"]),
        (_set("entries", 0, "metrics", "top1", "x"), ["entries[0].metrics", "numbers by name"]),
        (_set("entries", 0, "metrics", 3), ["entries[0].metrics"]),
        (_set("entries", 0, "blocks", []), ["entries[0].blocks", "a list, not empty"]),
        (_set("entries", 0, "blocks", 1, {"skip": 2}), ["blocks[1]", "[0, 1)"]),
        (_set("entries", 0, "blocks", 1, {"skp": 2}), ["blocks[1].skp", "did you mean 'skip'"]),
        (_set("entries", 0, "blocks", 1, 3), ["blocks[1]", "a mapping"]),
        (_set("entries", 0, "blocks", 0, {"attention": "shared"}), ["blocks", "block 0"]),
        (_set("entries", 0, "blocks", 2, {"pool": {"grid": [7, 7]}}), ["blocks[2].pool", "kind"]),
        (_set("entries", 0, "blocks", 2, {"pool": {"kind": "avg2d", "grid": 7}}), ["blocks[2]"]),
        (_set("entries", 3), ["entries", "a list"]),
        (_set("objectives", ["top1"]), ["objectives[0]", "max, min"]),
        (_set("objectives", 3), ["objectives", "a list"]),
        (_set("shape", "depth", 0), ["shape", "depth"]),
        (_set("shape", "depth", 3), ["entries[0]", "blocks"]),
        (_set("reference", [1]), ["reference", "2 numbers"]),
        (_set("steps", [[1]]), ["steps[0]", "2 numbers"]),
        (_set("left_out", -1), ["left_out", "an integer of at least 0"]),
        (_set("directions", {"f1": "up"}), ["directions.f1", "max, min", "'up'"]),
        (_set("directions", ["f1"]), ["directions", "a mapping"]),
        (_set("evaluations", -1), ["evaluations", "an integer of at least 0"]),
        (_set("full", {"macs": "x"}), ["full", "numbers"]),
        (_set("ended", 3), ["ended", "text"]),
    ],
)
def test_a_file_that_is_not_right_is_refused_in_a_line(front, tmp_path, change, words):
    path = tmp_path / "front.yaml"
    front.save(path)
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(InputError) as caught:
        Front.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (f"{path}:", *words):
        assert word in message


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"3", b"a: &a [*a]", b"{", b"x: 1\nx: 2"]
)
def test_what_is_no_front_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "front.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Front.load(path)
    assert "\n" not in str(caught.value)


def test_directions_in_a_file_do_not_rest_on_the_tasks_that_its_reader_knows(tmp_path):
    def evaluate(arch):
        return Evaluate(SPACE)(arch) | {"rms": 0.5}

    path = tmp_path / "front.yaml"
    with toy_task.registered():
        run_search(space=SPACE, evaluate=evaluate, trials=6).save(path)
        assert Front.load(path).directions["rms"] == "min"
    assert Front.load(path).directions["rms"] == "min"
    front = run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=6)
    front.save(path)
    with toy_task.registered():
        assert "rms" not in Front.load(path).directions
    # Those of classification may be left out, as in files of earlier versions.
    replace(front, directions=task_directions("classification")).save(path)
    assert "directions" not in path.read_text()
    assert Front.load(path).directions == task_directions("classification")


def test_fronts_share_no_directions():
    one, other = (Front((), (), SPACE.shape, {}, 0) for _ in range(2))
    assert one.directions == other.directions
    one.directions["mine"] = "max"
    assert "mine" not in other.directions
