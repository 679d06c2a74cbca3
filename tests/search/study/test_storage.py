"""What is stored of a search, and what becomes of it when its writer is killed."""

import shutil
from pathlib import Path

import optuna
import pytest
from search_toys import Evaluate, all_archs, problem_of
from stored import SPACE, search, stored, study_in

from search.report.front_data import collect_front_data
from search.report.search_result import read_search
from search.run import run_search
from search.study.journal import open_for_writing
from search.study.options import SearchOptions
from search.study.search_file import SEARCH_FILE
from search.study.storage import JOURNAL, read_trials
from search.study.trial_format import read_metrics, read_records
from space import InputError
from space.arch_file import block_to_dict


def test_each_finished_evaluation_is_one_trial_with_all_that_is_known(tmp_path):
    def evaluate(arch, toy=Evaluate(SPACE)):  # noqa: B008 - one for all calls
        if arch == SPACE.largest():
            raise MemoryError("too large")
        return toy(arch)

    search(tmp_path, evaluate=evaluate, budget="latency_ms=3", seed=5)
    study = study_in(tmp_path)
    assert study.metric_names == ["top1", "macs"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert len(study.trials) == 12
    problem = problem_of(SPACE, budget="latency_ms=3")
    records = read_records(read_trials(tmp_path), problem)
    for trial, record in zip(study.trials, records, strict=True):
        attrs = trial.user_attrs
        assert attrs["identity"] == record.identity == SPACE.identity(record.arch)
        assert attrs["arch"] == [block_to_dict(block) for block in record.arch.blocks]
        assert attrs["seed"] == 5
        assert attrs["seconds"] >= 0
        assert trial.datetime_complete is not None
        if record.arch == SPACE.largest():
            assert trial.state.name == "FAIL"
            assert "MemoryError: too large" in attrs["error"]
        else:
            assert trial.state.name == "COMPLETE"
            assert trial.values == [attrs["metrics"]["top1"], attrs["metrics"]["macs"]]
            assert trial.constraints["latency_ms"] == attrs["metrics"]["latency_ms"] - 3
    assert sum(record.error is not None for record in records) == 1


def test_records_read_back_are_those_that_were_made(tmp_path):
    front, _ = search(tmp_path, trials=30, budget="latency_ms=3")
    again, evaluate = search(tmp_path, trials=30, budget="latency_ms=3")
    assert again == front
    assert evaluate.seen == []
    records = read_records(read_trials(tmp_path), problem_of(SPACE, budget="latency_ms=3"))
    assert {record.meets_constraints for record in records} == {True, False}


def test_a_writer_keeps_little_of_what_it_writes_in_memory(tmp_path):
    search(tmp_path, trials=8)
    writer = open_for_writing(tmp_path / JOURNAL)
    study = optuna.load_study(study_name=writer.get_all_studies()[0].study_name, storage=writer)
    whole = study_in(tmp_path).trials[0]
    study.add_trial(whole)
    assert [trial.params for trial in study.trials] == [{}] * 9
    assert [trial.user_attrs for trial in study.trials] == [{}] * 9
    again = study_in(tmp_path).trials
    assert len(again) == 9
    assert (again[8].params, again[8].user_attrs) == (whole.params, whole.user_attrs)


@pytest.mark.parametrize("storage", [None, "sqlite"])
@pytest.mark.parametrize("sampler", ["NSGAIISampler", "TPESampler", "QMCSampler"])
def test_a_search_goes_on_where_it_stopped(tmp_path, storage, sampler):
    url = f"sqlite:///{tmp_path}/trials.db" if storage else None
    seen = []
    for trials in (10, 10, 25, 40):
        front, evaluate = search(
            tmp_path / "search", trials, sampler=sampler, storage=url, budget="macs=60%"
        )
        seen += evaluate.seen
        assert front.evaluations == trials
        assert len(seen) == len(set(seen)) == trials
    assert (tmp_path / "search" / JOURNAL).exists() == (storage is None)


def test_a_database_is_opened_by_its_url_and_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match="database also needs a folder"):
        run_search(
            space=SPACE, evaluate=Evaluate(SPACE), options=SearchOptions(storage="sqlite:///x.db")
        )
    with pytest.raises(InputError) as caught:
        search(tmp_path, storage="nosuch://name:secret@host/db")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "nosuch://name@host/db" in str(caught.value)


