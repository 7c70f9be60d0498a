//! The JSON Schema of definition files: completion, hover and red lines in editors.
//!
//! Written by hand, since an editor wants words that help, and shorter forms
//! next to the long ones. It accepts every file that [`super::Workflow::parse`]
//! accepts; cycles, names and types behind expressions are left to the check.

use serde_json::{Value, json};

/// JSON Schema (2020-12) of a definition file, YAML or TOML.
#[must_use]
pub fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Aquatint workflow",
        "description": "A durable workflow: steps, what they run, and what they give each other.",
        "type": "object",
        "required": ["name", "steps"],
        "additionalProperties": false,
        "patternProperties": { "^x-": true },
        "properties": {
            "name": {
                "description": "The workflow's name: a letter, then letters, digits, `-`, `_` or `.`.",
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,99}$",
            },
            "description": { "description": "For people.", "type": "string" },
            "inputs": {
                "description": "What a run is given: a JSON Schema by name. An input without `default` is required.",
                "type": "object",
                "propertyNames": { "$ref": "#/$defs/identifier" },
                "additionalProperties": { "$ref": "#/$defs/input" },
            },
            "defaults": {
                "description": "What every step inherits unless it says otherwise.",
                "type": "object",
                "additionalProperties": false,
                "patternProperties": { "^x-": true },
                "properties": policies(),
            },
            "steps": {
                "description": "The steps by name. A step runs when all it refers to have succeeded.",
                "type": "object",
                "minProperties": 1,
                "maxProperties": super::MAX_STEPS,
                "propertyNames": {
                    "$ref": "#/$defs/identifier",
                    "not": { "enum": super::RESERVED_STEP_NAMES },
                },
                "additionalProperties": { "$ref": "#/$defs/step" },
            },
            "outputs": {
                "description": "What the run returns: templates by name, as in `image: ${{ steps.upscale.image }}`.",
                "type": "object",
            },
            "concurrency": {
                "description": "How many runs may run at a time.",
                "type": "object",
                "required": ["limit"],
                "additionalProperties": false,
                "patternProperties": { "^x-": true },
                "properties": {
                    "key": { "description": "A template over `inputs`; runs of one key share the limit." },
                    "limit": { "$ref": "#/$defs/count" },
                },
            },
            "retention": { "description": "How long finished runs are kept.", "$ref": "#/$defs/duration" },
            "timeout": { "description": "How long a run may take in all.", "$ref": "#/$defs/duration" },
            "on_failure": {
                "description": "A step that runs last when the run fails; `failure.step` and `failure.message` are in scope.",
                "$ref": "#/$defs/failure_step",
            },
            "max_parallel": {
                "description": "How many task runs of one run may run at a time.",
                "$ref": "#/$defs/count",
            },
            "scope": {
                "description": "What a key must have to run it. A workflow needs at least what its tasks, and the workflows among its steps, need.",
                "enum": ["submit", "operate", "admin"],
                "default": "submit",
            },
            "schedule": {
                "description": "When it begins by itself: a cron expression, `@every 90s`, or the details.",
                "anyOf": [
                    { "type": "string" },
                    { "$ref": "#/$defs/schedule" },
                    { "type": "array", "maxItems": 32, "items": { "$ref": "#/$defs/schedule" } },
                ],
            },
            "notify": {
                "description": "Who is told of a run's end.",
                "anyOf": [{ "$ref": "#/$defs/notify" }, { "type": "array", "items": { "$ref": "#/$defs/notify" } }],
            },
        },
        "$defs": {
            "identifier": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$" },
            "count": { "type": "integer", "minimum": 1 },
            "label": { "type": "string", "pattern": "^[A-Za-z0-9_.:/=-]{1,64}$" },
            "duration": {
                "type": "string",
                "pattern": "^ *([0-9]+ *[a-z]+ *)+$",
                "examples": ["90s", "10m", "1h30m"],
            },
            "expression": {
                "description": "CEL, bare or in `${{ }}`: `inputs.count > 1`.",
                "type": ["string", "boolean"],
            },
            "list": {
                "description": "A list, or an expression that gives one.",
                "anyOf": [{ "type": "array", "minItems": 1 }, { "type": "string" }],
            },
            "input": {
                "anyOf": [
                    { "enum": ["string", "integer", "number", "boolean", "array", "object", "null"] },
                    { "$ref": "https://json-schema.org/draft/2020-12/schema", "type": "object" },
                ],
            },
            "retry": {
                "description": "What happens when an attempt fails: a number of tries, or the details.",
                "anyOf": [
                    { "type": "integer", "minimum": 1, "maximum": 1000 },
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "patternProperties": { "^x-": true },
                        "properties": {
                            "attempts": { "description": "Tries in all, the first included.", "type": "integer", "minimum": 1, "maximum": 1000 },
                            "backoff": { "description": "How the wait grows.", "enum": ["fixed", "linear", "exponential"] },
                            "delay": { "description": "The first wait.", "$ref": "#/$defs/duration" },
                            "max_delay": { "description": "The longest wait.", "$ref": "#/$defs/duration" },
                            "jitter": { "description": "Spread the waits, so that a crowd does not return as one.", "type": "boolean" },
                            "on": {
                                "description": "Error classes worth another try; all that can be retried, if left out.",
                                "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
                            },
                        },
                    },
                ],
            },
            "schedule": {
                "type": "object",
                "additionalProperties": false,
                "patternProperties": { "^x-": true },
                "properties": {
                    "name": { "description": "Its name, where there are several.", "$ref": "#/$defs/identifier" },
                    "description": { "description": "For people.", "type": "string" },
                    "cron": { "description": "Minute, hour, day of month, month, day of week; with a sixth field first, seconds.", "type": "string", "examples": ["0 3 * * *", "@daily"] },
                    "every": { "description": "An interval of whole seconds.", "$ref": "#/$defs/duration" },
                    "zone": { "description": "The IANA time zone that cron goes by; UTC, if left out.", "type": "string", "examples": ["Europe/Berlin"] },
                    "inputs": { "description": "What its runs are given; `${{ run.scheduled_at }}` is the time it was due.", "type": "object" },
                    "overlap": { "description": "What a tick does while the run before it is under way.", "enum": ["skip", "queue", "cancel", "allow"] },
                    "misfire": { "description": "What becomes of ticks that nobody saw in time.", "enum": ["skip", "once", "catch_up"] },
                    "window": { "description": "How far back `catch_up` goes.", "$ref": "#/$defs/duration" },
                    "jitter": { "description": "Ticks are spread over this much time.", "$ref": "#/$defs/duration" },
                    "priority": { "description": "Added to each step's priority.", "type": "integer", "minimum": -1000, "maximum": 1000 },
                },
                "oneOf": [{ "required": ["cron"] }, { "required": ["every"] }],
            },
            "notify": {
                "type": "object",
                "additionalProperties": false,
                "patternProperties": { "^x-": true },
                "properties": {
                    "on": {
                        "description": "Which ends; all, if left out.",
                        "anyOf": [
                            { "enum": ["succeeded", "failed", "cancelled"] },
                            { "type": "array", "items": { "enum": ["succeeded", "failed", "cancelled"] } },
                        ],
                    },
                    "email": { "description": "Addresses.", "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] },
                    "webhook": { "description": "A webhook's id.", "type": "string" },
                },
            },
            "step": step(true),
            "failure_step": step(false),
        },
    })
}

