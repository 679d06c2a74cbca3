"""Connections to a database that break, without one."""

from contextlib import nullcontext

import pytest
from stored import search, study_in

from search.study import database
from search.study.database import ConnectionLostError, add_trial
from search.study.options import check_url, without_password
from space import InputError


class Lossy:
    """A study whose connection breaks so often; before or after the trial is stored."""

    def __init__(self, study, breaks, stores):
        self.study, self.breaks, self.stores = study, breaks, stores

    def add_trial(self, trial):
        self.breaks -= 1
        if self.breaks < 0 or self.stores:
            self.study.add_trial(trial)
        if self.breaks >= 0:
            raise ConnectionLostError("gone")

    def get_trials(self, deepcopy):
        return self.study.get_trials(deepcopy=deepcopy)


@pytest.mark.parametrize("stores", [False, True])
@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_a_trial_is_stored_once_whether_or_not_the_answer_arrives(tmp_path, breaks, stores):
    search(tmp_path, trials=4)
    study = study_in(tmp_path)
    trial = study.trials[0]
    trial.user_attrs["identity"] = "another"
    add_trial(Lossy(study, breaks, stores), trial, "storage x")
    assert [each.user_attrs["identity"] for each in study.trials].count("another") == 1
    assert len(study.trials) == 5


@pytest.mark.parametrize("stores", [False, True])
def test_another_attempt_at_an_arch_is_not_taken_for_the_one_before(tmp_path, stores):
    search(tmp_path, trials=4)
    study = study_in(tmp_path)
    trial = study.trials[0]
    trial.user_attrs["attempt"] = 2
    add_trial(Lossy(study, 1, stores), trial, "storage x")
    identity = trial.user_attrs["identity"]
    told = [each.user_attrs for each in study.trials]
    assert [each["attempt"] for each in told if each["identity"] == identity] == [1, 2]


def test_a_database_that_stays_away_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MAX_OUTAGE_SECONDS", 0.2)
    search(tmp_path, trials=4)
    study = study_in(tmp_path)
    trial = study.trials[0]
    trial.user_attrs["identity"] = "another"
    with pytest.raises(
        InputError, match=r"^storage x: unreachable for .* \(gone\); once it is back"
    ):
        add_trial(Lossy(study, 1 << 30, stores=False), trial, "storage x")
    assert len(study.trials) == 4


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgresql+psycopg://me:se@cret@host/db", "postgresql+psycopg://me@host/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("mysql://me@host/db?password=a@b&ssl=1", "mysql://me@host/db?password=***&ssl=1"),
    ],
)
def test_a_password_is_not_shown(url, safe):
    assert without_password(url) == safe


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("mysql://host/db?auth_plugin=mysql_native_password", False),
        ("mysql://host/db?ssl=1&plugin=x", True),
        ("mysql://host/db?%70lugin=x", True),
        # The first question mark belongs to the password.
        ("mysql://me:a?b@host/db?plugin=x", True),
    ],
)
def test_only_the_parameter_plugin_is_refused(url, refused):
    with pytest.raises(InputError, match="without plugins") if refused else nullcontext():
        check_url(url)