@pytest.mark.parametrize("storage", ["x.db", "sqlite", "", Path("x.db"), 5, b"sqlite:///x.db"])
def test_a_storage_that_is_no_url_is_refused_in_a_line(tmp_path, storage):
    with pytest.raises(InputError, match=r"^storage: must be the URL of one of sqlite, .*, got "):
        search(tmp_path / "search", storage=storage)
    assert not list(tmp_path.iterdir())


def test_a_trial_that_a_database_holds_twice_counts_once(tmp_path):
    search(tmp_path, trials=8)
    study = study_in(tmp_path)
    study.add_trial(study.trials[3])
    front, evaluate = search(tmp_path, trials=9)
    assert front.evaluations == 9
    assert len(evaluate.seen) == 1


@pytest.mark.parametrize("storage", [None, "sqlite"])
def test_what_an_earlier_version_estimated_is_evaluated(tmp_path, storage):
    """Racing, which is no more, stopped evaluations early and marked their metrics."""
    url = f"sqlite:///{tmp_path}/trials.db" if storage else None
    folder, toy, notes = tmp_path / "main", Evaluate(SPACE), []

    def earlier(arch):
        found = toy(arch)
        early = len(toy.seen) % 3 == 0
        return {**found, "top1": 2.0, "racing.seen": 0.5} if early else found

    search(folder, trials=30, evaluate=earlier, storage=url)
    estimates = set(toy.seen[2::3])
    if url is None:
        result = read_search(folder)
        assert len(result.records) == len(read_metrics(read_trials(folder))) == 20
        (plotted,) = collect_front_data(result, [])
        assert len(plotted.evaluated) == 20
        front, _ = search(tmp_path / "other", trials=30, reuse=[folder])
        assert max(entry.metrics["top1"] for entry in front.entries) < 1
    front, evaluate = search(
        folder, trials=30, storage=url, on_event=lambda each: notes.extend(each.notes)
    )
    assert (front.evaluations, len(evaluate.seen)) == (30, 10)
    assert not (set(toy.seen) - estimates) & set(evaluate.seen)
    assert all("racing.seen" not in entry.metrics for entry in front.entries)
    assert max(entry.metrics["top1"] for entry in front.entries) < 1
    (note,) = set(notes)
    assert "10 evaluations do not count, since an earlier version stopped them early" in note
    _, evaluate = search(folder, 30, storage=url)
    assert evaluate.seen == []


def test_optunas_own_functions_open_the_journal(tmp_path):
    front, _ = search(tmp_path, trials=20)
    study = study_in(tmp_path)
    assert {tuple(trial.values) for trial in study.best_trials} == {
        entry.values for entry in front.entries
    }
    assert len(study.trials_dataframe()) == 20


