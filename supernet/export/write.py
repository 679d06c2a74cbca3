"""Export of one subnet to one file, written only after a comparison."""

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
    """Export a subnet, if the exported network gives its logits on `images`.

    Args:
        subnet: The subnet, exported in float32 and evaluation mode from a copy on the CPU.
        path: The file.
        name: Name of a format in `FORMATS`.
        images: Real, preprocessed images, (n, C, H, W).
        about: Description to store in the file: `hub_config`, or other plain values.

    Returns:
        The result of the comparison.

    Raises:
        InputError: Packages are missing, the backbone cannot be exported in this format, logits or
            selections differ too much, or the file cannot be written; an old file is kept.
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
        # Exporters raise errors of many types.
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
