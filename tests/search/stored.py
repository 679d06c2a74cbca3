"""Searches in a folder, and what is stored of them."""

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from search_toys import Evaluate, problem_of, toy_space, with_options

from search.run import run_search
from search.study.storage import JOURNAL, read_trials
from search.study.trial_format import read_records

SPACE = toy_space()


def search(folder, trials=12, evaluate=None, **others):
    evaluate = evaluate or Evaluate(SPACE)
    arguments = {"space": SPACE, "evaluate": evaluate, "trials": trials, "folder": folder}
    arguments["origin"] = "toy"
    return run_search(**with_options(**(arguments | others))), evaluate


def stored(folder):
    return read_records(read_trials(folder), problem_of(SPACE))


def study_in(folder):
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)
