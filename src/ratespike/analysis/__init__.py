"""Finished runs beside each other: groups over seeds, tables, figures. Nothing is read from MLflow here."""

from ratespike.analysis.groups import Comparison, Group, compare
from ratespike.analysis.report import Report, report
from ratespike.analysis.runs import Record, select
from ratespike.analysis.statistics import Estimate

__all__ = ["Comparison", "Estimate", "Group", "Record", "Report", "compare", "report", "select"]
