"""Export of subnets; each file is run and compared with the subnet before it is written."""

from supernet.export.compare import Check
from supernet.export.formats import FORMATS, Format, check_packages
from supernet.export.hub import hub_config
from supernet.export.write import export_subnet

__all__ = ["FORMATS", "Check", "Format", "check_packages", "export_subnet", "hub_config"]
