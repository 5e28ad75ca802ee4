"""Finished runs beside each other: groups over seeds, tables, figures. Nothing is read from MLflow here."""

from ratespike.comparison.groups import Comparison, Group, compare
from ratespike.comparison.records import Record, select
from ratespike.comparison.report import Report, report
from ratespike.comparison.statistics import Estimate

__all__ = ["Comparison", "Estimate", "Group", "Record", "Report", "compare", "report", "select"]
