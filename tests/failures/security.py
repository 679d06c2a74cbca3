"""What the tests of security share."""

import pytest

from space import InputError


def in_a_line(call, *args, **kwargs):
    """The message of the one error that a call may end with."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message.isprintable()
    return message
