"""One subnet into one file: written, run, compared, and only then put in its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from space.utils.atomic import replacing
from space.utils.errors import InputError, one_line
from supernet.export.compare import MOST_DIFFERENCE, MOST_DIFFERING, Check, compare
from supernet.export.formats import FORMATS, check_packages
from supernet.models.elastic import ElasticViT


def export_subnet(
    subnet: ElasticViT,
    path: str | Path,
    name: str,
    images: Tensor,
    about: Mapping[str, Any] | None = None,
) -> Check:
    """Write a subnet, once the file's bytes gave its logits on `images`.

    Args:
        subnet: what is written; a copy in float32 on the CPU, to evaluate.
        path: the file.
        name: of a format in `FORMATS`.
        images: real ones, as the network expects them, (n, C, H, W).
        about: `hub_config`, or other plain values, which the file carries along.

    Returns:
        How equal they are.

    Raises:
        InputError: the format's packages are missing, the backbone cannot be written that way, the
            logits or selections differ by too much, or the file cannot be written; what lay there
            still does.
    """
    if name not in FORMATS:
        raise InputError(f"format {name!r}: known are {', '.join(FORMATS)}")
    check_packages(name)
    form = FORMATS[name]
    plain = copy.deepcopy(subnet).cpu().float().eval().requires_grad_(False)
    try:
        data = form.write(plain, json.dumps(about or {}))
    except InputError as error:
        raise InputError(f"{path}: cannot go into {name}: {error}") from None
    except Exception as error:
        # Whatever an exporter meets in a backbone, it says in words of its own.
        reason = one_line(error, typed=True)
        raise InputError(f"{path}: this backbone cannot go into {name}: {reason}") from error
    check = compare(plain, form.run(data, plain), images.cpu().float())
    if not check.equal:
        raise InputError(
            f"{path}: not written, since it is not the subnet: {check}; at most "
            f"{MOST_DIFFERENCE:.0e} of the largest logit, and {MOST_DIFFERING:.0%} of the "
            "selections, may differ"
        )
    with replacing(path) as file:
        file.write(data)
    return check