CHANGES = [
    ({"seed": 1}, "seed was 0"),
    ({"objectives": ["top1", "params"]}, "objectives was ['top1=max', 'macs=min']"),
    ({"budget": "macs=70%"}, "budget.macs was"),
    ({"budget": None}, "and is not set;"),
    ({"sampler": "TPESampler"}, "sampler.name was 'NSGAIISampler'"),
    ({"sampler": {"name": "NSGAIISampler", "population_size": 9}}, "population_size was not set"),
    ({"origin": {"supernet": "b"}}, "origin.supernet was 'a' in the results"),
    ({"storage": "sqlite:///x.db"}, "storage was 'journal'"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_changed_value_is_refused_showing_old_and_new(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    same = {"budget": "macs=60%", "origin": {"supernet": "a"}}
    search(tmp_path, trials=5, **same)
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(InputError) as caught:
        search(tmp_path, trials=9, **(same | change))
    message = str(caught.value)
    assert words in message
    assert "under another name" in message
    assert "\n" not in message
    assert (tmp_path / JOURNAL).read_bytes() == before
    search(tmp_path, trials=9, **same)


def test_another_space_is_refused(tmp_path):
    search(tmp_path, trials=5)
    values = SPACE.to_dict()
    values["share"]["max_run"] = 2
    other = type(SPACE).from_dict(values, SPACE.shape)
    with pytest.raises(InputError, match=r"space\.share\.max_run was 1 .* is 2;"):
        search(tmp_path, space=other, evaluate=Evaluate(other))


def test_trials_and_workers_may_change(tmp_path):
    search(tmp_path, trials=9)
    assert search(tmp_path, trials=5)[0].evaluations == 9
    assert search(tmp_path, trials=12)[0].evaluations == 12


def test_results_that_nobody_can_say_the_origin_of_are_refused(tmp_path):
    search(tmp_path, trials=5)
    (tmp_path / SEARCH_FILE).unlink()
    with pytest.raises(InputError, match=r"search\.yaml: missing"):
        search(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema: tokennas/search/9\nstudy: x\n", "must be tokennas/search/1"),
        ("schema: tokennas/search/1\n", "search.yaml"),
        ("[]\n", "must be a mapping of schema, study"),
        ("{", "no valid YAML"),
        ("", "empty"),
    ],
)
def test_a_description_that_is_none_is_refused_in_a_line(tmp_path, text, words):
    search(tmp_path, trials=5)
    (tmp_path / SEARCH_FILE).write_text(text)
    with pytest.raises(InputError) as caught:
        search(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        search(tmp_path / "file" / "search")


def test_a_moved_folder_goes_on(tmp_path):
    search(tmp_path / "one", trials=6)
    shutil.move(tmp_path / "one", tmp_path / "two")
    front, evaluate = search(tmp_path / "two", trials=10)
    assert (front.evaluations, len(evaluate.seen)) == (10, 4)


def test_evaluations_of_a_sibling_are_reused(tmp_path):
    search(tmp_path / "a", trials=30, seed=1)
    front, evaluate = search(tmp_path / "b", trials=30, seed=1, reuse=[tmp_path / "a"])
    assert evaluate.seen == []
    assert front.evaluations == 30
    metrics = read_metrics(read_trials(tmp_path / "b"))
    assert metrics == read_metrics(read_trials(tmp_path / "a"))
    assert all(trial.user_attrs["reused"] for trial in read_trials(tmp_path / "b"))


def test_what_cannot_be_reused_is_refused(tmp_path):
    search(tmp_path / "a", trials=5, origin={"supernet": "a"})
    with pytest.raises(InputError, match="cannot be reused"):
        search(tmp_path / "b", origin={"supernet": "b"}, reuse=[tmp_path / "a"])
    with pytest.raises(InputError, match=r"search\.yaml: cannot be read"):
        search(tmp_path / "b", reuse=[tmp_path / "nowhere"])


def test_interrupting_keeps_what_was_finished_and_frees_the_folder(tmp_path):
    evaluate = Evaluate(SPACE)

    def interrupted(arch):
        if len(evaluate.seen) == 7:
            raise KeyboardInterrupt
        return evaluate(arch)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, evaluate=interrupted)
    assert [record.identity for record in stored(tmp_path)] == evaluate.seen
    front, _ = search(tmp_path, evaluate=evaluate)
    assert front.evaluations == len(set(evaluate.seen)) == len(evaluate.seen) == 12


def test_an_evaluator_is_not_made_where_nothing_is_left_to_do(tmp_path):
    search(tmp_path, trials=5)
    front = run_search(
        space=SPACE,
        make_evaluate=lambda: pytest.fail("made"),
        trials=5,
        folder=tmp_path,
        origin="toy",
    )
    assert front.evaluations == 5


def test_all_archs_are_found_again_by_what_is_stored(tmp_path):
    """Genes, not blocks, are what a record is read from: every arch has its own."""
    small = all_archs(SPACE)[:60]
    search(tmp_path, trials=60, initial=small)
    assert [record.arch for record in stored(tmp_path)] == small


def test_a_database_that_cannot_be_reached_ties_the_folder_to_nothing(tmp_path):
    with pytest.raises(InputError, match=r"^storage sqlite:////nowhere/a\.db: "):
        search(tmp_path, storage="sqlite:////nowhere/a.db")
    assert search(tmp_path, storage=f"sqlite:///{tmp_path}/a.db")[0].evaluations == 12