/// The keys that `defaults` and steps share.
fn policies() -> serde_json::Map<String, Value> {
    let policies = json!({
        "queue": { "description": "The lane it waits in.", "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" },
        "priority": { "description": "Higher goes first.", "type": "integer", "minimum": -1000, "maximum": 1000 },
        "requires": {
            "description": "Labels that its worker must have, as in `[a100, fp16]`.",
            "anyOf": [{ "$ref": "#/$defs/label" }, { "type": "array", "maxItems": 16, "items": { "$ref": "#/$defs/label" } }],
        },
        "prefer": {
            "description": "Models, or whatever else is costly to load: workers that have them loaded take the step earlier.",
            "anyOf": [{ "$ref": "#/$defs/label" }, { "type": "array", "maxItems": 4, "items": { "$ref": "#/$defs/label" } }],
            "examples": ["sdxl"],
        },
        "memory": { "description": "Memory that its worker must have free, as in `16GB`.", "type": "string", "pattern": "^ *[0-9.]+ *[kKMGTPi]*[bB]? *$", "examples": ["16GB", "512MiB"] },
        "timeout": { "description": "When an attempt is stopped.", "$ref": "#/$defs/duration" },
        "soft_timeout": { "description": "When an attempt is asked to finish; shorter than `timeout`.", "$ref": "#/$defs/duration" },
        "retry": { "$ref": "#/$defs/retry" },
        "cache": { "description": "Whether an earlier result for the same input may be used.", "type": "boolean" },
    });
    match policies {
        Value::Object(policies) => policies,
        _ => serde_json::Map::new(),
    }
}

fn step(in_graph: bool) -> Value {
    let mut properties = policies();
    let own = json!({
        "description": { "description": "For people.", "type": "string" },
        "task": { "description": "The code it runs, as in `image.generate`.", "type": "string" },
        "workflow": { "description": "The workflow it runs, as a run of its own.", "type": "string" },
        "with": {
            "description": "What the task is given; texts may hold `${{ … }}`.",
            "anyOf": [{ "type": "object" }, { "type": "string", "pattern": "^\\$\\{\\{" }, { "type": "null" }],
        },
        "when": { "description": "When it is false, the step is skipped.", "$ref": "#/$defs/expression" },
    });
    let graph = json!({
        "needs": {
            "description": "Steps that come before, beyond those that expressions name.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        },
        "foreach": { "description": "Runs the step for each element, as `item`.", "$ref": "#/$defs/list" },
        "matrix": {
            "description": "Runs the step for each combination, as `matrix.name`.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "$ref": "#/$defs/identifier" },
            "additionalProperties": { "$ref": "#/$defs/list" },
        },
        "max_parallel": { "description": "How many items may run at a time.", "$ref": "#/$defs/count" },
        "fail": { "description": "What a failed item means: the end at once, or one bad result among the others.", "enum": ["fast", "tolerate"] },
        "on_failure": { "description": "What its failure means for the run.", "enum": ["fail", "continue", "skip"] },
    });
    for part in [Some(own), in_graph.then_some(graph)] {
        if let Some(Value::Object(part)) = part {
            properties.extend(part);
        }
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "patternProperties": { "^x-": true },
        "properties": properties,
        "oneOf": [{ "required": ["task"] }, { "required": ["workflow"] }],
    })
}
