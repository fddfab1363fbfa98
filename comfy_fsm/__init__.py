"""Make ComfyUI clients tell the truth about their tasks: fold what was seen, decide once, on evidence.

Each public name is loaded from its module when it is first asked for: the core loads no loop, socket or database.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from comfy_fsm.core.effects import (
        Deliver,
        Failure,
        FetchHistory,
        LookAtQueue,
        NodeFault,
        OpenSocket,
        Output,
        Result,
        Text,
        Warn,
    )
    from comfy_fsm.core.explain.diagnosis import Diagnosis, diagnose
    from comfy_fsm.core.findings import CODES, Finding, Severity
    from comfy_fsm.core.fold.board import Board
    from comfy_fsm.core.machine import TABLE, Signal, State, step
    from comfy_fsm.core.metrics.summary import Metrics, measure
    from comfy_fsm.core.observations import AnyObservation, Command, Delivered, Entry, Tick
    from comfy_fsm.core.policy import Policy
    from comfy_fsm.core.registry.task import Task
    from comfy_fsm.core.updates import Update
    from comfy_fsm.core.wire.codec import encode, message_line, read
    from comfy_fsm.errors import (
        BacklogFull,
        BadServerUrl,
        BadTag,
        BadWorkflow,
        ClientClosed,
        ClientError,
        ComfyFsmError,
        DownloadFailed,
        HandshakeRefused,
        InvariantBroken,
        LogClosed,
        LogDamaged,
        LogError,
        LogInDoubt,
        LogLocked,
        LogMoved,
        LogReadOnly,
        LogRewound,
        LogTakenOver,
        LogUnreachable,
        LogVersionError,
        LogWriteFailed,
        MissingExtra,
        NotALog,
        NotATrace,
        SecretInWorkflow,
        ServerUnreachable,
        TaskCancelled,
        TaskError,
        TaskExpired,
        TaskFailed,
        TaskLost,
        TaskRejected,
        TraceError,
        TraceVersionError,
        UnknownInput,
        UnknownTask,
        UploadFailed,
    )
    from comfy_fsm.live.blocking.client import BlockingClient
    from comfy_fsm.live.blocking.dispatcher import BlockingDispatcher
    from comfy_fsm.live.blocking.outputs import BlockingOutput, BlockingResult
    from comfy_fsm.live.blocking.task_handle import BlockingTask
    from comfy_fsm.live.blocking.window import BlockingWindow
    from comfy_fsm.live.client.client import Client
    from comfy_fsm.live.client.companion import Companion
    from comfy_fsm.live.client.outputs import OutputFile, TaskResult
    from comfy_fsm.live.client.progress import Progress
    from comfy_fsm.live.client.task_handle import TaskHandle
    from comfy_fsm.live.client.window import Window
    from comfy_fsm.live.dispatch.dispatcher import Dispatcher, Stuck
    from comfy_fsm.live.engine.runner import Undelivered
    from comfy_fsm.live.extras.alarm import Alarm
    from comfy_fsm.live.extras.prometheus import Endpoint
    from comfy_fsm.live.extras.tracing import Spans
    from comfy_fsm.log.log import Log
    from comfy_fsm.workflow.graph import Workflow

__version__ = "0.1.0"
__all__ = [
    "CODES",
    "TABLE",
    "Alarm",
    "AnyObservation",
    "BacklogFull",
    "BadServerUrl",
    "BadTag",
    "BadWorkflow",
    "BlockingClient",
    "BlockingDispatcher",
    "BlockingOutput",
    "BlockingResult",
    "BlockingTask",
    "BlockingWindow",
    "Board",
    "Client",
    "ClientClosed",
    "ClientError",
    "ComfyFsmError",
    "Command",
    "Companion",
    "Deliver",
    "Delivered",
    "Diagnosis",
    "Dispatcher",
    "DownloadFailed",
    "Endpoint",
    "Entry",
    "Failure",
    "FetchHistory",
    "Finding",
    "HandshakeRefused",
    "InvariantBroken",
    "Log",
    "LogClosed",
    "LogDamaged",
    "LogError",
    "LogInDoubt",
    "LogLocked",
    "LogMoved",
    "LogReadOnly",
    "LogRewound",
    "LogTakenOver",
    "LogUnreachable",
    "LogVersionError",
    "LogWriteFailed",
    "LookAtQueue",
    "Metrics",
    "MissingExtra",
    "NodeFault",
    "NotALog",
    "NotATrace",
    "OpenSocket",
    "Output",
    "OutputFile",
    "Policy",
    "Progress",
    "Result",
    "SecretInWorkflow",
    "ServerUnreachable",
    "Severity",
    "Signal",
    "Spans",
    "State",
    "Stuck",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskLost",
    "TaskRejected",
    "TaskResult",
    "Text",
    "Tick",
    "TraceError",
    "TraceVersionError",
    "Undelivered",
    "UnknownInput",
    "UnknownTask",
    "Update",
    "UploadFailed",
    "Warn",
    "Window",
    "Workflow",
    "diagnose",
    "encode",
    "measure",
    "message_line",
    "read",
    "step",
]


_MODULES = {
    "core.effects":
        "Deliver Failure FetchHistory LookAtQueue NodeFault OpenSocket Output Result Text Warn",
    "core.explain.diagnosis": "Diagnosis diagnose",
    "core.findings": "CODES Finding Severity",
    "core.fold.board": "Board",
    "core.machine": "Signal State TABLE step",
    "core.metrics.summary": "Metrics measure",
    "core.observations": "AnyObservation Command Delivered Entry Tick",
    "core.policy": "Policy",
    "core.registry.task": "Task",
    "core.updates": "Update",
    "core.wire.codec": "encode message_line read",
    "errors":
        "BacklogFull BadServerUrl BadTag BadWorkflow ClientClosed ClientError ComfyFsmError DownloadFailed "
        "HandshakeRefused InvariantBroken LogClosed LogDamaged LogError LogInDoubt LogLocked LogMoved LogReadOnly "
        "LogRewound LogTakenOver LogUnreachable LogVersionError LogWriteFailed MissingExtra NotALog NotATrace "
        "SecretInWorkflow ServerUnreachable TaskCancelled TaskError TaskExpired TaskFailed TaskLost TaskRejected "
        "TraceError TraceVersionError UnknownInput UnknownTask UploadFailed",
    "live.blocking.client": "BlockingClient",
    "live.blocking.dispatcher": "BlockingDispatcher",
    "live.blocking.outputs": "BlockingOutput BlockingResult",
    "live.blocking.task_handle": "BlockingTask",
    "live.blocking.window": "BlockingWindow",
    "live.client.client": "Client",
    "live.client.companion": "Companion",
    "live.client.outputs": "OutputFile TaskResult",
    "live.client.progress": "Progress",
    "live.client.task_handle": "TaskHandle",
    "live.client.window": "Window",
    "live.dispatch.dispatcher": "Dispatcher Stuck",
    "live.engine.runner": "Undelivered",
    "live.extras.alarm": "Alarm",
    "live.extras.prometheus": "Endpoint",
    "live.extras.tracing": "Spans",
    "log.log": "Log",
    "workflow.graph": "Workflow",
}  # fmt: skip
"""Names, by the module that has them."""
_MODULE_OF = {name: f"comfy_fsm.{module}" for module, names in _MODULES.items() for name in names.split()}


if not typing.TYPE_CHECKING:  # a checker would take it that every name is here

    def __getattr__(name: str) -> object:
        """Load a public name that is not here yet (PEP 562)."""
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(importlib.import_module(module), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
