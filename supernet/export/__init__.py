"""Export of subnets; each file is run and compared with the subnet before it is written."""

from supernet.export.compare import Check
from supernet.export.formats import FORMATS, Format, check_packages, export_subnet
from supernet.models.timm_registry import hub_config

__all__ = ["FORMATS", "Check", "Format", "check_packages", "export_subnet", "hub_config"]
