"""Make ComfyUI clients tell the truth about their tasks: fold what was seen, decide once, on evidence."""

from comfy_fsm.core.board import Board
from comfy_fsm.core.diagnosis import Diagnosis, diagnose
from comfy_fsm.core.effects import Deliver, Failure, FetchHistory, LookAtQueue, OpenSocket, Output, Result, Warn
from comfy_fsm.core.findings import CODES, Finding, Severity
from comfy_fsm.core.machine import TABLE, Signal, State, step
from comfy_fsm.core.metrics import Metrics, measure
from comfy_fsm.core.observations import AnyObservation, Command, Delivered, Entry, Tick
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.task import Task
from comfy_fsm.core.wire import encode, message_line, read

__all__ = [
    "CODES",
    "TABLE",
    "AnyObservation",
    "Board",
    "Command",
    "Deliver",
    "Delivered",
    "Diagnosis",
    "Entry",
    "Failure",
    "FetchHistory",
    "Finding",
    "LookAtQueue",
    "Metrics",
    "OpenSocket",
    "Output",
    "Policy",
    "Result",
    "Severity",
    "Signal",
    "State",
    "Task",
    "Tick",
    "Warn",
    "diagnose",
    "encode",
    "measure",
    "message_line",
    "read",
    "step",
]
