"""Exports the wire protocol as JSON Schemas, from which the extension's types are generated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from . import protocol as p
from .config import RunConfig

MESSAGES = (
    *(p.AttemptStarted, p.PhaseStarted, p.Progress, p.DatasetRead, p.Batch, p.CheckpointSaved),
    *(p.Evaluated, p.Measured, p.CanaryReady, p.BudgetExceeded, p.SettingsChanged),
    *(p.CommandAcknowledged, p.ActivityChanged, p.Warned, p.Heartbeat, p.Finished),
    *(p.Command, p.RunRecord, p.LaunchRecord, p.PreflightReport, p.ScoreReport, p.AnchoringReport),
    *(p.ChatAsk, p.ChatCancel),
    *(p.ChatLoading, p.ChatReady, p.ChatPiece, p.ChatDone, p.ChatFailed),
    p.PreviewReport,
)
EVENTS = [model.__name__ for model in MESSAGES if issubclass(model, p.Event)]
CHAT_REPLIES = ["ChatLoading", "ChatReady", "ChatPiece", "ChatDone", "ChatFailed"]


class _Schema(GenerateJsonSchema):
    """Titles on fields would become one type alias each in TypeScript; only models keep theirs."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _MessageSchema(_Schema):
    """Tells the default of every field that has one, also where it has to be made."""

    def get_default_value(self, schema: Any) -> Any:
        make = schema.get("default_factory")
        return make() if make else super().get_default_value(schema)


def run_config_schema() -> dict[str, Any]:
    """The schema of `*.finetune.json`, as an editor's user reads it."""
    schema = RunConfig.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {"$schema": "http://json-schema.org/draft-07/schema#", "allowComments": True,
            "allowTrailingCommas": True, **schema}  # fmt: skip


def messages_schema() -> dict[str, Any]:
    """Everything else on the wire. Messages are read in the form in which they are written, or in that of an
    earlier version, in which fields that have a default may be missing."""
    _, schema = models_json_schema(
        [(model, "serialization") for model in MESSAGES], by_alias=True, schema_generator=_MessageSchema
    )
    definitions = schema["$defs"]
    unions = {
        "AnyEvent": _one_of("One line of events.jsonl.", EVENTS),
        "ChatReply": _one_of("One line that `chat` writes.", CHAT_REPLIES),
    }
    definitions.update(unions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Messages",
        "type": "object",
        "properties": {
            name: {"$ref": f"#/$defs/{name}"}
            for name in [*unions, *(m.__name__ for m in MESSAGES if m.__name__ not in EVENTS + CHAT_REPLIES)]
        },
        "$defs": definitions,
    }


def _one_of(description: str, names: list[str]) -> dict[str, Any]:
    return {
        "description": description,
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names],
        "discriminator": {"propertyName": "type"},
        "type": "object",
        "required": ["type"],
    }


def export(folder: Path) -> list[Path]:
    """Writes both schemas into `folder`; returns the paths that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    schemas = {"run-config.schema.json": run_config_schema(), "messages.schema.json": messages_schema()}
    for name, schema in schemas.items():
        path, text = folder / name, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(path)
    return changed
