"""Subnets for the world outside: files that are run and compared with the subnet when written."""

from supernet.export.compare import Check
from supernet.export.formats import FORMATS, Format, check_packages
from supernet.export.hub import hub_config
from supernet.export.write import export_subnet

__all__ = ["FORMATS", "Check", "Format", "check_packages", "export_subnet", "hub_config"]
